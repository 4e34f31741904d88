/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Image references as people write them and as Docker normalises them: "busybox" is
 * docker.io/library/busybox:latest. Pure functions over text; nothing here looks at a store.
 * Grammar: the "distribution" reference format, with sha256 as the only digest.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

struct err;

enum {
	REF_REPOSITORY_MAX = 255, /* host and path together */
	REF_TAG_MAX = 128,
	REF_DIGEST_LEN = 71, /* "sha256:" and 64 hexadecimal digits */
	REF_TEXT_SIZE = REF_REPOSITORY_MAX + 1 + REF_TAG_MAX + 1 + REF_DIGEST_LEN + 1
};

struct reference {
	char repository[REF_REPOSITORY_MAX +
			1];              /* with its host: "docker.io/library/busybox" */
	char tag[REF_TAG_MAX + 1];       /* "" when only a digest was given */
	char digest[REF_DIGEST_LEN + 1]; /* "" when none was given */
};

/* Parses and normalises. ERR_INVALID quotes the reference and says what is wrong with it. */
int reference_parse(const char *s, struct reference *out, struct err *e);

/*
 * The canonical text, by which references are compared: "repository:tag", or
 * "repository@digest" when a digest was given (the tag beside a digest says nothing more).
 */
void reference_text(const struct reference *r, char out[REF_TEXT_SIZE]);

/* The canonical text of a reference that must have a tag (or gets "latest") and no digest. */
int reference_tagged_text(const char *s, char out[REF_TEXT_SIZE], struct err *e);

/*
 * The short form for people: host and "library/" left out where Docker leaves them out.
 * Returns a pointer into `canonical`.
 */
const char *reference_familiar(const char *canonical);

/*
 * Whether `s` may be an image id or the beginning of one: lower-case hexadecimal digits, at
 * most 64, optionally behind "sha256:". *hex (may be NULL) gets the digits, inside `s`.
 */
bool reference_is_id_prefix(const char *s, const char **hex);
