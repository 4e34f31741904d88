/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Run-time directories. All changes to the set of directories happen under a lock on the
 * base directory, so that a sweep never meets one half made.
 */
#include "sandbox/rundir.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/err.h"
#include "base/fd.h"
#include "base/log.h"
#include "base/own.h"
#include "base/path.h"
#include "base/str.h"
#include "share/share.h"

enum {
	ID_MAX = 128,
	CGROUPS_MAX = 64 * 1024
};

/* Moves the whole value: what is left behind closes nothing. */
static void hand_over(struct rundir *from, struct rundir *to)
{
	*to = *from;
	*from = (struct rundir)RUNDIR_INIT;
}

/* Opens the base directory, locked against other starts and sweeps until closed. */
static int lock_base(const char *base, int *out, struct err *e)
{
	OWN(fd) int fd = -1;

	if (path_mkdirs(base, 0755, e) < 0)
		return -1;
	fd = open(base, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return err_sys(e, "open '%s'", base);
	while (flock(fd, LOCK_EX) < 0) {
		if (errno != EINTR)
			return err_sys(e, "lock '%s'", base);
	}
	*out = fd_take(&fd);
	return 0;
}

int rundir_socket_path(const char *base, const char *id, char **out, struct err *e)
{
	OWN(free) char *path = NULL;

	if (path_check_id(id, ID_MAX, "sandbox id", e) < 0)
		return -1;
	path = str_printf("%s/%s/shim.sock", base, id);
	if (!path)
		return err_oom(e, "a path");
	if (strlen(path) >= sizeof(((struct sockaddr_un *)NULL)->sun_path))
		return err_set(
			e, ERR_INVALID, 0,
			"sandbox id '%s': too long, the socket '%s' would exceed %zu bytes", id,
			path, sizeof(((struct sockaddr_un *)NULL)->sun_path) - 1);
	*out = TAKE(path);
	return 0;
}

static int bind_socket(const char *path, int *out, struct err *e)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	OWN(fd) int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd < 0)
		return err_sys(e, "socket");
	memcpy(addr.sun_path, path, strlen(path));
	if (bind(fd, (struct sockaddr *)&addr, sizeof(addr)) < 0)
		return err_sys(e, "bind '%s'", path);
	if (chmod(path, 0600) < 0)
		return err_sys(e, "chmod '%s'", path);
	if (listen(fd, 64) < 0)
		return err_sys(e, "listen on '%s'", path);
	*out = fd_take(&fd);
	return 0;
}

static int open_lock(int dirfd, int *out, struct err *e)
{
	OWN(fd) int fd = openat(dirfd, "lock", O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);

	if (fd < 0)
		return err_sys(e, "open its lock");
	if (flock(fd, LOCK_EX | LOCK_NB) < 0)
		return errno == EWOULDBLOCK ? err_set(e, ERR_EXISTS, 0, "an engine lives there")
					    : err_sys(e, "take its lock");
	*out = fd_take(&fd);
	return 0;
}

/* Removes the empty cgroups a dead engine listed; deepest first is the order of the file. */
static void remove_cgroups(int dirfd)
{
	OWN(free) char *list = NULL;
	char *line, *rest;
	struct err e;

	if (file_read(dirfd, "cgroups", CGROUPS_MAX, &list, NULL, &e) < 0)
		return;
	for (line = strtok_r(list, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest)) {
		if (str_starts(line, "/sys/fs/cgroup/") && !strstr(line, "..") &&
		    rmdir(line) < 0 && errno != ENOENT)
			log_warn(NULL,
				 "cgroup '%s' of an engine that died cannot be removed: %s",
				 line, strerror(errno));
	}
}

/* Removes one directory if its engine is dead; 1 if it did. */
static int sweep_one(int base_fd, const char *id)
{
	OWN(fd) int dir = openat(base_fd, id, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	OWN(fd) int lock = -1;
	struct err e;

	if (dir < 0 || open_lock(dir, &lock, &e) < 0)
		return 0;
	remove_cgroups(dir);
	if (share_sweep(NULL, id, &e) < 0)
		log_warn(NULL, "shared directory of sandbox '%s': %s", id, e.msg);
	if (path_remove_tree(base_fd, id, &e) < 0) {
		log_warn(NULL, "remains of sandbox '%s' cannot be removed: %s", id, e.msg);
		return 0;
	}
	log_info(NULL, "removed what sandbox '%s' left when its engine was killed", id);
	return 1;
}

static int sweep_locked(int base_fd)
{
	OWN(fd) int fd = dup(base_fd);
	struct dirent *ent;
	int swept = 0;
	DIR *dir;

	dir = fd < 0 ? NULL : fdopendir(fd);
	if (!dir)
		return 0;
	fd_take(&fd);
	rewinddir(dir);
	while ((ent = readdir(dir))) {
		if (ent->d_name[0] != '.' &&
		    (ent->d_type == DT_DIR || ent->d_type == DT_UNKNOWN))
			swept += sweep_one(base_fd, ent->d_name);
	}
	(void)closedir(dir);
	return swept;
}

int rundir_sweep(const char *base)
{
	OWN(fd) int base_fd = -1;
	struct err e;

	if (lock_base(base, &base_fd, &e) < 0) {
		log_warn(NULL, "cannot look for remains: %s", e.msg);
		return 0;
	}
	return sweep_locked(base_fd);
}

static int fill(int base_fd, const char *id, const char *owner, struct rundir *r, struct err *e)
{
	OWN(fd) int dir = openat(base_fd, id, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);

	if (dir < 0)
		return err_sys(e, "open '%s'", r->path);
	if (open_lock(dir, &r->lock_fd, e) < 0)
		return -1;
	if (file_replace(dir, "owner", owner, strlen(owner), 0600, false, e) < 0)
		return -1;
	return bind_socket(r->socket_path, &r->listen_fd, e);
}

int rundir_create(const char *base, const char *id, const char *owner, struct rundir *out,
		  struct err *e)
{
	OWN(rundir) struct rundir r = RUNDIR_INIT;
	OWN(fd) int base_fd = -1;

	if (rundir_socket_path(base, id, &r.socket_path, e) < 0)
		return -1;
	r.path = str_printf("%s/%s", base, id);
	if (!r.path)
		return err_oom(e, "a path");
	if (lock_base(base, &base_fd, e) < 0)
		return -1;
	(void)sweep_locked(base_fd);
	if (mkdirat(base_fd, id, 0700) < 0)
		return errno == EEXIST ? err_set(e, ERR_EXISTS, 0,
						 "sandbox '%s' exists: an engine serves it", id)
				       : err_sys(e, "mkdir '%s'", r.path);
	if (fill(base_fd, id, owner, &r, e) < 0) {
		struct err ignored;

		(void)path_remove_tree(base_fd, id, &ignored);
		return err_wrap(e, "sandbox '%s'", id);
	}
	hand_over(&r, out);
	return 0;
}

int rundir_adopt(const char *base, const char *id, int lock_fd, int listen_fd,
		 struct rundir *out, struct err *e)
{
	OWN(rundir) struct rundir r = RUNDIR_INIT;

	if (rundir_socket_path(base, id, &r.socket_path, e) < 0)
		return -1;
	r.path = str_printf("%s/%s", base, id);
	if (!r.path)
		return err_oom(e, "a path");
	r.lock_fd = lock_fd;
	r.listen_fd = listen_fd;
	hand_over(&r, out);
	return 0;
}

void rundir_close(struct rundir *r)
{
	free(r->path);
	free(r->socket_path);
	fd_close(&r->lock_fd);
	fd_close(&r->listen_fd);
	r->path = r->socket_path = NULL;
}

void rundir_remove(struct rundir *r)
{
	struct err e;

	if (r->path && path_remove_tree(AT_FDCWD, r->path, &e) < 0)
		log_warn(NULL, "cannot remove '%s': %s", r->path, e.msg);
}
