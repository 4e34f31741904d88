/* SPDX-License-Identifier: Apache-2.0 */
/* The strict JSON reader: what it takes, what it refuses and where, and the way back. */
#include "unit.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/fd.h"
#include "base/mem.h"
#include "wire/json.h"

static void test_good(void **state)
{
	static const char *const texts[] = {
		"{}",
		"[]",
		" null ",
		"true",
		"false",
		"0",
		"-0",
		"1.5e-3",
		"\"\"",
		"[1,2,[3,{}]]",
		"{\"a\":1,\"b\":null,\"c\":[true,false]}\n",
		"18446744073709551615",
		"-9223372036854775808",
		"\"\\ud83d\\ude00 \\u00e4 \xc3\xa4 \xf0\x9f\x98\x80\"",
		"{\"\\u0061\":1,\"A\":2}",
		"1e308",
		"\"\\u0000\"",
	};
	struct err e;

	for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
		OWN(jval) struct jval *v = NULL;

		if (jval_parse(texts[i], strlen(texts[i]), &v, &e) < 0)
			fail_msg("%s: %s", texts[i], e.msg);
	}
}

static void test_bad(void **state)
{
	static const struct {
		const char *text, *want;
	} rows[] = {
		{ "", "line 1 column 1: the text ends where a value is expected" },
		{ "{", "the text ends where a key is expected" },
		{ "{\"a\" 1}", "line 1 column 6: '1' where ':' is expected" },
		{ "{\n  'a': 1}", "line 2 column 3: ''' where a key is expected" },
		{ "{\"a\":1,}", "where a key is expected" },
		{ "[1,]", "where a value is expected" },
		{ "[1 2]", "where ',' or ']' is expected" },
		{ "{} {}", "where the end is expected" },
		{ "NaN", "where a value is expected" },
		{ "nul", "where a value is expected" },
		{ "[1] // no", "where the end is expected" },
		{ "01", "'1' where the end is expected" },
		{ "+1", "where a value is expected" },
		{ "1.", "where a digit is expected" },
		{ "-", "where a digit is expected" },
		{ "1e", "where a digit is expected" },
		{ "1e999", "number 1e999 is out of range" },
		{ "18446744073709551616", "does not fit 64 bits" },
		{ "-9223372036854775809", "does not fit 64 bits" },
		{ "\"abc", "a string that does not end" },
		{ "\"a\tb\"", "control character 0x09" },
		{ "\"\\x41\"", "an unknown escape" },
		{ "\"\\u12g4\"", "without four hexadecimal digits" },
		{ "\"\\ud800\"", "half of a surrogate pair" },
		{ "\"\\udc00\\ud800\"", "half of a surrogate pair" },
		{ "\"\xff\"", "invalid UTF-8" },
		{ "\"\xc0\xaf\"", "invalid UTF-8" },
		{ "\"\xed\xa0\x80\"", "invalid UTF-8" },
		{ "\"\xf4\x90\x80\x80\"", "invalid UTF-8" },
		{ "{\"a\":1,\"b\":2,\"a\":3}", "line 1 column 15: key \"a\" is there twice" },
		{ "{\"a\":1,\"\\u0061\":2}", "is there twice" },
		{ "{\"x\":{\"\\ud83d\\ude00\":1,\"\xf0\x9f\x98\x80\":2}}", "is there twice" },
		{ "{\"a\\u0000b\":1}", "a key with a NUL character" },
	};
	struct err e;

	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct jval *v = NULL;

		if (jval_parse(rows[i].text, strlen(rows[i].text), &v, &e) == 0)
			fail_msg("accepted: %s", rows[i].text);
		assert_int_equal(e.kind, ERR_INVALID);
		assert_null(v);
		if (!strstr(e.msg, rows[i].want))
			fail_msg("%s: '%s' lacks '%s'", rows[i].text, e.msg, rows[i].want);
	}
}

static void test_depth(void **state)
{
	char text[2 * (JVAL_MAX_DEPTH + 1) + 1];
	struct jval *v = NULL;
	struct err e;

	for (int n = JVAL_MAX_DEPTH; n <= JVAL_MAX_DEPTH + 1; n++) {
		memset(text, '[', (size_t)n);
		memset(text + n, ']', (size_t)n);
		if (n == JVAL_MAX_DEPTH) {
			assert_ok(jval_parse(text, 2 * (size_t)n, &v, &e), &e);
			jval_free(v);
			v = NULL;
		} else {
			assert_err(jval_parse(text, 2 * (size_t)n, &v, &e), &e, ERR_INVALID);
			assert_non_null(strstr(e.msg, "nested deeper than 64"));
		}
	}
}

static void test_access(void **state)
{
	static const char text[] = "{\"s\":\"x\\u0000y\",\"i\":-5,\"u\":18446744073709551615,"
				   "\"d\":1.5,\"t\":true,\"n\":null,\"o\":{\"k\":[7]}}";
	OWN(jval) struct jval *v = NULL;
	const char *s;
	uint64_t u;
	int64_t i;
	bool b = false;
	struct err e;

	assert_ok(jval_parse(text, strlen(text), &v, &e), &e);
	assert_int_equal(jval_count(v), 7);
	assert_int_equal(jval_str_len(jval_get(v, "s")), 3);
	assert_true(jval_int(jval_get(v, "i"), &i));
	assert_int_equal(i, -5);
	assert_false(jval_uint(jval_get(v, "i"), &u));
	assert_true(jval_uint(jval_get(v, "u"), &u));
	assert_true(u == UINT64_MAX);
	assert_false(jval_int(jval_get(v, "u"), &i));
	assert_false(jval_int(jval_get(v, "d"), &i));
	assert_true(jval_bool(jval_get(v, "t"), &b) && b);
	assert_int_equal(jval_type(jval_get(v, "n")), JVAL_NULL);
	assert_true(jval_int(jval_at(jval_path(v, "o", "k", NULL), 0), &i));
	assert_int_equal(i, 7);
	assert_null(jval_path(v, "o", "x", "y", NULL));
	assert_err(jval_need_str(v, "q", "reply", &s, &e), &e, ERR_INVALID);
	assert_string_equal(e.msg, "reply: no \"q\"");
	assert_err(jval_need_str(v, "i", "reply", &s, &e), &e, ERR_INVALID);
	assert_string_equal(e.msg, "reply: \"i\" must be a string");
	assert_ok(jval_need_int(v, "i", "reply", &i, &e), &e);
}

static void test_build(void **state)
{
	OWN(buf) struct buf out = BUF_INIT;
	OWN(jval) struct jval *o = jval_new_object();
	struct jval *a = jval_new_array();
	struct err e;

	assert_ok(jval_push(a, jval_new_uint(UINT64_MAX), &e), &e);
	assert_ok(jval_push(a, jval_new_bool(false), &e), &e);
	assert_ok(jval_set_str(o, "path", "/a/b\n\"", &e), &e);
	assert_ok(jval_set_int(o, "n", -1, &e), &e);
	assert_ok(jval_set(o, "list", a, &e), &e);
	assert_ok(jval_set(o, "again", jval_ref(a), &e), &e);
	assert_err(jval_set(o, "none", NULL, &e), &e, ERR_NO_MEMORY);
	assert_ok(jval_print(o, false, &out, &e), &e);
	assert_string_equal(
		buf_cstr(&out),
		"{\"path\":\"/a/b\\n\\\"\",\"n\":-1,\"list\":[18446744073709551615,false],"
		"\"again\":[18446744073709551615,false]}");
}

/* Text in, text out. */
static void test_print(void **state)
{
	static const struct {
		const char *text, *compact, *pretty;
	} rows[] = {
		{ " null ", "null", "null" },
		{ "{ }", "{}", "{}" },
		{ "[ ]", "[]", "[]" },
		{ "[1,[],{\"a\":[2,null],\"b\":true}]", "[1,[],{\"a\":[2,null],\"b\":true}]",
		  "[\n  1,\n  [],\n  {\n    \"a\": [\n      2,\n      null\n    ],\n"
		  "    \"b\": true\n  }\n]" },
		{ "-9223372036854775808", "-9223372036854775808", NULL },
		{ "18446744073709551615", "18446744073709551615", NULL },
		{ "9223372036854775808", "9223372036854775808", NULL },
		{ "-0", "0", NULL },
		{ "0.1", "0.1", NULL },
		{ "-0.0", "-0.0", NULL },
		{ "100.0", "100.0", NULL },
		{ "1E2", "100.0", NULL },
		{ "0.30000000000000004", "0.30000000000000004", NULL },
		{ "1e308", "1e+308", NULL },
		{ "5e-324", "4.94065645841247e-324", NULL },
		{ "\"\\u0000\\u001f\\b\\f\\n\\r\\t\\\"\\\\\\/\"",
		  "\"\\u0000\\u001f\\b\\f\\n\\r\\t\\\"\\\\/\"", NULL },
		{ "\"\\u00e4\\u20ac\\ud83d\\ude00\\u007f\"",
		  "\"\xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80\x7f\"", NULL },
		{ "{\"\\u0061\\n\":1}", "{\"a\\n\":1}", "{\n  \"a\\n\": 1\n}" },
	};
	struct err e;

	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		OWN(buf) struct buf compact = BUF_INIT, pretty = BUF_INIT;
		OWN(jval) struct jval *v = NULL;

		assert_ok(jval_parse(rows[i].text, strlen(rows[i].text), &v, &e), &e);
		assert_ok(jval_print(v, false, &compact, &e), &e);
		assert_string_equal(buf_cstr(&compact), rows[i].compact);
		assert_ok(jval_print(v, true, &pretty, &e), &e);
		assert_string_equal(buf_cstr(&pretty),
				    rows[i].pretty ? rows[i].pretty : rows[i].compact);
	}
}

/* The members' order is the text's, and growing an object loses none. */
static void test_many_members(void **state)
{
	OWN(buf) struct buf text = BUF_INIT, out = BUF_INIT;
	OWN(jval) struct jval *v = NULL;
	struct err e;

	assert_ok(buf_puts(&text, "{", &e), &e);
	for (int i = 0; i < 5000; i++)
		assert_ok(buf_printf(&text, &e, "%s\"key%d\":%d", i ? "," : "", i, i), &e);
	assert_ok(buf_puts(&text, "}", &e), &e);
	assert_ok(jval_parse(buf_cstr(&text), buf_len(&text), &v, &e), &e);
	assert_int_equal(jval_count(v), 5000);
	assert_ok(jval_print(v, false, &out, &e), &e);
	assert_string_equal(buf_cstr(&out), buf_cstr(&text));
}

/* What a caller gets wrong is an error, and the member given is not lost. */
static void test_misuse(void **state)
{
	OWN(jval) struct jval *o = jval_new_object(), *a = jval_new_array();
	int64_t n = 7;
	struct err e;

	assert_err(jval_set(a, "k", jval_new_int(1), &e), &e, ERR_NO_MEMORY);
	assert_err(jval_push(o, jval_new_int(1), &e), &e, ERR_NO_MEMORY);
	assert_err(jval_push(a, NULL, &e), &e, ERR_NO_MEMORY);
	assert_null(jval_at(o, 0));
	assert_null(jval_at(a, 0));
	assert_int_equal(jval_count(NULL), 0);
	assert_err(jval_need_int(a, "k", "reply", &n, &e), &e, ERR_INVALID);
	assert_string_equal(e.msg, "reply: an array instead of an object");
	assert_int_equal(n, 7);
}

static int count_until(const char *key, struct jval *v, void *arg)
{
	int *seen = arg;

	(void)v;
	++*seen;
	return key[0] == 'b' ? 42 : 0;
}

static void test_each(void **state)
{
	static const char text[] = "{\"a\":1,\"b\":2,\"c\":3}";
	OWN(jval) struct jval *v = NULL;
	struct err e;
	int seen = 0;

	assert_ok(jval_parse(text, strlen(text), &v, &e), &e);
	assert_int_equal(jval_each(v, count_until, &seen), 42);
	assert_int_equal(seen, 2);
	assert_int_equal(jval_each(jval_get(v, "a"), count_until, &seen), 0);
	assert_int_equal(seen, 2);
}

static void test_file(void **state)
{
	char path[] = "/tmp/kata-json.XXXXXX";
	OWN(fd) int fd = mkstemp(path);
	struct jval *v = NULL;
	struct err e;

	assert_true(fd >= 0);
	assert_ok(fd_write_all(fd, "{\"a\":\n7x}", 9, &e), &e);
	assert_err(jval_read_file(AT_FDCWD, path, 100, &v, &e), &e, ERR_INVALID);
	assert_non_null(strstr(e.msg, path));
	assert_non_null(strstr(e.msg, "line 2 column 2: 'x' where ',' or '}' is expected"));
	assert_err(jval_read_file(AT_FDCWD, path, 8, &v, &e), &e, ERR_INVALID);
	assert_int_equal(pwrite(fd, "7 }", 3, 6), 3);
	assert_ok(jval_read_file(AT_FDCWD, path, 9, &v, &e), &e);
	assert_int_equal(jval_count(v), 1);
	jval_free(v);
	(void)unlink(path);
	assert_err(jval_read_file(AT_FDCWD, path, 9, &v, &e), &e, ERR_NOT_FOUND);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_good),   cmocka_unit_test(test_bad),
		cmocka_unit_test(test_depth),  cmocka_unit_test(test_access),
		cmocka_unit_test(test_build),  cmocka_unit_test(test_print),
		cmocka_unit_test(test_misuse), cmocka_unit_test(test_many_members),
		cmocka_unit_test(test_each),   cmocka_unit_test(test_file),
	};

	return cmocka_run_group_tests_name("json", tests, NULL, NULL);
}
