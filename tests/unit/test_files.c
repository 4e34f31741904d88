/* SPDX-License-Identifier: Apache-2.0 */
/* Descriptors, small files and paths below a hostile root, in a directory of our own. */
#include "unit.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
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
		cmocka_unit_test_setup_teardown(test_file_replace, make_room, leave_room),
		cmocka_unit_test_setup_teardown(test_file_read, make_room, leave_room),
		cmocka_unit_test_setup_teardown(test_beneath, make_room, leave_room),
		cmocka_unit_test_setup_teardown(test_mkfile, make_room, leave_room),
		cmocka_unit_test_setup_teardown(test_mkdirs, make_room, leave_room),
		cmocka_unit_test_setup_teardown(test_remove_tree, make_room, leave_room),
		cmocka_unit_test(test_names),
		cmocka_unit_test(test_clean),
	};

	return cmocka_run_group_tests_name("files", tests, NULL, NULL);
}
