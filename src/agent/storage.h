/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Storages: what the engine wants mounted in the guest before a container uses it. One entry
 * per mount point, counted: containers that name the same one share it.
 */
#pragma once

#include <stddef.h>

#include "agent.pb-c.h"
#include "base/list.h"
#include "event/fiber.h"

struct err;
struct sandbox;
struct watch;

struct storage {
	struct list node;
	char *mount_point;
	unsigned refs;
	bool mounted;    /* to be unmounted with the last reference */
	bool disk;       /* may have to be written to before that */
	bool remove_dir; /* a directory made for it, to be removed */
	struct watch *watch;
	bool ready, failed;
	struct cond settled; /* woken when one of them comes true */
};

/* Mounts it, or counts one more user once it is mounted. */
int storage_add(struct sandbox *s, const Grpc__Storage *st, struct storage **out,
		struct err *e);
/*
 * The last reference unmounts; a failure is logged and the entry is gone all the same. Waits
 * for what a disk has to be given: call in a fiber.
 */
void storage_release(struct sandbox *s, struct storage *st);
/* UpdateEphemeralMounts: the size of a tmpfs. */
int storage_resize(struct sandbox *s, const Grpc__Storage *st, struct err *e);
/* Names of the drivers, for AgentDetails.storage_handlers. */
size_t storage_driver_count(void);
const char *storage_driver_name(size_t i);
