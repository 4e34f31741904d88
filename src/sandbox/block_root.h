/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Root file systems that are a disk: a block device, or a file that would be loop-mounted
 * (containerd's devmapper and blockfile snapshotters). The disk is plugged into the machine and
 * mounted there: its file system, which a stranger may have made, meets the guest's kernel and
 * never the host's, and files are as fast as on a disk.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

struct container;
struct err;
struct rootfs_mount;
typedef struct Grpc__Storage Grpc__Storage;

/* Whether the mounts of a root file system are one such disk. */
bool block_root_is(const struct rootfs_mount *mounts, size_t count);
/*
 * Plugs it in. The container's `root_disk` then says what the agent is to mount and where.
 * ERR_STATE if the machine has no place for one more.
 */
int block_root_plug(struct container *c, const struct rootfs_mount *m, struct err *e);
