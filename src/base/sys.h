/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The only file with syscall(), missing constants or copied kernel structures, each with
 * the kernel version it came from. The wrappers behave like libc's (-1 and errno) and hold
 * no policy. Floor: the headers of Debian 12 (kernel 6.1) and of its musl.
 */
#pragma once

#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* openat2(2), Linux 5.6 */
#ifndef RESOLVE_IN_ROOT
#define RESOLVE_NO_XDEV       0x01
#define RESOLVE_NO_MAGICLINKS 0x02
#define RESOLVE_NO_SYMLINKS   0x04
#define RESOLVE_BENEATH       0x08
#define RESOLVE_IN_ROOT       0x10
#endif
/* close_range(2), Linux 5.11 */
#ifndef CLOSE_RANGE_CLOEXEC
#define CLOSE_RANGE_CLOEXEC (1U << 2)
#endif
/* seccomp(2): the architecture that system calls' numbers are of */
#if defined(__x86_64__)
#define SYS_AUDIT_ARCH AUDIT_ARCH_X86_64
#elif defined(__aarch64__)
#define SYS_AUDIT_ARCH AUDIT_ARCH_AARCH64
#else
#error "no seccomp architecture for this processor"
#endif
/* clone3(2), Linux 5.3 and 5.7 */
#ifndef CLONE_PIDFD
#define CLONE_PIDFD 0x00001000
#endif
#ifndef CLONE_NEWCGROUP
#define CLONE_NEWCGROUP 0x02000000
#endif
#ifndef CLONE_NEWTIME
#define CLONE_NEWTIME 0x00000080 /* Linux 5.6 */
#endif
#ifndef CLONE_INTO_CGROUP
#define CLONE_INTO_CGROUP 0x200000000ULL
#endif
/* mount_setattr(2), Linux 5.12 */
#ifndef MOUNT_ATTR_RDONLY
#define MOUNT_ATTR_RDONLY 0x00000001
#endif
#ifndef MOUNT_ATTR_NOSUID
#define MOUNT_ATTR_NOSUID 0x00000002
#endif
#ifndef MOUNT_ATTR_NODEV
#define MOUNT_ATTR_NODEV 0x00000004
#endif
#ifndef MOUNT_ATTR_NOEXEC
#define MOUNT_ATTR_NOEXEC 0x00000008
#endif
#ifndef MOUNT_ATTR__ATIME
#define MOUNT_ATTR__ATIME      0x00000070
#define MOUNT_ATTR_NOATIME     0x00000010
#define MOUNT_ATTR_STRICTATIME 0x00000020
#define MOUNT_ATTR_NODIRATIME  0x00000080
#endif
#ifndef MOUNT_ATTR_RELATIME
#define MOUNT_ATTR_RELATIME 0x00000000
#endif
#ifndef MOUNT_ATTR_NOSYMFOLLOW
#define MOUNT_ATTR_NOSYMFOLLOW 0x00200000 /* Linux 5.14 */
#endif
#ifndef OPEN_TREE_CLONE
#define OPEN_TREE_CLONE 1
#endif
#ifndef MOVE_MOUNT_F_EMPTY_PATH
#define MOVE_MOUNT_F_EMPTY_PATH 0x00000004
#endif
#ifndef AT_RECURSIVE
#define AT_RECURSIVE 0x8000
#endif
#ifndef MOVE_MOUNT_T_EMPTY_PATH
#define MOVE_MOUNT_T_EMPTY_PATH 0x00000040
#endif
#ifndef MS_NOSYMFOLLOW
#define MS_NOSYMFOLLOW 256 /* Linux 5.10 */
#endif
#ifndef PR_SET_MDWE
#define PR_SET_MDWE 65 /* Linux 6.3 */
#endif

struct sys_open_how { /* struct open_how */
	uint64_t flags;
	uint64_t mode;
	uint64_t resolve;
};

struct sys_clone_args { /* struct clone_args, CLONE_ARGS_SIZE_VER2 */
	uint64_t flags;
	uint64_t pidfd;
	uint64_t child_tid;
	uint64_t parent_tid;
	uint64_t exit_signal;
	uint64_t stack;
	uint64_t stack_size;
	uint64_t tls;
	uint64_t set_tid;
	uint64_t set_tid_size;
	uint64_t cgroup;
};

struct sys_mount_attr { /* struct mount_attr */
	uint64_t attr_set;
	uint64_t attr_clr;
	uint64_t propagation;
	uint64_t userns_fd;
};

int sys_openat2(int dirfd, const char *path, uint64_t flags, mode_t mode, uint64_t resolve);
int sys_pidfd_open(pid_t pid);
int sys_pidfd_send_signal(int pidfd, int sig);
int sys_close_range(unsigned first, unsigned last, unsigned flags);
/* Like fork(), without libc's at-fork work: 0 in the child, the pid in the parent, -1. */
pid_t sys_clone3(struct sys_clone_args *args);
/* The same by clone(2), which filters can look into where they refuse clone3(2): CLONE_NEW*. */
pid_t sys_fork_with(unsigned long flags);
int sys_pivot_root(const char *new_root, const char *put_old);
int sys_mount_setattr(int dirfd, const char *path, unsigned flags, uint64_t set, uint64_t clear,
		      uint64_t propagation);
int sys_open_tree(int dirfd, const char *path, unsigned flags);
int sys_move_mount(int from, const char *from_path, int to, const char *to_path,
		   unsigned flags);
/*
 * A new mount of a file system without a source ("tmpfs") that is nowhere: fsopen(2) and
 * fsmount(2), Linux 5.2. It goes with its descriptor.
 */
int sys_mount_detached(const char *type);
int sys_memfd_create(const char *name, unsigned flags);
int sys_finit_module(int fd, const char *params, int flags);
int sys_delete_module(const char *name, unsigned flags);
int sys_capset(uint64_t effective, uint64_t permitted, uint64_t inheritable);
int sys_capget(uint64_t *effective, uint64_t *permitted, uint64_t *inheritable);
int sys_keyctl_join_session(const char *name);
/* execveat(2) of the file that `fd` is (AT_EMPTY_PATH). */
int sys_execveat(int fd, char *const *argv, char *const *envp);
/* seccomp(2), SECCOMP_SET_MODE_FILTER; `prog` is a struct sock_fprog. */
int sys_seccomp_filter(unsigned flags, const void *prog);
int sys_bpf(int cmd, void *attr, unsigned size);
/* `attr` is a struct perf_event_attr; no group; close-on-exec. */
int sys_perf_event_open(const void *attr, pid_t pid, int cpu);
int sys_sched_setattr(const void *attr);
/* ioprio_set(2) for the calling process. */
int sys_ioprio_set(int value);
/* The highest capability number the running kernel knows. */
int sys_last_cap(void);
