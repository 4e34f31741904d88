/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a machine or its monitor says on a stream nobody need read: drained as it comes, the
 * last bytes kept for error messages, the first ones copied to a file if there is one. The
 * writer is hostile: memory and file have limits.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "event/loop.h"

enum {
	CONSOLE_KEEP = 8 * 1024,
	CONSOLE_COPY_MAX = 16 * 1024 * 1024
};

struct console {
	struct loop *loop;
	struct source source; /* owns its descriptor */
	int copy_fd;          /* owned; -1: none */
	uint64_t copied;
	uint64_t seen; /* bytes so far; the ring's position */
	char ring[CONSOLE_KEEP];
};

/* Takes `fd` over; `copy_fd` is duplicated (-1: none). */
int console_init(struct console *c, struct loop *l, int fd, int copy_fd, struct err *e);
/* The zero value is accepted; what was kept stays readable. */
void console_close(struct console *c);
/* Reads what is there without waiting: for when the writer has just ended. */
void console_drain(struct console *c);
/* The last bytes, at most size-1, control characters but newline made '?'. NUL-ended. */
size_t console_tail(const struct console *c, char *out, size_t size);
