/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The system calls that libc does not offer: right numbers, right layouts. What changes the
 * process is done in a child. What only root, or only a guest, may do is not called here:
 * tests/unit/test_spawn.c and tests/integ reach those.
 */
#include "unit.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/own.h"
#include "base/sys.h"

/* Runs a part in a child; its number is where it failed. */
static void in_child(int (*part)(void))
{
	int status;
	pid_t pid = fork();

	assert_true(pid >= 0);
	if (pid == 0)
		_exit(part());
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
}

static void test_openat2(void **state)
{
	OWN(fd) int fd = sys_openat2(AT_FDCWD, "/proc/self/exe", O_RDONLY | O_CLOEXEC, 0, 0);

	assert_true(fd >= 0);
	assert_int_equal(
		sys_openat2(AT_FDCWD, "/proc/self/exe", O_RDONLY, 0, RESOLVE_NO_MAGICLINKS),
		-1);
	assert_int_equal(errno, ELOOP);
	assert_int_equal(sys_openat2(AT_FDCWD, "/proc", O_RDONLY, 0, RESOLVE_BENEATH), -1);
	assert_int_equal(errno, EXDEV);
	assert_int_equal(sys_openat2(AT_FDCWD, "/proc", O_RDONLY, 0777, 0), -1);
	assert_int_equal(errno, EINVAL); /* a mode where nothing is made */
}

static void test_processes(void **state)
{
	uint64_t pidfd_place = UINT64_MAX;
	struct sys_clone_args args = { .flags = CLONE_PIDFD,
				       .pidfd = (uintptr_t)&pidfd_place,
				       .exit_signal = SIGCHLD };
	OWN(fd) int pidfd = -1;
	OWN(fd) int second = -1;
	int status;
	pid_t pid = sys_clone3(&args);

	assert_true(pid >= 0);
	if (pid == 0)
		for (;;)
			(void)pause();
	pidfd = (int)(uint32_t)pidfd_place;
	second = sys_pidfd_open(pid);
	assert_true(pidfd >= 0 && second >= 0);
	assert_true(fcntl(second, F_GETFD) & FD_CLOEXEC);
	assert_int_equal(sys_pidfd_send_signal(second, 0), 0);
	assert_int_equal(sys_pidfd_send_signal(pidfd, SIGTERM), 0);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGTERM);
	assert_int_equal(sys_pidfd_send_signal(pidfd, 0), -1);
	assert_int_equal(errno, ESRCH);
	assert_int_equal(sys_pidfd_open(pid), -1);
	args.flags = UINT64_MAX;
	assert_int_equal(sys_clone3(&args), -1);
}

static int close_many(void)
{
	int a = open("/dev/null", O_RDWR | O_CLOEXEC), b = dup(a);

	if (sys_close_range(3, ~0U, CLOSE_RANGE_CLOEXEC) < 0)
		return 1;
	if (!(fcntl(b, F_GETFD) & FD_CLOEXEC))
		return 2;
	if (sys_close_range(3, ~0U, 0) < 0 || fcntl(a, F_GETFD) >= 0)
		return 3;
	return sys_close_range(5, 4, 0) == -1 && errno == EINVAL ? 0 : 4;
}

/* /bin/true in memory, executed by its descriptor. */
static int execute_memory(void)
{
	char *argv[] = { (char *)(uintptr_t) "memory", NULL }, *envp[] = { NULL };
	int from = open("/bin/true", O_RDONLY | O_CLOEXEC), to;
	char block[4096];
	ssize_t n;

	to = sys_memfd_create("unit", MFD_CLOEXEC);
	if (from < 0 || to < 0)
		return 1;
	while ((n = read(from, block, sizeof(block))) > 0)
		if (write(to, block, (size_t)n) != n)
			return 2;
	(void)sys_execveat(to, argv, envp);
	return 3;
}

static int drop_capabilities(void)
{
	uint64_t effective = 1, permitted = 1, inheritable = 1;

	if (sys_capget(&effective, &permitted, &inheritable) < 0)
		return 1;
	if (effective & ~permitted)
		return 2;
	/* halves of the 64 bits must not change places */
	if (sys_capset(permitted & UINT64_C(0xffffffff00000000),
		       permitted & UINT64_C(0xffffffff00000000), 0) < 0)
		return 3;
	if (sys_capget(&effective, &permitted, &inheritable) < 0 ||
	    effective & UINT64_C(0xffffffff))
		return 4;
	if (sys_capset(0, 0, 0) < 0 || sys_capget(&effective, &permitted, &inheritable) < 0)
		return 5;
	if (effective || permitted || inheritable)
		return 6;
	return sys_capset(1, 1, 0) == -1 && errno == EPERM ? 0 : 7;
}

static int install_filter(void)
{
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_personality, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EXDEV),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog prog = { .len = ARRAY_LEN(code), .filter = code };

	if (sys_seccomp_filter(0x40000000, &prog) != -1 || errno != EINVAL)
		return 1;
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 || sys_seccomp_filter(0, &prog) < 0)
		return 2;
	return syscall(SYS_personality, -1) == -1 && errno == EXDEV ? 0 : 3;
}

struct attributes { /* struct sched_attr of sched_setattr(2), its first version */
	uint32_t size, policy;
	uint64_t flags;
	int32_t nice;
	uint32_t priority;
	uint64_t runtime, deadline, period;
};

static int schedule(void)
{
	struct attributes a = { .size = sizeof(a), .policy = SCHED_BATCH, .nice = 19 };

	if (sys_sched_setattr(&a) < 0 || sched_getscheduler(0) != SCHED_BATCH)
		return 1;
	a.policy = 99;
	if (sys_sched_setattr(&a) != -1 || errno != EINVAL)
		return 2;
	if (sys_ioprio_set(3 << 13) < 0) /* IOPRIO_CLASS_IDLE */
		return 3;
	if (syscall(SYS_ioprio_get, 1, 0) >> 13 != 3)
		return 4;
	return sys_ioprio_set(7 << 13) == -1 && errno == EINVAL ? 0 : 5;
}

static int mount_apart(void)
{
	int tree;

	if (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
	    mount("unit", "/mnt", "tmpfs", 0, NULL) < 0 || mkdir("/mnt/a", 0755) < 0 ||
	    mkdir("/mnt/b", 0755) < 0)
		return 1;
	tree = sys_open_tree(AT_FDCWD, "/mnt/a", OPEN_TREE_CLONE | O_CLOEXEC);
	if (tree < 0)
		return 2;
	if (sys_mount_setattr(tree, "", AT_EMPTY_PATH, MOUNT_ATTR_RDONLY, 0, 0) < 0)
		return 3;
	if (sys_move_mount(tree, "", AT_FDCWD, "/mnt/b", MOVE_MOUNT_F_EMPTY_PATH) < 0)
		return 4;
	if (mkdir("/mnt/b/x", 0755) == 0 || errno != EROFS)
		return 5;
	if (mkdir("/mnt/a/x", 0755) < 0 || access("/mnt/b/x", F_OK) < 0)
		return 6;
	if (chdir("/mnt/b") < 0 || sys_pivot_root(".", ".") < 0 || umount2(".", MNT_DETACH) < 0)
		return 7;
	return access("/x", F_OK) == 0 && access("/proc", F_OK) < 0 ? 0 : 8;
}

static void test_close_range(void **state)
{
	in_child(close_many);
}

static void test_execveat(void **state)
{
	in_child(execute_memory);
}

static void test_capabilities(void **state)
{
	in_child(drop_capabilities);
	assert_in_range(sys_last_cap(), 35, 63);
	assert_int_equal(prctl(PR_CAPBSET_READ, sys_last_cap() + 1, 0, 0, 0), -1);
}

static void test_seccomp(void **state)
{
	in_child(install_filter);
}

static void test_schedule(void **state)
{
	in_child(schedule);
}

static void test_mounts(void **state)
{
	if (geteuid() != 0) {
		skip_because("only root can mount");
	}
	in_child(mount_apart);
}

/* Nobody grants these here; that they reach the kernel shows in how it refuses. */
static void test_refusals(void **state)
{
	char nothing[8] = { 0 };

	assert_int_equal(sys_finit_module(-1, "", 0), -1);
	assert_true(errno == EBADF || errno == EPERM || errno == ENOSYS);
	assert_int_equal(sys_delete_module("kata_no_such_module", O_NONBLOCK), -1);
	assert_true(errno == ENOENT || errno == EPERM || errno == ENOSYS);
	assert_int_equal(sys_bpf(99999, nothing, sizeof(nothing)), -1);
	assert_true(errno == EINVAL || errno == EPERM);
	assert_int_equal(sys_mount_setattr(-1, "", 0x40000000, 0, 0, 0), -1);
	assert_true(errno == EINVAL || errno == EPERM);
	assert_int_equal(sys_memfd_create("unit", ~0U), -1);
	assert_int_equal(errno, EINVAL);
}

static int join_session(void)
{
	long before = syscall(SYS_keyctl, 0, -3, 0), after; /* KEYCTL_GET_KEYRING_ID, session */

	if (sys_keyctl_join_session("unit") < 0)
		return errno == ENOSYS || errno == EDQUOT || errno == EPERM ? 0 : 1;
	after = syscall(SYS_keyctl, 0, -3, 0);
	return after > 0 && after != before ? 0 : 2;
}

static void test_keyring(void **state)
{
	in_child(join_session);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_openat2),      cmocka_unit_test(test_processes),
		cmocka_unit_test(test_close_range),  cmocka_unit_test(test_execveat),
		cmocka_unit_test(test_capabilities), cmocka_unit_test(test_seccomp),
		cmocka_unit_test(test_schedule),     cmocka_unit_test(test_mounts),
		cmocka_unit_test(test_refusals),     cmocka_unit_test(test_keyring),
	};

	return cmocka_run_group_tests_name("sys", tests, NULL, NULL);
}
