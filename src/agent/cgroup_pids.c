/* SPDX-License-Identifier: Apache-2.0 */
/* The processes of a container's cgroup and of those that its container made below. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "agent/cgroup.h"
#include "base/buf.h"
#include "base/err.h"
#include "base/fd.h"
#include "base/own.h"

enum {
	DEPTH_MAX = 16,
	PROCS_BYTES = 1 << 20
};

static int visit_procs(int dirfd, int (*visit)(pid_t pid, void *arg, struct err *e), void *arg,
		       struct err *e)
{
	OWN(fd) int fd = openat(dirfd, "cgroup.procs", O_RDONLY | O_CLOEXEC);
	OWN(buf) struct buf text = { .limit = PROCS_BYTES };
	const char *p;
	char *end;

	if (fd < 0)
		return err_sys(e, "open cgroup.procs");
	if (fd_read_to_end(fd, &text, e) < 0)
		return -1;
	p = buf_cstr(&text);
	if (!p)
		return err_oom(e, "cgroup.procs");
	for (; *p; p = *end ? end + 1 : end) {
		long pid = strtol(p, &end, 10);

		if (end == p)
			break;
		/* 0: of a namespace that is not ours to see */
		if (pid > 0 && visit((pid_t)pid, arg, e) < 0)
			return -1;
	}
	return 0;
}

/* The container's own cgroup is ours; what it makes below may be odd, or gone by now. */
static bool is_passed_over(int depth, const struct err *e)
{
	return depth > 0 && (e->sys == ENOENT || e->sys == ENODEV ||
			     e->sys == EOPNOTSUPP); /* threaded: its processes are above */
}

static int visit_tree(int dirfd, int depth, int (*visit)(pid_t pid, void *arg, struct err *e),
		      void *arg, struct err *e)
{
	OWN(fd) int own = openat(dirfd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	struct dirent *ent;
	int rc;
	DIR *dir;

	if (visit_procs(dirfd, visit, arg, e) < 0 && !is_passed_over(depth, e))
		return -1;
	if (own < 0 || !(dir = fdopendir(own)))
		return err_sys(e, "open a cgroup");
	(void)fd_take(&own);
	rc = 0;
	while (rc == 0 && depth < DEPTH_MAX && (ent = readdir(dir))) {
		OWN(fd) int sub = -1;

		if (ent->d_type != DT_DIR || ent->d_name[0] == '.')
			continue;
		sub = openat(dirfd, ent->d_name,
			     O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
		if (sub >= 0) /* else its container has just removed it */
			rc = visit_tree(sub, depth + 1, visit, arg, e);
	}
	(void)closedir(dir);
	return rc;
}

int cgroup_each_pid(const struct cgroup *c, int (*visit)(pid_t pid, void *arg, struct err *e),
		    void *arg, struct err *e)
{
	return visit_tree(c->fd, 0, visit, arg, e);
}

static int signal_one(pid_t pid, void *arg, struct err *e)
{
	if (kill(pid, *(const int *)arg) < 0 && errno != ESRCH)
		return err_sys(e, "signal process %d", (int)pid);
	return 0;
}

int cgroup_signal(const struct cgroup *c, int sig, struct err *e)
{
	return sig == SIGKILL ? cgroup_kill(c, e) : cgroup_each_pid(c, signal_one, &sig, e);
}
