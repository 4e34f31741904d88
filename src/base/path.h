/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Paths. Whatever lies below a root that somebody untrusted filled (a root file system, a
 * layer, a shared directory) is reached through path_open_beneath() only.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

struct err;

/*
 * Opens `path` as a process chroot'ed to `rootfd` would (openat2, RESOLVE_IN_ROOT, Linux
 * 5.6): absolute links and ".." stay inside, magic links are refused. O_CLOEXEC is added.
 * Without openat2 there is no safe way: ERR_UNSUPPORTED.
 */
int path_open_beneath(int rootfd, const char *path, int flags, mode_t mode, int *out,
		      struct err *e);
/*
 * Makes `path` and its missing parents as directories below `rootfd` (as above), existing
 * ones are kept; what a link leads to is made, too. *out (may be NULL) gets an O_PATH
 * descriptor of the last one.
 */
int path_mkdirs_beneath(int rootfd, const char *path, mode_t mode, int *out, struct err *e);
/* The same for an empty file at `path`: parents with mode 0755, the file kept if it exists. */
int path_mkfile_beneath(int rootfd, const char *path, mode_t mode, int *out, struct err *e);

/* mkdir -p for trusted paths; ERR_EXISTS if something else than a directory is in the way. */
int path_mkdirs(const char *path, mode_t mode, struct err *e);
/*
 * Removes a tree, however deep (the last component is a name, not "." or ".."), without
 * following links or crossing mounts. A missing tree is success; a mount point inside is
 * ERR_STATE and stops the removal there.
 */
int path_remove_tree(int dirfd, const char *path, struct err *e);

/* "/proc/self/fd/<n>": a name for a descriptor in calls that want a path. */
enum {
	PATH_FD_LEN = 32
};
const char *path_of_fd(int fd, char out[PATH_FD_LEN]);

/* One component: not empty, no '/', not "." or "..", at most 255 bytes. */
bool path_is_component(const char *s);
/*
 * An identifier as containerd and Kata accept it for containers, sandboxes and execs:
 * [A-Za-z0-9][A-Za-z0-9_.-]*, at most `max` bytes. `what` names it in the error.
 */
int path_check_id(const char *id, size_t max, const char *what, struct err *e);
/* Collapses "//", "." and ".." of an absolute path lexically, in place. */
void path_clean(char *path);
