/* SPDX-License-Identifier: Apache-2.0 */
/*
 * kata-stand-in: the process that stands on the host for a container in a VM, so that what
 * callers do with a container's process id (ps, /proc/<pid>/root, /proc/<pid>/ns/net, nsenter,
 * wait) meets the container and never the VMM. The engine starts it in the sandbox's namespaces
 * and a mount namespace of its own, with a detached mount of the container's root file system
 * as descriptor 3 and a report pipe as descriptor 4; it makes that its root, gives everything
 * up, says so and waits for SIGKILL. It does nothing else, and under its seccomp filter it
 * cannot.
 */
#include <fcntl.h>
#include <linux/audit.h>
#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

enum {
	ROOT_FD = 3,
	REPORT_FD = 4
};

#if defined(__x86_64__)
#define ARCH AUDIT_ARCH_X86_64
#elif defined(__aarch64__)
#define ARCH AUDIT_ARCH_AARCH64
#else
#error "no seccomp architecture for this processor"
#endif

/* The kernel's numbers, which are the same everywhere (Linux 5.2); older headers lack them. */
#ifndef SYS_move_mount
#define SYS_move_mount 429
#endif
#ifndef MOVE_MOUNT_F_EMPTY_PATH
#define MOVE_MOUNT_F_EMPTY_PATH 4
#endif

/* Of all that was copied with the engine's mounts nothing is left but the root and what is in
 * it. */
static int enter_root(void)
{
	if (syscall(SYS_move_mount, ROOT_FD, "", AT_FDCWD, "/proc", MOVE_MOUNT_F_EMPTY_PATH) <
		    0 ||
	    fchdir(ROOT_FD) < 0 || syscall(SYS_pivot_root, ".", ".") < 0 ||
	    umount2(".", MNT_DETACH) < 0)
		return -1;
	return chdir("/");
}

static int drop_capabilities(void)
{
	struct __user_cap_header_struct hdr = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct none[2] = { 0 };

	for (int cap = 0; cap < 64; cap++)
		(void)prctl(PR_CAPBSET_DROP, cap, 0, 0, 0); /* EINVAL past the last one */
	return (int)syscall(SYS_capset, &hdr, none);
}

/* Waiting and ending are all that is left. */
static int lock_down(void)
{
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, arch)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, ARCH, 0, 4),
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_ppoll, 3, 0),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_restart_syscall, 2, 0),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_write, 1, 0),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog prog = { .len = sizeof(code) / sizeof(code[0]), .filter = code };

	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
		return -1;
	return prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &prog, 0, 0);
}

/* The statuses are known to src/sandbox/stand_in.c. */
int main(void)
{
	const char ready = 'r';

	if (enter_root() < 0)
		return 1;
	(void)close(ROOT_FD);
	if (drop_capabilities() < 0)
		return 2;
	if (lock_down() < 0)
		return 3;
	if (write(REPORT_FD, &ready, 1) != 1)
		return 4;
	for (;;)
		(void)syscall(SYS_ppoll, NULL, 0, NULL, NULL, 0);
}
