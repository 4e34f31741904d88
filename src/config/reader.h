/* SPDX-License-Identifier: Apache-2.0 */
/* From one value to struct kata_config. Inside of src/config only. */
#pragma once

#include "base/err.h"

struct config_key;
struct config_reserved;
struct kata_config;
struct toml_value;

struct reader {
	struct kata_config *c;
	const char
		*name; /* of the file, or of what else the value comes from (its line is 0) */
	struct err *e;
};

/* "name:12: [section] key: …", or "name: …" for a value of no file. Returns -1. */
int config_key_fail(const struct reader *r, const struct toml_value *v, const char *section,
		    enum err_kind kind, const char *fmt, ...)
	__attribute__((format(printf, 5, 6)));
/* The same with the nearest key of the section. */
int config_fail_unknown(const struct reader *r, const struct toml_value *v,
			const char *section);
int config_read_key(const struct reader *r, const struct toml_value *v,
		    const struct config_key *k);
int config_read_reserved(const struct reader *r, const struct toml_value *v,
			 const struct config_reserved *k);
