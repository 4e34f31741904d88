/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Starting confined helpers. After fork() the child neither allocates nor formats: it writes
 * {step, errno} into a close-on-exec pipe, which the parent turns into words.
 */
#include "event/spawn.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/err.h"
#include "base/fd.h"
#include "base/log.h"
#include "base/own.h"
#include "base/sys.h"
#include "event/signal.h"

enum spawn_step {
	STEP_NONE,
	STEP_STDIO,
	STEP_FDS,
	STEP_CGROUP,
	STEP_JOIN,
	STEP_OOM,
	STEP_UNSHARE,
	STEP_ROOT,
	STEP_RLIMIT,
	STEP_SESSION,
	STEP_CAPS,
	STEP_IDS,
	STEP_DEATHSIG,
	STEP_NO_NEW_PRIVS,
	STEP_SETUP,
	STEP_EXEC,
	STEP_COUNT_
};

static const char *const step_names[] = {
	[STEP_NONE] = "start",
	[STEP_STDIO] = "connect standard streams",
	[STEP_FDS] = "hand descriptors over",
	[STEP_CGROUP] = "join its cgroup",
	[STEP_JOIN] = "join its namespaces",
	[STEP_OOM] = "set its OOM score",
	[STEP_UNSHARE] = "make its namespaces",
	[STEP_ROOT] = "make its root directory",
	[STEP_RLIMIT] = "set its limits",
	[STEP_SESSION] = "make its session",
	[STEP_CAPS] = "keep the capabilities it needs",
	[STEP_IDS] = "switch to its user",
	[STEP_DEATHSIG] = "tie it to its parent",
	[STEP_NO_NEW_PRIVS] = "set no_new_privs",
	[STEP_SETUP] = "set up",
	[STEP_EXEC] = "execute",
};
static_assert(ARRAY_LEN(step_names) == STEP_COUNT_, "every step needs a name");

struct child_report {
	int step;
	int sys;
	int detail; /* STEP_ROOT: which of the mounts, or -1 */
};

static const char *program_of(const struct spawn *s)
{
	return s->path ? s->path : s->argv[0];
}

/* Descriptors in the child, all above the numbers that will be given out. */
struct lifted {
	int report;
	int ns[4];
	int fds[64];
};

/* Moves every descriptor that is still needed out of the way of the target numbers. */
static int child_lift(const struct spawn *s, int *report_fd, struct lifted *l)
{
	int high = 3;

	if (s->fd_count > ARRAY_LEN(l->fds) || s->ns_count > ARRAY_LEN(l->ns)) {
		errno = EMFILE;
		return -1;
	}
	for (size_t i = 0; i < s->fd_count; i++)
		high = s->fds[i].to >= high ? s->fds[i].to + 1 : high;
	l->report = fcntl(*report_fd, F_DUPFD_CLOEXEC, high);
	if (l->report < 0)
		return -1;
	*report_fd = l->report;
	for (size_t i = 0; i < s->ns_count; i++) {
		l->ns[i] = fcntl(s->ns[i].fd, F_DUPFD_CLOEXEC, high);
		if (l->ns[i] < 0)
			return -1;
	}
	for (size_t i = 0; i < s->fd_count; i++) {
		l->fds[i] = fcntl(s->fds[i].from, F_DUPFD_CLOEXEC, high);
		if (l->fds[i] < 0)
			return -1;
	}
	return 0;
}

static int child_stdio(const struct spawn *s)
{
	int from[3] = { s->stdin_fd, s->stdout_fd, s->stderr_fd };
	int null = open("/dev/null", O_RDWR | O_CLOEXEC);

	if (null < 0)
		return -1;
	/* first above 2, so that none of them is overwritten before it is used */
	for (int i = 0; i < 3; i++) {
		from[i] = fcntl(from[i] < 0 ? null : from[i], F_DUPFD_CLOEXEC, 3);
		if (from[i] < 0)
			return -1;
	}
	for (int i = 0; i < 3; i++) {
		if (dup2(from[i], i) < 0)
			return -1;
	}
	return 0;
}

static int child_fds(const struct spawn *s, const struct lifted *l)
{
	if (sys_close_range(3, ~0U, CLOSE_RANGE_CLOEXEC) < 0)
		return -1;
	for (size_t i = 0; i < s->fd_count; i++) {
		if (dup2(l->fds[i], s->fds[i].to) < 0)
			return -1;
	}
	return 0;
}

static int child_join_cgroup(const struct spawn *s)
{
	OWN(fd) int fd = -1;

	if (!s->cgroup_procs)
		return 0;
	fd = open(s->cgroup_procs, O_WRONLY | O_CLOEXEC);
	return fd < 0 || write(fd, "0", 1) != 1 ? -1 : 0;
}

static int child_join(const struct spawn *s, const struct lifted *l)
{
	for (size_t i = 0; i < s->ns_count; i++) {
		if (setns(l->ns[i], s->ns[i].kind) < 0)
			return -1;
	}
	return 0;
}

static int child_unshare(const struct spawn *s)
{
	int flags = s->unshare_flags & ~CLONE_NEWPID; /* that is there from the start */

	if (flags && unshare(flags) < 0)
		return -1;
	if (s->unshare_flags & CLONE_NEWNS)
		return mount(NULL, "/", NULL, MS_REC | MS_SLAVE, NULL);
	return 0;
}

/* Directories above `target` below rootfd, without formatting or allocating. */
static int make_parents(int rootfd, const char *target)
{
	char path[1024];
	size_t len = strlen(target);

	if (target[0] != '/' || len < 2 || len >= sizeof(path)) {
		errno = EINVAL;
		return -1;
	}
	for (size_t i = 1; i < len; i++) {
		if (target[i] != '/')
			continue;
		memcpy(path, target + 1, i - 1);
		path[i - 1] = '\0';
		if (mkdirat(rootfd, path, 0755) < 0 && errno != EEXIST)
			return -1;
	}
	return 0;
}

static int place_bind(const struct spawn_mount *m, int tree, int rootfd)
{
	const char *target = m->target + 1;
	char link[1024];
	struct stat st;
	ssize_t len;

	if (fstat(tree, &st) < 0)
		return -1;
	if (S_ISLNK(st.st_mode)) {
		len = readlinkat(tree, "", link, sizeof(link) - 1);
		if (len < 0)
			return -1;
		link[len] = '\0';
		return symlinkat(link, rootfd, target);
	}
	if (S_ISDIR(st.st_mode)) {
		if (mkdirat(rootfd, target, 0755) < 0 && errno != EEXIST)
			return -1;
	} else if (mknodat(rootfd, target, S_IFREG | 0644, 0) < 0) {
		return -1;
	}
	if (sys_mount_setattr(tree, "", AT_EMPTY_PATH | AT_RECURSIVE,
			      MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV |
				      (m->read_only ? MOUNT_ATTR_RDONLY : 0),
			      0, 0) < 0)
		return -1;
	return sys_move_mount(tree, "", rootfd, target, MOVE_MOUNT_F_EMPTY_PATH);
}

static int place_node(const struct spawn *s, const struct spawn_mount *m, int node, int rootfd)
{
	const char *target = m->target + 1;
	struct stat st;

	if (fstat(node, &st) < 0)
		return -1;
	if (mknodat(rootfd, target, (st.st_mode & S_IFMT) | 0600, st.st_rdev) < 0)
		return -1;
	return s->drop_ids ? fchownat(rootfd, target, s->uid, s->gid, AT_SYMLINK_NOFOLLOW) : 0;
}

static int place(const struct spawn *s, const struct spawn_mount *m, int fd, int rootfd)
{
	const char *target = m->target + 1;

	if (fd < 0 && (m->kind == SPAWN_BIND || m->kind == SPAWN_NODE))
		return 0; /* optional and missing */
	if (make_parents(rootfd, m->target) < 0)
		return -1;
	switch (m->kind) {
	case SPAWN_BIND:
		return place_bind(m, fd, rootfd);
	case SPAWN_NODE:
		return place_node(s, m, fd, rootfd);
	case SPAWN_PROC:
		if (mkdirat(rootfd, target, 0555) < 0 || fchdir(rootfd) < 0)
			return -1;
		return mount("proc", target, "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC,
			     "subset=pid,hidepid=2");
	}
	errno = EINVAL;
	return -1;
}

/*
 * Every source is opened before the new root is mounted, which may hide some. /proc is
 * where that happens because it exists everywhere and, below the new root, is not needed.
 */
static int child_root(const struct spawn *s, int *detail)
{
	int fds[32], rootfd;

	if (!s->root_count)
		return 0;
	if (s->root_count > ARRAY_LEN(fds)) {
		errno = E2BIG;
		return -1;
	}
	for (size_t i = 0; i < ARRAY_LEN(fds); i++)
		fds[i] = -1;
	for (size_t i = 0; i < s->root_count; i++) {
		const struct spawn_mount *m = &s->root[i];

		*detail = (int)i;
		if (m->kind == SPAWN_BIND)
			fds[i] = sys_open_tree(AT_FDCWD, m->source,
					       OPEN_TREE_CLONE | AT_RECURSIVE | O_CLOEXEC |
						       AT_SYMLINK_NOFOLLOW);
		else if (m->kind == SPAWN_NODE)
			fds[i] = open(m->source, O_PATH | O_CLOEXEC);
		else
			continue;
		if (fds[i] < 0 && !(m->optional && errno == ENOENT))
			return -1;
	}
	*detail = -1;
	(void)umask(022);
	if (mount("root", "/proc", "tmpfs", MS_NOSUID, "mode=755,size=1m") < 0)
		return -1;
	rootfd = open("/proc", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (rootfd < 0)
		return -1;
	for (size_t i = 0; i < s->root_count; i++) {
		*detail = (int)i;
		if (place(s, &s->root[i], fds[i], rootfd) < 0)
			return -1;
	}
	*detail = -1;
	/* no node is made beside those given; the tmpfs must have devices for them */
	if (sys_mount_setattr(rootfd, "", AT_EMPTY_PATH, MOUNT_ATTR_RDONLY, 0, 0) < 0)
		return -1;
	if (fchdir(rootfd) < 0 || sys_pivot_root(".", ".") < 0 || umount2(".", MNT_DETACH) < 0)
		return -1;
	return chdir("/");
}

static int child_oom(const struct spawn *s)
{
	OWN(fd) int fd = -1;
	char text[16];
	int at = sizeof(text), n = s->oom_score_adj;
	unsigned u = n < 0 ? 0U - (unsigned)n : (unsigned)n;

	if (!n)
		return 0;
	for (; u; u /= 10)
		text[--at] = (char)('0' + u % 10);
	if (n < 0)
		text[--at] = '-';
	fd = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);
	return fd < 0 || write(fd, text + at, sizeof(text) - (size_t)at) < 0 ? -1 : 0;
}

static int child_caps(const struct spawn *s)
{
	int last = sys_last_cap();

	if (!s->limit_caps)
		return 0;
	for (int cap = 0; cap <= last; cap++) {
		if (!(s->keep_caps >> cap & 1) && prctl(PR_CAPBSET_DROP, cap, 0, 0, 0) < 0)
			return -1;
	}
	if (prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) < 0 && errno != EINVAL)
		return -1;
	return s->drop_ids ? 0 : sys_capset(s->keep_caps, s->keep_caps, 0);
}

/* The program's descriptor is opened first: its user may not pass the directories above it. */
static int child_ids(const struct spawn *s, int *program_fd)
{
	if (!s->drop_ids)
		return 0;
	*program_fd = open(program_of(s), O_PATH | O_CLOEXEC);
	if (setgroups(0, NULL) < 0 || setresgid(s->gid, s->gid, s->gid) < 0 ||
	    setresuid(s->uid, s->uid, s->uid) < 0)
		return -1;
	return sys_capset(0, 0, 0);
}

/* The parent reads the report until exec: if nobody does, it died before the first line. */
static int child_tie(int report_fd)
{
	struct pollfd report = { .fd = report_fd };

	if (prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0) < 0 || poll(&report, 1, 0) < 0)
		return -1;
	if (report.revents & POLLERR) {
		errno = ESRCH;
		return -1;
	}
	return 0;
}

/* Before it was raised; 0: it was not. */
static rlim_t files_before;

void spawn_raise_files(uint64_t max)
{
	struct rlimit lim;

	if (getrlimit(RLIMIT_NOFILE, &lim) < 0 || lim.rlim_cur >= lim.rlim_max ||
	    lim.rlim_cur >= max)
		return;
	if (!files_before)
		files_before = lim.rlim_cur;
	lim.rlim_cur = lim.rlim_max < max ? lim.rlim_max : max;
	if (setrlimit(RLIMIT_NOFILE, &lim) < 0)
		log_warn(NULL, "RLIMIT_NOFILE is not raised: %s", strerror(errno));
}

static int child_files(uint64_t max)
{
	struct rlimit lim;

	if (!max && !files_before)
		return 0;
	if (getrlimit(RLIMIT_NOFILE, &lim) < 0)
		return -1;
	if (max) /* raising the hard limit may be refused: use all of it */
		lim.rlim_cur = lim.rlim_max < max ? lim.rlim_max : max;
	else
		lim.rlim_cur = files_before;
	return setrlimit(RLIMIT_NOFILE, &lim);
}

static int child_rlimit(const struct spawn *s)
{
	const struct rlimit none = { 0, 0 };

	if (s->no_core && setrlimit(RLIMIT_CORE, &none) < 0)
		return -1;
	return child_files(s->max_files);
}

/* Runs the steps in order; returns the one that failed. */
static enum spawn_step child_steps(const struct spawn *s, int *report_fd, int *program_fd,
				   int *detail)
{
	struct lifted l = { .report = -1 };

	if (child_lift(s, report_fd, &l) < 0)
		return STEP_FDS;
	if (child_stdio(s) < 0)
		return STEP_STDIO;
	if (child_fds(s, &l) < 0)
		return STEP_FDS;
	if (child_join_cgroup(s) < 0)
		return STEP_CGROUP;
	if (child_join(s, &l) < 0)
		return STEP_JOIN;
	if (child_oom(s) < 0)
		return STEP_OOM;
	if (child_unshare(s) < 0)
		return STEP_UNSHARE;
	if (child_root(s, detail) < 0)
		return STEP_ROOT;
	if (child_rlimit(s) < 0)
		return STEP_RLIMIT;
	if (s->new_session && setsid() < 0)
		return STEP_SESSION;
	if (child_caps(s) < 0)
		return STEP_CAPS;
	if (child_ids(s, program_fd) < 0)
		return STEP_IDS;
	if (child_tie(*report_fd) < 0)
		return STEP_DEATHSIG;
	if (s->no_new_privs && prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
		return STEP_NO_NEW_PRIVS;
	if (s->setup && s->setup(s->setup_arg) < 0)
		return STEP_SETUP;
	return STEP_EXEC;
}

/* Returns if it fails only, with errno set. */
static void child_exec(const struct spawn *s, int program_fd)
{
	static char *const default_env[] = {
		(char *)(uintptr_t) "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
		NULL,
	};
	char *const *env = s->envp ? s->envp : default_env;

	(void)execve(program_of(s), s->argv, env);
	if (errno == EACCES && program_fd >= 0)
		(void)sys_execveat(program_fd, s->argv, env);
}

static _Noreturn void child_main(const struct spawn *s, int report_fd)
{
	struct child_report r = { .detail = -1 };
	int program_fd = -1;

	signal_reset_all();
	(void)signal(SIGXFSZ, SIG_IGN); /* it says EFBIG instead of dying without a word */
	r.step = child_steps(s, &report_fd, &program_fd, &r.detail);
	if (r.step == STEP_EXEC)
		child_exec(s, program_fd);
	r.sys = errno;
	(void)!write(report_fd, &r, sizeof(r));
	_exit(127);
}

static pid_t make_child(const struct spawn *s)
{
	return s->unshare_flags & CLONE_NEWPID ? sys_fork_with(CLONE_NEWPID) : fork();
}

int spawn_run(const struct spawn *s, pid_t *pid_out, struct err *e)
{
	OWN(fd) int rd = -1;
	OWN(fd) int wr = -1;
	struct child_report r;
	struct err pipe_err;
	pid_t pid;
	int p[2];

	if (fd_pipe(p, e) < 0)
		return -1;
	rd = p[0];
	wr = p[1];
	pid = make_child(s);
	if (pid < 0)
		return err_sys(e, "make a process for '%s'", program_of(s));
	if (pid == 0) {
		fd_close(&rd);
		child_main(s, wr);
	}
	fd_close(&wr);
	if (fd_read_exact(rd, &r, sizeof(r), &pipe_err) == 0) {
		(void)waitpid(pid, NULL, 0);
		if (r.step <= STEP_NONE || r.step >= STEP_COUNT_)
			r.step = STEP_NONE;
		if (r.step == STEP_ROOT && r.detail >= 0 && (size_t)r.detail < s->root_count)
			return err_set(e, r.sys == ENOENT ? ERR_NOT_FOUND : ERR_SYS, r.sys,
				       "'%s': cannot put '%s' into its root directory",
				       program_of(s), s->root[r.detail].target);
		return err_set(e, r.sys == ENOENT ? ERR_NOT_FOUND : ERR_SYS, r.sys,
			       "'%s': cannot %s", program_of(s), step_names[r.step]);
	}
	*pid_out = pid;
	return 0;
}
