/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Fibers: code that waits without blocking its process. A fiber is a stack of its own on
 * which a function runs until it waits; then the loop goes on and comes back when what was
 * waited for has happened, the deadline has passed, or the fiber was cancelled. There is one
 * thread: between two waits nothing else runs, so no locks are needed, and every wait is a
 * place where anything may have changed.
 *
 * Every wait has a deadline (DEADLINE_NONE must be chosen on purpose) and fails with
 * ERR_TIMEOUT or, once the fiber is cancelled, with ERR_CANCELLED, at once and for good:
 * a cancelled fiber unwinds. Clean-up that must wait runs in a fiber of its own, or under
 * fiber_shield().
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/list.h"

struct err;
struct loop;
struct fiber;

typedef void (*fiber_fn)(void *arg);

/*
 * Starts fn(arg) in a new fiber, at the next turn of the loop. `name` is a static string for
 * logs. The handle is valid until fn returns; *out (may be NULL) is for cancelling.
 */
int fiber_spawn(struct loop *l, const char *name, fiber_fn fn, void *arg, struct fiber **out,
		struct err *e);
/* The fiber that runs now, NULL outside of one. */
struct fiber *fiber_self(struct loop *l);
/* Makes the fiber's present and every later wait fail with ERR_CANCELLED. */
void fiber_cancel(struct fiber *f);
bool fiber_is_cancelled(const struct fiber *f);
/*
 * While shielded (counted), the running fiber's waits are not cut short by a cancellation.
 * For tear-down that must finish. Call with true, later with false.
 */
void fiber_shield(struct loop *l, bool on);

/*
 * A condition to wait for: whoever changes the state wakes the waiters, who look again.
 *	while (!ready)
 *		if (cond_wait(&c, deadline, e) < 0) return -1;
 */
struct cond {
	struct loop *loop;
	struct list waiters;
};

void cond_init(struct cond *c, struct loop *l);
int cond_wait(struct cond *c, int64_t deadline, struct err *e);
void cond_wake_all(struct cond *c);
void cond_wake_one(struct cond *c);

/* Waits until `fd` is ready for one of `events` (EPOLLIN, EPOLLOUT) or hung up. */
int fiber_wait_fd(struct loop *l, int fd, uint32_t events, int64_t deadline, struct err *e);
int fiber_sleep(struct loop *l, int64_t ms, struct err *e);

/* read(2)/write(2) of non-blocking descriptors that wait. read: 0 is the end. */
int fiber_read(struct loop *l, int fd, void *p, size_t size, int64_t deadline, size_t *got,
	       struct err *e);
int fiber_write_all(struct loop *l, int fd, const void *p, size_t len, int64_t deadline,
		    struct err *e);

/*
 * Runs fn(arg) in a fiber and the loop until it has returned: for command line programs
 * and tests whose main is one flow.
 */
int fiber_main(struct loop *l, fiber_fn fn, void *arg, struct err *e);
