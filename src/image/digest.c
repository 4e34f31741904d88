/* SPDX-License-Identifier: Apache-2.0 */
/* SHA-256 digests. */
#include "image/digest.h"

#include <stdio.h>
#include <string.h>

#include <nettle/sha2.h>

#include "base/err.h"
#include "base/mem.h"
#include "base/str.h"

static const char prefix[] = "sha256:";

struct hash {
	struct sha256_ctx ctx;
};

bool digest_eq(const struct digest *a, const struct digest *b)
{
	return memcmp(a->b, b->b, sizeof(a->b)) == 0;
}

void digest_hex(const struct digest *d, char out[DIGEST_HEX_SIZE])
{
	static const char digits[] = "0123456789abcdef";

	for (size_t i = 0; i < sizeof(d->b); i++) {
		out[2 * i] = digits[d->b[i] >> 4];
		out[2 * i + 1] = digits[d->b[i] & 15];
	}
	out[2 * sizeof(d->b)] = '\0';
}

void digest_text(const struct digest *d, char out[DIGEST_TEXT_SIZE])
{
	memcpy(out, prefix, sizeof(prefix) - 1);
	digest_hex(d, out + sizeof(prefix) - 1);
}

static int hex_value(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

bool digest_from_hex(const char *s, size_t len, struct digest *out)
{
	struct digest d;

	if (len != 2 * sizeof(d.b))
		return false;
	for (size_t i = 0; i < sizeof(d.b); i++) {
		int high = hex_value(s[2 * i]), low = hex_value(s[2 * i + 1]);

		if (high < 0 || low < 0)
			return false;
		d.b[i] = (uint8_t)(high << 4 | low);
	}
	*out = d;
	return true;
}

int digest_parse(const char *s, const char *what, struct digest *out, struct err *e)
{
	size_t skip = sizeof(prefix) - 1;
	char quoted[128];

	(void)str_quote(s, strlen(s), quoted, sizeof(quoted));
	if (!str_starts(s, prefix) && strchr(s, ':'))
		return err_set(e, ERR_UNSUPPORTED, 0,
			       "%s: digest '%s': only sha256 is supported", what, quoted);
	if (!str_starts(s, prefix) || !digest_from_hex(s + skip, strlen(s + skip), out))
		return err_set(e, ERR_INVALID, 0, "%s: '%s' is no sha256 digest", what, quoted);
	return 0;
}

int hash_new(struct hash **out, struct err *e)
{
	struct hash *h = mem_new(struct hash);

	if (!h)
		return err_oom(e, "a hash");
	sha256_init(&h->ctx);
	*out = h;
	return 0;
}

void hash_free(struct hash *h)
{
	free(h);
}

void hash_update(struct hash *h, const void *p, size_t len)
{
	sha256_update(&h->ctx, len, p);
}

void hash_final(struct hash *h, struct digest *out)
{
	sha256_digest(&h->ctx, sizeof(out->b), out->b);
}

void digest_of(const void *p, size_t len, struct digest *out)
{
	struct hash h;

	sha256_init(&h.ctx);
	hash_update(&h, p, len);
	hash_final(&h, out);
}

void digest_chain(const struct digest *parent, const struct digest *diff, struct digest *out)
{
	char text[2 * DIGEST_TEXT_SIZE];

	if (!parent) {
		*out = *diff;
		return;
	}
	digest_text(parent, text);
	text[DIGEST_TEXT_SIZE - 1] = ' ';
	digest_text(diff, text + DIGEST_TEXT_SIZE);
	digest_of(text, strlen(text), out);
}
