/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Run-time directories. All changes to the set of directories happen under a lock on the
 * base directory, so that a sweep never meets one half made.
 */
#include "sandbox/rundir.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/fd.h"
#include "base/log.h"
#include "base/own.h"
#include "base/path.h"
#include "base/str.h"
#include "base/sys.h"
#include "base/time.h"
#include "net/link_record.h"
#include "sandbox/cgroup_remains.h"
#include "sandbox/direct_volume.h"
#include "share/share.h"
#include "wire/unix_socket.h"

enum {
	ID_MAX = 128,
	NAME_MAX_ = 255,
	NAMES = 2, /* what a sandbox's directory may be called: see candidate() */
	OWNER_MAX = 16 * 1024,
	FREE_POLL_MS = 10,
	CGROUP_MS = 2000,
	BACKLOG = 64,
	LOCK_MS = 60 * 1000
};

/* In the base directory, see cgroup_remains.h. No sandbox has such a name. */
#define BUSY_CGROUPS ".cgroups"
/* One that is being made or removed. Under any other name one has its lock, the mark by which a
 * sweep knows it: others have directories beside ours (upstream's runtime does). */
#define HALF ".half-"

/* Moves the whole value: what is left behind closes nothing. */
static void hand_over(struct rundir *from, struct rundir *to)
{
	*to = *from;
	*from = (struct rundir)RUNDIR_INIT;
}

/* The base directory, locked against other starts and sweeps. */
struct base {
	int fd, lock;
};

#define BASE_INIT                                                                              \
	{                                                                                      \
		.fd = -1, .lock = -1                                                           \
	}

static void own_base(struct base *b)
{
	fd_close(&b->fd);
	fd_close(&b->lock);
}

/* Nobody but root can hold the lock: it is a file that others cannot open. */
static int lock_base(const char *base, struct base *out, struct err *e)
{
	int64_t deadline = deadline_in(LOCK_MS);
	OWN(base) struct base b = BASE_INIT;

	if (path_mkdirs(base, 0755, e) < 0)
		return -1;
	b.fd = open(base, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (b.fd < 0)
		return err_sys(e, "open '%s'", base);
	b.lock = openat(b.fd, ".lock", O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (b.lock < 0)
		return err_sys(e, "open '%s/.lock'", base);
	while (flock(b.lock, LOCK_EX | LOCK_NB) < 0) {
		if (errno != EWOULDBLOCK && errno != EINTR)
			return err_sys(e, "lock '%s/.lock'", base);
		if (deadline_left(deadline) == 0)
			return err_set(e, ERR_TIMEOUT, 0,
				       "another start or delete holds '%s/.lock' for %d s: see "
				       "who has it open",
				       base, LOCK_MS / 1000);
		(void)poll(NULL, 0, FREE_POLL_MS);
	}
	*out = b;
	b = (struct base)BASE_INIT;
	return 0;
}

/* ---- names ---- */

static uint32_t hash_owner(const struct rundir_owner *o)
{
	const char *parts[] = { o->namespace, o->address };
	uint32_t h = 2166136261U; /* FNV-1a: tells apart, protects from nobody */

	for (size_t i = 0; i < ARRAY_LEN(parts); i++) {
		const char *p = parts[i];

		do {
			h = (h ^ (unsigned char)*p) * 16777619U;
		} while (*p++); /* the NUL too: it parts the two */
	}
	return h;
}

/* '@' is in no id, so the second name is never another sandbox's first one. */
static int candidate(const char *id, const struct rundir_owner *o, int i, char **out,
		     struct err *e)
{
	*out = i == 0 ? strdup(id) : str_printf("%s@%08x", id, hash_owner(o));
	return *out ? 0 : err_oom(e, "a name");
}

static int print_owner(const struct rundir_owner *o, char **out, struct err *e)
{
	if (strchr(o->address, '\n') || strchr(o->bundle, '\n'))
		return err_set(e, ERR_INVALID, 0, "a newline in the address or the bundle");
	*out = str_printf("%s\n%s\n%s\n", o->namespace, o->address, o->bundle);
	return *out ? 0 : err_oom(e, "a name");
}

/* Whether the directory belongs to the owner, with whatever bundle. */
static bool is_owner(int base_fd, const char *name, const struct rundir_owner *o)
{
	OWN(free) char *path = str_printf("%s/owner", name);
	OWN(free) char *want = str_printf("%s\n%s\n", o->namespace, o->address);
	OWN(free) char *have = NULL;
	struct err ignored;

	return path && want &&
	       file_read(base_fd, path, OWNER_MAX, &have, NULL, &ignored) == 0 &&
	       str_starts(have, want);
}

static int open_base(const char *base, int *out, struct err *e)
{
	int fd = open(base, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (fd < 0)
		return err_sys(e, "open '%s'", base);
	*out = fd;
	return 0;
}

int rundir_find(const char *base, const char *id, const struct rundir_owner *owner, char **out,
		struct err *e)
{
	OWN(fd) int base_fd = -1;
	struct err ignored;

	if (path_check_id(id, ID_MAX, "sandbox id", e) < 0)
		return -1;
	for (int i = 0; i < NAMES; i++) {
		OWN(free) char *name = NULL;

		if (candidate(id, owner, i, &name, e) < 0)
			return -1;
		if (base_fd < 0 && open_base(base, &base_fd, &ignored) < 0)
			break;
		if (is_owner(base_fd, name, owner)) {
			*out = TAKE(name);
			return 0;
		}
	}
	return err_set(e, ERR_NOT_FOUND, 0, "sandbox '%s' does not run", id);
}

int rundir_socket_path(const char *base, const char *name, char **out, struct err *e)
{
	OWN(free) char *path = NULL;

	if (!path_is_component(name))
		return err_set(e, ERR_INVALID, 0, "sandbox id '%.80s' cannot name a directory",
			       name);
	path = str_printf("%s/%s/shim.sock", base, name);
	if (!path)
		return err_oom(e, "a path");
	if (strlen(path) >= sizeof(((struct sockaddr_un *)NULL)->sun_path))
		return err_set(
			e, ERR_INVALID, 0,
			"sandbox id '%s': too long, the socket '%s' would exceed %zu bytes",
			name, path, sizeof(((struct sockaddr_un *)NULL)->sun_path) - 1);
	*out = TAKE(path);
	return 0;
}

static int open_lock(int dirfd, int *out, struct err *e)
{
	OWN(fd) int fd = openat(dirfd, "lock", O_RDWR | O_CLOEXEC | O_NOFOLLOW);

	if (fd < 0)
		return err_sys(e, "open its lock");
	if (flock(fd, LOCK_EX | LOCK_NB) < 0)
		return errno == EWOULDBLOCK ? err_set(e, ERR_EXISTS, 0, "an engine lives there")
					    : err_sys(e, "take its lock");
	*out = fd_take(&fd);
	return 0;
}

/* A killed removal leaves nothing that looks like somebody else's. */
static int remove_dir(int base_fd, const char *name, struct err *e)
{
	OWN(free) char *half = str_printf(HALF "%s", name);

	if (!half)
		return err_oom(e, "a name");
	if (renameat(base_fd, name, base_fd, half) < 0)
		return errno == ENOENT ? 0 : err_sys(e, "rename '%s'", name);
	return path_remove_tree(base_fd, half, e);
}

static int make_dir(int base_fd, const char *name, struct err *e)
{
	OWN(free) char *half = str_printf(HALF "%s", name);
	OWN(free) char *lock = str_printf(HALF "%s/lock", name);
	OWN(fd) int fd = -1;

	if (!half || !lock)
		return err_oom(e, "a name");
	if (path_remove_tree(base_fd, half, e) < 0)
		return -1;
	if (mkdirat(base_fd, half, 0700) < 0)
		return err_sys(e, "make '%s'", half);
	fd = openat(base_fd, lock, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (fd < 0 || renameat(base_fd, half, base_fd, name) < 0) {
		struct err ignored;

		(void)err_sys(e, "make '%s'", name);
		(void)path_remove_tree(base_fd, half, &ignored);
		return -1;
	}
	return 0;
}

/* Removes one directory if its engine is dead; 1 if it did. */
static int sweep_one(int base_fd, const char *id, int64_t deadline)
{
	OWN(buf) struct buf busy = BUF_INIT;
	OWN(fd) int dir = openat(base_fd, id, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	OWN(fd) int lock = -1;
	struct err e;

	if (dir < 0 || open_lock(dir, &lock, &e) < 0)
		return 0;
	cgroup_remains_remove(dir, RUNDIR_CGROUPS, deadline, &busy);
	/* before the record goes: a sweep may be killed, too */
	if (buf_len(&busy))
		cgroup_remains_keep(base_fd, BUSY_CGROUPS, &busy);
	link_record_undo(dir, RUNDIR_LINKS);
	direct_volume_sweep(dir, RUNDIR_MARKS);
	if (share_sweep(NULL, id, &e) < 0)
		log_warn(NULL, "shared directory of sandbox '%s': %s", id, e.msg);
	if (remove_dir(base_fd, id, &e) < 0) {
		log_warn(NULL, "remains of sandbox '%s' cannot be removed: %s", id, e.msg);
		return 0;
	}
	log_info(NULL, "removed what sandbox '%s' left when its engine was killed", id);
	return 1;
}

static int sweep_locked(int base_fd)
{
	int64_t deadline = deadline_in(CGROUP_MS); /* what ran in them may be dying */
	OWN(fd) int fd = dup(base_fd);
	struct dirent *ent;
	int swept = 0;
	DIR *dir;

	cgroup_remains_keep(base_fd, BUSY_CGROUPS, NULL);
	dir = fd < 0 ? NULL : fdopendir(fd);
	if (!dir)
		return 0;
	fd_take(&fd);
	rewinddir(dir);
	while ((ent = readdir(dir))) {
		struct err ignored;

		if (str_starts(ent->d_name, HALF))
			(void)path_remove_tree(base_fd, ent->d_name, &ignored);
		else if (ent->d_name[0] != '.' &&
			 (ent->d_type == DT_DIR || ent->d_type == DT_UNKNOWN))
			swept += sweep_one(base_fd, ent->d_name, deadline);
	}
	(void)closedir(dir);
	return swept;
}

int rundir_sweep(const char *base)
{
	OWN(base) struct base b = BASE_INIT;
	struct err e;

	if (lock_base(base, &b, &e) < 0) {
		log_warn(NULL, "cannot look for remains: %s", e.msg);
		return 0;
	}
	return sweep_locked(b.fd);
}

static int fill(int base_fd, const struct rundir_owner *owner, struct rundir *r, struct err *e)
{
	OWN(fd)
	int dir = openat(base_fd, r->name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	OWN(free) char *text = NULL;

	if (print_owner(owner, &text, e) < 0)
		return -1;
	if (dir < 0)
		return err_sys(e, "open '%s'", r->path);
	if (open_lock(dir, &r->lock_fd, e) < 0)
		return -1;
	if (file_replace(dir, "owner", text, strlen(text), 0600, false, e) < 0)
		return -1;
	return unix_listen(r->socket_path, BACKLOG, &r->listen_fd, e);
}

static int set_paths(const char *base, struct rundir *r, struct err *e)
{
	if (rundir_socket_path(base, r->name, &r->socket_path, e) < 0)
		return -1;
	r->path = str_printf("%s/%s", base, r->name);
	return r->path ? 0 : err_oom(e, "a path");
}

/* The first name that is free, unless one of them is the owner's already. */
static int choose_name(int base_fd, const char *id, const struct rundir_owner *owner,
		       char **out, struct err *e)
{
	OWN(free) char *chosen = NULL;

	for (int i = 0; i < NAMES; i++) {
		OWN(free) char *name = NULL;

		if (candidate(id, owner, i, &name, e) < 0)
			return -1;
		if (is_owner(base_fd, name, owner)) {
			free(TAKE(chosen));
			break;
		}
		if (!chosen && faccessat(base_fd, name, F_OK, AT_SYMLINK_NOFOLLOW) < 0)
			chosen = TAKE(name);
	}
	if (!chosen)
		return err_set(e, ERR_EXISTS, 0, "sandbox '%s' exists: an engine serves it",
			       id);
	*out = TAKE(chosen);
	return 0;
}

int rundir_create(const char *base, const char *id, const struct rundir_owner *owner,
		  struct rundir *out, struct err *e)
{
	OWN(rundir) struct rundir r = RUNDIR_INIT;
	OWN(base) struct base b = BASE_INIT;

	if (path_check_id(id, ID_MAX, "sandbox id", e) < 0 || lock_base(base, &b, e) < 0)
		return -1;
	(void)sweep_locked(b.fd);
	if (choose_name(b.fd, id, owner, &r.name, e) < 0 || set_paths(base, &r, e) < 0)
		return -1;
	if (make_dir(b.fd, r.name, e) < 0)
		return err_wrap(e, "sandbox '%s'", id);
	if (fill(b.fd, owner, &r, e) < 0) {
		struct err ignored;

		(void)remove_dir(b.fd, r.name, &ignored);
		return err_wrap(e, "sandbox '%s'", id);
	}
	hand_over(&r, out);
	return 0;
}

int rundir_adopt(const char *base, const char *name, int lock_fd, int listen_fd,
		 struct rundir *out, struct err *e)
{
	OWN(rundir) struct rundir r = RUNDIR_INIT;
	char pid[16];
	int n = snprintf(pid, sizeof(pid), "%d\n", (int)getpid());

	r.name = strdup(name);
	if (!r.name)
		return err_oom(e, "a name");
	if (set_paths(base, &r, e) < 0)
		return -1;
	if (pwrite(lock_fd, pid, (size_t)n, 0) != n)
		return err_sys(e, "write the lock of '%s'", name);
	r.lock_fd = lock_fd;
	r.listen_fd = listen_fd;
	hand_over(&r, out);
	return 0;
}

void rundir_close(struct rundir *r)
{
	free(r->name);
	free(r->path);
	free(r->socket_path);
	fd_close(&r->lock_fd);
	fd_close(&r->listen_fd);
	r->name = r->path = r->socket_path = NULL;
}

/* ---- killing ---- */

/* The engine has ended; perhaps somebody else has removed its directory already. */
static bool lock_is_free(int dirfd)
{
	OWN(fd) int lock = -1;
	struct err e = ERR_INIT;

	return open_lock(dirfd, &lock, &e) == 0 || e.sys == ENOENT;
}

/* Its process is the lock's holder as long as the lock is held: the number is not reused. */
static int kill_holder(int dirfd, struct err *e)
{
	OWN(fd) int pidfd = -1;
	char text[16];
	int64_t pid;

	if (file_read_line(dirfd, "lock", text, sizeof(text), e) < 0 ||
	    str_to_i64(text, 2, INT32_MAX, "process id in the lock", &pid, e) < 0)
		return -1;
	pidfd = sys_pidfd_open((pid_t)pid);
	if (pidfd < 0)
		return errno == ESRCH ? 0 : err_sys(e, "open process %d", (int)pid);
	if (lock_is_free(dirfd))
		return 0;
	if (sys_pidfd_send_signal(pidfd, SIGKILL) < 0 && errno != ESRCH)
		return err_sys(e, "kill process %d", (int)pid);
	return 0;
}

int rundir_kill(const char *base, const char *name, const char *bundle, int64_t timeout_ms,
		struct err *e)
{
	int64_t deadline = deadline_in(timeout_ms);
	OWN(free) char *path = str_printf("%s/%s", base, name);
	OWN(free) char *owner = NULL;
	OWN(fd) int dir = -1;
	char *line;

	if (!path)
		return err_oom(e, "a path");
	dir = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (dir < 0)
		return errno == ENOENT ? 0 : err_sys(e, "open '%s'", path);
	if (lock_is_free(dir))
		return 0;
	if (file_read(dir, "owner", OWNER_MAX, &owner, NULL, e) < 0)
		return -1;
	line = strchr(owner, '\n');
	line = line ? strchr(line + 1, '\n') : NULL;
	if (!line || strncmp(line + 1, bundle, strlen(bundle)) != 0 ||
	    line[1 + strlen(bundle)] != '\n')
		return 0;
	if (kill_holder(dir, e) < 0)
		return -1;
	while (!lock_is_free(dir)) {
		if (deadline_left(deadline) == 0)
			return err_set(e, ERR_TIMEOUT, 0, "the engine in '%s' does not end",
				       path);
		(void)poll(NULL, 0, FREE_POLL_MS);
	}
	return 0;
}

/*
 * What the sandbox's end has left beside its directory. Cgroups that are still in use are left
 * to later sweeps.
 */
static void clear_lists(const char *path, int base_fd)
{
	OWN(fd) int dir = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	OWN(buf) struct buf busy = BUF_INIT;

	if (dir < 0)
		return;
	cgroup_remains_remove(dir, RUNDIR_CGROUPS, deadline_in(0), &busy);
	direct_volume_sweep(dir, RUNDIR_MARKS);
	if (buf_len(&busy))
		cgroup_remains_keep(base_fd, BUSY_CGROUPS, &busy);
}

/* Under the lock: a sweep that met it half removed would take it for a killed engine's. */
static int remove_locked(struct rundir *r, struct err *e)
{
	OWN(free) char *base = strndup(r->path, (size_t)(strrchr(r->path, '/') - r->path));
	OWN(base) struct base b = BASE_INIT;

	if (!base)
		return err_oom(e, "a path");
	if (lock_base(base, &b, e) < 0)
		return -1;
	clear_lists(r->path, b.fd);
	return remove_dir(b.fd, r->name, e);
}

void rundir_remove(struct rundir *r)
{
	struct err e;

	/* what stays, the next sweep removes: the lock goes with this process */
	if (r->path && remove_locked(r, &e) < 0)
		log_warn(NULL, "cannot remove '%s': %s", r->path, e.msg);
}
