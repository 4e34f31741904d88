/* SPDX-License-Identifier: Apache-2.0 */
/* What the engine had to say while it made a container, for whoever waits for that. */
#pragma once

struct container_dir;

/* Prints the warnings of the engine's log so far to standard error. */
void start_warnings_show(const struct container_dir *d);
