/* SPDX-License-Identifier: Apache-2.0 */
/* Start and end of the virtual machine. */
#include "agent/boot.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <net/if.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "agent/modules.h"
#include "base/err.h"
#include "base/fd.h"
#include "base/log.h"
#include "base/own.h"
#include "base/path.h"

#define PATH_ENV "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

enum {
	MAX_FILES = 1 << 20
};

static const struct boot_mount {
	const char *type, *target, *data;
	unsigned long flags;
	mode_t mode; /* of the directory, if it is made */
	bool needed; /* the kernel may lack the others */
} mounts[] = {
	/* clang-format off */
	{ "proc",     "/proc",		"",		    MS_NOSUID | MS_NODEV | MS_NOEXEC, 0555, true },
	{ "sysfs",    "/sys",		"",		    MS_NOSUID | MS_NODEV | MS_NOEXEC, 0555, true },
	{ "devtmpfs", "/dev",		"mode=0755",	    MS_NOSUID, 0755, true },
	{ "devpts",   "/dev/pts",	"mode=0620,ptmxmode=0666,gid=5", MS_NOSUID | MS_NOEXEC, 0755, false },
	{ "tmpfs",    "/dev/shm",	"mode=1777",	    MS_NOSUID | MS_NODEV, 01777, true },
	{ "mqueue",   "/dev/mqueue",	"",		    MS_NOSUID | MS_NODEV | MS_NOEXEC, 01777, false },
	{ "tmpfs",    "/run",		"mode=0755",	    MS_NOSUID | MS_NODEV, 0755, true },
	{ "cgroup2",  "/sys/fs/cgroup", "nsdelegate",	    MS_NOSUID | MS_NODEV | MS_NOEXEC, 0755, true },
	/* clang-format on */
};

static const struct {
	const char *path, *value;
} sysctls[] = {
	{ "kernel/dmesg_restrict", "0" }, /* a container's dmesg shows its own guest */
	/* a kernel that has stopped one of its processes in the middle ends the machine */
	{ "kernel/panic_on_oops", "1" },
	{ "net/ipv4/ping_group_range", "0 2147483647" },
	/* an address that goes takes no others of its subnet along */
	{ "net/ipv4/conf/all/promote_secondaries", "1" },
	{ "net/ipv4/conf/default/promote_secondaries", "1" },
	{ "vm/overcommit_memory", "0" },
	{ "fs/file-max", "9223372036854775807" },
	{ "fs/nr_open", "1073741816" }, /* the largest that RLIMIT_NOFILE may then be */
};

/*
 * The kernel unpacks an initrd into its first root, out of which pivot_root(2) refuses to
 * turn. A bind mount of it, moved on top and entered, is the same files as an ordinary root.
 * The root of a disk is one already, and read-only.
 */
static int leave_first_root(struct err *e)
{
	const char *at = "/.root";
	struct statfs fs;

	if (statfs("/", &fs) < 0)
		return err_sys(e, "statfs '/'");
	if (fs.f_type != RAMFS_MAGIC && fs.f_type != TMPFS_MAGIC)
		return 0;

	if (mkdir(at, 0700) < 0 && errno != EEXIST)
		return err_sys(e, "mkdir '%s'", at);
	if (mount("/", at, NULL, MS_BIND, NULL) < 0 || chdir(at) < 0 ||
	    mount(".", "/", NULL, MS_MOVE, NULL) < 0 || chroot(".") < 0 || chdir("/") < 0)
		return err_sys(e, "make an ordinary root");
	(void)rmdir(at);
	return 0;
}

static int mount_all(struct err *e)
{
	for (size_t i = 0; i < ARRAY_LEN(mounts); i++) {
		const struct boot_mount *m = &mounts[i];

		if (mkdir(m->target, m->mode) < 0 && errno != EEXIST)
			return err_sys(e, "mkdir '%s'", m->target);
		if (mount(m->type, m->target, m->type, m->flags, m->data) == 0 ||
		    errno == EBUSY)
			continue;
		if (m->needed)
			return err_sys(e, "mount %s on %s", m->type, m->target);
		log_debug(NULL, "no %s", m->type);
	}
	return 0;
}

static const struct {
	const char *target, *name;
} dev_links[] = {
	{ "/proc/self/fd", "/dev/fd" },
	{ "/proc/self/fd/0", "/dev/stdin" },
	{ "/proc/self/fd/1", "/dev/stdout" },
	{ "/proc/self/fd/2", "/dev/stderr" },
};

/* devtmpfs has no links of its own; the debug console's shell wants them. */
static void link_dev(void)
{
	for (size_t i = 0; i < ARRAY_LEN(dev_links); i++) {
		if (symlink(dev_links[i].target, dev_links[i].name) < 0 && errno != EEXIST)
			log_debug(NULL, "cannot link %s", dev_links[i].name);
	}
}

/* Kernel parameters of a distribution may forbid user namespaces; containers may need them. */
static void allow_user_namespaces(int sys)
{
	char now[32], value[32];
	struct err ignored;
	uint64_t v = 0;

	if (file_read_line(sys, "user/max_user_namespaces", now, sizeof(now), &ignored) < 0 ||
	    strtoull(now, NULL, 10) > 0)
		return;
	/* as the kernel derives it: half of the threads there may be */
	if (file_read_line(sys, "kernel/threads-max", now, sizeof(now), &ignored) == 0)
		v = strtoull(now, NULL, 10) / 2;
	(void)snprintf(value, sizeof(value), "%llu", (unsigned long long)(v ? v : 1024));
	(void)file_write_value(sys, "user/max_user_namespaces", value, &ignored);
}

static void set_sysctls(void)
{
	OWN(fd) int sys = open("/proc/sys", O_PATH | O_DIRECTORY | O_CLOEXEC);
	struct err why;

	for (size_t i = 0; sys >= 0 && i < ARRAY_LEN(sysctls); i++) {
		if (file_write_value(sys, sysctls[i].path, sysctls[i].value, &why) < 0)
			log_debug(NULL, "%s", why.msg);
	}
	allow_user_namespaces(sys);
}

static void loopback_up(void)
{
	OWN(fd) int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	struct ifreq r = { 0 };

	(void)snprintf(r.ifr_name, sizeof(r.ifr_name), "lo");
	if (fd < 0 || ioctl(fd, SIOCGIFFLAGS, &r) < 0)
		return;
	r.ifr_flags |= IFF_UP;
	if (ioctl(fd, SIOCSIFFLAGS, &r) < 0)
		log_warn(NULL, "cannot bring the loopback interface up");
}

int boot_set_up(struct err *e)
{
	struct rlimit files = { .rlim_cur = MAX_FILES, .rlim_max = MAX_FILES };

	(void)umask(022);
	if (leave_first_root(e) < 0 || mount_all(e) < 0)
		return -1;
	link_dev();
	(void)setenv("PATH", PATH_ENV, 1);
	if (setrlimit(RLIMIT_NOFILE, &files) < 0)
		log_warn(NULL, "cannot raise the limit of open files");
	if (modules_boot(e) < 0)
		return -1;
	set_sysctls();
	loopback_up();
	return 0;
}

void boot_power_off(void)
{
	sync();
	(void)reboot(RB_POWER_OFF);
	/* no power to switch off: the kernel panics when its first process ends, and panic=1
	 * ends it */
	_exit(0);
}
