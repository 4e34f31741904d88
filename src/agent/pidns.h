/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The process namespace that the containers of a pod share where no pause container began it.
 * Its first process is this program once more, with an empty root, no capabilities and no
 * descriptors, and no system calls but those that wait. It reaps, and ends with the agent.
 */
#pragma once

#include <stdbool.h>

#include "event/child.h"

struct err;
struct sandbox;

#define PIDNS_ARGV0 "pause" /* what a process list shows in its place */

struct pidns {
	struct child child;
	int pidfd; /* of the first process, which is ready; -1: there is none */
	bool beginning;
	struct cond changed; /* woken when it is not any more */
};

void pidns_init(struct pidns *n, struct loop *l);
/*
 * Begins it unless it is there, and waits until its first process is ready. Children of
 * setns(2) with `pidfd` and CLONE_NEWPID are in it. ERR_PEER: the first process failed (a
 * status of pidns.c). `ended`, if not 0: the first process (`child.pid`) of one that nobody
 * could be born in, as in one that ends; its end is waited for, ERR_TIMEOUT if it stays.
 * For a fiber that is in the agent's own namespaces.
 */
int pidns_begin(struct sandbox *s, pid_t ended, struct err *e);
/* Kills whatever is in it. */
void pidns_end(struct pidns *n);
/* What the first process does. */
_Noreturn void pidns_main(void);
