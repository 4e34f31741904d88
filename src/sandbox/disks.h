/* SPDX-License-Identifier: Apache-2.0 */
/* Files and block devices of the host that are disks of a container's machine. */
#pragma once

#include <stdbool.h>

struct container;
struct err;
struct vmm_device_addr;
typedef struct Grpc__Spec Grpc__Spec;
typedef struct Grpc__CreateContainerRequest Grpc__CreateContainerRequest;

/* Plugs one in; it is the container's. ERR_STATE if the machine has no place for one more. */
int disk_plug(struct container *c, const char *path, bool read_only, struct vmm_device_addr *at,
	      struct err *e);
/* Takes all of a container's out again, once the guest does not use them any more. */
int disks_unplug(struct container *c, struct err *e);

/*
 * Whether the specification names block devices for the container alone, which are to be
 * plugged in: a privileged one's are all of the host's, and stay there.
 */
bool disks_are_named(const Grpc__Spec *spec);
/*
 * Plugs in the block devices that the specification names (linux.devices) and tells the agent
 * where they are; those of a privileged container are left out, which is logged. A device that
 * may not be written to by the cgroup rules is read-only in the monitor, too.
 */
int disks_attach(struct container *c, Grpc__Spec *guest, Grpc__CreateContainerRequest *r,
		 struct err *e);
