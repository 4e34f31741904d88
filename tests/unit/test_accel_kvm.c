/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The test of a KVM device against devices that do what real ones were seen to do, and what
 * none should: ioctl() is replaced, so that each exit of the guest is a row of a table.
 */
#include <errno.h>
#include <linux/kvm.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "unit.h"
#include "vmm/accel.h"

enum {
	RUN_SIZE = 4096,
	BYTE_AT = 2048,
	PROBE_PORT = 0x10,
	ALL_STEPS = 7
};

/* One device: how far its guest gets, and how it then ends. */
struct device {
	unsigned long fails; /* this request, with `error` */
	int error;
	int version;
	int run_size;
	unsigned passes;      /* bytes the guest sends before it stops */
	unsigned exit_reason; /* how it stops */
	unsigned io_byte;     /* with KVM_EXIT_IO: what it sends instead of the next one */
	unsigned io_offset;
	const char *why; /* NULL: it works */
};

static const struct device *device;
static struct kvm_run *run;
static unsigned sent, interrupted;

static int new_vcpu(void)
{
	int fd = memfd_create("vcpu", MFD_CLOEXEC);

	assert_int_equal(ftruncate(fd, RUN_SIZE), 0);
	run = mmap(NULL, RUN_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	assert_ptr_not_equal(run, MAP_FAILED);
	return fd;
}

static int run_guest(void)
{
	if (interrupted++ == 1) {
		errno = EINTR;
		return -1;
	}
	run->exit_reason = KVM_EXIT_IO;
	run->io.port = PROBE_PORT;
	run->io.data_offset = BYTE_AT;
	if (sent < device->passes) {
		((uint8_t *)run)[BYTE_AT] = (uint8_t)++sent;
		return 0;
	}
	run->exit_reason = device->exit_reason;
	if (device->io_offset)
		run->io.data_offset = device->io_offset;
	else
		((uint8_t *)run)[BYTE_AT] = (uint8_t)device->io_byte;
	return 0;
}

int __wrap_ioctl(int fd, unsigned long request, ...);
int __wrap_ioctl(int fd, unsigned long request, ...)
{
	(void)fd;
	if (request == device->fails) {
		errno = device->error;
		return -1;
	}
	switch (request) {
	case KVM_GET_API_VERSION:
		return device->version ? device->version : KVM_API_VERSION;
	case KVM_CREATE_VM:
		return dup(0);
	case KVM_CREATE_VCPU:
		return new_vcpu();
	case KVM_GET_VCPU_MMAP_SIZE:
		return device->run_size ? device->run_size : RUN_SIZE;
	case KVM_RUN:
		return run_guest();
	default:
		return 0;
	}
}

static const struct device devices[] = {
	{ .passes = ALL_STEPS, .exit_reason = KVM_EXIT_HLT },
	/* a paravirtual module, an emulator that forgets XSETBV */
	{ .passes = 1,
	  .exit_reason = KVM_EXIT_INTERNAL_ERROR,
	  .why = "guest code ended with KVM_EXIT_INTERNAL_ERROR at cmpxchg16b" },
	{ .passes = 2,
	  .exit_reason = KVM_EXIT_HLT,
	  .why = "a wrong result at xsave and xrstor" },
	{ .passes = 0,
	  .exit_reason = KVM_EXIT_FAIL_ENTRY,
	  .why = "KVM_EXIT_FAIL_ENTRY at its first instruction" },
	{ .passes = 3, .exit_reason = KVM_EXIT_SHUTDOWN, .why = "KVM_EXIT_SHUTDOWN at int3" },
	{ .passes = 5, .exit_reason = KVM_EXIT_MMIO, .why = "KVM_EXIT_MMIO at cr3" },
	{ .passes = 6, .exit_reason = 4711, .why = "exit reason 4711 at a loop" },
	/* output that is not the guest's, or not where it can be */
	{ .passes = 2,
	  .exit_reason = KVM_EXIT_IO,
	  .io_byte = 99,
	  .why = "exit reason 2 at xsave" },
	{ .passes = ALL_STEPS, .exit_reason = KVM_EXIT_IO, .io_byte = 8, .why = "at its end" },
	{ .passes = 1,
	  .exit_reason = KVM_EXIT_IO,
	  .io_offset = RUN_SIZE,
	  .why = "exit reason 2" },
	/* not even that far */
	{ .version = 11, .why = "KVM_GET_API_VERSION" },
	{ .fails = KVM_CREATE_VM,
	  .error = EPERM,
	  .why = "KVM_CREATE_VM: Operation not permitted" },
	{ .fails = KVM_CREATE_VCPU, .error = EBUSY, .why = "KVM_CREATE_VCPU" },
	{ .fails = KVM_SET_USER_MEMORY_REGION, .error = ENOMEM, .why = "KVM_SET_USER_MEMORY" },
	{ .run_size = 8, .why = "KVM_GET_VCPU_MMAP_SIZE" },
	{ .fails = KVM_GET_SUPPORTED_CPUID, .error = E2BIG, .why = "KVM_GET_SUPPORTED_CPUID" },
	{ .fails = KVM_SET_CPUID2, .error = EINVAL, .why = "KVM_SET_CPUID2" },
	{ .fails = KVM_SET_SREGS, .error = EINVAL, .why = "KVM_SET_SREGS" },
	{ .fails = KVM_RUN, .error = ENOSYS, .why = "KVM_RUN: Function not implemented" },
};

static void test_devices(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(devices) / sizeof(devices[0]); i++) {
		struct accel_verdict v;

		device = &devices[i];
		sent = interrupted = 0;
		accel_run_kvm("/dev/null", &v);
		if (v.kvm_works != !device->why ||
		    !strstr(v.why, device->why ? device->why : "ran"))
			fail_msg("device %zu: %s: '%s' instead of '%s'", i,
				 v.kvm_works ? "works" : "does not work", v.why,
				 device->why ? device->why : "it works");
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_devices),
	};

	return cmocka_run_group_tests_name("accel_kvm", tests, NULL, NULL);
}
