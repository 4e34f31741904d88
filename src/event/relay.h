/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Bytes carried both ways between two non-blocking descriptors, such as a connection and a
 * terminal.
 */
#pragma once

struct err;
struct loop;

/*
 * Waits until either side has ended or takes no more, `a` has hung up (which is seen though `b`
 * takes nothing), or the calling fiber is cancelled. The descriptors stay the caller's and
 * open; what was read and not yet written is lost with the side that failed.
 */
int relay_run(struct loop *l, int a, int b, struct err *e);
