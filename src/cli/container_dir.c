/* SPDX-License-Identifier: Apache-2.0 */
/* Containers on disk. */
#include "cli/container_dir.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/fd.h"
#include "base/log.h"
#include "base/own.h"
#include "base/path.h"
#include "base/rand.h"
#include "base/str.h"
#include "cli/engine_client.h"
#include "image/store.h"
#include "task.pb-c.h"
#include "wire/json.h"

enum {
	RECORD_MAX = 16 << 20, /* arguments: 2 MiB at most, six times as much when escaped */
	NAME_MAX_LEN = 128,
	SHORT_ID = 12,
	TRIES_MAX = 10
};

/* Before the id of one that is being made or removed: nobody else sees that. */
#define HALF ".half-"

void container_dir_fini(struct container_dir *d)
{
	free(d->path);
	free(d->names);
	d->path = d->names = NULL;
}

static int fill(const char *root, const char *id, struct container_dir *d, struct err *e)
{
	(void)snprintf(d->id, sizeof(d->id), "%s", id);
	d->path = str_printf("%s/containers/%s", root, id);
	d->names = str_printf("%s/names", root);
	if (d->path && d->names)
		return 0;
	container_dir_fini(d);
	return err_oom(e, "a container");
}

char *container_dir_file(const struct container_dir *d, const char *file)
{
	return str_printf("%s/%s", d->path, file);
}

/* A container is there before its name: a name without one is what a killed removal has left.
 */
static void drop_dead_name(const struct container_dir *d, const char *link)
{
	OWN(free) char *path = NULL;
	char id[CONTAINER_ID_LEN + 2];
	ssize_t n = readlink(link, id, sizeof(id) - 1);

	if (n != CONTAINER_ID_LEN)
		return;
	id[n] = '\0';
	path = str_printf("%s/../containers/%s", d->names, id);
	if (path && access(path, F_OK) < 0 && errno == ENOENT)
		(void)unlink(link);
}

static int take_name(struct container_dir *d, const char *name, struct err *e)
{
	OWN(free) char *link = str_printf("%s/%s", d->names, name);
	OWN(fd) int names = open(d->names, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (!link)
		return err_oom(e, "a name");
	/* only one drops a name, and takes it, at a time: the next must not drop that */
	if (names < 0 || flock(names, LOCK_EX) < 0)
		return err_sys(e, "lock '%s'", d->names);
	drop_dead_name(d, link);
	if (symlink(d->id, link) < 0)
		return errno == EEXIST
			       ? err_set(e, ERR_EXISTS, 0,
					 "a container is named '%s' already; remove it with `kata rm %s`",
					 name, name)
			       : err_sys(e, "name '%s'", name);
	return 0;
}

static bool is_at(int fd, const char *path)
{
	struct stat here, there;

	return fstat(fd, &here) == 0 && lstat(path, &there) == 0 &&
	       here.st_dev == there.st_dev && here.st_ino == there.st_ino;
}

/*
 * The directory, locked: who has it makes or removes the container. 1: somebody else does, or
 * it has another name by now. With `how` LOCK_NB it is not waited for.
 */
static int lock_dir(const char *path, int how, int *out, struct err *e)
{
	OWN(fd) int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (fd < 0)
		return errno == ENOENT ? 1 : err_sys(e, "open '%s'", path);
	if (flock(fd, LOCK_EX | how) < 0)
		return errno == EWOULDBLOCK ? 1 : err_sys(e, "lock '%s'", path);
	if (!is_at(fd, path))
		return 1;
	*out = fd_take(&fd);
	return 0;
}

/* Its file "attached", locked: under the container's id it is never seen otherwise. */
static int attach(const char *half, int *lock_fd, struct err *e)
{
	OWN(free) char *path = str_printf("%s/attached", half);
	OWN(fd) int fd = -1;

	if (!path)
		return err_oom(e, "a path");
	fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (fd < 0 || flock(fd, LOCK_EX | LOCK_NB) < 0)
		return err_sys(e, "lock '%s'", path);
	*lock_fd = fd_take(&fd);
	return 0;
}

static char *half_path(const char *root, const char *id)
{
	return str_printf("%s/containers/" HALF "%s", root, id);
}

/* Makes the directory of a container whole: killed before that it leaves what a sweep removes.
 */
static int make_dir(const char *root, const struct container_dir *d, int *lock_fd,
		    struct err *e)
{
	OWN(free) char *half = half_path(root, d->id);
	OWN(free) char *all = str_printf("%s/containers", root);
	OWN(fd) int dir = -1, lock = -1;
	struct err ignored;
	int rc = 1;

	if (!half || !all)
		return err_oom(e, "a path");
	if (path_mkdirs(all, 0700, e) < 0)
		return -1;
	/* a sweep may take a fresh one for a dead one, before it is locked: its end is waited
	 * for
	 */
	for (int i = 0; rc == 1 && i < TRIES_MAX; i++) {
		if (mkdir(half, 0700) < 0 && errno != EEXIST)
			return err_sys(e, "make '%s'", half);
		rc = lock_dir(half, 0, &dir, e);
	}
	if (rc == 1)
		return err_set(e, ERR_STATE, 0, "make '%s': it is removed all the time", half);
	if (rc < 0)
		return -1;
	if (attach(half, &lock, e) == 0) {
		if (rename(half, d->path) == 0) {
			*lock_fd = fd_take(&lock);
			return 0;
		}
		(void)err_sys(e, "make '%s'", d->path);
	}
	(void)path_remove_tree(AT_FDCWD, half, &ignored);
	return -1;
}

int container_dir_create(const char *root, const char *name, struct container_dir *out,
			 int *lock_fd, struct err *e)
{
	OWN(container_dir) struct container_dir d = { .path = NULL };
	OWN(free) char *short_id = NULL;
	OWN(fd) int lock = -1;
	char id[RAND_HEX_LEN(CONTAINER_ID_LEN / 2)];
	struct err ignored;

	if (rand_hex(id, CONTAINER_ID_LEN / 2, e) < 0 || fill(root, id, &d, e) < 0)
		return -1;
	short_id = mem_dup(id, SHORT_ID);
	if (!short_id)
		return err_oom(e, "a name");
	if ((name && path_check_id(name, NAME_MAX_LEN, "name", e) < 0) ||
	    path_mkdirs(d.names, 0700, e) < 0 || make_dir(root, &d, &lock, e) < 0)
		return -1;
	if (take_name(&d, name ? name : short_id, e) < 0) {
		(void)container_dir_remove(&d, &ignored);
		return -1;
	}
	*out = d;
	*lock_fd = fd_take(&lock);
	d = (struct container_dir){ .path = NULL };
	return 0;
}

/* The id a name stands for; 1 if there is no such name. */
static int resolve_name(const char *root, const char *name, char *id, size_t size,
			struct err *e)
{
	OWN(free) char *link = str_printf("%s/names/%s", root, name);
	ssize_t n;

	if (!link)
		return err_oom(e, "a name");
	n = readlink(link, id, size - 1);
	if (n < 0)
		return 1;
	id[n] = '\0';
	if (n != CONTAINER_ID_LEN || strspn(id, "0123456789abcdef") != CONTAINER_ID_LEN)
		return err_set(e, ERR_INVALID, 0, "'%s' leads to no container's id: remove it",
			       link);
	return 0;
}

struct search {
	const char *prefix;
	char id[CONTAINER_ID_LEN + 1];
	int found;
};

static int match_prefix(struct container_dir *d, void *arg)
{
	struct search *s = arg;

	if (str_starts(d->id, s->prefix)) {
		memcpy(s->id, d->id, sizeof(s->id));
		s->found++;
	}
	return 0;
}

/* Whether `ref` is the whole id of a container: no other's name comes before that. */
static bool is_id(const char *root, const char *ref)
{
	OWN(free) char *path = NULL;

	if (strlen(ref) != CONTAINER_ID_LEN ||
	    strspn(ref, "0123456789abcdef") != CONTAINER_ID_LEN)
		return false;
	path = str_printf("%s/containers/%s", root, ref);
	return path && access(path, F_OK) == 0;
}

int container_dir_find(const char *root, const char *ref, struct container_dir *out,
		       struct err *e)
{
	struct search s = { .prefix = ref };
	char id[CONTAINER_ID_LEN + 1];
	int rc = 1;

	if (store_check(root, e) < 0)
		return -1;
	if (is_id(root, ref))
		return fill(root, ref, out, e);
	if (path_is_component(ref)) {
		rc = resolve_name(root, ref, id, sizeof(id), e);
		if (rc < 0)
			return -1;
	}
	if (rc == 0)
		return fill(root, id, out, e);
	if (*ref && container_dir_each(root, match_prefix, &s, e) < 0)
		return -1;
	if (s.found > 1)
		return err_set(e, ERR_INVALID, 0,
			       "'%.80s' is the beginning of %d containers' ids", ref, s.found);
	if (s.found == 0)
		return err_set(e, ERR_NOT_FOUND, 0, "no container '%.80s', see `kata ps -a`",
			       ref);
	return fill(root, s.id, out, e);
}

struct entry {
	char id[CONTAINER_ID_LEN + 1];
	int64_t made;
};

static int newest_first(const void *a, const void *b)
{
	const struct entry *x = a, *y = b;

	return (y->made > x->made) - (y->made < x->made);
}

/* When a directory was made; 0 if the file system does not say. */
static int64_t birth_time(int dirfd, const char *name)
{
	struct statx st;

	if (statx(dirfd, name, AT_SYMLINK_NOFOLLOW, STATX_BTIME, &st) < 0 ||
	    !(st.stx_mask & STATX_BTIME))
		return 0;
	return st.stx_btime.tv_sec * 1000000000 + st.stx_btime.tv_nsec;
}

static int add_entry(struct entry **list, size_t *n, int dirfd, const char *name, struct err *e)
{
	struct entry *grown = mem_resize(*list, *n + 1, sizeof(*grown));

	if (!grown)
		return err_oom(e, "a list of containers");
	*list = grown;
	memcpy(grown[*n].id, name, CONTAINER_ID_LEN + 1);
	grown[*n].made = birth_time(dirfd, name);
	(*n)++;
	return 0;
}

/* The ids below <root>/containers with the time each was made. */
static int list_entries(const char *root, struct entry **out, size_t *count, struct err *e)
{
	OWN(free) char *path = str_printf("%s/containers", root);
	OWN(free) struct entry *list = NULL;
	struct dirent *ent;
	size_t n = 0;
	int rc = 0;
	DIR *dir;

	if (!path)
		return err_oom(e, "a path");
	dir = opendir(path);
	if (!dir && errno == EACCES && geteuid() != 0)
		return err_set(e, ERR_DENIED, EACCES, "this must be run as root: open '%s'",
			       path);
	if (!dir && errno != ENOENT)
		return err_sys(e, "open '%s'", path);
	while (dir && rc == 0 && (ent = readdir(dir))) {
		if (strlen(ent->d_name) == CONTAINER_ID_LEN)
			rc = add_entry(&list, &n, dirfd(dir), ent->d_name, e);
	}
	if (dir)
		(void)closedir(dir);
	if (rc < 0)
		return -1;
	*out = TAKE(list);
	*count = n;
	return 0;
}

int container_dir_each(const char *root, int (*each)(struct container_dir *d, void *arg),
		       void *arg, struct err *e)
{
	OWN(free) struct entry *list = NULL;
	size_t n;

	if (store_check(root, e) < 0 || list_entries(root, &list, &n, e) < 0)
		return -1;
	if (n)
		qsort(list, n, sizeof(*list), newest_first);
	for (size_t i = 0; i < n; i++) {
		OWN(container_dir) struct container_dir d = { .path = NULL };

		if (fill(root, list[i].id, &d, e) < 0)
			return -1;
		if (each(&d, arg) != 0)
			break;
	}
	return 0;
}

/* Removes every name that leads to the container. */
static void drop_names(struct container_dir *d)
{
	DIR *dir = opendir(d->names);
	struct dirent *ent;

	while (dir && (ent = readdir(dir))) {
		char target[CONTAINER_ID_LEN + 2];
		ssize_t n = readlinkat(dirfd(dir), ent->d_name, target, sizeof(target) - 1);

		if (n == CONTAINER_ID_LEN && memcmp(target, d->id, (size_t)n) == 0)
			(void)unlinkat(dirfd(dir), ent->d_name, 0);
	}
	if (dir)
		(void)closedir(dir);
}

/* Killed in the middle it is not there any more, and a sweep removes the rest. */
int container_dir_remove(struct container_dir *d, struct err *e)
{
	OWN(free)
	char *half = str_printf("%.*s" HALF "%s", (int)(strlen(d->path) - strlen(d->id)),
				d->path, d->id);
	OWN(fd) int lock = -1;
	int rc;

	if (!half)
		return err_oom(e, "a path");
	rc = lock_dir(d->path, LOCK_NB, &lock, e);
	if (rc == 0 && rename(d->path, half) < 0)
		rc = err_sys(e, "rename '%s'", d->path);
	if (rc == 0 && path_remove_tree(AT_FDCWD, half, e) < 0) {
		rc = -1;
		(void)rename(half, d->path); /* what is left can be seen, and removed again */
	}
	if (rc < 0)
		return err_wrap(e, "remove container '%.12s'", d->id);
	drop_names(d);
	return 0;
}

static void sweep_one(const char *root, const char *id, void (*gone)(const char *id, void *arg),
		      void *arg)
{
	OWN(container_dir) struct container_dir d = { .path = NULL };
	OWN(free) char *half = half_path(root, id);
	OWN(fd) int lock = -1;
	struct err e;

	if (!half || fill(root, id, &d, &e) < 0 || lock_dir(half, LOCK_NB, &lock, &e) != 0)
		return;
	gone(id, arg);
	drop_names(&d);
	if (path_remove_tree(AT_FDCWD, half, &e) < 0)
		log_warn(NULL, "container '%.12s' stays in part: %s", id, e.msg);
}

void container_dir_sweep(const char *root, void (*gone)(const char *id, void *arg), void *arg)
{
	OWN(free) char *path = str_printf("%s/containers", root);
	DIR *dir = path ? opendir(path) : NULL;
	struct dirent *ent;

	while (dir && (ent = readdir(dir))) {
		const char *id = ent->d_name + strlen(HALF);

		if (str_starts(ent->d_name, HALF) && strlen(id) == CONTAINER_ID_LEN)
			sweep_one(root, id, gone, arg);
	}
	if (dir)
		(void)closedir(dir);
}

int container_dir_record(const struct container_dir *d, struct jval **out, struct err *e)
{
	OWN(free) char *path = container_dir_file(d, "container.json");
	OWN(jval) struct jval *v = NULL;

	if (!path)
		return err_oom(e, "a path");
	if (jval_read_file(AT_FDCWD, path, RECORD_MAX, &v, e) < 0)
		return -1;
	if (jval_type(v) != JVAL_OBJECT)
		return err_set(e, ERR_INVALID, 0, "%s: must be an object", path);
	*out = TAKE(v);
	return 0;
}

int container_dir_write_record(const struct container_dir *d, const struct jval *v,
			       struct err *e)
{
	OWN(free) char *path = container_dir_file(d, "container.json");
	OWN(buf) struct buf text = BUF_INIT;

	if (!path)
		return err_oom(e, "a path");
	if (jval_print(v, true, &text, e) < 0)
		return -1;
	return file_replace(AT_FDCWD, path, buf_head(&text), buf_len(&text), 0600, true, e);
}

/* Whether somebody is attached; *size is 1 once the container has been started. */
static bool look_at_lock(const struct container_dir *d, off_t *size)
{
	OWN(free) char *path = container_dir_file(d, "attached");
	OWN(fd) int fd = path ? open(path, O_RDWR | O_CLOEXEC) : -1;
	struct stat st;

	/* shared: who looks is not taken for somebody who is attached */
	if (fd < 0 || flock(fd, LOCK_SH | LOCK_NB) == 0 || errno != EWOULDBLOCK)
		return false;
	*size = fstat(fd, &st) == 0 ? st.st_size : 0;
	return true;
}

bool container_dir_claim(const struct container_dir *d, int *lock_fd)
{
	OWN(free) char *path = container_dir_file(d, "attached");
	OWN(fd) int fd = path ? open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600) : -1;

	if (fd < 0 || flock(fd, LOCK_EX | LOCK_NB) < 0)
		return false;
	*lock_fd = fd_take(&fd);
	return true;
}

bool container_dir_is_attached(const struct container_dir *d)
{
	off_t size;

	return look_at_lock(d, &size);
}

static bool is_being_made(const struct container_dir *d)
{
	off_t size;

	return look_at_lock(d, &size) && size == 0;
}

void container_dir_mark_started(int lock_fd)
{
	/* a hole: that takes no room on a full disk */
	if (ftruncate(lock_fd, 1) < 0)
		log_warn(NULL, "mark a container as started: %s", strerror(errno));
}

/* ---- state ---- */

const char *container_status_name(enum container_status s)
{
	static const char *const names[] = { "making", "created", "running",     "paused",
					     "exited", "dead",    "unresponsive" };

	BUG_ON((unsigned)s >= ARRAY_LEN(names));
	return names[s];
}

/* What the engine recorded at the end; 1 if it did not. */
static int read_status(const struct container_dir *d, struct container_state *st, struct err *e)
{
	OWN(free) char *path = container_dir_file(d, "status.json");
	OWN(jval) struct jval *v = NULL;
	const char *at, *error;
	int64_t code;

	if (!path)
		return err_oom(e, "a path");
	if (jval_read_file(AT_FDCWD, path, RECORD_MAX, &v, e) < 0)
		return e->kind == ERR_NOT_FOUND ? 1 : -1;
	if (jval_need_int(v, "exit_status", path, &code, e) < 0 ||
	    jval_need_str(v, "exited_at", path, &at, e) < 0)
		return -1;
	error = jval_str(jval_get(v, "error"));
	st->status = CONTAINER_EXITED;
	st->exit_status = (int)(code & 0xff);
	(void)snprintf(st->error, sizeof(st->error), "%s", error ? error : "");
	(void)snprintf(st->exited_at, sizeof(st->exited_at), "%s", at);
	return 0;
}

static int ask_engine(struct loop *l, const struct container_dir *d, struct container_state *st,
		      struct err *e)
{
	static const enum container_status by_status[] = {
		[CONTAINERD__TASK__STATUS__UNKNOWN] = CONTAINER_CREATED,
		[CONTAINERD__TASK__STATUS__CREATED] = CONTAINER_CREATED,
		[CONTAINERD__TASK__STATUS__RUNNING] = CONTAINER_RUNNING,
		[CONTAINERD__TASK__STATUS__STOPPED] = CONTAINER_EXITED,
		[CONTAINERD__TASK__STATUS__PAUSED] = CONTAINER_PAUSED,
		[CONTAINERD__TASK__STATUS__PAUSING] = CONTAINER_PAUSED,
	};
	OWN(arena) struct arena a = { .limit = 1 << 20 };
	OWN(engine_client) struct engine_client *en = NULL;
	Containerd__Task__StateRequest req = CONTAINERD__TASK__STATE_REQUEST__INIT;
	Containerd__Task__StateResponse *resp;

	if (engine_connect(l, d->id, &en, e) < 0)
		return -1;
	req.id = (char *)(uintptr_t)d->id;
	if (engine_call(en, TASK_STATE, &req, &a, &resp, e) < 0)
		return -1;
	if ((unsigned)resp->status >= ARRAY_LEN(by_status))
		return err_set(e, ERR_PEER, 0, "the engine gives the unknown state %d",
			       (int)resp->status);
	st->status = by_status[resp->status];
	st->exit_status = (int)resp->exit_status;
	st->pid = resp->pid;
	return 0;
}

int container_dir_state(struct loop *l, const struct container_dir *d,
			struct container_state *out, struct err *e)
{
	struct container_state st = { .status = CONTAINER_DEAD, .exit_status = 255 };
	OWN(free) char *record = container_dir_file(d, "container.json");
	int rc;

	if (!record)
		return err_oom(e, "a path");
	rc = read_status(d, &st, e);
	if (rc < 0)
		return -1;
	if (rc > 0 && ask_engine(l, d, &st, e) < 0) {
		/* no socket, nobody behind it, or he went while he was asked: only that is an
		 * end */
		if (e->kind == ERR_TIMEOUT || e->kind == ERR_NO_MEMORY)
			st.status = CONTAINER_UNRESPONSIVE;
		else if (e->kind != ERR_NOT_FOUND && e->kind != ERR_PEER)
			return -1;
		/* it may have ended between the two questions */
		rc = read_status(d, &st, e);
		if (rc < 0)
			return -1;
		if (rc > 0 && access(d->path, F_OK) < 0)
			return err_set(e, ERR_NOT_FOUND, ENOENT,
				       "container '%.12s' has been removed", d->id);
		if (rc > 0 && st.status == CONTAINER_DEAD &&
		    (access(record, F_OK) < 0 || is_being_made(d)))
			st.status = CONTAINER_MAKING;
	}
	*out = st;
	return 0;
}

bool container_dir_why_lost(struct loop *l, const struct container_dir *d, char *out,
			    size_t size)
{
	struct container_state st;
	struct err e;

	if (container_dir_state(l, d, &st, &e) < 0)
		(void)snprintf(out, size, "%s", e.msg);
	else if (st.status == CONTAINER_DEAD)
		(void)snprintf(out, size, "the engine of container '%.12s' was killed", d->id);
	else if (*st.error)
		(void)snprintf(out, size, "container '%.12s': %s", d->id, st.error);
	else
		return false;
	return true;
}

int container_dir_deaf(const struct container_dir *d, struct err *e)
{
	return err_wrap(e, "container '%.12s' does not answer, `kata rm -f` ends it", d->id);
}

int container_dir_blame(struct loop *l, const struct container_dir *d, struct err *e)
{
	char why[400];

	/* what a living engine says of its guest is of the same kind */
	if (e->kind != ERR_PEER || !strstr(e->msg, "connection ended"))
		return -1;
	if (!container_dir_why_lost(l, d, why, sizeof(why)))
		(void)snprintf(why, sizeof(why), "the engine of container '%.12s' was killed",
			       d->id);
	return err_set(e, ERR_PEER, 0, "%s", why);
}
