/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Hooks of the specification that run on the host (OCI runtime specification, "POSIX-platform
 * Hooks"): executed in order, with the container's state as JSON on standard input.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "oci.pb-c.h"

struct container;
struct err;

/*
 * Runs the hooks one after the other; the first that fails, ends by a signal or exceeds its
 * timeout is the error, with the last line it wrote to stderr; after a timeout nothing of its
 * session is left. `status` is the state's: "created", "running", "stopped".
 */
int hooks_run(struct container *c, Grpc__Hook *const *hooks, size_t count, const char *status,
	      const char *kind, struct err *e);
/* Its own, or 10 minutes: docs/decisions/0052-hooks-without-a-timeout.md. */
int64_t hooks_timeout_s(const Grpc__Hook *h);
