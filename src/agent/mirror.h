/* SPDX-License-Identifier: Apache-2.0 */
/* Makes one directory like another, in the order in which kubelet changes volumes. */
#pragma once

#include <stddef.h>
#include <stdint.h>

struct err;

struct mirror_limits {
	unsigned entries; /* directories, files and links, all in all */
	uint64_t bytes;   /* of files */
	unsigned depth;   /* of directories below the first */
};

/*
 * Whether the tree `dir` keeps the limits and holds nothing but directories, files and
 * symbolic links. ERR_NO_MEMORY: it exceeds them; ERR_UNSUPPORTED: it holds something else.
 */
int mirror_check(int dir, const struct mirror_limits *limits, struct err *e);
/*
 * Copies to `to` what differs from `from`: directories and files first, each file in full
 * under another name and then renamed, then symbolic links in the same way, and at last what
 * `from` has no more is removed. Who watches `to` (inotify(7)) sees what happened in `from`.
 * Owners, modes and times are those of `from`; links in `to` are never followed. Fails as
 * mirror_check() does, and half-way if `from` changes meanwhile; again is all that is needed.
 */
int mirror_tree(int from, int to, const struct mirror_limits *limits, struct err *e);
