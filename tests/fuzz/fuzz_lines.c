/* SPDX-License-Identifier: Apache-2.0 */
/* The agent's log: no line is too long or empty, and no byte but line ends is lost. */
#include "fuzz.h"

#include <string.h>

#include "sandbox/lines.h"

static size_t seen;

static void take(const char *line, size_t len, void *arg)
{
	(void)arg;
	FUZZ_CHECK(len > 0 && len <= LINES_MAX_BYTES);
	FUZZ_CHECK(!memchr(line, '\n', len) && !memchr(line, '\r', len));
	seen += len;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct lines l;
	size_t ends = 0;

	l = (struct lines){ .each = take };
	seen = 0;
	for (size_t i = 0; i < size; i++)
		ends += data[i] == '\n' || data[i] == '\r';
	lines_take(&l, (const char *)data, size / 2);
	lines_take(&l, (const char *)data + size / 2, size - size / 2);
	lines_end(&l);
	FUZZ_CHECK(seen == size - ends);
	return 0;
}
