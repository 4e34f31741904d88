/* SPDX-License-Identifier: Apache-2.0 */
/* Disks by virtio-blk hot-plug; where the agent finds each. */
#include "sandbox/disks.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "base/device_name.h"
#include "base/err.h"
#include "base/own.h"
#include "base/str.h"
#include "base/time.h"
#include "sandbox/internal.h"

enum {
	PLUG_MS = 10 * 1000,
	RETRY_MS = 1000,
	RETRY_MAX_MS = 60 * 1000,
	SECTOR = 512
};

/* What is wanted: files or devices that are one disk. */
struct wish {
	const char *const *paths;
	size_t count;
	bool read_only;
};

static void disk_unref(struct disk *d)
{
	if (--d->refs)
		return;
	free(d->parts);
	free(d->marker);
	free(d);
}

/* One that is the whole disk may have any length, and a device's is not asked for. */
static int identify(const char *path, bool is_whole, struct disk_part *out, struct err *e)
{
	struct stat st;

	if (stat(path, &st) < 0)
		return err_sys(e, "'%s'", path);
	/* before anybody opens it: a fifo would be waited for */
	if (!S_ISREG(st.st_mode) && !S_ISBLK(st.st_mode))
		return err_set(e, ERR_INVALID, 0, "'%s' is neither file nor block device",
			       path);
	*out = (struct disk_part){
		.is_device = S_ISBLK(st.st_mode),
		.number = st.st_rdev,
		.file_system = st.st_dev,
		.inode = st.st_ino,
		.sectors = (uint64_t)st.st_size / SECTOR,
	};
	if (!is_whole && (out->is_device || st.st_size == 0 || st.st_size % SECTOR))
		return err_set(e, ERR_INVALID, 0,
			       "'%s' is no file of whole sectors (it has %lld bytes)", path,
			       (long long)st.st_size);
	return 0;
}

static int identify_all(const struct wish *w, struct disk *d, struct err *e)
{
	uint64_t next = 0;

	d->parts = mem_calloc(w->count, sizeof(*d->parts));
	if (!d->parts)
		return err_oom(e, "a disk");
	d->part_count = w->count;
	for (size_t i = 0; i < w->count; i++) {
		if (identify(w->paths[i], w->count == 1, &d->parts[i], e) < 0)
			return -1;
		d->parts[i].first = next;
		next += d->parts[i].sectors;
	}
	return 0;
}

static int disk_new(struct sandbox *s, const struct wish *w, struct disk **out, struct err *e)
{
	struct disk *d = mem_new(struct disk);

	if (!d)
		return err_oom(e, "a disk");
	d->refs = 1;
	if (identify_all(w, d, e) < 0) {
		disk_unref(d);
		return -1;
	}
	(void)snprintf(d->id, sizeof(d->id), "disk%u", s->next_disk++);
	list_init(&d->node);
	cond_init(&d->settled, s->loop);
	d->read_only = w->read_only;
	*out = d;
	return 0;
}

static bool is_same_part(const struct disk_part *a, const struct disk_part *b)
{
	if (a->is_device || b->is_device)
		return a->is_device && b->is_device && a->number == b->number;
	return a->file_system == b->file_system && a->inode == b->inode;
}

static bool is_same(const struct disk *a, const struct disk *b)
{
	if (a->part_count != b->part_count)
		return false;
	for (size_t i = 0; i < a->part_count; i++) {
		if (!is_same_part(&a->parts[i], &b->parts[i]))
			return false;
	}
	return true;
}

static struct disk *find_same(struct sandbox *s, const struct disk *like)
{
	list_for_each(n, tmp, &s->disks) {
		struct disk *d = list_entry(n, struct disk, node);

		if (is_same(d, like))
			return d;
	}
	return NULL;
}

static void settle(struct disk *d, enum disk_state state)
{
	d->state = state;
	if (state == DISK_GONE)
		list_remove(&d->node);
	cond_wake_all(&d->settled);
}

/* ---- what the guest keeps ---- */

static struct disk *find_stuck(struct sandbox *s)
{
	list_for_each(n, tmp, &s->disks) {
		struct disk *d = list_entry(n, struct disk, node);

		if (d->state == DISK_STUCK)
			return d;
	}
	return NULL;
}

/* Called off in the middle the machine would lose it, and the list keep it. */
static int unplug(struct sandbox *s, struct disk *d, struct err *e)
{
	int rc;

	fiber_shield(s->loop, true);
	rc = vmm_device_remove(s->vmm, d->id, deadline_in(PLUG_MS), e);
	fiber_shield(s->loop, false);
	return rc;
}

static int free_stuck(struct sandbox *s, struct disk *d, struct err *e)
{
	int rc;

	settle(d, DISK_LEAVING);
	rc = unplug(s, d, e);
	settle(d, rc < 0 ? DISK_STUCK : DISK_GONE);
	if (rc == 0) {
		log_info(&s->log, "disk '%s': the guest has let go of it", d->id);
		disk_unref(d); /* the list's */
	}
	return rc;
}

/* Each of those that are stuck now, once. */
static void ask_for_all(struct sandbox *s)
{
	size_t left = 0;
	struct disk *d;
	struct err e;

	list_for_each(n, tmp, &s->disks)
		left += list_entry(n, struct disk, node)->state == DISK_STUCK;
	while (left-- && !s->vm_lost && (d = find_stuck(s))) {
		list_remove(&d->node); /* the next one's turn */
		list_append(&s->disks, &d->node);
		if (free_stuck(s, d, &e) < 0)
			log_debug(&s->log, "%s", e.msg);
	}
}

static void ask_again(void *arg)
{
	struct sandbox *s = arg;
	int64_t pause_ms = RETRY_MS;
	struct err e;

	while (!s->vm_lost && find_stuck(s) && fiber_sleep(s->loop, pause_ms, &e) == 0) {
		ask_for_all(s);
		pause_ms = pause_ms < RETRY_MAX_MS / 2 ? 2 * pause_ms : RETRY_MAX_MS;
	}
	s->disks_fiber = NULL;
	cond_wake_all(&s->changed);
}

/* A second disk of the same file beside it would destroy what is on it: it stays in the list.
 */
static void keep_asking(struct sandbox *s, struct disk *d)
{
	struct err e;

	settle(d, DISK_STUCK);
	if (!s->disks_fiber &&
	    fiber_spawn(s->loop, "disks", ask_again, s, &s->disks_fiber, &e) < 0)
		log_error(&s->log, "disk '%s' stays plugged in: %s", d->id, e.msg);
}

void disks_end(struct sandbox *s)
{
	struct err ignored;

	if (s->disks_fiber)
		fiber_cancel(s->disks_fiber);
	while (s->disks_fiber && cond_wait(&s->changed, DEADLINE_NONE, &ignored) == 0)
		;
	for (struct disk *d; (d = find_stuck(s));) {
		settle(d, DISK_GONE);
		disk_unref(d);
	}
}

/* ---- uses ---- */

/* One use less. */
static int disk_release(struct sandbox *s, struct disk *d, struct err *e)
{
	bool stuck = false;
	int rc = 0;

	if (--d->users == 0) {
		settle(d, DISK_LEAVING);
		if (s->state == SANDBOX_READY && !s->vm_lost)
			rc = vmm_device_remove(s->vmm, d->id, deadline_in(PLUG_MS), e);
		stuck = rc < 0 && s->state == SANDBOX_READY && !s->vm_lost;
		if (d->marker && unlink(d->marker) < 0 && errno != ENOENT)
			log_warn(&s->log, "remove '%s': %s", d->marker, strerror(errno));
		if (stuck) {
			keep_asking(s, d);
			return rc;
		}
		settle(d, DISK_GONE);
	}
	disk_unref(d);
	return rc;
}

/* One use more of a disk that somebody else plugs in; 1: it has gone meanwhile. */
static int disk_join(struct sandbox *s, struct disk *d, bool read_only, const char *path,
		     struct err *e)
{
	bool leaves = d->state == DISK_LEAVING;
	int64_t deadline = deadline_in(2 * PLUG_MS);
	struct err ignored;
	int rc = 0;

	if (d->state == DISK_STUCK) {
		if (free_stuck(s, d, e) < 0)
			return err_wrap(e, "the guest has not let go of '%s' yet", path);
		return 1;
	}
	if (!leaves && d->read_only && !read_only)
		return err_set(e, ERR_UNSUPPORTED, 0,
			       "'%s' is plugged in read-only for another use", path);
	d->users += leaves ? 0 : 1;
	d->refs++;
	while (rc == 0 && (d->state == DISK_COMING || d->state == DISK_LEAVING))
		rc = cond_wait(&d->settled, deadline, e);
	if (rc == 0 && d->state == DISK_THERE && !leaves)
		return 0;
	if (rc == 0 && !leaves)
		rc = err_set(e, ERR_STATE, 0, "'%s' could not be plugged in for another use",
			     path);
	if (leaves)
		disk_unref(d);
	else /* who plugged it in may have gone, and left it to this use */
		(void)disk_release(s, d, &ignored);
	return rc < 0 ? -1 : 1;
}

static int plug_it(struct sandbox *s, struct disk *d, const struct wish *w, struct err *e)
{
	struct vmm_extent extents[DISK_PARTS_MAX];
	struct vmm_device dev = {
		.kind = VMM_DEV_BLK,
		.id = d->id,
		.blk = { .path = w->paths[0], .read_only = d->read_only },
	};

	if (w->count > 1) {
		for (size_t i = 0; i < w->count; i++)
			extents[i] = (struct vmm_extent){ w->paths[i], d->parts[i].sectors };
		dev.blk.path = NULL;
		dev.blk.extents = extents;
		dev.blk.extent_count = w->count;
	}
	return vmm_device_add(s->vmm, &dev, deadline_in(PLUG_MS), &d->at, e);
}

static int disk_add(struct sandbox *s, struct disk *d, const struct wish *w, struct err *e)
{
	int rc;

	d->users = 1;
	/* in the list before anything waits: a second use of it must find it */
	list_append(&s->disks, &d->node);
	/* called off in the middle it would be in the machine, and nobody know of it */
	fiber_shield(s->loop, true);
	rc = plug_it(s, d, w, e);
	fiber_shield(s->loop, false);
	settle(d, rc < 0 ? DISK_GONE : DISK_THERE);
	return rc;
}

static int plug_wished(struct container *c, const struct wish *w, struct disk **out,
		       struct err *e)
{
	struct sandbox *s = c->sandbox;
	struct disk *fresh, *d;
	int rc = 1;

	if (c->disk_count == DISKS_MAX)
		return err_set(e, ERR_UNSUPPORTED, 0, "more than %d disks of a container",
			       DISKS_MAX);
	if (vmm_require(s->vmm, VMM_CAP_HOTPLUG_BLK, e) < 0 || disk_new(s, w, &fresh, e) < 0)
		return -1;
	while (rc == 1 && (d = find_same(s, fresh)))
		rc = disk_join(s, d, w->read_only, w->paths[0], e);
	if (rc == 1) {
		d = fresh;
		/* a wait for another's may have lasted */
		rc = sandbox_need_ready(s, e) < 0 ? -1 : disk_add(s, d, w, e);
	}
	if (rc < 0 || d != fresh)
		disk_unref(fresh);
	if (rc < 0)
		return -1;
	c->disks[c->disk_count++] = d;
	*out = d;
	return 0;
}

int disk_plug(struct container *c, const char *path, bool read_only, struct disk **out,
	      struct err *e)
{
	struct wish w = { &path, 1, read_only };

	return plug_wished(c, &w, out, e);
}

int disk_plug_parts(struct container *c, const char *const *paths, size_t count,
		    struct disk **out, struct err *e)
{
	struct wish w = { paths, count, true };

	if (count == 0 || count > DISK_PARTS_MAX)
		return err_set(e, ERR_UNSUPPORTED, 0, "a disk of %zu files (1 to %d)", count,
			       DISK_PARTS_MAX);
	return plug_wished(c, &w, out, e);
}

int disks_release(struct container *c, struct err *e)
{
	struct err later;
	int rc = 0;

	while (c->disk_count) {
		struct disk *d = c->disks[--c->disk_count];

		if (disk_release(c->sandbox, d, rc < 0 ? &later : e) < 0)
			rc = -1;
	}
	return rc;
}

/* ---- linux.devices ---- */

static bool is_block(const Grpc__LinuxDevice *d)
{
	return str_eq(d->type, "b");
}

/* Who hands over every device of the host hands over this one. */
static bool has_null(const Grpc__Linux *l)
{
	for (size_t i = 0; i < l->n_devices; i++) {
		const Grpc__LinuxDevice *d = l->devices[i];

		if (str_eq(d->type, "c") && d->major == 1 && d->minor == 3)
			return true;
	}
	return false;
}

/*
 * Every device there is, as privileged containers have it, and a rule for all: "a", or no type
 * and no numbers. The rule alone says nothing about those that are named
 * (privileged_without_host_devices, and a volume that is a device).
 */
static bool is_privileged(const Grpc__Linux *l)
{
	const Grpc__LinuxResources *r = l->resources;

	if (!has_null(l))
		return false;
	for (size_t i = 0; r && i < r->n_devices; i++) {
		const Grpc__LinuxDeviceCgroup *rule = r->devices[i];

		if (rule->allow && (str_eq(rule->type, "a") || !*rule->type) &&
		    rule->major <= 0 && rule->minor <= 0 && strchr(rule->access, 'w'))
			return true;
	}
	return false;
}

bool disks_are_named(const Grpc__Spec *spec)
{
	const Grpc__Linux *l = spec->linux;

	for (size_t i = 0; l && i < l->n_devices; i++) {
		if (is_block(l->devices[i]))
			return !is_privileged(l);
	}
	return false;
}

bool disk_may_write(const Grpc__Linux *l, int64_t major, int64_t minor)
{
	const Grpc__LinuxResources *r = l ? l->resources : NULL;

	for (size_t i = 0; r && i < r->n_devices; i++) {
		const Grpc__LinuxDeviceCgroup *rule = r->devices[i];

		if (rule->allow && str_eq(rule->type, "b") && rule->major == major &&
		    rule->minor == minor)
			return strchr(rule->access, 'w') != NULL;
	}
	return true;
}

int disk_find_node(unsigned major, unsigned minor, char *out, size_t size, struct err *e)
{
	char name[DISK_NODE_SIZE];
	struct stat st;
	int rc = device_name('b', major, minor, name, sizeof(name), e);

	if (rc < 0)
		return -1;
	if (rc)
		return err_set(e, ERR_INVALID, 0, "the host has no block device %u:%u", major,
			       minor);
	if (snprintf(out, size, "/dev/%s", name) < (int)size && stat(out, &st) == 0 &&
	    S_ISBLK(st.st_mode) && st.st_rdev == makedev(major, minor))
		return 0;
	return err_set(e, ERR_INVALID, 0, "block device %u:%u has no node in /dev", major,
		       minor);
}

static int attach_one(struct container *c, const Grpc__Linux *l, const Grpc__LinuxDevice *d,
		      struct err *e)
{
	char node[DISK_NODE_SIZE];
	Grpc__Device *out;
	struct disk *disk;

	if (disk_find_node((unsigned)d->major, (unsigned)d->minor, node, sizeof(node), e) < 0 ||
	    disk_plug(c, node, !disk_may_write(l, d->major, d->minor), &disk, e) < 0 ||
	    container_add_device(c, "blk", disk->id, disk->at.pci_path, d->path, &out, e) < 0)
		return -1;
	log_info(&c->log, "device '%s': '%s' plugged in as a disk", d->path, node);
	return 0;
}

static void leave_rates_out(struct container *c, Grpc__Linux *l)
{
	if (!l->resources || !l->resources->blockio)
		return;
	l->resources->blockio = NULL;
	log_info(&c->log,
		 "blockIO limits are left out: no disk of the guest's has those numbers");
}

/* Nodes with the host's numbers would be other devices in the guest, or none. */
static void leave_out(struct container *c, Grpc__Linux *l)
{
	size_t n = 0, all = l->n_devices;

	for (size_t i = 0; i < all; i++) {
		if (!is_block(l->devices[i]))
			l->devices[n++] = l->devices[i];
	}
	l->n_devices = n;
	leave_rates_out(c, l);
	if (n == all)
		return;
	log_info(&c->log,
		 "privileged: %zu block devices of the host are left out; name one to have it",
		 all - n);
}

/*
 * A character device is the guest's own of the same numbers, and must have the name that the
 * host's kernel has for it, which the agent looks at: as in device_mounts.c.
 */
static int name_char(struct container *c, const Grpc__LinuxDevice *d, struct err *e)
{
	char name[256] = "", *kept;
	Grpc__Device *out;
	int rc;

	if (!agent_has_feature(c->sandbox->agent, AGENT_FEATURE_SPEC))
		return 0;
	rc = device_name('c', (unsigned)d->major, (unsigned)d->minor, name, sizeof(name), e);
	if (rc)
		return rc < 0 ? -1 : 0;
	if (str_starts(name, "vfio/"))
		return err_set(
			e, ERR_UNSUPPORTED, 0,
			"devices of the host are not passed through (VFIO): leave it out");
	kept = arena_strdup(&c->arena, name);
	if (!kept)
		return err_oom(e, "a device");
	return container_add_device(c, "char", "", kept, d->path, &out, e);
}

int disks_attach(struct container *c, Grpc__Spec *guest, struct err *e)
{
	Grpc__Linux *l = guest->linux;

	if (!l || l->n_devices == 0)
		return 0;
	/* others than ours do not know a disk by its number on the host */
	if (!agent_has_feature(c->sandbox->agent, AGENT_FEATURE_SPEC))
		leave_rates_out(c, l);
	if (is_privileged(l)) {
		leave_out(c, l);
		return 0;
	}
	for (size_t i = 0; i < l->n_devices; i++) {
		const Grpc__LinuxDevice *d = l->devices[i];
		int rc = 0;

		if (is_block(d))
			rc = attach_one(c, l, d, e);
		else if (str_eq(d->type, "c") || str_eq(d->type, "u"))
			rc = name_char(c, d, e);
		if (rc < 0)
			return err_wrap(e, "linux.devices '%s'", d->path);
	}
	return 0;
}
