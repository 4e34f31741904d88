/* SPDX-License-Identifier: Apache-2.0 */
/* Columns of text. */
#include "unit.h"

#include <stdlib.h>

#include "base/own.h"
#include "cli/table.h"

static void check(size_t columns, const char *const *cells, size_t n, const char *want)
{
	struct table t = { .columns = columns };
	char *text = NULL;
	size_t len;
	FILE *out = open_memstream(&text, &len);
	struct err e;

	assert_non_null(out);
	for (size_t i = 0; i < n; i += columns)
		assert_ok(table_add(&t, cells + i, &e), &e);
	table_print(&t, out);
	(void)fclose(out);
	assert_string_equal(text, want);
	free(text);
	table_fini(&t);
}

static void test_columns(void **state)
{
	static const char *const cells[] = {
		"A", "WIDE", "LAST", "long", "b", "x", "", "c", ""
	};
	static const char *const wide[] = { "\xc3\xa4\xc3\xb6", "x", "abc", "y" };

	(void)state;
	check(3, cells, ARRAY_LEN(cells),
	      "A     WIDE  LAST\n"
	      "long  b     x\n"
	      "      c     \n");
	check(2, wide, ARRAY_LEN(wide),
	      "\xc3\xa4\xc3\xb6   x\nabc  y\n"); /* characters count */
	check(1, cells, 2, "A\nWIDE\n");
	check(3, cells, 0, "");
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_columns),
	};

	return cmocka_run_group_tests_name("table", tests, NULL, NULL);
}
