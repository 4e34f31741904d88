/* SPDX-License-Identifier: Apache-2.0 */
/* The command line of virtiofsd in its two forms, and what is left out of the user's part. */
#include "unit.h"

#include <string.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/log.h"
#include "base/str.h"
#include "share/parts.h"

#define OLD_HELP     "    -o source=PATH             shared directory tree\n"
#define OLD_HELP_ACL OLD_HELP "    -o posix_acl/no_posix_acl  Enable/Disable posix_acl.\n"
#define NEW_HELP     "      --shared-dir <SHARED_DIR>\n      --no-announce-submounts\n"
#define NEW_HELP_ACL NEW_HELP "      --posix-acl\n"

enum {
	FEW = 20000, /* open files */
	MANY = 1000000
};

enum {
	ARGS_MAX = 6,
	LOG_LEN = 4096
};

/* The user's part of the command line for these arguments, and how many warnings there were. */
static unsigned extra(const char *const *args, const char *help, struct strv *out, size_t *from)
{
	const struct share_config none = { .cache = "auto" };
	const struct share_config c = { .cache = "auto", .extra_args = args };
	struct strv plain = { 0 };
	char text[LOG_LEN];
	unsigned warnings = 0;
	struct err e;
	ssize_t n;
	int p[2];

	assert_ok(fd_pipe(p, &e), &e);
	assert_ok(fd_set_nonblock(p[0], true, &e), &e);
	log_setup(&(struct log_config){ .level = LOG_INFO, .fd = p[1], .source = "unit" });
	assert_ok(virtiofsd_argv(&none, "/v", help, "/d", MANY, &plain, &e), &e);
	assert_ok(virtiofsd_argv(&c, "/v", help, "/d", MANY, out, &e), &e);
	log_setup(&(struct log_config){ .level = LOG_INFO, .fd = STDERR_FILENO });
	n = read(p[0], text, sizeof(text) - 1);
	text[n > 0 ? n : 0] = '\0';
	for (const char *at = text; (at = strstr(at, "announce_submounts is left out")); at++)
		warnings++;
	fd_close(&p[0]);
	fd_close(&p[1]);
	*from = plain.n;
	strv_fini(&plain);
	return warnings;
}

static void test_left_out(void **state)
{
	static const struct {
		const char *args[ARGS_MAX], *want[ARGS_MAX];
		unsigned warnings;
	} rows[] = {
		{ { NULL }, { NULL }, 0 },
		/* upstream's template */
		{ { "--thread-pool-size=1", "-o", "announce_submounts" },
		  { "--thread-pool-size=1" },
		  1 },
		{ { "--announce-submounts", "--syslog" }, { "--syslog" }, 1 },
		{ { "-o", "cache=none,announce_submounts" }, { "-o", "cache=none" }, 1 },
		{ { "-o", "announce_submounts,flock,xattr" }, { "-o", "flock,xattr" }, 1 },
		{ { "-oannounce_submounts", "-d" }, { "-d" }, 1 },
		{ { "-oflock,announce_submounts,xattr" }, { "-o", "flock,xattr" }, 1 },
		{ { "--announce-submounts", "-o", "announce_submounts" }, { NULL }, 1 },
		/* other words that hold it, and values that are no lists */
		{ { "-o", "no_announce_submounts" }, { "-o", "no_announce_submounts" }, 0 },
		{ { "--no-announce-submounts" }, { "--no-announce-submounts" }, 0 },
		{ { "--log-level", "announce_submounts" },
		  { "--log-level", "announce_submounts" },
		  0 },
		{ { "-o" }, { "-o" }, 0 },
	};
	static const char *const helps[] = { OLD_HELP, NEW_HELP };

	(void)state;
	for (size_t i = 0; i < 2 * ARRAY_LEN(rows); i++) {
		OWN(strv) struct strv argv = { 0 };
		size_t row = i / 2, from, k = 0;

		assert_int_equal(extra(rows[row].args, helps[i % 2], &argv, &from),
				 rows[row].warnings);
		for (; rows[row].want[k]; k++) {
			if (from + k >= argv.n || !str_eq(argv.v[from + k], rows[row].want[k]))
				fail_msg("row %zu: no '%s' at %zu", row, rows[row].want[k], k);
		}
		assert_int_equal(argv.n, from + k);
	}
}

/* Neither form announces by itself. */
static void test_forms(void **state)
{
	const struct share_config c = { .cache = "never" };
	OWN(strv) struct strv old_form = { 0 };
	OWN(strv) struct strv new_form = { 0 };
	bool told = false;
	struct err e;

	(void)state;
	assert_ok(virtiofsd_argv(&c, "/v", OLD_HELP, "/d", MANY, &old_form, &e), &e);
	assert_ok(virtiofsd_argv(&c, "/v", NEW_HELP, "/d", MANY, &new_form, &e), &e);
	for (size_t i = 0; i < old_form.n; i++)
		assert_null(strstr(old_form.v[i], "submounts"));
	for (size_t i = 0; i < new_form.n; i++)
		told |= str_eq(new_form.v[i], "--no-announce-submounts");
	assert_true(told);
	assert_err(virtiofsd_argv(&c, "/v", NEW_HELP, "/a,b", MANY, &new_form, &e), &e,
		   ERR_INVALID);
}

static bool asks_for_acl(const char *help, const char *const *extra_args)
{
	const struct share_config c = { .cache = "never", .extra_args = extra_args };
	OWN(strv) struct strv argv = { 0 };
	bool asks = false;
	struct err e;

	assert_ok(virtiofsd_argv(&c, "/v", help, "/d", MANY, &argv, &e), &e);
	for (size_t i = 0; i < argv.n; i++)
		asks |= str_eq(argv.v[i], "--posix-acl") ||
			str_eq(argv.v[i], "xattr,posix_acl,sandbox=namespace");
	return asks;
}

/* Where the file server has it, and unless the user's own part rules it out. */
static void test_access_lists(void **state)
{
	static const char *const translates[] = { "--translate-uid", "map:0:100000:65536",
						  NULL };
	static const char *const none[] = { "-o", "log_level=info,no_xattr", NULL };
	static const char *const off[] = { "-ono_posix_acl", NULL };
	static const char *const other[] = { "-o", "log_level=info", NULL };

	(void)state;
	assert_true(asks_for_acl(OLD_HELP_ACL, NULL));
	assert_true(asks_for_acl(OLD_HELP_ACL, other));
	assert_false(asks_for_acl(OLD_HELP_ACL, none));
	assert_false(asks_for_acl(NEW_HELP_ACL, none));
	assert_false(asks_for_acl(OLD_HELP_ACL, off));
	assert_true(asks_for_acl(NEW_HELP_ACL, NULL));
	assert_false(asks_for_acl(OLD_HELP, NULL));
	assert_false(asks_for_acl(NEW_HELP, NULL));
	assert_false(asks_for_acl(NEW_HELP_ACL, translates));
}

static unsigned without_readdirplus(const char *help, uint64_t max_files,
				    const char *const *extra_args)
{
	const struct share_config c = { .cache = "auto", .extra_args = extra_args };
	OWN(strv) struct strv argv = { 0 };
	unsigned n = 0;
	struct err e;

	assert_ok(virtiofsd_argv(&c, "/v", help, "/d", max_files, &argv, &e), &e);
	for (size_t i = 0; i < argv.n; i++)
		n += str_eq(argv.v[i], "--no-readdirplus") ||
		     str_eq(argv.v[i], "no_readdirplus");
	return n;
}

/* It opens files faster than they are closed: only with a high limit. Once, as Rust's wants. */
static void test_readdirplus(void **state)
{
	static const char *const with[] = { "-o", "log_level=info,readdirplus", NULL };
	static const char *const without[] = { "--no-readdirplus", NULL };
	static const char *const few[] = { "--rlimit-nofile=20000", NULL };
	static const char *const ours[] = { "--rlimit-nofile=0", NULL };
	static const char old_help[] = OLD_HELP "    -o readdirplus|no_readdirplus\n";
	static const char new_help[] = NEW_HELP "      --no-readdirplus\n";

	(void)state;
	assert_int_equal(without_readdirplus(old_help, FEW, NULL), 1);
	assert_int_equal(without_readdirplus(new_help, FEW, NULL), 1);
	assert_int_equal(without_readdirplus(old_help, MANY, NULL), 0);
	assert_int_equal(without_readdirplus(new_help, MANY, NULL), 0);
	assert_int_equal(without_readdirplus(OLD_HELP, FEW, NULL), 0);
	assert_int_equal(without_readdirplus(NEW_HELP, FEW, NULL), 0);
	assert_int_equal(without_readdirplus(old_help, FEW, with), 0);
	assert_int_equal(without_readdirplus(new_help, FEW, without), 1);
	assert_int_equal(without_readdirplus(old_help, MANY, few), 1);
	assert_int_equal(without_readdirplus(old_help, MANY, ours), 0);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_left_out),
		cmocka_unit_test(test_forms),
		cmocka_unit_test(test_access_lists),
		cmocka_unit_test(test_readdirplus),
	};

	return cmocka_run_group_tests_name("virtiofsd", tests, NULL, NULL);
}
