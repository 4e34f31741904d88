/* SPDX-License-Identifier: Apache-2.0 */
/* From one value to struct kata_config. Inside of src/config only. */
#pragma once

#include "base/err.h"
#include "config/schema.h"

struct kata_config;
struct toml_value;

struct reader {
	struct kata_config *c;
	struct err *e;
};

/* "file:12: [section] key: …", or "file: …" for an annotation, of line 0. Returns -1. */
int config_key_fail(const struct reader *r, const struct toml_value *v, const char *section,
		    enum err_kind kind, const char *fmt, ...)
	__attribute__((format(printf, 5, 6)));
/* Whether a file may have it, whatever becomes of it. */
bool config_has_key(const char *section, const char *key);
/* An error like config_key_fail()'s, with the section that has the key, or the nearest key. */
int config_fail_unknown(const struct reader *r, const struct toml_value *v,
			const char *section);
/* The same with the nearest name of an annotation. */
int config_fail_unknown_annotation(const struct reader *r, const struct toml_value *v,
				   const char *section);
/* The section of this name, else the first one whose name goes on behind it; NULL: none. */
const struct config_section *config_find_section(const char *name);
int config_fail_unknown_section(const struct reader *r, const struct toml_value *v,
				const char *section, const char *name);
/* Whether the value is one of this type at all: "must be a string, is an integer". */
int config_check_type(const struct reader *r, const struct toml_value *v, const char *section,
		      enum config_type type);
int config_read_key(const struct reader *r, const struct toml_value *v,
		    const struct config_key *k);
/* Of a value of the right type, or of an annotation's text. */
int config_read_reserved(const struct reader *r, const struct toml_value *v,
			 const struct config_reserved *k);
/* Lays a later file's tree upon that of the earlier ones; `over` is empty then. */
void config_merge(struct toml_value *base, struct toml_value *over);
/* Reads what all files say together. */
int config_read_tree(struct kata_config *c, const struct toml_value *root, struct err *e);
