/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Bind mounts whose source is a device node of the host: no share can hand out the device
 * behind it. A block device becomes a disk of the machine, a character device is the guest's
 * own of the same numbers. Which of its accesses a container has, the rules of
 * linux.resources.devices say, as for a node that is bound on the host.
 */
#pragma once

#include <stdbool.h>

struct container;
struct err;
typedef struct Grpc__Mount Grpc__Mount;
typedef struct Grpc__Spec Grpc__Spec;

/*
 * 1: the source is a device; the mount names it as the agent knows it (agent/device_mounts.h),
 * and the container has one more of `devices`. 0: it is none, and nothing has changed. May
 * wait for a disk to be plugged in; call in a fiber. A device that the guest lacks is refused
 * there.
 */
int device_mount_use(struct container *c, Grpc__Mount *m, bool read_only, struct err *e);
/* Whether a mount of the specification wants a disk for that. */
bool device_mounts_want_disks(const Grpc__Spec *spec);
