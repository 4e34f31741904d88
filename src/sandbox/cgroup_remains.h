/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Cgroups of engines that have ended. The kernel refuses to remove one (EBUSY) while something
 * is in it: what dies slowly, or a process that others have put there. Those are listed in a
 * file, a path a line, and tried again at each later start.
 */
#pragma once

#include <stdint.h>

struct buf;

/*
 * Removes the cgroups that the file `record` in `dirfd` lists, waiting until `deadline`
 * (base/time.h) for those that are busy. Appends the lines of those that still are to `busy`,
 * which may be NULL. What else goes wrong is logged.
 */
void cgroup_remains_remove(int dirfd, const char *record, int64_t deadline, struct buf *busy);

/*
 * Tries those of the list `name` in `dirfd` without waiting, and writes it anew with those that
 * stay and the lines of `busy` (NULL: none). Nobody else may be at it. Errors are logged.
 */
void cgroup_remains_keep(int dirfd, const char *name, const struct buf *busy);
