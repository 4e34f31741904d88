/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Strict JSON: a recursive check of every token (grammar, UTF-8, escapes, numbers, nesting,
 * duplicate keys) runs over the text first; json_tree.c then builds a tree of json-c's objects
 * from text that is known to be good.
 */
#include "wire/json.h"

#include <limits.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <json-c/json.h>

#include "base/err.h"
#include "base/fd.h"
#include "base/mem.h"
#include "base/str.h"
#include "wire/json_internal.h"
#include "wire/utf8.h"

enum {
	NUMBER_MAX = 400
}; /* characters of a number */

/* A member's name as written, between its quotes. */
struct key {
	struct json_chars chars;
	bool escaped;
};

struct check {
	const uint8_t *start, *p, *end;
	struct key *keys; /* of all open objects, innermost last */
	size_t key_count, key_cap;
	unsigned depth;
	struct err *e;
};

static struct json_object *raw(const struct jval *v)
{
	return (struct json_object *)(uintptr_t)v;
}

static struct jval *wrap(struct json_object *o)
{
	return (struct jval *)o;
}

/* Reports at `at`: lines from 1, columns in bytes from 1. */
static int check_fail(struct check *c, const uint8_t *at, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

static int check_fail(struct check *c, const uint8_t *at, const char *fmt, ...)
{
	size_t line = 1, column = 1;
	char what[200];
	va_list ap;

	for (const uint8_t *p = c->start; p < at; p++) {
		column++;
		if (*p == '\n') {
			line++;
			column = 1;
		}
	}
	va_start(ap, fmt);
	(void)vsnprintf(what, sizeof(what), fmt, ap);
	va_end(ap);
	return err_set(c->e, ERR_INVALID, 0, "line %zu column %zu: %s", line, column, what);
}

static int check_unexpected(struct check *c, const char *want)
{
	char seen[8];

	if (c->p >= c->end)
		return check_fail(c, c->p, "the text ends where %s is expected", want);
	(void)str_quote((const char *)c->p, 1, seen, sizeof(seen));
	return check_fail(c, c->p, "'%s' where %s is expected", seen, want);
}

static void skip_space(struct check *c)
{
	while (c->p < c->end &&
	       (*c->p == ' ' || *c->p == '\t' || *c->p == '\n' || *c->p == '\r'))
		c->p++;
}

/* At the 'u' of an escape; moves behind it, behind both halves of a surrogate pair. */
static int check_unicode_escape(struct check *c, bool is_key)
{
	const uint8_t *at = c->p;
	int unit, low;

	unit = c->end - c->p >= 5 ? json_hex4(c->p + 1) : -1;
	if (unit < 0)
		return check_fail(c, at, "\\u without four hexadecimal digits");
	if (unit == 0 && is_key)
		return check_fail(c, at, "a key with a NUL character");
	c->p += 5;
	if (unit < 0xd800 || unit > 0xdfff)
		return 0;
	low = c->end - c->p >= 6 && c->p[0] == '\\' && c->p[1] == 'u' ? json_hex4(c->p + 2)
								      : -1;
	if (unit > 0xdbff || low < 0xdc00 || low > 0xdfff)
		return check_fail(c, at, "half of a surrogate pair");
	c->p += 6;
	return 0;
}

/* At the opening quote; `key` is NULL for a value. */
static int check_string(struct check *c, struct key *key)
{
	const uint8_t *from = c->p++;
	bool escaped = false;

	for (;;) {
		size_t n;

		if (c->p >= c->end)
			return check_fail(c, from, "a string that does not end");
		if (*c->p == '"')
			break;
		if (*c->p < 0x20)
			return check_fail(c, c->p, "control character 0x%02x in a string",
					  *c->p);
		if (*c->p == '\\') {
			escaped = true;
			c->p++;
			if (c->p < c->end && *c->p == 'u') {
				if (check_unicode_escape(c, key != NULL) < 0)
					return -1;
			} else if (c->p < c->end && *c->p && strchr("\"\\/bfnrt", *c->p)) {
				c->p++;
			} else {
				return check_fail(c, c->p, "an unknown escape in a string");
			}
			continue;
		}
		n = utf8_len(c->p, c->end);
		if (n == 0)
			return check_fail(c, c->p, "invalid UTF-8");
		c->p += n;
	}
	if (key)
		*key = (struct key){ { from + 1, (size_t)(c->p - from) - 1 }, escaped };
	c->p++;
	return 0;
}

static size_t skip_digits(struct check *c)
{
	const uint8_t *from = c->p;

	while (c->p < c->end && *c->p >= '0' && *c->p <= '9')
		c->p++;
	return (size_t)(c->p - from);
}

static bool accept(struct check *c, const char *set)
{
	if (c->p >= c->end || !*c->p || !strchr(set, *c->p))
		return false;
	c->p++;
	return true;
}

static int check_number_range(struct check *c, const uint8_t *from, bool is_int)
{
	size_t len = (size_t)(c->p - from);
	char text[NUMBER_MAX + 1];

	if (len > NUMBER_MAX)
		return check_fail(c, from, "a number of %zu characters", len);
	memcpy(text, from, len);
	text[len] = '\0';
	errno = 0;
	if (!is_int) {
		if (!isfinite(strtod(text, NULL)))
			return check_fail(c, from, "number %.40s is out of range", text);
		return 0;
	}
	if (text[0] == '-')
		(void)strtoll(text, NULL, 10);
	else
		(void)strtoull(text, NULL, 10);
	if (errno == ERANGE)
		return check_fail(c, from, "integer %.40s does not fit 64 bits", text);
	return 0;
}

static int check_number(struct check *c)
{
	const uint8_t *from = c->p;
	bool is_int = true;

	(void)accept(c, "-");
	if (c->p < c->end && *c->p == '0')
		c->p++;
	else if (skip_digits(c) == 0)
		return check_unexpected(c, "a digit");
	if (accept(c, ".")) {
		is_int = false;
		if (skip_digits(c) == 0)
			return check_unexpected(c, "a digit");
	}
	if (accept(c, "eE")) {
		is_int = false;
		(void)accept(c, "+-");
		if (skip_digits(c) == 0)
			return check_unexpected(c, "a digit");
	}
	return check_number_range(c, from, is_int);
}

static int check_word(struct check *c, const char *word)
{
	size_t n = strlen(word);

	if ((size_t)(c->end - c->p) < n || memcmp(c->p, word, n) != 0)
		return check_unexpected(c, "a value");
	c->p += n;
	return 0;
}

/* Order of the code points, which for unescaped text is the order of its bytes. */
static int key_compare(const void *pa, const void *pb)
{
	const struct key *ka = pa, *kb = pb;
	struct json_chars a = ka->chars, b = kb->chars;

	if (!ka->escaped && !kb->escaped) {
		size_t n = a.len < b.len ? a.len : b.len;
		int d = n ? memcmp(a.p, b.p, n) : 0;

		return d ? d : (a.len > b.len) - (a.len < b.len);
	}
	for (;;) {
		int32_t ca = json_next_char(&a), cb = json_next_char(&b);

		if (ca != cb)
			return ca < cb ? -1 : 1;
		if (ca < 0)
			return 0;
	}
}

/* Checks the keys of the innermost object, from `base` on, and forgets them. */
static int check_duplicates(struct check *c, size_t base)
{
	size_t n = c->key_count - base;
	struct key *k;

	c->key_count = base;
	if (n < 2)
		return 0;
	k = c->keys + base;
	qsort(k, n, sizeof(*k), key_compare);
	for (size_t i = 1; i < n; i++) {
		struct json_chars *now = &k[i].chars, *before = &k[i - 1].chars;
		char name[100];

		if (key_compare(&k[i - 1], &k[i]) != 0)
			continue;
		(void)str_quote((const char *)now->p, now->len, name, sizeof(name));
		return check_fail(c, now->p > before->p ? now->p : before->p,
				  "key \"%s\" is there twice", name);
	}
	return 0;
}

static int push_key(struct check *c, const struct key *k)
{
	if (c->key_count == c->key_cap) {
		size_t cap = c->key_cap ? c->key_cap * 2 : 64;
		struct key *p = mem_resize(c->keys, cap, sizeof(*p));

		if (!p)
			return err_oom(c->e, "JSON keys");
		c->keys = p;
		c->key_cap = cap;
	}
	c->keys[c->key_count++] = *k;
	return 0;
}

static int check_value(struct check *c);

static int check_member(struct check *c)
{
	struct key key;

	skip_space(c);
	if (c->p >= c->end || *c->p != '"')
		return check_unexpected(c, "a key");
	if (check_string(c, &key) < 0 || push_key(c, &key) < 0)
		return -1;
	skip_space(c);
	if (!accept(c, ":"))
		return check_unexpected(c, "':'");
	return check_value(c);
}

/* Behind the opening bracket. */
static int check_elements(struct check *c, bool object)
{
	const char *closing = object ? "}" : "]";
	size_t base = c->key_count;

	if (++c->depth > JVAL_MAX_DEPTH)
		return check_fail(c, c->p - 1, "nested deeper than %d", JVAL_MAX_DEPTH);
	skip_space(c);
	if (!accept(c, closing)) {
		do {
			if ((object ? check_member(c) : check_value(c)) < 0)
				return -1;
			skip_space(c);
		} while (accept(c, ","));
		if (!accept(c, closing))
			return check_unexpected(c, object ? "',' or '}'" : "',' or ']'");
	}
	c->depth--;
	return object ? check_duplicates(c, base) : 0;
}

static int check_value(struct check *c)
{
	skip_space(c);
	if (c->p >= c->end)
		return check_unexpected(c, "a value");
	switch (*c->p) {
	case '{':
	case '[':
		return check_elements(c, *c->p++ == '{');
	case '"':
		return check_string(c, NULL);
	case 't':
		return check_word(c, "true");
	case 'f':
		return check_word(c, "false");
	case 'n':
		return check_word(c, "null");
	default:
		if (*c->p == '-' || (*c->p >= '0' && *c->p <= '9'))
			return check_number(c);
		return check_unexpected(c, "a value");
	}
}

static int check_document(const char *p, size_t len, struct err *e)
{
	const uint8_t *start = (const uint8_t *)p;
	struct check c = { .start = start, .p = start, .end = start + len, .e = e };
	int rc = check_value(&c);

	if (rc == 0) {
		skip_space(&c);
		if (c.p < c.end)
			rc = check_unexpected(&c, "the end");
	}
	free(c.keys);
	return rc;
}

int jval_parse(const char *p, size_t len, struct jval **out, struct err *e)
{
	struct json_object *o;

	if (len > INT_MAX - 1)
		return err_set(e, ERR_INVALID, 0, "JSON text of %zu bytes", len);
	if (check_document(p, len, e) < 0 || json_build((const uint8_t *)p, len, &o, e) < 0)
		return -1;
	*out = wrap(o);
	return 0;
}

void jval_free(struct jval *v)
{
	if (v)
		(void)json_object_put(raw(v));
}

enum jval_type jval_type(const struct jval *v)
{
	static const enum jval_type types[] = {
		[json_type_null] = JVAL_NULL,     [json_type_boolean] = JVAL_BOOL,
		[json_type_double] = JVAL_DOUBLE, [json_type_int] = JVAL_INT,
		[json_type_object] = JVAL_OBJECT, [json_type_array] = JVAL_ARRAY,
		[json_type_string] = JVAL_STRING,
	};

	return types[json_object_get_type(raw(v))];
}

const char *jval_type_name(enum jval_type t)
{
	static const char *const names[] = {
		[JVAL_NULL] = "null",        [JVAL_BOOL] = "a boolean",
		[JVAL_INT] = "an integer",   [JVAL_DOUBLE] = "a number",
		[JVAL_STRING] = "a string",  [JVAL_ARRAY] = "an array",
		[JVAL_OBJECT] = "an object",
	};

	return names[t];
}

struct jval *jval_get(const struct jval *obj, const char *key)
{
	struct json_object *member = NULL;

	if (jval_type(obj) != JVAL_OBJECT)
		return NULL;
	(void)json_object_object_get_ex(raw(obj), key, &member);
	return wrap(member);
}

struct jval *jval_path(const struct jval *v, ...)
{
	const struct jval *at = v;
	const char *key;
	va_list ap;

	va_start(ap, v);
	while (at && (key = va_arg(ap, const char *)))
		at = jval_get(at, key);
	va_end(ap);
	return wrap(raw(at));
}

size_t jval_count(const struct jval *v)
{
	switch (jval_type(v)) {
	case JVAL_ARRAY:
		return json_object_array_length(raw(v));
	case JVAL_OBJECT:
		return (size_t)json_object_object_length(raw(v));
	default:
		return 0;
	}
}

struct jval *jval_at(const struct jval *array, size_t i)
{
	if (jval_type(array) != JVAL_ARRAY || i >= json_object_array_length(raw(array)))
		return NULL;
	return wrap(json_object_array_get_idx(raw(array), i));
}

int jval_each(const struct jval *obj, int (*visit)(const char *key, struct jval *v, void *arg),
	      void *arg)
{
	struct json_object_iterator it, end;

	if (jval_type(obj) != JVAL_OBJECT)
		return 0;
	it = json_object_iter_begin(raw(obj));
	end = json_object_iter_end(raw(obj));
	while (!json_object_iter_equal(&it, &end)) {
		int rc = visit(json_object_iter_peek_name(&it),
			       wrap(json_object_iter_peek_value(&it)), arg);

		if (rc)
			return rc;
		json_object_iter_next(&it);
	}
	return 0;
}

const char *jval_str(const struct jval *v)
{
	return jval_type(v) == JVAL_STRING ? json_object_get_string(raw(v)) : NULL;
}

size_t jval_str_len(const struct jval *v)
{
	return jval_type(v) == JVAL_STRING ? (size_t)json_object_get_string_len(raw(v)) : 0;
}

bool jval_int(const struct jval *v, int64_t *out)
{
	int64_t n;

	if (jval_type(v) != JVAL_INT)
		return false;
	n = json_object_get_int64(raw(v));
	if (n >= 0 && json_object_get_uint64(raw(v)) > INT64_MAX)
		return false;
	*out = n;
	return true;
}

bool jval_uint(const struct jval *v, uint64_t *out)
{
	if (jval_type(v) != JVAL_INT || json_object_get_int64(raw(v)) < 0)
		return false;
	*out = json_object_get_uint64(raw(v));
	return true;
}

bool jval_bool(const struct jval *v, bool *out)
{
	if (jval_type(v) != JVAL_BOOL)
		return false;
	*out = json_object_get_boolean(raw(v));
	return true;
}

static int need_failed(const struct jval *obj, const char *key, const char *what,
		       enum jval_type t, struct err *e)
{
	const struct jval *v = jval_get(obj, key);

	if (jval_type(obj) != JVAL_OBJECT)
		return err_set(e, ERR_INVALID, 0, "%s: %s instead of an object", what,
			       jval_type_name(jval_type(obj)));
	if (!v)
		return err_set(e, ERR_INVALID, 0, "%s: no \"%s\"", what, key);
	return err_set(e, ERR_INVALID, 0, "%s: \"%s\" must be %s", what, key,
		       jval_type_name(t));
}

int jval_need_str(const struct jval *obj, const char *key, const char *what, const char **out,
		  struct err *e)
{
	const char *s = jval_str(jval_get(obj, key));

	if (!s)
		return need_failed(obj, key, what, JVAL_STRING, e);
	*out = s;
	return 0;
}

int jval_need_int(const struct jval *obj, const char *key, const char *what, int64_t *out,
		  struct err *e)
{
	if (!jval_int(jval_get(obj, key), out))
		return need_failed(obj, key, what, JVAL_INT, e);
	return 0;
}

struct jval *jval_new_object(void)
{
	return wrap(json_object_new_object());
}

struct jval *jval_new_array(void)
{
	return wrap(json_object_new_array());
}

struct jval *jval_new_str(const char *s)
{
	return wrap(json_object_new_string(s));
}

struct jval *jval_new_int(int64_t n)
{
	return wrap(json_object_new_int64(n));
}

struct jval *jval_new_uint(uint64_t n)
{
	return wrap(json_object_new_uint64(n));
}

struct jval *jval_new_double(double d)
{
	return wrap(json_object_new_double(d));
}

struct jval *jval_new_bool(bool b)
{
	return wrap(json_object_new_boolean(b));
}

int jval_set(struct jval *obj, const char *key, struct jval *member, struct err *e)
{
	if (!member)
		return err_oom(e, "a JSON value");
	if (jval_type(obj) == JVAL_OBJECT && json_add_member(raw(obj), key, raw(member)) == 0)
		return 0;
	jval_free(member);
	return err_oom(e, "a JSON object");
}

int jval_set_str(struct jval *obj, const char *key, const char *s, struct err *e)
{
	return jval_set(obj, key, jval_new_str(s), e);
}

int jval_set_int(struct jval *obj, const char *key, int64_t n, struct err *e)
{
	return jval_set(obj, key, jval_new_int(n), e);
}

int jval_set_bool(struct jval *obj, const char *key, bool b, struct err *e)
{
	return jval_set(obj, key, jval_new_bool(b), e);
}

int jval_push(struct jval *array, struct jval *member, struct err *e)
{
	if (!member)
		return err_oom(e, "a JSON value");
	if (jval_type(array) == JVAL_ARRAY &&
	    json_object_array_add(raw(array), raw(member)) == 0)
		return 0;
	jval_free(member);
	return err_oom(e, "a JSON array");
}

struct jval *jval_ref(struct jval *v)
{
	return wrap(json_object_get(raw(v)));
}

int jval_print(const struct jval *v, bool pretty, struct buf *out, struct err *e)
{
	return json_print(raw(v), pretty, out, e);
}

int jval_read_file(int dirfd, const char *path, size_t max, struct jval **out, struct err *e)
{
	OWN(free) char *text = NULL;
	size_t len;

	if (file_read(dirfd, path, max, &text, &len, e) < 0)
		return -1;
	if (jval_parse(text, len, out, e) < 0)
		return err_wrap(e, "%s", path);
	return 0;
}
