/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a machine or its monitor says on a stream nobody need read: drained as it comes, the
 * last bytes kept for error messages, and all of it told to who wants it. The writer is
 * hostile: memory has a limit, and who is told must have one.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "event/loop.h"

enum {
	CONSOLE_KEEP = 8 * 1024
};

/* Bytes as they came, from the loop; it must neither wait nor close the console. */
typedef void (*console_fn)(const char *p, size_t n, void *arg);

struct console {
	struct loop *loop;
	struct source source; /* owns its descriptor */
	console_fn tell;      /* NULL: nobody */
	void *arg;
	uint64_t seen; /* bytes so far; the ring's position */
	char ring[CONSOLE_KEEP];
};

/* Takes `fd` over. `tell` may be NULL. */
int console_init(struct console *c, struct loop *l, int fd, console_fn tell, void *arg,
		 struct err *e);
/* The zero value is accepted; what was kept stays readable. */
void console_close(struct console *c);
/* Reads what is there without waiting: for when the writer has just ended. */
void console_drain(struct console *c);
/* The last bytes, at most size-1, control characters but newline made '?'. NUL-ended. */
size_t console_tail(const struct console *c, char *out, size_t size);
