/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From a configuration to QEMU's command line. Pure: it opens nothing and asks nobody, so
 * that tests can compare whole lines. Options were checked against QEMU 7.2.
 */
#include <stdio.h>
#include <string.h>

#include "base/buf.h"
#include "base/err.h"
#include "vmm/qemu/qemu.h"

enum {
	QEMU_FIRST_FD = 3
};

#define CAPS_COMMON                                                                            \
	(VMM_BIT(VMM_CAP_SHARED_MEM_FS) | VMM_BIT(VMM_CAP_9P) | VMM_BIT(VMM_CAP_VSOCK) |       \
	 VMM_BIT(VMM_CAP_SERIAL_PORTS) | VMM_BIT(VMM_CAP_NET_TAP) |                            \
	 VMM_BIT(VMM_CAP_NET_STREAM) | VMM_BIT(VMM_CAP_PAUSE) | VMM_BIT(VMM_CAP_TCG) |         \
	 VMM_BIT(VMM_CAP_HUGE_PAGES))
#define CAPS_PLUG                                                                              \
	(VMM_BIT(VMM_CAP_HOTPLUG_BLK) | VMM_BIT(VMM_CAP_HOTPLUG_NET) |                         \
	 VMM_BIT(VMM_CAP_HOTPLUG_FS) | VMM_BIT(VMM_CAP_HOTPLUG_MEM) |                          \
	 VMM_BIT(VMM_CAP_HOTPLUG_CPU) | VMM_BIT(VMM_CAP_EXTENTS))

/*
 * SeaBIOS, which a microvm with ACPI has by default, resets or waits forever under the
 * emulation of QEMU 10 and newer; qboot has ACPI as well.
 */
static const struct qemu_machine machines[] = {
	{ "q35", "vmport=off,smbus=off,sata=off,graphics=off", "pci", "reboot=k", true,
	  CAPS_COMMON | CAPS_PLUG, NULL },
	{ "microvm", "acpi=on,rtc=on,isa-serial=on,x-option-roms=off", "device", "reboot=t",
	  false, CAPS_COMMON, "qboot.rom" },
};

const struct qemu_machine *qemu_machine_find(const char *name)
{
	for (size_t i = 0; i < ARRAY_LEN(machines); i++) {
		if (str_eq(machines[i].name, name))
			return &machines[i];
	}
	return NULL;
}

void qemu_launch_fini(struct qemu_launch *l)
{
	strv_fini(&l->argv);
}

unsigned qemu_device_slot(size_t index)
{
	return QEMU_FIRST_SLOT + (unsigned)index;
}

unsigned qemu_port_count(const struct vmm_config *c, const struct qemu_machine *m)
{
	unsigned n = c->hotplug_ports;

	if (!m->has_pci)
		return 0;
	return n < QEMU_MAX_PORTS ? n : QEMU_MAX_PORTS;
}

unsigned qemu_port_slot(unsigned port)
{
	return QEMU_FIRST_PORT_SLOT + port % QEMU_PORT_SLOTS;
}

unsigned qemu_port_function(unsigned port)
{
	return port / QEMU_PORT_SLOTS;
}

bool qemu_memory_is_shared(const struct vmm_config *c)
{
	return c->shared_memory || c->huge_pages;
}

const char *qemu_memory_backend(const struct vmm_config *c)
{
	return qemu_memory_is_shared(c) ? "memory-backend-memfd" : "memory-backend-ram";
}

unsigned qemu_memory_slots(const struct vmm_config *c)
{
	return c->memory_slots ? c->memory_slots : 10;
}

/* The number a descriptor will have in the monitor. -1: too many. */
static int hand_over(struct qemu_launch *l, int fd, int *to, struct err *e)
{
	if (l->fd_count == QEMU_MAX_FDS)
		return err_set(e, ERR_INVALID, 0, "more than %d descriptors for one machine",
			       QEMU_MAX_FDS);
	*to = QEMU_FIRST_FD + (int)l->fd_count;
	l->fds[l->fd_count++] = (struct spawn_fd){ .from = fd, .to = *to };
	return 0;
}

static int add(struct qemu_launch *l, const char *option, const char *value, struct err *e)
{
	if (strv_add(&l->argv, option, e) < 0)
		return -1;
	return value ? strv_add(&l->argv, value, e) : 0;
}

#define addf(l, e, option, ...)                                                                \
	(strv_add(&(l)->argv, (option), (e)) < 0 ||                                            \
			 strv_addf(&(l)->argv, (e), __VA_ARGS__) < 0                           \
		 ? -1                                                                          \
		 : 0)

/* QEMU's option parser ends a value at a comma; two stand for one. */
static int quote_value(const char *s, struct buf *out, struct err *e)
{
	for (; *s; s++) {
		if (buf_append(out, s, 1, e) < 0 || (*s == ',' && buf_append(out, s, 1, e) < 0))
			return -1;
	}
	return 0;
}

int qemu_kernel_words(const struct qemu_inputs *in, struct buf *out, struct err *e)
{
	const struct vmm_config *c = in->config;

	if (buf_printf(out, e, "console=ttyS0 8250.nr_uarts=1 %s panic=-1 dummy.numdummies=0",
		       in->machine->reset_word) < 0)
		return -1;
	/* what ends a kernel before its drivers are there is said as well; behind the level,
	 * which it would not know yet */
	if (buf_printf(out, e, " %s earlycon=uart8250,io,0x3f8",
		       c->debug ? "loglevel=8" : "quiet loglevel=4") < 0)
		return -1;
	if (c->accel == ACCEL_TCG) {
		/* no clock to calibrate with but slow ones; attacks on speculation have none;
		 * code that is patched at boot is translated twice; and whether timer
		 * interrupts come in time says how busy the host is, not whether they work */
		if (in->tsc_khz && buf_printf(out, e, " tsc_early_khz=%llu",
					      (unsigned long long)in->tsc_khz) < 0)
			return -1;
		if (buf_puts(out, " noreplace-smp mitigations=off no_timer_check", e) < 0)
			return -1;
		/* without PCI there is no PM timer or HPET: the local APIC is the only one */
		if (in->machine->has_pci && buf_puts(out, " nolapic_timer", e) < 0)
			return -1;
		/* translated code outlives a page that a vhost-user device fills: the kernel
		 * must have written to it before (docs/decisions/0039) */
		if (c->shared_memory && buf_puts(out, " init_on_alloc=1", e) < 0)
			return -1;
		/* all processors are there; those above come on-line when asked for */
		if (c->max_vcpus > c->vcpus && buf_printf(out, e, " maxcpus=%u", c->vcpus) < 0)
			return -1;
	}
	if (c->kernel_params && c->kernel_params[0])
		return buf_printf(out, e, " %s", c->kernel_params);
	return 0;
}

static int add_base(const struct qemu_inputs *in, struct qemu_launch *l, struct err *e)
{
	const struct vmm_config *c = in->config;
	const char *more =
		c->machine_options && c->machine_options[0] ? c->machine_options : NULL;

	if (strv_add(&l->argv, in->program, e) < 0 ||
	    addf(l, e, "-name", "sandbox-%s,process=qemu-kata,debug-threads=on", c->name) < 0 ||
	    add(l, "-no-user-config", NULL, e) < 0 || add(l, "-nodefaults", NULL, e) < 0 ||
	    add(l, "-display", "none", e) < 0 || add(l, "-no-reboot", NULL, e) < 0)
		return -1;
	if (!c->no_seccomp &&
	    add(l, "-sandbox",
		c->seccomp && c->seccomp[0]
			? c->seccomp
			: "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny",
		e) < 0)
		return -1;
	if (addf(l, e, "-machine", "%s,%s,memory-backend=mem%s%s", in->machine->name,
		 in->machine->options, more ? "," : "", more ? more : "") < 0)
		return -1;
	if (c->accel == ACCEL_KVM)
		return add(l, "-accel", "kvm", e);
	return addf(l, e, "-accel", "tcg,tb-size=%d", QEMU_TB_SIZE_MIB);
}

/*
 * Translated code repeats "rep movsb" byte by byte; without these two features the guest's
 * kernel copies and clears in words instead (docs/decisions/0039). Known to QEMU since 5.0.
 */
#define TCG_CPU "max,erms=off,fsrm=off"

static int add_cpu_and_memory(const struct qemu_inputs *in, struct qemu_launch *l,
			      struct err *e)
{
	const struct vmm_config *c = in->config;
	unsigned max = c->max_vcpus > c->vcpus ? c->max_vcpus : c->vcpus;
	const char *features = c->cpu_features && c->cpu_features[0] ? c->cpu_features : NULL;
	int r;

	if (addf(l, e, "-cpu", "%s%s%s", c->accel == ACCEL_KVM ? "host" : TCG_CPU,
		 features ? "," : "", features ? features : "") < 0)
		return -1;
	/* a socket each: what is plugged later is then a whole one */
	if (addf(l, e, "-smp", "%u,maxcpus=%u,sockets=%u,cores=1,threads=1",
		 c->accel == ACCEL_KVM ? c->vcpus : max, max, max) < 0)
		return -1;
	if (c->max_memory_mib > c->memory_mib &&
	    in->machine->caps & VMM_BIT(VMM_CAP_HOTPLUG_MEM))
		r = addf(l, e, "-m", "%lluM,slots=%u,maxmem=%lluM",
			 (unsigned long long)c->memory_mib, qemu_memory_slots(c),
			 (unsigned long long)c->max_memory_mib);
	else
		r = addf(l, e, "-m", "%lluM", (unsigned long long)c->memory_mib);
	if (r < 0)
		return -1;
	return addf(l, e, "-object", "%s,id=mem,size=%lluM%s%s%s", qemu_memory_backend(c),
		    (unsigned long long)c->memory_mib,
		    qemu_memory_is_shared(c) ? ",share=on" : "",
		    c->huge_pages ? ",hugetlb=on" : "", c->prealloc ? ",prealloc=on" : "");
}

static int add_boot(const struct qemu_inputs *in, struct qemu_launch *l, struct err *e)
{
	const char *firmware = in->firmware ? in->firmware : in->machine->firmware;
	OWN(buf) struct buf words = BUF_INIT;
	int fd = -1;

	if (qemu_kernel_words(in, &words, e) < 0)
		return -1;
	if (!buf_cstr(&words))
		return err_oom(e, "the kernel's command line");
	if (firmware && add(l, "-bios", firmware, e) < 0)
		return -1;
	/* by descriptor: they need not be within the monitor's root directory */
	if (hand_over(l, in->kernel_fd, &fd, e) < 0 ||
	    addf(l, e, "-kernel", "/proc/self/fd/%d", fd) < 0)
		return -1;
	if (in->initrd_fd >= 0 && (hand_over(l, in->initrd_fd, &fd, e) < 0 ||
				   addf(l, e, "-initrd", "/proc/self/fd/%d", fd) < 0))
		return -1;
	return add(l, "-append", buf_cstr(&words), e);
}

static int add_channels(const struct qemu_inputs *in, struct qemu_launch *l, struct err *e)
{
	int qmp = -1, console = -1;

	if (hand_over(l, in->qmp_fd, &qmp, e) < 0 ||
	    hand_over(l, in->console_fd, &console, e) < 0)
		return -1;
	if (addf(l, e, "-chardev", "socket,id=qmp,fd=%d", qmp) < 0 ||
	    add(l, "-mon", "chardev=qmp,mode=control", e) < 0)
		return -1;
	return addf(l, e, "-chardev", "socket,id=console,fd=%d", console) < 0 ||
			       add(l, "-serial", "chardev:console", e) < 0
		       ? -1
		       : 0;
}

/* ",bus=pcie.0,addr=0x5" where there is PCI */
static const char *place(const struct qemu_machine *m, unsigned slot, char out[40])
{
	out[0] = '\0';
	if (m->has_pci)
		(void)snprintf(out, 40, ",disable-legacy=on,bus=pcie.0,addr=0x%x", slot);
	return out;
}

static int add_fixed(const struct qemu_inputs *in, struct qemu_launch *l, struct err *e)
{
	const struct qemu_machine *m = in->machine;
	char at[40];

	/* vhost-user servers speak to modern devices only; on PCI each says so itself */
	if (!m->has_pci && add(l, "-global", "virtio-mmio.force-legacy=false", e) < 0)
		return -1;
	if (addf(l, e, "-device", "virtio-serial-%s,id=vser%s", m->bus, place(m, 1, at)) < 0)
		return -1;
	if (add(l, "-object", "rng-random,id=rng,filename=/dev/urandom", e) < 0)
		return -1;
	return addf(l, e, "-device", "virtio-rng-%s,id=vrng,rng=rng%s", m->bus,
		    place(m, 2, at));
}

static int add_serial(const struct qemu_inputs *in, size_t i, struct qemu_launch *l,
		      struct err *e)
{
	const struct vmm_device *d = &in->config->devices[i];
	int fd = -1;

	if (hand_over(l, in->device_fds[i], &fd, e) < 0)
		return -1;
	if (addf(l, e, "-chardev", "socket,id=c-%s,fd=%d", d->id, fd) < 0)
		return -1;
	return addf(l, e, "-device", "virtserialport,bus=vser.0,chardev=c-%s,id=%s,name=%s",
		    d->id, d->id, d->serial.name);
}

static int add_vsock(const struct qemu_inputs *in, size_t i, struct qemu_launch *l,
		     struct err *e)
{
	const struct vmm_device *d = &in->config->devices[i];
	char at[40];
	int fd = -1;

	if (hand_over(l, d->vsock.fd, &fd, e) < 0)
		return -1;
	return addf(l, e, "-device", "vhost-vsock-%s,id=%s,vhostfd=%d,guest-cid=%u%s",
		    in->machine->bus, d->id, fd, d->vsock.cid,
		    place(in->machine, qemu_device_slot(i), at));
}

static int add_9p(const struct qemu_inputs *in, size_t i, struct qemu_launch *l, struct err *e)
{
	const struct vmm_device *d = &in->config->devices[i];
	OWN(buf) struct buf path = BUF_INIT;
	char at[40];

	if (quote_value(in->p9_paths[i], &path, e) < 0)
		return -1;
	if (!buf_cstr(&path))
		return err_oom(e, "a path");
	if (addf(l, e, "-fsdev",
		 "local,id=f-%s,path=%s,security_model=passthrough,multidevs=remap%s", d->id,
		 buf_cstr(&path), d->p9.read_only ? ",readonly=on" : "") < 0)
		return -1;
	return addf(l, e, "-device", "virtio-9p-%s,id=%s,fsdev=f-%s,mount_tag=%s%s",
		    in->machine->bus, d->id, d->id, d->p9.tag,
		    place(in->machine, qemu_device_slot(i), at));
}

static int add_fs(const struct qemu_inputs *in, size_t i, struct qemu_launch *l, struct err *e)
{
	const struct vmm_device *d = &in->config->devices[i];
	char at[40];
	int fd = -1;

	if (hand_over(l, in->device_fds[i], &fd, e) < 0)
		return -1;
	if (addf(l, e, "-chardev", "socket,id=c-%s,fd=%d", d->id, fd) < 0)
		return -1;
	/* vhost-user-fs exists as modern device only and refuses the word for it */
	(void)place(in->machine, qemu_device_slot(i), at);
	return addf(l, e, "-device",
		    "vhost-user-fs-%s,id=%s,chardev=c-%s,tag=%s,queue-size=%u%s",
		    in->machine->bus, d->id, d->id, d->fs.tag,
		    d->fs.queue_size ? d->fs.queue_size : 1024,
		    at[0] ? at + strlen(",disable-legacy=on") : "");
}

static int add_fd_list(struct qemu_launch *l, const int *fds, size_t n, struct buf *out,
		       struct err *e)
{
	int to = -1;

	for (size_t i = 0; i < n; i++) {
		if (hand_over(l, fds[i], &to, e) < 0 ||
		    buf_printf(out, e, "%s%d", i ? ":" : "", to) < 0)
			return -1;
	}
	return buf_cstr(out) ? 0 : err_oom(e, "a list of descriptors");
}

static int add_tap(const struct vmm_device *d, struct qemu_launch *l, struct err *e)
{
	OWN(buf) struct buf taps = BUF_INIT;
	OWN(buf) struct buf vhosts = BUF_INIT;
	const char *plural = d->net.tap_count > 1 ? "s" : "";

	if (add_fd_list(l, d->net.tap_fds, d->net.tap_count, &taps, e) < 0)
		return -1;
	if (!d->net.vhost_fds)
		return addf(l, e, "-netdev", "tap,id=n-%s,fd%s=%s", d->id, plural,
			    buf_cstr(&taps));
	if (add_fd_list(l, d->net.vhost_fds, d->net.tap_count, &vhosts, e) < 0)
		return -1;
	return addf(l, e, "-netdev", "tap,id=n-%s,fd%s=%s,vhost=on,vhostfd%s=%s", d->id, plural,
		    buf_cstr(&taps), plural, buf_cstr(&vhosts));
}

static int add_net(const struct qemu_inputs *in, size_t i, struct qemu_launch *l, struct err *e)
{
	const struct vmm_device *d = &in->config->devices[i];
	const uint8_t *m = d->net.mac;
	char at[40], more[64] = "";
	int fd = -1;

	if (d->net.tap_count > 0) {
		if (add_tap(d, l, e) < 0)
			return -1;
	} else {
		if (hand_over(l, d->net.stream_fd, &fd, e) < 0 ||
		    addf(l, e, "-netdev", "stream,id=n-%s,server=off,addr.type=fd,addr.str=%d",
			 d->id, fd) < 0)
			return -1;
	}
	if (d->net.tap_count > 1)
		(void)snprintf(more, sizeof(more), ",mq=on");
	return addf(l, e, "-device",
		    "virtio-net-%s,id=%s,netdev=n-%s,mac=%02x:%02x:%02x:%02x:%02x:%02x%s%s%s",
		    in->machine->bus, d->id, d->id, m[0], m[1], m[2], m[3], m[4], m[5], more,
		    in->machine->has_pci ? ",romfile=" : "",
		    place(in->machine, qemu_device_slot(i), at));
}

static int add_blk(const struct qemu_inputs *in, size_t i, struct qemu_launch *l, struct err *e)
{
	const struct vmm_device *d = &in->config->devices[i];
	const char *ro = d->blk.read_only ? "on" : "off";
	char at[40];
	int fd = -1;

	if (hand_over(l, in->device_fds[i], &fd, e) < 0)
		return -1;
	if (addf(l, e, "-add-fd", "fd=%d,set=%d", fd, fd) < 0)
		return -1;
	if (addf(l, e, "-blockdev",
		 "driver=raw,node-name=b-%s,read-only=%s,file.driver=file,file.filename=/dev/fdset/%d,"
		 "file.read-only=%s,file.locking=off",
		 d->id, ro, fd, ro) < 0)
		return -1;
	return addf(l, e, "-device", "virtio-blk-%s,id=%s,drive=b-%s,serial=%s%s",
		    in->machine->bus, d->id, d->id, d->blk.serial ? d->blk.serial : d->id,
		    place(in->machine, qemu_device_slot(i), at));
}

static int add_devices(const struct qemu_inputs *in, struct qemu_launch *l, struct err *e)
{
	static int (*const adders[])(const struct qemu_inputs *, size_t, struct qemu_launch *,
				     struct err *) = {
		[VMM_DEV_SERIAL] = add_serial, [VMM_DEV_VSOCK] = add_vsock,
		[VMM_DEV_9P] = add_9p,         [VMM_DEV_FS] = add_fs,
		[VMM_DEV_NET] = add_net,       [VMM_DEV_BLK] = add_blk,
	};
	const struct vmm_config *c = in->config;

	if (c->device_count > QEMU_FIRST_PORT_SLOT - QEMU_FIRST_SLOT)
		return err_set(e, ERR_INVALID, 0, "%zu devices at boot, at most %d",
			       c->device_count, QEMU_FIRST_PORT_SLOT - QEMU_FIRST_SLOT);
	for (size_t i = 0; i < c->device_count; i++) {
		if (adders[c->devices[i].kind](in, i, l, e) < 0)
			return -1;
	}
	return 0;
}

static int add_ports(const struct qemu_inputs *in, struct qemu_launch *l, struct err *e)
{
	unsigned n = qemu_port_count(in->config, in->machine);

	for (unsigned i = 0; i < n; i++) {
		bool shared = i >= QEMU_PORT_SLOTS || i + QEMU_PORT_SLOTS < n;

		if (addf(l, e, "-device",
			 "pcie-root-port,id=port%u,bus=pcie.0,addr=0x%x.%u,chassis=%u,slot=%u,"
			 "io-reserve=0%s",
			 i, qemu_port_slot(i), qemu_port_function(i), i + 1, i + 1,
			 shared ? ",multifunction=on" : "") < 0)
			return -1;
	}
	return 0;
}

int qemu_cmdline(const struct qemu_inputs *in, struct qemu_launch *out, struct err *e)
{
	OWN(qemu_launch) struct qemu_launch l = { 0 };

	if (add_base(in, &l, e) < 0 || add_cpu_and_memory(in, &l, e) < 0 ||
	    add_channels(in, &l, e) < 0 || add_fixed(in, &l, e) < 0 ||
	    add_devices(in, &l, e) < 0 || add_ports(in, &l, e) < 0 || add_boot(in, &l, e) < 0)
		return -1;
	*out = l;
	l = (struct qemu_launch){ 0 };
	return 0;
}
