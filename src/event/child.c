/* SPDX-License-Identifier: Apache-2.0 */
/* Child processes: one place that calls waitpid(2). */
#include "event/child.h"

#include <errno.h>
#include <signal.h>
#include <sys/wait.h>

#include "base/err.h"
#include "base/own.h"
#include "base/time.h"

static void child_ended(struct child *c, int status)
{
	list_remove(&c->node);
	c->exited = true;
	c->status = status;
	if (c->on_exit)
		c->on_exit(c);
	cond_wake_all(&c->done);
}

static struct child *find_child(struct child_reaper *r, pid_t pid)
{
	list_for_each(n, tmp, &r->children) {
		struct child *c = list_entry(n, struct child, node);

		if (c->pid == pid)
			return c;
	}
	return NULL;
}

/* SIGCHLD does not queue: one signal may stand for many ends. */
static void on_sigchld(struct signal_watch *w, const struct signalfd_siginfo *info)
{
	struct child_reaper *r = container_of(w, struct child_reaper, sigchld);
	int status;
	pid_t pid;

	(void)info;
	while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
		struct child *c = find_child(r, pid);

		if (c)
			child_ended(c, status);
	}
}

int child_reaper_init(struct child_reaper *r, struct loop *l, struct err *e)
{
	sigset_t set;

	*r = (struct child_reaper){ .loop = l };
	list_init(&r->children);
	(void)sigemptyset(&set);
	(void)sigaddset(&set, SIGCHLD);
	return signal_watch_init(&r->sigchld, l, &set, on_sigchld, e);
}

void child_reaper_fini(struct child_reaper *r)
{
	signal_watch_fini(&r->sigchld);
}

void child_watch(struct child_reaper *r, struct child *c, pid_t pid,
		 void (*on_exit)(struct child *c))
{
	*c = (struct child){ .reaper = r, .pid = pid, .on_exit = on_exit };
	cond_init(&c->done, r->loop);
	list_append(&r->children, &c->node);
}

void child_unwatch(struct child *c)
{
	if (!c->reaper || c->exited)
		return;
	list_remove(&c->node);
	c->reaper = NULL;
}

int child_wait(struct child *c, int64_t deadline, struct err *e)
{
	while (!c->exited) {
		if (cond_wait(&c->done, deadline, e) < 0)
			return -1;
	}
	return 0;
}

int child_kill(struct child *c, int sig, struct err *e)
{
	if (c->exited || !c->reaper)
		return 0;
	if (kill(c->pid, sig) < 0)
		return err_sys(e, "signal %d to process %d", sig, (int)c->pid);
	return 0;
}

int child_kill_group(struct child *c, int sig, struct err *e)
{
	if (c->exited || !c->reaper)
		return 0;
	if (kill(-c->pid, sig) < 0)
		return err_sys(e, "signal %d to process group %d", sig, (int)c->pid);
	return 0;
}

int child_end(struct child *c, int64_t timeout_ms, struct err *e)
{
	if (!c->reaper)
		return 0;
	if (child_kill(c, SIGKILL, e) < 0)
		return -1;
	return child_wait(c, deadline_in(timeout_ms), e);
}

int child_exit_code(int status)
{
	return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}
