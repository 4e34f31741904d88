/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Child processes. One reaper per process collects every child that ends, those it knows by
 * `struct child` and, in PID 1 or a subreaper, orphans it does not know (they are reaped and
 * forgotten). Register a child in the same turn of the loop in which it was forked.
 */
#pragma once

#include <stdbool.h>
#include <sys/types.h>

#include "event/fiber.h"
#include "event/signal.h"

struct child_reaper {
	struct loop *loop;
	struct signal_watch sigchld;
	struct list children;
};

struct child {
	struct list node;
	struct child_reaper *reaper;
	pid_t pid;
	bool exited;
	int status; /* as waitpid(2) gives it, once exited */
	struct cond done;
	void (*on_exit)(struct child *c); /* may be NULL; called once, before waiters wake */
};

int child_reaper_init(struct child_reaper *r, struct loop *l, struct err *e);
void child_reaper_fini(struct child_reaper *r);

void child_watch(struct child_reaper *r, struct child *c, pid_t pid,
		 void (*on_exit)(struct child *c));
/* Forgets the child (it is then reaped as an orphan). Zero value is accepted. */
void child_unwatch(struct child *c);
/* Waits for its end; ERR_TIMEOUT leaves it running. */
int child_wait(struct child *c, int64_t deadline, struct err *e);
/* Sends a signal unless it has exited (its number is not reused before it is reaped). */
int child_kill(struct child *c, int sig, struct err *e);
/* The same for its process group, of one that leads a session of its own (spawn.h). */
int child_kill_group(struct child *c, int sig, struct err *e);
/* SIGKILL and wait at most `timeout_ms`. */
int child_end(struct child *c, int64_t timeout_ms, struct err *e);

/* A shell's view of a wait status: exit code, or 128 + signal. */
int child_exit_code(int status);
