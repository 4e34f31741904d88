/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Block devices of the virtual machine: finding the node of what the engine has plugged in,
 * by PCI path or name, and putting its numbers into a container's specification.
 */
#pragma once

#include <stddef.h>

#include "agent.pb-c.h"

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
/* Resolves CreateContainerRequest.devices into OCI.linux.devices' numbers. */
int devices_attach(struct sandbox *s, const Grpc__CreateContainerRequest *r, struct err *e);
