/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Block devices of the virtual machine: finding the node of what the engine has plugged in,
 * by PCI path or name, and putting its numbers into a container's specification.
 */
#pragma once

#include <stddef.h>
#include <sys/types.h>

#include "agent.pb-c.h"

struct arena;
struct err;
struct sandbox;

/*
 * Waits (agent.hotplug_timeout) for the block device `address`: "/dev/vda", or a PCI path
 * "02/05[.f]": slot below each bridge from the root. Writes its node's path.
 */
int device_wait_block(struct sandbox *s, const char *address, char *out, size_t size,
		      struct err *e);
/* The name of the interface at a PCI path: 0, 1 if it is not there yet, -1 for no such path. */
int device_find_net(const char *address, char *out, size_t size, struct err *e);
/*
 * The node of a part of the disk `node`, `where` = "FIRST:SECTORS" in units of 512 bytes: a
 * partition, made if it is not there, which goes with its disk.
 */
int device_part(struct sandbox *s, const char *node, const char *where, char *out, size_t size,
		struct err *e);
/*
 * Resolves CreateContainerRequest.devices into OCI.linux.devices' numbers and mounts' sources
 * (device_mounts.h), and has the rules of linux.resources.devices name the guest's disks.
 */
int devices_attach(struct sandbox *s, const Grpc__CreateContainerRequest *r, struct arena *a,
		   struct err *e);

/* A disk's numbers on the host and here. */
struct renumbering {
	dev_t host, guest;
};
/* Rules that name one of the disks by the host's numbers get the guest's, once each. */
void device_rules_renumber(Grpc__LinuxDeviceCgroup *const *rules, size_t count,
			   const struct renumbering *disks, size_t disk_count);
/* The same for rates of I/O. */
void device_rates_renumber(Grpc__LinuxBlockIO *io, const struct renumbering *disks,
			   size_t disk_count);
