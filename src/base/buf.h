/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A growable byte buffer with a limit: bytes are appended at the end and consumed from the
 * front, so it serves as string builder and as queue between a descriptor and a parser.
 * A buffer set to zero is empty, without limit, and may be finished.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct err;

struct buf {
	uint8_t *data; /* start of the allocation, owned */
	size_t start;  /* first unread byte */
	size_t end;    /* behind the last byte */
	size_t cap;    /* size of the allocation */
	size_t limit;  /* most unread bytes; 0: no limit */
};

/* clang-format off */
#define BUF_INIT { 0 }
/* clang-format on */

void buf_init(struct buf *b, size_t limit);
void buf_fini(struct buf *b);
static inline size_t buf_len(const struct buf *b)
{
	return b->end - b->start;
}
static inline uint8_t *buf_head(const struct buf *b)
{
	/* in numbers: nothing may be added to the NULL of an empty buffer, not even 0 */
	return (uint8_t *)((uintptr_t)b->data + b->start);
}
/* Makes room for `more` further bytes behind buf_tail(). ERR_NO_MEMORY past the limit. */
int buf_reserve(struct buf *b, size_t more, struct err *e);
static inline uint8_t *buf_tail(struct buf *b)
{
	return (uint8_t *)((uintptr_t)b->data + b->end);
}
/* Declares `len` bytes written behind the tail. */
void buf_produced(struct buf *b, size_t len);
/* Drops `len` bytes from the front; gives the memory of a large empty buffer back. */
void buf_consume(struct buf *b, size_t len);
void buf_clear(struct buf *b);
int buf_append(struct buf *b, const void *p, size_t len, struct err *e);
int buf_puts(struct buf *b, const char *s, struct err *e);
int buf_printf(struct buf *b, struct err *e, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
/* The contents with a NUL behind (not counted), valid until the next change. NULL: no memory.
 */
const char *buf_cstr(struct buf *b);
/* Hands the contents over as a malloc'd, NUL-ended string and leaves the buffer empty. */
char *buf_take_str(struct buf *b);

static inline void own_buf(struct buf *b)
{
	buf_fini(b);
}
