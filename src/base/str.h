/* SPDX-License-Identifier: Apache-2.0 */
/* Strings: bounded building, strict number parsing, string lists. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct err;

bool str_eq(const char *a, const char *b); /* NULL equals only NULL */
bool str_starts(const char *s, const char *prefix);
bool str_ends(const char *s, const char *suffix);
/* Whether `line` is a whole line of `text`, which may be NULL. */
bool str_has_line(const char *text, const char *line);
/* malloc'd formatted string, NULL when out of memory. */
char *str_printf(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/*
 * Base64 of RFC 4648 with padding: section 4, or 5 with `for_names`. Cut if it does not fit.
 */
void str_base64(const void *p, size_t len, bool for_names, char *out, size_t size);
/* Whole-string decimal numbers within [min, max]; anything else is ERR_INVALID naming `what`.
 */
int str_to_u64(const char *s, uint64_t min, uint64_t max, const char *what, uint64_t *out,
	       struct err *e);
int str_to_i64(const char *s, int64_t min, int64_t max, const char *what, int64_t *out,
	       struct err *e);
/*
 * "64", "64b", "64k", "64m", "2g", "1.5t" (powers of 1024, case-insensitive, optional
 * "i"/"ib"/"b"); the seventh decimal and what is less than a byte are dropped.
 */
int str_to_bytes(const char *s, const char *what, uint64_t *out, struct err *e);

/*
 * Copies `s` into `out` with control and non-ASCII bytes as \xNN and cut to `size`: for
 * foreign text in messages and logs. Returns `out`.
 */
char *str_quote(const char *s, size_t len, char *out, size_t size);

/* Undoes a URI's percent-encoding (RFC 3986 2.1) in place; ERR_INVALID for half of one, or a
 * NUL. */
int str_unescape_uri(char *s, struct err *e);

/* A NULL-ended vector of owned strings, for argv and environments. Zero value is empty. */
struct strv {
	char **v;
	size_t n;
};
void strv_fini(struct strv *v);
int strv_add(struct strv *v, const char *s, struct err *e);
int strv_addf(struct strv *v, struct err *e, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
static inline void own_strv(struct strv *v)
{
	strv_fini(v);
}
