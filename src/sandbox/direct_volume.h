/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Direct volumes: directories of the host in whose place a disk is mounted in the guest.
 * Storage drivers name them beforehand in
 *
 *	/run/kata-containers/shared/direct-volumes/<base64url of the directory>/mountInfo.json
 *
 * as upstream's `kata-runtime direct-volume add` does, with the members volume-type ("block"),
 * device, fstype, options, and metadata (fsGroup, fsGroupChangePolicy). While a sandbox uses
 * one, an empty file of the sandbox's id lies beside it; beside the first, if several name one
 * device. The sandbox's `mark_record` lists the paths of those files, one a line, from before
 * they are made: for who cleans up after an engine that was killed.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/str.h"

struct container;
struct err;
typedef struct Grpc__Mount Grpc__Mount;

struct direct_volume {
	char *device, *fstype; /* owned */
	struct strv options;
	bool has_group, on_root_mismatch; /* only if the file system's root has another group */
	uint32_t group;
};

void direct_volume_fini(struct direct_volume *v);
static inline void own_direct_volume(struct direct_volume *v)
{
	direct_volume_fini(v);
}

/* Reads a mountInfo.json. ERR_INVALID or ERR_UNSUPPORTED name the key. */
int direct_volume_parse(const char *text, size_t len, struct direct_volume *out, struct err *e);

/*
 * Whether the source of a bind mount is a direct volume: 1 if so, and then its disk is plugged
 * in, the agent is to mount it, and the mount is of that; 0 if not. Waits; call in a fiber.
 */
int direct_volume_use(struct container *c, Grpc__Mount *m, struct err *e);

/* Removes the files that a `mark_record` lists. Errors are logged; no record is no error. */
void direct_volume_sweep(int dirfd, const char *record);
