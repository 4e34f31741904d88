/* SPDX-License-Identifier: Apache-2.0 */
/* Between the checker of JSON text (json.c) and what builds and prints trees (json_tree.c). */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct buf;
struct err;
struct json_object;

/* What stands between the quotes of a string that has been checked. */
struct json_chars {
	const uint8_t *p;
	size_t len;
};

/* The value of four hexadecimal digits, -1 if they are none. */
int json_hex4(const uint8_t *p);
/* The next character, escapes resolved; -1 at the end. */
int32_t json_next_char(struct json_chars *c);

/* The tree of checked text; *out is NULL for "null". The one error is ERR_NO_MEMORY. */
int json_build(const uint8_t *text, size_t len, struct json_object **out, struct err *e);
/* Puts a member in (or another in its place); -1: no memory, and nothing is lost. */
int json_add_member(struct json_object *object, const char *key, struct json_object *member);
int json_print(struct json_object *o, bool pretty, struct buf *out, struct err *e);
