/* SPDX-License-Identifier: Apache-2.0 */
/* Device nodes that a container has by a mount. */
#include "agent/device_mounts.h"

#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "agent/modules.h"
#include "base/device_name.h"
#include "base/err.h"
#include "base/mem.h"
#include "base/path.h"
#include "base/str.h"

struct source {
	Grpc__Mount *mount;
	unsigned major, minor; /* the host's */
	unsigned mode, uid, gid;
};

bool device_mount_is(const Grpc__Device *d)
{
	/* the paths of linux.devices are absolute */
	return d->container_path[0] != '/';
}

/* `before` and a number behind it; moves on. */
static bool take_number(const char **p, const char *before, int base, unsigned *out)
{
	const char *digits = *p + strlen(before);
	unsigned long v;
	char *end;

	if (!str_starts(*p, before) || *digits < '0' || *digits > '9')
		return false;
	v = strtoul(digits, &end, base);
	if (v > UINT_MAX)
		return false;
	*out = (unsigned)v;
	*p = end;
	return true;
}

static bool parse(const Grpc__Device *d, struct source *out)
{
	const char *p = d->container_path;

	if ((p[0] != 'b' && p[0] != 'c') || d->n_options != 1)
		return false;
	p++;
	if (!take_number(&p, " ", 10, &out->major) || !take_number(&p, ":", 10, &out->minor) ||
	    *p)
		return false;
	p = d->options[0];
	return take_number(&p, "mode=", 8, &out->mode) &&
	       take_number(&p, ",uid=", 10, &out->uid) &&
	       take_number(&p, ",gid=", 10, &out->gid) && !*p;
}

/* The first mount that no other device has been found for: they come in the same order. */
static int find_source(const Grpc__CreateContainerRequest *r, size_t i, struct source *out,
		       struct err *e)
{
	const Grpc__Device *d = r->devices[i];

	if (!parse(d, out))
		return err_set(e, ERR_INVALID, 0, "'%.64s' is not the source of a mount",
			       d->container_path);
	for (size_t m = 0; m < r->oci->n_mounts; m++) {
		out->mount = r->oci->mounts[m];
		if (str_eq(out->mount->type, "bind") &&
		    str_eq(out->mount->source, d->container_path))
			return 0;
	}
	return err_set(e, ERR_INVALID, 0, "'%.64s' is the source of no mount",
		       d->container_path);
}

/*
 * One with the host's owner and mode: those of the guest's own node are for its own root, and
 * another container may have its own idea of them.
 */
static int make_node(const Grpc__CreateContainerRequest *r, size_t i, const struct source *from,
		     mode_t type, dev_t number, struct arena *a, struct err *e)
{
	char *dir = arena_printf(a, DEVICE_MOUNTS_DIR "/%s", r->container_id);
	char *path = arena_printf(a, DEVICE_MOUNTS_DIR "/%s/%zu", r->container_id, i);

	if (!dir || !path)
		return err_oom(e, "a device");
	/* root of a user namespace is nobody here, and mounts it */
	if (path_mkdirs(dir, 0711, e) < 0)
		return -1;
	/* owner before mode: a change of it may clear bits, and the umask is not of interest */
	if (mknod(path, type | 0600, number) < 0 || chown(path, from->uid, from->gid) < 0 ||
	    chmod(path, from->mode & 07777) < 0)
		return err_sys(e, "make device '%s'", path);
	from->mount->source = path;
	return 0;
}

int device_mount_disk(const Grpc__CreateContainerRequest *r, size_t i, dev_t guest,
		      dev_t *host_out, struct arena *a, struct err *e)
{
	struct source from;

	if (find_source(r, i, &from, e) < 0 || make_node(r, i, &from, S_IFBLK, guest, a, e) < 0)
		return -1;
	*host_out = makedev(from.major, from.minor);
	return 0;
}

/*
 * 1: there is none. Its driver may be a module that nobody has needed so far, which has this
 * alias for the kernel when such a node is opened; that could have effects of its own.
 */
static int find_char(unsigned major, unsigned minor, char *name, size_t size, struct err *e)
{
	int rc = device_name('c', major, minor, name, size, e);
	char alias[64];
	struct err ignored;

	if (rc <= 0)
		return rc;
	(void)snprintf(alias, sizeof(alias), "char-major-%u-%u", major, minor);
	if (module_load(alias, NULL, 0, &ignored) < 0) {
		(void)snprintf(alias, sizeof(alias), "char-major-%u", major);
		(void)module_load(alias, NULL, 0, &ignored);
	}
	return device_name('c', major, minor, name, size, e);
}

int device_check_char(const char *what, unsigned major, unsigned minor, const char *host_name,
		      struct err *e)
{
	char name[256];
	int rc = find_char(major, minor, name, sizeof(name), e);

	if (rc < 0)
		return -1;
	if (rc)
		return err_set(e, ERR_UNSUPPORTED, 0,
			       "%.100s: the guest has no device c %u:%u: use a guest kernel "
			       "that has its driver, or leave it out",
			       what, major, minor);
	if (*host_name && !str_eq(host_name, name))
		return err_set(e, ERR_UNSUPPORTED, 0,
			       "%.100s: the guest has no '%.40s': its device c %u:%u is "
			       "'%.40s'; leave it out",
			       what, host_name, major, minor, name);
	return 0;
}

int device_mount_char(const Grpc__CreateContainerRequest *r, size_t i, struct arena *a,
		      struct err *e)
{
	struct source from;
	char what[100];

	if (find_source(r, i, &from, e) < 0)
		return -1;
	(void)snprintf(what, sizeof(what), "mount on '%.80s'", from.mount->destination);
	if (device_check_char(what, from.major, from.minor, r->devices[i]->vm_path, e) < 0)
		return -1;
	return make_node(r, i, &from, S_IFCHR, makedev(from.major, from.minor), a, e);
}

int device_mounts_remove(const char *container_id, struct err *e)
{
	char path[sizeof(DEVICE_MOUNTS_DIR) + 256];

	if (snprintf(path, sizeof(path), DEVICE_MOUNTS_DIR "/%s", container_id) >=
	    (int)sizeof(path))
		return 0; /* nothing was made for one with such an id */
	return path_remove_tree(AT_FDCWD, path, e);
}
