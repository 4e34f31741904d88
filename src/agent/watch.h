/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Volumes whose changes a container wants to be told of. inotify(7) sees nothing that the
 * host does in a share, so that a small volume is copied to the guest's memory and kept like
 * its source: the storage driver "watchable-bind".
 */
#pragma once

#include "agent/storage.h"

struct err;
struct sandbox;
struct watch;

/*
 * Copies the directory `source` into a tmpfs on `mount_point` and follows its changes until
 * watch_stop(). *out is NULL if it is no directory or too large: the caller mounts it as it is.
 */
int watch_start(struct sandbox *s, const char *source, const char *mount_point,
		struct watch **out, struct err *e);
/* To be called before the tmpfs is unmounted. NULL is accepted. */
void watch_stop(struct watch *w);
