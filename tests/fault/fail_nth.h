/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Makes library calls of a program fail or come up short, by the linker's --wrap: the n-th
 * allocation, every read and write, every other call by a signal. Linked with a unit test's
 * objects; only calls from our own code are wrapped, not those within the C library.
 */
#pragma once

#include <stdbool.h>

struct fault_plan {
	long fail_alloc; /* the n-th allocation from now fails, counted from 1; 0: none */
	bool short_io;   /* reads and writes move one byte at most */
	bool interrupt;  /* every other read and write fails with EINTR first */
};

void fault_start(const struct fault_plan *plan);
/* Ends the plan; returns how many allocations were asked for since fault_start(). */
long fault_stop(void);
/* How many calls were made to fail or cut short since fault_start(). */
long fault_hits(void);
