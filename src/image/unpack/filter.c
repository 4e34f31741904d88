/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The helper's system call filter. The lists hold what the tasks, libarchive and libc's
 * memory and directory functions call; the numbers behind them are the build machine's.
 */
#include "image/unpack/helper.h"

#include <errno.h>
#include <seccomp.h>

#include "base/err.h"
#include "base/own.h"

/* clang-format off: a table, several to a line */
#define CALL(name)                                                                             \
	{                                                                                      \
		SCMP_SYS(name), #name                                                          \
	}
static const struct call {
	int nr;
	const char *name;
} common[] = {
	CALL(read), CALL(write), CALL(close), CALL(fstat), CALL(newfstatat), CALL(lseek),
	CALL(mmap), CALL(munmap), CALL(mremap), CALL(brk), CALL(mprotect), CALL(madvise),
	CALL(exit), CALL(exit_group), CALL(rt_sigreturn), CALL(rt_sigaction), CALL(rt_sigprocmask),
	CALL(futex), CALL(getrandom), CALL(clock_gettime), CALL(gettimeofday), CALL(restart_syscall),
	CALL(sched_yield), CALL(gettid), CALL(getpid),
}, untar_calls[] = {
	CALL(openat), CALL(openat2), CALL(statx), CALL(getdents64), CALL(fcntl), CALL(pwrite64),
	CALL(ftruncate), CALL(fchown), CALL(fchownat), CALL(fchmod), CALL(fchmodat),
	CALL(utimensat), CALL(fsetxattr), CALL(mkdirat), CALL(mknodat), CALL(symlinkat),
	CALL(linkat), CALL(unlinkat),
}, pack_calls[] = {
	CALL(openat), CALL(open), CALL(getdents64), CALL(fcntl), CALL(dup), CALL(statx), CALL(stat),
	CALL(lstat), CALL(fstatfs), CALL(statfs), CALL(readlink), CALL(readlinkat), CALL(fchdir),
	CALL(chdir), CALL(flistxattr), CALL(fgetxattr), CALL(llistxattr), CALL(lgetxattr),
	CALL(listxattr), CALL(getxattr), CALL(ioctl), CALL(fadvise64), CALL(getuid), CALL(geteuid),
	CALL(umask), CALL(pread64), CALL(access), CALL(faccessat),
};
/* clang-format on */

static const struct list {
	const struct call *calls;
	size_t n;
} lists[CONFINE_COUNT_] = {
	[CONFINE_UNTAR] = { untar_calls, ARRAY_LEN(untar_calls) },
	[CONFINE_PACK] = { pack_calls, ARRAY_LEN(pack_calls) },
};

static int allow(scmp_filter_ctx ctx, const struct call *calls, size_t n, struct err *e)
{
	for (size_t i = 0; i < n; i++) {
		int rc;

		/* __NR_SCMP_ERROR and pseudo numbers: a call this architecture does not have */
		if (calls[i].nr < 0)
			continue;
		rc = seccomp_rule_add(ctx, SCMP_ACT_ALLOW, calls[i].nr, 0);
		if (rc < 0)
			return err_set(e, ERR_SYS, -rc, "unpacker: allow %s", calls[i].name);
	}
	return 0;
}

int confine_filter(enum confine_profile profile, struct err *e)
{
	scmp_filter_ctx ctx = seccomp_init(SCMP_ACT_KILL_PROCESS);
	int rc = -1, load;

	if (!ctx)
		return err_oom(e, "the unpacker's system call filter");
	if (allow(ctx, common, ARRAY_LEN(common), e) == 0 &&
	    allow(ctx, lists[profile].calls, lists[profile].n, e) == 0) {
		load = seccomp_load(ctx);
		rc = load < 0 ? err_set(e, ERR_SYS, -load,
					"unpacker: load its system call filter")
			      : 0;
	}
	seccomp_release(ctx);
	return rc;
}
