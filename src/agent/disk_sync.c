/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/disk_sync.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "base/err.h"
#include "base/sys.h"
#include "base/time.h"
#include "event/child.h"

enum {
	SYNC_MS = 90 * 1000, /* the engine gives a container's removal a little more */
	END_MS = 5000
};

static _Noreturn void write_back(const char *path)
{
	int fd;

	(void)sys_close_range(3, ~0U, 0); /* as in fsgroup.c */
	fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	_exit(fd < 0 || syncfs(fd) < 0 ? errno : 0);
}

int disk_sync(struct child_reaper *r, const char *path, struct err *e)
{
	struct child c = { 0 };
	struct err ignored;
	pid_t pid = fork();

	if (pid < 0)
		return err_sys(e, "fork");
	if (pid == 0)
		write_back(path);
	child_watch(r, &c, pid, NULL);
	if (child_wait(&c, deadline_in(SYNC_MS), e) < 0) {
		(void)child_end(&c, END_MS, &ignored);
		child_unwatch(&c);
		return err_wrap(e, "write back '%s'", path);
	}
	if (child_exit_code(c.status))
		return err_set(e, ERR_SYS, child_exit_code(c.status), "write back '%s'", path);
	return 0;
}
