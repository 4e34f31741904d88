/* SPDX-License-Identifier: Apache-2.0 */
/* Cutting lines. */
#include "sandbox/lines.h"

void lines_end(struct lines *l)
{
	size_t len = l->len;

	l->len = 0;
	if (len)
		l->each(l->line, len, l->arg);
}

void lines_take(struct lines *l, const char *p, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		if (p[i] == '\n' || l->len == sizeof(l->line))
			lines_end(l);
		if (p[i] != '\n' && p[i] != '\r')
			l->line[l->len++] = p[i];
	}
}
