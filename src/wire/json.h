/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Strict JSON (RFC 8259), for the host's programs only; json-c holds the trees. Its parser,
 * which takes single quotes, NaN, duplicate keys and numbers out of range, is not used.
 * Nesting and size are limited. Out of memory is ERR_NO_MEMORY everywhere.
 *
 * A `struct jval` is a json-c object: trees own their members; jval_free() drops one
 * reference of a root. Pointers got from a tree live as long as the tree.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/own.h"

struct buf;
struct err;
struct jval;

enum jval_type {
	JVAL_NULL,
	JVAL_BOOL,
	JVAL_INT,
	JVAL_DOUBLE,
	JVAL_STRING,
	JVAL_ARRAY,
	JVAL_OBJECT
};

enum {
	JVAL_MAX_DEPTH = 64
};

/* Parses exactly one document. ERR_INVALID names line and column and what is wrong there. */
int jval_parse(const char *p, size_t len, struct jval **out, struct err *e);
void jval_free(struct jval *v);
OWN_DEFINE(jval, struct jval *, jval_free)

/* NULL (no value) and JSON null are both JVAL_NULL. */
enum jval_type jval_type(const struct jval *v);
const char *jval_type_name(enum jval_type t);

/* A member of an object; NULL if `obj` is no object or lacks it. */
struct jval *jval_get(const struct jval *obj, const char *key);
/* Follows members: jval_path(v, "return", "status", NULL). */
struct jval *jval_path(const struct jval *v, ...) __attribute__((sentinel));
size_t
jval_count(const struct jval *v); /* elements of an array, members of an object, else 0 */
struct jval *jval_at(const struct jval *array, size_t i);
/* Visits the members in order; stops when the visitor returns non-zero and returns that. */
int jval_each(const struct jval *obj, int (*visit)(const char *key, struct jval *v, void *arg),
	      void *arg);

/* Typed access: NULL / false when the type is another or the number does not fit. */
const char *jval_str(const struct jval *v);
size_t jval_str_len(const struct jval *v); /* differs from strlen() where the text holds NUL */
bool jval_int(const struct jval *v, int64_t *out);
bool jval_uint(const struct jval *v, uint64_t *out);
bool jval_bool(const struct jval *v, bool *out);

/* Members that must be there and have the type; ERR_INVALID names `what` and the key. */
int jval_need_str(const struct jval *obj, const char *key, const char *what, const char **out,
		  struct err *e);
int jval_need_int(const struct jval *obj, const char *key, const char *what, int64_t *out,
		  struct err *e);

/*
 * Building. Constructors return NULL when out of memory; jval_set() and jval_push() take over
 * the member whatever the outcome and fail (-1) when it is NULL, so that calls can be nested
 * and checked once.
 */
struct jval *jval_new_object(void);
struct jval *jval_new_array(void);
struct jval *jval_new_str(const char *s);
struct jval *jval_new_int(int64_t n);
struct jval *jval_new_uint(uint64_t n);
struct jval *jval_new_double(double d);
struct jval *jval_new_bool(bool b);
int jval_set(struct jval *obj, const char *key, struct jval *member, struct err *e);
int jval_set_str(struct jval *obj, const char *key, const char *s, struct err *e);
int jval_set_int(struct jval *obj, const char *key, int64_t n, struct err *e);
int jval_set_bool(struct jval *obj, const char *key, bool b, struct err *e);
int jval_push(struct jval *array, struct jval *member, struct err *e);
/* A second reference to be put into another tree. */
struct jval *jval_ref(struct jval *v);

/* Appends the text, compact or indented. */
int jval_print(const struct jval *v, bool pretty, struct buf *out, struct err *e);
/* A whole file of at most `max` bytes, parsed. */
int jval_read_file(int dirfd, const char *path, size_t max, struct jval **out, struct err *e);
