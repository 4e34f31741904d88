/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The helper's confinement. The starter has put it into mount, network, IPC and UTS
 * namespaces of its own; here it gives up the rest. There is no PID namespace: the filter
 * allows neither new processes nor signals nor ptrace, so other processes are out of reach
 * without one.
 */
#include "image/unpack/helper.h"

#include <fcntl.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>
#include <linux/capability.h>

#include "base/err.h"
#include "base/own.h"
#include "base/sys.h"

#define CAP_BIT(c) (1ULL << (c))

static const struct profile {
	uint64_t caps;
	uint64_t memory;
} profiles[CONFINE_COUNT_] = {
	/* CHOWN, FOWNER, FSETID: owners and set-id modes; MKNOD: devices; SETFCAP: file
	   capabilities */
	[CONFINE_UNTAR] = { .caps = CAP_BIT(CAP_CHOWN) | CAP_BIT(CAP_DAC_OVERRIDE) |
				    CAP_BIT(CAP_FOWNER) | CAP_BIT(CAP_FSETID) |
				    CAP_BIT(CAP_MKNOD) | CAP_BIT(CAP_SETFCAP),
			    .memory = 512ULL << 20 },
	/* the largest window of zstd's and xz's usual levels, several times over */
	[CONFINE_INFLATE] = { .caps = 0, .memory = 1ULL << 30 },
	[CONFINE_PACK] = { .caps = CAP_BIT(CAP_DAC_READ_SEARCH), .memory = 512ULL << 20 },
};

int confine_root(int dir_fd, int read_only, struct err *e)
{
	uint64_t attrs =
		MOUNT_ATTR_NODEV | MOUNT_ATTR_NOSUID | (read_only ? MOUNT_ATTR_RDONLY : 0);
	OWN(fd) int root = -1;

	if (sys_mount_setattr(dir_fd, "", AT_EMPTY_PATH, attrs, 0, 0) < 0)
		return err_sys(e, "unpacker: restrict the mount of its directory");
	/* pivot_root wants a mount point of this namespace; any will do, as all go away */
	if (sys_move_mount(dir_fd, "", AT_FDCWD, "/", MOVE_MOUNT_F_EMPTY_PATH) < 0)
		return err_sys(e, "unpacker: attach its directory");
	if (fchdir(dir_fd) < 0)
		return err_sys(e, "unpacker: enter its directory");
	/* the new root over the old one, then the old one away: nothing else stays reachable */
	if (sys_pivot_root(".", ".") < 0 || umount2(".", MNT_DETACH) < 0 || chdir("/") < 0)
		return err_sys(e, "unpacker: make its directory the root");
	/* from here on like any process in a root of its own: ".." of it is itself */
	root = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (root < 0 || dup3(root, dir_fd, O_CLOEXEC) < 0)
		return err_sys(e, "unpacker: open its root");
	return 0;
}

static int limit(int which, uint64_t max, struct err *e)
{
	struct rlimit r;

	/* a caller that allows less is not overruled: it may need a privilege */
	if (getrlimit(which, &r) < 0)
		return err_sys(e, "unpacker: getrlimit %d", which);
	if (r.rlim_max == RLIM_INFINITY || r.rlim_max > max)
		r.rlim_max = max;
	r.rlim_cur = r.rlim_max;
	if (setrlimit(which, &r) < 0)
		return err_sys(e, "unpacker: setrlimit %d", which);
	return 0;
}

int confine_limits(enum confine_profile profile, uint64_t file_bytes, struct err *e)
{
	if (limit(RLIMIT_CORE, 0, e) < 0 || limit(RLIMIT_NOFILE, 320, e) < 0 ||
	    limit(RLIMIT_FSIZE, file_bytes, e) < 0)
		return -1;
#ifndef __SANITIZE_ADDRESS__ /* whose shadow reserves more address space than any limit */
	return limit(RLIMIT_AS, profiles[profile].memory, e);
#else
	return 0;
#endif
}

int confine_drop(enum confine_profile profile, struct err *e)
{
	uint64_t keep = profiles[profile].caps, effective, permitted, inheritable;
	int last = sys_last_cap();

	/* inside a container the starter may have fewer itself: what lacks one fails by name */
	if (sys_capget(&effective, &permitted, &inheritable) < 0)
		return err_sys(e, "unpacker: read its capabilities");
	keep &= permitted;
	for (int cap = 0; cap <= last; cap++) {
		if (!(keep >> cap & 1) && prctl(PR_CAPBSET_READ, cap, 0, 0, 0) == 1 &&
		    prctl(PR_CAPBSET_DROP, cap, 0, 0, 0) < 0)
			return err_sys(e, "unpacker: drop capability %d", cap);
	}
	if (sys_capset(keep, keep, 0) < 0)
		return err_sys(e, "unpacker: drop capabilities");
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
		return err_sys(e, "unpacker: no_new_privs");
	return confine_filter(profile, e);
}
