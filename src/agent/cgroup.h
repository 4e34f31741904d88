/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A container's cgroup (version 2 only). Values of the specification are version 1's and are
 * converted as the runtime specification's documents and the kernel's cgroup-v2.rst say.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "oci.pb-c.h"

struct err;

struct cgroup {
	char path[768]; /* absolute */
	int fd;         /* its directory */
};

/*
 * The directory below `root` for linux.cgroupsPath (systemd's "slice:prefix:name" becomes
 * slice/prefix-name) or, if that is empty, the container's id. ERR_INVALID for "..".
 */
int cgroup_path(const char *root, const char *cgroups_path, const char *id, char *out,
		size_t size, struct err *e);
/* Makes it and enables every controller on the way. ERR_EXISTS if processes live in it. */
int cgroup_make(const char *root, const char *path, struct cgroup *out, struct err *e);
int cgroup_add(const struct cgroup *c, pid_t pid, struct err *e);
/*
 * The same for one that joins a container whose first process is `first`: where the container
 * has handed its controllers down, nobody may be in its own cgroup any more (EBUSY), and the
 * place is the first process's.
 */
int cgroup_join(const struct cgroup *c, pid_t first, pid_t pid, struct err *e);
/*
 * Applies what is set; a limit whose controller or file is missing is ERR_UNSUPPORTED. What is
 * not set stays as it is: a quota keeps its period, a period its quota. After an error all
 * limits are what they were.
 */
int cgroup_apply(const struct cgroup *c, const Grpc__LinuxResources *r, struct err *e);
/* Device rules if there are any, and the limits: all of it, or nothing. */
int cgroup_update(const struct cgroup *c, const Grpc__LinuxResources *r, struct err *e);
/* Replaces the device rules (an eBPF program); part of making a new container's. */
int cgroup_apply_devices(const struct cgroup *c, const Grpc__LinuxResources *r, struct err *e);
int cgroup_freeze(const struct cgroup *c, bool frozen, struct err *e);
/* Whether cgroup.events says that it is frozen as asked. */
bool cgroup_is_frozen(const struct cgroup *c);
/* SIGKILL to every process in it. */
int cgroup_kill(const struct cgroup *c, struct err *e);
/* A signal to every process in it and below, SIGKILL to all at once. */
int cgroup_signal(const struct cgroup *c, int sig, struct err *e);
/* Visits every process in it and below (as seen from here) until one visit fails. */
int cgroup_each_pid(const struct cgroup *c, int (*visit)(pid_t pid, void *arg, struct err *e),
		    void *arg, struct err *e);
bool cgroup_is_populated(const struct cgroup *c);
/* Removes it and the empty cgroups its container made below. */
int cgroup_remove(struct cgroup *c, struct err *e);

/* Conversions, for tests: 2..262144 to 1..10000; 10..1000 to 1..10000. */
uint64_t cgroup_cpu_weight(uint64_t shares);
uint64_t cgroup_io_weight(uint64_t weight);
