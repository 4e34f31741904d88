/* SPDX-License-Identifier: Apache-2.0 */
/* The state tables. NO_ marks what is refused; 0 would be a state. */
#include "sandbox/state.h"

#include <assert.h>

#include "base/err.h"
#include "base/own.h"

enum {
	NO_ = -1
};

static const char *const sandbox_names[] = { "new", "starting", "ready", "stopping",
					     "stopped" };
static const char *const sandbox_events[] = { "boot", "booted", "stop", "gone" };
static const char *const process_names[] = {
	"new", "created", "starting", "running", "paused", "stopped", "deleted",
};
static const char *const process_events[] = {
	"create", "start", "started", "pause", "resume", "exit", "delete",
};
static_assert(ARRAY_LEN(sandbox_names) == SANDBOX_STATE_COUNT_, "name every state");
static_assert(ARRAY_LEN(sandbox_events) == SANDBOX_EVENT_COUNT_, "name every event");
static_assert(ARRAY_LEN(process_names) == PROCESS_STATE_COUNT_, "name every state");
static_assert(ARRAY_LEN(process_events) == PROCESS_EVENT_COUNT_, "name every event");

/* clang-format off */
static const short sandbox_next[SANDBOX_STATE_COUNT_][SANDBOX_EVENT_COUNT_] = {
	/*                    BOOT              BOOTED         STOP              GONE            */
	[SANDBOX_NEW]      = { SANDBOX_STARTING, NO_,           SANDBOX_STOPPED,  SANDBOX_STOPPED },
	[SANDBOX_STARTING] = { NO_,              SANDBOX_READY, SANDBOX_STOPPING, SANDBOX_STOPPED },
	[SANDBOX_READY]    = { NO_,              NO_,           SANDBOX_STOPPING, SANDBOX_STOPPED },
	[SANDBOX_STOPPING] = { NO_,              NO_,           SANDBOX_STOPPING, SANDBOX_STOPPED },
	[SANDBOX_STOPPED]  = { NO_,              NO_,           SANDBOX_STOPPED,  SANDBOX_STOPPED },
};

static const short process_next[PROCESS_STATE_COUNT_][PROCESS_EVENT_COUNT_] = {
	/*                    MAKE             START             STARTED          PAUSE           RESUME           EXIT             DELETE          */
	[PROCESS_NEW]      = { PROCESS_CREATED, NO_,              NO_,             NO_,            NO_,             NO_,             NO_ },
	[PROCESS_CREATED]  = { NO_,             PROCESS_STARTING, NO_,             NO_,            NO_,             PROCESS_STOPPED, PROCESS_DELETED },
	[PROCESS_STARTING] = { NO_,             NO_,              PROCESS_RUNNING, NO_,            NO_,             PROCESS_STOPPED, NO_ },
	[PROCESS_RUNNING]  = { NO_,             NO_,              NO_,             PROCESS_PAUSED, NO_,             PROCESS_STOPPED, NO_ },
	[PROCESS_PAUSED]   = { NO_,             NO_,              NO_,             NO_,            PROCESS_RUNNING, PROCESS_STOPPED, NO_ },
	[PROCESS_STOPPED]  = { NO_,             NO_,              NO_,             NO_,            NO_,             NO_,             PROCESS_DELETED },
	[PROCESS_DELETED]  = { NO_,             NO_,              NO_,             NO_,            NO_,             NO_,             NO_ },
};
/* clang-format on */

const char *sandbox_state_name(enum sandbox_state s)
{
	BUG_ON((unsigned)s >= SANDBOX_STATE_COUNT_);
	return sandbox_names[s];
}

const char *process_state_name(enum process_state s)
{
	BUG_ON((unsigned)s >= PROCESS_STATE_COUNT_);
	return process_names[s];
}

int sandbox_step(enum sandbox_state *s, enum sandbox_event ev, struct err *e)
{
	int next = sandbox_next[*s][ev];

	if (next == NO_)
		return err_set(e, ERR_STATE, 0, "cannot %s a sandbox that is %s",
			       sandbox_events[ev], sandbox_names[*s]);
	*s = (enum sandbox_state)next;
	return 0;
}

int process_step(enum process_state *s, enum process_event ev, struct err *e)
{
	int next = process_next[*s][ev];

	if (next == NO_)
		return err_set(e, ERR_STATE, 0, "cannot %s a process that is %s",
			       process_events[ev], process_names[*s]);
	*s = (enum process_state)next;
	return 0;
}
