/* SPDX-License-Identifier: Apache-2.0 */
/* Runs a program of the host to its end, for what it says. */
#pragma once

#include <stddef.h>
#include <stdint.h>

struct buf;
struct child_reaper;
struct err;
struct loop;

/*
 * Runs argv[0], an absolute path, and appends to `out` what it writes to standard output and
 * error, at most `max` bytes; one that writes more is ended then. It may gain no privileges.
 * *status is as waitpid(2) gives it; 0 if it was ended for `max`. ERR_TIMEOUT: it was ended at
 * the deadline. Nothing of it runs when this returns. Waits: for a fiber.
 */
int program_run(struct loop *l, struct child_reaper *r, const char *const *argv, size_t max,
		int64_t deadline, struct buf *out, int *status, struct err *e);
