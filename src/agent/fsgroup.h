/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A volume's files given to a group, as Kubernetes' securityContext.fsGroup has it: everything
 * on its file system gets the group and its rights, directories the set-group-ID bit, so that
 * what is made later belongs to it too.
 */
#pragma once

#include <stdbool.h>
#include <sys/types.h>

struct child_reaper;
struct err;

/*
 * Walks the file system at `path` in a process of its own: a large one takes its time. With
 * `on_root_mismatch` it is left alone if its root has the group and the rights already. Call in
 * a fiber; a cancelled one ends the walk.
 */
int fsgroup_apply(struct child_reaper *r, const char *path, gid_t group, bool on_root_mismatch,
		  struct err *e);
