/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The one description of the OCI runtime specification (1.0 to 1.3): per message a list of
 * rows that tie a JSON name to a protobuf field and to the rules for its value. Decoding,
 * validating and encoding are walks over these rows. Inside of src/oci only.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <protobuf-c/protobuf-c.h>

#include "base/err.h"

enum {
	F_REQUIRED = 1 << 0, /* must be in the JSON text */
	F_NONEMPTY = 1 << 1, /* no empty text, list or absent message */
	F_ABSOLUTE = 1 << 2, /* an absolute path, if not empty */
	F_MAP = 1 << 3,      /* a JSON object with free keys */
	F_RANGE = 1 << 4,    /* min <= value <= max; otherwise only the type limits it */
	F_KEEP = 1 << 5,     /* encoded even when it has its zero value */
	F_ABSENT = 1 << 6,   /* `absent` is the value that stands for "not there" */
	F_REFUSED = 1 << 7,  /* an error naming it, with `note` as the reason */
	F_IGNORED = 1 << 8,  /* known, without meaning here, with `note` as the reason */
	F_UNIQUE = 1 << 9,   /* list of messages: no two with the same first row's value */
};

struct oci_type;

struct oci_field {
	const char *json;
	uint32_t number; /* the protobuf field; 0 for refused and ignored rows */
	unsigned rules;
	const struct oci_type *sub;       /* type of a message, list element or map value */
	const char *const *choices;       /* NULL-ended; "" in the field means absent */
	bool (*known)(const char *value); /* instead of choices, where a module has the names */
	int64_t min, max, absent;
	uint32_t flag; /* number of the presence field that goes with it, or 0 */
	const char *note;
};

/* Where in the document: linked from the innermost step outwards, on the stack. */
struct oci_at {
	const struct oci_at *up;
	const char *name; /* member or map key, or NULL for an index */
	size_t index;
};

struct oci_type {
	const ProtobufCMessageDescriptor *desc;
	const struct oci_field *fields;
	size_t count;
	/* Rules that a row cannot express; may be NULL. */
	int (*check)(const ProtobufCMessage *m, const struct oci_at *at, struct err *e);
};

extern const struct oci_type oci_type_spec, oci_type_process, oci_type_resources,
	oci_type_seccomp;

/* "mounts[3].destination" into `out`; cut if too long. */
enum {
	OCI_AT_LEN = 160
};
const char *oci_at_text(const struct oci_at *at, char out[OCI_AT_LEN]);
/* Sets "<path>: <text>", or "<path> '<value>': <text>" when a value is given; returns -1. */
int oci_fail(const struct oci_at *at, const char *value, struct err *e, enum err_kind kind,
	     const char *fmt, ...) __attribute__((format(printf, 5, 6)));

const ProtobufCFieldDescriptor *oci_descriptor(const struct oci_type *t,
					       const struct oci_field *f);
static inline void *oci_member(const ProtobufCMessage *m, const ProtobufCFieldDescriptor *d)
{
	return (char *)(uintptr_t)m + d->offset;
}
static inline size_t *oci_count(const ProtobufCMessage *m, const ProtobufCFieldDescriptor *d)
{
	return (size_t *)(void *)((char *)(uintptr_t)m + d->quantifier_offset);
}
/* Oneof members only: which one is set. */
static inline int *oci_case(const ProtobufCMessage *m, const ProtobufCFieldDescriptor *d)
{
	return (int *)(void *)((char *)(uintptr_t)m + d->quantifier_offset);
}
/* The value as int64; a uint64 above INT64_MAX becomes INT64_MAX. */
int64_t oci_integer(const ProtobufCFieldDescriptor *d, const void *at);
/* Whether the field carries a value that would be encoded. */
bool oci_is_set(const ProtobufCMessage *m, const struct oci_type *t, const struct oci_field *f);
/* Table, validation of one message; `at` NULL is the document itself. */
int oci_validate(const struct oci_type *t, const ProtobufCMessage *m, const struct oci_at *at,
		 struct err *e);
