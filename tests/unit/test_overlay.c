/* SPDX-License-Identifier: Apache-2.0 */
/* Overlays of more layers than one page of options can name. */
#include "unit.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/mem.h"
#include "base/path.h"
#include "base/str.h"
#include "oci/overlay.h"

static void assert_compact(const char *options, const char *dir, const char *want)
{
	OWN(buf) struct buf out = BUF_INIT;
	OWN(free) char *got = NULL;
	struct err e;

	assert_ok(overlay_compact(options, &got, &out, &e), &e);
	assert_string_equal(got, dir);
	assert_string_equal(buf_cstr(&out), want);
}

static void test_compact(void **state)
{
	(void)state;
	assert_compact("lowerdir=/s/1/fs:/s/22/fs,upperdir=/u", "/s/",
		       "lowerdir=1/fs:22/fs,upperdir=/u");
	assert_compact("index=off,lowerdir=/a/b/l10:/a/b/l1", "/a/b/",
		       "index=off,lowerdir=l10:l1");
	/* one is the beginning of the other; colons and commas that are names */
	assert_compact("lowerdir=/a/b:/a/b/c", "/a/", "lowerdir=b:b/c");
	assert_compact("lowerdir=/a/x\\:y:/a/x\\,z,userxattr", "/a/",
		       "lowerdir=x\\:y:x\\,z,userxattr");
}

static void test_nothing_in_common(void **state)
{
	static const char *const options[] = {
		"lowerdir=/a/b:/c/d",        "lowerdir=a:b", "lowerdir=", "upperdir=/x", "",
		"lowerdir=/a\\:b/c:/a\\:b/d"
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(options); i++) {
		OWN(buf) struct buf out = BUF_INIT;
		OWN(free) char *dir = NULL;
		struct err e;

		assert_int_equal(overlay_compact(options[i], &dir, &out, &e), -1);
		assert_non_null(strstr(e.msg, "in common"));
	}
}

enum {
	LAYERS = 110,
	TOO_MANY = 140
};

/* lowerdir of `n` layers below `dir`, each with a file of its number's name. */
static char *make_layers(const char *dir, int n)
{
	OWN(buf) struct buf b = BUF_INIT;
	struct err e;

	assert_ok(buf_puts(&b, "lowerdir=", &e), &e);
	for (int i = 0; i < n; i++) {
		OWN(free) char *layer = str_printf("%s/%032d", dir, i);
		OWN(free) char *file = str_printf("%s/%032d/f%d", dir, i, i);

		if (!layer || !file)
			abort();
		assert_true(mkdir(layer, 0755) == 0 || errno == EEXIST);
		assert_true(mkdir(file, 0755) == 0 || errno == EEXIST);
		assert_ok(buf_printf(&b, &e, "%s%s", i ? ":" : "", layer), &e);
	}
	return buf_take_str(&b);
}

static void test_many_layers(void **state)
{
	char dir[] = "/tmp/kata-overlay.XXXXXX", before[PATH_MAX], after[PATH_MAX];
	OWN(free) char *layers = NULL;
	OWN(free) char *many = NULL;
	OWN(free) char *target = NULL;
	OWN(free) char *last = NULL;
	struct err e;

	(void)state;
	if (geteuid() != 0)
		skip_because("only root can mount");
	assert_int_equal(unshare(CLONE_NEWNS), 0);
	assert_int_equal(mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL), 0);
	assert_non_null(mkdtemp(dir));
	target = str_printf("%s/target", dir);
	last = str_printf("%s/f%d", target, LAYERS - 1);
	assert_int_equal(mkdir(target, 0755), 0);
	layers = make_layers(dir, LAYERS);
	assert_true(strlen(layers) > 4095);
	assert_non_null(getcwd(before, sizeof(before)));
	assert_ok(overlay_mount("overlay", target, 0, layers, &e), &e);
	assert_non_null(getcwd(after, sizeof(after)));
	assert_string_equal(before, after);
	assert_int_equal(access(last, F_OK), 0);
	assert_int_equal(umount(target), 0);
	many = make_layers(dir, TOO_MANY);
	assert_int_equal(overlay_mount("overlay", target, 0, many, &e), -1);
	assert_int_equal(e.kind, ERR_UNSUPPORTED);
	assert_non_null(strstr(e.msg, "fewer layers"));
	assert_ok(path_remove_tree(AT_FDCWD, dir, &e), &e);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_compact),
		cmocka_unit_test(test_nothing_in_common),
		cmocka_unit_test(test_many_layers),
	};

	return cmocka_run_group_tests_name("overlay", tests, NULL, NULL);
}
