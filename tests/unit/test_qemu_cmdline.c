/* SPDX-License-Identifier: Apache-2.0 */
/* From configuration to QEMU's command line: whole lines, compared as text. */
#include <stdio.h>
#include <string.h>

#include "base/buf.h"
#include "base/own.h"
#include "unit.h"
#include "vmm/qemu/qemu.h"

#define SANDBOX "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny"
#define HEAD                                                                                   \
	"/q -name sandbox-s1,process=qemu-kata,debug-threads=on -no-user-config -nodefaults "  \
	"-display none -no-reboot -sandbox " SANDBOX " "
#define Q35 "-machine q35,vmport=off,smbus=off,sata=off,graphics=off,memory-backend=mem"
#define CHANNELS                                                                               \
	"-chardev socket,id=qmp,fd=3 -mon chardev=qmp,mode=control "                           \
	"-chardev socket,id=console,fd=4 -serial chardev:console "
#define AT(n) ",disable-legacy=on,bus=pcie.0,addr=" n
#define FIXED                                                                                               \
	"-device virtio-serial-pci,id=vser" AT(                                                             \
		"0x1") " -object "                                                                          \
		       "rng-random,id=rng,filename=/dev/urandom -device virtio-rng-pci,id=vrng,rng=rng" AT( \
			       "0x2") " "
#define PORT0                                                                                  \
	"-device pcie-root-port,id=port0,bus=pcie.0,addr=0x10.0,chassis=1,slot=1,io-reserve=0 "

static struct vmm_config base(void)
{
	struct vmm_config c = VMM_CONFIG_INIT;

	c.name = "s1";
	c.accel = ACCEL_TCG;
	c.memory_mib = 256;
	c.hotplug_ports = 1;
	return c;
}

static void expect(const struct vmm_config *c, const char *machine, const int *fds,
		   const char *const *p9, const char *want)
{
	struct qemu_inputs in = { .config = c,
				  .program = "/q",
				  .kernel_fd = 50,
				  .initrd_fd = 51,
				  .qmp_fd = 52,
				  .console_fd = 53,
				  .device_fds = fds,
				  .p9_paths = p9,
				  .tsc_khz = 2596148 };
	OWN(qemu_launch) struct qemu_launch l = { 0 };
	OWN(buf) struct buf line = BUF_INIT;
	struct err e;

	in.machine = qemu_machine_find(machine);
	assert_non_null(in.machine);
	assert_ok(qemu_cmdline(&in, &l, &e), &e);
	for (size_t i = 0; i < l.argv.n; i++)
		assert_ok(buf_printf(&line, &e, "%s%s", i ? " " : "", l.argv.v[i]), &e);
	assert_string_equal(buf_cstr(&line), want);
	for (size_t i = 0; i < l.fd_count; i++) /* each number once, in order */
		assert_int_equal(l.fds[i].to, 3 + i);
	assert_int_equal(l.fds[0].from, 52);
	assert_int_equal(l.fds[1].from, 53);
	assert_int_equal(l.fds[l.fd_count - 1].from, 51);
}

static void test_plain(void **state)
{
	struct vmm_config c = base();

	(void)state;
	c.kernel_params = "agent.log=debug quiet  x=1";
	expect(&c, "q35", NULL, NULL,
	       HEAD Q35
	       " -accel tcg,tb-size=32 -cpu max,erms=off,fsrm=off -smp 1,maxcpus=1,sockets=1,cores=1,threads=1 -m 256M "
	       "-object memory-backend-ram,id=mem,size=256M " CHANNELS FIXED PORT0
	       "-kernel /proc/self/fd/5 -initrd /proc/self/fd/6 -append console=ttyS0 "
	       "8250.nr_uarts=1 reboot=k panic=-1 dummy.numdummies=0 quiet loglevel=4 earlycon=uart8250,io,0x3f8 "
	       "tsc_early_khz=2596148 noreplace-smp mitigations=off no_timer_check nolapic_timer agent.log=debug quiet  x=1");
}

static void test_kvm_and_growth(void **state)
{
	struct vmm_config c = base();

	(void)state;
	c.accel = ACCEL_KVM;
	c.vcpus = 2;
	c.max_vcpus = 4;
	c.max_memory_mib = 1024;
	c.memory_slots = 3;
	c.cpu_features = "pmu=off";
	c.machine_options = "kernel_irqchip=split";
	c.shared_memory = true;
	c.debug = true;
	expect(&c, "q35", NULL, NULL,
	       HEAD Q35
	       ",kernel_irqchip=split -accel kvm -cpu host,pmu=off "
	       "-smp 2,maxcpus=4,sockets=4,cores=1,threads=1 -m 256M,slots=3,maxmem=1024M "
	       "-object memory-backend-memfd,id=mem,size=256M,share=on " CHANNELS FIXED PORT0
	       "-kernel /proc/self/fd/5 -initrd /proc/self/fd/6 -append console=ttyS0 "
	       "8250.nr_uarts=1 reboot=k panic=-1 dummy.numdummies=0 loglevel=8 earlycon=uart8250,io,0x3f8");
}

/* More than there are slots: functions of the same slots, each of which says so. */
static void test_many_ports(void **state)
{
	static const char *const want[] = {
		"port0,bus=pcie.0,addr=0x10.0,chassis=1,slot=1,io-reserve=0,multifunction=on",
		"port1,bus=pcie.0,addr=0x11.0,chassis=2,slot=2,io-reserve=0",
		"port13,bus=pcie.0,addr=0x1d.0,chassis=14,slot=14,io-reserve=0",
		"port14,bus=pcie.0,addr=0x10.1,chassis=15,slot=15,io-reserve=0,multifunction=on",
	};
	struct vmm_config c = base();
	struct qemu_inputs in = { .config = &c, .program = "/q" };
	OWN(qemu_launch) struct qemu_launch l = { 0 };
	size_t found = 0;
	struct err e;

	(void)state;
	c.hotplug_ports = 15;
	in.machine = qemu_machine_find("q35");
	assert_ok(qemu_cmdline(&in, &l, &e), &e);
	for (size_t i = 0; i < l.argv.n; i++) {
		const char *port = strstr(l.argv.v[i], "pcie-root-port,id=");

		if (port && found < ARRAY_LEN(want) &&
		    str_eq(port + strlen("pcie-root-port,id="), want[found]))
			found++;
	}
	assert_int_equal(found, ARRAY_LEN(want));
}

/* hugetlb needs shared memory, whatever the devices do. */
static void test_memory(void **state)
{
	struct vmm_config c = base();

	(void)state;
	c.huge_pages = true;
	c.prealloc = true;
	expect(&c, "q35", NULL, NULL,
	       HEAD Q35
	       " -accel tcg,tb-size=32 -cpu max,erms=off,fsrm=off -smp 1,maxcpus=1,sockets=1,cores=1,threads=1 -m 256M "
	       "-object memory-backend-memfd,id=mem,size=256M,share=on,hugetlb=on,prealloc=on " CHANNELS
		       FIXED PORT0
	       "-kernel /proc/self/fd/5 -initrd /proc/self/fd/6 -append console=ttyS0 "
	       "8250.nr_uarts=1 reboot=k panic=-1 dummy.numdummies=0 quiet loglevel=4 earlycon=uart8250,io,0x3f8 "
	       "tsc_early_khz=2596148 noreplace-smp mitigations=off no_timer_check nolapic_timer");
}

static void test_devices(void **state)
{
	static const int taps[] = { 70, 71 };
	const struct vmm_device devices[] = {
		{ .kind = VMM_DEV_SERIAL, .id = "agent", .serial.name = "kata.agent" },
		{ .kind = VMM_DEV_VSOCK, .id = "vs", .vsock = { .fd = 60, .cid = 77 } },
		{ .kind = VMM_DEV_9P,
		  .id = "sh",
		  .p9 = { .tag = "t", .path = "/a", .read_only = true } },
		{ .kind = VMM_DEV_FS,
		  .id = "fs",
		  .fs = { .tag = "kataShared", .socket_fd = 61 } },
		{ .kind = VMM_DEV_NET,
		  .id = "n0",
		  .net = { .stream_fd = 62, .mac = { 2, 0, 0, 0, 0, 0xab } } },
		{ .kind = VMM_DEV_NET,
		  .id = "n1",
		  .net = { .tap_fds = taps, .tap_count = 2, .mac = { 2, 0, 0, 0, 0, 1 } } },
		{ .kind = VMM_DEV_BLK, .id = "d0", .blk = { .path = "/x", .read_only = true } },
	};
	const int fds[] = { 80, -1, -1, 81, -1, -1, 82 };
	const char *const p9[] = { NULL, NULL, "/exp,ort", NULL, NULL, NULL, NULL };
	struct vmm_config c = base();

	(void)state;
	c.devices = devices;
	c.device_count = ARRAY_LEN(devices);
	c.shared_memory = true;
	expect(&c, "q35", fds, p9,
	       HEAD Q35
	       " -accel tcg,tb-size=32 -cpu max,erms=off,fsrm=off -smp 1,maxcpus=1,sockets=1,cores=1,threads=1 -m 256M "
	       "-object memory-backend-memfd,id=mem,size=256M,share=on " CHANNELS FIXED
	       "-chardev socket,id=c-agent,fd=5 -device "
	       "virtserialport,bus=vser.0,chardev=c-agent,id=agent,name=kata.agent "
	       "-device vhost-vsock-pci,id=vs,vhostfd=6,guest-cid=77" AT(
		       "0x4") " -fsdev local,id=f-sh,path=/exp,,ort,security_model=passthrough,multidevs=remap,"
			      "readonly=on -device virtio-9p-pci,id=sh,fsdev=f-sh,mount_tag=t" AT(
				      "0x5") " -chardev socket,id=c-fs,fd=7 -device "
					     "vhost-user-fs-pci,id=fs,chardev=c-fs,tag=kataShared,queue-size=1024,bus=pcie.0,"
					     "addr=0x6 -netdev stream,id=n-n0,server=off,addr.type=fd,addr.str=8 -device "
					     "virtio-net-pci,id=n0,netdev=n-n0,mac=02:00:00:00:00:ab,romfile=" AT(
						     "0x7") " -netdev tap,id=n-n1,fds=9:10 -device "
							    "virtio-net-pci,id=n1,netdev=n-n1,mac=02:00:00:00:00:01,mq=on,romfile=" AT(
								    "0x8") " -add-fd fd=11,set=11 -blockdev driver=raw,node-name=b-d0,read-only=on,"
									   "file.driver=file,file.filename=/dev/fdset/11,file.read-only=on,file.locking=off "
									   "-device virtio-blk-pci,id=d0,drive=b-d0,serial=d0" AT(
										   "0x9") " " PORT0
											  "-kernel /proc/self/fd/12 -initrd /proc/self/fd/13 -append console=ttyS0 "
											  "8250.nr_uarts=1 reboot=k panic=-1 dummy.numdummies=0 quiet loglevel=4 earlycon=uart8250,io,0x3f8 "
											  "tsc_early_khz=2596148 noreplace-smp mitigations=off no_timer_check nolapic_timer init_on_alloc=1");
}

static void test_microvm(void **state)
{
	struct vmm_config c = base();

	(void)state;
	c.max_vcpus = 2;
	c.max_memory_mib = 512;
	c.no_seccomp = true;
	expect(&c, "microvm", NULL, NULL,
	       "/q -name sandbox-s1,process=qemu-kata,debug-threads=on -no-user-config -nodefaults "
	       "-display none -no-reboot -machine "
	       "microvm,acpi=on,rtc=on,isa-serial=on,x-option-roms=off,memory-backend=mem "
	       "-accel tcg,tb-size=32 -cpu max,erms=off,fsrm=off -smp 2,maxcpus=2,sockets=2,cores=1,threads=1 -m 256M "
	       "-object memory-backend-ram,id=mem,size=256M " CHANNELS
	       "-global virtio-mmio.force-legacy=false -device virtio-serial-device,id=vser -object "
	       "rng-random,id=rng,filename=/dev/urandom -device virtio-rng-device,id=vrng,rng=rng "
	       "-bios qboot.rom -kernel /proc/self/fd/5 -initrd /proc/self/fd/6 -append console=ttyS0 "
	       "8250.nr_uarts=1 reboot=t panic=-1 dummy.numdummies=0 quiet loglevel=4 earlycon=uart8250,io,0x3f8 "
	       "tsc_early_khz=2596148 noreplace-smp mitigations=off no_timer_check maxcpus=1");
	assert_null(qemu_machine_find("pc"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_plain),   cmocka_unit_test(test_kvm_and_growth),
		cmocka_unit_test(test_memory),  cmocka_unit_test(test_many_ports),
		cmocka_unit_test(test_devices), cmocka_unit_test(test_microvm),
	};

	return cmocka_run_group_tests_name("qemu_cmdline", tests, NULL, NULL);
}
