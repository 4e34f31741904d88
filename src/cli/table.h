/* SPDX-License-Identifier: Apache-2.0 */
/* Lines of text in columns as wide as what is in them. */
#pragma once

#include <stdio.h>

#include "base/str.h"

struct err;

enum {
	TABLE_COLUMNS_MAX = 8
};

struct table {
	size_t columns;    /* at most TABLE_COLUMNS_MAX */
	struct strv cells; /* row by row */
};

/* Appends a row: `columns` texts, copied. */
int table_add(struct table *t, const char *const *row, struct err *e);
/* The last column is not filled up. */
void table_print(const struct table *t, FILE *out);
static inline void table_fini(struct table *t)
{
	strv_fini(&t->cells);
}
