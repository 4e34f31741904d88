/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The agent's ends of a process' standard streams: pipes, or a terminal's master.
 *
 * The end of an output stream comes when every writer is gone and all data has been read. If
 * the process has exited while others still hold the stream open (a background child), what
 * is there, and what comes within STREAM_GRACE_MS of the exit, is delivered, and then the end.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "event/fiber.h"
#include "event/loop.h"

struct arena;
struct err;

enum {
	STREAM_GRACE_MS = 500,
	STREAM_READ_MAX = 1 << 20, /* of one read */
	STREAM_PIPE_SIZE = 1 << 20,
};

struct stream {
	struct loop *loop;
	struct source source; /* fd -1: closed */
	struct cond changed;  /* ready, process exited, or not busy any more */
	bool ready, busy, closing, terminal;
	bool bulk;           /* the last read was a large one: see gather() */
	bool ended;          /* the end was delivered (output) */
	int peer;            /* the terminal's other end, while nobody else has it; -1 */
	int64_t grace_until; /* after the process' exit: DEADLINE_NONE while it runs */
	int64_t left;        /* bytes still to be delivered after the grace; -1: not counted */
};

/* Takes `fd` over (made non-blocking). */
int stream_init(struct stream *s, struct loop *l, int fd, bool output, bool terminal,
		struct err *e);
/* Zero value accepted; waiting fibers must have been woken by stream_close before. */
void stream_fini(struct stream *s);
/* Ends all waiting: readers get the end, writers an error. */
void stream_close(struct stream *s);
/* The process has exited: output ends as described above. */
void stream_process_exited(struct stream *s);

/* Waits for data; *len_out 0 is the end. Bytes are in `a`. */
int stream_read(struct stream *s, size_t max, struct arena *a, uint8_t **out, size_t *len_out,
		struct err *e);
/* Writes all, waiting while the process does not read. ERR_STATE once nobody reads. */
int stream_write(struct stream *s, const uint8_t *p, size_t len, struct err *e);
/* Closes input behind pending writes; a terminal is sent its end-of-file character. */
int stream_close_input(struct stream *s, struct err *e);
