/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Inside of the stage: what its files offer one another. Everything here runs in the fresh,
 * single process between the agent and the container's program; it may allocate and format.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "agent.pb-c.h"
#include "agent/stage.h"
#include "agent/user.h"

struct arena;

struct stage {
	struct stage_order order;
	struct arena *arena;
	Grpc__CreateContainerRequest *req;
	Grpc__Spec *spec;
	Grpc__Process *process;
	Grpc__Linux *linux_; /* never NULL */
	int proc_fd;         /* the agent's /proc, opened before anything changes */
	int root_fd;         /* STAGE_CREATE: the container's root until pivot_root */
	int console_master;  /* -1 without a terminal */
	int *late_readonly;  /* mounts for mounts_finish() */
	size_t late_count;
	struct identity id;
	char *program; /* path of what is to be executed, resolved */
};

/* rootfs.c: mount namespace to be, in order. */
int rootfs_enter(struct stage *s, struct err *e);  /* binds, mounts, devices, pivot_root */
int rootfs_finish(struct stage *s, struct err *e); /* masked, read-only, propagation */

/* mounts.c */
int mount_one(struct stage *s, size_t index, struct err *e);
/* Read-only is what is to be, and had to be written to until now. */
int mounts_finish(struct stage *s, struct err *e);
/* Makes a mount of `fd` (a file or directory) over itself read-only. */
int mount_readonly_over(const char *path, struct err *e);

/* copy_up.c: fills `to` with what `from` holds (directories' descriptors). */
int copy_up(int from, int to, struct err *e);

/* devices.c */
int devices_make(struct stage *s, struct err *e);

/* terminal.c */
int terminal_open(struct stage *s, struct err *e);

/* sysctl.c */
int sysctl_apply(struct stage *s, struct err *e);

/* rlimits.c */
int rlimits_apply(const Grpc__Process *p, struct err *e);

/* schedule.c: I/O priority, scheduler, CPU affinity, personality */
int schedule_apply(struct stage *s, struct err *e);

/* credentials.c */
int credentials_bound(struct stage *s, struct err *e); /* bounding set, ids; keeps permitted */
int credentials_final(struct stage *s, struct err *e); /* seccomp program, capability sets */

/* hooks.c: hooks.startContainer, before the program takes over */
int hooks_start(struct stage *s, struct err *e);

/* program.c: resolves args[0]; ERR_NOT_FOUND or ERR_DENIED as stage.h says */
int program_find(struct stage *s, struct err *e);
/* Executes it; returns -1 only. */
int program_exec(struct stage *s, struct err *e);

/* Whether the specification lists a namespace of that type; *path_out (may be NULL) its path.
 */
bool stage_has_ns(const struct stage *s, const char *type, const char **path_out);
