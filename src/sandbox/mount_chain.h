/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Root file systems on disks: block devices, or files that would be loop-mounted. One alone
 * (containerd's devmapper and blockfile snapshotters), or several mounts of which later ones
 * name earlier ones, as containerd's mount manager writes them (docs/mounts.md of
 * containerd 2.2):
 * `{{ mount 0 }}` is where the first is mounted, `{{ overlay 1 3 }}` a list of three. Its EROFS
 * snapshotter gives the layers of an image like that. The shim announces (-info) that it does
 * this itself.
 *
 * They are plugged into the machine and mounted there: their file systems, which a stranger may
 * have made, meet the guest's kernel and never the host's. The files of all layers are one
 * read-only disk, mounted part by part, and the overlay lies on top. What is written must be on
 * a disk, too (`default_size` of the snapshotter). Where it is a directory of the host, the
 * chain is of a form that the snapshotter does not give, or the configuration wants no disks,
 * the same is done on the host, and the result shared.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

struct arena;
struct container;
struct err;
struct rootfs_mount;
struct share_entry;

/*
 * What is announced: the transforms and types of mount that containerd leaves to the shim; the
 * same as an annotation, for containerd 2.2 and 2.3.
 */
#define MOUNT_CHAIN_TYPES      "erofs"
#define MOUNT_CHAIN_TRANSFORMS "format", "mkdir"
#define MOUNT_CHAIN_ALLOWED    "mkdir/*,format/*,erofs"

/* Whether the mounts are such a disk or chain, rather than mounts of the kernel's. */
bool mount_chain_is(const struct rootfs_mount *mounts, size_t count);
/* Whether some of it are disks, which need places in the machine. */
bool mount_chain_has_disks(const struct rootfs_mount *mounts, size_t count);
/*
 * Makes it. With disks, `root_disk` of the container is its last storage. ERR_UNSUPPORTED
 * names a transform, a word or a template that is not known, or what the machine cannot do;
 * ERR_STATE: it has no place for one more.
 */
int mount_chain_root(struct container *c, const struct rootfs_mount *mounts, size_t count,
		     struct share_entry *entry, struct err *e);

/*
 * The text with its templates filled in from the places of the mounts before it, in the arena.
 */
int mount_chain_expand(const char *text, const char *const *places, size_t count,
		       struct arena *a, const char **out, struct err *e);
