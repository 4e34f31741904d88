/* SPDX-License-Identifier: Apache-2.0 */
#include "event/program.h"

#include <stdint.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/fd.h"
#include "base/own.h"
#include "event/child.h"
#include "event/fiber.h"
#include "event/spawn.h"

enum {
	BLOCK = 4096,
	KILL_MS = 2000
};

static int listen_to(struct loop *l, int fd, size_t max, int64_t deadline, struct buf *out,
		     struct err *e)
{
	size_t got = 1;

	while (got && buf_len(out) < max) {
		size_t room = max - buf_len(out) < BLOCK ? max - buf_len(out) : BLOCK;

		if (buf_reserve(out, room, e) < 0 ||
		    fiber_read(l, fd, buf_tail(out), room, deadline, &got, e) < 0)
			return -1;
		buf_produced(out, got);
	}
	return got ? 1 : 0;
}

int program_run(struct loop *l, struct child_reaper *r, const char *const *argv, size_t max,
		int64_t deadline, struct buf *out, int *status, struct err *e)
{
	struct spawn s = SPAWN_INIT;
	struct child c = { 0 };
	OWN(fd) int rd = -1;
	OWN(fd) int wr = -1;
	pid_t pid;
	int p[2], rc;

	*status = 0;
	if (fd_pipe(p, e) < 0)
		return -1;
	rd = p[0];
	wr = p[1];
	s.argv = (char *const *)(uintptr_t)argv;
	s.stdout_fd = s.stderr_fd = wr;
	s.no_new_privs = true;
	if (fd_set_nonblock(rd, true, e) < 0 || spawn_run(&s, &pid, e) < 0)
		return -1;
	child_watch(r, &c, pid, NULL);
	fd_close(&wr);
	rc = listen_to(l, rd, max, deadline, out, e);
	if (rc == 0) {
		rc = child_wait(&c, deadline, e);
		*status = c.status;
	}
	/* it lives on this stack: it must not be watched any more, whatever ends the wait */
	fiber_shield(l, true);
	(void)child_end(&c, KILL_MS, &(struct err)ERR_INIT);
	fiber_shield(l, false);
	child_unwatch(&c);
	return rc < 0 ? -1 : 0;
}
