/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The one error value of the project: a kind to branch on, the errno behind it if there
 * was one, and a message for people. It has a fixed size and lives on the stack of
 * whoever started the operation, so that it works when memory does not.
 *
 * Law: a fallible function returns 0 or -1 and takes `struct err *e` last; on failure it
 * has filled *e and has left its outputs untouched. Callers branch on `kind` only.
 */
#pragma once

#include <errno.h>
#include <stddef.h>

enum err_kind {
	ERR_NONE,
	ERR_SYS,         /* a system call failed; `sys` holds errno */
	ERR_INVALID,     /* the caller's input is wrong */
	ERR_NOT_FOUND,   /* what was named does not exist */
	ERR_EXISTS,      /* what was to be made is there already */
	ERR_STATE,       /* not possible in the object's present state */
	ERR_TIMEOUT,     /* a deadline passed */
	ERR_PEER,        /* the other side of a connection is gone or broke the protocol */
	ERR_NO_MEMORY,   /* an allocation failed or a quota is used up */
	ERR_CANCELLED,   /* the operation was called off by its owner */
	ERR_UNSUPPORTED, /* a known thing that is refused by name */
	ERR_DENIED,      /* permission (or a file's format) does not allow it */
	ERR_KIND_COUNT_
};

struct err {
	enum err_kind kind;
	int sys;
	char msg[512];
};

/* clang-format off */
#define ERR_INIT { .kind = ERR_NONE }
/* clang-format on */

/* Sets *e, always returns -1. A message that does not fit is cut. */
int err_set(struct err *e, enum err_kind kind, int sys, const char *fmt, ...)
	__attribute__((format(printf, 4, 5), nonnull(1)));

/* Prepends "<fmt>: " to the message, keeps kind and errno, always returns -1. */
int err_wrap(struct err *e, const char *fmt, ...)
	__attribute__((format(printf, 2, 3), nonnull(1)));

/* Sets ERR_SYS from errno and appends its text: "<fmt>: No such file or directory". */
#define err_sys(e, ...) err_set((e), ERR_SYS, errno, __VA_ARGS__)

/* Sets ERR_NO_MEMORY naming what was to be allocated. */
int err_oom(struct err *e, const char *what);

/*
 * That they return -1 is said where compilers and analyzers see it: they then know that
 * outputs are set wherever a caller finds 0.
 */
#define ERR_FAILED(call)                                                                       \
	__extension__({                                                                        \
		(void)(call);                                                                  \
		-1;                                                                            \
	})
#define err_set(...)  ERR_FAILED(err_set(__VA_ARGS__))
#define err_wrap(...) ERR_FAILED(err_wrap(__VA_ARGS__))
#define err_oom(...)  ERR_FAILED(err_oom(__VA_ARGS__))

void err_clear(struct err *e);

/* "INVALID", "NOT_FOUND" …: for logs. */
const char *err_kind_name(enum err_kind kind);

/* A bug in this program, never a peer's input: says where and aborts. */
_Noreturn void bug_abort(const char *expr, const char *file, int line);
#define BUG_ON(cond)                                                                           \
	do {                                                                                   \
		if (cond)                                                                      \
			bug_abort(#cond, __FILE__, __LINE__);                                  \
	} while (0)
