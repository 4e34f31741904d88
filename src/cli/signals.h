/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Signals of a command in the foreground. Until its process runs, one that would end us ends
 * the start: the fiber that is at it is cancelled and can put everything away. From then on all
 * go to whoever takes them, those that came before as well.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "event/signal.h"

struct err;
struct fiber;
struct loop;

struct signals {
	struct signal_watch watch;
	struct fiber *starter;
	uint64_t waiting; /* bit n (0 for 64): signal n came before somebody took it */
	int ended_by;     /* the signal that ended the start; 0: none */
	void (*take)(int sig, void *arg);
	void *arg;
};

/*
 * Watches every signal that a process can do something with, but not those about itself
 * (faults, children, SIGPIPE), the terminal's that stop a reader, and those that are ignored.
 * Call it in the fiber that is to be cancelled.
 */
int signals_watch(struct signals *s, struct loop *l, struct err *e);
void signals_take(struct signals *s, void (*take)(int sig, void *arg), void *arg);
/* Signals are dropped from now on. Zero value is accepted. */
void signals_fini(struct signals *s);

static inline void own_signals(struct signals *s)
{
	signals_fini(s);
}
