/* SPDX-License-Identifier: Apache-2.0 */
/* Disks by virtio-blk hot-plug; where the agent finds each. */
#include "sandbox/disks.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include "base/err.h"
#include "base/fd.h"
#include "base/own.h"
#include "base/str.h"
#include "base/time.h"
#include "sandbox/internal.h"
#include "vmm/vmm.h"

enum {
	PLUG_MS = 10 * 1000
};

int disk_plug(struct container *c, const char *path, bool read_only, struct vmm_device_addr *at,
	      struct err *e)
{
	struct sandbox *s = c->sandbox;
	struct vmm_device d = { .kind = VMM_DEV_BLK };
	char *id;

	if (c->disk_count == DISKS_MAX)
		return err_set(e, ERR_UNSUPPORTED, 0, "more than %d disks of a container",
			       DISKS_MAX);
	if (vmm_require(s->vmm, VMM_CAP_HOTPLUG_BLK, e) < 0)
		return -1;
	id = c->disks[c->disk_count];
	(void)snprintf(id, DISK_ID_SIZE, "disk%u", s->next_disk++);
	d.id = id;
	d.blk.path = path;
	d.blk.read_only = read_only;
	if (vmm_device_add(s->vmm, &d, deadline_in(PLUG_MS), at, e) < 0)
		return -1;
	c->disk_count++;
	return 0;
}

int disks_unplug(struct container *c, struct err *e)
{
	struct sandbox *s = c->sandbox;
	int rc = 0;

	while (c->disk_count) {
		c->disk_count--;
		if (rc == 0 && s->state == SANDBOX_READY && !s->vm_lost)
			rc = vmm_device_remove(s->vmm, c->disks[c->disk_count],
					       deadline_in(PLUG_MS), e);
	}
	return rc;
}

/* ---- linux.devices ---- */

static bool is_block(const Grpc__LinuxDevice *d)
{
	return str_eq(d->type, "b");
}

/* "a", or no type and no numbers: every device there is, as for privileged containers. */
static bool is_privileged(const Grpc__Linux *l)
{
	const Grpc__LinuxResources *r = l->resources;

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

/* Whether a rule lets the container write to it; without one of its own it is not asked. */
static bool may_write(const Grpc__Linux *l, const Grpc__LinuxDevice *d)
{
	const Grpc__LinuxResources *r = l->resources;

	for (size_t i = 0; r && i < r->n_devices; i++) {
		const Grpc__LinuxDeviceCgroup *rule = r->devices[i];

		if (rule->allow && str_eq(rule->type, "b") && rule->major == d->major &&
		    rule->minor == d->minor)
			return strchr(rule->access, 'w') != NULL;
	}
	return true;
}

/* The host's node of a device: sysfs knows its name, whatever the container calls it. */
static int find_node(const Grpc__LinuxDevice *d, char *out, size_t size, struct err *e)
{
	OWN(free) char *text = NULL;
	char path[64], *line, *rest;
	struct stat st;

	(void)snprintf(path, sizeof(path), "/sys/dev/block/%lld:%lld/uevent",
		       (long long)d->major, (long long)d->minor);
	if (file_read(AT_FDCWD, path, 8192, &text, NULL, e) < 0)
		return err_set(e, ERR_INVALID, 0, "the host has no block device %lld:%lld",
			       (long long)d->major, (long long)d->minor);
	for (line = strtok_r(text, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest)) {
		if (!str_starts(line, "DEVNAME="))
			continue;
		(void)snprintf(out, size, "/dev/%s", line + strlen("DEVNAME="));
		if (stat(out, &st) == 0 && S_ISBLK(st.st_mode) &&
		    st.st_rdev == makedev((unsigned)d->major, (unsigned)d->minor))
			return 0;
	}
	return err_set(e, ERR_INVALID, 0, "block device %lld:%lld has no node in /dev",
		       (long long)d->major, (long long)d->minor);
}

static int attach_one(struct container *c, const Grpc__Linux *l, const Grpc__LinuxDevice *d,
		      Grpc__CreateContainerRequest *r, struct err *e)
{
	Grpc__Device *out = arena_alloc(&c->arena, sizeof(*out));
	struct vmm_device_addr at;
	char node[256];

	if (!out)
		return err_oom(e, "a device");
	if (find_node(d, node, sizeof(node), e) < 0 ||
	    disk_plug(c, node, !may_write(l, d), &at, e) < 0)
		return -1;
	grpc__device__init(out);
	out->id = arena_strdup(&c->arena, c->disks[c->disk_count - 1]);
	out->type = arena_strdup(&c->arena, "blk");
	out->vm_path = arena_strdup(&c->arena, at.pci_path);
	out->container_path = arena_strdup(&c->arena, d->path);
	if (!out->id || !out->type || !out->vm_path || !out->container_path)
		return err_oom(e, "a device");
	r->devices[r->n_devices++] = out;
	log_info(&c->log, "device '%s': '%s' plugged in as a disk", d->path, node);
	return 0;
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
	log_info(&c->log,
		 "privileged: %zu block devices of the host are left out; name one to have it",
		 all - n);
}

int disks_attach(struct container *c, Grpc__Spec *guest, Grpc__CreateContainerRequest *r,
		 struct err *e)
{
	Grpc__Linux *l = guest->linux;
	bool any = false;

	for (size_t i = 0; l && i < l->n_devices; i++)
		any |= is_block(l->devices[i]);
	if (!any)
		return 0;
	if (is_privileged(l)) {
		leave_out(c, l);
		return 0;
	}
	r->devices = arena_calloc(&c->arena, l->n_devices, sizeof(*r->devices));
	if (!r->devices)
		return err_oom(e, "devices");
	for (size_t i = 0; i < l->n_devices; i++) {
		if (is_block(l->devices[i]) && attach_one(c, l, l->devices[i], r, e) < 0)
			return err_wrap(e, "linux.devices '%s'", l->devices[i]->path);
	}
	return 0;
}
