/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Annotations of a pod that change its sandbox's configuration,
 *	io.katacontainers.config.<hypervisor|agent|runtime>.<key> = text
 * as far as the configuration allows it.
 */
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

/* A name of no row, or of a key that is the node's alone. */
static int fail_name(const struct reader *r, const struct toml_value *v, const char *section)
{
	for (size_t i = 0; i < config_key_count; i++) {
		const struct config_key *k = &config_keys[i];

		if (!str_eq(k->section, section) || !str_eq(k->key, v->key))
			continue;
		if (k->type == CONFIG_BOOL &&
		    str_eq(v->string,
			   *(const bool *)((const char *)r->c + k->offset) ? "true" : "false"))
			return 0; /* what the node has chosen */
		return config_key_fail(r, v, section, ERR_DENIED,
				       "only configuration.toml sets it");
	}
	return config_fail_unknown(r, v, section);
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

	*out = (struct toml_value){ .type = TOML_INTEGER, .key = k->key };
	if (str_to_bytes(text, k->key, &bytes, &ignored) < 0)
		return config_key_fail(r, out, k->section, ERR_INVALID,
				       "'%s': a number of MiB, or with a unit: Ki, Mi, Gi, Ti "
				       "(or K, M, G, T, which are the same)",
				       str_quote(text, strlen(text), shown, sizeof(shown)));
	out->integer = (int64_t)(bytes / MIB + (bytes % MIB != 0));
	return 0;
}

/* Text is taken as it is; numbers, truth and lists (JSON's are TOML's) are read. */
static int read_value(const struct reader *r, const struct config_key *k, const char *text,
		      struct toml_value *out)
{
	const struct toml_value *only;
	struct toml_value *root;
	const char *line;

	if (has_control(text))
		return err_set(r->e, ERR_INVALID, 0, "%s: control characters in the value",
			       r->name);
	if (is_text(k->type)) {
		*out = (struct toml_value){ .type = TOML_STRING, .key = k->key };
		out->string = arena_strdup(&r->c->arena, text);
		return out->string ? 0 : err_oom(r->e, "an annotation");
	}
	if (k->in_mib && has_unit(text))
		return read_mib(r, k, text, out);
	line = arena_printf(&r->c->arena, "v = %s\n", text);
	if (!line)
		return err_oom(r->e, "an annotation");
	if (toml_parse(line, strlen(line), r->name, &r->c->arena, &root, r->e) < 0)
		return -1;
	only = toml_get(root, "v");
	BUG_ON(!only || root->list.count != 1);
	*out = *only;
	out->key = k->key;
	out->line = 0;
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

int config_annotate(struct kata_config *c, const char *name, const char *value, struct err *e)
{
	char title[200];
	struct reader r = { .c = c, .name = title, .e = e };
	struct toml_value v = { .type = TOML_STRING };
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
		return config_read_reserved(&r, &v, reserved);
	if (k->allowed_by && check_path(c, name, k->allowed_by, value, e) < 0)
		return -1;
	return read_value(&r, k, value, &v) < 0 ? -1 : config_read_key(&r, &v, k);
}
