/* SPDX-License-Identifier: Apache-2.0 */
/* Which signals, and where they go. */
#include "cli/signals.h"

#include <signal.h>

#include "base/err.h"
#include "base/own.h"
#include "event/fiber.h"
#include "event/loop.h"

/* Faults of our own, what the kernel tells a parent or a writer, and what cannot be taken. */
static const int own[] = { SIGKILL, SIGSTOP, SIGCHLD, SIGPIPE, SIGSEGV,
			   SIGBUS,  SIGILL,  SIGFPE,  SIGTTIN, SIGTTOU };

/* Whose default action ends a process, and that people send for that. */
static bool ends_start(int sig)
{
	return sig == SIGINT || sig == SIGTERM || sig == SIGHUP || sig == SIGQUIT;
}

static void on_signal(struct signal_watch *w, const struct signalfd_siginfo *info)
{
	struct signals *s = container_of(w, struct signals, watch);
	int sig = (int)info->ssi_signo;

	if (s->take) {
		s->take(sig, s->arg);
	} else if (!ends_start(sig)) {
		s->waiting |= 1ULL << (sig & 63);
	} else if (!s->ended_by) {
		s->ended_by = sig;
		fiber_cancel(s->starter);
	}
}

int signals_watch(struct signals *s, struct loop *l, struct err *e)
{
	sigset_t set;

	(void)sigfillset(&set);
	for (size_t i = 0; i < ARRAY_LEN(own); i++)
		(void)sigdelset(&set, own[i]);
	for (int sig = 1; sig <= 64; sig++) {
		if (signal_is_ignored(sig))
			(void)sigdelset(&set, sig);
	}
	*s = (struct signals){ .starter = fiber_self(l) };
	return signal_watch_init(&s->watch, l, &set, on_signal, e);
}

void signals_take(struct signals *s, void (*take)(int sig, void *arg), void *arg)
{
	s->take = take;
	s->arg = arg;
	for (int sig = 1; sig <= 64; sig++) {
		if (s->waiting & 1ULL << (sig & 63))
			take(sig, arg);
	}
	s->waiting = 0;
}

void signals_fini(struct signals *s)
{
	signal_watch_fini(&s->watch);
}
