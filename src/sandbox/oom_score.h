/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Whom the host's OOM killer takes first (proc(5), oom_score_adj): a machine is as dear as the
 * dearest of its containers, which all end with it. Decision 56.
 */
#pragma once

struct sandbox;

/* After a change of containers. Where the kernel does not allow it, the log says so. */
void oom_score_apply(struct sandbox *s);
