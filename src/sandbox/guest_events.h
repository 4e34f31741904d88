/* SPDX-License-Identifier: Apache-2.0 */
/* What is learnt of the guest as it runs: out-of-memory events, and whether it still answers.
 */
#pragma once

struct err;
struct sandbox;

/*
 * Reports out-of-memory kills to the sandbox's observer, and asks the agent every 30 s whether
 * it is well; one that does not answer in time is a lost sandbox. As long as the agent lives.
 */
int guest_events_follow(struct sandbox *s, struct err *e);
