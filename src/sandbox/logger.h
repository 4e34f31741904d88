/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A program that takes a process's output: containerd's binary:///path?key=value. It is run
 * as `path key value …` with CONTAINER_ID and CONTAINER_NAMESPACE in its environment; its
 * descriptors 3 and 4 are standard output and error, and it closes 5 (or writes to it) when
 * it is ready (containerd, pkg/process/io.go). It ends by itself when both have ended.
 */
#pragma once

#include <stdint.h>

struct child_reaper;
struct err;
struct logger;
struct loop;

/* Who the output is of. */
struct logger_owner {
	struct child_reaper *reaper;
	const char *container_id;
	const char *namespace;
};

/* Starts it and waits at most 10 s until it is ready. In a fiber. */
int logger_start(struct loop *l, const struct logger_owner *owner, const char *uri,
		 struct logger **out, struct err *e);
/* Hands over the writing end, non-blocking, of stdout (0) or stderr (1). */
/* Nobody will write to what has not been taken: the program sees its end. */
void logger_seal(struct logger *g);
int logger_take(struct logger *g, int stream);
/* Waits for its end; ERR_TIMEOUT. */
int logger_wait(struct logger *g, int64_t deadline, struct err *e);
/*
 * Lets go of it: it gets 12 s to end by itself, 12 s after SIGTERM, then SIGKILL, while
 * others go on. NULL is accepted.
 */
void logger_free(struct logger *g);
