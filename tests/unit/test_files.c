/* SPDX-License-Identifier: Apache-2.0 */
/* Descriptors, small files and paths below a hostile root, in a directory of our own. */
#include "unit.h"

#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/fd.h"
#include "base/own.h"
#include "base/path.h"

struct room {
	char top[64];
	int top_fd;  /* holds "root" and "outside" */
	int root_fd; /* the hostile root */
};

static int make_room(void **state)
{
	static struct room r;
	const char *tmp = getenv("TMPDIR");

	(void)snprintf(r.top, sizeof(r.top), "%s/kata-unit.XXXXXX", tmp ? tmp : "/tmp");
	if (!mkdtemp(r.top))
		return -1;
	r.top_fd = open(r.top, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (r.top_fd < 0 || mkdirat(r.top_fd, "root", 0755) < 0 ||
	    mkdirat(r.top_fd, "outside", 0755) < 0)
		return -1;
	r.root_fd = openat(r.top_fd, "root", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	*state = &r;
	return r.root_fd < 0 ? -1 : 0;
}

static int leave_room(void **state)
{
	struct room *r = *state;
	struct err e;

	fd_close(&r->root_fd);
	fd_close(&r->top_fd);
	return path_remove_tree(AT_FDCWD, r->top, &e);
}

static bool exists(int dirfd, const char *path)
{
	return faccessat(dirfd, path, F_OK, AT_SYMLINK_NOFOLLOW) == 0;
}

static void test_fd_whole(void **state)
{
	OWN(fd) int a = -1;
	OWN(fd) int b = -1;
	char in[5];
	struct err e;
	int p[2];

	assert_ok(fd_pipe(p, &e), &e);
	a = p[0];
	b = p[1];
	assert_true(fcntl(a, F_GETFD) & FD_CLOEXEC);
	assert_ok(fd_write_all(b, "hello", 5, &e), &e);
	assert_ok(fd_read_exact(a, in, 5, &e), &e);
	assert_memory_equal(in, "hello", 5);
	assert_ok(fd_write_all(b, "he", 2, &e), &e);
	fd_close(&b);
	assert_err(fd_read_exact(a, in, 5, &e), &e, ERR_PEER);
	assert_err(fd_read_exact(-1, in, 5, &e), &e, ERR_SYS);
}

static void test_read_to_end(void **state)
{
	OWN(buf) struct buf b = { .limit = 4 };
	OWN(fd) int a = -1;
	OWN(fd) int w = -1;
	struct err e;
	int p[2];

	assert_ok(fd_socketpair(p, &e), &e);
	a = p[0];
	w = p[1];
	assert_ok(fd_write_all(w, "1234", 4, &e), &e);
	assert_int_equal(shutdown(w, SHUT_WR), 0);
	assert_ok(fd_read_to_end(a, &b, &e), &e);
	assert_string_equal(buf_cstr(&b), "1234");
}

static void test_flags(void **state)
{
	OWN(fd) int fd = open("/dev/null", O_RDWR | O_CLOEXEC);
	struct err e;

	assert_ok(fd_set_nonblock(fd, true, &e), &e);
	assert_true(fcntl(fd, F_GETFL) & O_NONBLOCK);
	assert_ok(fd_set_nonblock(fd, false, &e), &e);
	assert_false(fcntl(fd, F_GETFL) & O_NONBLOCK);
	assert_ok(fd_set_cloexec(fd, false, &e), &e);
	assert_false(fcntl(fd, F_GETFD) & FD_CLOEXEC);
	assert_err(fd_set_nonblock(-1, true, &e), &e, ERR_SYS);
}

static void test_reserved(void **state)
{
	struct room *r = *state;
	OWN(free) char *text = NULL;
	struct stat st;
	struct err e;

	/* not needed: as file_replace(), and the reserve is gone */
	assert_ok(file_reserve(r->top_fd, "kept", &e), &e);
	assert_int_equal(fstatat(r->top_fd, "kept.reserve", &st, 0), 0);
	assert_int_equal(st.st_size, FILE_RESERVE_BYTES);
	assert_ok(file_replace_reserved(r->top_fd, "kept", "text", 4, &e), &e);
	assert_int_equal(fstatat(r->top_fd, "kept", &st, 0), 0);
	assert_int_equal(st.st_size, 4);
	assert_int_equal(fstatat(r->top_fd, "kept.reserve", &st, 0), -1);
	/* without one it is as good as it can be */
	assert_ok(file_replace_reserved(r->top_fd, "kept", "other", 5, &e), &e);
	assert_ok(file_read(r->top_fd, "kept", 100, &text, NULL, &e), &e);
	assert_string_equal(text, "other");
}

static void test_file_replace(void **state)
{
	struct room *r = *state;
	OWN(free) char *s = NULL;
	struct err e;
	size_t len;

	assert_ok(file_replace(r->top_fd, "f", "one", 3, 0600, true, &e), &e);
	assert_ok(file_replace(r->top_fd, "f", "second", 6, 0600, false, &e), &e);
	assert_ok(file_read(r->top_fd, "f", 6, &s, &len, &e), &e);
	assert_string_equal(s, "second");
	assert_int_equal(len, 6);
	assert_int_equal(mkdirat(r->top_fd, "full", 0755), 0);
	assert_int_equal(mkdirat(r->top_fd, "full/x", 0755), 0);
	/* the name is taken by a directory: an error, and no temporary file stays */
	assert_err(file_replace(r->top_fd, "full/x", "y", 1, 0600, true, &e), &e, ERR_SYS);
	assert_int_equal(unlinkat(r->top_fd, "full/x", AT_REMOVEDIR), 0);
	assert_int_equal(unlinkat(r->top_fd, "full", AT_REMOVEDIR), 0);
	assert_err(file_replace(r->top_fd, "no/f", "y", 1, 0600, true, &e), &e, ERR_SYS);
}

static size_t entries_of(int dirfd)
{
	DIR *dir = fdopendir(openat(dirfd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
	size_t n = 0;

	assert_non_null(dir);
	while (readdir(dir))
		n++;
	(void)closedir(dir);
	return n;
}

/* No room for the new text: the old one stays, and nothing beside it. */
static void test_replace_without_room(void **state)
{
	static char large[8192];
	struct rlimit old, none;
	struct room *r = *state;
	OWN(free) char *s = NULL;
	size_t before;
	struct err e;

	assert_ok(file_replace(r->top_fd, "f", "old", 3, 0600, true, &e), &e);
	before = entries_of(r->top_fd);
	(void)signal(SIGXFSZ, SIG_IGN);
	assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
	none = (struct rlimit){ .rlim_cur = 4096, .rlim_max = old.rlim_max };
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &none), 0);
	assert_err(file_replace(r->top_fd, "f", large, sizeof(large), 0600, true, &e), &e,
		   ERR_SYS);
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &old), 0);
	assert_int_equal(e.sys, EFBIG);
	assert_string_equal(e.msg, "write 'f': write: File too large");
	assert_ok(file_read(r->top_fd, "f", 100, &s, NULL, &e), &e);
	assert_string_equal(s, "old");
	assert_int_equal(entries_of(r->top_fd), before);
}

/* Errors name the file, and the value that was to go there. */
static void test_values(void **state)
{
	struct room *r = *state;
	char line[8] = "before";
	struct err e;

	assert_err(file_read_line(r->top_fd, "none", line, sizeof(line), &e), &e,
		   ERR_NOT_FOUND);
	assert_string_equal(e.msg, "open 'none': No such file or directory");
	assert_err(file_read_line(r->top_fd, "root", line, sizeof(line), &e), &e, ERR_SYS);
	assert_string_equal(e.msg, "read 'root': Is a directory");
	assert_string_equal(line, "before");
	assert_ok(file_replace(r->top_fd, "f", "twelve bytes", 12, 0600, false, &e), &e);
	assert_ok(file_read_line(r->top_fd, "f", line, sizeof(line), &e), &e);
	assert_string_equal(line, "twelve "); /* as much as fits */
	assert_ok(file_replace(r->top_fd, "f", "\n\n", 2, 0600, false, &e), &e);
	assert_ok(file_read_line(r->top_fd, "f", line, sizeof(line), &e), &e);
	assert_string_equal(line, "");
	assert_err(file_write_value(r->top_fd, "root", "1", &e), &e, ERR_SYS);
	assert_err(file_write_value(AT_FDCWD, "/dev/full", "max", &e), &e, ERR_SYS);
	assert_string_equal(e.msg, "write 'max' to '/dev/full': No space left on device");
}

static void test_descriptor_errors(void **state)
{
	OWN(buf) struct buf b = { .limit = 4 };
	OWN(fd) int null = open("/dev/zero", O_RDONLY | O_CLOEXEC);
	OWN(fd) int full = open("/dev/full", O_WRONLY | O_CLOEXEC);
	struct rlimit old, few;
	int out[2] = { 7, 7 };
	struct err e;

	assert_err(fd_read_to_end(null, &b, &e), &e, ERR_INVALID);
	assert_string_equal(e.msg, "larger than 4 bytes");
	assert_err(fd_read_to_end(full, &b, &e), &e, ERR_SYS);
	buf_clear(&b);
	assert_err(fd_read_to_end(full, &b, &e), &e, ERR_SYS);
	assert_err(fd_write_all(full, "x", 1, &e), &e, ERR_SYS);
	assert_int_equal(e.sys, ENOSPC);
	assert_err(fd_set_cloexec(-1, true, &e), &e, ERR_SYS);
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &old), 0);
	few = (struct rlimit){ .rlim_cur = 3, .rlim_max = old.rlim_max };
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &few), 0);
	assert_err(fd_pipe(out, &e), &e, ERR_SYS);
	assert_string_equal(e.msg, "pipe: Too many open files");
	assert_err(fd_socketpair(out, &e), &e, ERR_SYS);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &old), 0);
	assert_int_equal(out[0], 7);
	assert_int_equal(out[1], 7);
}

static void test_file_read(void **state)
{
	struct room *r = *state;
	char *s = NULL, line[8];
	struct err e;

	assert_err(file_read(r->top_fd, "none", 9, &s, NULL, &e), &e, ERR_NOT_FOUND);
	assert_err(file_read(r->top_fd, "root", 9, &s, NULL, &e), &e, ERR_INVALID);
	assert_int_equal(mkfifoat(r->top_fd, "fifo", 0600), 0);
	assert_err(file_read(r->top_fd, "fifo", 9, &s, NULL, &e), &e, ERR_INVALID);
	assert_ok(file_replace(r->top_fd, "f", "twelve bytes", 12, 0600, false, &e), &e);
	assert_err(file_read(r->top_fd, "f", 11, &s, NULL, &e), &e, ERR_INVALID);
	assert_null(s);
	assert_ok(file_replace(r->top_fd, "f", "max\n", 4, 0600, false, &e), &e);
	assert_ok(file_read_line(r->top_fd, "f", line, sizeof(line), &e), &e);
	assert_string_equal(line, "max");
	assert_ok(file_write_value(r->top_fd, "f", "12", &e), &e);
	assert_err(file_write_value(r->top_fd, "none", "12", &e), &e, ERR_NOT_FOUND);
}

static void test_beneath(void **state)
{
	struct room *r = *state;
	OWN(fd) int fd = -1;
	struct err e;

	assert_int_equal(symlinkat("/../../outside", r->root_fd, "up"), 0);
	assert_int_equal(symlinkat("../outside", r->root_fd, "rel"), 0);
	assert_int_equal(symlinkat("/proc/self/fd/0", r->root_fd, "magic"), 0);
	assert_int_equal(symlinkat("loop", r->root_fd, "loop"), 0);
	assert_err(path_open_beneath(r->root_fd, "up", O_PATH, 0, &fd, &e), &e, ERR_NOT_FOUND);
	assert_err(path_open_beneath(r->root_fd, "rel", O_PATH, 0, &fd, &e), &e, ERR_NOT_FOUND);
	assert_err(path_open_beneath(r->root_fd, "../../outside", O_PATH, 0, &fd, &e), &e,
		   ERR_NOT_FOUND);
	assert_err(path_open_beneath(r->root_fd, "magic", O_PATH, 0, &fd, &e), &e,
		   ERR_NOT_FOUND);
	assert_err(path_open_beneath(r->root_fd, "loop", O_PATH, 0, &fd, &e), &e, ERR_SYS);
	assert_int_equal(fd, -1);
	assert_int_equal(mkdirat(r->root_fd, "outside", 0755), 0);
	/* through the link, but to a place of that name inside */
	assert_ok(path_mkdirs_beneath(r->root_fd, "up/a/b", 0700, NULL, &e), &e);
	assert_true(exists(r->root_fd, "outside/a/b"));
	assert_false(exists(r->top_fd, "outside/a"));
	assert_ok(path_mkfile_beneath(r->root_fd, "/../up/a/f", 0600, &fd, &e), &e);
	assert_true(exists(r->root_fd, "outside/a/f"));
	assert_false(exists(r->top_fd, "outside/a"));
}

static void test_mkfile(void **state)
{
	struct room *r = *state;
	OWN(fd) int fd = -1;
	struct err e;

	assert_int_equal(mkfifoat(r->root_fd, "fifo", 0600), 0);
	assert_ok(path_mkfile_beneath(r->root_fd, "fifo", 0600, &fd, &e), &e);
	assert_ok(path_mkfile_beneath(r->root_fd, "plain", 0640, NULL, &e), &e);
	assert_true(exists(r->root_fd, "plain"));
	assert_err(path_mkfile_beneath(r->root_fd, "a/", 0600, NULL, &e), &e, ERR_INVALID);
	assert_err(path_mkfile_beneath(r->root_fd, "..", 0600, NULL, &e), &e, ERR_INVALID);
	assert_err(path_mkdirs_beneath(r->root_fd, "plain/x", 0755, NULL, &e), &e, ERR_SYS);
}

/* As a runtime on a host does: /etc/resolv.conf of a root that systemd-resolved filled. */
static void test_links_to_what_is_missing(void **state)
{
	struct room *r = *state;
	OWN(fd) int fd = -1;
	struct err e;

	assert_int_equal(mkdirat(r->root_fd, "etc", 0755), 0);
	assert_int_equal(symlinkat("../run/resolve/stub", r->root_fd, "etc/resolv"), 0);
	assert_ok(path_mkfile_beneath(r->root_fd, "/etc/resolv", 0644, &fd, &e), &e);
	assert_true(exists(r->root_fd, "run/resolve/stub"));
	/* outside is inside, by links upon links */
	assert_int_equal(symlinkat("/../../a/b", r->root_fd, "one"), 0);
	assert_int_equal(symlinkat("one/../two/./c", r->root_fd, "two"), 0);
	assert_ok(path_mkdirs_beneath(r->root_fd, "one/x", 0755, NULL, &e), &e);
	assert_true(exists(r->root_fd, "a/b/x"));
	assert_false(exists(r->top_fd, "a"));
	assert_ok(path_mkdirs_beneath(r->root_fd, "two", 0755, NULL, &e), &e);
	assert_true(exists(r->root_fd, "a/two/c"));
	assert_int_equal(symlinkat("three/x", r->root_fd, "three"), 0);
	assert_err(path_mkfile_beneath(r->root_fd, "three", 0600, NULL, &e), &e, ERR_SYS);
	/* no file can be where a link says that a directory is */
	assert_int_equal(symlinkat("four/five/", r->root_fd, "six"), 0);
	assert_err(path_mkfile_beneath(r->root_fd, "six", 0600, NULL, &e), &e, ERR_INVALID);
	assert_false(exists(r->root_fd, "four"));
	assert_ok(path_mkdirs_beneath(r->root_fd, "six//seven/", 0755, NULL, &e), &e);
	assert_true(exists(r->root_fd, "four/five/seven"));
}

static void test_mkdirs(void **state)
{
	struct room *r = *state;
	char path[160];
	struct err e;

	(void)snprintf(path, sizeof(path), "%s//m/n///o/", r->top);
	assert_ok(path_mkdirs(path, 0755, &e), &e);
	assert_ok(path_mkdirs(path, 0755, &e), &e);
	assert_true(exists(r->top_fd, "m/n/o"));
	assert_ok(file_replace(r->top_fd, "m/f", "", 0, 0600, false, &e), &e);
	(void)snprintf(path, sizeof(path), "%s/m/f", r->top);
	assert_err(path_mkdirs(path, 0755, &e), &e, ERR_EXISTS);
	assert_err(path_mkdirs("", 0755, &e), &e, ERR_INVALID);
}

static void test_remove_tree(void **state)
{
	struct room *r = *state;
	struct err e;

	assert_ok(path_mkdirs_beneath(r->root_fd, "t/a/b/c", 0755, NULL, &e), &e);
	assert_ok(path_mkfile_beneath(r->root_fd, "t/a/f", 0600, NULL, &e), &e);
	assert_ok(file_replace(r->top_fd, "outside/keep", "", 0, 0600, false, &e), &e);
	assert_int_equal(symlinkat("../../../outside", r->root_fd, "t/a/link"), 0);
	assert_ok(path_remove_tree(r->root_fd, "t/", &e), &e);
	assert_false(exists(r->root_fd, "t"));
	assert_true(exists(r->top_fd, "outside/keep"));
	assert_ok(path_remove_tree(r->root_fd, "t", &e), &e);
	assert_ok(path_remove_tree(r->root_fd, "none/t", &e), &e);
	assert_err(path_remove_tree(r->root_fd, "..", &e), &e, ERR_INVALID);
	assert_err(path_remove_tree(r->root_fd, "/", &e), &e, ERR_INVALID);
	assert_err(path_remove_tree(r->root_fd, "", &e), &e, ERR_INVALID);
}

/* A chain of directories, far deeper than there are descriptors, with a file at its end. */
static void make_chain(int dirfd, const char *name, int levels)
{
	OWN(fd) int at = dup(dirfd);
	struct err e;

	for (int i = 0; i < levels; i++) {
		int next;

		assert_int_equal(mkdirat(at, i ? "d" : name, 0755), 0);
		next = openat(at, i ? "d" : name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		assert_true(next >= 0);
		fd_close(&at);
		at = next;
		if (i % 400 == 0)
			assert_ok(file_replace(at, "f", "", 0, 0600, false, &e), &e);
	}
}

/* Whoever fills a tree chooses its depth: that must not keep it from being removed. */
static void test_remove_deep(void **state)
{
	struct room *r = *state;
	OWN(fd) int tree = -1;
	size_t before = entries_of(r->root_fd);
	struct err e;

	assert_int_equal(mkdirat(r->root_fd, "t", 0755), 0);
	tree = openat(r->root_fd, "t", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	for (int i = 0; i < 3; i++) {
		char name[8];

		(void)snprintf(name, sizeof(name), "c%d", i);
		make_chain(tree, name, 250 + 1000 * i);
	}
	assert_ok(path_remove_tree(r->root_fd, "t", &e), &e);
	assert_int_equal(entries_of(r->root_fd), before);
	make_chain(r->root_fd, "edge", 257);
	assert_ok(path_remove_tree(r->root_fd, "edge", &e), &e);
	make_chain(r->root_fd, "edge", 258);
	assert_ok(path_remove_tree(r->root_fd, "edge", &e), &e);
	assert_int_equal(entries_of(r->root_fd), before);
}

/* Paths that are too long, and a root that is gone. */
static void test_long_paths(void **state)
{
	struct room *r = *state;
	static char path[2 * PATH_MAX];
	OWN(fd) int gone = -1;
	struct err e;
	int out = 7;

	memset(path, 'n', sizeof(path) - 1);
	assert_err(path_mkdirs(path, 0755, &e), &e, ERR_INVALID);
	assert_err(path_mkdirs_beneath(r->root_fd, path, 0755, &out, &e), &e, ERR_INVALID);
	assert_err(path_mkfile_beneath(r->root_fd, path, 0600, &out, &e), &e, ERR_INVALID);
	path[NAME_MAX + 1] = '\0';
	assert_err(path_mkdirs_beneath(r->root_fd, path, 0755, &out, &e), &e, ERR_INVALID);
	assert_non_null(strstr(e.msg, "component of 'nnn"));
	assert_int_equal(mkdirat(r->top_fd, "gone", 0755), 0);
	gone = openat(r->top_fd, "gone", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	assert_int_equal(unlinkat(r->top_fd, "gone", AT_REMOVEDIR), 0);
	assert_err(path_mkdirs_beneath(gone, "a", 0755, &out, &e), &e, ERR_SYS);
	assert_string_equal(e.msg, "mkdir 'a': No such file or directory");
	assert_err(path_mkdirs_beneath(-1, "a", 0755, &out, &e), &e, ERR_SYS);
	assert_int_equal(out, 7);
}

/* A mount inside of a tree stops its removal, and keeps what it holds. Needs a mount. */
static void test_mount_inside(void **state)
{
	struct room *r = *state;
	char path[160];
	int status;
	pid_t pid;

	if (geteuid() != 0) {
		skip_because("only root can mount");
	}
	(void)snprintf(path, sizeof(path), "%s/root/t/m", r->top);
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		struct err e;

		if (unshare(CLONE_NEWNS) < 0 ||
		    mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
		    path_mkdirs_beneath(r->root_fd, "t/m", 0755, NULL, &e) < 0 ||
		    mount("unit", path, "tmpfs", 0, NULL) < 0)
			_exit(2);
		(void)snprintf(path, sizeof(path), "%s/root/t/m/keep", r->top);
		if (path_mkdirs(path, 0755, &e) < 0)
			_exit(3);
		/* as the mount's namespace sees it, and as the one outside does */
		(void)snprintf(path, sizeof(path), "%s/root/t", r->top);
		if (path_remove_tree(AT_FDCWD, path, &e) == 0 || e.kind != ERR_STATE ||
		    !strstr(e.msg, "t: remove 'm': "))
			_exit(4);
		if (path_remove_tree(r->root_fd, "t", &e) == 0 || e.kind != ERR_STATE)
			_exit(5);
		(void)snprintf(path, sizeof(path), "%s/root/t/m/keep", r->top);
		_exit(access(path, F_OK) == 0 ? 0 : 6);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
}

static void test_names(void **state)
{
	static const char *const good[] = { "a", "0", "a.b-c_d", "A9" };
	static const char *const bad[] = {
		"", ".", "..", "-a", "_a", "a/b", "a b", "a\n", "ä"
	};
	char name[PATH_FD_LEN];
	struct err e;

	for (size_t i = 0; i < ARRAY_LEN(good); i++)
		assert_ok(path_check_id(good[i], 76, "id", &e), &e);
	for (size_t i = 0; i < ARRAY_LEN(bad); i++)
		assert_err(path_check_id(bad[i], 76, "id", &e), &e, ERR_INVALID);
	assert_err(path_check_id("abcd", 3, "id", &e), &e, ERR_INVALID);
	assert_true(path_is_component("..."));
	assert_false(path_is_component(".."));
	assert_false(path_is_component("a/b"));
	assert_string_equal(path_of_fd(7, name), "/proc/self/fd/7");
}

static void test_clean(void **state)
{
	static const char *const rows[][2] = {
		{ "/", "/" },
		{ "//", "/" },
		{ "/a", "/a" },
		{ "/a//b/", "/a/b" },
		{ "/./a/.", "/a" },
		{ "/a/../b", "/b" },
		{ "/../../a", "/a" },
		{ "/a/b/../..", "/" },
		{ "/a/.../b", "/a/.../b" },
		{ "/..a/b..", "/..a/b.." },
	};

	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		OWN(free) char *s = strdup(rows[i][0]);

		path_clean(s);
		assert_string_equal(s, rows[i][1]);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_fd_whole),
		cmocka_unit_test(test_read_to_end),
		cmocka_unit_test(test_flags),
		cmocka_unit_test_setup_teardown(test_reserved, make_room, leave_room),
		cmocka_unit_test_setup_teardown(test_file_replace, make_room, leave_room),
		cmocka_unit_test_setup_teardown(test_file_read, make_room, leave_room),
		cmocka_unit_test_setup_teardown(test_beneath, make_room, leave_room),
		cmocka_unit_test_setup_teardown(test_mkfile, make_room, leave_room),
		cmocka_unit_test_setup_teardown(test_links_to_what_is_missing, make_room,
						leave_room),
		cmocka_unit_test_setup_teardown(test_mkdirs, make_room, leave_room),
		cmocka_unit_test_setup_teardown(test_remove_tree, make_room, leave_room),
		cmocka_unit_test_setup_teardown(test_replace_without_room, make_room,
						leave_room),
		cmocka_unit_test_setup_teardown(test_values, make_room, leave_room),
		cmocka_unit_test_setup_teardown(test_remove_deep, make_room, leave_room),
		cmocka_unit_test_setup_teardown(test_long_paths, make_room, leave_room),
		cmocka_unit_test_setup_teardown(test_mount_inside, make_room, leave_room),
		cmocka_unit_test(test_descriptor_errors),
		cmocka_unit_test(test_names),
		cmocka_unit_test(test_clean),
	};

	return cmocka_run_group_tests_name("files", tests, NULL, NULL);
}
