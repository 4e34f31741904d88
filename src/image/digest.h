/* SPDX-License-Identifier: Apache-2.0 */
/*
 * SHA-256 digests: what blobs, image configurations and layers are named by. The hash itself
 * is OpenSSL's (docs/decisions, "sha256").
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/own.h"

struct err;

enum {
	DIGEST_HEX_SIZE = 65, /* 64 digits and the NUL */
	DIGEST_TEXT_SIZE = 72 /* with "sha256:" in front */
};

struct digest {
	uint8_t b[32];
};

bool digest_eq(const struct digest *a, const struct digest *b);
void digest_hex(const struct digest *d, char out[DIGEST_HEX_SIZE]);
void digest_text(const struct digest *d, char out[DIGEST_TEXT_SIZE]);
/* Exactly 64 lower-case hexadecimal digits, `len` bytes long. */
bool digest_from_hex(const char *s, size_t len, struct digest *out);
/* "sha256:<hex>". ERR_UNSUPPORTED: another algorithm; ERR_INVALID: anything else. */
int digest_parse(const char *s, const char *what, struct digest *out, struct err *e);

/* A digest being computed. */
struct hash;
int hash_new(struct hash **out, struct err *e);
void hash_free(struct hash *h);
OWN_DEFINE(hash, struct hash *, hash_free)
void hash_update(struct hash *h, const void *p, size_t len);
/* Ends the computation and begins a new one. */
void hash_final(struct hash *h, struct digest *out);

void digest_of(const void *p, size_t len, struct digest *out);
/*
 * The chain id of a layer (OCI image specification 1.0, "Layer ChainID"): the layer's
 * identity together with all layers below it. `parent` is NULL for the lowest layer.
 */
void digest_chain(const struct digest *parent, const struct digest *diff, struct digest *out);
