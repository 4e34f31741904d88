/* SPDX-License-Identifier: Apache-2.0 */
/* Paths. */
#include "base/path.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/err.h"
#include "base/own.h"
#include "base/rand.h"
#include "base/sys.h"

int path_open_beneath(int rootfd, const char *path, int flags, mode_t mode, int *out,
		      struct err *e)
{
	uint64_t creates = (flags & O_CREAT) || (flags & O_TMPFILE) == O_TMPFILE;
	int fd = -1;

	/* EAGAIN: a rename raced with the walk; the kernel asks for another try */
	for (int try = 0; try < 128; try++) {
		fd = sys_openat2(rootfd, *path ? path : ".",
				 (uint64_t)(unsigned)flags | O_CLOEXEC, creates ? mode : 0,
				 RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS);
		if (fd >= 0 || (errno != EAGAIN && errno != EINTR))
			break;
	}
	if (fd < 0 && errno == ENOSYS)
		return err_set(e, ERR_UNSUPPORTED, ENOSYS,
			       "open '%s': openat2(2) is needed, Linux 5.6 or newer", path);
	if (fd < 0)
		return err_set(e, errno == ENOENT ? ERR_NOT_FOUND : ERR_SYS, errno, "open '%s'",
			       path);
	*out = fd;
	return 0;
}

/* Makes one directory (or finds it) and moves *at to it. */
static int step_into(int rootfd, int *at, const char *sofar, const char *name, mode_t mode,
		     struct err *e)
{
	int next;

	if (strcmp(name, "..") != 0 && mkdirat(*at, name, mode) < 0 && errno != EEXIST)
		return err_sys(e, "mkdir '%s'", sofar);
	/* from the root again: the name may be a link, which must resolve inside the root */
	if (path_open_beneath(rootfd, sofar, O_PATH | O_DIRECTORY, 0, &next, e) < 0)
		return -1;
	fd_close(at);
	*at = next;
	return 0;
}

/* Walks to the directory `path`, making what is missing; *out is owned by the caller. */
static int walk_making(int rootfd, const char *path, mode_t mode, int *out, struct err *e)
{
	char sofar[PATH_MAX], name[NAME_MAX + 1];
	OWN(fd) int at = -1;
	const char *p = path;

	if (strlen(path) >= sizeof(sofar))
		return err_set(e, ERR_INVALID, ENAMETOOLONG, "path of %zu bytes", strlen(path));
	if (path_open_beneath(rootfd, ".", O_PATH | O_DIRECTORY, 0, &at, e) < 0)
		return -1;
	for (;;) {
		size_t n;

		while (*p == '/')
			p++;
		n = strcspn(p, "/");
		if (n == 0)
			break;
		if (n > NAME_MAX)
			return err_set(e, ERR_INVALID, ENAMETOOLONG, "component of '%.64s'",
				       path);
		memcpy(name, p, n);
		name[n] = '\0';
		p += n;
		if (strcmp(name, ".") == 0)
			continue;
		memcpy(sofar, path, (size_t)(p - path));
		sofar[p - path] = '\0';
		if (step_into(rootfd, &at, sofar, name, mode, e) < 0)
			return -1;
	}
	*out = fd_take(&at);
	return 0;
}

int path_mkdirs_beneath(int rootfd, const char *path, mode_t mode, int *out, struct err *e)
{
	OWN(fd) int fd = -1;

	if (walk_making(rootfd, path, mode, &fd, e) < 0)
		return -1;
	if (out)
		*out = fd_take(&fd);
	return 0;
}

int path_mkfile_beneath(int rootfd, const char *path, mode_t mode, int *out, struct err *e)
{
	OWN(fd) int dir = -1;
	OWN(fd) int fd = -1;
	OWN(free) char *parent = strdup(path);
	char *slash;

	if (!parent)
		return err_oom(e, "a path");
	slash = strrchr(parent, '/');
	if (!path_is_component(slash ? slash + 1 : parent))
		return err_set(e, ERR_INVALID, 0, "'%s' does not end in a file's name", path);
	if (slash)
		*slash = '\0';
	if (walk_making(rootfd, slash ? parent : "", 0755, &dir, e) < 0)
		return -1;
	/* an existing file is opened as it is, whatever its type: O_PATH needs no permission */
	if (path_open_beneath(rootfd, path, O_PATH, 0, &fd, e) < 0) {
		if (e->kind != ERR_NOT_FOUND)
			return -1;
		/* O_NONBLOCK: whoever fills the root may put a fifo there in between */
		if (path_open_beneath(rootfd, path, O_WRONLY | O_CREAT | O_NOCTTY | O_NONBLOCK,
				      mode, &fd, e) < 0)
			return -1;
	}
	if (out)
		*out = fd_take(&fd);
	return 0;
}

int path_mkdirs(const char *path, mode_t mode, struct err *e)
{
	char sofar[PATH_MAX];
	size_t len = strlen(path);
	struct stat st;

	if (len == 0 || len >= sizeof(sofar))
		return err_set(e, ERR_INVALID, ENAMETOOLONG, "mkdir: path of %zu bytes", len);
	for (size_t i = 1; i <= len; i++) {
		if (path[i] != '/' && path[i] != '\0')
			continue;
		memcpy(sofar, path, i);
		sofar[i] = '\0';
		if (mkdir(sofar, mode) < 0 && errno != EEXIST)
			return err_sys(e, "mkdir '%s'", sofar);
	}
	if (stat(path, &st) < 0)
		return err_sys(e, "mkdir '%s'", path);
	if (!S_ISDIR(st.st_mode))
		return err_set(e, ERR_EXISTS, ENOTDIR, "mkdir '%s'", path);
	return 0;
}

/*
 * A tree while it is removed. Whoever filled it chose its depth, and every level takes a
 * descriptor and some stack: what lies deeper than LEVELS_MAX is moved up to the tree's own
 * directory and removed from there, in another pass.
 */
struct removal {
	int top; /* the tree's own directory, -1 until it is open; borrowed */
	bool lifted;
};

enum {
	LEVELS_MAX = 256,
	PASSES_MAX = 4096, /* a tree that others fill meanwhile need not end */
	WRAPS_MAX = 8,     /* levels named in an error */
	LIFTED_RANDOM = 12
};

static int remove_at(struct removal *r, int dirfd, const char *name, unsigned depth,
		     struct err *e);

static int lift(struct removal *r, int dirfd, const char *name, struct err *e)
{
	char unique[RAND_HEX_LEN(LIFTED_RANDOM)];

	if (rand_hex(unique, LIFTED_RANDOM, e) < 0)
		return -1;
	if (renameat(dirfd, name, r->top, unique) < 0)
		return err_set(e, errno == EBUSY ? ERR_STATE : ERR_SYS, errno,
			       "remove '%s', which is nested deeply", name);
	r->lifted = true;
	return 0;
}

static int remove_entries(struct removal *r, int fd, const char *name, unsigned depth,
			  struct err *e)
{
	OWN(fd) int own = fd;
	DIR *dir = fdopendir(own);
	struct dirent *ent;
	int rc = 0;

	if (!dir)
		return err_sys(e, "read directory '%s'", name);
	fd_take(&own);
	if (depth == 0)
		r->top = fd;
	while (rc == 0 && (errno = 0, ent = readdir(dir))) {
		if (strcmp(ent->d_name, ".") == 0 || strcmp(ent->d_name, "..") == 0)
			continue;
		rc = remove_at(r, dirfd(dir), ent->d_name, depth + 1, e);
	}
	(void)closedir(dir);
	return rc < 0 && depth < WRAPS_MAX ? err_wrap(e, "%s", name) : rc;
}

/* A directory, by passes: each removes what it reaches, and the last the directory itself. */
static int remove_dir(struct removal *r, int dirfd, const char *name, unsigned depth,
		      struct err *e)
{
	for (int pass = 0; pass < PASSES_MAX; pass++) {
		int fd;

		/* NO_XDEV makes a mount point inside the tree an error instead of its end */
		fd = sys_openat2(dirfd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC,
				 0, RESOLVE_NO_XDEV | RESOLVE_NO_SYMLINKS);
		if (fd < 0)
			return err_set(e, errno == EXDEV ? ERR_STATE : ERR_SYS, errno,
				       "remove '%s'", name);
		if (remove_entries(r, fd, name, depth, e) < 0)
			return -1;
		if (unlinkat(dirfd, name, AT_REMOVEDIR) == 0 || errno == ENOENT)
			return 0;
		if (errno != ENOTEMPTY || depth > 0 || !r->lifted)
			return err_set(e, errno == EBUSY ? ERR_STATE : ERR_SYS, errno,
				       "rmdir '%s'", name);
		r->lifted = false;
	}
	return err_set(e, ERR_STATE, ENOTEMPTY, "rmdir '%s'", name);
}

static int remove_at(struct removal *r, int dirfd, const char *name, unsigned depth,
		     struct err *e)
{
	if (unlinkat(dirfd, name, 0) == 0 || errno == ENOENT)
		return 0;
	if (errno == EBUSY) /* a file that is a mount point */
		return err_set(e, ERR_STATE, EBUSY, "remove '%s'", name);
	if (errno != EISDIR && errno != EPERM)
		return err_sys(e, "remove '%s'", name);
	if (depth > LEVELS_MAX)
		return lift(r, dirfd, name, e);
	return remove_dir(r, dirfd, name, depth, e);
}

int path_remove_tree(int dirfd, const char *path, struct err *e)
{
	struct removal r = { .top = -1 };
	OWN(fd) int parent = -1;
	OWN(free) char *copy = strdup(path);
	char *slash;

	if (!copy)
		return err_oom(e, "a path");
	for (size_t n = strlen(copy); n > 1 && copy[n - 1] == '/'; n--)
		copy[n - 1] = '\0';
	slash = strrchr(copy, '/');
	if (!path_is_component(slash ? slash + 1 : copy))
		return err_set(e, ERR_INVALID, 0, "'%s' does not end in a name to remove",
			       path);
	if (!slash)
		return remove_at(&r, dirfd, copy, 0, e);
	*slash = '\0';
	/* the parent may be a mount point itself: only what lies below the tree counts */
	parent = openat(dirfd, slash == copy ? "/" : copy, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (parent < 0)
		return errno == ENOENT ? 0 : err_sys(e, "open '%s'", copy);
	return remove_at(&r, parent, slash + 1, 0, e);
}

const char *path_of_fd(int fd, char out[PATH_FD_LEN])
{
	(void)snprintf(out, PATH_FD_LEN, "/proc/self/fd/%d", fd);
	return out;
}

bool path_is_component(const char *s)
{
	size_t n = strlen(s);

	return n > 0 && n <= NAME_MAX && !strchr(s, '/') && strcmp(s, ".") != 0 &&
	       strcmp(s, "..") != 0;
}

int path_check_id(const char *id, size_t max, const char *what, struct err *e)
{
	size_t n = strlen(id);
	bool ok = n > 0 && n <= max && isalnum((unsigned char)id[0]);

	for (size_t i = 0; ok && i < n; i++)
		ok = isalnum((unsigned char)id[i]) || strchr("_.-", id[i]);
	if (!ok)
		return err_set(
			e, ERR_INVALID, 0,
			"%s '%.80s': must be 1 to %zu of [A-Za-z0-9_.-] and begin with a "
			"letter or digit",
			what, id, max);
	return 0;
}

void path_clean(char *path)
{
	char *out = path, *p = path;

	BUG_ON(path[0] != '/'); /* the result would not fit */
	while (*p) {
		size_t n;

		while (*p == '/')
			p++;
		n = strcspn(p, "/");
		if (n == 0)
			break;
		if (n == 2 && p[0] == '.' && p[1] == '.') {
			while (out > path && *--out != '/')
				;
		} else if (!(n == 1 && p[0] == '.')) {
			*out++ = '/';
			memmove(out, p, n);
			out += n;
		}
		p += n;
	}
	if (out == path)
		*out++ = '/';
	*out = '\0';
}
