/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The container's view of files: its root, mounts and devices, then pivot_root, then what is
 * hidden or made read-only. The mount namespace is the stage's own already.
 */
#include <errno.h>
#include <fcntl.h>
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
#include "oci/mount_options.h"

static int open_root(struct stage *s, struct err *e)
{
	const char *path = s->spec->root ? s->spec->root->path : "";

	if (path[0] != '/')
		return err_set(e, ERR_INVALID, 0, "root.path '%.100s' is not absolute", path);
	/* a mount of its own, so that pivot_root takes it and attributes are its alone */
	if (mount(path, path, NULL, MS_BIND | MS_REC, NULL) < 0)
		return err_sys(e, "root.path '%s'", path);
	s->root_fd = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (s->root_fd < 0)
		return err_sys(e, "root.path '%s'", path);
	return 0;
}

static int pivot(struct stage *s, struct err *e)
{
	if (fchdir(s->root_fd) < 0)
		return err_sys(e, "enter the root");
	/* the old root lands on top of the new one and is taken off at once: no directory
	 * needed */
	if (sys_pivot_root(".", ".") < 0)
		return err_sys(e, "pivot_root");
	if (mount(NULL, ".", NULL, MS_SLAVE | MS_REC, NULL) < 0)
		return err_sys(e, "detach the guest's mounts");
	if (umount2(".", MNT_DETACH) < 0)
		return err_sys(e, "unmount the guest's root");
	if (chdir("/") < 0)
		return err_sys(e, "enter the root");
	fd_close(&s->root_fd);
	s->root_fd = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
	return s->root_fd < 0 ? err_sys(e, "open the root") : 0;
}

int rootfs_enter(struct stage *s, struct err *e)
{
	const char *word = s->linux_->rootfspropagation;

	if (*word && !mount_propagation_of(word))
		return err_set(e, ERR_INVALID, 0, "linux.rootfsPropagation '%.64s'", word);
	if (mount(NULL, "/", NULL, MS_PRIVATE | MS_REC, NULL) < 0)
		return err_sys(e, "make mounts private");
	if (open_root(s, e) < 0)
		return -1;
	for (size_t i = 0; i < s->spec->n_mounts; i++) {
		if (mount_one(s, i, e) < 0)
			return -1;
	}
	if (devices_make(s, e) < 0)
		return -1;
	return pivot(s, e);
}

/* The container's /dev/null, if it is one: an image could have put a link there. */
static int open_null(int *out, struct err *e)
{
	OWN(fd) int fd = open("/dev/null", O_PATH | O_NOFOLLOW | O_CLOEXEC);
	struct stat st;

	if (fd < 0 || fstat(fd, &st) < 0)
		return err_sys(e, "/dev/null");
	if (!S_ISCHR(st.st_mode) || st.st_rdev != makedev(1, 3))
		return err_set(e, ERR_INVALID, 0,
			       "/dev/null of the container is no null device");
	*out = fd_take(&fd);
	return 0;
}

/* A directory vanishes behind an empty read-only tmpfs, a file behind /dev/null. */
static int mask(const char *path, struct err *e)
{
	char null_name[PATH_FD_LEN];
	OWN(fd) int null = -1;
	OWN(fd) int at = open(path, O_PATH | O_CLOEXEC);
	char name[PATH_FD_LEN];
	struct stat st;
	int rc;

	if (at < 0)
		return errno == ENOENT || errno == ENOTDIR ? 0 : err_sys(e, "open");
	if (fstat(at, &st) < 0)
		return err_sys(e, "stat");
	(void)path_of_fd(at, name);
	if (!S_ISDIR(st.st_mode) && open_null(&null, e) < 0)
		return -1;
	if (S_ISDIR(st.st_mode))
		rc = mount("tmpfs", name, "tmpfs", MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOEXEC,
			   "size=0k");
	else
		rc = mount(path_of_fd(null, null_name), name, NULL, MS_BIND, NULL);
	return rc < 0 ? err_sys(e, "cover") : 0;
}

static int restrict_paths(struct stage *s, struct err *e)
{
	for (size_t i = 0; i < s->linux_->n_readonlypaths; i++) {
		if (mount_readonly_over(s->linux_->readonlypaths[i], e) < 0)
			return err_wrap(e, "linux.readonlyPaths[%zu]", i);
	}
	for (size_t i = 0; i < s->linux_->n_maskedpaths; i++) {
		if (mask(s->linux_->maskedpaths[i], e) < 0)
			return err_wrap(e, "linux.maskedPaths[%zu] '%.100s'", i,
					s->linux_->maskedpaths[i]);
	}
	return 0;
}

int rootfs_finish(struct stage *s, struct err *e)
{
	unsigned long propagation = mount_propagation_of(s->linux_->rootfspropagation);

	if (mounts_finish(s, e) < 0 || restrict_paths(s, e) < 0)
		return -1;
	if (propagation && mount(NULL, "/", NULL, propagation, NULL) < 0)
		return err_sys(e, "linux.rootfsPropagation");
	if (s->spec->root->readonly &&
	    sys_mount_setattr(s->root_fd, "", AT_EMPTY_PATH, MOUNT_ATTR_RDONLY, 0, 0) < 0)
		return err_sys(e, "root.readonly");
	return 0;
}
