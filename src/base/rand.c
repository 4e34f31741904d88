/* SPDX-License-Identifier: Apache-2.0 */
/* Random bytes. */
#include "base/rand.h"

#include <errno.h>
#include <stdint.h>
#include <sys/random.h>

#include "base/err.h"

int rand_bytes(void *out, size_t len, struct err *e)
{
	uint8_t *p = out;

	while (len) {
		ssize_t n = getrandom(p, len, 0);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return err_sys(e, "getrandom");
		p += n;
		len -= (size_t)n;
	}
	return 0;
}

int rand_hex(char *out, size_t n, struct err *e)
{
	static const char digits[] = "0123456789abcdef";
	uint8_t raw[64];

	BUG_ON(n > sizeof(raw));
	if (rand_bytes(raw, n, e) < 0)
		return -1;
	for (size_t i = 0; i < n; i++) {
		out[2 * i] = digits[raw[i] >> 4];
		out[2 * i + 1] = digits[raw[i] & 15];
	}
	out[2 * n] = '\0';
	return 0;
}
