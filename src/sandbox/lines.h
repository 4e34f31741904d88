/* SPDX-License-Identifier: Apache-2.0 */
/* Lines out of a stream of bytes that a guest writes, each at most LINES_MAX_BYTES long. */
#pragma once

#include <stddef.h>

enum {
	LINES_MAX_BYTES = 1024
};

struct lines {
	char line[LINES_MAX_BYTES];
	size_t len;
	/* Without newline and carriage returns; a longer line comes in parts. Never empty. */
	void (*each)(const char *line, size_t len, void *arg);
	void *arg;
};

void lines_take(struct lines *l, const char *p, size_t n);
/* What is there without a newline. */
void lines_end(struct lines *l);
