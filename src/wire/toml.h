/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A strict reader of TOML 1.0 into a tree that knows its line numbers: tables, dotted keys,
 * arrays, inline tables, arrays of tables, all four kinds of strings, integers in all bases,
 * floats and booleans. Dates and times are refused by name, as is NUL in a string. A key that
 * is defined twice is an error wherever TOML says so. A pure function over bytes.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct arena;
struct err;

enum toml_type {
	TOML_TABLE,
	TOML_ARRAY,
	TOML_STRING,
	TOML_INTEGER,
	TOML_FLOAT,
	TOML_BOOL,
	TOML_TYPE_COUNT_
};

enum {
	TOML_MAX_BYTES = 1 << 20,
	TOML_MAX_DEPTH = 32,
	TOML_MAX_VALUES = 10000,
};

struct toml_value {
	enum toml_type type;
	const char *file;        /* where it is defined: the name given to toml_parse() */
	unsigned line;           /* from 1 */
	const char *key;         /* member of a table: its name; else NULL */
	struct toml_value *next; /* next member or element, in the order of the text */
	union {
		struct {
			struct toml_value *first, *last;
			size_t count;
		} list; /* TOML_TABLE, TOML_ARRAY */
		const char *string;
		int64_t integer;
		double real;
		bool boolean;
	};
	unsigned flags; /* the reader's own */
};

/*
 * Parses one document; the tree lives in `a` (some 100 bytes per value). `name` stands for
 * the file in errors: "name:12: what is wrong" (ERR_INVALID, ERR_UNSUPPORTED for dates). The
 * tree refers to it.
 */
int toml_parse(const char *text, size_t len, const char *name, struct arena *a,
	       struct toml_value **out, struct err *e);

/* A member of a table; NULL if there is none (or `table` is none). */
struct toml_value *toml_get(const struct toml_value *table, const char *key);
/* Takes a member out of a table, if it is there. */
void toml_remove(struct toml_value *table, const char *key);
/*
 * Lays the table `over` upon `base`: tables that both have are merged, any other value replaces
 * the one of its name. What `over` held is part of `base` then, and `over` is empty.
 */
void toml_merge(struct toml_value *base, struct toml_value *over);
/* "a string", "an integer" … */
const char *toml_type_name(enum toml_type t);
