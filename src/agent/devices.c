/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Device nodes of a container: the six every container has, those of linux.devices, and the
 * links of the runtime specification. Where nodes cannot be made (a user namespace, a share
 * that has none) the guest's own node of the same numbers is bound.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "agent/stage_steps.h"
#include "base/own.h"
#include "base/path.h"
#include "base/str.h"
#include "base/sys.h"

struct node {
	const char *path;
	mode_t type; /* S_IFCHR, S_IFBLK, S_IFIFO */
	mode_t mode;
	unsigned major, minor;
	uid_t uid;
	gid_t gid;
};

static const struct node default_nodes[] = {
	{ "/dev/null", S_IFCHR, 0666, 1, 3, 0, 0 },
	{ "/dev/zero", S_IFCHR, 0666, 1, 5, 0, 0 },
	{ "/dev/full", S_IFCHR, 0666, 1, 7, 0, 0 },
	{ "/dev/random", S_IFCHR, 0666, 1, 8, 0, 0 },
	{ "/dev/urandom", S_IFCHR, 0666, 1, 9, 0, 0 },
	{ "/dev/tty", S_IFCHR, 0666, 5, 0, 0, 0 },
};

static const struct {
	const char *target, *name;
} links[] = {
	{ "/proc/self/fd", "fd" },       { "/proc/self/fd/0", "stdin" },
	{ "/proc/self/fd/1", "stdout" }, { "/proc/self/fd/2", "stderr" },
	{ "pts/ptmx", "ptmx" },
};
/* Where the kernel has it (runtime specification, "Dev symbolic links"). */
#define KCORE "/proc/kcore"

static const struct {
	const char *letter;
	mode_t type;
} device_types[] = {
	{ "c", S_IFCHR },
	{ "u", S_IFCHR },
	{ "b", S_IFBLK },
	{ "p", S_IFIFO },
};

/* The directory of `path` below the root, and the name in it. */
static int open_parent(struct stage *s, const char *path, int *out, const char **name,
		       struct err *e)
{
	const char *slash = strrchr(path, '/');
	OWN(free) char *parent = NULL;

	if (!slash || !path_is_component(slash + 1))
		return err_set(e, ERR_INVALID, 0, "device path '%.100s'", path);
	parent = strndup(path, (size_t)(slash - path));
	if (!parent)
		return err_oom(e, "a device's path");
	if (path_mkdirs_beneath(s->root_fd, parent, 0755, out, e) < 0)
		return -1;
	*name = slash + 1;
	return 0;
}

static bool is_same_node(int dir, const char *name, const struct node *n)
{
	struct stat st;

	return fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) == 0 &&
	       (st.st_mode & S_IFMT) == n->type &&
	       (n->type == S_IFIFO || st.st_rdev == makedev(n->major, n->minor));
}

/* The guest's node of these numbers, mounted over an empty file. */
static int bind_node(struct stage *s, const struct node *n, struct err *e)
{
	OWN(fd) int source = open(n->path, O_PATH | O_NOFOLLOW | O_CLOEXEC);
	OWN(fd) int target = -1;
	OWN(fd) int tree = -1;
	struct stat st;

	if (source < 0 || fstat(source, &st) < 0 || (st.st_mode & S_IFMT) != n->type ||
	    st.st_rdev != makedev(n->major, n->minor))
		return err_set(e, ERR_SYS, EPERM, "device '%s': cannot be made here", n->path);
	if (path_mkfile_beneath(s->root_fd, n->path, 0644, &target, e) < 0)
		return -1;
	tree = sys_open_tree(source, "", OPEN_TREE_CLONE | O_CLOEXEC | AT_EMPTY_PATH);
	if (tree < 0 || sys_move_mount(tree, "", target, "",
				       MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH) < 0)
		return err_sys(e, "bind device '%s'", n->path);
	return 0;
}

static int make_node(struct stage *s, const struct node *n, struct err *e)
{
	OWN(fd) int dir = -1;
	const char *name;

	if (open_parent(s, n->path, &dir, &name, e) < 0)
		return -1;
	if (is_same_node(dir, name, n))
		return 0;
	if (mknodat(dir, name, n->type | n->mode, makedev(n->major, n->minor)) < 0) {
		if (errno == EPERM || errno == ENXIO || errno == EROFS || errno == EACCES)
			return bind_node(s, n, e);
		return err_sys(e, "make device '%s'", n->path);
	}
	/* mknod's mode is cut by the umask, which is 0 here; owner last, it may clear bits */
	if (fchownat(dir, name, n->uid, n->gid, AT_SYMLINK_NOFOLLOW) < 0)
		return err_sys(e, "chown device '%s'", n->path);
	return 0;
}

static int node_of(const Grpc__LinuxDevice *d, struct node *out, struct err *e)
{
	struct node n = {
		.path = d->path,
		.mode = d->filemode ? d->filemode & 07777 : 0666,
		.major = (unsigned)d->major,
		.minor = (unsigned)d->minor,
		.uid = d->uid,
		.gid = d->gid,
	};

	for (size_t i = 0; i < ARRAY_LEN(device_types); i++) {
		if (str_eq(device_types[i].letter, d->type))
			n.type = device_types[i].type;
	}
	if (!n.type)
		return err_set(e, ERR_INVALID, 0, "type '%.16s'", d->type);
	if (d->path[0] != '/')
		return err_set(e, ERR_INVALID, 0, "path '%.100s' is not absolute", d->path);
	if (n.type != S_IFIFO &&
	    (d->major < 0 || d->minor < 0 || d->major > 4095 || d->minor > 0xfffff))
		return err_set(e, ERR_INVALID, 0, "number %lld:%lld", (long long)d->major,
			       (long long)d->minor);
	*out = n;
	return 0;
}

static int make_links(struct stage *s, struct err *e)
{
	OWN(fd) int dev = -1;

	if (path_mkdirs_beneath(s->root_fd, "/dev", 0755, &dev, e) < 0)
		return -1;
	for (size_t i = 0; i < ARRAY_LEN(links); i++) {
		if (symlinkat(links[i].target, dev, links[i].name) < 0 && errno != EEXIST)
			return err_sys(e, "link '/dev/%s'", links[i].name);
	}
	if (access(KCORE, F_OK) == 0 && symlinkat(KCORE, dev, "core") < 0 && errno != EEXIST)
		return err_sys(e, "link '/dev/core'");
	return 0;
}

/* A specification that binds a /dev of its own brings its own nodes. */
static bool dev_is_bound(const struct stage *s)
{
	for (size_t i = 0; i < s->spec->n_mounts; i++) {
		const Grpc__Mount *m = s->spec->mounts[i];

		if ((str_eq(m->destination, "/dev") || str_eq(m->destination, "/dev/")) &&
		    str_eq(m->type, "bind"))
			return true;
	}
	return false;
}

static int make_all(struct stage *s, struct err *e)
{
	struct node n;

	for (size_t i = 0; i < ARRAY_LEN(default_nodes); i++) {
		if (make_node(s, &default_nodes[i], e) < 0)
			return -1;
	}
	for (size_t i = 0; i < s->linux_->n_devices; i++) {
		if (node_of(s->linux_->devices[i], &n, e) < 0 || make_node(s, &n, e) < 0)
			return err_wrap(e, "linux.devices[%zu]", i);
	}
	return make_links(s, e);
}

int devices_make(struct stage *s, struct err *e)
{
	mode_t old;
	int rc;

	if (dev_is_bound(s))
		return 0;
	old = umask(0);
	rc = make_all(s, e);
	(void)umask(old);
	if (rc < 0 && (e->kind == ERR_NOT_FOUND || e->kind == ERR_DENIED))
		e->kind = ERR_SYS;
	return rc;
}
