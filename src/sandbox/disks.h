/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Files and block devices of the host that are disks of a sandbox's machine. One that several
 * containers of the sandbox use is one disk: as two, each with caches of its own, they would
 * destroy what is on it.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/list.h"
#include "event/fiber.h"
#include "vmm/vmm.h"

struct container;
struct sandbox;
struct err;
typedef struct Grpc__Spec Grpc__Spec;
typedef struct Grpc__Linux Grpc__Linux;

enum {
	DISK_ID_SIZE = 16,
	DISK_NODE_SIZE = 256,
	DISK_PARTS_MAX = 250 /* Linux: 255 partitions of a disk, block/genhd.c */
};

enum disk_state {
	DISK_COMING,
	DISK_THERE,
	DISK_LEAVING,
	DISK_STUCK, /* nobody uses it, but the guest has not let go of it: it is asked again */
	DISK_GONE   /* in no list any more; a failed one, too */
};

/* What a disk is made of, and where on it that lies, in sectors of 512 bytes. */
struct disk_part {
	bool is_device; /* `number` names it, else `file_system` and `inode` do */
	dev_t number, file_system;
	ino_t inode;
	uint64_t first, sectors;
};

struct disk {
	struct list node; /* in sandbox->disks */
	char id[DISK_ID_SIZE];
	struct disk_part *parts; /* owned */
	size_t part_count;
	bool read_only;
	struct vmm_device_addr at;
	enum disk_state state;
	struct cond settled;
	unsigned users; /* uses by containers */
	unsigned refs;  /* those, and who waits for it */
	char *marker;   /* a file that goes with it; owned, may be NULL */
};

/*
 * Plugs a file or block device in, or finds that it is: one more use, the container's until
 * disks_release(). ERR_STATE if the machine has no place for one more, ERR_UNSUPPORTED if it is
 * there read-only and is to be written. Waits; call in a fiber.
 */
int disk_plug(struct container *c, const char *path, bool read_only, struct disk **out,
	      struct err *e);
/*
 * The same for files that are one disk, one behind the other, read-only: at most
 * DISK_PARTS_MAX, of whole sectors. ERR_INVALID names one that is none.
 */
int disk_plug_parts(struct container *c, const char *const *paths, size_t count,
		    struct disk **out, struct err *e);
/* Ends the container's uses, once the guest does not use them any more. */
int disks_release(struct container *c, struct err *e);
/* Gives up those that the guest has kept: the machine has ended. Waits; call in a fiber. */
void disks_end(struct sandbox *s);

/*
 * Whether the specification names block devices for the container alone, which are to be
 * plugged in: a privileged one's are all of the host's, and stay there.
 */
bool disks_are_named(const Grpc__Spec *spec);
/* The host's node of a block device: sysfs knows its name, whatever else it is called. */
int disk_find_node(unsigned major, unsigned minor, char *out, size_t size, struct err *e);
/* Whether a rule lets the container write to it; without one of its own it is not asked. */
bool disk_may_write(const Grpc__Linux *l, int64_t major, int64_t minor);
/*
 * Plugs in the block devices that the specification names (linux.devices), the agent being
 * told where they are; those of a privileged container are left out, which is logged. A device
 * that may not be written to by the cgroup rules is read-only in the monitor, too.
 */
int disks_attach(struct container *c, Grpc__Spec *guest, struct err *e);
