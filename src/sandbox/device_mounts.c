/* SPDX-License-Identifier: Apache-2.0 */
/* What the agent is told of a device that is a mount's source. */
#include "sandbox/device_mounts.h"

#include <errno.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include "base/device_name.h"
#include "base/err.h"
#include "sandbox/disks.h"
#include "sandbox/internal.h"

/* Who may use it there is who may use it here. */
static int add_device(struct container *c, const Grpc__Mount *m, const struct stat *st,
		      const char *type, const char *id, const char *vm_path, struct err *e)
{
	char **options = arena_calloc(&c->arena, 1, sizeof(*options));
	Grpc__Device *d;

	if (!options)
		return err_oom(e, "a device");
	options[0] = arena_printf(&c->arena, "mode=%04o,uid=%u,gid=%u", st->st_mode & 07777,
				  st->st_uid, st->st_gid);
	if (!options[0])
		return err_oom(e, "a device");
	if (container_add_device(c, type, id, vm_path, m->source, &d, e) < 0)
		return -1;
	d->options = options;
	d->n_options = 1;
	return 0;
}

static int use_block(struct container *c, const Grpc__Mount *m, const struct stat *st,
		     const char *source, bool read_only, struct err *e)
{
	unsigned major = major(st->st_rdev), minor = minor(st->st_rdev);
	struct disk *d;
	char node[DISK_NODE_SIZE];

	read_only |= !disk_may_write(c->spec->linux, major, minor);
	if (disk_find_node(major, minor, node, sizeof(node), e) < 0 ||
	    disk_plug(c, node, read_only, &d, e) < 0 ||
	    add_device(c, m, st, "blk", d->id, d->at.pci_path, e) < 0)
		return -1;
	log_info(&c->log, "mount on '%s': '%s' plugged in as a disk%s", m->destination, source,
		 d->read_only ? ", read-only" : "");
	return 0;
}

/* include/linux/fs.h: CHRDEV_MAJOR_DYN_END to 254, CHRDEV_MAJOR_DYN_EXT_END to 511. */
static bool is_given_as_drivers_come(unsigned number)
{
	return (number >= 234 && number <= 254) || (number >= 384 && number <= 511);
}

/*
 * With the name that the kernel gives it: numbers that drivers get as they come are often
 * another device's in the guest.
 */
static int use_char(struct container *c, const Grpc__Mount *m, const struct stat *st,
		    const char *source, struct err *e)
{
	char name[256] = "";
	int rc =
		device_name('c', major(st->st_rdev), minor(st->st_rdev), name, sizeof(name), e);

	if (rc > 0 && is_given_as_drivers_come(major(st->st_rdev)))
		return err_set(e, ERR_UNSUPPORTED, 0,
			       "mount on '%.80s': no driver of the host has '%.80s' (c %u:%u): "
			       "load it, or leave the mount out",
			       m->destination, source, major(st->st_rdev), minor(st->st_rdev));
	if (rc < 0 || add_device(c, m, st, "char", "", name, e) < 0)
		return -1;
	log_info(&c->log, "mount on '%s': the guest's own device %s in place of '%s'",
		 m->destination, m->source, source);
	return 0;
}

int device_mount_use(struct container *c, Grpc__Mount *m, bool read_only, struct err *e)
{
	const char *source = m->source;
	struct stat st;

	/* what cannot be looked at is refused by who shares it */
	if (stat(source, &st) < 0 || (!S_ISBLK(st.st_mode) && !S_ISCHR(st.st_mode)))
		return 0;
	m->source = arena_printf(&c->arena, "%c %u:%u", S_ISBLK(st.st_mode) ? 'b' : 'c',
				 major(st.st_rdev), minor(st.st_rdev));
	m->type = arena_strdup(&c->arena, "bind");
	if (!m->source || !m->type)
		return err_oom(e, "a mount");
	if (S_ISBLK(st.st_mode))
		return use_block(c, m, &st, source, read_only, e) < 0
			       ? err_wrap(e, "block device '%s'", source)
			       : 1;
	return use_char(c, m, &st, source, e) < 0 ? -1 : 1;
}

bool device_mounts_want_disks(const Grpc__Spec *spec)
{
	struct stat st;

	for (size_t i = 0; i < spec->n_mounts; i++) {
		const Grpc__Mount *m = spec->mounts[i];

		if (mount_is_bind(m) && stat(m->source, &st) == 0 && S_ISBLK(st.st_mode))
			return true;
	}
	return false;
}
