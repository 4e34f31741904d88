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
	DISTANCE_MAX = 3, /* a key further away is no suggestion */
};

int config_key_fail(const struct reader *r, const struct toml_value *v, const char *section,
		    enum err_kind kind, const char *fmt, ...)
{
	char text[256], key[NAME_MAX_LEN];
	va_list ap;

	va_start(ap, fmt);
	(void)vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	if (v->line == 0) /* of no file: the name says it all */
		return err_set(r->e, kind, 0, "%s: %s", r->name, text);
	(void)str_quote(v->key, strlen(v->key), key, sizeof(key));
	if (!section[0])
		return err_set(r->e, kind, 0, "%s:%u: %s: %s", r->name, v->line, key, text);
	return err_set(r->e, kind, 0, "%s:%u: [%s] %s: %s", r->name, v->line, section, key,
		       text);
}

/* Levenshtein's distance of two short names. */
static unsigned distance(const char *a, const char *b)
{
	unsigned row[NAME_MAX_LEN + 1];
	size_t n = strlen(b);

	if (strlen(a) > NAME_MAX_LEN || n > NAME_MAX_LEN)
		return NAME_MAX_LEN;
	for (size_t k = 0; k <= n; k++)
		row[k] = (unsigned)k;
	for (size_t i = 0; a[i]; i++) {
		unsigned diagonal = row[0];

		row[0] = (unsigned)i + 1;
		for (size_t k = 0; k < n; k++) {
			unsigned best = diagonal + (a[i] != b[k]);

			diagonal = row[k + 1];
			if (row[k] + 1 < best)
				best = row[k] + 1;
			if (diagonal + 1 < best)
				best = diagonal + 1;
			row[k + 1] = best;
		}
	}
	return row[n];
}

static void suggest(const char *name, const char *candidate, const char **best, unsigned *least)
{
	unsigned d = distance(name, candidate);

	if (d < *least) {
		*least = d;
		*best = candidate;
	}
}

int config_fail_unknown(const struct reader *r, const struct toml_value *v, const char *section)
{
	unsigned least = DISTANCE_MAX + 1;
	const char *best = NULL;

	for (size_t i = 0; i < config_key_count; i++)
		if (strcmp(config_keys[i].section, section) == 0)
			suggest(v->key, config_keys[i].key, &best, &least);
	for (size_t i = 0; i < config_reserved_count; i++)
		if (strcmp(config_reserved[i].section, section) == 0)
			suggest(v->key, config_reserved[i].key, &best, &least);
	if (best)
		return config_key_fail(r, v, section, ERR_INVALID,
				       "unknown key; did you mean '%s'?", best);
	return config_key_fail(r, v, section, ERR_INVALID, "unknown key");
}

static int fail_type(const struct reader *r, const struct toml_value *v,
		     const struct config_key *k, const char *want)
{
	return config_key_fail(r, v, k->section, ERR_INVALID, "must be %s, is %s", want,
			       toml_type_name(v->type));
}

static int read_number(const struct reader *r, const struct toml_value *v,
		       const struct config_key *k, void *at)
{
	bool real = k->type == CONFIG_REAL;
	double d;

	if (v->type != TOML_INTEGER && !(real && v->type == TOML_FLOAT))
		return fail_type(r, v, k, real ? "a number" : "an integer");
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

static int read_list(const struct reader *r, const struct toml_value *v,
		     const struct config_key *k, void *at)
{
	const char **list;
	size_t n = 0;

	if (v->type != TOML_ARRAY)
		return fail_type(r, v, k, "an array of strings");
	list = arena_calloc(&r->c->arena, v->list.count + 1, sizeof(*list));
	if (!list)
		return err_oom(r->e, "the configuration");
	for (const struct toml_value *s = v->list.first; s; s = s->next) {
		if (s->type != TOML_STRING)
			return config_key_fail(r, v, k->section, ERR_INVALID,
					       "must be an array of strings, holds %s",
					       toml_type_name(s->type));
		list[n++] = s->string;
	}
	*(config_list *)at = list;
	return 0;
}

int config_read_key(const struct reader *r, const struct toml_value *v,
		    const struct config_key *k)
{
	void *at = (char *)r->c + k->offset;

	switch (k->type) {
	case CONFIG_BOOL:
		if (v->type != TOML_BOOL)
			return fail_type(r, v, k, "true or false");
		*(bool *)at = v->boolean;
		return 0;
	case CONFIG_UINT:
	case CONFIG_REAL:
		return read_number(r, v, k, at);
	case CONFIG_LIST:
		return read_list(r, v, k, at);
	default:
		if (v->type != TOML_STRING)
			return fail_type(r, v, k, "a string");
		if (k->type != CONFIG_STRING)
			return read_choice(r, v, k, at);
		*(const char **)at = v->string;
		return 0;
	}
}

/* The value in the words of a reserved row: "true", "5", "text", "[]" or "[...]". */
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
		return "{...}";
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
	for (size_t i = 0; i < config_reserved_count; i++)
		if (strcmp(config_reserved[i].section, section) == 0 &&
		    strcmp(config_reserved[i].key, v->key) == 0)
			return config_read_reserved(r, v, &config_reserved[i]);
	return config_fail_unknown(r, v, section);
}

/* Is `name` a section, or the beginning of one's name? */
static bool is_section(const char *name, const struct config_section **exact)
{
	size_t n = strlen(name);
	bool found = false;

	*exact = NULL;
	for (size_t i = 0; i < config_section_count; i++) {
		if (strncmp(config_sections[i].name, name, n) != 0)
			continue;
		if (config_sections[i].name[n] == '\0')
			*exact = &config_sections[i];
		found |=
			config_sections[i].name[n] == '\0' || config_sections[i].name[n] == '.';
	}
	return found;
}

static int fail_unknown_section(const struct reader *r, const struct toml_value *v,
				const char *section, const char *name)
{
	unsigned least = DISTANCE_MAX + 1;
	const char *best = NULL;

	for (size_t i = 0; i < config_section_count; i++)
		suggest(name, config_sections[i].name, &best, &least);
	if (best)
		return config_key_fail(r, v, section, ERR_INVALID,
				       "unknown section; did you mean [%s]?", best);
	return config_key_fail(r, v, section, ERR_INVALID, "unknown section");
}

static bool is_reserved_key(const char *section, const char *key)
{
	for (size_t i = 0; i < config_reserved_count; i++)
		if (strcmp(config_reserved[i].section, section) == 0 &&
		    strcmp(config_reserved[i].key, key) == 0)
			return true;
	return false;
}

/* Recursion ends at the depth of the longest section's name. */
static int read_table(const struct reader *r, const struct toml_value *table,
		      const char *section)
{
	for (const struct toml_value *v = table->list.first; v; v = v->next) {
		const struct config_section *exact;
		char name[2 * NAME_MAX_LEN];
		int n;

		if (v->type != TOML_TABLE || is_reserved_key(section, v->key)) {
			if (read_member(r, v, section) < 0)
				return -1;
			continue;
		}
		n = snprintf(name, sizeof(name), "%s%s%s", section, section[0] ? "." : "",
			     v->key);
		if (n >= (int)sizeof(name) || !is_section(name, &exact))
			return fail_unknown_section(r, v, section, name);
		if (exact && exact->refused)
			return config_key_fail(r, v, section, ERR_UNSUPPORTED, "%s",
					       exact->refused);
		if (read_table(r, v, name) < 0)
			return -1;
	}
	return 0;
}

int config_parse(struct kata_config *c, const char *text, size_t len, const char *name,
		 struct err *e)
{
	struct reader r = { .c = c, .name = name, .e = e };
	struct toml_value *root;

	if (toml_parse(text, len, name, &c->arena, &root, e) < 0)
		return -1;
	return read_table(&r, root, "");
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
	arena_fini(&c->arena);
	free(c);
}
