/* SPDX-License-Identifier: Apache-2.0 */
/* Listening and connecting by a path. */
#include "unit.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/own.h"
#include "wire/unix_socket.h"

static char dir[] = "/tmp/kata-unix.XXXXXX", path[64], prefixed[80];

static int set_up(void **state)
{
	(void)state;
	if (!mkdtemp(dir))
		return -1;
	(void)snprintf(path, sizeof(path), "%s/s", dir);
	(void)snprintf(prefixed, sizeof(prefixed), "unix://%s", path);
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	(void)unlink(path);
	return rmdir(dir);
}

static void test_connect(void **state)
{
	OWN(fd) int server = -1;
	OWN(fd) int plain = -1;
	OWN(fd) int other = -1;
	struct stat st;
	struct err e;

	(void)state;
	assert_ok(unix_listen(path, 4, &server, &e), &e);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0600);
	assert_ok(unix_connect(path, &plain, &e), &e);
	assert_ok(unix_connect(prefixed, &other, &e), &e);
	assert_true(fcntl(plain, F_GETFL) & O_NONBLOCK);
	assert_true(fcntl(plain, F_GETFD) & fcntl(server, F_GETFD) & FD_CLOEXEC);
	assert_int_equal(unlink(path), 0);
}

/* A listener that does not accept keeps nobody waiting. */
static void test_full_queue(void **state)
{
	OWN(fd) int server = -1;
	int fds[8], n = 0;
	struct err e;

	(void)state;
	assert_ok(unix_listen(path, 1, &server, &e), &e);
	while (n < (int)ARRAY_LEN(fds) && unix_connect(path, &fds[n], &e) == 0)
		n++;
	assert_in_range(n, 1, ARRAY_LEN(fds) - 1);
	assert_int_equal(e.kind, ERR_SYS);
	assert_int_equal(e.sys, EAGAIN);
	while (n)
		(void)close(fds[--n]);
	assert_int_equal(unlink(path), 0);
}

static void test_refused(void **state)
{
	char longer[200];
	struct err e;
	int fd = -1;

	(void)state;
	(void)memset(longer, 'x', sizeof(longer) - 1);
	longer[sizeof(longer) - 1] = '\0';
	longer[0] = '/';
	assert_err(unix_connect(longer, &fd, &e), &e, ERR_INVALID);
	assert_err(unix_listen(longer, 1, &fd, &e), &e, ERR_INVALID);
	assert_err(unix_connect(path, &fd, &e), &e, ERR_NOT_FOUND);
	assert_err(unix_listen("/nowhere/s", 1, &fd, &e), &e, ERR_SYS);
	/* nobody behind the name: as good as none; a name that is there is not taken */
	assert_ok(unix_listen(path, 1, &fd, &e), &e);
	(void)close(fd);
	fd = -1;
	assert_err(unix_connect(path, &fd, &e), &e, ERR_NOT_FOUND);
	assert_err(unix_listen(path, 1, &fd, &e), &e, ERR_SYS);
	assert_int_equal(e.sys, EADDRINUSE);
	assert_non_null(strstr(e.msg, path));
	assert_int_equal(fd, -1);
	assert_int_equal(unlink(path), 0);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_connect),
		cmocka_unit_test(test_full_queue),
		cmocka_unit_test(test_refused),
	};

	return cmocka_run_group_tests_name("unix_socket", tests, set_up, tear_down);
}
