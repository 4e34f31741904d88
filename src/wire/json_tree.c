/* SPDX-License-Identifier: Apache-2.0 */
/*
 * JSON trees from checked text and back. json-c holds the trees, but neither its parser nor
 * its printer is used: where memory runs out, the one goes on without a key or a part of a
 * string and the other without a part of the text (json-c 0.16). Here either everything is
 * there or the call fails. tests/fault/test_fault.c lets each allocation fail.
 */
#include "wire/json_internal.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <json-c/json.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/mem.h"
#include "base/own.h"
#include "wire/utf8.h"

enum {
	DOUBLE_LEN = 32,
	DIGITS_SHORT = 15, /* of a double: enough for most, and for all */
	DIGITS_ALL = 17,
	INDENT = 2
};

int json_hex4(const uint8_t *p)
{
	int v = 0;

	for (int i = 0; i < 4; i++) {
		int d = p[i];

		if (d >= '0' && d <= '9')
			d -= '0';
		else if ((d | 0x20) >= 'a' && (d | 0x20) <= 'f')
			d = (d | 0x20) - 'a' + 10;
		else
			return -1;
		v = v * 16 + d;
	}
	return v;
}

int32_t json_next_char(struct json_chars *c)
{
	static const char from[] = "\"\\/bfnrt", to[] = "\"\\/\b\f\n\r\t";
	int32_t v;
	size_t n;

	if (c->len == 0)
		return -1;
	if (*c->p == '\\' && c->p[1] != 'u') {
		v = (unsigned char)to[strchr(from, c->p[1]) - from];
		n = 2;
	} else if (*c->p == '\\') {
		v = json_hex4(c->p + 2);
		n = 6;
		if (v >= 0xd800 && v <= 0xdbff) {
			v = 0x10000 + ((v - 0xd800) << 10) + (json_hex4(c->p + 8) - 0xdc00);
			n = 12;
		}
	} else {
		n = utf8_len(c->p, c->p + c->len);
		v = n == 1 ? *c->p : *c->p & (0x7f >> n);
		for (size_t i = 1; i < n; i++)
			v = v << 6 | (c->p[i] & 0x3f);
	}
	c->p += n;
	c->len -= n;
	return v;
}

/* ---- building ---- */

struct source_text {
	const uint8_t *p, *end;
};

static void skip_space(struct source_text *t)
{
	while (t->p < t->end &&
	       (*t->p == ' ' || *t->p == '\t' || *t->p == '\n' || *t->p == '\r'))
		t->p++;
}

/* At an opening quote; moves behind the closing one. NULL: no memory. */
static char *take_string(struct source_text *t, size_t *len_out)
{
	struct json_chars c = { .p = ++t->p };
	int32_t ch;
	size_t n = 0;
	char *s;

	while (*t->p != '"')
		t->p += *t->p == '\\' ? 2 : 1;
	c.len = (size_t)(t->p++ - c.p);
	s = malloc(c.len + 1); /* no escape is shorter than its character in UTF-8 */
	if (!s)
		return NULL;
	while ((ch = json_next_char(&c)) >= 0) {
		char bytes[4];
		size_t count = utf8_put((uint32_t)ch, bytes);

		memcpy(s + n, bytes, count);
		n += count;
	}
	s[n] = '\0';
	*len_out = n;
	return s;
}

static struct json_object *build_string(struct source_text *t)
{
	OWN(free) char *s = NULL;
	size_t len;

	s = take_string(t, &len);
	return s ? json_object_new_string_len(s, (int)len) : NULL;
}

static struct json_object *build_number(struct source_text *t)
{
	const uint8_t *from = t->p;
	OWN(free) char *s = NULL;
	uint64_t u;

	while (t->p < t->end && *t->p && strchr("+-.eE0123456789", *t->p))
		t->p++;
	s = mem_dup(from, (size_t)(t->p - from));
	if (!s)
		return NULL;
	if (strpbrk(s, ".eE"))
		return json_object_new_double(strtod(s, NULL));
	if (*s == '-')
		return json_object_new_int64(strtoll(s, NULL, 10));
	u = strtoull(s, NULL, 10);
	return u > INT64_MAX ? json_object_new_uint64(u) : json_object_new_int64((int64_t)u);
}

static int build_value(struct source_text *t, struct json_object **out);

static int build_member(struct source_text *t, struct json_object *object)
{
	struct json_object *member;
	OWN(free) char *key = NULL;
	size_t len;

	skip_space(t);
	key = take_string(t, &len);
	if (!key)
		return -1;
	skip_space(t);
	t->p++; /* the colon */
	if (build_value(t, &member) < 0)
		return -1;
	if (json_add_member(object, key, member) == 0)
		return 0;
	(void)json_object_put(member);
	return -1;
}

static int build_element(struct source_text *t, struct json_object *array)
{
	struct json_object *element;

	if (build_value(t, &element) < 0)
		return -1;
	if (json_object_array_add(array, element) == 0)
		return 0;
	(void)json_object_put(element);
	return -1;
}

/* At the opening bracket. */
static int build_elements(struct source_text *t, struct json_object **out)
{
	bool object = *t->p++ == '{';
	struct json_object *o = object ? json_object_new_object() : json_object_new_array();

	if (!o)
		return -1;
	skip_space(t);
	if (*t->p == (object ? '}' : ']')) {
		t->p++;
		*out = o;
		return 0;
	}
	do {
		if ((object ? build_member(t, o) : build_element(t, o)) < 0) {
			(void)json_object_put(o);
			return -1;
		}
		skip_space(t);
	} while (*t->p++ == ',');
	*out = o;
	return 0;
}

static int build_value(struct source_text *t, struct json_object **out)
{
	struct json_object *o = NULL;

	skip_space(t);
	switch (*t->p) {
	case '{':
	case '[':
		return build_elements(t, out);
	case '"':
		o = build_string(t);
		break;
	case 't':
		t->p += strlen("true");
		o = json_object_new_boolean(true);
		break;
	case 'f':
		t->p += strlen("false");
		o = json_object_new_boolean(false);
		break;
	case 'n':
		t->p += strlen("null");
		*out = NULL;
		return 0;
	default:
		o = build_number(t);
		break;
	}
	if (!o)
		return -1;
	*out = o;
	return 0;
}

int json_build(const uint8_t *text, size_t len, struct json_object **out, struct err *e)
{
	struct source_text t = { .p = text, .end = text + len };

	return build_value(&t, out) < 0 ? err_oom(e, "a JSON tree") : 0;
}

int json_add_member(struct json_object *object, const char *key, struct json_object *member)
{
	struct lh_table *t = json_object_get_object(object);

	/* grown here: json-c loses its copy of the key where that fails */
	if (t->count >= t->size * LH_LOAD_FACTOR && lh_table_resize(t, t->size * 2) != 0)
		return -1;
	return json_object_object_add(object, key, member);
}

/* ---- printing ---- */

static int print_string(const char *s, size_t len, struct buf *out, struct err *e)
{
	static const char plain[] = "\"\\\b\f\n\r\t", letter[] = "\"\\bfnrt";
	size_t from = 0;

	if (buf_puts(out, "\"", e) < 0)
		return -1;
	for (size_t i = 0; i < len; i++) {
		unsigned char c = (unsigned char)s[i];
		const char *at = c ? strchr(plain, c) : NULL;

		if (c >= 0x20 && !at)
			continue;
		if (buf_append(out, s + from, i - from, e) < 0 ||
		    (at ? buf_printf(out, e, "\\%c", letter[at - plain])
			: buf_printf(out, e, "\\u%04x", c)) < 0)
			return -1;
		from = i + 1;
	}
	if (buf_append(out, s + from, len - from, e) < 0)
		return -1;
	return buf_puts(out, "\"", e);
}

/* The shortest text that is read back as the same number, and as no integer. */
static int print_double(double d, struct buf *out, struct err *e)
{
	char text[DOUBLE_LEN];

	for (int digits = DIGITS_SHORT; digits <= DIGITS_ALL; digits++) {
		(void)snprintf(text, sizeof(text), "%.*g", digits, d);
		if (!(strtod(text, NULL) < d) && !(strtod(text, NULL) > d))
			break;
	}
	if (!strpbrk(text, ".e") && buf_printf(out, e, "%s.0", text) < 0)
		return -1;
	return strpbrk(text, ".e") ? buf_puts(out, text, e) : 0;
}

struct printing {
	struct buf *out;
	struct err *e;
	bool pretty;
	int level;
};

static int new_line(struct printing *p)
{
	return p->pretty ? buf_printf(p->out, p->e, "\n%*s", p->level * INDENT, "") : 0;
}

static int print_value(struct printing *p, struct json_object *o);

static int print_members(struct printing *p, struct json_object *o)
{
	bool first = true;

	json_object_object_foreach(o, key, member)
	{
		if ((!first && buf_puts(p->out, ",", p->e) < 0) || new_line(p) < 0 ||
		    print_string(key, strlen(key), p->out, p->e) < 0 ||
		    buf_puts(p->out, p->pretty ? ": " : ":", p->e) < 0 ||
		    print_value(p, member) < 0)
			return -1;
		first = false;
	}
	return 0;
}

static int print_items(struct printing *p, struct json_object *o)
{
	size_t n = json_object_array_length(o);

	for (size_t i = 0; i < n; i++) {
		if ((i && buf_puts(p->out, ",", p->e) < 0) || new_line(p) < 0 ||
		    print_value(p, json_object_array_get_idx(o, i)) < 0)
			return -1;
	}
	return 0;
}

static int print_list(struct printing *p, struct json_object *o)
{
	bool object = json_object_is_type(o, json_type_object);
	bool empty =
		object ? json_object_object_length(o) == 0 : json_object_array_length(o) == 0;

	if (buf_puts(p->out, object ? "{" : "[", p->e) < 0)
		return -1;
	p->level++;
	if ((object ? print_members(p, o) : print_items(p, o)) < 0)
		return -1;
	p->level--;
	if (!empty && new_line(p) < 0)
		return -1;
	return buf_puts(p->out, object ? "}" : "]", p->e);
}

static int print_value(struct printing *p, struct json_object *o)
{
	int64_t n;

	switch (json_object_get_type(o)) {
	case json_type_null:
		return buf_puts(p->out, "null", p->e);
	case json_type_boolean:
		return buf_puts(p->out, json_object_get_boolean(o) ? "true" : "false", p->e);
	case json_type_double:
		return print_double(json_object_get_double(o), p->out, p->e);
	case json_type_int:
		n = json_object_get_int64(o);
		return n < 0 ? buf_printf(p->out, p->e, "%" PRId64, n)
			     : buf_printf(p->out, p->e, "%" PRIu64, json_object_get_uint64(o));
	case json_type_string:
		return print_string(json_object_get_string(o),
				    (size_t)json_object_get_string_len(o), p->out, p->e);
	case json_type_object:
	case json_type_array:
		return print_list(p, o);
	}
	BUG_ON(true);
}

int json_print(struct json_object *o, bool pretty, struct buf *out, struct err *e)
{
	struct printing p = { .out = out, .e = e, .pretty = pretty };

	return print_value(&p, o);
}
