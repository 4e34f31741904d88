/* SPDX-License-Identifier: Apache-2.0 */
/* What the guest tells without being asked: its agent's log, and out-of-memory events. */
#pragma once

struct err;
struct sandbox;

/* Copies the agent's log from its port into ours, line by line, at a bounded rate. */
int guest_log_follow(struct sandbox *s, const char *port, struct err *e);
/*
 * Reports out-of-memory kills to the sandbox's observer, and asks the agent every 30 s whether
 * it is well; one that does not answer in time is a lost sandbox. As long as the agent lives.
 */
int guest_events_follow(struct sandbox *s, struct err *e);
