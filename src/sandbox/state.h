/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The life of a sandbox and of a process (a container's first one, or an exec) as tables:
 * what may happen in which state, and where it leads. Whatever is not in the table is refused
 * with ERR_STATE and the two names. tests/unit/test_state.c walks every pair.
 */
#pragma once

struct err;

enum sandbox_state {
	SANDBOX_NEW,      /* nothing made yet */
	SANDBOX_STARTING, /* VM booting, agent being reached */
	SANDBOX_READY,    /* the agent answers; containers may come */
	SANDBOX_STOPPING, /* being taken down, on request or after a failure */
	SANDBOX_STOPPED,  /* nothing of it is left */
	SANDBOX_STATE_COUNT_
};

enum sandbox_event {
	SANDBOX_BOOT,
	SANDBOX_BOOTED,
	SANDBOX_STOP,
	SANDBOX_GONE,
	SANDBOX_EVENT_COUNT_
};

enum process_state {
	PROCESS_NEW,      /* known here, not yet in the guest */
	PROCESS_CREATED,  /* a container's first process, waiting for Start */
	PROCESS_STARTING, /* start requested */
	PROCESS_RUNNING,
	PROCESS_PAUSED,
	PROCESS_STOPPED, /* exited; status known; waits for Delete */
	PROCESS_DELETED,
	PROCESS_STATE_COUNT_
};

enum process_event {
	PROCESS_MAKE, /* the guest has prepared it */
	PROCESS_START,
	PROCESS_STARTED,
	PROCESS_PAUSE,
	PROCESS_RESUME,
	PROCESS_EXIT, /* it ended, could not start, or its sandbox died */
	PROCESS_DELETE,
	PROCESS_EVENT_COUNT_
};

const char *sandbox_state_name(enum sandbox_state s);
const char *process_state_name(enum process_state s);

/* Moves *s along; ERR_STATE (and *s as before) if the event is not allowed there. */
int sandbox_step(enum sandbox_state *s, enum sandbox_event ev, struct err *e);
int process_step(enum process_state *s, enum process_event ev, struct err *e);
