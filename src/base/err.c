/* SPDX-License-Identifier: Apache-2.0 */
/* Formatting of the error value; no allocation anywhere in here. */
#include "base/err.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The functions behind the macros of the header. */
#undef err_set
#undef err_wrap
#undef err_oom

static const char *const kind_names[] = {
	[ERR_NONE] = "NONE",
	[ERR_SYS] = "SYS",
	[ERR_INVALID] = "INVALID",
	[ERR_NOT_FOUND] = "NOT_FOUND",
	[ERR_EXISTS] = "EXISTS",
	[ERR_STATE] = "STATE",
	[ERR_TIMEOUT] = "TIMEOUT",
	[ERR_PEER] = "PEER",
	[ERR_NO_MEMORY] = "NO_MEMORY",
	[ERR_CANCELLED] = "CANCELLED",
	[ERR_UNSUPPORTED] = "UNSUPPORTED",
	[ERR_DENIED] = "DENIED",
};
static_assert(sizeof(kind_names) / sizeof(kind_names[0]) == ERR_KIND_COUNT_,
	      "every error kind needs a name");

/*
 * Messages hold words of files and guests and end on a terminal, or as a line of a log: no byte
 * of them moves a cursor or begins a line. C1 controls are two bytes of UTF-8.
 */
static void clean(char *s)
{
	for (; *s; s++) {
		unsigned char c = (unsigned char)s[0], next = (unsigned char)s[1];

		if (c == '\n' || c == '\t')
			*s = ' ';
		else if (c < 0x20 || c == 0x7f)
			*s = '?';
		else if (c == 0xc2 && next >= 0x80 && next < 0xa0)
			s[0] = s[1] = '?';
	}
}

int err_set(struct err *e, enum err_kind kind, int sys, const char *fmt, ...)
{
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vsnprintf(e->msg, sizeof(e->msg), fmt, ap);
	va_end(ap);
	e->kind = kind;
	e->sys = sys;
	if (sys && n >= 0 && (size_t)n < sizeof(e->msg))
		(void)snprintf(e->msg + n, sizeof(e->msg) - (size_t)n, ": %s", strerror(sys));
	clean(e->msg);
	return -1;
}

int err_wrap(struct err *e, const char *fmt, ...)
{
	char old[sizeof(e->msg)];
	size_t room, len;
	va_list ap;
	int n;

	memcpy(old, e->msg, sizeof(old));
	va_start(ap, fmt);
	n = vsnprintf(e->msg, sizeof(e->msg), fmt, ap);
	va_end(ap);
	clean(e->msg);
	if (n < 0 || (size_t)n + 3 > sizeof(e->msg))
		return -1;
	room = sizeof(e->msg) - (size_t)n - 3;
	len = strnlen(old, room);
	memcpy(e->msg + n, ": ", 2);
	memcpy(e->msg + n + 2, old, len);
	e->msg[(size_t)n + 2 + len] = '\0';
	return -1;
}

int err_oom(struct err *e, const char *what)
{
	return err_set(e, ERR_NO_MEMORY, 0, "out of memory for %s", what);
}

void err_clear(struct err *e)
{
	e->kind = ERR_NONE;
	e->sys = 0;
	e->msg[0] = '\0';
}

const char *err_kind_name(enum err_kind kind)
{
	BUG_ON((unsigned)kind >= ERR_KIND_COUNT_);
	return kind_names[kind];
}

void bug_abort(const char *expr, const char *file, int line)
{
	(void)fprintf(stderr, "%s:%d: internal error: %s\n", file, line, expr);
	abort();
}
