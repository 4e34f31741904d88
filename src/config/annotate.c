/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Annotations of a pod that change its sandbox's configuration,
 *	io.katacontainers.config.<hypervisor|agent|runtime>.<key> = text
 * as far as the configuration allows it.
 */
#include <ctype.h>
#include <fnmatch.h>
#include <regex.h>
#include <stdio.h>
#include <string.h>

#include "base/err.h"
#include "base/mem.h"
#include "base/own.h"
#include "base/str.h"
#include "config/config.h"
#include "config/reader.h"
#include "config/schema.h"
#include "oci/notes.h"
#include "wire/toml.h"

#define PREFIX "io.katacontainers.config."
/* Kata's older runtime has this one without the rest of the prefix. */
#define SHORT_PINNING "io.katacontainers.enable_vcpus_pinning"

enum {
	PATTERN_MAX = 256,
	MIB = 1 << 20
};

static const struct part {
	const char *name, *section;
	bool gated; /* by enable_annotations */
} parts[] = {
	{ "hypervisor.", "hypervisor.qemu", true },
	{ "agent.", "agent.kata", false },
	{ "runtime.", "runtime", false },
};

static const struct part *part_of(const char *rest)
{
	for (size_t i = 0; i < ARRAY_LEN(parts); i++) {
		if (str_starts(rest, parts[i].name))
			return &parts[i];
	}
	return NULL;
}

static const struct config_key *key_of(const char *section, const char *name)
{
	for (size_t i = 0; i < config_key_count; i++) {
		const struct config_key *k = &config_keys[i];

		if (k->annotation && str_eq(k->section, section) && str_eq(k->annotation, name))
			return k;
	}
	return NULL;
}

static const struct config_reserved *find_row(const struct config_reserved *rows, size_t count,
					      const char *section, const char *name)
{
	for (size_t i = 0; i < count; i++) {
		if (str_eq(rows[i].section, section) && str_eq(rows[i].key, name))
			return &rows[i];
	}
	return NULL;
}

static const struct config_reserved *reserved_of(const char *section, const char *name)
{
	const struct config_reserved *row =
		find_row(config_reserved, config_reserved_count, section, name);

	return row ? row : find_row(config_annotations, config_annotation_count, section, name);
}

/* Such a key of the section, which is the node's alone. */
static const struct config_key *node_key_of(const char *section, const char *name)
{
	for (size_t i = 0; i < config_key_count; i++) {
		const struct config_key *k = &config_keys[i];

		if (!k->annotation && str_eq(k->section, section) && str_eq(k->key, name))
			return k;
	}
	return NULL;
}

/* Another part that has the name, or NULL. */
static const struct part *home_of(const char *name)
{
	for (size_t i = 0; i < ARRAY_LEN(parts); i++) {
		if (key_of(parts[i].section, name) || reserved_of(parts[i].section, name))
			return &parts[i];
	}
	return NULL;
}

/* In TOML's word: upstream takes those of Go's strconv.ParseBool. As it is if it is none. */
static const char *truth_of(const char *text)
{
	static const char *const words[][2] = {
		{ "1", "true" },      { "t", "true" },    { "T", "true" },
		{ "TRUE", "true" },   { "True", "true" }, { "0", "false" },
		{ "f", "false" },     { "F", "false" },   { "FALSE", "false" },
		{ "False", "false" },
	};

	for (size_t i = 0; i < ARRAY_LEN(words); i++) {
		if (str_eq(words[i][0], text))
			return words[i][1];
	}
	return text;
}

/* A name of no row, or of a key that is the node's alone. */
static int fail_name(const struct reader *r, const struct toml_value *v, const char *section)
{
	const struct config_key *k = node_key_of(section, v->key);
	const struct part *home = home_of(v->key);

	if (k && k->type == CONFIG_BOOL &&
	    str_eq(truth_of(v->string),
		   *(const bool *)((const char *)r->c + k->offset) ? "true" : "false"))
		return 0; /* what the node has chosen */
	if (home)
		return config_key_fail(r, v, section, ERR_INVALID,
				       "unknown key; did you mean '" PREFIX "%s%s'?",
				       home->name, v->key);
	if (k)
		return config_key_fail(r, v, section, ERR_DENIED,
				       "only configuration.toml sets it");
	return config_fail_unknown_annotation(r, v, section);
}

/* ---- permission ---- */

/* 1: it matches as a whole, 0: it does not. */
static int matches(const char *pattern, const char *name, struct err *e)
{
	char whole[PATTERN_MAX + 8];
	regex_t re;
	int rc;

	if (strlen(pattern) > PATTERN_MAX)
		return err_set(e, ERR_INVALID, 0,
			       "enable_annotations: a pattern of more than %d bytes",
			       PATTERN_MAX);
	(void)snprintf(whole, sizeof(whole), "^(%s)$", pattern);
	if (regcomp(&re, whole, REG_EXTENDED | REG_NOSUB) != 0)
		return err_set(e, ERR_INVALID, 0,
			       "enable_annotations: '%.100s' is no extended regular expression",
			       pattern);
	rc = regexec(&re, name, 0, NULL, 0) == 0;
	regfree(&re);
	return rc;
}

static int check_enabled(const struct kata_config *c, const char *name, const char *key,
			 struct err *e)
{
	for (config_list p = c->hypervisor.enable_annotations; *p; p++) {
		int rc = matches(*p, key, e);

		if (rc != 0)
			return rc < 0 ? -1 : 0;
	}
	return err_set(e, ERR_DENIED, 0,
		       "annotation '%.120s' is not allowed: the configuration's "
		       "enable_annotations has no pattern for '%.60s'",
		       name, key);
}

static config_list list_of(const struct kata_config *c, const char *key)
{
	for (size_t i = 0; i < config_key_count; i++) {
		const struct config_key *k = &config_keys[i];

		if (k->type == CONFIG_LIST && str_eq(k->key, key))
			return *(const config_list *)(const void *)((const char *)c +
								    k->offset);
	}
	BUG_ON(true);
	return NULL;
}

static int check_path(const struct kata_config *c, const char *name, const char *list,
		      const char *path, struct err *e)
{
	for (config_list p = list_of(c, list); *p; p++) {
		if (!strstr(path, "..") && fnmatch(*p, path, FNM_PATHNAME) == 0)
			return 0;
	}
	return err_set(e, ERR_DENIED, 0,
		       "annotation '%.120s': '%.200s' is not allowed: the configuration's "
		       "%s has no pattern for it",
		       name, path, list);
}

/* ---- values ---- */

static bool is_text(enum config_type t)
{
	return t == CONFIG_STRING || t == CONFIG_CHOICE || t == CONFIG_WORD;
}

static bool has_control(const char *s)
{
	for (; *s; s++) {
		if ((unsigned char)*s < ' ' || *s == 0x7f)
			return true;
	}
	return false;
}

/* "512", which is TOML's affair, is one, "512Mi" has a unit. */
static bool has_unit(const char *text)
{
	size_t digits = strspn(text, "0123456789");

	return digits && text[digits];
}

/* Rounded up. */
static int read_mib(const struct reader *r, const struct config_key *k, const char *text,
		    struct toml_value *out)
{
	char shown[64];
	struct err ignored;
	uint64_t bytes;

	out->key = k->key;
	if (str_to_bytes(text, k->key, &bytes, &ignored) < 0)
		return config_key_fail(r, out, k->section, ERR_INVALID,
				       "'%s': a number of MiB, or with a unit: Ki, Mi, Gi, Ti "
				       "(or K, M, G, T, which are the same)",
				       str_quote(text, strlen(text), shown, sizeof(shown)));
	out->type = TOML_INTEGER;
	out->integer = (int64_t)(bytes / MIB + (bytes % MIB != 0));
	return 0;
}

/*
 * *out is a string of the annotation's title, and becomes what the key needs. Text is taken as
 * it is; numbers, truth and lists (JSON's are TOML's) are read.
 */
static int read_value(const struct reader *r, const struct config_key *k, const char *text,
		      struct toml_value *out)
{
	const struct toml_value *only;
	struct toml_value *root;
	const char *line;

	if (has_control(text))
		return err_set(r->e, ERR_INVALID, 0, "%s: control characters in the value",
			       out->file);
	if (is_text(k->type)) {
		out->key = k->key;
		out->string = arena_strdup(&r->c->arena, text);
		return out->string ? 0 : err_oom(r->e, "an annotation");
	}
	if (k->in_mib && has_unit(text))
		return read_mib(r, k, text, out);
	line = arena_printf(&r->c->arena, "v = %s\n",
			    k->type == CONFIG_BOOL ? truth_of(text) : text);
	if (!line)
		return err_oom(r->e, "an annotation");
	if (toml_parse(line, strlen(line), out->file, &r->c->arena, &root, r->e) < 0)
		return -1;
	only = toml_get(root, "v");
	BUG_ON(!only || root->list.count != 1);
	*out = *only;
	out->key = k->key;
	out->line = 0;
	return 0;
}

/* ---- words of a line ---- */

/* As the kernel splits its line: quotes hold blanks together. */
static const char *next_word(const char *s, size_t *len)
{
	bool quoted = false;

	while (isspace((unsigned char)*s))
		s++;
	for (*len = 0; s[*len] && (quoted || !isspace((unsigned char)s[*len])); ++*len)
		quoted ^= s[*len] == '"';
	return s;
}

static size_t name_len(const char *word, size_t len)
{
	const char *equals = memchr(word, '=', len);

	return equals ? (size_t)(equals - word) : len;
}

static bool names(const char *line, const char *word, size_t len)
{
	size_t n, want = name_len(word, len);

	for (const char *w = next_word(line, &n); n; w = next_word(w + n, &n)) {
		if (name_len(w, n) == want && memcmp(w, word, want) == 0)
			return true;
	}
	return false;
}

/* Appends the words of `line`, but for those that `but` (if any) has a word for. */
static void put_words(char *out, const char *line, const char *but)
{
	size_t n, at = strlen(out);

	for (const char *w = next_word(line, &n); n; w = next_word(w + n, &n)) {
		if (but && names(but, w, n))
			continue;
		if (at)
			out[at++] = ' ';
		memcpy(out + at, w, n);
		at += n;
	}
	out[at] = '\0';
}

/* The node's words stay, save those that the pod names with a value of its own. */
static int merge_words(const struct reader *r, const struct config_key *k, const char *pod)
{
	const char **node = (const char **)(void *)((char *)r->c + k->offset);
	size_t n;
	char *out;

	(void)next_word(pod, &n);
	if (n == 0)
		return 0;
	out = arena_alloc(&r->c->arena, strlen(*node) + strlen(pod) + 2);
	if (!out)
		return err_oom(r->e, "an annotation");
	*out = '\0';
	put_words(out, *node, pod);
	put_words(out, pod, NULL);
	*node = out;
	return 0;
}

/*
 * Of upstream's, but no key of the configuration: what asks for something that is not done here
 * is no secret. Those that the runtime itself sets (pkg.oci) ask for nothing.
 */
static void warn_of(struct kata_config *c, const char *name)
{
	static const char *const rows[][2] = {
		{ "io.katacontainers.container.resource.swap", "a guest has no swap" },
		{ "io.katacontainers.asset_hash_type", "hashes of assets are refused" },
		{ "sgx.intel.com/epc", "a guest has no enclaves (SGX)" },
		{ "io.katacontainers.", "nobody knows it" },
	};

	if (str_starts(name, "io.katacontainers.pkg.oci."))
		return;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		if (str_starts(name, rows[i][0])) {
			oci_note(&c->warnings, "annotation '%.100s' has no effect: %s", name,
				 rows[i][1]);
			return;
		}
	}
}

/*
 * Of upstream's, and of no effect here: a number or a truth must be one all the same. Lists are
 * upstream's own: each of those annotations has separators of its own.
 */
static int read_reserved(const struct reader *r, const struct config_reserved *row,
			 const char *text, struct toml_value *v)
{
	const struct config_key as_key = { row->section, row->key, row->type };

	if ((row->type == CONFIG_BOOL || row->type == CONFIG_UINT) &&
	    (read_value(r, &as_key, text, v) < 0 ||
	     config_check_type(r, v, row->section, row->type) < 0))
		return -1;
	return config_read_reserved(r, v, row);
}

int config_annotate(struct kata_config *c, const char *name, const char *value, struct err *e)
{
	char title[200];
	const struct reader r = { .c = c, .e = e };
	struct toml_value v = { .type = TOML_STRING, .file = title };
	const struct config_reserved *reserved;
	const struct config_key *k;
	const struct part *part;
	const char *key;

	if (str_eq(name, SHORT_PINNING))
		name = PREFIX "runtime.enable_vcpus_pinning";
	if (!str_starts(name, PREFIX)) {
		warn_of(c, name);
		return 0;
	}
	(void)snprintf(title, sizeof(title), "annotation '%.150s'", name);
	part = part_of(name + strlen(PREFIX));
	if (!part)
		return err_set(e, ERR_INVALID, 0,
			       "%s: must go on with hypervisor., agent. or runtime.", title);
	key = name + strlen(PREFIX) + strlen(part->name);
	v.key = key;
	v.string = value;
	k = key_of(part->section, key);
	reserved = k ? NULL : reserved_of(part->section, key);
	if (!k && !reserved)
		return fail_name(&r, &v, part->section);
	if (part->gated && check_enabled(c, name, key, e) < 0)
		return -1;
	if (reserved)
		return read_reserved(&r, reserved, value, &v);
	if (k->allowed_by && check_path(c, name, k->allowed_by, value, e) < 0)
		return -1;
	if (read_value(&r, k, value, &v) < 0)
		return -1;
	return k->has_words ? merge_words(&r, k, v.string) : config_read_key(&r, &v, k);
}
