/* SPDX-License-Identifier: Apache-2.0 */
/* Templates of chained mounts, and which mounts are such a chain. */
#include "unit.h"

#include <string.h>

#include "base/mem.h"
#include "base/own.h"
#include "sandbox/mount_chain.h"
#include "sandbox/sandbox.h"

static const char *const places[] = { "/a", "/b", "/c" };

static void assert_expands(const char *text, const char *want)
{
	OWN(arena) struct arena a = { .limit = 1 << 16 };
	const char *got;
	struct err e;

	assert_ok(mount_chain_expand(text, places, ARRAY_LEN(places), &a, &got, &e), &e);
	assert_string_equal(got, want);
}

static void assert_refused(const char *text, enum err_kind kind, const char *words)
{
	OWN(arena) struct arena a = { .limit = 1 << 16 };
	const char *got;
	struct err e;

	assert_err(mount_chain_expand(text, places, ARRAY_LEN(places), &a, &got, &e), &e, kind);
	if (!strstr(e.msg, words))
		fail_msg("'%s': '%s' lacks '%s'", text, e.msg, words);
}

static void test_expand(void **state)
{
	(void)state;
	assert_expands("", "");
	assert_expands("as it is } } {", "as it is } } {");
	assert_expands("upperdir={{ mount 0 }}/upper", "upperdir=/a/upper");
	assert_expands("{{mount 2}}{{\tmount  1 }}", "/c/b");
	assert_expands("lowerdir={{ overlay 0 2 }}", "lowerdir=/a:/b:/c");
	assert_expands("lowerdir={{ overlay 2 0 }},x", "lowerdir=/c:/b:/a,x");
	assert_expands("{{ overlay 1 1 }}", "/b");
}

static void test_refused(void **state)
{
	(void)state;
	assert_refused("{{ mount 3 }}", ERR_INVALID, "there are 3");
	assert_refused("{{ mount -1 }}", ERR_INVALID, "there are 3");
	assert_refused("{{ mount 99999999999999999999999 }}", ERR_INVALID, "there are 3");
	assert_refused("{{ mount }}", ERR_INVALID, "'{{ mount }}'");
	assert_refused("{{ overlay 0 }}", ERR_INVALID, "there are 3");
	assert_refused("{{ overlay 0 3 }}", ERR_INVALID, "there are 3");
	assert_refused("{{ mount 0", ERR_INVALID, "there are 3");
	assert_refused("{{ mount 0 1 }}", ERR_INVALID, "there are 3");
	assert_refused("{{ source 0 }}", ERR_UNSUPPORTED, "'source'");
	assert_refused("{{ mountain 0 }}", ERR_UNSUPPORTED, "'mountain'");
	assert_refused("{{ }}", ERR_UNSUPPORTED, "''");
	assert_refused("{{", ERR_UNSUPPORTED, "''");
}

static bool is_chain(const char *type, const char *option)
{
	struct rootfs_mount m = {
		.type = type, .source = "/x", .options = &option, .option_count = 1
	};

	return mount_chain_is(&m, 1);
}

static void test_what_is_one(void **state)
{
	(void)state;
	assert_true(is_chain("format/overlay", "ro"));
	assert_true(is_chain("format/mkdir/overlay", "ro"));
	assert_true(is_chain("zip/overlay", "ro"));
	assert_true(is_chain("erofs", "device=/y"));
	assert_false(is_chain("erofs", "ro"));
	assert_false(is_chain("overlay", "lowerdir=/x"));
	assert_false(is_chain("ext4", "device=/y"));
	assert_false(is_chain(NULL, "ro"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_expand),
		cmocka_unit_test(test_refused),
		cmocka_unit_test(test_what_is_one),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
