/* SPDX-License-Identifier: Apache-2.0 */
/* The command line's side of an engine: starting one, reaching it, its Task API. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/own.h"

struct arena;
struct err;
struct loop;

enum task_method {
	TASK_STATE,
	TASK_CREATE,
	TASK_START,
	TASK_DELETE,
	TASK_KILL,
	TASK_EXEC,
	TASK_RESIZE_PTY,
	TASK_CLOSE_IO,
	TASK_WAIT,
	TASK_CONNECT,
	TASK_SHUTDOWN,
	TASK_METHOD_COUNT_
};

struct engine_client;

/*
 * Starts an engine for the bundle `dir` (at most 20 s) and connects to it. Its own words on
 * stderr become the error's.
 */
int engine_start(struct loop *l, const char *dir, const char *id, bool debug,
		 struct engine_client **out, struct err *e);
/* ERR_NOT_FOUND: no engine serves that id. */
int engine_connect(struct loop *l, const char *id, struct engine_client **out, struct err *e);
void engine_client_free(struct engine_client *c);
/* Whether the connection has ended: not what the engine says of its guest's. */
bool engine_is_gone(const struct engine_client *c);
OWN_DEFINE(engine_client, struct engine_client *, engine_client_free)

/*
 * Create has the deadline of what it starts, State 5 s, Kill and Shutdown 8 s, others 30 s; for
 * Wait see engine_wait().
 */
int engine_call(struct engine_client *c, enum task_method m, const void *request,
		struct arena *a, void *response_out, struct err *e);
/*
 * Waits for the end of a process, however long it runs: `status` is its exit status.
 * ERR_TIMEOUT: the engine itself does not answer any more, which is looked for every minute.
 * `exec_id`: "" for the container's own.
 */
int engine_wait(struct engine_client *c, const char *id, const char *exec_id, uint32_t *status,
		struct err *e);

/*
 * SIGKILL for the engine of the bundle `dir`, by its shim.pid: for one that answers nothing any
 * more. ERR_NOT_FOUND if the process of that number is another by now.
 */
int engine_kill(const char *dir, const char *id, struct err *e);
