/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/table.h"

#include "base/err.h"

enum {
	GAP = 2
};

int table_add(struct table *t, const char *const *row, struct err *e)
{
	for (size_t i = 0; i < t->columns; i++) {
		if (strv_add(&t->cells, row[i], e) < 0)
			return -1;
	}
	return 0;
}

/* Characters: bytes of UTF-8 that do not continue one (RFC 3629). */
static size_t width_of(const char *s)
{
	size_t n = 0;

	for (; *s; s++)
		n += ((unsigned char)*s & 0xc0) != 0x80;
	return n;
}

void table_print(const struct table *t, FILE *out)
{
	size_t widest[TABLE_COLUMNS_MAX] = { 0 };

	BUG_ON(t->columns > TABLE_COLUMNS_MAX);
	for (size_t i = 0; i < t->cells.n; i++) {
		size_t *most = &widest[i % t->columns], width = width_of(t->cells.v[i]);

		*most = width > *most ? width : *most;
	}
	for (size_t i = 0; i < t->cells.n; i++) {
		size_t column = i % t->columns;

		(void)fputs(t->cells.v[i], out);
		if (column + 1 == t->columns)
			(void)putc('\n', out);
		else
			(void)fprintf(out, "%*s",
				      (int)(widest[column] - width_of(t->cells.v[i])) + GAP,
				      "");
	}
}
