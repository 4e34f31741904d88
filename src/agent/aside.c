/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/aside.h"

#include <unistd.h>

#include "base/err.h"
#include "base/sys.h"
#include "event/child.h"

enum {
	END_MS = 5000
};

int aside_run(struct child_reaper *r, int (*work)(const void *arg), const void *arg,
	      int64_t deadline, struct err *e)
{
	struct child c = { 0 };
	struct err ignored;
	pid_t pid = fork();

	if (pid < 0)
		return err_sys(e, "fork");
	if (pid == 0) {
		(void)sys_close_range(3, ~0U, 0);
		_exit(work(arg));
	}
	child_watch(r, &c, pid, NULL);
	if (child_wait(&c, deadline, e) < 0) {
		(void)child_end(&c, END_MS, &ignored);
		child_unwatch(&c);
		return -1;
	}
	if (child_exit_code(c.status))
		return err_set(e, ERR_SYS, child_exit_code(c.status),
			       "in a process of its own");
	return 0;
}
