/* SPDX-License-Identifier: Apache-2.0 */
/* Storages: a table of drivers. A driver's function mounts one thing at its mount point. */
#include "agent/storage.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "agent/aside.h"
#include "agent/device.h"
#include "agent/file_cache.h"
#include "agent/fsgroup.h"
#include "agent/sandbox.h"
#include "agent/watch.h"
#include "base/err.h"
#include "base/mem.h"
#include "base/own.h"
#include "base/path.h"
#include "base/str.h"
#include "base/sys.h"
#include "base/time.h"
#include "oci/mount_options.h"
#include "oci/overlay.h"

enum {
	NODE_SIZE = 256,
	WRITE_BACK_MS = 90 * 1000 /* the engine gives a container's removal a little more */
};

/* Every mount point and every path that options name lies below one of these. */
static const char *const allowed_roots[] = {
	"/run/kata-containers/",
	"/run/libcontainer/",
};

typedef int (*mount_fn)(struct sandbox *s, const Grpc__Storage *st, struct storage *out,
			struct err *e);

static int check_mount_point(const char *path, struct err *e)
{
	for (size_t i = 0; i < ARRAY_LEN(allowed_roots); i++) {
		if (str_starts(path, allowed_roots[i]) && !strstr(path, "/../") &&
		    !str_ends(path, "/.."))
			return 0;
	}
	return err_set(e, ERR_INVALID, 0, "mount_point '%.100s' is not below %s", path,
		       allowed_roots[0]);
}

/* Words of ours among the options, which no file system knows. */
static bool is_private_option(const char *o)
{
	return str_starts(o, "fsgid=") || str_starts(o, "mode=0") || str_starts(o, "mode=1");
}

static int parse_options(const Grpc__Storage *st, bool keep_mode, const struct strv *more,
			 struct mount_options *out, struct err *e)
{
	OWN(strv) struct strv words = { 0 };

	for (size_t i = 0; more && i < more->n; i++) {
		if (strv_add(&words, more->v[i], e) < 0)
			return -1;
	}
	for (size_t i = 0; i < st->n_options; i++) {
		if (str_starts(st->options[i], "fsgid=") ||
		    (!keep_mode && is_private_option(st->options[i])))
			continue;
		if (strv_add(&words, st->options[i], e) < 0)
			return -1;
	}
	return mount_options_parse(words.v, words.n, out, e);
}

/* What mount(2) is given. */
struct mount_call {
	const char *source, *target, *type, *data;
	unsigned long flags;
};

static int call_mount(const void *arg)
{
	const struct mount_call *c = arg;

	return mount(c->source, c->target, c->type, c->flags, c->data) < 0 ? errno : 0;
}

static int mount_failed(const struct mount_call *c, int error, struct err *e)
{
	errno = error;
	return err_sys(e, "mount %s '%.100s' on '%.100s'", c->type, c->source, c->target);
}

/*
 * A file system that was not unmounted brings itself in order first: that takes as long as its
 * disk wants, and in the agent's only thread no container of the pod would be served meanwhile.
 */
static int mount_aside(struct sandbox *s, const struct mount_call *c, struct err *e)
{
	if (aside_run(&s->reaper, call_mount, c, DEADLINE_NONE, e) == 0)
		return 0;
	if (e->kind == ERR_SYS)
		return mount_failed(c, e->sys, e);
	(void)umount2(c->target, MNT_DETACH | UMOUNT_NOFOLLOW); /* it may have been as quick */
	return -1;
}

static int checked_options(const Grpc__Storage *st, const struct strv *more,
			   struct mount_options *o, struct err *e)
{
	if (parse_options(st, true, more, o, e) < 0)
		return -1;
	o->flags &= ~(unsigned long)(MS_BIND | MS_REC | MS_REMOUNT);
	if (o->data && strlen(o->data) > MOUNT_OPTIONS_MAX && !str_eq(st->driver, "overlayfs"))
		return err_set(e, ERR_UNSUPPORTED, 0,
			       "%zu bytes of mount options, of which the kernel takes %d",
			       strlen(o->data), MOUNT_OPTIONS_MAX);
	return 0;
}

static int do_mount(const Grpc__Storage *st, const char *source, const char *type,
		    struct err *e)
{
	OWN(mount_options) struct mount_options o = { 0 };
	struct mount_call c = { source, st->mount_point, type, NULL, 0 };
	int error;

	if (checked_options(st, NULL, &o, e) < 0)
		return -1;
	if (str_eq(type, "overlay"))
		return overlay_mount(source, st->mount_point, o.flags, o.data ? o.data : "", e);
	c.data = o.data;
	c.flags = o.flags;
	error = call_mount(&c);
	return error ? mount_failed(&c, error, e) : 0;
}

/* With options of the agent's own before those asked for. */
static int mount_disk(struct sandbox *s, const Grpc__Storage *st, const char *node,
		      const struct strv *more, struct err *e)
{
	OWN(mount_options) struct mount_options o = { 0 };
	struct mount_call c = { node, st->mount_point, st->fstype, NULL, 0 };

	if (checked_options(st, more, &o, e) < 0)
		return -1;
	c.data = o.data;
	c.flags = o.flags;
	return mount_aside(s, &c, e);
}

/* FSGroup: the directory belongs to a group whose new files inherit it. */
static int apply_group(const char *path, uint32_t gid, struct err *e)
{
	if (chown(path, (uid_t)-1, gid) < 0 || chmod(path, 02775) < 0)
		return err_sys(e, "give '%.100s' to group %u", path, gid);
	return 0;
}

static int apply_groups(const Grpc__Storage *st, struct err *e)
{
	uint64_t gid;

	if (st->fs_group && apply_group(st->mount_point, st->fs_group->group_id, e) < 0)
		return -1;
	for (size_t i = 0; i < st->n_options; i++) {
		if (!str_starts(st->options[i], "fsgid="))
			continue;
		if (str_to_u64(st->options[i] + 6, 0, UINT32_MAX - 1, "fsgid", &gid, e) < 0 ||
		    apply_group(st->mount_point, (uint32_t)gid, e) < 0)
			return -1;
	}
	return 0;
}

/* The share: a file system of the VMM's, by tag. "files=N" is for file_cache_limit(). */
static int mount_share(struct sandbox *s, const Grpc__Storage *st, struct storage *out,
		       struct err *e)
{
	const char *type = str_eq(st->driver, "9p") ? "9p" : "virtiofs";

	if (path_mkdirs(st->mount_point, 0755, e) < 0 || do_mount(st, st->source, type, e) < 0)
		return -1;
	out->mounted = true;
	for (size_t i = 0; i < st->n_driver_options; i++) {
		const char *o = st->driver_options[i];

		if (!str_starts(o, "files="))
			return err_set(e, ERR_UNSUPPORTED, 0, "driver_options '%.80s'", o);
		if (file_cache_limit(s, o + strlen("files="), e) < 0)
			return -1;
	}
	return 0;
}

/* A tmpfs (or hugetlbfs) of the sandbox; with none of its own it is made like /dev/shm. */
static int mount_ephemeral(struct sandbox *s, const Grpc__Storage *st, struct storage *out,
			   struct err *e)
{
	const char *type = *st->fstype ? st->fstype : "tmpfs";

	(void)s;
	if (!str_eq(type, "tmpfs") && !str_eq(type, "hugetlbfs"))
		return err_set(e, ERR_INVALID, 0, "fstype '%.32s' of an ephemeral storage",
			       type);
	if (path_mkdirs(st->mount_point, 01777, e) < 0 ||
	    do_mount(st, *st->source ? st->source : type, type, e) < 0)
		return -1;
	out->mounted = true;
	return apply_groups(st, e);
}

/* A plain directory in the guest. */
static int make_local(struct sandbox *s, const Grpc__Storage *st, struct storage *out,
		      struct err *e)
{
	mode_t mode = 0777;

	(void)s;
	for (size_t i = 0; i < st->n_options; i++) {
		if (str_starts(st->options[i], "mode="))
			mode = (mode_t)strtoul(st->options[i] + 5, NULL, 8) & 07777;
	}
	if (path_mkdirs(st->mount_point, 0755, e) < 0)
		return -1;
	if (chmod(st->mount_point, mode) < 0)
		return err_sys(e, "chmod '%.100s'", st->mount_point);
	out->remove_dir = true;
	return apply_groups(st, e);
}

static int mount_overlay(struct sandbox *s, const Grpc__Storage *st, struct storage *out,
			 struct err *e)
{
	(void)s;
	for (size_t i = 0; i < st->n_options; i++) {
		const char *o = st->options[i], *value = strchr(o, '=');

		if (str_starts(o, "io.katacontainers."))
			return err_set(e, ERR_UNSUPPORTED, 0, "overlay option '%.80s'", o);
		if ((str_starts(o, "upperdir=") || str_starts(o, "workdir=")) &&
		    path_mkdirs(value + 1, 0755, e) < 0)
			return -1;
	}
	if (path_mkdirs(st->mount_point, 0755, e) < 0 ||
	    do_mount(st, "overlay", "overlay", e) < 0)
		return -1;
	out->mounted = true;
	return 0;
}

static int mount_bind(struct sandbox *s, const Grpc__Storage *st, struct storage *out,
		      struct err *e)
{
	OWN(mount_options) struct mount_options o = { 0 };
	OWN(fd) int tree = -1;
	struct stat info;

	(void)s;
	if (parse_options(st, false, NULL, &o, e) < 0)
		return -1;
	if (stat(st->source, &info) < 0)
		return err_sys(e, "source '%.100s'", st->source);
	if (S_ISDIR(info.st_mode)) {
		if (path_mkdirs(st->mount_point, 0755, e) < 0)
			return -1;
	} else {
		OWN(fd) int root = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);

		if (root < 0 || path_mkfile_beneath(root, st->mount_point, 0644, NULL, e) < 0)
			return err_wrap(e, "mount point");
	}
	tree = sys_open_tree(AT_FDCWD, st->source,
			     OPEN_TREE_CLONE | O_CLOEXEC |
				     (o.flags & MS_REC ? AT_RECURSIVE : 0));
	if (tree < 0)
		return err_sys(e, "copy the mount of '%.100s'", st->source);
	if ((o.attr_set || o.attr_clear) &&
	    sys_mount_setattr(tree, "", AT_EMPTY_PATH, o.attr_set, o.attr_clear, 0) < 0)
		return err_sys(e, "attributes of '%.100s'", st->mount_point);
	if (sys_move_mount(tree, "", AT_FDCWD, st->mount_point, MOVE_MOUNT_F_EMPTY_PATH) < 0)
		return err_sys(e, "bind on '%.100s'", st->mount_point);
	out->mounted = true;
	return 0;
}

/* A small volume that is kept like its source in memory, else as it is. */
static int mount_watched(struct sandbox *s, const Grpc__Storage *st, struct storage *out,
			 struct err *e)
{
	if (watch_start(s, st->source, st->mount_point, &out->watch, e) < 0)
		return -1;
	if (!out->watch)
		return mount_bind(s, st, out, e);
	out->mounted = true;
	return 0;
}

/*
 * What of the disk is mounted: "part=FIRST:SECTORS" of it in place of the whole, and each
 * "device=FIRST:SECTORS" is a part that holds data of an EROFS file system.
 */
static int find_parts(struct sandbox *s, const Grpc__Storage *st, char node[NODE_SIZE],
		      struct strv *devices, struct err *e)
{
	char disk[NODE_SIZE], part[NODE_SIZE];

	(void)snprintf(disk, sizeof(disk), "%s", node);
	for (size_t i = 0; i < st->n_driver_options; i++) {
		const char *o = st->driver_options[i];

		if (str_starts(o, "part=")) {
			if (device_part(s, disk, o + strlen("part="), node, NODE_SIZE, e) < 0)
				return -1;
		} else if (str_starts(o, "device=")) {
			if (device_part(s, disk, o + strlen("device="), part, sizeof(part), e) <
				    0 ||
			    strv_addf(devices, e, "device=%s", part) < 0)
				return -1;
		} else {
			return err_set(e, ERR_UNSUPPORTED, 0, "driver_options '%.80s'", o);
		}
	}
	return 0;
}

/* A virtio-blk disk: source is a PCI path or a node below /dev. */
static int mount_block(struct sandbox *s, const Grpc__Storage *st, struct storage *out,
		       struct err *e)
{
	OWN(strv) struct strv devices = { 0 };
	char node[NODE_SIZE];
	struct statvfs fs;

	if (!*st->fstype)
		return err_set(e, ERR_INVALID, 0, "fstype is missing");
	if (device_wait_block(s, st->source, node, sizeof(node), e) < 0 ||
	    find_parts(s, st, node, &devices, e) < 0)
		return -1;
	if (path_mkdirs(st->mount_point, 0755, e) < 0 ||
	    mount_disk(s, st, node, &devices, e) < 0)
		return -1;
	out->mounted = out->disk = true;
	/* of a disk there may be much already; what is mounted read-only stays as it is */
	if (!st->fs_group || statvfs(st->mount_point, &fs) < 0 || fs.f_flag & ST_RDONLY)
		return 0;
	return fsgroup_apply(&s->reaper, st->mount_point, st->fs_group->group_id,
			     st->fs_group->group_change_policy ==
				     GRPC__FSGROUP_CHANGE_POLICY__OnRootMismatch,
			     e);
}

static const struct driver {
	const char *name;
	mount_fn mount;
} drivers[] = {
	{ "virtio-fs", mount_share },
	{ "9p", mount_share },
	{ "ephemeral", mount_ephemeral },
	{ "local", make_local },
	{ "overlayfs", mount_overlay },
	{ "bind", mount_bind },
	{ "blk", mount_block },
	{ "mmioblk", mount_block },
	{ "watchable-bind", mount_watched },
};

size_t storage_driver_count(void)
{
	return ARRAY_LEN(drivers);
}

const char *storage_driver_name(size_t i)
{
	return drivers[i].name;
}

static struct storage *find(struct sandbox *s, const char *mount_point)
{
	list_for_each(n, tmp, &s->storages) {
		struct storage *st = list_entry(n, struct storage, node);

		if (str_eq(st->mount_point, mount_point))
			return st;
	}
	return NULL;
}

static void storage_free(struct storage *st)
{
	free(st->mount_point);
	free(st);
}

static int undo(struct storage *st, struct err *e)
{
	watch_stop(TAKE(st->watch));
	if (st->mounted && umount2(st->mount_point, UMOUNT_NOFOLLOW) < 0 &&
	    umount2(st->mount_point, MNT_DETACH | UMOUNT_NOFOLLOW) < 0)
		return err_sys(e, "unmount '%.100s'", st->mount_point);
	st->mounted = false;
	return st->remove_dir ? path_remove_tree(AT_FDCWD, st->mount_point, e) : 0;
}

static int set_up(struct sandbox *s, const Grpc__Storage *st, struct storage *out,
		  struct err *e)
{
	for (size_t i = 0; i < ARRAY_LEN(drivers); i++) {
		if (str_eq(drivers[i].name, st->driver))
			return drivers[i].mount(s, st, out, e);
	}
	return err_set(e, ERR_UNSUPPORTED, 0, "driver '%.40s' is not supported", st->driver);
}

static void drop(struct storage *st)
{
	if (--st->refs == 0)
		storage_free(st);
}

/* Somebody else's, perhaps still being set up, which has deadlines of its own. */
static int join(struct storage *st, struct err *e)
{
	st->refs++;
	while (!st->ready && !st->failed) {
		if (cond_wait(&st->settled, DEADLINE_NONE, e) < 0) {
			drop(st);
			return -1;
		}
	}
	if (st->ready)
		return 0;
	drop(st);
	return err_set(e, ERR_STATE, 0, "another request for it has failed");
}

static int start(struct sandbox *s, const Grpc__Storage *st, struct storage *new, struct err *e)
{
	struct err later;

	/* in the table before anything waits: a second request for it must find it */
	list_append(&s->storages, &new->node);
	if (set_up(s, st, new, e) == 0) {
		new->ready = true;
		cond_wake_all(&new->settled);
		return 0;
	}
	list_remove(&new->node);
	if (undo(new, &later) < 0)
		log_warn(&s->log, "%s", later.msg);
	new->failed = true;
	cond_wake_all(&new->settled);
	drop(new);
	return -1;
}

int storage_add(struct sandbox *s, const Grpc__Storage *st, struct storage **out, struct err *e)
{
	struct storage *new, *old = find(s, st->mount_point);

	if (old) {
		if (join(old, e) < 0)
			return -1;
		*out = old;
		return 0;
	}
	if (check_mount_point(st->mount_point, e) < 0)
		return -1;
	new = mem_new(struct storage);
	if (!new || !(new->mount_point = strdup(st->mount_point))) {
		free(new);
		return err_oom(e, "a storage");
	}
	new->refs = 1;
	cond_init(&new->settled, s->loop);
	if (start(s, st, new, e) < 0)
		return -1;
	*out = new;
	return 0;
}

static int sync_files(const void *path)
{
	int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	return fd < 0 || syncfs(fd) < 0 ? errno : 0;
}

/* umount(2) would write as much, in the agent's only thread. */
static void write_back(struct sandbox *s, struct storage *st)
{
	struct err e;

	fiber_shield(s->loop, true);
	if (aside_run(&s->reaper, sync_files, st->mount_point, deadline_in(WRITE_BACK_MS), &e) <
	    0)
		log_warn(&s->log, "write back '%s': %s", st->mount_point, e.msg);
	fiber_shield(s->loop, false);
}

void storage_release(struct sandbox *s, struct storage *st)
{
	struct err e;

	if (st->refs == 1 && st->disk)
		write_back(s, st); /* another container may join it meanwhile */
	if (st->refs > 1) {
		st->refs--;
		return;
	}
	list_remove(&st->node);
	if (undo(st, &e) < 0)
		log_warn(&s->log, "%s", e.msg);
	drop(st);
}

int storage_resize(struct sandbox *s, const Grpc__Storage *st, struct err *e)
{
	OWN(mount_options) struct mount_options o = { 0 };

	if (!str_eq(st->driver, "ephemeral") || !find(s, st->mount_point))
		return err_set(e, ERR_INVALID, 0, "'%.100s' is no ephemeral storage",
			       st->mount_point);
	if (parse_options(st, true, NULL, &o, e) < 0)
		return -1;
	if (mount(NULL, st->mount_point, NULL, MS_REMOUNT | o.flags, o.data) < 0)
		return err_sys(e, "remount '%.100s'", st->mount_point);
	return 0;
}
