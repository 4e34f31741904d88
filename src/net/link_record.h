/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a killed process leaves on the links of a caller's network namespace: ingress qdiscs
 * that swallow everything, since the taps behind them went with the process, and macvtaps. A
 * file names the namespace and the links, written before the first of them is touched:
 *	<device>:<inode> <path of the namespace>
 *	<index of a link>
 *	…
 *	<name of a macvtap>
 *	…
 */
#pragma once

#include <stddef.h>

struct err;

/*
 * Replaces the file at `path`. `ns` is the namespace's descriptor, `netns` its path. Names of
 * macvtaps that may be there are NULL-ended.
 */
int link_record_write(const char *path, int ns, const char *netns, const int *links,
		      size_t count, const char *const *macvtaps, struct err *e);
/*
 * Frees the links and removes the macvtaps that the file `name` in the directory `dirfd` lists,
 * if the path is still that namespace's. No file, namespace or link is nothing to do; what
 * cannot be freed is logged.
 */
void link_record_undo(int dirfd, const char *name);
