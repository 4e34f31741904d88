/* SPDX-License-Identifier: Apache-2.0 */
/* The default file and the manual page, printed from the schema. */
#include "config/print.h"

#include <inttypes.h>
#include <string.h>

#include "base/buf.h"
#include "base/err.h"
#include "config/config.h"
#include "config/schema.h"

static bool is_of(const struct config_key *k, const struct config_section *s)
{
	return k->preset && strcmp(k->section, s->name) == 0;
}

int config_print_presets(struct buf *out, struct err *e)
{
	for (size_t s = 0; s < config_section_count; s++) {
		if (!config_sections[s].title)
			continue;
		if (buf_printf(out, e, "[%s]\n", config_sections[s].name) < 0)
			return -1;
		for (size_t i = 0; i < config_key_count; i++) {
			const struct config_key *k = &config_keys[i];

			if (is_of(k, &config_sections[s]) &&
			    buf_printf(out, e, "%s = %s\n", k->key, k->preset) < 0)
				return -1;
		}
	}
	return 0;
}

static int print_range(const struct config_key *k, const char *prefix, struct buf *out,
		       struct err *e)
{
	if (k->type == CONFIG_UINT || k->type == CONFIG_REAL)
		return buf_printf(out, e, "%sFrom %" PRId64 " to %" PRId64 ".\n", prefix,
				  k->min, k->max);
	if (!k->choices)
		return 0;
	if (buf_printf(out, e, "%sOne of", prefix) < 0)
		return -1;
	for (size_t i = 0; k->choices[i]; i++)
		if (buf_printf(out, e, "%s \"%s\"", i ? "," : "", k->choices[i]) < 0)
			return -1;
	return buf_puts(out, ".\n", e);
}

int config_write_default(struct buf *out, struct err *e)
{
	if (buf_puts(
		    out,
		    "# Configuration of Kata Containers. Every key is shown with its default;\n"
		    "# take the comment sign away to change one. Files config.d/*.toml beside "
		    "this\n"
		    "# one are laid over it in the order of their names.\n",
		    e) < 0)
		return -1;
	for (size_t s = 0; s < config_section_count; s++) {
		const struct config_section *section = &config_sections[s];

		if (!section->title)
			continue;
		if (buf_printf(out, e, "\n# %s.\n[%s]\n", section->title, section->name) < 0)
			return -1;
		for (size_t i = 0; i < config_key_count; i++) {
			const struct config_key *k = &config_keys[i];

			if (!is_of(k, section))
				continue;
			if (buf_printf(out, e, "\n# %s\n", k->meaning) < 0 ||
			    print_range(k, "# ", out, e) < 0 ||
			    buf_printf(out, e, "#%s = %s\n", k->key, k->preset) < 0)
				return -1;
		}
	}
	return 0;
}

/* Text for troff: a backslash and a leading dot or quote have a meaning there. */
static int print_troff(const char *s, struct buf *out, struct err *e)
{
	for (size_t i = 0; s[i]; i++) {
		int rc;

		if (s[i] == '\\')
			rc = buf_puts(out, "\\e", e);
		else if (s[i] == '-')
			rc = buf_puts(out, "\\-", e);
		else if (i == 0 && (s[i] == '.' || s[i] == '\''))
			rc = buf_printf(out, e, "\\&%c", s[i]);
		else
			rc = buf_append(out, &s[i], 1, e);
		if (rc < 0)
			return -1;
	}
	return 0;
}

static int print_manual_key(const struct config_key *k, struct buf *out, struct err *e)
{
	if (buf_printf(out, e, ".TP\n\\fB%s\\fR = ", k->key) < 0 ||
	    print_troff(k->preset, out, e) < 0 || buf_puts(out, "\n", e) < 0)
		return -1;
	if (print_troff(k->meaning, out, e) < 0 || buf_puts(out, "\n", e) < 0)
		return -1;
	return print_range(k, "", out, e);
}

/* "|a" as: "" or a */
static int print_neutral(const char *s, struct buf *out, struct err *e)
{
	for (;;) {
		size_t len = strcspn(s, "|");

		if (len ? buf_append(out, s, len, e) < 0 : buf_puts(out, "\"\"", e) < 0)
			return -1;
		if (!s[len])
			return 0;
		if (buf_puts(out, " or ", e) < 0)
			return -1;
		s += len + 1;
	}
}

/* Keys that other implementations know and that do nothing here, so that nobody guesses. */
static int print_reserved(const struct config_reserved *rows, size_t count, struct buf *out,
			  struct err *e)
{
	const char *section = "";

	for (size_t i = 0; i < count; i++) {
		const struct config_reserved *r = &rows[i];
		const char *verb = r->policy == CONFIG_REFUSE ? "refused" : "a warning";

		if (strcmp(section, r->section) != 0 &&
		    buf_printf(out, e, ".PP\n[%s]\n", r->section) < 0)
			return -1;
		section = r->section;
		if (buf_printf(out, e, ".TP\n\\fB%s\\fR = ", r->key) < 0 ||
		    print_neutral(r->neutral, out, e) < 0 ||
		    buf_printf(out, e, "\nElse %s: ", verb) < 0 ||
		    print_troff(r->reason, out, e) < 0 || buf_puts(out, ".\n", e) < 0)
			return -1;
	}
	return 0;
}

static int print_manual_reserved(struct buf *out, struct err *e)
{
	if (buf_puts(
		    out,
		    ".SS Keys of other implementations\n"
		    "They may stand in a file with the values named; any other value is refused, "
		    "or accepted with a warning in the log.\n",
		    e) < 0 ||
	    print_reserved(config_reserved, config_reserved_count, out, e) < 0)
		return -1;
	if (buf_puts(out,
		     ".SS Annotations of other implementations\n"
		     "The same for names that stand in annotations only.\n",
		     e) < 0)
		return -1;
	return print_reserved(config_annotations, config_annotation_count, out, e);
}

int config_write_manual(struct buf *out, struct err *e)
{
	for (size_t s = 0; s < config_section_count; s++) {
		const struct config_section *section = &config_sections[s];

		if (!section->title)
			continue;
		if (buf_printf(out, e, ".SS [%s]\n%s.\n", section->name, section->title) < 0)
			return -1;
		for (size_t i = 0; i < config_key_count; i++)
			if (is_of(&config_keys[i], section) &&
			    print_manual_key(&config_keys[i], out, e) < 0)
				return -1;
	}
	return print_manual_reserved(out, e);
}
