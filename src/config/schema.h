/* SPDX-License-Identifier: Apache-2.0 */
/* The tables behind config.h. Inside of src/config only. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum config_type {
	CONFIG_STRING, /* const char * */
	CONFIG_BOOL,   /* bool */
	CONFIG_UINT,   /* uint32_t */
	CONFIG_REAL,   /* double; an integer is accepted */
	CONFIG_CHOICE, /* int: index into `choices` */
	CONFIG_WORD,   /* const char *, one of `choices` */
	CONFIG_LIST,   /* config_list of strings */
	CONFIG_TABLES, /* an array of tables; this and the next of reserved keys only */
	CONFIG_TABLE,
	CONFIG_TYPE_COUNT_
};

struct config_key {
	const char *section; /* "hypervisor.qemu" */
	const char *key;
	enum config_type type;
	size_t offset;              /* in struct kata_config */
	const char *preset;         /* the default as TOML; NULL: another name of a key above */
	int64_t min, max;           /* CONFIG_UINT, CONFIG_REAL */
	const char *const *choices; /* NULL-ended */
	const char *meaning;
	/* pods may set it: its name in annotations, see annotate.c; NULL: they may not */
	const char *annotation;
	bool in_mib; /* CONFIG_UINT: annotations may name another unit */
	/* CONFIG_STRING of words NAME[=VALUE]: annotations add to them, see annotate.c */
	bool has_words;
	/* the key of [hypervisor.qemu] with the patterns of paths that annotations may name */
	const char *allowed_by;
	/* where `kata-runtime env` shows it: "Hypervisor.MemorySlots" */
	const char *env;
};

enum config_policy {
	CONFIG_WARN,   /* another value is named in a warning */
	CONFIG_REFUSE, /* another value is an error */
};

struct config_reserved {
	const char *section;
	const char *key;
	enum config_type type; /* upstream's; one of another type is an error, as there */
	enum config_policy policy;
	const char *neutral; /* values that change nothing here, "a|b"; lists as "[]" */
	const char *reason;
	/* where `kata-runtime env` shows the neutral value, the first that is not empty; or
	 * NULL */
	const char *env;
};

struct config_section {
	const char *name;
	const char *title;   /* NULL: only reserved keys */
	const char *refused; /* not NULL: the whole section is refused, with this reason */
};

extern const struct config_key config_keys[];
extern const size_t config_key_count;
extern const struct config_reserved config_reserved[];
extern const size_t config_reserved_count;
/* Names that annotations alone have, none of which is acted upon. */
extern const struct config_reserved config_annotations[];
extern const size_t config_annotation_count;
extern const struct config_section config_sections[];
extern const size_t config_section_count;
