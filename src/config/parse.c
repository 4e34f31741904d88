/* SPDX-License-Identifier: Apache-2.0 */
/* From a TOML tree into struct kata_config, by the tables of schema.c. */
#include <inttypes.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/str.h"
#include "config/config.h"
#include "config/print.h"
#include "config/reader.h"
#include "config/schema.h"
#include "wire/toml.h"

enum {
	CONFIG_ARENA_BYTES = 64 << 20, /* for the trees of all files together */
	NAME_MAX_LEN = 64,
};

int config_key_fail(const struct reader *r, const struct toml_value *v, const char *section,
		    enum err_kind kind, const char *fmt, ...)
{
	char text[256], key[NAME_MAX_LEN];
	va_list ap;

	va_start(ap, fmt);
	(void)vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	if (v->line == 0) /* the name says it all */
		return err_set(r->e, kind, 0, "%s: %s", v->file, text);
	(void)str_quote(v->key, strlen(v->key), key, sizeof(key));
	if (!section[0])
		return err_set(r->e, kind, 0, "%s:%u: %s: %s", v->file, v->line, key, text);
	return err_set(r->e, kind, 0, "%s:%u: [%s] %s: %s", v->file, v->line, section, key,
		       text);
}

int config_check_type(const struct reader *r, const struct toml_value *v, const char *section,
		      enum config_type type)
{
	static const struct {
		enum toml_type type, element;
		const char *words;
	} shapes[] = {
		[CONFIG_STRING] = { TOML_STRING, .words = "a string" },
		[CONFIG_BOOL] = { TOML_BOOL, .words = "true or false" },
		[CONFIG_UINT] = { TOML_INTEGER, .words = "an integer" },
		[CONFIG_REAL] = { TOML_FLOAT, .words = "a number" },
		[CONFIG_CHOICE] = { TOML_STRING, .words = "a string" },
		[CONFIG_WORD] = { TOML_STRING, .words = "a string" },
		[CONFIG_LIST] = { TOML_ARRAY, TOML_STRING, "an array of strings" },
		[CONFIG_TABLES] = { TOML_ARRAY, TOML_TABLE, "an array of tables" },
		[CONFIG_TABLE] = { TOML_TABLE, .words = "a table" },
	};
	const char *words = shapes[type].words;

	_Static_assert(ARRAY_LEN(shapes) == CONFIG_TYPE_COUNT_, "every type has a shape");
	if (v->type != shapes[type].type && !(type == CONFIG_REAL && v->type == TOML_INTEGER))
		return config_key_fail(r, v, section, ERR_INVALID, "must be %s, is %s", words,
				       toml_type_name(v->type));
	if (v->type != TOML_ARRAY)
		return 0;
	for (const struct toml_value *one = v->list.first; one; one = one->next) {
		if (one->type != shapes[type].element)
			return config_key_fail(r, v, section, ERR_INVALID,
					       "must be %s, holds %s", words,
					       toml_type_name(one->type));
	}
	return 0;
}

static int read_number(const struct reader *r, const struct toml_value *v,
		       const struct config_key *k, void *at)
{
	bool real = k->type == CONFIG_REAL;
	double d;

	d = v->type == TOML_FLOAT ? v->real : (double)v->integer;
	if (!(d >= (double)k->min && d <= (double)k->max))
		return config_key_fail(r, v, k->section, ERR_INVALID,
				       "%.12g is not between %" PRId64 " and %" PRId64, d,
				       k->min, k->max);
	if (real)
		*(double *)at = d;
	else
		*(uint32_t *)at = (uint32_t)v->integer;
	return 0;
}

static int read_choice(const struct reader *r, const struct toml_value *v,
		       const struct config_key *k, void *at)
{
	char list[128] = "", value[NAME_MAX_LEN];
	size_t len = 0;

	for (int i = 0; k->choices[i]; i++) {
		if (strcmp(k->choices[i], v->string) != 0)
			continue;
		if (k->type == CONFIG_CHOICE)
			*(int *)at = i;
		else
			*(const char **)at = k->choices[i];
		return 0;
	}
	for (int i = 0; k->choices[i] && len < sizeof(list); i++)
		len += (size_t)snprintf(list + len, sizeof(list) - len, "%s%s", i ? ", " : "",
					k->choices[i]);
	(void)str_quote(v->string, strlen(v->string), value, sizeof(value));
	return config_key_fail(r, v, k->section, ERR_INVALID, "'%s' is none of %s", value,
			       list);
}

static int read_list(const struct reader *r, const struct toml_value *v, void *at)
{
	const char **list;
	size_t n = 0;

	list = arena_calloc(&r->c->arena, v->list.count + 1, sizeof(*list));
	if (!list)
		return err_oom(r->e, "the configuration");
	for (const struct toml_value *s = v->list.first; s; s = s->next)
		list[n++] = s->string;
	*(config_list *)at = list;
	return 0;
}

int config_read_key(const struct reader *r, const struct toml_value *v,
		    const struct config_key *k)
{
	void *at = (char *)r->c + k->offset;

	if (config_check_type(r, v, k->section, k->type) < 0)
		return -1;
	switch (k->type) {
	case CONFIG_BOOL:
		*(bool *)at = v->boolean;
		return 0;
	case CONFIG_UINT:
	case CONFIG_REAL:
		return read_number(r, v, k, at);
	case CONFIG_LIST:
		return read_list(r, v, at);
	case CONFIG_CHOICE:
	case CONFIG_WORD:
		return read_choice(r, v, k, at);
	default:
		*(const char **)at = v->string;
		return 0;
	}
}

/* The value in the words of a reserved row: "true", "5", "text", "[]", "[...]" or "{}". */
static const char *plain_value(const struct toml_value *v, char *out, size_t size)
{
	switch (v->type) {
	case TOML_STRING:
		return v->string;
	case TOML_BOOL:
		return v->boolean ? "true" : "false";
	case TOML_INTEGER:
		(void)snprintf(out, size, "%" PRId64, v->integer);
		return out;
	case TOML_FLOAT:
		(void)snprintf(out, size, "%g", v->real);
		return out;
	case TOML_ARRAY:
		return v->list.count ? "[...]" : "[]";
	default:
		return v->list.count ? "{...}" : "{}";
	}
}

static bool is_neutral(const char *neutral, const char *value)
{
	size_t n = strlen(value);

	for (;;) {
		size_t part = strcspn(neutral, "|");

		if (part == n && memcmp(neutral, value, n) == 0)
			return true;
		if (!neutral[part])
			return false;
		neutral += part + 1;
	}
}

int config_read_reserved(const struct reader *r, const struct toml_value *v,
			 const struct config_reserved *k)
{
	char number[40], shown[NAME_MAX_LEN];
	const char *value = plain_value(v, number, sizeof(number));

	if (is_neutral(k->neutral, value))
		return 0;
	(void)str_quote(value, strlen(value), shown, sizeof(shown));
	if (k->policy == CONFIG_REFUSE)
		return config_key_fail(r, v, k->section, ERR_UNSUPPORTED,
				       "'%s' is not supported: %s", shown, k->reason);
	oci_note(&r->c->warnings, "[%s] %s has no effect: %s", k->section, k->key, k->reason);
	return 0;
}

static int read_member(const struct reader *r, const struct toml_value *v, const char *section)
{
	for (size_t i = 0; i < config_key_count; i++)
		if (strcmp(config_keys[i].section, section) == 0 &&
		    strcmp(config_keys[i].key, v->key) == 0)
			return config_read_key(r, v, &config_keys[i]);
	for (size_t i = 0; i < config_reserved_count; i++) {
		const struct config_reserved *k = &config_reserved[i];

		if (strcmp(k->section, section) == 0 && strcmp(k->key, v->key) == 0)
			return config_check_type(r, v, section, k->type) < 0
				       ? -1
				       : config_read_reserved(r, v, k);
	}
	return config_fail_unknown(r, v, section);
}

/* Recursion ends at the depth of the longest section's name. */
static int read_table(const struct reader *r, const struct toml_value *table,
		      const char *section)
{
	for (const struct toml_value *v = table->list.first; v; v = v->next) {
		const struct config_section *found;
		char name[2 * NAME_MAX_LEN];
		int n;

		n = snprintf(name, sizeof(name), "%s%s%s", section, section[0] ? "." : "",
			     v->key);
		found = n < (int)sizeof(name) ? config_find_section(name) : NULL;
		if (config_has_key(section, v->key) || (v->type != TOML_TABLE && !found)) {
			if (read_member(r, v, section) < 0)
				return -1;
			continue;
		}
		if (!found)
			return config_fail_unknown_section(r, v, section, name);
		if (v->type != TOML_TABLE)
			return config_key_fail(r, v, section, ERR_INVALID,
					       "must be the section [%s], is %s", found->name,
					       toml_type_name(v->type));
		if (found->refused && strcmp(found->name, name) == 0)
			return config_key_fail(r, v, section, ERR_UNSUPPORTED, "%s",
					       found->refused);
		if (read_table(r, v, name) < 0)
			return -1;
	}
	return 0;
}

/* ---- files ---- */

static struct toml_value *find_table(struct toml_value *root, const char *section)
{
	struct toml_value *table = root;

	while (table && *section) {
		size_t n = strcspn(section, ".");
		char part[NAME_MAX_LEN];

		(void)snprintf(part, sizeof(part), "%.*s", (int)n, section);
		table = toml_get(table, part);
		section += n + (section[n] == '.');
	}
	return table;
}

/* Of two names for one place, that of the later file counts. */
static void drop_other_names(struct toml_value *base, const struct config_key *k)
{
	for (size_t i = 0; i < config_key_count; i++) {
		const struct config_key *other = &config_keys[i];
		struct toml_value *table;

		if (other == k || other->offset != k->offset)
			continue;
		table = find_table(base, other->section);
		if (table && table->type == TOML_TABLE)
			toml_remove(table, other->key);
	}
}

void config_merge(struct toml_value *base, struct toml_value *over)
{
	for (size_t i = 0; i < config_key_count; i++) {
		const struct config_key *k = &config_keys[i];

		if (toml_get(find_table(over, k->section), k->key))
			drop_other_names(base, k);
	}
	toml_merge(base, over);
}

int config_read_tree(struct kata_config *c, const struct toml_value *root, struct err *e)
{
	const struct reader r = { .c = c, .e = e };

	return read_table(&r, root, "");
}

int config_parse(struct kata_config *c, const char *text, size_t len, const char *name,
		 struct err *e)
{
	struct toml_value *root;

	if (toml_parse(text, len, name, &c->arena, &root, e) < 0)
		return -1;
	return config_read_tree(c, root, e);
}

int config_new(struct kata_config **out, struct err *e)
{
	OWN(config) struct kata_config *c = mem_new(struct kata_config);
	OWN(buf) struct buf text = BUF_INIT;

	if (!c)
		return err_oom(e, "the configuration");
	arena_init(&c->arena, CONFIG_ARENA_BYTES);
	/* the built-in defaults are the default file itself, its comment signs left out */
	if (config_print_presets(&text, e) < 0 ||
	    config_parse(c, (const char *)buf_head(&text), buf_len(&text), "built-in", e) < 0)
		return -1;
	*out = TAKE(c);
	return 0;
}

void config_free(struct kata_config *c)
{
	if (!c)
		return;
	oci_notes_fini(&c->warnings);
	arena_fini(&c->arena);
	free(c);
}
