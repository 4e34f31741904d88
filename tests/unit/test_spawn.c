/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Helpers in a root, a user and a session of their own, and every step of their start that can
 * fail. The helper is this program once more: it says what it sees.
 */
#include "unit.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/fd.h"
#include "base/own.h"
#include "base/path.h"
#include "base/str.h"
#include "base/sys.h"
#include "event/spawn.h"

static char dir[] = "/tmp/kata-spawn.XXXXXX";
static char self[256];

/* ---- the helper ---- */

static void tell(const char *path)
{
	struct stat st;

	if (lstat(path, &st) < 0)
		(void)printf("%s:%s ", path, strerror(errno));
	else
		(void)printf("%s:%o:%u:%x ", path, st.st_mode, st.st_uid, (unsigned)st.st_rdev);
}

static void tell_write(const char *path)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);

	(void)printf("%s>%s ", path, fd < 0 ? strerror(errno) : "ok");
}

static void tell_file(const char *path)
{
	char text[64] = "";
	struct err e;

	if (file_read_line(AT_FDCWD, path, text, sizeof(text), &e) < 0)
		(void)snprintf(text, sizeof(text), "%.60s", e.msg);
	(void)printf("%s=%s ", path, text);
}

static void tell_self(void)
{
	uint64_t effective, permitted, inheritable;
	struct rlimit core, files;

	(void)sys_capget(&effective, &permitted, &inheritable);
	(void)getrlimit(RLIMIT_CORE, &core);
	(void)getrlimit(RLIMIT_NOFILE, &files);
	(void)printf(
		"pid=%d parent=%d uid=%u gid=%u caps=%llx/%llx groups=%d nnp=%d leader=%d core=%llu "
		"files=%llu bound=%d ",
		(int)getpid(), (int)getppid(), getuid(), getgid(),
		(unsigned long long)effective, (unsigned long long)permitted,
		getgroups(0, NULL), prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0),
		getsid(0) == getpid(), (unsigned long long)core.rlim_cur,
		(unsigned long long)files.rlim_cur, prctl(PR_CAPBSET_READ, 0, 0, 0, 0));
}

static int helper(int argc, char **argv)
{
	for (int i = 2; i < argc; i++) {
		if (argv[i][0] == '>')
			tell_write(argv[i] + 1);
		else if (argv[i][0] == '=')
			tell_file(argv[i] + 1);
		else if (strcmp(argv[i], "self") == 0)
			tell_self();
		else if (strcmp(argv[i], "pause") == 0)
			(void)pause();
		else
			tell(argv[i]);
	}
	return 0;
}

/* ---- the tests ---- */

static char *word(const char *s)
{
	return (char *)(uintptr_t)s;
}

/* Runs this program as a helper; what it says, ended. */
static int said(struct spawn *s, char *const *what, char **out, struct err *e)
{
	char *argv[16] = { self, word("--helper") };
	OWN(buf) struct buf b = { .limit = 8192 };
	OWN(fd) int rd = -1;
	OWN(fd) int wr = -1;
	int p[2], status;
	pid_t pid;

	for (size_t i = 0; what[i]; i++)
		argv[i + 2] = what[i];
	assert_ok(fd_pipe(p, e), e);
	rd = p[0];
	wr = p[1];
	s->argv = argv;
	s->stdout_fd = wr;
	if (spawn_run(s, &pid, e) < 0)
		return -1;
	fd_close(&wr);
	assert_ok(fd_read_to_end(rd, &b, e), e);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
	*out = buf_take_str(&b);
	return 0;
}

static void assert_says(const char *text, const char *want)
{
	if (!text || !strstr(text, want))
		fail_msg("'%s' lacks '%s'", text ? text : "", want);
}

static void need_root(void)
{
	if (geteuid() == 0)
		return;
	skip_because("only root can start helpers in a root of their own");
}

static void write_file(const char *name, const char *text)
{
	char path[128];
	struct err e;

	(void)snprintf(path, sizeof(path), "%s/%s", dir, name);
	assert_ok(file_replace(AT_FDCWD, path, text, strlen(text), 0644, false, &e), &e);
}

/* Everything of this machine that a dynamic program needs, and what a test adds. */
static size_t base_mounts(struct spawn_mount *m)
{
	static const char *const system_dirs[] = { "/usr", "/lib", "/lib64", "/bin" };
	size_t n = 0;

	for (size_t i = 0; i < ARRAY_LEN(system_dirs); i++)
		m[n++] = (struct spawn_mount){ .kind = SPAWN_BIND,
					       .source = system_dirs[i],
					       .target = system_dirs[i],
					       .read_only = true,
					       .optional = true };
	m[n++] = (struct spawn_mount){
		.kind = SPAWN_BIND, .source = self, .target = self, .read_only = true
	};
	return n;
}

static void test_root(void **state)
{
	char *what[] = { word("/"),          word("/etc"),
			 word("/data/file"), word(">/data/new"),
			 word(">/keep/new"), word("/null"),
			 word("/link"),      word(">/new"),
			 word("/gone"),      word("=/proc/self/comm"),
			 word("/proc/sys"),  NULL };
	struct spawn_mount m[16] = { 0 };
	struct spawn s = SPAWN_INIT;
	char keep[64], data[64], link[64];
	OWN(free) char *text = NULL;
	size_t n;
	struct err e;

	need_root();
	n = base_mounts(m);
	(void)snprintf(data, sizeof(data), "%s/data", dir);
	(void)snprintf(keep, sizeof(keep), "%s/keep", dir);
	(void)snprintf(link, sizeof(link), "%s/link", dir);
	assert_ok(path_mkdirs(data, 0755, &e), &e);
	assert_ok(path_mkdirs(keep, 0755, &e), &e);
	write_file("data/file", "x");
	assert_int_equal(symlink("data/file", link), 0);
	m[n++] = (struct spawn_mount){ .kind = SPAWN_BIND, .source = data, .target = "/data" };
	m[n++] = (struct spawn_mount){
		.kind = SPAWN_BIND, .source = keep, .target = "/keep", .read_only = true
	};
	m[n++] = (struct spawn_mount){ .kind = SPAWN_BIND, .source = link, .target = "/link" };
	m[n++] = (struct spawn_mount){ .kind = SPAWN_NODE,
				       .source = "/dev/null",
				       .target = "/null" };
	m[n++] = (struct spawn_mount){ .kind = SPAWN_PROC, .target = "/proc" };
	m[n++] = (struct spawn_mount){
		.kind = SPAWN_BIND, .source = "/no/such", .target = "/gone", .optional = true
	};
	s.unshare_flags = CLONE_NEWNS;
	s.root = m;
	s.root_count = n;
	assert_ok(said(&s, what, &text, &e), &e);
	assert_says(text, "/:40755:0:0 ");
	assert_says(text, "/etc:No such file or directory ");
	assert_says(text, "/data/file:100644:0:0 ");
	assert_says(text, "/data/new>ok ");
	assert_says(text, "/keep/new>Read-only file system ");
	assert_says(text, "/null:20600:0:103 ");
	assert_says(text, "/link:120777:0:0 ");
	assert_says(text, "/new>Read-only file system ");
	assert_says(text, "/gone:No such file or directory ");
	assert_says(text, "/proc/self/comm=test_spawn ");
	assert_says(text, "/proc/sys:No such file or directory ");
}

/* Not even processes of the same user are there for it. */
static void test_processes(void **state)
{
	char *what[] = { word("self"), word("=/proc/self/comm"), word("/proc/1"),
			 word("/proc/2"), NULL };
	struct spawn_mount m[8] = { 0 };
	struct spawn s = SPAWN_INIT;
	OWN(free) char *text = NULL;
	char other[32];
	size_t n;
	struct err e;

	need_root();
	n = base_mounts(m);
	m[n++] = (struct spawn_mount){ .kind = SPAWN_PROC, .target = "/proc" };
	(void)snprintf(other, sizeof(other), "/proc/%d", (int)getpid());
	what[3] = other;
	s.unshare_flags = CLONE_NEWNS | CLONE_NEWPID;
	s.root = m;
	s.root_count = n;
	assert_ok(said(&s, what, &text, &e), &e);
	assert_says(text, "pid=1 parent=0 ");
	assert_says(text, "/proc/self/comm=test_spawn ");
	assert_says(text, "/proc/1:40");
	(void)snprintf(other, sizeof(other), "/proc/%d:No such", (int)getpid());
	assert_says(text, other);
}

static void test_user(void **state)
{
	char *what[] = { word("self"), word("=/proc/self/oom_score_adj"), word("/null"), NULL };
	struct spawn_mount m[16] = { 0 };
	struct spawn s = SPAWN_INIT;
	OWN(free) char *text = NULL;
	OWN(free) char *plain = NULL;
	OWN(free) char *capable = NULL;
	struct err e;
	size_t n;

	need_root();
	n = base_mounts(m);
	m[n++] = (struct spawn_mount){ .kind = SPAWN_NODE,
				       .source = "/dev/null",
				       .target = "/null" };
	m[n++] = (struct spawn_mount){ .kind = SPAWN_PROC, .target = "/proc" };
	s.unshare_flags = CLONE_NEWNS;
	s.root = m;
	s.root_count = n;
	s.drop_ids = true;
	s.uid = 1234;
	s.gid = 5678;
	s.no_new_privs = s.new_session = s.no_core = true;
	s.max_files = 64;
	s.oom_score_adj = 123;
	s.limit_caps = true;
	assert_ok(said(&s, what, &text, &e), &e);
	assert_says(text, "uid=1234 gid=5678 caps=0/0 groups=0 nnp=1 leader=1 core=0 files=64 "
			  "bound=0 ");
	assert_says(text, "/proc/self/oom_score_adj=123 ");
	assert_says(text, "/null:20600:1234:103 ");
	/* without: root with the capabilities it may keep, here that of chown alone */
	s = (struct spawn)SPAWN_INIT;
	s.limit_caps = true;
	s.keep_caps = 1;
	assert_ok(said(&s, what, &capable, &e), &e);
	assert_says(capable, "uid=0 gid=0 caps=1/1 ");
	assert_says(capable, "bound=1 ");
	/* more than the hard limit allows: as much as it allows */
	s = (struct spawn)SPAWN_INIT;
	s.max_files = UINT64_MAX / 2;
	assert_ok(said(&s, what, &plain, &e), &e);
	assert_says(plain, "nnp=0 leader=0 ");
}

/* The limit that it had goes to its children, who may use select(2). */
static void test_raised_files(void **state)
{
	char *what[] = { word("self"), NULL };
	struct rlimit before, lim;
	struct spawn s = SPAWN_INIT;
	OWN(free) char *text = NULL;
	struct err e;

	(void)state;
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
	lim = (struct rlimit){ 100, before.rlim_max };
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &lim), 0);
	spawn_raise_files(200);
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &lim), 0);
	assert_int_equal(lim.rlim_cur, 200);
	spawn_raise_files(150); /* it has more */
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &lim), 0);
	assert_int_equal(lim.rlim_cur, 200);
	assert_ok(said(&s, what, &text, &e), &e);
	assert_says(text, "files=100 ");
	spawn_raise_files(UINT64_MAX);
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &lim), 0);
	assert_int_equal(lim.rlim_cur, before.rlim_max);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
}

static void test_netns(void **state)
{
	char *what[] = { word("=/proc/net/dev_mcast"), word("/proc/self/ns/net"), NULL };
	struct spawn s = SPAWN_INIT;
	OWN(free) char *text = NULL;
	struct spawn_ns join = { -1, CLONE_NEWNET };
	OWN(fd) int ns = -1;
	struct err e;

	need_root();
	ns = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
	assert_true(ns >= 0);
	join.fd = ns;
	s.ns = &join;
	s.ns_count = 1;
	s.unshare_flags = CLONE_NEWUTS;
	assert_ok(said(&s, what, &text, &e), &e);
	(void)close(fd_take(&ns));
	ns = open("/proc/self/ns/uts", O_RDONLY | O_CLOEXEC); /* of another kind */
	join.fd = ns;
	assert_err(said(&s, what, &text, &e), &e, ERR_SYS);
	assert_says(e.msg, "cannot join its namespaces: Invalid argument");
}

/* Each names the program and the step, or the place in its root. */
static void test_refused(void **state)
{
	static const struct spawn_mount missing = { .kind = SPAWN_BIND,
						    .source = "/no/such",
						    .target = "/x" },
					relative = { .kind = SPAWN_PROC, .target = "x" },
					to_root = { .kind = SPAWN_PROC, .target = "/" },
					device = { .kind = SPAWN_NODE,
						   .source = "/no/such",
						   .target = "/y" };
	static struct spawn_mount many[33];
	static struct spawn_fd fds[65];
	const struct {
		const struct spawn_mount *root;
		size_t root_count, fd_count;
		int flags;
		enum err_kind kind;
		const char *text;
	} rows[] = {
		{ &missing, 1, 0, CLONE_NEWNS, ERR_NOT_FOUND,
		  "cannot put '/x' into its root directory: No such file" },
		{ &device, 1, 0, CLONE_NEWNS, ERR_NOT_FOUND, "cannot put '/y' into its root" },
		{ &relative, 1, 0, CLONE_NEWNS, ERR_SYS, "cannot put 'x' into its root" },
		{ &to_root, 1, 0, CLONE_NEWNS, ERR_SYS, "cannot put '/' into its root" },
		{ many, 33, 0, CLONE_NEWNS, ERR_SYS,
		  "cannot make its root directory: Argument list too long" },
		{ NULL, 0, 65, 0, ERR_SYS,
		  "cannot hand descriptors over: Too many open files" },
		{ NULL, 0, 1, 0, ERR_SYS, "cannot hand descriptors over: Bad file descriptor" },
		{ NULL, 0, 0, 1, ERR_SYS, "cannot make its namespaces: Invalid" },
	};
	char *argv[] = { self, NULL };

	need_root();
	for (size_t i = 0; i < ARRAY_LEN(fds); i++)
		fds[i] = (struct spawn_fd){ .from = 999999, .to = (int)(3 + i) };
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct spawn s = SPAWN_INIT;
		pid_t pid = 7;
		struct err e;

		s.argv = argv;
		s.root = rows[i].root;
		s.root_count = rows[i].root_count;
		s.unshare_flags = rows[i].flags;
		s.fds = fds;
		s.fd_count = rows[i].fd_count;
		assert_err(spawn_run(&s, &pid, &e), &e, rows[i].kind);
		assert_says(e.msg, self);
		assert_says(e.msg, rows[i].text);
		assert_int_equal(pid, 7);
		assert_int_equal(waitpid(-1, NULL, WNOHANG), -1); /* none is left */
	}
}

/* Standard streams may sit anywhere, even on each other's numbers. */
static void test_streams(void **state)
{
	char *what[] = { word("/dev/null"), NULL };
	struct spawn s = SPAWN_INIT;
	OWN(free) char *text = NULL;
	struct err e;

	s.stdin_fd = 2;
	s.stderr_fd = 0;
	assert_ok(said(&s, what, &text, &e), &e);
	assert_says(text, "/dev/null:20");
	s.stdin_fd = 999999;
	assert_err(said(&s, what, &text, &e), &e, ERR_SYS);
	assert_says(e.msg, "cannot connect standard streams: Bad file descriptor");
}

/* A tree in /root, for example: its user may not pass the directories above the program. */
static void test_closed_directory(void **state)
{
	OWN(free) char *program = NULL;
	OWN(free) char *text = NULL;
	char *what[] = { word("self"), NULL };
	struct spawn s = SPAWN_INIT;
	OWN(fd) int from = -1;
	OWN(fd) int to = -1;
	struct stat st;
	struct err e;

	need_root();
	program = str_printf("%s/program", dir);
	from = open(self, O_RDONLY | O_CLOEXEC);
	assert_non_null(program);
	assert_int_equal(stat(dir, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0700);
	to = open(program, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0755);
	while (copy_file_range(from, NULL, to, NULL, 1 << 20, 0) > 0)
		;
	fd_close(&to);
	s.path = program;
	s.drop_ids = true;
	s.uid = s.gid = 1234;
	assert_ok(said(&s, what, &text, &e), &e);
	assert_says(text, "uid=1234 gid=1234 ");
	/* what it may not execute it still may not */
	assert_int_equal(chmod(program, 0700), 0);
	assert_int_equal(said(&s, what, &text, &e), -1);
	assert_non_null(strstr(e.msg, "Permission denied"));
}

/* The helper of a starter that is killed goes with it. */
static void check_tied(int flags)
{
	struct spawn s = SPAWN_INIT;
	char *argv[] = { self, word("--helper"), word("pause"), NULL };
	OWN(fd) int pidfd = -1;
	pid_t starter, pid = 0;
	struct err e;
	int p[2];

	assert_ok(fd_pipe(p, &e), &e);
	starter = fork();
	assert_true(starter >= 0);
	if (starter == 0) {
		s.argv = argv;
		s.unshare_flags = flags;
		if (spawn_run(&s, &pid, &e) < 0 ||
		    fd_write_all(p[1], &pid, sizeof(pid), &e) < 0)
			_exit(1);
		for (;;)
			(void)pause();
	}
	(void)close(p[1]);
	assert_ok(fd_read_exact(p[0], &pid, sizeof(pid), &e), &e);
	pidfd = sys_pidfd_open(pid);
	assert_true(pidfd >= 0);
	assert_int_equal(sys_pidfd_send_signal(pidfd, 0), 0);
	assert_int_equal(kill(starter, SIGKILL), 0);
	assert_int_equal(waitpid(starter, NULL, 0), starter);
	for (int i = 0; sys_pidfd_send_signal(pidfd, 0) == 0; i++) {
		assert_true(i < 1000); /* two seconds, until init has reaped it */
		(void)usleep(2000);
	}
	assert_int_equal(errno, ESRCH);
	(void)close(p[0]);
}

static void test_tied(void **state)
{
	check_tied(0);
}

static void test_tied_in_a_pid_namespace(void **state)
{
	need_root();
	check_tied(CLONE_NEWPID);
}

static int make_dir(void **state)
{
	ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);

	return n > 0 && mkdtemp(dir) ? 0 : -1;
}

static int remove_dir(void **state)
{
	struct err e;

	return path_remove_tree(AT_FDCWD, dir, &e);
}

int main(int argc, char **argv)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_root),
		cmocka_unit_test(test_user),
		cmocka_unit_test(test_raised_files),
		cmocka_unit_test(test_netns),
		cmocka_unit_test(test_refused),
		cmocka_unit_test(test_streams),
		cmocka_unit_test(test_closed_directory),
		cmocka_unit_test(test_tied),
		cmocka_unit_test(test_tied_in_a_pid_namespace),
		cmocka_unit_test(test_processes),
	};

	if (argc > 1 && strcmp(argv[1], "--helper") == 0)
		return helper(argc, argv);
	return cmocka_run_group_tests_name("spawn", tests, make_dir, remove_dir);
}
