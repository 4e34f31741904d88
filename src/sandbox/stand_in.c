/* SPDX-License-Identifier: Apache-2.0 */
/* Starting and ending stand-ins. */
#include "sandbox/stand_in.h"

#include <sched.h>
#include <signal.h>

#include "base/err.h"
#include "base/fd.h"
#include "base/own.h"
#include "base/time.h"
#include "event/spawn.h"

enum {
	READY_MS = 5000,
	END_MS = 2000
};

/* What its exit status says that it cannot do: src/standin. */
static const char *const failures[] = {
	[1] = "enter the container's root (CAP_SYS_CHROOT is needed)",
	[2] = "give up its capabilities",
	[3] = "set its system call filter",
	[4] = "say that it is ready",
};

static int wait_ready(struct stand_in *s, int fd, struct err *e)
{
	int64_t deadline = deadline_in(READY_MS);
	size_t got = 0;
	int code;
	char c;

	if (fd_set_nonblock(fd, true, e) < 0 ||
	    fiber_read(s->child.reaper->loop, fd, &c, 1, deadline, &got, e) < 0)
		return -1;
	if (got == 1)
		return 0;
	if (child_wait(&s->child, deadline, e) < 0)
		return -1;
	code = child_exit_code(s->child.status);
	if (code > 0 && (size_t)code < ARRAY_LEN(failures))
		return err_set(e, ERR_SYS, 0, "it cannot %s", failures[code]);
	return err_set(e, ERR_SYS, 0, "it ended with status %d instead of confining itself",
		       code);
}

static void on_exit_(struct child *child)
{
	struct stand_in *s = container_of(child, struct stand_in, child);
	void (*lost)(struct stand_in *) = s->lost;

	s->lost = NULL;
	if (lost)
		lost(s);
}

int stand_in_start(struct stand_in *s, struct child_reaper *r, const struct stand_in_config *c,
		   struct err *e)
{
	char *const argv[] = { (char *)(uintptr_t)c->program, NULL };
	OWN(fd) int rd = -1;
	OWN(fd) int wr = -1;
	struct spawn_fd fds[2];
	struct spawn sp = SPAWN_INIT;
	pid_t pid;
	int p[2];

	if (fd_pipe(p, e) < 0)
		return -1;
	rd = p[0];
	wr = p[1];
	fds[0] = (struct spawn_fd){ .from = c->root_fd, .to = 3 };
	fds[1] = (struct spawn_fd){ .from = wr, .to = 4 };
	sp.argv = argv;
	sp.fds = fds;
	sp.fd_count = 2;
	sp.netns_fd = c->netns_fd;
	sp.unshare_flags = c->netns_fd < 0 ? CLONE_NEWNET : 0;
	sp.new_session = true;
	sp.cgroup_procs = c->cgroup_procs;
	if (spawn_run(&sp, &pid, e) < 0)
		return err_wrap(e, "the container's stand-in");
	child_watch(r, &s->child, pid, on_exit_);
	fd_close(&wr);
	if (wait_ready(s, rd, e) < 0) {
		stand_in_end(s);
		return err_wrap(e, "the container's stand-in");
	}
	return 0;
}

void stand_in_kill(struct stand_in *s)
{
	struct err ignored;

	s->lost = NULL;
	if (s->child.reaper)
		(void)child_kill(&s->child, SIGKILL, &ignored);
}

void stand_in_end(struct stand_in *s)
{
	struct err ignored;

	if (!s->child.reaper)
		return;
	stand_in_kill(s);
	(void)child_wait(&s->child, deadline_in(END_MS), &ignored);
	child_unwatch(&s->child);
	s->child.reaper = NULL;
}

pid_t stand_in_last_pid(const struct stand_in *s)
{
	return s->child.pid;
}

pid_t stand_in_pid(const struct stand_in *s)
{
	return s->child.reaper && !s->child.exited ? s->child.pid : 0;
}
