/* SPDX-License-Identifier: Apache-2.0 */
/* Block devices. sysfs is read again every few milliseconds until the device is there. */
#include "agent/device.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "agent/device_mounts.h"
#include "agent/sandbox.h"
#include "base/err.h"
#include "base/fd.h"
#include "base/mem.h"
#include "base/own.h"
#include "base/path.h"
#include "base/str.h"
#include "base/time.h"

enum {
	POLL_MS = 10
};

static const char *const block_types[] = { "blk", "mmioblk" };

/* One hop "02" or "02.1" of a PCI path. */
static bool parse_hop(const char **p, unsigned *slot, unsigned *function)
{
	char *end;
	unsigned long v = strtoul(*p, &end, 16);

	if (end == *p || v > 0x1f)
		return false;
	*slot = (unsigned)v;
	*function = 0;
	if (*end == '.') {
		*p = end + 1;
		v = strtoul(*p, &end, 16);
		if (end == *p || v > 7)
			return false;
		*function = (unsigned)v;
	}
	*p = end;
	return true;
}

/* The directory entry of `dir` that ends in ":SS.F". */
static bool find_function(const char *dir, unsigned slot, unsigned function, char *name,
			  size_t size)
{
	char suffix[16];
	struct dirent *ent;
	bool found = false;
	DIR *d = opendir(dir);

	if (!d)
		return false;
	(void)snprintf(suffix, sizeof(suffix), ":%02x.%x", slot, function);
	while (!found && (ent = readdir(d))) {
		if (!str_ends(ent->d_name, suffix) || strlen(ent->d_name) >= size)
			continue;
		(void)snprintf(name, size, "%.*s", (int)size - 1, ent->d_name);
		found = true;
	}
	(void)closedir(d);
	return found;
}

/* The name of the device below a PCI function: …/virtioN/block/vdX, …/virtioN/net/ethX */
static bool find_below(const char *dir, const char *class, unsigned depth, char *name,
		       size_t size)
{
	char sub[PATH_MAX];
	struct dirent *ent;
	bool found = false;
	DIR *d = opendir(dir);

	if (!d)
		return false;
	while (!found && (ent = readdir(d))) {
		if (ent->d_name[0] == '.')
			continue;
		if (depth == 0) {
			(void)snprintf(name, size, "%.*s", (int)size - 1, ent->d_name);
			found = true;
			continue;
		}
		if ((depth == 2 && !str_starts(ent->d_name, "virtio")) ||
		    (depth == 1 && !str_eq(ent->d_name, class)))
			continue;
		if (snprintf(sub, sizeof(sub), "%s/%s", dir, ent->d_name) < (int)sizeof(sub))
			found = find_below(sub, class, depth - 1, name, size);
	}
	(void)closedir(d);
	return found;
}

/* 0: found, 1: not there yet, -1: no such path can be. */
static int look_up_pci(const char *address, const char *class, char *out, size_t size,
		       struct err *e)
{
	char dir[PATH_MAX] = "/sys/devices/pci0000:00", name[64];
	const char *p = address;
	unsigned slot, function;

	for (;;) {
		size_t n = strlen(dir);

		if (!parse_hop(&p, &slot, &function) || (*p && *p != '/'))
			return err_set(e, ERR_INVALID, 0, "PCI path '%.64s'", address);
		if (!find_function(dir, slot, function, name, sizeof(name)))
			return 1;
		if (snprintf(dir + n, sizeof(dir) - n, "/%s", name) >= (int)(sizeof(dir) - n))
			return err_set(e, ERR_INVALID, 0, "PCI path '%.64s'", address);
		if (!*p)
			break;
		p++;
	}
	return find_below(dir, class, 2, out, size) ? 0 : 1;
}

int device_find_net(const char *address, char *out, size_t size, struct err *e)
{
	return look_up_pci(address, "net", out, size, e);
}

/* The node is there some time before the kernel lets anybody open it (device_add_disk()). */
static bool is_live(const char *node)
{
	OWN(fd) int fd = open(node, O_RDONLY | O_NONBLOCK | O_CLOEXEC);

	return fd >= 0 || (errno != ENXIO && errno != ENODEV);
}

static int look_up(const char *address, char *out, size_t size, struct err *e)
{
	struct stat st;
	char name[64];
	int rc = 0;

	if (address[0] != '/')
		rc = look_up_pci(address, "block", name, sizeof(name), e);
	if (rc)
		return rc;
	if (address[0] == '/')
		(void)snprintf(out, size, "%s", address);
	else
		(void)snprintf(out, size, "/dev/%s", name);
	return stat(out, &st) == 0 && S_ISBLK(st.st_mode) && is_live(out) ? 0 : 1;
}

int device_wait_block(struct sandbox *s, const char *address, char *out, size_t size,
		      struct err *e)
{
	int64_t deadline = deadline_in(s->config.hotplug_timeout_ms);
	int rc;

	if (address[0] == '/' && (!str_starts(address, "/dev/") || strstr(address, "..")))
		return err_set(e, ERR_INVALID, 0, "block device '%.64s' is not below /dev",
			       address);
	while ((rc = look_up(address, out, size, e)) == 1) {
		if (deadline_left(deadline) == 0)
			return err_set(e, ERR_TIMEOUT, 0,
				       "block device '%.64s' did not appear within %lld s "
				       "(agent.hotplug_timeout)",
				       address, (long long)s->config.hotplug_timeout_ms / 1000);
		if (fiber_sleep(s->loop, POLL_MS, e) < 0)
			return -1;
	}
	return rc;
}

static bool is_block_type(const char *type)
{
	for (size_t i = 0; i < ARRAY_LEN(block_types); i++) {
		if (str_eq(block_types[i], type))
			return true;
	}
	return false;
}

/* The engine wrote the host's numbers; the guest's are others. */
static int set_numbers(Grpc__Linux *lx, const char *container_path, dev_t guest, dev_t *host,
		       struct err *e)
{
	for (size_t i = 0; lx && i < lx->n_devices; i++) {
		Grpc__LinuxDevice *d = lx->devices[i];

		if (!str_eq(d->path, container_path))
			continue;
		*host = makedev((unsigned)d->major, (unsigned)d->minor);
		d->major = major(guest);
		d->minor = minor(guest);
		return 0;
	}
	return err_set(e, ERR_INVALID, 0, "'%.100s' is not in linux.devices", container_path);
}

void device_rules_renumber(Grpc__LinuxDeviceCgroup *const *rules, size_t count,
			   const struct renumbering *disks, size_t disk_count)
{
	for (size_t i = 0; i < count; i++) {
		Grpc__LinuxDeviceCgroup *r = rules[i];

		/* a character device may have the same numbers */
		if (str_eq(r->type, "c") || r->major < 0 || r->minor < 0)
			continue;
		for (size_t j = 0; j < disk_count; j++) {
			if (makedev((unsigned)r->major, (unsigned)r->minor) != disks[j].host)
				continue;
			r->major = major(disks[j].guest);
			r->minor = minor(disks[j].guest);
			break; /* what it is now may be another's number on the host */
		}
	}
}

void device_rates_renumber(Grpc__LinuxBlockIO *io, const struct renumbering *disks,
			   size_t disk_count)
{
	const struct {
		Grpc__LinuxThrottleDevice **list;
		size_t count;
	} all[] = {
		{ io->throttlereadbpsdevice, io->n_throttlereadbpsdevice },
		{ io->throttlewritebpsdevice, io->n_throttlewritebpsdevice },
		{ io->throttlereadiopsdevice, io->n_throttlereadiopsdevice },
		{ io->throttlewriteiopsdevice, io->n_throttlewriteiopsdevice },
	};

	for (size_t k = 0; k < ARRAY_LEN(all); k++) {
		for (size_t i = 0; i < all[k].count; i++) {
			Grpc__LinuxThrottleDevice *t = all[k].list[i];

			for (size_t j = 0; j < disk_count; j++) {
				if (makedev((unsigned)t->major, (unsigned)t->minor) !=
				    disks[j].host)
					continue;
				t->major = major(disks[j].guest);
				t->minor = minor(disks[j].guest);
				break;
			}
		}
	}
}

static int attach_disk(struct sandbox *s, const Grpc__CreateContainerRequest *r, size_t i,
		       struct renumbering *out, struct arena *a, struct err *e)
{
	const Grpc__Device *d = r->devices[i];
	char node[PATH_MAX];
	struct stat st;

	if (device_wait_block(s, *d->vm_path ? d->vm_path : d->id, node, sizeof(node), e) < 0)
		return -1;
	if (stat(node, &st) < 0)
		return err_sys(e, "'%s'", node);
	out->guest = st.st_rdev;
	if (device_mount_is(d))
		return device_mount_disk(r, i, st.st_rdev, &out->host, a, e);
	return set_numbers(r->oci->linux, d->container_path, st.st_rdev, &out->host, e);
}

/* One of linux.devices, which keeps its numbers. */
static int check_named(const Grpc__Linux *lx, const Grpc__Device *d, struct err *e)
{
	char what[120];

	(void)snprintf(what, sizeof(what), "linux.devices '%.90s'", d->container_path);
	for (size_t i = 0; lx && i < lx->n_devices; i++) {
		const Grpc__LinuxDevice *l = lx->devices[i];

		if (str_eq(l->path, d->container_path))
			return device_check_char(what, (unsigned)l->major, (unsigned)l->minor,
						 d->vm_path, e);
	}
	return err_set(e, ERR_INVALID, 0, "'%.100s' is not in linux.devices",
		       d->container_path);
}

int devices_attach(struct sandbox *s, const Grpc__CreateContainerRequest *r, struct arena *a,
		   struct err *e)
{
	const Grpc__LinuxResources *res = r->oci->linux ? r->oci->linux->resources : NULL;
	struct renumbering *disks = arena_calloc(a, r->n_devices + 1, sizeof(*disks));
	size_t disk_count = 0;
	int rc;

	if (!disks)
		return err_oom(e, "devices");
	for (size_t i = 0; i < r->n_devices; i++) {
		const Grpc__Device *d = r->devices[i];

		if (is_block_type(d->type))
			rc = attach_disk(s, r, i, &disks[disk_count++], a, e);
		else if (str_eq(d->type, "char"))
			rc = device_mount_is(d) ? device_mount_char(r, i, a, e)
						: check_named(r->oci->linux, d, e);
		else
			rc = err_set(e, ERR_UNSUPPORTED, 0, "type '%.32s' is not supported",
				     d->type);
		if (rc == 0)
			continue;
		/* those say that there is no program, or that it may not be executed */
		if (e->kind == ERR_NOT_FOUND || e->kind == ERR_DENIED)
			e->kind = ERR_SYS;
		return err_wrap(e, "devices[%zu]", i);
	}
	if (res)
		device_rules_renumber(res->devices, res->n_devices, disks, disk_count);
	if (res && res->blockio)
		device_rates_renumber(res->blockio, disks, disk_count);
	return 0;
}
