/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The standard streams of one process between the guest and what the caller named at
 * Create or Exec. Each name is one of
 *	""			nothing: input is empty, output is dropped
 *	/path			a fifo (containerd's way): held open at both ends, so that a
 *				client may go and come back; a full one makes its stream wait,
 *				and only stdio_close_in() ends the input
 *	file:///path		a regular file, appended to (output only); its directories are
 *				made, percent-encoding is undone, as containerd's shim does
 *	binary:///path?k=v	a program that takes both outputs (sandbox/logger.h)
 *	kata:///fifo?log=/path	ours: a fifo whose reader may leave for good (it then gets
 *				nothing more), and a log file in CRI's format; each optional;
 *				as input, it ends with its writer
 * A stream that waits holds up only itself.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "sandbox/logger.h"

struct agent_client;
struct err;
struct log_ctx;
struct loop;
struct stdio;

struct stdio_names {
	const char *in, *out, *err; /* NULL is "" */
	bool terminal;              /* one output: `err` is not used */
	struct logger_owner owner;  /* for binary:// */
};

/*
 * Opens what the names say, before the process exists, so that a bad name fails the call
 * that brought it. The names are copied where needed, and log->container, which names the
 * container to the agent as well.
 */
int stdio_open(struct loop *l, const struct stdio_names *n, const struct log_ctx *log,
	       struct stdio **out, struct err *e);
/* Begins to copy. `agent` must outlive the streams, closed or not. */
int stdio_start(struct stdio *s, struct agent_client *agent, const char *exec_id,
		struct err *e);
/* No more input: what is in the fifo is still sent, then the guest's end is closed. Also before
 * the start. */
void stdio_close_in(struct stdio *s);
/*
 * Waits until both outputs have ended, and a logger with them; ERR_TIMEOUT if a reader is too
 * slow.
 */
int stdio_drain(struct stdio *s, int64_t deadline, struct err *e);
/*
 * Waits, after the process has ended, until no more of its output is on the way than pipes hold
 * of a process of the host's, which would not have ended before. However long the reader takes;
 * stdio_hurry() ends the wait. `all_ended`: nobody is left in the guest who could still write,
 * and more time is given to it for saying so.
 */
void stdio_settle(struct stdio *s, bool all_ended);
void stdio_hurry(struct stdio *s);
/*
 * All that could write to them has ended: a stream whose next bytes, or end, the guest keeps
 * back for `ms` is ended here. However long readers on the host take.
 */
void stdio_expect_end(struct stdio *s, int64_t ms);
/* Whether stdio_drain() would not have to wait. */
bool stdio_is_drained(const struct stdio *s);
/* Stops copying and closes everything. NULL is accepted. */
void stdio_free(struct stdio *s);
