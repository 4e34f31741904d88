/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Hooks of the specification that run on the host (OCI runtime specification, "POSIX-platform
 * Hooks"): executed in order, with the container's state as JSON on standard input.
 */
#pragma once

#include <stddef.h>

#include "oci.pb-c.h"

struct container;
struct err;

/*
 * Runs the hooks one after the other; the first that fails, ends by a signal or exceeds its
 * timeout (default 60 s) is the error, with the last line it wrote to stderr. `status` is
 * the state's: "created", "running", "stopped".
 */
int hooks_run(struct container *c, Grpc__Hook *const *hooks, size_t count, const char *status,
	      const char *kind, struct err *e);
