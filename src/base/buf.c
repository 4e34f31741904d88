/* SPDX-License-Identifier: Apache-2.0 */
/* Growable byte buffer. */
#include "base/buf.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/mem.h"
#include "base/own.h"

enum {
	BUF_KEEP = 64 * 1024
}; /* an empty buffer larger than this gives its memory back */

void buf_init(struct buf *b, size_t limit)
{
	*b = (struct buf){ .limit = limit };
}

void buf_fini(struct buf *b)
{
	free(b->data);
	b->data = NULL;
	b->start = b->end = b->cap = 0;
}

int buf_reserve(struct buf *b, size_t more, struct err *e)
{
	size_t len = buf_len(b);
	size_t want, cap;
	uint8_t *p;

	if (b->limit && (more > b->limit || len > b->limit - more))
		return err_set(e, ERR_NO_MEMORY, 0, "buffer limit of %zu bytes exceeded",
			       b->limit);
	if (__builtin_add_overflow(len, more, &want) || want == SIZE_MAX)
		return err_oom(e, "a buffer");
	if (b->cap - b->end >= more + 1 && b->data)
		return 0;
	if (b->start && b->data) {
		memmove(b->data, b->data + b->start, len);
		b->start = 0;
		b->end = len;
		if (b->cap - b->end >= more + 1)
			return 0;
	}
	cap = b->cap ? b->cap : 256;
	while (cap < want + 1)
		cap = cap > SIZE_MAX / 2 ? want + 1 : cap * 2;
	p = mem_resize(b->data, cap, 1);
	if (!p)
		return err_oom(e, "a buffer");
	b->data = p;
	b->cap = cap;
	return 0;
}

void buf_produced(struct buf *b, size_t len)
{
	BUG_ON(len > b->cap - b->end);
	b->end += len;
}

void buf_consume(struct buf *b, size_t len)
{
	BUG_ON(len > buf_len(b));
	b->start += len;
	if (b->start != b->end)
		return;
	b->start = b->end = 0;
	if (b->cap > BUF_KEEP)
		buf_fini(b);
}

void buf_clear(struct buf *b)
{
	buf_consume(b, buf_len(b));
}

int buf_append(struct buf *b, const void *p, size_t len, struct err *e)
{
	if (buf_reserve(b, len, e) < 0)
		return -1;
	if (len)
		memcpy(buf_tail(b), p, len);
	b->end += len;
	return 0;
}

int buf_puts(struct buf *b, const char *s, struct err *e)
{
	return buf_append(b, s, strlen(s), e);
}

int buf_printf(struct buf *b, struct err *e, const char *fmt, ...)
{
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vsnprintf(NULL, 0, fmt, ap);
	va_end(ap);
	if (n < 0)
		return err_set(e, ERR_INVALID, 0, "format of a message");
	if (buf_reserve(b, (size_t)n, e) < 0)
		return -1;
	va_start(ap, fmt);
	(void)vsnprintf((char *)buf_tail(b), (size_t)n + 1, fmt, ap);
	va_end(ap);
	b->end += (size_t)n;
	return 0;
}

const char *buf_cstr(struct buf *b)
{
	struct err e;
	size_t limit = b->limit;
	int rc;

	b->limit = 0;
	rc = buf_reserve(b, 1, &e);
	b->limit = limit;
	if (rc < 0)
		return NULL;
	b->data[b->end] = '\0';
	return (const char *)buf_head(b);
}

char *buf_take_str(struct buf *b)
{
	char *s;

	if (!buf_cstr(b))
		return NULL;
	if (b->start)
		memmove(b->data, b->data + b->start, buf_len(b) + 1);
	s = (char *)b->data;
	b->data = NULL;
	b->start = b->end = b->cap = 0;
	return s;
}
