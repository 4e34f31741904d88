/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The end of an engine that no containerd looks after (`kata run`): when its container has
 * ended, the output is delivered, the exit recorded for `kata`, and everything taken down.
 */
#pragma once

struct engine;
struct process;

/* Does nothing unless the engine is self-ending; at most once. */
void self_end_begin(struct engine *en, struct process *p);
