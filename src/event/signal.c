/* SPDX-License-Identifier: Apache-2.0 */
/* Signals as events. */
#include "event/signal.h"

#include <errno.h>
#include <unistd.h>

#include "base/err.h"
#include "base/own.h"

static void on_readable(struct source *s, uint32_t events)
{
	struct signal_watch *w = container_of(s, struct signal_watch, source);
	struct signalfd_siginfo info;

	(void)events;
	while (s->added && read(s->fd, &info, sizeof(info)) == (ssize_t)sizeof(info))
		w->received(w, &info);
}

int signal_watch_init(struct signal_watch *w, struct loop *l, const sigset_t *set,
		      void (*received)(struct signal_watch *, const struct signalfd_siginfo *),
		      struct err *e)
{
	OWN(fd) int fd = -1;

	if (sigprocmask(SIG_BLOCK, set, NULL) < 0)
		return err_sys(e, "block signals");
	fd = signalfd(-1, set, SFD_CLOEXEC | SFD_NONBLOCK);
	if (fd < 0)
		return err_sys(e, "signalfd");
	*w = (struct signal_watch){
		.source = { .fd = fd, .events = EPOLLIN, .ready = on_readable },
		.loop = l,
		.received = received,
	};
	if (loop_add(l, &w->source, e) < 0) {
		w->loop = NULL;
		return -1;
	}
	fd_take(&fd);
	return 0;
}

void signal_watch_fini(struct signal_watch *w)
{
	if (!w->loop)
		return;
	loop_remove(w->loop, &w->source);
	fd_close(&w->source.fd);
	w->loop = NULL;
}

void signal_defaults(void)
{
	(void)signal(SIGPIPE, SIG_IGN);
	(void)signal(SIGXFSZ, SIG_IGN);
	(void)signal(SIGCHLD, SIG_DFL);
}

bool signal_is_ignored(int sig)
{
	struct sigaction now;

	return sigaction(sig, NULL, &now) == 0 && now.sa_handler == SIG_IGN;
}

void signal_reset_all(void)
{
	sigset_t none;

	for (int sig = 1; sig < NSIG; sig++)
		(void)signal(sig, SIG_DFL); /* EINVAL for KILL, STOP and libc's own */
	(void)sigemptyset(&none);
	(void)sigprocmask(SIG_SETMASK, &none, NULL);
}
