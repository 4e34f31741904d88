/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Tells when processes have run, without a look at a clock: a guest in which nothing runs is
 * not woken for it. A process that waits for an answer of a share switches its processor to
 * another, so between two calls of `some` a processor makes SWITCHES_MAX requests at most, and
 * none goes unnoticed. perf_event_open(2), PERF_COUNT_SW_CONTEXT_SWITCHES (Linux 2.6.31).
 */
#pragma once

#include "event/loop.h"

enum {
	SWITCHES_MAX = 64
};

struct switches_cpu;

struct switches {
	struct loop *loop;
	/* Called once; the next time only after switches_wait(). */
	void (*some)(struct switches *w);
	struct switches_cpu **cpus; /* by number; NULL for one that is off-line */
	unsigned count;
};

/* Of all processors that are on-line. ERR_UNSUPPORTED where the kernel does not count. */
int switches_start(struct switches *w, struct loop *l, void (*some)(struct switches *w),
		   struct err *e);
/* After more processors came on-line; 0 too if none did. */
int switches_more(struct switches *w, struct err *e);
/* Waits again; what happened since `some` was called counts. */
int switches_wait(struct switches *w, struct err *e);
/* Harmless on zeroes, and twice. */
void switches_stop(struct switches *w);
