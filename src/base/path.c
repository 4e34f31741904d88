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

enum {
	LINKS_MAX = 40 /* in one walk, as path_resolution(7) has it */
};

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

/* A walk that makes what is missing; `path` changes where a link is put in. */
struct making {
	int root;
	mode_t mode; /* of directories */
	char path[PATH_MAX];
	unsigned links;
};

static int making_begin(struct making *m, int root, const char *path, mode_t mode,
			struct err *e)
{
	size_t n = strlen(path);

	if (n >= sizeof(m->path))
		return err_set(e, ERR_INVALID, ENAMETOOLONG, "path of %zu bytes", n);
	m->root = root;
	m->mode = mode;
	m->links = 0;
	memcpy(m->path, path, n + 1);
	return 0;
}

/*
 * Puts what a link says in the place of the component name[0..len) of m->path, which lies in
 * the directory `at`: the walk then begins anew and makes what the link leads to. 1 if that
 * was done, 0 if there is no link.
 */
static int put_link_in(struct making *m, int at, char *name, size_t len, struct err *e)
{
	char target[PATH_MAX], component[NAME_MAX + 1];
	size_t before = (size_t)(name - m->path), after = strlen(name + len);
	ssize_t n;

	(void)snprintf(component, sizeof(component), "%.*s", (int)len, name);
	n = readlinkat(at, component, target, sizeof(target));
	if (n < 0)
		return errno == EINVAL || errno == ENOENT
			       ? 0
			       : err_sys(e, "read link '%s'", component);
	if (++m->links > LINKS_MAX)
		return err_set(e, ERR_SYS, ELOOP, "'%s': more than %d links", m->path,
			       LINKS_MAX);
	if (n && target[0] == '/')
		before = 0;
	if (before + (size_t)n + after >= sizeof(m->path))
		return err_set(e, ERR_INVALID, ENAMETOOLONG, "link '%s'", component);
	memmove(m->path + before + n, name + len, after + 1);
	memcpy(m->path + before, target, (size_t)n);
	return 1;
}

/*
 * Makes the directory name[0..len) of m->path, or finds it, and moves *at to it. 1: a link that
 * led nowhere was put in. Looks from the root again: the name may be a link, which must resolve
 * inside the root.
 */
static int step_into(struct making *m, int *at, char *name, size_t len, struct err *e)
{
	char rest = name[len], component[NAME_MAX + 1];
	int next = -1, failed = 0, rc;

	if (len > NAME_MAX)
		return err_set(e, ERR_INVALID, ENAMETOOLONG, "component of '%.64s'", m->path);
	(void)snprintf(component, sizeof(component), "%.*s", (int)len, name);
	name[len] = '\0';
	if (strcmp(component, "..") != 0 && mkdirat(*at, component, m->mode) < 0 &&
	    errno != EEXIST)
		failed = err_sys(e, "mkdir '%s'", m->path);
	if (!failed)
		failed = path_open_beneath(m->root, m->path, O_PATH | O_DIRECTORY, 0, &next, e);
	name[len] = rest;
	if (!failed) {
		fd_close(at);
		*at = next;
		return 0;
	}
	if (e->kind != ERR_NOT_FOUND)
		return -1;
	rc = put_link_in(m, *at, name, len, e);
	return rc == 0 ? -1 : rc;
}

/* Walks to m->path[0..end), making what is missing. 1: a link was put in, walk again. */
static int walk_once(struct making *m, size_t end, int *out, struct err *e)
{
	OWN(fd) int at = -1;
	char *p = m->path;

	if (path_open_beneath(m->root, ".", O_PATH | O_DIRECTORY, 0, &at, e) < 0)
		return -1;
	for (;;) {
		size_t n;
		int rc;

		while (p < m->path + end && *p == '/')
			p++;
		if (p >= m->path + end)
			break;
		n = strcspn(p, "/");
		rc = n == 1 && *p == '.' ? 0 : step_into(m, &at, p, n, e);
		if (rc)
			return rc;
		p += n;
	}
	*out = fd_take(&at);
	return 0;
}

int path_mkdirs_beneath(int rootfd, const char *path, mode_t mode, int *out, struct err *e)
{
	OWN(fd) int fd = -1;
	struct making m;
	int rc;

	if (making_begin(&m, rootfd, path, mode, e) < 0)
		return -1;
	do
		rc = walk_once(&m, strlen(m.path), &fd, e);
	while (rc > 0);
	if (rc == 0 && out)
		*out = fd_take(&fd);
	return rc;
}

/* The file at m->path, as path_mkfile_beneath(). 1: a link was put in, try again. */
static int make_file(struct making *m, mode_t mode, int *out, struct err *e)
{
	char *slash = strrchr(m->path, '/'), *name = slash ? slash + 1 : m->path;
	OWN(fd) int dir = -1;
	int rc;

	if (!path_is_component(name))
		return err_set(e, ERR_INVALID, 0, "'%s' does not end in a file's name",
			       m->path);
	rc = walk_once(m, (size_t)(name - m->path), &dir, e);
	if (rc)
		return rc;
	/* an existing file is opened as it is, whatever its type: O_PATH needs no permission */
	if (path_open_beneath(m->root, m->path, O_PATH, 0, out, e) == 0)
		return 0;
	if (e->kind != ERR_NOT_FOUND)
		return -1;
	rc = put_link_in(m, dir, name, strlen(name), e);
	if (rc)
		return rc;
	/* O_NONBLOCK: whoever fills the root may put a fifo there in between */
	return path_open_beneath(m->root, m->path, O_WRONLY | O_CREAT | O_NOCTTY | O_NONBLOCK,
				 mode, out, e);
}

int path_mkfile_beneath(int rootfd, const char *path, mode_t mode, int *out, struct err *e)
{
	OWN(fd) int fd = -1;
	struct making m;
	int rc;

	if (making_begin(&m, rootfd, path, 0755, e) < 0)
		return -1;
	do
		rc = make_file(&m, mode, &fd, e);
	while (rc > 0);
	if (rc == 0 && out)
		*out = fd_take(&fd);
	return rc;
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
		if (fd < 0 && errno == ENOENT)
			return 0; /* somebody else is at it, too */
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
