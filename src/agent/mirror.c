/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/mirror.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/err.h"
#include "base/fd.h"
#include "base/own.h"
#include "base/path.h"
#include "base/str.h"

#define UNFINISHED ".kata-unfinished"

enum {
	BLOCK = 64 * 1024
};

struct budget {
	unsigned entries, depth;
	uint64_t bytes;
};

static inline void own_dir(DIR **d)
{
	if (*d)
		(void)closedir(*d);
}

static DIR *open_list(int fd, struct err *e)
{
	int copy = openat(fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *d = copy < 0 ? NULL : fdopendir(copy);

	if (!d) {
		(void)err_sys(e, "list a directory");
		fd_close(&copy);
	}
	return d;
}

static bool is_self(const char *name)
{
	return str_eq(name, ".") || str_eq(name, "..");
}

/* The next entry with what it is; 0 at the end. */
static int next(DIR *d, const char **name, struct stat *st, struct err *e)
{
	struct dirent *ent;

	do {
		errno = 0;
		ent = readdir(d);
		if (!ent)
			return errno ? err_sys(e, "list a directory") : 0;
	} while (is_self(ent->d_name));
	if (fstatat(dirfd(d), ent->d_name, st, AT_SYMLINK_NOFOLLOW) < 0)
		return err_sys(e, "'%.100s'", ent->d_name);
	*name = ent->d_name;
	return 1;
}

static int open_below(int dir, const char *name, int *out, struct err *e)
{
	*out = openat(dir, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	return *out < 0 ? err_sys(e, "open '%.100s'", name) : 0;
}

/* ---- limits ---- */

static int spend(struct budget *b, const char *name, const struct stat *st, struct err *e)
{
	if (!S_ISDIR(st->st_mode) && !S_ISREG(st->st_mode) && !S_ISLNK(st->st_mode))
		return err_set(e, ERR_UNSUPPORTED, 0,
			       "'%.100s' is neither a file, a directory nor a link", name);
	if (b->entries == 0 || (S_ISDIR(st->st_mode) && b->depth == 0) ||
	    (S_ISREG(st->st_mode) && (uint64_t)st->st_size > b->bytes))
		return err_set(e, ERR_NO_MEMORY, 0, "'%.100s' is one too many", name);
	b->entries--;
	if (S_ISREG(st->st_mode))
		b->bytes -= (uint64_t)st->st_size;
	return 0;
}

static int check(int dir, struct budget *b, struct err *e)
{
	OWN(dir) DIR *d = open_list(dir, e);
	const char *name;
	struct stat st;
	int rc;

	if (!d)
		return -1;
	while ((rc = next(d, &name, &st, e)) > 0) {
		OWN(fd) int below = -1;

		if (spend(b, name, &st, e) < 0)
			return -1;
		if (!S_ISDIR(st.st_mode))
			continue;
		if (open_below(dir, name, &below, e) < 0)
			return -1;
		b->depth--;
		if (check(below, b, e) < 0)
			return -1;
		b->depth++;
	}
	return rc;
}

int mirror_check(int dir, const struct mirror_limits *limits, struct err *e)
{
	struct budget b = { limits->entries, limits->depth, limits->bytes };

	return check(dir, &b, e);
}

/* ---- copying ---- */

static int copy_bytes(int from, int to, uint64_t max, struct err *e)
{
	OWN(free) char *block = malloc(BLOCK);
	ssize_t n;

	if (!block)
		return err_oom(e, "a block");
	while ((n = read(from, block, BLOCK)) > 0) {
		if ((uint64_t)n > max)
			return err_set(e, ERR_STATE, 0, "it has grown");
		max -= (uint64_t)n;
		if (fd_write_all(to, block, (size_t)n, e) < 0)
			return -1;
	}
	return n < 0 ? err_sys(e, "read") : 0;
}

static int set_like(int fd, const struct stat *st, struct err *e)
{
	struct timespec times[2] = { st->st_atim, st->st_mtim };

	if (fchown(fd, st->st_uid, st->st_gid) < 0 || fchmod(fd, st->st_mode & 07777) < 0 ||
	    futimens(fd, times) < 0)
		return err_sys(e, "owner, mode and times");
	return 0;
}

static bool is_same_file(const struct stat *a, const struct stat *b)
{
	return S_ISREG(b->st_mode) && a->st_size == b->st_size && a->st_mode == b->st_mode &&
	       a->st_uid == b->st_uid && a->st_gid == b->st_gid &&
	       a->st_mtim.tv_sec == b->st_mtim.tv_sec &&
	       a->st_mtim.tv_nsec == b->st_mtim.tv_nsec;
}

/* Something of another type is in the way, and goes. */
static int clear_way(int to, const char *name, bool want_dir, struct err *e)
{
	struct stat old;

	if (fstatat(to, name, &old, AT_SYMLINK_NOFOLLOW) < 0)
		return errno == ENOENT ? 0 : err_sys(e, "'%.100s'", name);
	return !!S_ISDIR(old.st_mode) == want_dir ? 0 : path_remove_tree(to, name, e);
}

static int put(int to, const char *name, struct err *e)
{
	if (clear_way(to, name, false, e) < 0)
		return -1;
	if (renameat(to, UNFINISHED, to, name) < 0)
		return err_sys(e, "rename to '%.100s'", name);
	return 0;
}

static int copy_file(int from, int to, const char *name, const struct stat *st, struct err *e)
{
	OWN(fd) int in = -1;
	OWN(fd) int out = -1;
	struct stat old;

	if (fstatat(to, name, &old, AT_SYMLINK_NOFOLLOW) == 0 && is_same_file(st, &old))
		return 0;
	in = openat(from, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	if (in < 0)
		return err_sys(e, "open '%.100s'", name);
	if (path_remove_tree(to, UNFINISHED, e) < 0)
		return -1;
	out = openat(to, UNFINISHED, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC,
		     0600);
	if (out < 0)
		return err_sys(e, "make '%.100s'", name);
	if (copy_bytes(in, out, (uint64_t)st->st_size, e) < 0 || set_like(out, st, e) < 0)
		return err_wrap(e, "'%.100s'", name);
	return put(to, name, e);
}

static int copy_link(int from, int to, const char *name, const struct stat *st, struct err *e)
{
	char target[PATH_MAX], old[PATH_MAX];
	ssize_t n = readlinkat(from, name, target, sizeof(target) - 1);
	ssize_t m = readlinkat(to, name, old, sizeof(old));

	if (n < 0)
		return err_sys(e, "link '%.100s'", name);
	if (n == m && memcmp(target, old, (size_t)n) == 0)
		return 0;
	target[n] = '\0';
	if (path_remove_tree(to, UNFINISHED, e) < 0)
		return -1;
	if (symlinkat(target, to, UNFINISHED) < 0 ||
	    fchownat(to, UNFINISHED, st->st_uid, st->st_gid, AT_SYMLINK_NOFOLLOW) < 0)
		return err_sys(e, "link '%.100s'", name);
	return put(to, name, e);
}

static int copy_tree(int from, int to, struct budget *b, struct err *e);

static int copy_dir(int from, int to, const char *name, const struct stat *st, struct budget *b,
		    struct err *e)
{
	OWN(fd) int in = -1;
	OWN(fd) int out = -1;
	int rc;

	if (clear_way(to, name, true, e) < 0)
		return -1;
	if (mkdirat(to, name, 0700) < 0 && errno != EEXIST)
		return err_sys(e, "make '%.100s'", name);
	if (open_below(from, name, &in, e) < 0 || open_below(to, name, &out, e) < 0)
		return -1;
	b->depth--;
	rc = copy_tree(in, out, b, e);
	b->depth++;
	return rc < 0 ? -1 : set_like(out, st, e);
}

static int copy_all(int from, int to, bool links, struct budget *b, struct err *e)
{
	OWN(dir) DIR *d = open_list(from, e);
	const char *name;
	struct stat st;
	int rc;

	if (!d)
		return -1;
	while ((rc = next(d, &name, &st, e)) > 0) {
		if (!!S_ISLNK(st.st_mode) != links)
			continue;
		if (spend(b, name, &st, e) < 0)
			return -1;
		rc = links                 ? copy_link(from, to, name, &st, e)
		     : S_ISDIR(st.st_mode) ? copy_dir(from, to, name, &st, b, e)
					   : copy_file(from, to, name, &st, e);
		if (rc < 0)
			return -1;
	}
	return rc;
}

static int remove_gone(int from, int to, struct err *e)
{
	OWN(dir) DIR *d = open_list(to, e);
	struct stat st, other;
	const char *name;
	int rc;

	if (!d)
		return -1;
	while ((rc = next(d, &name, &st, e)) > 0) {
		if (fstatat(from, name, &other, AT_SYMLINK_NOFOLLOW) == 0)
			continue;
		if (errno != ENOENT)
			return err_sys(e, "'%.100s'", name);
		if (path_remove_tree(to, name, e) < 0)
			return -1;
	}
	return rc;
}

static int copy_tree(int from, int to, struct budget *b, struct err *e)
{
	if (copy_all(from, to, false, b, e) < 0 || copy_all(from, to, true, b, e) < 0)
		return -1;
	return remove_gone(from, to, e);
}

int mirror_tree(int from, int to, const struct mirror_limits *limits, struct err *e)
{
	struct budget b = { limits->entries, limits->depth, limits->bytes };
	struct stat st;

	if (copy_tree(from, to, &b, e) < 0)
		return -1;
	if (fstat(from, &st) < 0)
		return err_sys(e, "the directory itself");
	return set_like(to, &st, e);
}
