/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Work that takes its time within system calls (a walk through a volume, the write-back of a
 * disk), in a process of its own: in the agent's only thread no container's streams would be
 * served meanwhile.
 */
#pragma once

#include <stdint.h>

struct child_reaper;
struct err;

/*
 * Calls `work` in a fork without the agent's descriptors but the standard ones; it returns 0 or
 * an errno and changes nothing but files. ERR_SYS has that errno; with ERR_TIMEOUT (`deadline`,
 * DEADLINE_NONE for none) and ERR_CANCELLED it is killed. Call in a fiber.
 */
int aside_run(struct child_reaper *r, int (*work)(const void *arg), const void *arg,
	      int64_t deadline, struct err *e);
