/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Hooks of the specification that run on the host (OCI runtime specification, "POSIX-platform
 * Hooks"): executed in order, with the container's state as JSON on standard input.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "oci.pb-c.h"

struct child_reaper;
struct err;
struct loop;

/* Whose hooks they are, as it stands in the state they read. All of it is borrowed. */
struct hook_owner {
	struct loop *loop;
	struct child_reaper *reaper;
	const char *id, *bundle;
	const Grpc__Spec *spec;
	int pid; /* 0: there is no process, or no longer */
};

/*
 * Runs the hooks one after the other; the first that fails, ends by a signal or exceeds its
 * timeout is the error, with the last line it wrote to stderr; after a timeout nothing of its
 * session is left. `status` is the state's: "creating", "running", "stopped".
 */
int hooks_run(const struct hook_owner *o, Grpc__Hook *const *hooks, size_t count,
	      const char *status, const char *kind, struct err *e);
/*
 * Those that undo what the hooks of the creation did: each failure is logged, and the rest goes
 * on. They are due from hooks_mark_poststop() on, by a file in the bundle; an engine that is
 * killed leaves it, and whoever cleans up after that engine runs them.
 */
int hooks_mark_poststop(const struct hook_owner *o, struct err *e);
bool hooks_poststop_is_due(const char *bundle);
void hooks_run_poststop(const struct hook_owner *o);
/* Its own, or 10 minutes: docs/decisions/0052-hooks-without-a-timeout.md. */
int64_t hooks_timeout_s(const Grpc__Hook *h);
