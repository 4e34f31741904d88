/* SPDX-License-Identifier: Apache-2.0 */
/* Run-time directories: whose is which, what a killed engine leaves, killing one. */
#include "unit.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/own.h"
#include "base/path.h"
#include "base/str.h"
#include "sandbox/rundir.h"

static char base[64];

static const struct rundir_owner first = { "one", "/run/c.sock", "/b/1" };
static const struct rundir_owner second = { "two", "/run/c.sock", "/b/2" };
static const struct rundir_owner other_daemon = { "one", "/run/other.sock", "/b/3" };

static int make_base(void **state)
{
	(void)state;
	(void)snprintf(base, sizeof(base), "/tmp/rundir.XXXXXX");
	return mkdtemp(base) ? 0 : -1;
}

static int remove_base(void **state)
{
	struct err e;

	(void)state;
	return path_remove_tree(AT_FDCWD, base, &e);
}

static void assert_found(const char *id, const struct rundir_owner *o, const char *name)
{
	OWN(free) char *found = NULL;
	struct err e;

	assert_ok(rundir_find(base, id, o, &found, &e), &e);
	assert_string_equal(found, name);
}

static void test_one_id_for_two(void **state)
{
	OWN(rundir) struct rundir a = RUNDIR_INIT;
	OWN(rundir) struct rundir b = RUNDIR_INIT;
	OWN(rundir) struct rundir again = RUNDIR_INIT;
	OWN(free) char *none = NULL;
	struct err e;

	(void)state;
	assert_ok(rundir_create(base, "x", &first, &a, &e), &e);
	assert_string_equal(a.name, "x");
	assert_err(rundir_create(base, "x", &first, &again, &e), &e, ERR_EXISTS);
	assert_ok(rundir_create(base, "x", &second, &b, &e), &e);
	assert_true(str_starts(b.name, "x@"));
	assert_int_equal(strlen(b.name), 10);
	assert_err(rundir_create(base, "x", &second, &again, &e), &e, ERR_EXISTS);
	assert_found("x", &first, "x");
	assert_found("x", &second, b.name);
	assert_err(rundir_find(base, "x", &other_daemon, &none, &e), &e, ERR_NOT_FOUND);
	assert_err(rundir_find(base, "y", &first, &none, &e), &e, ERR_NOT_FOUND);

	/* the plain name is free again, but the second has his sandbox elsewhere */
	rundir_remove(&a);
	assert_err(rundir_create(base, "x", &second, &again, &e), &e, ERR_EXISTS);
	assert_ok(rundir_create(base, "x", &other_daemon, &again, &e), &e);
	assert_string_equal(again.name, "x");
}

static void test_dead_ones_are_swept(void **state)
{
	struct rundir dead = RUNDIR_INIT;
	OWN(rundir) struct rundir alive = RUNDIR_INIT;
	struct err e;

	(void)state;
	assert_ok(rundir_create(base, "dead", &first, &dead, &e), &e);
	assert_ok(rundir_create(base, "dead", &second, &alive, &e), &e);
	rundir_close(&dead); /* as the kernel does for a killed process */
	assert_int_equal(rundir_sweep(base), 1);
	assert_found("dead", &second, alive.name);
}

static bool is_there(const char *name)
{
	char path[128];

	(void)snprintf(path, sizeof(path), "%s/%s", base, name);
	return access(path, F_OK) == 0;
}

static void make_there(const char *name)
{
	char path[128];

	(void)snprintf(path, sizeof(path), "%s/%s", base, name);
	assert_int_equal(mkdir(path, 0700), 0);
}

/* Another program's, empty or not, and what a kill in the midst of our own work leaves. */
static void test_foreign_and_half_ones(void **state)
{
	OWN(rundir) struct rundir r = RUNDIR_INIT;
	struct err e;

	(void)state;
	make_there("foreign");
	make_there("foreign/sub");
	make_there("empty");
	make_there(".half-mine");
	make_there(".half-mine/sub");
	make_there(".half-dead");
	assert_int_equal(rundir_sweep(base), 0);
	assert_true(is_there("foreign/sub"));
	assert_true(is_there("empty"));
	assert_false(is_there(".half-mine"));

	make_there(".half-mine");
	assert_ok(rundir_create(base, "mine", &first, &r, &e), &e);
	assert_found("mine", &first, "mine");
	assert_false(is_there(".half-mine"));
	rundir_remove(&r);
	assert_false(is_there("mine"));
	assert_false(is_there(".half-mine"));
}

static void write_list(const char *dir, const char *name, const char *text)
{
	char path[160];
	struct err e;

	(void)snprintf(path, sizeof(path), "%s/%s", dir, name);
	assert_ok(file_replace(AT_FDCWD, path, text, strlen(text), 0600, false, &e), &e);
}

/* What is in use when an engine ends is tried again by later sweeps. */
static void test_cgroups_that_stay(void **state)
{
	struct rundir r = RUNDIR_INIT;
	char later[96], list[96], lines[200], left[8];
	OWN(free) char *text = NULL;
	struct err e;

	(void)state;
	(void)snprintf(list, sizeof(list), "%s/.cgroups", base);
	(void)snprintf(later, sizeof(later), "%s/.later", base);
	assert_int_equal(mkdir(later, 0700), 0);
	assert_ok(rundir_create(base, "x", &first, &r, &e), &e);
	/* as a cgroup with somebody in it, "/" is busy, and a directory is like an empty one */
	(void)snprintf(lines, sizeof(lines), "/\n%s/../x\nrelative\n%s/none\n", base, base);
	write_list(r.path, RUNDIR_CGROUPS, lines);
	rundir_remove(&r);
	rundir_close(&r);
	assert_ok(file_read_line(AT_FDCWD, list, left, sizeof(left), &e), &e);
	assert_string_equal(left, "/");

	/* the same one again, of an engine that was killed */
	assert_ok(rundir_create(base, "y", &first, &r, &e), &e);
	write_list(r.path, RUNDIR_CGROUPS, "/\n/\n");
	rundir_close(&r);
	assert_int_equal(rundir_sweep(base), 1);
	assert_ok(file_read(AT_FDCWD, list, sizeof(left), &text, NULL, &e), &e);
	assert_string_equal(text, "/\n");

	(void)snprintf(lines, sizeof(lines), "%s\n", later);
	write_list(base, ".cgroups", lines);
	assert_int_equal(rundir_sweep(base), 0);
	assert_int_equal(access(later, F_OK), -1);
	assert_int_equal(access(list, F_OK), -1);
}

static void test_long_and_odd_ids(void **state)
{
	OWN(rundir) struct rundir r = RUNDIR_INIT;
	struct err e;
	char id[121];

	(void)state;
	memset(id, 'x', sizeof(id) - 1);
	id[sizeof(id) - 1] = '\0';
	assert_err(rundir_create(base, id, &first, &r, &e), &e, ERR_INVALID);
	assert_err(rundir_create(base, "a/b", &first, &r, &e), &e, ERR_INVALID);
	assert_err(rundir_create(base, "a@b", &first, &r, &e), &e, ERR_INVALID);
}

/* A process that holds the directory as an engine does. */
static pid_t hold(struct rundir *r)
{
	int lock = r->lock_fd, listening = r->listen_fd, p[2];
	char c = 0;
	pid_t pid;

	assert_int_equal(pipe(p), 0);
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		struct rundir mine = RUNDIR_INIT;
		struct err e;

		if (rundir_adopt(base, r->name, lock, listening, &mine, &e) < 0)
			_exit(1);
		if (write(p[1], "r", 1) != 1)
			_exit(1);
		(void)alarm(30);
		for (;;)
			(void)pause();
	}
	assert_int_equal(read(p[0], &c, 1), 1);
	(void)close(p[0]);
	(void)close(p[1]);
	rundir_close(r);
	return pid;
}

static void test_kill(void **state)
{
	struct rundir r = RUNDIR_INIT;
	struct err e;
	int status;
	pid_t pid;

	(void)state;
	assert_ok(rundir_create(base, "k", &first, &r, &e), &e);
	pid = hold(&r);
	assert_ok(rundir_kill(base, "k", "/b/another", 1000, &e), &e);
	assert_int_equal(waitpid(pid, &status, WNOHANG), 0);
	assert_ok(rundir_kill(base, "k", "/b/1", 5000, &e), &e);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(WTERMSIG(status), SIGKILL);
	assert_ok(rundir_kill(base, "k", "/b/1", 1000, &e), &e);
	assert_ok(rundir_kill(base, "never", "/b/1", 1000, &e), &e);
	assert_int_equal(rundir_sweep(base), 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_one_id_for_two, make_base, remove_base),
		cmocka_unit_test_setup_teardown(test_dead_ones_are_swept, make_base,
						remove_base),
		cmocka_unit_test_setup_teardown(test_foreign_and_half_ones, make_base,
						remove_base),
		cmocka_unit_test_setup_teardown(test_cgroups_that_stay, make_base, remove_base),
		cmocka_unit_test_setup_teardown(test_long_and_odd_ids, make_base, remove_base),
		cmocka_unit_test_setup_teardown(test_kill, make_base, remove_base),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
