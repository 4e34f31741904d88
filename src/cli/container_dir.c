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
	SHORT_ID = 12
};

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

static int take_name(struct container_dir *d, const char *name, struct err *e)
{
	OWN(free) char *link = NULL;

	if (path_check_id(name, NAME_MAX_LEN, "name", e) < 0 ||
	    path_mkdirs(d->names, 0700, e) < 0)
		return -1;
	link = str_printf("%s/%s", d->names, name);
	if (!link)
		return err_oom(e, "a name");
	if (symlink(d->id, link) < 0)
		return errno == EEXIST
			       ? err_set(e, ERR_EXISTS, 0,
					 "a container is named '%s' already; remove it with `kata rm %s`",
					 name, name)
			       : err_sys(e, "name '%s'", name);
	return 0;
}

int container_dir_create(const char *root, const char *name, struct container_dir *out,
			 struct err *e)
{
	OWN(container_dir) struct container_dir d = { .path = NULL };
	OWN(free) char *short_id = NULL;
	char id[RAND_HEX_LEN(CONTAINER_ID_LEN / 2)];

	if (rand_hex(id, CONTAINER_ID_LEN / 2, e) < 0 || fill(root, id, &d, e) < 0)
		return -1;
	short_id = mem_dup(id, SHORT_ID);
	if (!short_id)
		return err_oom(e, "a name");
	if (take_name(&d, name ? name : short_id, e) < 0)
		return -1;
	if (path_mkdirs(d.path, 0700, e) < 0) {
		struct err ignored;

		(void)container_dir_remove(&d, &ignored);
		return -1;
	}
	*out = d;
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

int container_dir_remove(struct container_dir *d, struct err *e)
{
	if (path_remove_tree(AT_FDCWD, d->path, e) < 0)
		return err_wrap(e, "remove container '%.12s'", d->id);
	drop_names(d);
	return 0;
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

int container_dir_attach(const struct container_dir *d, int *lock_fd, struct err *e)
{
	OWN(free) char *path = container_dir_file(d, "attached");
	OWN(free) char *fresh = container_dir_file(d, "attached.new");
	OWN(fd) int fd = -1;

	if (!path || !fresh)
		return err_oom(e, "a path");
	/* under its name it is never seen unlocked, which would mean that nobody is left */
	fd = open(fresh, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (fd < 0 || flock(fd, LOCK_EX | LOCK_NB) < 0 || rename(fresh, path) < 0)
		return err_sys(e, "lock '%s'", path);
	*lock_fd = fd_take(&fd);
	return 0;
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
	OWN(fd) int fd = path ? open(path, O_RDWR | O_CLOEXEC) : -1;

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
