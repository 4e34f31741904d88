/* SPDX-License-Identifier: Apache-2.0 */
/* From containerd's Mount to a device of the machine and a Storage of the agent's. */
#include "sandbox/block_root.h"

#include <string.h>
#include <sys/stat.h>

#include "base/err.h"
#include "base/str.h"
#include "oci/mount_options.h"
#include "sandbox/disks.h"
#include "sandbox/internal.h"

bool block_root_is(const struct rootfs_mount *mounts, size_t count)
{
	const struct rootfs_mount *m = mounts;
	struct stat st;

	if (count != 1 || !m->source || m->source[0] != '/' || str_eq(m->type, "bind") ||
	    str_eq(m->type, "overlay") || rootfs_mount_has(m, "bind") ||
	    rootfs_mount_has(m, "rbind") || stat(m->source, &st) < 0)
		return false;
	return S_ISBLK(st.st_mode) || (S_ISREG(st.st_mode) && rootfs_mount_has(m, "loop"));
}

/* What is left for the guest's mount(2): the loop device is the host's affair. */
static int fill_options(struct container *c, const struct rootfs_mount *m, Grpc__Storage *st,
			struct err *e)
{
	if (storage_options_room(c, st, m->option_count, e) < 0)
		return -1;
	for (size_t i = 0; i < m->option_count; i++) {
		if (mount_word_is_loop(m->options[i]))
			continue;
		if (storage_add_option(c, st, m->options[i], e) < 0)
			return -1;
	}
	return 0;
}

int block_root_plug(struct container *c, const struct rootfs_mount *m, struct err *e)
{
	const char *where = arena_printf(&c->arena, GUEST_ROOTS "/%s/rootfs", c->id);
	struct disk *d;

	if (!where)
		return err_oom(e, "a path");
	if (disk_plug(c, m->source, rootfs_mount_has(m, "ro"), &d, e) < 0)
		return err_wrap(e,
				"root file system '%s' is a disk (disable_block_device_use "
				"shares it instead)",
				m->source);
	log_info(&c->log, "root file system: '%s' (%s) plugged in as a disk", m->source,
		 m->type);
	if (container_add_storage(c, "blk", d->at.pci_path, m->type, where, &c->root_disk, e) <
	    0)
		return -1;
	return fill_options(c, m, c->root_disk, e);
}
