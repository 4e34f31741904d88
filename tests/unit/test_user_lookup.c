/* SPDX-License-Identifier: Apache-2.0 */
/* Users as -u names them, against layers made here. */
#include "unit.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/mem.h"
#include "base/own.h"
#include "base/path.h"
#include "cli/user_lookup.h"
#include "image/store.h"

struct fixture {
	char dir[64];
	char layer[2][96];
	const char *layers[3];
	struct image image;
	struct arena arena;
};

static void write_file(const char *layer, const char *name, const char *text)
{
	char path[160];
	struct err e;

	(void)snprintf(path, sizeof(path), "%s/etc", layer);
	assert_ok(path_mkdirs(path, 0755, &e), &e);
	(void)snprintf(path, sizeof(path), "%s/etc/%s", layer, name);
	assert_ok(file_replace(AT_FDCWD, path, text, strlen(text), 0644, false, &e), &e);
}

static int set_up(void **state)
{
	struct fixture *f = mem_new(struct fixture);

	(void)snprintf(f->dir, sizeof(f->dir), "/tmp/user-test.XXXXXX");
	assert_non_null(mkdtemp(f->dir));
	for (int i = 0; i < 2; i++) {
		(void)snprintf(f->layer[i], sizeof(f->layer[i]), "%s/%d", f->dir, i);
		f->layers[i] = f->layer[i];
		write_file(f->layer[i], "note", "x");
	}
	write_file(f->layer[0], "passwd", "root:x:0:0::/root:/bin/sh\nold:x:9:9::/old:\n");
	write_file(f->layer[1], "passwd",
		   "root:x:0:0:r:/root:/bin/sh\nbad line\nann:x:1000:1001::/home/ann:/bin/sh\n"
		   "evil:x:99999999999:0::/:\n:x:5:5::/:\n1234:x:77:78::/n:\nlast:x:8:8");
	write_file(f->layer[0], "group",
		   "wheel:x:10:bob,ann\nann:x:1001:\nx:x:12:annie\nodd:x:zero:ann\n55:x:66:\n"
		   "z:x:13:ann\n");
	f->image.layers.v = f->layers;
	f->image.layers.n = 2;
	arena_init(&f->arena, 1 << 20);
	*state = f;
	return 0;
}

static int tear_down(void **state)
{
	struct fixture *f = *state;
	struct err e;

	assert_ok(path_remove_tree(AT_FDCWD, f->dir, &e), &e);
	arena_fini(&f->arena);
	free(f);
	return 0;
}

static void test_found(void **state)
{
	static const struct {
		const char *text;
		uint32_t uid, gid;
		size_t groups;
	} rows[] = {
		{ "", 0, 0, 0 },
		{ "ann", 1000, 1001, 2 },
		{ "1000", 1000, 1001, 2 },
		{ "ann:wheel", 1000, 10, 0 },
		{ "ann:55", 1000, 55, 0 },
		{ "4242", 4242, 0, 0 },
		{ "4242:4343", 4242, 4343, 0 },
		{ "1234", 1234, 0, 0 }, /* another's name */
		{ "1234:55", 1234, 55, 0 },
		{ "last", 8, 8, 0 },
	};
	struct fixture *f = *state;

	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct user_ids ids;
		struct err e;

		assert_ok(user_lookup(&f->image, rows[i].text, &f->arena, &ids, &e), &e);
		assert_int_equal(ids.uid, rows[i].uid);
		assert_int_equal(ids.gid, rows[i].gid);
		assert_int_equal(ids.group_count, rows[i].groups);
	}
}

static void test_refused(void **state)
{
	static const char *const rows[] = { "nobody", "old", "ann:nogroup",
					    "evil",   "-1",  "99999999999" };
	struct fixture *f = *state;

	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct user_ids ids;
		struct err e;

		assert_int_equal(user_lookup(&f->image, rows[i], &f->arena, &ids, &e), -1);
	}
}

/* A layer's passwd that is a link out of the layer leads back into it, or nowhere. */
static void test_links_stay_inside(void **state)
{
	struct fixture *f = *state;
	struct user_ids ids;
	char path[160];
	struct err e;

	(void)snprintf(path, sizeof(path), "%s/etc/passwd", f->layer[1]);
	assert_int_equal(unlink(path), 0);
	assert_int_equal(symlink("/../../../../etc/shadow", path), 0);
	assert_int_equal(user_lookup(&f->image, "ann", &f->arena, &ids, &e), -1);
}

/* Puts something else in the place of the upper layer's file; "" is its directory. */
static void replace_upper(struct fixture *f, const char *name, mode_t mode)
{
	char path[160];
	struct err e;

	(void)snprintf(path, sizeof(path), "%s/etc", f->layer[1]);
	assert_ok(path_remove_tree(AT_FDCWD, path, &e), &e);
	if (*name)
		assert_ok(path_mkdirs(path, 0755, &e), &e);
	(void)snprintf(path, sizeof(path), "%s/etc%s%s", f->layer[1], *name ? "/" : "", name);
	if (mode)
		assert_int_equal(mknod(path, mode, makedev(0, 0)), 0);
}

/* What an upper layer deletes is not found in a lower one. */
static void test_deleted(void **state)
{
	struct fixture *f = *state;
	struct user_ids ids;
	char path[160];
	struct err e;

	replace_upper(f, "note", 0);
	assert_ok(user_lookup(&f->image, "old", &f->arena, &ids, &e), &e);
	assert_int_equal(ids.uid, 9);
	(void)snprintf(path, sizeof(path), "%s/etc", f->layer[1]);
	if (setxattr(path, "trusted.overlay.opaque", "y", 1, 0) < 0) {
		print_message("# no opaque directory: only root can make one here\n");
	} else {
		assert_err(user_lookup(&f->image, "old", &f->arena, &ids, &e), &e,
			   ERR_NOT_FOUND);
	}
	replace_upper(f, "passwd", S_IFCHR);
	assert_err(user_lookup(&f->image, "old", &f->arena, &ids, &e), &e, ERR_NOT_FOUND);
	assert_ok(user_lookup(&f->image, "9:wheel", &f->arena, &ids, &e), &e);
	assert_int_equal(ids.gid, 10);
	replace_upper(f, "passwd", S_IFIFO);
	assert_err(user_lookup(&f->image, "old", &f->arena, &ids, &e), &e, ERR_NOT_FOUND);
	replace_upper(f, "", S_IFCHR);
	assert_err(user_lookup(&f->image, "old", &f->arena, &ids, &e), &e, ERR_NOT_FOUND);
}

/* A file without end is refused, and the error names it. */
static void test_large_file(void **state)
{
	struct fixture *f = *state;
	struct user_ids ids;
	char path[160];
	struct err e;

	(void)snprintf(path, sizeof(path), "%s/etc/passwd", f->layer[1]);
	assert_int_equal(truncate(path, (4 << 20) + 1), 0);
	assert_err(user_lookup(&f->image, "ann", &f->arena, &ids, &e), &e, ERR_INVALID);
	assert_non_null(strstr(e.msg, "/etc/passwd of the image: larger than"));
	assert_ok(user_lookup(&f->image, "5", &f->arena, &ids, &e), &e);
	assert_int_equal(ids.uid, 5);
	(void)snprintf(path, sizeof(path), "%s/etc/group", f->layer[1]);
	write_file(f->layer[1], "group", "");
	assert_int_equal(truncate(path, (4 << 20) + 1), 0);
	assert_ok(user_lookup(&f->image, "5:6", &f->arena, &ids, &e), &e);
	assert_int_equal(ids.gid, 6);
	assert_err(user_lookup(&f->image, "5:wheel", &f->arena, &ids, &e), &e, ERR_INVALID);
}

/* Lines whose numbers are none are passed over. */
static void test_malformed(void **state)
{
	struct fixture *f = *state;
	struct user_ids ids;
	struct err e;

	write_file(f->layer[1], "passwd",
		   "root:x:0:junk::/:/bin/sh\nann:x:ten:1::/:\nann:x:7:8::/:\nann:x:9:::/:\n");
	assert_ok(user_lookup(&f->image, "0", &f->arena, &ids, &e), &e);
	assert_int_equal(ids.uid, 0);
	assert_ok(user_lookup(&f->image, "ann", &f->arena, &ids, &e), &e);
	assert_int_equal(ids.uid, 7);
	assert_int_equal(ids.gid, 8);
	assert_ok(user_lookup(&f->image, "9", &f->arena, &ids, &e), &e);
	assert_int_equal(ids.uid, 9);
	assert_int_equal(ids.gid, 0);
}

/* Changes two names of a directory over and over, until it is killed. */
static _Noreturn void swap_for_ever(const char *one, const char *other)
{
	(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
	for (;;)
		(void)renameat2(AT_FDCWD, one, AT_FDCWD, other, RENAME_EXCHANGE);
}

/* A running container's file may become a device between a look and the opening. */
static void test_swapped_meanwhile(void **state)
{
	struct fixture *f = *state;
	char passwd[160], fifo[160], event[256];
	OWN(fd) int watch = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
	struct user_ids ids;
	struct err e;
	pid_t child;

	(void)snprintf(passwd, sizeof(passwd), "%s/etc/passwd", f->layer[1]);
	(void)snprintf(fifo, sizeof(fifo), "%s/etc/fifo", f->layer[1]);
	assert_int_equal(mkfifo(fifo, 0600), 0);
	assert_true(inotify_add_watch(watch, fifo, IN_OPEN) >= 0);
	child = fork();
	assert_true(child >= 0);
	if (child == 0)
		swap_for_ever(passwd, fifo);
	for (int i = 0; i < 5000; i++) {
		OWN(arena) struct arena a = { .limit = 64 << 10 };

		(void)user_lookup(&f->image, "0", &a, &ids, &e);
	}
	assert_int_equal(kill(child, SIGKILL), 0);
	assert_int_equal(waitpid(child, NULL, 0), child);
	assert_int_equal(read(watch, event, sizeof(event)), -1); /* nobody has opened it */
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_deleted, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_large_file, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_malformed, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_swapped_meanwhile, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_found, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_refused, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_links_stay_inside, set_up, tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
