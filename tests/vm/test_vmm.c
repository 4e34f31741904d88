/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The VMM layer with real guests. KATA_TEST_KERNEL and KATA_TEST_INITRD come from run.py;
 * KATA_TEST_ACCEL=kvm and KATA_TEST_MACHINE=microvm choose other machines than q35 with TCG;
 * KATA_TEST_PLUG=1 plugs in what test_host_vhost_net otherwise has at boot.
 */
#include <arpa/inet.h>
#include <dirent.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <netinet/in.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/path.h"
#include "base/str.h"
#include "base/time.h"
#include "vm_help.h"

static bool is_microvm(const struct vm *vm)
{
	return vm->config.machine && strcmp(vm->config.machine, "microvm") == 0;
}

static void check_life(struct vm *vm)
{
	OWN(buf) struct buf out = BUF_INIT;
	char text[4096] = "", path[64];
	struct err e;
	uint64_t pss;
	size_t count;
	pid_t tids[4];

	vm_boot(vm);
	vm_expect(vm, "echo hello; false || exit 0", "hello");
	assert_int_equal(vm_shell(vm, "exit 7", &out), 7);
	assert_ok(vmm_memory_kib(vm->vmm, &pss, &e), &e);
	printf("# PSS %llu MB\n", (unsigned long long)pss / 1024);
	assert_ok(vmm_vcpu_threads(vm->vmm, vm_deadline(), tids, 4, &count, &e), &e);
	assert_int_equal(count, 1);
	(void)snprintf(path, sizeof(path), "/proc/%d/cmdline", (int)vmm_pid(vm->vmm));
	assert_ok(file_read_line(AT_FDCWD, path, text, sizeof(text), &e), &e);
	assert_non_null(strstr(text, "qemu"));
	assert_ok(vmm_pause(vm->vmm, vm_deadline(), &e), &e);
	assert_ok(vmm_resume(vm->vmm, vm_deadline(), &e), &e);
	vm_expect(vm, "uname -r", ".");
	assert_int_equal(fiber_write_all(vm->loop, vm->port, "busybox poweroff -f\n", 20,
					 vm_deadline(), &e),
			 0);
	assert_ok(vmm_wait(vm->vmm, vm_deadline(), &e), &e);
	assert_int_equal(vm->exits, 1);
	if (vm->exit.reason != VMM_EXIT_SHUTDOWN)
		fail_msg("%s: %s", vmm_exit_reason_name(vm->exit.reason), vm->exit.text);
	assert_err(vmm_pause(vm->vmm, vm_deadline(), &e), &e, ERR_STATE);
}

static void test_life(void **state)
{
	(void)state;
	vm_run(check_life);
}

static void check_panic(struct vm *vm)
{
	struct err e;

	vm_boot(vm);
	assert_int_equal(fiber_write_all(vm->loop, vm->port, "exit\n", 5, vm_deadline(), &e),
			 0);
	assert_ok(vmm_wait(vm->vmm, vm_deadline(), &e), &e);
	if (vm->exit.reason != VMM_EXIT_PANIC ||
	    !strstr(vm->exit.text, "Attempted to kill init"))
		fail_msg("%s: %s", vmm_exit_reason_name(vm->exit.reason), vm->exit.text);
}

static void test_panic(void **state)
{
	(void)state;
	vm_run(check_panic);
}

static void check_killed(struct vm *vm)
{
	struct err e;

	vm_boot(vm);
	assert_int_equal(kill(vmm_pid(vm->vmm), SIGKILL), 0);
	assert_ok(vmm_wait(vm->vmm, vm_deadline(), &e), &e);
	assert_int_equal(vm->exit.reason, VMM_EXIT_KILLED);
	assert_int_equal(vm->exit.code, SIGKILL);
	assert_int_equal(vmm_pid(vm->vmm), 0);
}

static void test_killed(void **state)
{
	(void)state;
	vm_run(check_killed);
}

static void make_file(const char *path, size_t size, const char *text)
{
	int fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);

	assert_true(fd >= 0);
	assert_int_equal(ftruncate(fd, (off_t)size), 0);
	assert_int_equal(pwrite(fd, text, strlen(text), 0), (ssize_t)strlen(text));
	(void)close(fd);
}

static void check_9p(struct vm *vm)
{
	char dir[] = "/tmp/vmtest.XXXXXX", path[64], text[32];
	struct vmm_device *d;
	struct stat st;
	struct err e;

	assert_non_null(mkdtemp(dir));
	(void)snprintf(path, sizeof(path), "%s/host,file", dir);
	make_file(path, 6, "secret");
	assert_int_equal(chmod(path, 0600), 0);
	d = vm_device(vm, VMM_DEV_9P, "share");
	d->p9.tag = "share";
	d->p9.path = dir;
	vm->config.uid = vm->config.gid = 0;
	vm_boot(vm);
	vm_expect(
		vm,
		"mount -t 9p -o trans=virtio,version=9p2000.L,cache=mmap,msize=512000 share /tmp",
		NULL);
	vm_expect(vm, "cat /tmp/host,file", "secret");
	vm_expect(vm, "echo back > /tmp/guest; chown 12:34 /tmp/guest; chmod 640 /tmp/guest",
		  NULL);
	vm_expect(vm, "ls /tmp/../tmp; mknod /tmp/null c 1 3 || true", "guest");
	(void)snprintf(path, sizeof(path), "%s/guest", dir);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_uid, 12);
	assert_int_equal(st.st_gid, 34);
	assert_int_equal(st.st_mode & 0777, 0640);
	assert_ok(file_read_line(AT_FDCWD, path, text, sizeof(text), &e), &e);
	assert_string_equal(text, "back");
	assert_ok(path_remove_tree(AT_FDCWD, dir, &e), &e);
}

static void test_9p(void **state)
{
	(void)state;
	vm_run(check_9p);
}

static void check_blk(struct vm *vm)
{
	char first[] = "/tmp/vmdisk1.XXXXXX", second[] = "/tmp/vmdisk2.XXXXXX";
	struct vmm_device_addr addr, boot;
	struct vmm_device *d, plugged = { .kind = VMM_DEV_BLK, .id = "disk2" };
	struct err e;

	(void)close(mkstemp(first));
	(void)close(mkstemp(second));
	make_file(first, 1 << 20, "first disk");
	make_file(second, 1 << 20, "second disk");
	d = vm_device(vm, VMM_DEV_BLK, "disk1");
	d->blk.path = first;
	plugged.blk.path = second;
	vm_boot(vm);
	vm_expect(vm, "head -c 10 /dev/vda", "first disk");
	vm_expect(vm, "echo changed > /dev/vda; sync", NULL);
	if (is_microvm(vm)) {
		assert_err(vmm_device_add(vm->vmm, &plugged, vm_deadline(), &addr, &e), &e,
			   ERR_UNSUPPORTED);
		assert_non_null(strstr(e.msg, "microvm: no block hot-plug"));
		return;
	}
	assert_ok(vmm_device_addr(vm->vmm, "disk1", vm_deadline(), &boot, &e), &e);
	for (int i = 0; i < 2; i++) {
		char look[200];

		assert_ok(vmm_device_add(vm->vmm, &plugged, vm_deadline(), &addr, &e), &e);
		assert_err(vmm_device_add(vm->vmm, &plugged, vm_deadline(), &addr, &e), &e,
			   ERR_EXISTS);
		assert_string_equal(addr.pci_path, "10/00");
		(void)snprintf(
			look, sizeof(look),
			"for i in $(seq 200); do head -c 11 /dev/vdb 2>/dev/null && break; usleep 20000; done;"
			"readlink -f /sys/block/vdb");
		vm_expect(vm, look, "second disk");
		vm_expect(vm, look, ":10.0/0000:");
		assert_ok(vmm_device_remove(vm->vmm, "disk2", vm_deadline(), &e), &e);
		vm_expect(vm, "test ! -e /dev/vdb", NULL);
	}
	assert_err(vmm_device_remove(vm->vmm, "disk2", vm_deadline(), &e), &e, ERR_NOT_FOUND);
	(void)unlink(first);
	(void)unlink(second);
}

static void test_blk(void **state)
{
	(void)state;
	vm_run(check_blk);
}

/* One disk of files with 8, 3 and 64 sectors, of which the last has more than are taken. */
static void check_extents(struct vm *vm)
{
	char dir[] = "/tmp/vmtest.XXXXXX", paths[3][64];
	struct vmm_extent extents[3] = { { paths[0], 8 }, { paths[1], 3 }, { paths[2], 64 } };
	struct vmm_device plugged = {
		.kind = VMM_DEV_BLK,
		.id = "layers",
		.blk = { .extents = extents, .extent_count = 3, .read_only = true },
	};
	struct vmm_device_addr addr;
	struct err e;

	assert_non_null(mkdtemp(dir));
	for (size_t i = 0; i < 3; i++) {
		(void)snprintf(paths[i], sizeof(paths[i]), "%s/%zu \"%s\"", dir, i,
			       i ? "x" : "");
		make_file(paths[i], 512 * extents[i].sectors + (i == 2 ? 4096 : 0),
			  (const char *[]){ "first", "second", "third" }[i]);
	}
	vm_boot(vm);
	if (is_microvm(vm)) {
		assert_err(vmm_device_add(vm->vmm, &plugged, vm_deadline(), &addr, &e), &e,
			   ERR_UNSUPPORTED);
		assert_ok(path_remove_tree(AT_FDCWD, dir, &e), &e);
		return;
	}
	for (int i = 0; i < 2; i++) {
		assert_ok(vmm_device_add(vm->vmm, &plugged, vm_deadline(), &addr, &e), &e);
		vm_expect(vm,
			  "for i in $(seq 200); do head -c 5 /dev/vda 2>/dev/null && break;"
			  "usleep 20000; done; cat /sys/block/vda/size",
			  "first75");
		vm_expect(vm, "dd if=/dev/vda bs=512 skip=8 count=1 2>/dev/null | head -c 6",
			  "second");
		vm_expect(vm, "dd if=/dev/vda bs=512 skip=11 2>/dev/null | head -c 5", "third");
		vm_expect(vm, "cat /sys/block/vda/ro; ! echo x > /dev/vda", "1");
		assert_ok(vmm_device_remove(vm->vmm, "layers", vm_deadline(), &e), &e);
		vm_expect(vm, "test ! -e /dev/vda", NULL);
	}
	extents[1].sectors = 4;
	assert_err(vmm_device_add(vm->vmm, &plugged, vm_deadline(), &addr, &e), &e,
		   ERR_INVALID);
	assert_non_null(strstr(e.msg, "has become smaller"));
	extents[1].path = "/nowhere";
	assert_err(vmm_device_add(vm->vmm, &plugged, vm_deadline(), &addr, &e), &e, ERR_SYS);
	plugged.blk.read_only = false;
	assert_err(vmm_device_add(vm->vmm, &plugged, vm_deadline(), &addr, &e), &e,
		   ERR_INVALID);
	assert_ok(path_remove_tree(AT_FDCWD, dir, &e), &e);
}

static void test_extents(void **state)
{
	(void)state;
	vm_run(check_extents);
}

static void check_resize(struct vm *vm)
{
	unsigned vcpus = 0;
	uint64_t mib = 0;
	struct err e;

	vm->config.max_vcpus = 2;
	vm->config.max_memory_mib = 1024;
	vm_boot(vm);
	vm_expect(vm, "cat /sys/devices/system/cpu/online", "0\n");
	if (is_microvm(vm)) {
		assert_err(vmm_resize_vcpus(vm->vmm, 2, vm_deadline(), &vcpus, &e), &e,
			   ERR_UNSUPPORTED);
		return;
	}
	assert_ok(vmm_resize_vcpus(vm->vmm, 2, vm_deadline(), &vcpus, &e), &e);
	assert_int_equal(vcpus, 2);
	vm_expect(
		vm,
		"for i in $(seq 200); do echo 1 > /sys/devices/system/cpu/cpu1/online && break;"
		"usleep 20000; done 2>/dev/null; cat /sys/devices/system/cpu/online",
		"0-1");
	assert_ok(vmm_resize_memory(vm->vmm, 300, vm_deadline(), &mib, &e), &e);
	assert_int_equal(mib, 192 + 128);
	/* at 4 GiB, and there by now */
	vm_expect(vm, "cd /sys/devices/system/memory; ls -d memory32", "memory32");
	assert_err(vmm_resize_memory(vm->vmm, 2000, vm_deadline(), &mib, &e), &e, ERR_INVALID);
	for (int i = 0; i < 2; i++) { /* whole blocks up to the maximum, and no half one */
		assert_ok(vmm_resize_memory(vm->vmm, 1024, vm_deadline(), &mib, &e), &e);
		assert_int_equal(mib, 192 + 6 * 128);
	}
}

static void test_resize(void **state)
{
	(void)state;
	vm_run(check_resize);
}

static const uint8_t guest_mac[6] = { 2, 0, 0, 0, 0, 7 };

/* A tap in a network namespace of this process, with the host's address on it. */
static int make_tap(void)
{
	struct ifreq r = { .ifr_name = "tap0",
			   .ifr_flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR };
	struct sockaddr_in *address = (struct sockaddr_in *)&r.ifr_addr;
	OWN(fd) int s = -1;
	int tap;

	assert_int_equal(unshare(CLONE_NEWNET), 0);
	s = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	tap = open("/dev/net/tun", O_RDWR | O_CLOEXEC | O_NONBLOCK);
	assert_true(s >= 0 && tap >= 0);
	assert_int_equal(ioctl(tap, TUNSETIFF, &r), 0);
	memset(&r.ifr_addr, 0, sizeof(r.ifr_addr));
	address->sin_family = AF_INET;
	assert_int_equal(inet_pton(AF_INET, "192.0.2.1", &address->sin_addr), 1);
	assert_int_equal(ioctl(s, SIOCSIFADDR, &r), 0);
	assert_int_equal(ioctl(s, SIOCGIFFLAGS, &r), 0);
	r.ifr_flags |= IFF_UP;
	assert_int_equal(ioctl(s, SIOCSIFFLAGS, &r), 0);
	return tap;
}

static void expect_ping(struct vm *vm)
{
	vm_expect(vm,
		  "for i in $(seq 200); do ip link set eth0 up 2>/dev/null && break;"
		  "usleep 20000; done; ip link show eth0",
		  "02:00:00:00:00:07");
	vm_expect(vm, "ip addr add 192.0.2.2/24 dev eth0; ping -c 3 -w 20 192.0.2.1",
		  "3 packets received");
}

static void check_tap(struct vm *vm)
{
	OWN(fd) int tap = make_tap();
	struct vmm_device *d = vm_device(vm, VMM_DEV_NET, "net0");

	d->net.tap_fds = &tap;
	d->net.tap_count = 1;
	memcpy(d->net.mac, guest_mac, sizeof(guest_mac));
	vm_boot(vm);
	expect_ping(vm);
}

static void test_tap(void **state)
{
	(void)state;
	vm_run(check_tap);
}

/* The kernel thread that moves the packets of a monitor, not what was asked for. */
static bool has_vhost_thread(pid_t monitor)
{
	char want[32], path[300], comm[32];
	DIR *dir = opendir("/proc");
	struct dirent *d;
	bool found = false;
	struct err e;

	(void)snprintf(want, sizeof(want), "vhost-%d", (int)monitor);
	while (dir && !found && (d = readdir(dir))) {
		(void)snprintf(path, sizeof(path), "/proc/%s/comm", d->d_name);
		found = file_read_line(AT_FDCWD, path, comm, sizeof(comm), &e) == 0 &&
			str_eq(comm, want);
	}
	if (dir)
		(void)closedir(dir);
	return found;
}

/* At boot, and plugged in: run.py calls this one where the host has vhost-net. */
static void check_vhost_net(struct vm *vm)
{
	OWN(fd) int tap = make_tap();
	OWN(fd) int vhost = open("/dev/vhost-net", O_RDWR | O_CLOEXEC);
	struct vmm_device d = { .kind = VMM_DEV_NET, .id = "net0" };
	struct err e;

	assert_true(vhost >= 0);
	d.net.tap_fds = &tap;
	d.net.vhost_fds = &vhost;
	d.net.tap_count = 1;
	memcpy(d.net.mac, guest_mac, sizeof(guest_mac));
	if (getenv("KATA_TEST_PLUG")) {
		vm_boot(vm);
		assert_ok(vmm_device_add(vm->vmm, &d, vm_deadline(), NULL, &e), &e);
	} else {
		*vm_device(vm, VMM_DEV_NET, "net0") = d;
		vm_boot(vm);
	}
	expect_ping(vm);
	assert_true(has_vhost_thread(vmm_pid(vm->vmm)));
}

static void test_host_vhost_net(void **state)
{
	(void)state;
	vm_run(check_vhost_net);
}

/*
 * A guest that is a host itself: its KVM works, but in the laboratory, whose emulated SVM
 * spoils a breakpoint two levels down (tests/lab/README.md): there the test comes as far as
 * that.
 */
static void check_nested(struct vm *vm)
{
	OWN(buf) struct buf out = BUF_INIT;
	const char *lab = getenv("KATA_LAB");
	int status;

	vm->config.accel = ACCEL_KVM;
	vm_boot(vm);
	vm_expect(vm, "test -c /dev/kvm", NULL);
	status = vm_shell(vm, "/bin/accel_tool", &out);
	printf("# %s", (char *)buf_head(&out));
	if (!strstr((char *)buf_head(&out),
		    status && lab ? "does not work: guest code ended with exit reason 2 at int3"
				  : "works: guest code ran"))
		fail_msg("status %d: %s", status, (char *)buf_head(&out));
}

static void test_host_nested(void **state)
{
	(void)state;
	vm_run(check_nested);
}

static void expect_refusal(struct vm *vm, enum err_kind kind, const char *words)
{
	struct err e = ERR_INIT;

	vm->config.devices = vm->devices;
	vm->config.device_count = vm->device_count;
	if (vmm_new("qemu", vm->loop, &vm->reaper, &vm->config, NULL, NULL, &vm->vmm, &e) == 0)
		assert_int_equal(vmm_start(vm->vmm, vm_deadline(), &e), -1);
	if (e.kind != kind || !strstr(e.msg, words))
		fail_msg("%s: '%s' instead of '%s'", err_kind_name(e.kind), e.msg, words);
	assert_true(!vm->vmm || vmm_pid(vm->vmm) == 0);
	vmm_free(TAKE(vm->vmm));
}

static void check_refusals(struct vm *vm)
{
	const char *kernel = vm->config.kernel, *initrd = vm->initrds[0];

	vm->config.kernel = "/nonexistent/vmlinux";
	expect_refusal(vm, ERR_NOT_FOUND, "kernel '/nonexistent/vmlinux'");
	vm->config.kernel = "/etc/passwd";
	expect_refusal(vm, ERR_INVALID, "is no kernel");
	vm->config.kernel = "/tmp";
	expect_refusal(vm, ERR_INVALID, "no regular file");
	vm->config.kernel =
		"/bin/busybox"; /* an ELF, but without an entry for virtual machines */
	expect_refusal(vm, ERR_INVALID, "PVH");
	vm->config.kernel = kernel;
	vm->initrds[0] = "/etc/passwd";
	expect_refusal(vm, ERR_INVALID, "no cpio archive");
	vm->initrds[0] = initrd;
	vm->config.machine_options = "nonsense=on";
	expect_refusal(vm, ERR_PEER, "nonsense");
	vm->config.machine_options = NULL;
	vm->config.machine = "pdp11";
	expect_refusal(vm, ERR_UNSUPPORTED, "pdp11");
	vm->config.machine = NULL;
	vm->config.program = "/nonexistent/qemu";
	expect_refusal(vm, ERR_NOT_FOUND, "/nonexistent/qemu");
	vm->config.program = NULL;
	vm_device(vm, VMM_DEV_9P, "agent")->p9.tag = "x";
	vm->devices[vm->device_count - 1].p9.path = "/tmp";
	expect_refusal(vm, ERR_INVALID, "two devices");
	vm->device_count--;
}

static void test_refusals(void **state)
{
	(void)state;
	vm_run(check_refusals);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_refusals),    cmocka_unit_test(test_life),
		cmocka_unit_test(test_panic),       cmocka_unit_test(test_killed),
		cmocka_unit_test(test_9p),          cmocka_unit_test(test_blk),
		cmocka_unit_test(test_extents),     cmocka_unit_test(test_resize),
		cmocka_unit_test(test_tap),         cmocka_unit_test(test_host_vhost_net),
		cmocka_unit_test(test_host_nested),
	};

	if (argc == 2)
		cmocka_set_test_filter(argv[1]);
	else
		cmocka_set_skip_filter("test_host_*");
	return cmocka_run_group_tests_name("vmm", tests, NULL, NULL);
}
