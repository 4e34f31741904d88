/* SPDX-License-Identifier: Apache-2.0 */
/* Signals as events: blocked in the process and read from a signalfd by the loop. */
#pragma once

#include <signal.h>
#include <stdbool.h>
#include <sys/signalfd.h>

#include "event/loop.h"

struct signal_watch {
	struct source source;
	struct loop *loop;
	void (*received)(struct signal_watch *w, const struct signalfd_siginfo *info);
};

/* Blocks `set` (for the process: there is one thread) and calls `received` per signal. */
int signal_watch_init(struct signal_watch *w, struct loop *l, const sigset_t *set,
		      void (*received)(struct signal_watch *, const struct signalfd_siginfo *),
		      struct err *e);
/* Stops watching; the signals stay blocked. Zero value is accepted. */
void signal_watch_fini(struct signal_watch *w);

/*
 * For main(), whatever the caller's dispositions are: writing to nobody and over a limit of
 * files are errors (EPIPE, EFBIG), and children can be waited for.
 */
void signal_defaults(void);
/* As nohup and a script's background jobs have it: whoever started us keeps it from us. */
bool signal_is_ignored(int sig);
/* In a child before exec: default dispositions and an empty mask, ignored ones too. */
void signal_reset_all(void);
