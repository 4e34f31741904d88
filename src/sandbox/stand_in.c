/* SPDX-License-Identifier: Apache-2.0 */
/* Starting and ending stand-ins. */
#include "sandbox/stand_in.h"

#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/mount.h>
#include <unistd.h>

#include "base/err.h"
#include "base/fd.h"
#include "base/own.h"
#include "base/sys.h"
#include "base/time.h"
#include "event/spawn.h"

enum {
	READY_MS = 20 * 1000, /* of a busy host */
	END_MS = 2000
};

/* What its exit status says that it cannot do: src/standin. */
static const char *const failures[] = {
	[1] = "enter the container's root (CAP_SYS_ADMIN is needed)",
	[2] = "give up its capabilities",
	[3] = "set its system call filter",
	[4] = "say that it is ready",
};

/*
 * The root file system in a mount of its own, which follows what is mounted and unmounted on
 * the host and tells nobody. Nothing in it can be executed: whoever enters the stand-in's
 * mount namespace (nsenter -m) would run a guest's program on the host, as root. What the host
 * mounts below it later has attributes of its own.
 */
static int clone_root(const char *root, int *out, struct err *e)
{
	OWN(fd)
	int tree =
		sys_open_tree(AT_FDCWD, root,
			      OPEN_TREE_CLONE | AT_RECURSIVE | AT_SYMLINK_NOFOLLOW | O_CLOEXEC);

	if (tree < 0)
		return err_sys(e, "open '%s'", root);
	if (sys_mount_setattr(tree, "", AT_EMPTY_PATH | AT_RECURSIVE,
			      MOUNT_ATTR_NODEV | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOEXEC, 0,
			      MS_SLAVE) < 0)
		return err_sys(e, "a mount of '%s'", root);
	*out = fd_take(&tree);
	return 0;
}

static int set_name(void *arg)
{
	const char *name = arg;

	return sethostname(name, strlen(name));
}

/* Those that are there, to be joined; the others' flags. */
static int namespaces_of(const struct stand_in_config *c, struct spawn_ns out[3], size_t *count)
{
	const struct spawn_ns kinds[] = { { c->netns_fd, CLONE_NEWNET },
					  { c->ipc_fd, CLONE_NEWIPC },
					  { c->uts_fd, CLONE_NEWUTS } };
	int flags = CLONE_NEWNS | CLONE_NEWCGROUP;

	*count = 0;
	for (size_t i = 0; i < ARRAY_LEN(kinds); i++) {
		if (kinds[i].fd >= 0)
			out[(*count)++] = kinds[i];
		else
			flags |= kinds[i].kind;
	}
	return flags;
}

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
	OWN(fd) int root = -1;
	struct spawn_fd fds[2];
	struct spawn sp = SPAWN_INIT;
	struct spawn_ns namespaces[3];
	int p[2];
	pid_t pid;

	if (clone_root(c->root, &root, e) < 0)
		return err_wrap(e, "the container's stand-in");
	if (fd_pipe(p, e) < 0)
		return -1;
	rd = p[0];
	wr = p[1];
	fds[0] = (struct spawn_fd){ .from = root, .to = 3 };
	fds[1] = (struct spawn_fd){ .from = wr, .to = 4 };
	sp.argv = argv;
	sp.fds = fds;
	sp.fd_count = 2;
	sp.ns = namespaces;
	sp.unshare_flags = namespaces_of(c, namespaces, &sp.ns_count);
	sp.setup = set_name;
	sp.setup_arg = (void *)(uintptr_t)c->hostname;
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
