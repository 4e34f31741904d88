/* SPDX-License-Identifier: Apache-2.0 */
/* cgroup v2: directories, membership, freezing and killing. Limits: cgroup_limits.c. */
#include "agent/cgroup.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/err.h"
#include "base/fd.h"
#include "base/own.h"
#include "base/str.h"
#include "base/sys.h"
#include "oci/cgroups_path.h"

enum {
	DEPTH_MAX = 32
};

/* "system.slice:docker:ID" to "system.slice/docker-ID.scope"; others as they are. */
static int from_systemd(const char *s, char *out, size_t size, struct err *e)
{
	struct systemd_cgroup c;
	int n;

	if (!cgroups_path_is_systemd(s))
		n = snprintf(out, size, "%s", s);
	else if (cgroups_path_systemd(s, &c, e) < 0)
		return -1;
	else
		n = snprintf(out, size, "%s/%s", c.slice, c.unit);
	if (n < 0 || (size_t)n >= size)
		return err_set(e, ERR_INVALID, ENAMETOOLONG, "a path of %zu bytes", strlen(s));
	return 0;
}

int cgroup_path(const char *root, const char *cgroups_path, const char *id, char *out,
		size_t size, struct err *e)
{
	char below[512];
	const char *p = below;
	size_t used;
	int n;

	if (from_systemd(*cgroups_path ? cgroups_path : id, below, sizeof(below), e) < 0)
		return -1;
	n = snprintf(out, size, "%s/kata", root);
	if (n < 0 || (size_t)n >= size)
		return err_set(e, ERR_INVALID, ENAMETOOLONG, "the cgroup root");
	used = (size_t)n;
	while (*p) {
		size_t len;

		p += strspn(p, "/");
		len = strcspn(p, "/");
		if (len == 0)
			break;
		if ((len == 2 && p[0] == '.' && p[1] == '.') || len > 255)
			return err_set(e, ERR_INVALID, 0, "'%.100s'", cgroups_path);
		if (!(len == 1 && p[0] == '.')) {
			n = snprintf(out + used, size - used, "/%.*s", (int)len, p);
			if (n < 0 || (size_t)n >= size - used)
				return err_set(e, ERR_INVALID, ENAMETOOLONG, "'%.100s'",
					       cgroups_path);
			used += (size_t)n;
		}
		p += len;
	}
	return 0;
}

/* Every controller a cgroup has is passed on to its children; one that cannot be is skipped. */
static void enable_controllers(const char *path)
{
	OWN(fd) int dir = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
	char list[512], word[80], *save = NULL;
	struct err ignored;

	if (dir < 0 ||
	    file_read_line(dir, "cgroup.controllers", list, sizeof(list), &ignored) < 0)
		return;
	for (char *c = strtok_r(list, " ", &save); c; c = strtok_r(NULL, " ", &save)) {
		(void)snprintf(word, sizeof(word), "+%.64s", c);
		(void)file_write_value(dir, "cgroup.subtree_control", word, &ignored);
	}
}

static int make_parents(const char *root, const char *path, struct err *e)
{
	char sofar[768];
	size_t len = strlen(path), from = strlen(root);

	if (len >= sizeof(sofar))
		return err_set(e, ERR_INVALID, ENAMETOOLONG, "'%.100s'", path);
	for (size_t i = from; i <= len; i++) {
		if (path[i] != '/' && path[i] != '\0')
			continue;
		memcpy(sofar, path, i);
		sofar[i] = '\0';
		if (mkdir(sofar, 0755) < 0 && errno != EEXIST)
			return err_sys(e, "make cgroup '%s'", sofar);
		if (i < len)
			enable_controllers(sofar);
	}
	return 0;
}

bool cgroup_is_populated(const struct cgroup *c)
{
	char text[256];
	struct err ignored;

	return file_read_line(c->fd, "cgroup.events", text, sizeof(text), &ignored) == 0 &&
	       strstr(text, "populated 1");
}

bool cgroup_is_frozen(const struct cgroup *c)
{
	char text[256];
	struct err ignored;

	return file_read_line(c->fd, "cgroup.events", text, sizeof(text), &ignored) == 0 &&
	       strstr(text, "frozen 1");
}

int cgroup_make(const char *root, const char *path, struct cgroup *out, struct err *e)
{
	struct cgroup c = { .fd = -1 };
	OWN(fd) int fd = -1;

	if (snprintf(c.path, sizeof(c.path), "%s", path) >= (int)sizeof(c.path))
		return err_set(e, ERR_INVALID, ENAMETOOLONG, "'%.100s'", path);
	if (make_parents(root, path, e) < 0)
		return -1;
	fd = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return err_sys(e, "open cgroup '%s'", path);
	c.fd = fd;
	if (cgroup_is_populated(&c))
		return err_set(e, ERR_EXISTS, 0, "cgroup '%s' is in use", path);
	fd_take(&fd);
	*out = c;
	return 0;
}

int cgroup_add(const struct cgroup *c, pid_t pid, struct err *e)
{
	char text[16];

	(void)snprintf(text, sizeof(text), "%d", (int)pid);
	if (file_write_value(c->fd, "cgroup.procs", text, e) < 0)
		return err_wrap(e, "enter cgroup '%s'", c->path);
	return 0;
}

/* Where a process is below `c`: what follows its path, NULL if it is in `c` itself or nowhere.
 */
static const char *place_below(const struct cgroup *c, const char *path)
{
	/* `c` may be seen through a mount whose begin is not known here: its end is */
	for (const char *own = c->path; own; own = strchr(own + 1, '/')) {
		size_t len = strlen(own);

		if (strncmp(path, own, len) == 0 && path[len] == '/' && path[len + 1])
			return path + len + 1;
	}
	return NULL;
}

static int open_place_of(const struct cgroup *c, pid_t pid, int *out, struct err *e)
{
	char proc[32], line[1024];
	const char *place;

	(void)snprintf(proc, sizeof(proc), "/proc/%d/cgroup", (int)pid);
	if (file_read_line(AT_FDCWD, proc, line, sizeof(line), e) < 0)
		return -1;
	place = str_starts(line, "0::") ? place_below(c, line + 3) : NULL;
	if (!place)
		return err_set(e, ERR_STATE, EBUSY, "the first process is not below it");
	*out = sys_openat2(c->fd, place, O_PATH | O_DIRECTORY | O_CLOEXEC, 0,
			   RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS);
	return *out < 0 ? err_sys(e, "open the first process's cgroup") : 0;
}

int cgroup_join(const struct cgroup *c, pid_t first, pid_t pid, struct err *e)
{
	OWN(fd) int dir = -1;
	struct err ignored;
	char text[16];

	if (cgroup_add(c, pid, e) == 0)
		return 0;
	if (e->sys != EBUSY || open_place_of(c, first, &dir, &ignored) < 0)
		return -1;
	(void)snprintf(text, sizeof(text), "%d", (int)pid);
	if (file_write_value(dir, "cgroup.procs", text, e) < 0)
		return err_wrap(e, "enter the first process's cgroup below '%s'", c->path);
	return 0;
}

int cgroup_freeze(const struct cgroup *c, bool frozen, struct err *e)
{
	return file_write_value(c->fd, "cgroup.freeze", frozen ? "1" : "0", e);
}

int cgroup_kill(const struct cgroup *c, struct err *e)
{
	return file_write_value(c->fd, "cgroup.kill", "1", e);
}

static int remove_below(int dirfd, const char *name, unsigned depth, struct err *e)
{
	int fd = openat(dirfd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	DIR *dir = fd < 0 ? NULL : fdopendir(fd);
	struct dirent *ent;
	int rc = 0;

	if (!dir) {
		if (fd >= 0)
			(void)close(fd);
		return errno == ENOENT ? 0 : err_sys(e, "open cgroup '%.100s'", name);
	}
	while (rc == 0 && depth < DEPTH_MAX && (ent = readdir(dir))) {
		if (ent->d_type == DT_DIR && ent->d_name[0] != '.')
			rc = remove_below(fd, ent->d_name, depth + 1, e);
	}
	(void)closedir(dir);
	if (rc == 0 && unlinkat(dirfd, name, AT_REMOVEDIR) < 0 && errno != ENOENT)
		return err_sys(e, "remove cgroup '%.100s'", name);
	return rc;
}

int cgroup_remove(struct cgroup *c, struct err *e)
{
	fd_close(&c->fd);
	return remove_below(AT_FDCWD, c->path, 0, e);
}
