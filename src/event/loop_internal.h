/* SPDX-License-Identifier: Apache-2.0 */
/* The loop's inside, shared by loop.c and fiber.c only. */
#pragma once

#include "event/loop.h"

enum {
	LOOP_BATCH = 64
};

struct fiber;

struct loop {
	int epoll_fd;
	struct epoll_event batch[LOOP_BATCH];
	int at, n;          /* position in the batch while callbacks run */
	struct list timers; /* by deadline, earliest first */
	struct list ready;  /* fibers that can go on */
	struct list fibers; /* every living fiber */
	struct list spare;  /* stacks to use again */
	unsigned spare_count;
	struct fiber *current;
	void *main_context;      /* where a fiber switches back to */
	const void *main_bottom; /* the stack below it, known in sanitizer builds only */
	size_t main_size;
	bool stopping;
};

/* Runs each fiber that is ready now once. */
void fibers_run_ready(struct loop *l);
/* Gives the spare stacks back. */
void fibers_fini(struct loop *l);
