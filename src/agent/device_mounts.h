/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Bind mounts of devices. On the host their source was a device node; here it is "c
 * MAJOR:MINOR" or "b MAJOR:MINOR" in the host's numbers, which is also the container_path of a
 * Device that says what that is in the guest: a disk ("blk"), or ("char") what has the same
 * numbers and, in vm_path, the same name. Its option "mode=OCTAL,uid=N,gid=N" is of the host's
 * node.
 *
 * The mount's source becomes a node of the container's own below DEVICE_MOUNTS_DIR.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "agent.pb-c.h"

struct arena;
struct err;

/* Of the device file system, as /run has none that work. */
#define DEVICE_MOUNTS_DIR "/dev/.mounts"

/* Whether it is about a mount, not about linux.devices. */
bool device_mount_is(const Grpc__Device *d);
/* Device `i` is the disk `guest`. Writes the host's number of it. */
int device_mount_disk(const Grpc__CreateContainerRequest *r, size_t i, dev_t guest,
		      dev_t *host_out, struct arena *a, struct err *e);
/* Device `i` is one of the guest's own. ERR_UNSUPPORTED if it has none of that kind. */
int device_mount_char(const Grpc__CreateContainerRequest *r, size_t i, struct arena *a,
		      struct err *e);
/*
 * ERR_UNSUPPORTED, about `what`, if the guest has no such device or, where the host's kernel
 * has a name for it, another one.
 */
int device_check_char(const char *what, unsigned major, unsigned minor, const char *host_name,
		      struct err *e);
/* The container's nodes go; there may be none. */
int device_mounts_remove(const char *container_id, struct err *e);
