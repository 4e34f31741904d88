/* SPDX-License-Identifier: Apache-2.0 */
/*
 * TOML 1.0. One pass over the text; every table remembers how it came to be, because that
 * decides whether a later line may still add to it:
 *
 *	T_HEADER    by [name]: not by a second [name]
 *	T_IMPLICIT  on the way to [name.sub]: a later [name] makes it a T_HEADER
 *	T_DOTTED    by name.key = value: further dotted keys add to it, headers do not
 *	T_CLOSED    by name = { … } or name = [ … ]: complete as it stands
 *	T_TABLES    an array by [[name]]: further [[name]] add to it
 */
#include "wire/toml.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/mem.h"
#include "base/str.h"
#include "wire/utf8.h"

enum {
	T_HEADER = 1 << 0,
	T_IMPLICIT = 1 << 1,
	T_DOTTED = 1 << 2,
	T_CLOSED = 1 << 3,
	T_TABLES = 1 << 4,
};

enum {
	NUMBER_MAX = 128
};

struct parser {
	const char *p, *end;
	const char *name;
	unsigned line;
	unsigned depth;
	size_t values;
	struct arena *arena;
	struct err *e;
};

static int parse_value(struct parser *c, struct toml_value *v);

static int toml_fail(struct parser *c, enum err_kind kind, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

static int toml_fail(struct parser *c, enum err_kind kind, const char *fmt, ...)
{
	char text[256];
	va_list ap;

	va_start(ap, fmt);
	(void)vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	return err_set(c->e, kind, 0, "%s:%u: %s", c->name, c->line, text);
}

static int fail_expected(struct parser *c, const char *want)
{
	char seen[8];

	if (c->p >= c->end)
		return toml_fail(c, ERR_INVALID, "the text ends where %s is expected", want);
	if (*c->p == '\n' || *c->p == '\r')
		return toml_fail(c, ERR_INVALID, "the line ends where %s is expected", want);
	(void)str_quote(c->p, 1, seen, sizeof(seen));
	return toml_fail(c, ERR_INVALID, "'%s' where %s is expected", seen, want);
}

static bool at(const struct parser *c, const char *s)
{
	size_t n = strlen(s);

	return (size_t)(c->end - c->p) >= n && memcmp(c->p, s, n) == 0;
}

static bool accept(struct parser *c, const char *s)
{
	if (!at(c, s))
		return false;
	c->p += strlen(s);
	return true;
}

static bool accept_newline(struct parser *c)
{
	if (!accept(c, "\n") && !accept(c, "\r\n"))
		return false;
	c->line++;
	return true;
}

static void skip_blanks(struct parser *c)
{
	while (c->p < c->end && (*c->p == ' ' || *c->p == '\t'))
		c->p++;
}

static bool is_control(char ch)
{
	unsigned char u = (unsigned char)ch;

	return (u < 0x20 && u != '\t') || u == 0x7f;
}

static int skip_comment(struct parser *c)
{
	if (!accept(c, "#"))
		return 0;
	while (c->p < c->end && *c->p != '\n' && !at(c, "\r\n")) {
		if (is_control(*c->p))
			return toml_fail(c, ERR_INVALID,
					 "control character 0x%02x in a comment",
					 (unsigned char)*c->p);
		c->p++;
	}
	return 0;
}

/* Blanks, comments and line ends. */
static int skip_lines(struct parser *c)
{
	do {
		skip_blanks(c);
		if (skip_comment(c) < 0)
			return -1;
	} while (accept_newline(c));
	return 0;
}

static struct toml_value *new_value(struct parser *c, enum toml_type type, unsigned flags)
{
	struct toml_value *v = NULL;

	if (++c->values > TOML_MAX_VALUES) {
		(void)toml_fail(c, ERR_INVALID, "more than %d values", TOML_MAX_VALUES);
		return NULL;
	}
	v = arena_alloc(c->arena, sizeof(*v));
	if (!v) {
		(void)err_oom(c->e, "a TOML tree");
		return NULL;
	}
	v->type = type;
	v->file = c->name;
	v->line = c->line;
	v->flags = flags;
	return v;
}

static void append(struct toml_value *list, struct toml_value *v)
{
	if (list->list.last)
		list->list.last->next = v;
	else
		list->list.first = v;
	list->list.last = v;
	list->list.count++;
}

/* Text with a known upper bound for its length. */
struct text {
	char *s;
	size_t len;
};

static int hex_digit(char ch)
{
	if (ch >= '0' && ch <= '9')
		return ch - '0';
	if ((ch | 0x20) >= 'a' && (ch | 0x20) <= 'f')
		return (ch | 0x20) - 'a' + 10;
	return -1;
}

/* Behind "\u" or "\U". */
static int parse_unicode(struct parser *c, int digits, struct text *t)
{
	uint32_t v = 0;

	for (int i = 0; i < digits; i++) {
		int d = c->p < c->end ? hex_digit(*c->p) : -1;

		if (d < 0)
			return toml_fail(c, ERR_INVALID,
					 "an escape needs %d hexadecimal digits", digits);
		v = v << 4 | (uint32_t)d;
		c->p++;
	}
	if (v == 0)
		return toml_fail(c, ERR_UNSUPPORTED, "NUL in a string");
	if (v > 0x10ffff || (v >= 0xd800 && v <= 0xdfff))
		return toml_fail(c, ERR_INVALID, "an escape that is no character");
	t->len += utf8_put(v, t->s + t->len);
	return 0;
}

/* A backslash at the end of a line: drops it and all blanks and line ends behind it. */
static bool skip_continuation(struct parser *c)
{
	const char *from = c->p;

	skip_blanks(c);
	if (!accept_newline(c)) {
		c->p = from;
		return false;
	}
	do
		skip_blanks(c);
	while (accept_newline(c));
	return true;
}

/* Behind the backslash. */
static int parse_escape(struct parser *c, bool multi, struct text *t)
{
	static const char from[] = "btnfr\"\\", to[] = "\b\t\n\f\r\"\\";
	const char *found;

	if (multi && skip_continuation(c))
		return 0;
	if (c->p >= c->end)
		return fail_expected(c, "an escape");
	if (*c->p == 'u' || *c->p == 'U')
		return parse_unicode(c, *c->p++ == 'u' ? 4 : 8, t);
	found = *c->p ? strchr(from, *c->p) : NULL;
	if (!found)
		return toml_fail(c, ERR_INVALID, "an unknown escape in a string");
	t->s[t->len++] = to[found - from];
	c->p++;
	return 0;
}

/* Is the closing delimiter here? Up to two more quotes in front of """ belong to the text. */
static bool accept_closing(struct parser *c, const char *delimiter, bool multi, struct text *t)
{
	if (!at(c, delimiter))
		return false;
	for (int i = 0; multi && i < 2 && c->end - c->p > 3 && c->p[3] == *delimiter; i++)
		t->s[t->len++] = *c->p++;
	c->p += strlen(delimiter);
	return true;
}

static size_t text_bound(const struct parser *c, const char *delimiter, bool multi)
{
	const char *p = c->p;
	size_t n = strlen(delimiter);

	/* every opening of text looks like this; escapes only make it shorter */
	for (; p < c->end && (multi || *p != '\n'); p++) {
		if (*delimiter == '"' && *p == '\\' && p + 1 < c->end)
			p++;
		else if ((size_t)(c->end - p) >= n && memcmp(p, delimiter, n) == 0)
			break;
	}
	return (size_t)(p - c->p) + 8;
}

static int parse_string(struct parser *c, const char **out)
{
	bool literal = *c->p == '\'';
	bool multi = at(c, literal ? "'''" : "\"\"\"");
	const char *delimiter = literal ? (multi ? "'''" : "'") : (multi ? "\"\"\"" : "\"");
	struct text t = { 0 };

	(void)accept(c, delimiter);
	if (multi)
		(void)accept_newline(c);
	t.s = arena_alloc(c->arena, text_bound(c, delimiter, multi));
	if (!t.s)
		return err_oom(c->e, "a TOML string");
	while (!accept_closing(c, delimiter, multi, &t)) {
		if (c->p >= c->end)
			return toml_fail(c, ERR_INVALID, "a string that does not end");
		if (multi && accept_newline(c)) {
			t.s[t.len++] = '\n';
		} else if (is_control(*c->p)) {
			return toml_fail(c, ERR_INVALID, "control character 0x%02x in a string",
					 (unsigned char)*c->p);
		} else if (!literal && *c->p == '\\') {
			c->p++;
			if (parse_escape(c, multi, &t) < 0)
				return -1;
		} else {
			t.s[t.len++] = *c->p++;
		}
	}
	t.s[t.len] = '\0';
	*out = t.s;
	return 0;
}

static bool is_bare(char ch)
{
	return (ch >= 'a' && ch <= 'z') || (ch >= 'A' && ch <= 'Z') ||
	       (ch >= '0' && ch <= '9') || ch == '_' || ch == '-';
}

/* One part of a dotted key. */
static int parse_key(struct parser *c, const char **out)
{
	const char *from = c->p;
	char *key;

	if (at(c, "\"\"\"") || at(c, "'''"))
		return toml_fail(c, ERR_INVALID, "a key of several lines");
	if (c->p < c->end && (*c->p == '"' || *c->p == '\''))
		return parse_string(c, out);
	while (c->p < c->end && is_bare(*c->p))
		c->p++;
	if (c->p == from)
		return fail_expected(c, "a key");
	key = arena_strndup(c->arena, from, (size_t)(c->p - from));
	if (!key)
		return err_oom(c->e, "a TOML key");
	*out = key;
	return 0;
}

struct toml_value *toml_get(const struct toml_value *table, const char *key)
{
	if (!table || table->type != TOML_TABLE)
		return NULL;
	for (struct toml_value *v = table->list.first; v; v = v->next)
		if (strcmp(v->key, key) == 0)
			return v;
	return NULL;
}

static int fail_twice(struct parser *c, const char *key, const struct toml_value *old)
{
	char name[80];

	(void)str_quote(key, strlen(key), name, sizeof(name));
	return toml_fail(c, ERR_INVALID, "'%s' is already defined in line %u", name, old->line);
}

/* Adds a new member; the caller has looked whether there is one. */
static struct toml_value *add_member(struct parser *c, struct toml_value *table,
				     const char *key, enum toml_type type, unsigned flags)
{
	struct toml_value *v = new_value(c, type, flags);

	if (!v)
		return NULL;
	v->key = key;
	append(table, v);
	return v;
}

/* Reads a dotted key; all but its last part are walked through (or made as `flags`). */
static int parse_dotted(struct parser *c, struct toml_value *from, bool header,
			struct toml_value **table_out, const char **last_out)
{
	struct toml_value *table = from;
	const char *key = "";
	unsigned depth = 0;

	for (;;) {
		struct toml_value *v;

		if (parse_key(c, &key) < 0)
			return -1;
		skip_blanks(c);
		if (!accept(c, "."))
			break;
		skip_blanks(c);
		if (++depth >= TOML_MAX_DEPTH)
			return toml_fail(c, ERR_INVALID, "nested deeper than %d",
					 TOML_MAX_DEPTH);
		v = toml_get(table, key);
		if (!v)
			v = add_member(c, table, key, TOML_TABLE,
				       header ? T_IMPLICIT : T_DOTTED);
		else if (header && (v->flags & T_TABLES))
			v = v->list.last;
		else if (v->type != TOML_TABLE || (v->flags & T_CLOSED) ||
			 (!header && !(v->flags & T_DOTTED)))
			return fail_twice(c, key, v);
		if (!v)
			return -1;
		table = v;
	}
	*table_out = table;
	*last_out = key;
	return 0;
}

/* "key = value" into `into`. */
static int parse_pair(struct parser *c, struct toml_value *into)
{
	struct toml_value *table = into, *old, *v;
	const char *key = "";

	if (parse_dotted(c, into, false, &table, &key) < 0)
		return -1;
	if (!accept(c, "="))
		return fail_expected(c, "'='");
	skip_blanks(c);
	old = toml_get(table, key);
	if (old)
		return fail_twice(c, key, old);
	v = new_value(c, TOML_BOOL, 0);
	if (!v || parse_value(c, v) < 0)
		return -1;
	v->key = key;
	append(table, v);
	return 0;
}

/* Behind '['. */
static int parse_array(struct parser *c, struct toml_value *v)
{
	v->type = TOML_ARRAY;
	v->flags = T_CLOSED;
	for (;;) {
		struct toml_value *element;

		if (skip_lines(c) < 0)
			return -1;
		if (accept(c, "]"))
			return 0;
		element = new_value(c, TOML_BOOL, 0);
		if (!element || parse_value(c, element) < 0)
			return -1;
		append(v, element);
		if (skip_lines(c) < 0)
			return -1;
		if (!accept(c, ",") && !at(c, "]"))
			return fail_expected(c, "',' or ']'");
	}
}

/* No line of the document may add to what an inline table holds. */
static void close_tables(struct toml_value *v)
{
	for (struct toml_value *m = v->list.first; m; m = m->next)
		if (m->type == TOML_TABLE && !(m->flags & T_CLOSED))
			close_tables(m);
	v->flags = T_CLOSED;
}

/* Behind '{'. */
static int parse_inline(struct parser *c, struct toml_value *v)
{
	v->type = TOML_TABLE;
	skip_blanks(c);
	if (!accept(c, "}")) {
		do {
			skip_blanks(c);
			if (parse_pair(c, v) < 0)
				return -1;
			skip_blanks(c);
		} while (accept(c, ","));
		if (!accept(c, "}"))
			return fail_expected(c, "',' or '}'");
	}
	close_tables(v);
	return 0;
}

static bool is_digit_of(char ch, int base)
{
	int d = hex_digit(ch);

	return d >= 0 && d < base;
}

/* Copies digits without their underscores, which must stand between two digits. */
static int copy_digits(struct parser *c, int base, char *out, size_t *len)
{
	size_t n = 0;

	for (; c->p < c->end; c->p++) {
		if (*c->p == '_' && n && c->end - c->p > 1 && is_digit_of(c->p[1], base) &&
		    c->p[-1] != '_')
			continue;
		if (!is_digit_of(*c->p, base))
			break;
		if (*len + 1 >= NUMBER_MAX)
			return toml_fail(c, ERR_INVALID, "a number of more than %d digits",
					 NUMBER_MAX);
		out[(*len)++] = *c->p;
		n++;
	}
	if (n == 0)
		return fail_expected(c, "a digit");
	out[*len] = '\0';
	return 0;
}

/* 2000-…, 12:…: refused with a word of its own instead of as a broken number. */
static bool looks_like_date(const struct parser *c)
{
	const char *p = c->p;
	int n = 0;

	while (p < c->end && *p >= '0' && *p <= '9') {
		p++;
		n++;
	}
	return p < c->end && ((n == 4 && *p == '-') || (n == 2 && *p == ':'));
}

static int set_integer(struct parser *c, struct toml_value *v, const char *digits, int base)
{
	long long n;

	errno = 0;
	n = strtoll(digits, NULL, base);
	if (errno == ERANGE)
		return toml_fail(c, ERR_INVALID, "integer %.40s does not fit 64 bits", digits);
	v->type = TOML_INTEGER;
	v->integer = n;
	return 0;
}

/* At ".", "e" or "E"; the integer part is in `text`. */
static int parse_float_rest(struct parser *c, struct toml_value *v, char *text, size_t len)
{
	if (accept(c, ".")) {
		text[len++] = '.';
		if (copy_digits(c, 10, text, &len) < 0)
			return -1;
	}
	if (accept(c, "e") || accept(c, "E")) {
		if (len + 3 >= NUMBER_MAX)
			return toml_fail(c, ERR_INVALID, "a number of more than %d digits",
					 NUMBER_MAX);
		text[len++] = 'e';
		if (at(c, "+") || at(c, "-"))
			text[len++] = *c->p++;
		if (copy_digits(c, 10, text, &len) < 0)
			return -1;
	}
	v->type = TOML_FLOAT;
	v->real = strtod(text, NULL);
	return 0;
}

static int parse_number(struct parser *c, struct toml_value *v)
{
	static const struct {
		const char *prefix;
		int base;
	} bases[] = { { "0x", 16 }, { "0o", 8 }, { "0b", 2 } };
	char text[NUMBER_MAX + 4];
	size_t len = 0, sign;

	for (size_t i = 0; i < ARRAY_LEN(bases); i++)
		if (accept(c, bases[i].prefix))
			return copy_digits(c, bases[i].base, text, &len) < 0
				       ? -1
				       : set_integer(c, v, text, bases[i].base);
	if (looks_like_date(c))
		return toml_fail(c, ERR_UNSUPPORTED, "dates and times are not supported");
	if (at(c, "+") || at(c, "-"))
		text[len++] = *c->p++;
	sign = len;
	if (accept(c, "inf") || accept(c, "nan")) {
		v->type = TOML_FLOAT;
		v->real = c->p[-1] == 'f' ? __builtin_inf() : __builtin_nan("");
		if (sign && text[0] == '-')
			v->real = -v->real;
		return 0;
	}
	if (copy_digits(c, 10, text, &len) < 0)
		return -1;
	if (text[sign] == '0' && len > sign + 1)
		return toml_fail(c, ERR_INVALID, "a number with a leading zero");
	if (at(c, ".") || at(c, "e") || at(c, "E"))
		return parse_float_rest(c, v, text, len);
	return set_integer(c, v, text, 10);
}

static int parse_nested(struct parser *c, struct toml_value *v)
{
	int rc;

	if (++c->depth > TOML_MAX_DEPTH)
		return toml_fail(c, ERR_INVALID, "nested deeper than %d", TOML_MAX_DEPTH);
	rc = *c->p++ == '[' ? parse_array(c, v) : parse_inline(c, v);
	c->depth--;
	return rc;
}

static int parse_value(struct parser *c, struct toml_value *v)
{
	if (c->p >= c->end)
		return fail_expected(c, "a value");
	switch (*c->p) {
	case '"':
	case '\'':
		v->type = TOML_STRING;
		return parse_string(c, &v->string);
	case '[':
	case '{':
		return parse_nested(c, v);
	case 't':
	case 'f':
		v->type = TOML_BOOL;
		v->boolean = *c->p == 't';
		if (accept(c, "true") || accept(c, "false"))
			return 0;
		return fail_expected(c, "a value");
	default:
		if ((*c->p >= '0' && *c->p <= '9') || strchr("+-in", *c->p))
			return parse_number(c, v);
		return fail_expected(c, "a value");
	}
}

/* Behind "[" or "[[", up to the closing bracket; *table becomes the one that follows. */
static int parse_header(struct parser *c, struct toml_value *root, bool tables,
			struct toml_value **table)
{
	struct toml_value *parent = root, *v;
	const char *key = "";

	skip_blanks(c);
	if (parse_dotted(c, root, true, &parent, &key) < 0)
		return -1;
	if (!accept(c, tables ? "]]" : "]"))
		return fail_expected(c, tables ? "']]'" : "']'");
	v = toml_get(parent, key);
	if (tables) {
		struct toml_value *element;

		if (v && !(v->flags & T_TABLES))
			return fail_twice(c, key, v);
		if (!v)
			v = add_member(c, parent, key, TOML_ARRAY, T_TABLES);
		element = v ? new_value(c, TOML_TABLE, T_HEADER) : NULL;
		if (!element)
			return -1;
		append(v, element);
		*table = element;
		return 0;
	}
	if (v && !(v->flags & T_IMPLICIT))
		return fail_twice(c, key, v);
	if (!v)
		v = add_member(c, parent, key, TOML_TABLE, T_HEADER);
	if (!v)
		return -1;
	v->flags = T_HEADER;
	*table = v;
	return 0;
}

static int parse_line(struct parser *c, struct toml_value *root, struct toml_value **table)
{
	int rc;

	if (accept(c, "[["))
		rc = parse_header(c, root, true, table);
	else if (accept(c, "["))
		rc = parse_header(c, root, false, table);
	else
		rc = parse_pair(c, *table);
	if (rc < 0)
		return -1;
	skip_blanks(c);
	if (skip_comment(c) < 0)
		return -1;
	if (c->p < c->end && !accept_newline(c))
		return fail_expected(c, "the end of the line");
	return 0;
}

static int check_utf8(struct parser *c)
{
	const uint8_t *p = (const uint8_t *)c->p, *end = (const uint8_t *)c->end;

	while (p < end) {
		size_t n = utf8_len(p, end);

		if (n == 0)
			return toml_fail(c, ERR_INVALID, "invalid UTF-8");
		c->line += *p == '\n';
		p += n;
	}
	c->line = 1;
	return 0;
}

int toml_parse(const char *text, size_t len, const char *name, struct arena *a,
	       struct toml_value **out, struct err *e)
{
	struct parser c = {
		.p = text, .end = text + len, .name = name, .line = 1, .arena = a, .e = e
	};
	struct toml_value *root, *table;

	if (len > TOML_MAX_BYTES)
		return err_set(e, ERR_INVALID, 0, "%s: larger than %d bytes", name,
			       TOML_MAX_BYTES);
	if (check_utf8(&c) < 0)
		return -1;
	(void)accept(&c, "\xef\xbb\xbf");
	root = table = new_value(&c, TOML_TABLE, T_HEADER);
	if (!root)
		return -1;
	for (;;) {
		if (skip_lines(&c) < 0)
			return -1;
		if (c.p >= c.end)
			break;
		if (parse_line(&c, root, &table) < 0)
			return -1;
	}
	*out = root;
	return 0;
}

void toml_remove(struct toml_value *table, const char *key)
{
	struct toml_value *before = NULL;

	for (struct toml_value *v = table->list.first; v; before = v, v = v->next) {
		if (strcmp(v->key, key) != 0)
			continue;
		if (before)
			before->next = v->next;
		else
			table->list.first = v->next;
		if (table->list.last == v)
			table->list.last = before;
		table->list.count--;
		return;
	}
}

/* As deep as the documents are nested. */
void toml_merge(struct toml_value *base, struct toml_value *over)
{
	struct toml_value *v = over->list.first, *next;

	memset(&over->list, 0, sizeof(over->list));
	for (; v; v = next) {
		struct toml_value *old = toml_get(base, v->key);

		next = v->next;
		if (old && old->type == TOML_TABLE && v->type == TOML_TABLE) {
			toml_merge(old, v);
			continue;
		}
		toml_remove(base, v->key);
		v->next = NULL;
		append(base, v);
	}
}

const char *toml_type_name(enum toml_type t)
{
	static const char *const names[] = {
		[TOML_TABLE] = "a table",   [TOML_ARRAY] = "an array",
		[TOML_STRING] = "a string", [TOML_INTEGER] = "an integer",
		[TOML_FLOAT] = "a float",   [TOML_BOOL] = "a boolean",
	};

	_Static_assert(ARRAY_LEN(names) == TOML_TYPE_COUNT_, "every type has a name");
	return names[t];
}
