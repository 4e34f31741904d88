/* SPDX-License-Identifier: Apache-2.0 */
/* The TOML reader: every construct of TOML 1.0, and what it refuses in which line. */
#include "unit.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "wire/toml.h"

static struct toml_value *parse(const char *text, struct arena *a)
{
	struct toml_value *root = NULL;
	struct err e;

	if (toml_parse(text, strlen(text), "f", a, &root, &e) < 0)
		fail_msg("%s: %s", text, e.msg);
	return root;
}

static const char *string_of(const struct toml_value *root, const char *key)
{
	const struct toml_value *v = toml_get(root, key);

	assert_non_null(v);
	assert_int_equal(v->type, TOML_STRING);
	return v->string;
}

static void test_strings(void **state)
{
	static const char text[] =
		"a = \"x\\t\\u00e4\\U0001F600\\\"\\\\\"\n"
		"b = 'C:\\new \"q\"'\n"
		"c = \"\"\"\r\none\r\n  two \\\n\n   three \"\"quoted\"\"\"\"\"\n"
		"d = '''\nraw \\ 'x'''''\n"
		"\"quoted key\" = \"\"\n'' = 'empty key'\n"
		"1-2_3 = 'bare' # comment";
	OWN(arena) struct arena a = { .limit = 1 << 20 };
	struct toml_value *r = parse(text, &a);

	assert_string_equal(string_of(r, "a"), "x\t\xc3\xa4\xf0\x9f\x98\x80\"\\");
	assert_string_equal(string_of(r, "b"), "C:\\new \"q\"");
	assert_string_equal(string_of(r, "c"), "one\n  two three \"\"quoted\"\"");
	assert_string_equal(string_of(r, "d"), "raw \\ 'x''");
	assert_string_equal(string_of(r, "quoted key"), "");
	assert_string_equal(string_of(r, ""), "empty key");
	assert_string_equal(string_of(r, "1-2_3"), "bare");
	assert_int_equal(toml_get(r, "d")->line, 8);
}

static void test_numbers(void **state)
{
	static const struct {
		const char *text;
		int64_t want;
	} ints[] = {
		{ "0", 0 },
		{ "+99", 99 },
		{ "-17", -17 },
		{ "-0", 0 },
		{ "1_000_0", 10000 },
		{ "0xDEAD_beef", 0xdeadbeef },
		{ "0o755", 0755 },
		{ "0b1101", 13 },
		{ "9223372036854775807", INT64_MAX },
		{ "-9223372036854775808", INT64_MIN },
	};
	static const struct {
		const char *text;
		double want;
	} reals[] = {
		{ "1.0", 1 },
		{ "3.1415", 3.1415 },
		{ "-0.01", -0.01 },
		{ "5e+22", 5e22 },
		{ "1e06", 1e6 },
		{ "-2E-2", -0.02 },
		{ "6.626e-34", 6.626e-34 },
		{ "224_617.445_991", 224617.445991 },
		{ "inf", INFINITY },
		{ "-inf", -INFINITY },
	};
	char text[64];

	for (size_t i = 0; i < ARRAY_LEN(ints); i++) {
		OWN(arena) struct arena a = { .limit = 1 << 20 };
		struct toml_value *v;

		(void)snprintf(text, sizeof(text), "x = %s\n", ints[i].text);
		v = toml_get(parse(text, &a), "x");
		assert_int_equal(v->type, TOML_INTEGER);
		assert_true(v->integer == ints[i].want);
	}
	for (size_t i = 0; i < ARRAY_LEN(reals); i++) {
		OWN(arena) struct arena a = { .limit = 1 << 20 };
		struct toml_value *v;

		(void)snprintf(text, sizeof(text), "x = %s", reals[i].text);
		v = toml_get(parse(text, &a), "x");
		assert_int_equal(v->type, TOML_FLOAT);
		assert_true(v->real == reals[i].want);
	}
}

static void test_tables(void **state)
{
	static const char text[] =
		"\xef\xbb\xbftop = true\n"
		"[a.b] # a is implicit\nx = 1\n[a]\ny.z.w = 2\ny.v = 3\n[a.y.sub]\nk = 1\n"
		"[\"a\" . 'c']\nlist = [ 1, [2, 'x'],\n# comment\n{ p.q = 1, r = [] }, ]\n"
		"[[t]]\nn = 1\n[t.sub]\nm = 1\n[[t]]\nn = 2\n[[t.deep]]\n[[t.deep]]\nlast = "
		"false\n";
	OWN(arena) struct arena a = { .limit = 1 << 20 };
	struct toml_value *r = parse(text, &a), *v;

	assert_true(toml_get(r, "top")->boolean);
	v = toml_get(r, "a");
	assert_int_equal(toml_get(toml_get(v, "b"), "x")->integer, 1);
	assert_int_equal(toml_get(toml_get(toml_get(v, "y"), "z"), "w")->integer, 2);
	assert_int_equal(toml_get(toml_get(v, "y"), "v")->integer, 3);
	v = toml_get(toml_get(v, "c"), "list");
	assert_int_equal(v->type, TOML_ARRAY);
	assert_int_equal(v->list.count, 3);
	assert_int_equal(v->list.first->next->type, TOML_ARRAY);
	assert_int_equal(toml_get(toml_get(v->list.last, "p"), "q")->integer, 1);
	v = toml_get(r, "t");
	assert_int_equal(v->list.count, 2);
	assert_int_equal(toml_get(v->list.last, "n")->integer, 2);
	assert_int_equal(toml_get(v->list.last, "deep")->list.count, 2);
	assert_int_equal(toml_get(toml_get(v->list.first, "sub"), "m")->integer, 1);
}

static void test_bad(void **state)
{
	static const struct {
		const char *text, *want;
	} rows[] = {
		{ "x", "f:1: the text ends where '=' is expected" },
		{ "x =", "f:1: the text ends where a value is expected" },
		{ "\n\nx = \n", "f:3: the line ends where a value is expected" },
		{ "= 1", "f:1: '=' where a key is expected" },
		{ "x = 1 y = 2", "'y' where the end of the line is expected" },
		{ "x = 1\nx = 2", "f:2: 'x' is already defined in line 1" },
		{ "[a]\n[a]", "f:2: 'a' is already defined in line 1" },
		{ "a = 1\n[a.b]", "f:2: 'a' is already defined in line 1" },
		{ "a = {b=1}\na.c = 2", "f:2: 'a' is already defined in line 1" },
		{ "a = {b.c=1}\n[a.b.d]", "f:2: 'a' is already defined" },
		{ "a.b = 1\n[a]", "f:2: 'a' is already defined in line 1" },
		{ "[a.b.c]\nz=9\n[a]\nb.c.t = 'x'", "f:4: 'b' is already defined" },
		{ "a = []\n[[a]]", "f:2: 'a' is already defined in line 1" },
		{ "[a]\n[[a]]", "f:2: 'a' is already defined in line 1" },
		{ "[[a]]\n[a]", "f:2: 'a' is already defined in line 1" },
		{ "a = {b=1, b=2}", "f:1: 'b' is already defined" },
		{ "a = {b=1,}", "'}' where a key is expected" },
		{ "a = {\nb=1}", "the line ends where a key is expected" },
		{ "a = [1 2]", "'2' where ',' or ']' is expected" },
		{ "a = [1,\n2", "f:2: the text ends where ',' or ']' is expected" },
		{ "[a", "the text ends where ']' is expected" },
		{ "[[a]", "where ']]' is expected" },
		{ "[]", "']' where a key is expected" },
		{ "a = \"x", "a string that does not end" },
		{ "a = \"x\ny\"", "control character 0x0a in a string" },
		{ "a = '''x", "a string that does not end" },
		{ "a = \"\\q\"", "an unknown escape" },
		{ "a = \"\\ud800\"", "an escape that is no character" },
		{ "a = \"\\u12\"", "an escape needs 4 hexadecimal digits" },
		{ "a = \"\\u0000\"", "NUL in a string" },
		{ "a = 01", "leading zero" },
		{ "a = 1__0", "where the end of the line is expected" },
		{ "a = 1_", "where the end of the line is expected" },
		{ "a = _1", "where a value is expected" },
		{ "a = 0x", "where a digit is expected" },
		{ "a = +0x1", "where the end of the line is expected" },
		{ "a = 1.", "where a digit is expected" },
		{ "a = .5", "where a value is expected" },
		{ "a = 9223372036854775808", "does not fit 64 bits" },
		{ "a = 1979-05-27T07:32:00Z", "dates and times are not supported" },
		{ "a = 07:32:00", "dates and times are not supported" },
		{ "a = truth", "where a value is expected" },
		{ "a = yes", "where a value is expected" },
		{ "a = \"\xff\"", "f:1: invalid UTF-8" },
		{ "\n# \x01", "f:2: control character 0x01 in a comment" },
		{ "a = 1\rb = 2", "the line ends where the end of the line" },
		{ "'''a''' = 1", "a key of several lines" },
	};

	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		OWN(arena) struct arena a = { .limit = 1 << 20 };
		struct toml_value *root = NULL;
		struct err e;

		if (toml_parse(rows[i].text, strlen(rows[i].text), "f", &a, &root, &e) == 0)
			fail_msg("accepted: %s", rows[i].text);
		assert_null(root);
		if (!strstr(e.msg, rows[i].want))
			fail_msg("%s: '%s' lacks '%s'", rows[i].text, e.msg, rows[i].want);
	}
}

static void test_every_memory_limit(void **state)
{
	static const char text[] = "[a.b]\nc = [ 'x', { d = \"y\" } ]\n[[e]]\nf.g = 1\n";
	bool parsed = false;

	for (size_t limit = 16; !parsed; limit += 16) {
		OWN(arena) struct arena a = { .limit = limit };
		struct toml_value *root = NULL;
		struct err e;

		parsed = toml_parse(text, strlen(text), "f", &a, &root, &e) == 0;
		if (!parsed)
			assert_int_equal(e.kind, ERR_NO_MEMORY);
		assert_int_equal(parsed, root != NULL);
		assert_true(limit < 1 << 16);
	}
}

static void test_limits(void **state)
{
	OWN(arena) struct arena a = { .limit = 1 << 24 };
	static char text[3 * (TOML_MAX_VALUES + 10)];
	struct toml_value *root = NULL;
	struct err e;
	size_t n = 0;

	n += (size_t)snprintf(text, sizeof(text), "a = ");
	memset(text + n, '[', TOML_MAX_DEPTH + 1);
	assert_err(toml_parse(text, n + TOML_MAX_DEPTH + 1, "f", &a, &root, &e), &e,
		   ERR_INVALID);
	assert_non_null(strstr(e.msg, "nested deeper than 32"));
	text[n++] = '[';
	for (int i = 0; i <= TOML_MAX_VALUES; i++) {
		text[n++] = '1';
		text[n++] = ',';
	}
	assert_err(toml_parse(text, n, "f", &a, &root, &e), &e, ERR_INVALID);
	assert_non_null(strstr(e.msg, "more than 10000 values"));
}

static void test_merge(void **state)
{
	static const char over[] = "x = { y = 4 }\na.b = { d = [] }\na.z = 7\n[k]\nl = 5\n";
	OWN(arena) struct arena a = { .limit = 1 << 20 };
	struct toml_value *base = parse(
		"x = 1\n[a]\nz = [1, 2]\n[a.b]\nc = 'kept'\nd = true\n[k.l]\nm = 6\n", &a);
	struct toml_value *later = NULL, *b;
	struct err e;

	assert_ok(toml_parse(over, strlen(over), "over", &a, &later, &e), &e);
	toml_merge(base, later);
	assert_int_equal(later->list.count, 0);
	assert_null(later->list.first);
	assert_int_equal(base->list.count, 3);
	assert_int_equal(toml_get(toml_get(base, "x"), "y")->integer, 4);
	assert_int_equal(toml_get(toml_get(base, "k"), "l")->integer, 5);
	assert_int_equal(toml_get(toml_get(base, "a"), "z")->integer, 7);
	b = toml_get(toml_get(base, "a"), "b");
	assert_int_equal(b->list.count, 2);
	assert_string_equal(b->file, "f");
	assert_string_equal(string_of(b, "c"), "kept");
	assert_string_equal(toml_get(b, "c")->file, "f");
	assert_int_equal(toml_get(b, "d")->type, TOML_ARRAY);
	assert_string_equal(toml_get(b, "d")->file, "over");
	assert_int_equal(toml_get(b, "d")->line, 2);

	toml_remove(b, "d");
	toml_remove(b, "none");
	assert_int_equal(b->list.count, 1);
	assert_ptr_equal(b->list.last, b->list.first);
	toml_remove(b, "c");
	assert_null(b->list.first);
	assert_null(b->list.last);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_strings), cmocka_unit_test(test_numbers),
		cmocka_unit_test(test_tables),  cmocka_unit_test(test_bad),
		cmocka_unit_test(test_merge),   cmocka_unit_test(test_every_memory_limit),
		cmocka_unit_test(test_limits),
	};

	return cmocka_run_group_tests_name("toml", tests, NULL, NULL);
}
