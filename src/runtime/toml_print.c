/* SPDX-License-Identifier: Apache-2.0 */
/* TOML 1.0 of a JSON tree: the values of a table first, then the tables in it. */
#include <stdio.h>

#include "base/buf.h"
#include "base/err.h"
#include "runtime/env.h"
#include "wire/json.h"

enum {
	NAME_MAX_LEN = 256
};

struct printer {
	struct buf *out;
	struct err *e;
	const char *table; /* "" at the top */
	bool tables;       /* which half is printed */
};

static int print_table(struct printer *p, const struct jval *v);

/* A value's JSON is its TOML: basic strings have JSON's escapes, but for "\/". */
static int print_value(struct printer *p, const char *key, const struct jval *v)
{
	if (buf_printf(p->out, p->e, "  %s = ", key) < 0 ||
	    jval_print(v, false, p->out, p->e) < 0)
		return -1;
	return buf_puts(p->out, "\n", p->e);
}

static int print_member(const char *key, struct jval *v, void *arg)
{
	struct printer *p = arg;
	char name[NAME_MAX_LEN];
	struct printer inner = *p;

	if ((jval_type(v) == JVAL_OBJECT) != p->tables)
		return 0;
	if (!p->tables)
		return print_value(p, key, v);
	if (snprintf(name, sizeof(name), "%s%s%s", p->table, *p->table ? "." : "", key) >=
	    (int)sizeof(name))
		return err_set(p->e, ERR_INVALID, 0, "a table's name is too long");
	inner.table = name;
	if (buf_printf(p->out, p->e, "\n[%s]\n", name) < 0)
		return -1;
	return print_table(&inner, v);
}

static int print_table(struct printer *p, const struct jval *v)
{
	p->tables = false;
	if (jval_each(v, print_member, p) != 0)
		return -1;
	p->tables = true;
	return jval_each(v, print_member, p);
}

int toml_print(const struct jval *v, struct buf *out, struct err *e)
{
	struct printer p = { .out = out, .e = e, .table = "" };

	return print_table(&p, v);
}
