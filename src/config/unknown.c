/* SPDX-License-Identifier: Apache-2.0 */
/* Names that the schema does not have, and what may have been meant by them. */
#include <stdio.h>
#include <string.h>

#include "base/err.h"
#include "base/own.h"
#include "base/str.h"
#include "config/reader.h"
#include "config/schema.h"
#include "wire/toml.h"

enum {
	NAME_MAX_LEN = 64,
	DISTANCE_MAX = 3, /* a name further away is no suggestion */
};

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

struct suggestion {
	const char *best; /* NULL: nothing is near */
	unsigned least;
};

static void suggest(const char *name, const char *candidate, struct suggestion *s)
{
	unsigned d = distance(name, candidate);

	if (d <= DISTANCE_MAX && (!s->best || d < s->least))
		*s = (struct suggestion){ candidate, d };
}

static void suggest_rows(const struct config_reserved *rows, size_t count, const char *section,
			 const char *name, struct suggestion *s)
{
	for (size_t i = 0; i < count; i++)
		if (str_eq(rows[i].section, section))
			suggest(name, rows[i].key, s);
}

static int fail(const struct reader *r, const struct toml_value *v, const char *section,
		const struct suggestion *s)
{
	if (s->best)
		return config_key_fail(r, v, section, ERR_INVALID,
				       "unknown key; did you mean '%s'?", s->best);
	return config_key_fail(r, v, section, ERR_INVALID, "unknown key");
}

/* ---- keys ---- */

bool config_has_key(const char *section, const char *key)
{
	for (size_t i = 0; i < config_key_count; i++)
		if (str_eq(config_keys[i].section, section) && str_eq(config_keys[i].key, key))
			return true;
	for (size_t i = 0; i < config_reserved_count; i++)
		if (str_eq(config_reserved[i].section, section) &&
		    str_eq(config_reserved[i].key, key))
			return true;
	return false;
}

static bool is_below(const char *name, const char *section)
{
	size_t n = strlen(section);

	return str_starts(name, section) && name[n] == '.';
}

/* The sections that have such a key, those below `section` alone if there are any. */
static size_t find_homes(const char *section, const char *key, const char **out, size_t max)
{
	size_t below = 0, n = 0;

	for (size_t i = 0; i < config_section_count; i++)
		below += is_below(config_sections[i].name, section) &&
			 config_has_key(config_sections[i].name, key);
	for (size_t i = 0; i < config_section_count && n < max; i++) {
		const char *name = config_sections[i].name;

		if (config_has_key(name, key) && (!below || is_below(name, section)))
			out[n++] = name;
	}
	return n;
}

static int fail_misplaced(const struct reader *r, const struct toml_value *v,
			  const char *section, const char *const *homes, size_t count)
{
	char list[160] = "";
	size_t len = 0;

	for (size_t i = 0; i < count && len < sizeof(list); i++) {
		const char *between = i + 1 == count ? " or " : ", ";

		len += (size_t)snprintf(list + len, sizeof(list) - len, "%s[%s]",
					i ? between : "", homes[i]);
	}
	return config_key_fail(r, v, section, ERR_INVALID, "unknown key; it belongs into %s",
			       list);
}

int config_fail_unknown(const struct reader *r, const struct toml_value *v, const char *section)
{
	struct suggestion s = { .best = NULL };
	const char *homes[4];
	size_t n = find_homes(section, v->key, homes, ARRAY_LEN(homes));

	if (n)
		return fail_misplaced(r, v, section, homes, n);
	for (size_t i = 0; i < config_key_count; i++)
		if (str_eq(config_keys[i].section, section))
			suggest(v->key, config_keys[i].key, &s);
	suggest_rows(config_reserved, config_reserved_count, section, v->key, &s);
	return fail(r, v, section, &s);
}

int config_fail_unknown_annotation(const struct reader *r, const struct toml_value *v,
				   const char *section)
{
	struct suggestion s = { .best = NULL };

	for (size_t i = 0; i < config_key_count; i++)
		if (config_keys[i].annotation && str_eq(config_keys[i].section, section))
			suggest(v->key, config_keys[i].annotation, &s);
	suggest_rows(config_reserved, config_reserved_count, section, v->key, &s);
	suggest_rows(config_annotations, config_annotation_count, section, v->key, &s);
	return fail(r, v, section, &s);
}

/* ---- sections ---- */

const struct config_section *config_find_section(const char *name)
{
	const struct config_section *below = NULL;

	for (size_t i = 0; i < config_section_count; i++) {
		const struct config_section *s = &config_sections[i];

		if (str_eq(s->name, name))
			return s;
		if (!below && is_below(s->name, name))
			below = s;
	}
	return below;
}

int config_fail_unknown_section(const struct reader *r, const struct toml_value *v,
				const char *section, const char *name)
{
	struct suggestion s = { .best = NULL };

	for (size_t i = 0; i < config_section_count; i++)
		suggest(name, config_sections[i].name, &s);
	if (s.best)
		return config_key_fail(r, v, section, ERR_INVALID,
				       "unknown section; did you mean [%s]?", s.best);
	return config_key_fail(r, v, section, ERR_INVALID, "unknown section");
}
