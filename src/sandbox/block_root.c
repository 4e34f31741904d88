/* SPDX-License-Identifier: Apache-2.0 */
/* From containerd's Mount to a device of the machine and a Storage of the agent's. */
#include "sandbox/block_root.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "base/err.h"
#include "base/str.h"
#include "base/time.h"
#include "sandbox/internal.h"
#include "vmm/vmm.h"

enum {
	PLUG_MS = 10 * 1000
};

static bool has_option(const struct rootfs_mount *m, const char *word)
{
	for (size_t i = 0; i < m->option_count; i++) {
		if (str_eq(m->options[i], word))
			return true;
	}
	return false;
}

bool block_root_is(const struct rootfs_mount *mounts, size_t count)
{
	const struct rootfs_mount *m = mounts;
	struct stat st;

	if (count != 1 || !m->source || m->source[0] != '/' || str_eq(m->type, "bind") ||
	    str_eq(m->type, "overlay") || has_option(m, "bind") || has_option(m, "rbind") ||
	    stat(m->source, &st) < 0)
		return false;
	return S_ISBLK(st.st_mode) || (S_ISREG(st.st_mode) && has_option(m, "loop"));
}

/* What is left for the guest's mount(2): the loop device is the host's affair. */
static int fill_storage(struct container *c, const struct rootfs_mount *m, const char *address,
			struct err *e)
{
	struct arena *a = &c->arena;
	Grpc__Storage *st = arena_alloc(a, sizeof(*st));

	if (!st)
		return err_oom(e, "a storage");
	grpc__storage__init(st);
	st->driver = arena_strdup(a, "blk");
	st->source = arena_strdup(a, address);
	st->fstype = arena_strdup(a, m->type);
	st->mount_point = arena_printf(a, GUEST_ROOTS "/%s/rootfs", c->id);
	st->options = arena_calloc(a, m->option_count + 1, sizeof(char *));
	if (!st->driver || !st->source || !st->fstype || !st->mount_point || !st->options)
		return err_oom(e, "a storage");
	for (size_t i = 0; i < m->option_count; i++) {
		if (str_eq(m->options[i], "loop") || str_starts(m->options[i], "loop="))
			continue;
		st->options[st->n_options] = arena_strdup(a, m->options[i]);
		if (!st->options[st->n_options++])
			return err_oom(e, "a storage");
	}
	c->disk.storage = st;
	return 0;
}

int block_root_plug(struct container *c, const struct rootfs_mount *m, struct err *e)
{
	struct sandbox *s = c->sandbox;
	struct vmm_device d = { .kind = VMM_DEV_BLK, .id = c->disk.id };
	struct vmm_device_addr at;

	if (vmm_require(s->vmm, VMM_CAP_HOTPLUG_BLK, e) < 0)
		return err_wrap(e,
				"root file system '%s' is a disk (disable_block_device_use "
				"shares it instead)",
				m->source);
	(void)snprintf(c->disk.id, sizeof(c->disk.id), "disk%u", s->next_disk++);
	d.blk.path = m->source;
	d.blk.read_only = has_option(m, "ro");
	if (vmm_device_add(s->vmm, &d, deadline_in(PLUG_MS), &at, e) < 0)
		return err_wrap(e, "root file system '%s'", m->source);
	c->disk.plugged = true;
	log_info(&c->log, "root file system: '%s' (%s) plugged in as a disk", m->source,
		 m->type);
	return fill_storage(c, m, at.pci_path, e);
}

int block_root_unplug(struct container *c, struct err *e)
{
	struct sandbox *s = c->sandbox;

	if (!c->disk.plugged)
		return 0;
	c->disk.plugged = false;
	if (s->state != SANDBOX_READY || s->vm_lost)
		return 0;
	return vmm_device_remove(s->vmm, c->disk.id, deadline_in(PLUG_MS), e);
}
