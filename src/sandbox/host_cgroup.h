/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The cgroup of the host that a sandbox's caller has chosen for it (linux.cgroupsPath): the
 * engine goes there before it starts anything, so that the machine and all helpers are there,
 * their memory and time counted and limited with it (sandbox_cgroup_only).
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct child_reaper;
struct err;
struct host_cgroup;
struct log_ctx;
struct loop;

/*
 * Makes the cgroup `path` in every hierarchy of version 1 that has controllers, or in that of
 * version 2, and moves this process there; one in systemd's form (slice:prefix:name) is made by
 * systemd as a scope (sandbox/systemd_scope.h), and by us in hierarchies that systemd does not
 * use. `record` is a file that says what to remove if the process is killed
 * (sandbox/rundir.h). ERR_INVALID: a path that leads elsewhere. Waits: for a fiber.
 */
int host_cgroup_enter(struct loop *l, struct child_reaper *r, const char *path,
		      const char *record, const struct log_ctx *log, struct host_cgroup **out,
		      struct err *e);
/*
 * Goes back and removes the leaf, unless somebody else stays there; a scope goes by itself.
 * NULL is accepted. Waits, at most some seconds: for a fiber.
 */
void host_cgroup_leave(struct host_cgroup *c);

/*
 * What all in it may use of memory, in bytes: the least of its own limit and of those above it.
 * UINT64_MAX where there is none, and for NULL.
 */
uint64_t host_cgroup_memory_limit(const struct host_cgroup *c);

/* ---- for tests ---- */

enum {
	HOST_CGROUP_ROOTS = 16
};

struct host_cgroup_root {
	char mount[256]; /* where a hierarchy is mounted */
	char home[512];  /* the directory there that we are in */
	char device[16]; /* major:minor, the same wherever the hierarchy is mounted */
	bool unified;    /* version 2 */
};

/*
 * The hierarchies to be used, from the texts of /proc/self/mountinfo and /proc/self/cgroup.
 * Returns how many.
 */
size_t host_cgroup_roots(char *mountinfo, const char *own,
			 struct host_cgroup_root out[HOST_CGROUP_ROOTS]);
