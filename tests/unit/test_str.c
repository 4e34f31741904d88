/* SPDX-License-Identifier: Apache-2.0 */
/* Strings: strict numbers, sizes, quoting, vectors. */
#include "unit.h"

#include <stdlib.h>
#include <stdio.h>
#include <string.h>

#include "base/own.h"
#include "base/str.h"

static void test_compare(void **state)
{
	assert_true(str_eq("a", "a"));
	assert_false(str_eq("a", "b"));
	assert_true(str_eq(NULL, NULL));
	assert_false(str_eq(NULL, ""));
	assert_true(str_starts("unix:///x", "unix://"));
	assert_false(str_starts("uni", "unix"));
	assert_true(str_ends("a.tar", ".tar"));
	assert_false(str_ends("tar", ".tar"));
	assert_true(str_has_line("/a\n/b\n", "/b"));
	assert_true(str_has_line("/a\n/b", "/b"));
	assert_false(str_has_line("/a/b\n/bc\n", "/b"));
	assert_false(str_has_line("/ab\n", "/a"));
	assert_false(str_has_line("", "/a"));
	assert_false(str_has_line(NULL, "/a"));
}

static void test_u64(void **state)
{
	static const char *const bad[] = { "",    " 1", "1 ", "+1", "-1",
					   "0x1", "1a", "9",  "21", "18446744073709551616" };
	uint64_t n = 77;
	struct err e;

	assert_ok(str_to_u64("10", 10, 20, "n", &n, &e), &e);
	assert_int_equal(n, 10);
	assert_ok(str_to_u64("18446744073709551615", 0, UINT64_MAX, "n", &n, &e), &e);
	assert_true(n == UINT64_MAX);
	n = 77;
	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		assert_err(str_to_u64(bad[i], 10, 20, "--cpus", &n, &e), &e, ERR_INVALID);
		assert_non_null(strstr(e.msg, "--cpus"));
		assert_int_equal(n, 77);
	}
}

/* RFC 4648, section 10, and the digits that differ. */
static void test_base64(void **state)
{
	static const char *const rows[][2] = { { "", "" },
					       { "f", "Zg==" },
					       { "fo", "Zm8=" },
					       { "foo", "Zm9v" },
					       { "foob", "Zm9vYg==" },
					       { "fooba", "Zm9vYmE=" },
					       { "foobar", "Zm9vYmFy" } };
	char out[16];

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		str_base64(rows[i][0], strlen(rows[i][0]), false, out, sizeof(out));
		assert_string_equal(out, rows[i][1]);
	}
	str_base64("\xfb\xff\xfe", 3, false, out, sizeof(out));
	assert_string_equal(out, "+//+");
	str_base64("\xfb\xff\xfe", 3, true, out, sizeof(out));
	assert_string_equal(out, "-__-");
	str_base64("foobar", 6, true, out, 8);
	assert_string_equal(out, "Zm9v");
}

static void test_i64(void **state)
{
	int64_t n = 77;
	struct err e;

	assert_ok(str_to_i64("-9223372036854775808", INT64_MIN, INT64_MAX, "n", &n, &e), &e);
	assert_true(n == INT64_MIN);
	assert_ok(str_to_i64("9223372036854775807", INT64_MIN, INT64_MAX, "n", &n, &e), &e);
	assert_true(n == INT64_MAX);
	assert_ok(str_to_i64("-0", -1, 1, "n", &n, &e), &e);
	assert_int_equal(n, 0);
	assert_err(str_to_i64("9223372036854775808", INT64_MIN, INT64_MAX, "n", &n, &e), &e,
		   ERR_INVALID);
	assert_err(str_to_i64("-9223372036854775809", INT64_MIN, INT64_MAX, "n", &n, &e), &e,
		   ERR_INVALID);
	assert_err(str_to_i64("--1", INT64_MIN, INT64_MAX, "n", &n, &e), &e, ERR_INVALID);
	assert_err(str_to_i64("-", INT64_MIN, INT64_MAX, "n", &n, &e), &e, ERR_INVALID);
	assert_int_equal(n, 0);
}

static void test_bytes(void **state)
{
	static const struct {
		const char *text;
		uint64_t want;
	} good[] = {
		{ "0", 0 },
		{ "64", 64 },
		{ "64b", 64 },
		{ "64K", 64 << 10 },
		{ "64kb", 64 << 10 },
		{ "64Ki", 64 << 10 },
		{ "1MiB", 1 << 20 },
		{ "2g", 2ULL << 30 },
		{ "1T", 1ULL << 40 },
		{ "16777215t", 16777215ULL << 40 },
		{ "0.5g", 512 << 20 },
		{ "1.25k", 1280 },
		{ "1.9999999999b", 1 },
	};
	static const char *const bad[] = { "",    "k",         "1kk",
					   "1x",  "1.g",       "-1",
					   ".5g", "1.",        "1.5.5g",
					   "1 m", "1bb",       "1bib",
					   "1im", "16777216t", "18446744073709551616" };
	uint64_t n = 0;
	struct err e;

	for (size_t i = 0; i < ARRAY_LEN(good); i++) {
		assert_ok(str_to_bytes(good[i].text, "n", &n, &e), &e);
		assert_true(n == good[i].want);
	}
	n = 77;
	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		assert_err(str_to_bytes(bad[i], "--memory", &n, &e), &e, ERR_INVALID);
		assert_int_equal(n, 77);
	}
}

static void test_quote(void **state)
{
	char out[64], small[6], one[1];

	assert_string_equal(str_quote("a\n\xff\\\0b", 6, out, sizeof(out)),
			    "a\\x0a\\xff\\x5c\\x00b");
	assert_string_equal(str_quote("abcdefgh", 8, small, sizeof(small)), "abcde");
	assert_string_equal(str_quote("abc\n", 4, small, sizeof(small)), "abc");
	assert_string_equal(str_quote("a", 1, one, sizeof(one)), "");
}

static void test_strv(void **state)
{
	OWN(strv) struct strv v = { 0 };
	struct err e;

	for (int i = 0; i < 100; i++)
		assert_ok(strv_addf(&v, &e, "arg%d", i), &e);
	assert_ok(strv_add(&v, "last", &e), &e);
	assert_int_equal(v.n, 101);
	assert_string_equal(v.v[99], "arg99");
	assert_string_equal(v.v[100], "last");
	assert_null(v.v[101]);
}

static void test_printf(void **state)
{
	OWN(free) char *s = str_printf("%05d|%s", 42, "x");

	assert_string_equal(s, "00042|x");
}

static void test_unescape_uri(void **state)
{
	static const struct {
		const char *in, *out; /* out: NULL if refused */
	} rows[] = {
		{ "", "" },           { "/a/b", "/a/b" }, { "/a%20b%2Fc%2fd", "/a b/c/d" },
		{ "%e2%82%ac", "€" }, { "/a%", NULL },    { "/a%2", NULL },
		{ "/a%zz", NULL },    { "/a%00b", NULL }, { "/a%2525", "/a%25" },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		char text[64];
		struct err e;

		(void)snprintf(text, sizeof(text), "%s", rows[i].in);
		if (!rows[i].out) {
			assert_err(str_unescape_uri(text, &e), &e, ERR_INVALID);
			continue;
		}
		assert_ok(str_unescape_uri(text, &e), &e);
		assert_string_equal(text, rows[i].out);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_unescape_uri), cmocka_unit_test(test_compare),
		cmocka_unit_test(test_u64),          cmocka_unit_test(test_base64),
		cmocka_unit_test(test_i64),          cmocka_unit_test(test_bytes),
		cmocka_unit_test(test_quote),        cmocka_unit_test(test_strv),
		cmocka_unit_test(test_printf),
	};

	return cmocka_run_group_tests_name("str", tests, NULL, NULL);
}
