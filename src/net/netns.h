/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The process in another network namespace, for the length of a few calls without a wait: so
 * nothing else is ever served from there.
 */
#pragma once

#include <stdbool.h>

struct err;

/* Goes to the namespace `ns` (a descriptor); *back is the way home. */
int netns_enter(int ns, int *back, struct err *e);
void netns_leave(int *back);
/* Whether it is the one that this process is in, by whatever name it was opened. */
bool netns_is_ours(int ns);
