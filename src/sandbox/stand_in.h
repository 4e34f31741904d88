/* SPDX-License-Identifier: Apache-2.0 */
/* The engine's side of a container's stand-in (src/standin): start, process id, end. */
#pragma once

#include <sys/types.h>

#include "event/child.h"

struct err;

struct stand_in {
	struct child child;
	/* Called once, from the loop, when it ends unasked; set it once it has started. */
	void (*lost)(struct stand_in *s);
};

struct stand_in_config {
	const char *program; /* absolute path of kata-stand-in */
	const char *root;    /* the container's root file system as the host sees it */
	/* the sandbox's namespaces; -1 makes a new one; borrowed */
	int netns_fd, ipc_fd, uts_fd;
	const char *hostname;     /* of its UTS namespace: who pins one leaves that to us */
	const char *cgroup_procs; /* cgroup.procs file to join, or NULL */
};

/* Starts it and waits until it has confined itself (at most 5 s). Call in a fiber. */
int stand_in_start(struct stand_in *s, struct child_reaper *r, const struct stand_in_config *c,
		   struct err *e);
/* Kills it without waiting; a zero value is accepted. */
void stand_in_kill(struct stand_in *s);
/* Kills it and waits until it has let go of its root; a zero value is accepted. In a fiber. */
void stand_in_end(struct stand_in *s);
/* 0 when there is none. */
pid_t stand_in_pid(const struct stand_in *s);
/* The same, also of one that has ended: a number to tell, and nobody's any more. */
pid_t stand_in_last_pid(const struct stand_in *s);
