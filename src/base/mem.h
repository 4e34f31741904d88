/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Memory: zeroed allocations with overflow checks, and the arena in which everything of
 * one call lives and dies. Failure is NULL; the caller turns it into err_oom().
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/own.h"

/* Zeroed memory, or NULL. A size of 0 still gives a pointer to free. */
void *mem_zalloc(size_t size) __attribute__((malloc));
void *mem_calloc(size_t count, size_t size) __attribute__((malloc));
/* Resizes to count*size; NULL on overflow or exhaustion, and then `p` is still valid. */
void *mem_resize(void *p, size_t count, size_t size);
/* A copy of `len` bytes with a NUL behind. NULL when out of memory. */
void *mem_dup(const void *p, size_t len);

#define mem_new(type) ((type *)mem_zalloc(sizeof(type)))

/*
 * Arena: a bump allocator with a byte limit. Memory is zeroed and aligned for any type;
 * single pieces cannot be freed. An arena set to zero is empty and may be finished.
 */
struct arena_chunk;
struct arena {
	struct arena_chunk *head;
	size_t used;  /* bytes handed out */
	size_t limit; /* most bytes to hand out */
};

void arena_init(struct arena *a, size_t limit);
void arena_fini(struct arena *a);
/* NULL when the limit or the memory is exhausted. */
void *arena_alloc(struct arena *a, size_t size);
void *arena_calloc(struct arena *a, size_t count, size_t size);
char *arena_strdup(struct arena *a, const char *s);
char *arena_strndup(struct arena *a, const char *s, size_t len);
char *arena_printf(struct arena *a, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

static inline void own_arena(struct arena *a)
{
	arena_fini(a);
}
