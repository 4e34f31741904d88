/* SPDX-License-Identifier: Apache-2.0 */
/* Where the shim's program logs to, in the bundle that is the current directory. */
#pragma once

#include <stdbool.h>

/*
 * The `log` fifo, which containerd reads, or else shim.log. `sandbox` (kept, not copied) is
 * named in every record.
 */
void engine_log_open(bool debug, const char *sandbox);
/* From now on these are: a container of a pod names the pod it is in. Both are copied. */
void engine_log_name(const char *sandbox, const char *container);
