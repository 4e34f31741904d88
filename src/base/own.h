/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Scope-bound ownership: `OWN(fd) int fd = -1;` closes on every way out of the block,
 * `TAKE(p)` / `fd_take(&fd)` hand the resource over and leave nothing behind.
 * Every module with a destructor adds its own own_<name>() beside it (OWN_DEFINE).
 */
#pragma once

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#define OWN(fn) __attribute__((cleanup(own_##fn), unused))
#define TAKE(p)                                                                                \
	__extension__({                                                                        \
		__typeof__(p) take_ = (p);                                                     \
		(p) = NULL;                                                                    \
		take_;                                                                         \
	})

/* Defines own_<name>() for a pointer type from its destructor, which must accept NULL. */
#define OWN_DEFINE(name, type, destroy)                                                        \
	static inline void own_##name(type *p)                                                 \
	{                                                                                      \
		int saved_ = errno;                                                            \
		destroy(*p);                                                                   \
		errno = saved_;                                                                \
	}

/* clang-format off */
#define container_of(ptr, type, member) ((type *)((char *)(ptr) - offsetof(type, member)))
/* clang-format on */
#define ARRAY_LEN(a) (sizeof(a) / sizeof((a)[0]))

/* free() of whatever pointer: declare as OWN(free) char *s = NULL; */
static inline void own_free(void *p)
{
	void *q = *(void **)p;

	free(q);
}

static inline void own_fd(int *fd)
{
	int saved = errno;

	if (*fd >= 0)
		(void)close(*fd); /* never retried: Linux frees the number even on EINTR */
	errno = saved;
}

/* Returns the descriptor and leaves -1 behind. */
static inline int fd_take(int *fd)
{
	int n = *fd;

	*fd = -1;
	return n;
}

/* Closes *fd if open and leaves -1 behind; errno is kept. */
static inline void fd_close(int *fd)
{
	own_fd(fd);
	*fd = -1;
}
