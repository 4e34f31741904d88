/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What every monitor has in common: capabilities and their refusals, the checks of a
 * configuration, the life of the monitor's process and how its end is told.
 */
#include "vmm/vmm.h"

#include <assert.h>
#include <ctype.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/fd.h"
#include "base/mem.h"
#include "base/str.h"
#include "base/time.h"
#include "event/fiber.h"
#include "vmm/driver.h"

enum {
	QUIT_MS = 1000,
	KILL_MS = 5000,
	MAX_VCPUS = 255,
	MIN_MEMORY_MIB = 32,
	ID_MAX = 31
};

#define MAX_SECTORS (1ULL << 50) /* none of the sums of them overflows */

static const struct vmm_driver *const drivers[] = {
	&qemu_driver,
};

static const char *const cap_names[] = {
	[VMM_CAP_HOTPLUG_BLK] = "block hot-plug",
	[VMM_CAP_HOTPLUG_NET] = "network hot-plug",
	[VMM_CAP_HOTPLUG_FS] = "file system hot-plug",
	[VMM_CAP_HOTPLUG_MEM] = "memory hot-plug",
	[VMM_CAP_HOTPLUG_CPU] = "processor hot-plug",
	[VMM_CAP_EXTENTS] = "disks of several files",
	[VMM_CAP_HUGE_PAGES] = "huge pages",
	[VMM_CAP_SHARED_MEM_FS] = "virtio-fs",
	[VMM_CAP_9P] = "9p",
	[VMM_CAP_VSOCK] = "vsock",
	[VMM_CAP_HYBRID_VSOCK] = "hybrid vsock",
	[VMM_CAP_SERIAL_PORTS] = "serial ports",
	[VMM_CAP_NET_TAP] = "tap network",
	[VMM_CAP_NET_STREAM] = "stream network",
	[VMM_CAP_SNAPSHOT] = "snapshots",
	[VMM_CAP_PAUSE] = "pausing",
	[VMM_CAP_TCG] = "software emulation",
};
static_assert(ARRAY_LEN(cap_names) == VMM_CAP_COUNT_, "every capability needs a name");

static const char *const exit_names[] = {
	[VMM_EXIT_NONE] = "running",          [VMM_EXIT_SHUTDOWN] = "guest powered off",
	[VMM_EXIT_RESET] = "guest reset",     [VMM_EXIT_PANIC] = "guest kernel panic",
	[VMM_EXIT_STOPPED] = "stopped",       [VMM_EXIT_KILLED] = "monitor killed",
	[VMM_EXIT_FAILED] = "monitor failed", [VMM_EXIT_HALTED] = "guest halted",
};
static_assert(ARRAY_LEN(exit_names) == VMM_EXIT_REASON_COUNT_, "every reason needs a name");

/* What a device needs: at boot, and to be plugged later (_COUNT_: cannot be). */
static const struct {
	const char *name;
	enum vmm_cap boot, plug;
} device_caps[] = {
	[VMM_DEV_SERIAL] = { "serial port", VMM_CAP_SERIAL_PORTS, VMM_CAP_COUNT_ },
	[VMM_DEV_VSOCK] = { "vsock", VMM_CAP_VSOCK, VMM_CAP_COUNT_ },
	[VMM_DEV_9P] = { "9p export", VMM_CAP_9P, VMM_CAP_COUNT_ },
	[VMM_DEV_FS] = { "virtio-fs", VMM_CAP_SHARED_MEM_FS, VMM_CAP_HOTPLUG_FS },
	[VMM_DEV_NET] = { "network", VMM_CAP_COUNT_, VMM_CAP_HOTPLUG_NET },
	[VMM_DEV_BLK] = { "block", VMM_CAP_COUNT_, VMM_CAP_HOTPLUG_BLK },
};
static_assert(ARRAY_LEN(device_caps) == VMM_DEV_KIND_COUNT_, "every device needs a row");

const char *vmm_cap_name(enum vmm_cap c)
{
	return c < VMM_CAP_COUNT_ ? cap_names[c] : "unknown";
}

const char *vmm_exit_reason_name(enum vmm_exit_reason r)
{
	return r < VMM_EXIT_REASON_COUNT_ ? exit_names[r] : "unknown";
}

static int find_driver(const char *name, const struct vmm_driver **out, struct err *e)
{
	char known[128] = "";
	size_t at = 0;

	for (size_t i = 0; i < ARRAY_LEN(drivers); i++) {
		if (str_eq(drivers[i]->name, name)) {
			*out = drivers[i];
			return 0;
		}
		at += (size_t)snprintf(known + at, sizeof(known) - at, "%s%s", i ? ", " : "",
				       drivers[i]->name);
		if (at >= sizeof(known))
			break;
	}
	return err_set(e, ERR_UNSUPPORTED, 0, "hypervisor '%s' is not supported (known: %s)",
		       name, known);
}

int vmm_caps_of(const char *hypervisor, const char *machine, enum accel a, uint64_t *out,
		struct err *e)
{
	const struct vmm_driver *d;

	if (find_driver(hypervisor, &d, e) < 0)
		return -1;
	return d->caps(machine ? machine : d->default_machine, a, out, e);
}

int vmm_program(const char *hypervisor, const char *configured, char **out, struct err *e)
{
	const struct vmm_driver *d;

	return find_driver(hypervisor, &d, e) < 0 ? -1 : d->program(configured, out, e);
}

bool vmm_has(const struct vmm *v, enum vmm_cap c)
{
	return c < VMM_CAP_COUNT_ && (v->caps & VMM_BIT(c));
}

int vmm_require(const struct vmm *v, enum vmm_cap c, struct err *e)
{
	if (vmm_has(v, c))
		return 0;
	return err_set(e, ERR_UNSUPPORTED, 0, "%s/%s: no %s", v->driver->name, v->machine,
		       vmm_cap_name(c));
}

static bool is_id(const char *s)
{
	size_t len = s ? strlen(s) : 0;

	if (len == 0 || len > ID_MAX || !isalpha((unsigned char)s[0]))
		return false;
	for (size_t i = 0; i < len; i++) {
		if (!isalnum((unsigned char)s[i]) && !strchr("_.-", s[i]))
			return false;
	}
	return true;
}

static bool is_plain(const char *s, size_t max)
{
	size_t len = s ? strlen(s) : 0;

	if (len == 0 || len > max)
		return false;
	for (size_t i = 0; i < len; i++) {
		if (!isalnum((unsigned char)s[i]) && !strchr("_.-", s[i]))
			return false;
	}
	return true;
}

static int check_extents(const struct vmm_device *d, struct err *e)
{
	if (d->blk.path || !d->blk.read_only)
		return err_set(e, ERR_INVALID, 0,
			       "block device '%s': of several files, and a path or writable",
			       d->id);
	for (size_t i = 0; i < d->blk.extent_count; i++) {
		const struct vmm_extent *x = &d->blk.extents[i];

		if (!x->path || x->path[0] != '/' || x->sectors == 0 ||
		    x->sectors > MAX_SECTORS)
			return err_set(e, ERR_INVALID, 0,
				       "block device '%s': extent %zu: path or size", d->id, i);
	}
	return 0;
}

static int check_blk(const struct vmm_device *d, struct err *e)
{
	if (d->blk.serial && !is_plain(d->blk.serial, 20))
		return err_set(e, ERR_INVALID, 0, "block device '%s': serial", d->id);
	if (d->blk.extent_count)
		return check_extents(d, e);
	if (!d->blk.path || d->blk.path[0] != '/')
		return err_set(e, ERR_INVALID, 0, "block device '%s': path", d->id);
	return 0;
}

static int check_fields(const struct vmm_device *d, struct err *e)
{
	const char *id = d->id;

	switch (d->kind) {
	case VMM_DEV_SERIAL:
		if (!is_plain(d->serial.name, 31))
			return err_set(e, ERR_INVALID, 0, "serial port '%s': its name", id);
		break;
	case VMM_DEV_VSOCK:
		if (d->vsock.fd < 0 || d->vsock.cid < 3 || d->vsock.cid == UINT32_MAX)
			return err_set(e, ERR_INVALID, 0, "vsock '%s': descriptor or CID", id);
		break;
	case VMM_DEV_9P:
		if (!is_plain(d->p9.tag, 31) || !d->p9.path || d->p9.path[0] != '/')
			return err_set(e, ERR_INVALID, 0, "9p export '%s': tag or path", id);
		break;
	case VMM_DEV_FS:
		if (!is_plain(d->fs.tag, 35) || (d->fs.socket_fd < 0 && !d->fs.socket_path))
			return err_set(e, ERR_INVALID, 0, "virtio-fs '%s': tag or socket", id);
		break;
	case VMM_DEV_NET:
		if (d->net.tap_count > 16 || (d->net.tap_count > 0 && !d->net.tap_fds) ||
		    (d->net.tap_count == 0 && d->net.stream_fd < 0))
			return err_set(e, ERR_INVALID, 0, "network '%s': descriptors", id);
		if (d->net.mac[0] & 1)
			return err_set(e, ERR_INVALID, 0, "network '%s': multicast MAC", id);
		break;
	case VMM_DEV_BLK:
		return check_blk(d, e);
	case VMM_DEV_KIND_COUNT_:
		break;
	}
	return 0;
}

static enum vmm_cap boot_cap(const struct vmm_device *d)
{
	if (d->kind == VMM_DEV_NET)
		return d->net.tap_count ? VMM_CAP_NET_TAP : VMM_CAP_NET_STREAM;
	return device_caps[d->kind].boot;
}

static int check_device(const struct vmm *v, const struct vmm_device *d, struct err *e)
{
	if (d->kind >= VMM_DEV_KIND_COUNT_)
		return err_set(e, ERR_INVALID, 0, "device of unknown kind %d", (int)d->kind);
	if (!is_id(d->id))
		return err_set(e, ERR_INVALID, 0, "%s: '%s' is no device name",
			       device_caps[d->kind].name, d->id ? d->id : "");
	if (boot_cap(d) != VMM_CAP_COUNT_ && vmm_require(v, boot_cap(d), e) < 0)
		return err_wrap(e, "device '%s'", d->id);
	if (d->kind == VMM_DEV_FS && !v->config.shared_memory)
		return err_set(e, ERR_INVALID, 0,
			       "device '%s': virtio-fs needs the machine's memory to be shared",
			       d->id);
	return check_fields(d, e);
}

static int check_devices(const struct vmm *v, struct err *e)
{
	const struct vmm_config *c = &v->config;

	for (size_t i = 0; i < c->device_count; i++) {
		if (check_device(v, &c->devices[i], e) < 0)
			return -1;
		if (c->devices[i].kind == VMM_DEV_BLK && c->devices[i].blk.extent_count)
			return err_set(e, ERR_UNSUPPORTED, 0,
				       "device '%s': a disk of several files at boot",
				       c->devices[i].id);
		for (size_t j = 0; j < i; j++) {
			if (str_eq(c->devices[i].id, c->devices[j].id))
				return err_set(e, ERR_INVALID, 0, "two devices are called '%s'",
					       c->devices[i].id);
		}
	}
	return 0;
}

static int check_config(const struct vmm *v, struct err *e)
{
	const struct vmm_config *c = &v->config;
	unsigned max_vcpus = c->max_vcpus ? c->max_vcpus : c->vcpus;
	uint64_t max_mib = c->max_memory_mib ? c->max_memory_mib : c->memory_mib;

	if (!is_plain(c->name, sizeof(v->name) - 1))
		return err_set(e, ERR_INVALID, 0, "'%s' cannot name a machine",
			       c->name ? c->name : "");
	if (c->accel != ACCEL_KVM && c->accel != ACCEL_TCG)
		return err_set(e, ERR_INVALID, 0, "acceleration '%s' was not decided",
			       accel_name(c->accel));
	if (c->accel == ACCEL_TCG && vmm_require(v, VMM_CAP_TCG, e) < 0)
		return -1;
	if (c->vcpus < 1 || max_vcpus < c->vcpus || max_vcpus > MAX_VCPUS)
		return err_set(e, ERR_INVALID, 0, "%u processors of at most %u (limit %d)",
			       c->vcpus, max_vcpus, MAX_VCPUS);
	if (c->memory_mib < MIN_MEMORY_MIB || max_mib < c->memory_mib || max_mib > 1ULL << 24)
		return err_set(e, ERR_INVALID, 0,
			       "%llu MiB of memory of at most %llu (from %d)",
			       (unsigned long long)c->memory_mib, (unsigned long long)max_mib,
			       MIN_MEMORY_MIB);
	if (c->huge_pages && vmm_require(v, VMM_CAP_HUGE_PAGES, e) < 0)
		return -1;
	if (!c->kernel)
		return err_set(e, ERR_INVALID, 0, "no guest kernel is configured");
	return check_devices(v, e);
}

int vmm_new(const char *hypervisor, struct loop *l, struct child_reaper *r,
	    const struct vmm_config *c, vmm_exit_fn on_exit, void *arg, struct vmm **out,
	    struct err *e)
{
	OWN(free) struct vmm *v = NULL;
	const struct vmm_driver *d;
	const char *machine;

	if (find_driver(hypervisor, &d, e) < 0)
		return -1;
	v = mem_zalloc(d->size);
	if (!v)
		return err_oom(e, "a virtual machine");
	machine = c->machine && c->machine[0] ? c->machine : d->default_machine;
	v->driver = d;
	v->loop = l;
	v->reaper = r;
	v->config = *c;
	v->on_exit = on_exit;
	v->arg = arg;
	(void)snprintf(v->machine, sizeof(v->machine), "%s", machine);
	if (d->caps(machine, c->accel, &v->caps, e) < 0 || check_config(v, e) < 0)
		return -1;
	(void)snprintf(v->name, sizeof(v->name), "%s", c->name);
	*out = TAKE(v);
	return 0;
}

bool vmm_is_running(const struct vmm *v)
{
	return v->child.reaper && !v->child.exited;
}

void vmm_free(struct vmm *v)
{
	struct err ignored;

	if (!v)
		return;
	if (vmm_is_running(v)) {
		(void)child_kill(&v->child, SIGKILL, &ignored);
		child_unwatch(&v->child);
	}
	v->driver->ops->fini(v);
	console_close(&v->console);
	console_close(&v->messages);
	free(v);
}

static void on_child_exit(struct child *c)
{
	struct vmm *v = container_of(c, struct vmm, child);

	console_drain(&v->messages);
	console_drain(&v->console);
	v->driver->ops->explain(v, &v->exit);
	if (v->started && v->on_exit)
		v->on_exit(&v->exit, v->arg);
}

void vmm_watch(struct vmm *v, pid_t pid)
{
	child_watch(v->reaper, &v->child, pid, on_child_exit);
}

static void end_process(struct vmm *v)
{
	struct err ignored;

	fiber_shield(v->loop, true);
	(void)child_end(&v->child, KILL_MS, &ignored);
	fiber_shield(v->loop, false);
}

/* A failed start with the reason behind it: the monitor's own words, if it left any. */
static int fail_start(struct vmm *v, struct err *e)
{
	char words[300];
	struct err ignored;
	bool by_itself;

	if (e->kind == ERR_PEER) /* it is ending by itself: let it, for the exit code */
		(void)child_wait(&v->child, deadline_in(QUIT_MS), &ignored);
	by_itself = v->child.exited;
	end_process(v);
	console_drain(&v->messages);
	if (console_tail(&v->messages, words, sizeof(words)) > 0) {
		for (char *p = words; *p; p++)
			*p = *p == '\n' ? (p[1] ? ';' : '\0') : *p;
		(void)err_set(e, e->kind, 0, "%s said: %s", v->driver->name, words);
	} else if (by_itself) {
		(void)err_wrap(e, "%s ended with status %d", v->driver->name,
			       child_exit_code(v->child.status));
	}
	return v->config.program ? err_wrap(e, "'%.80s'", v->config.program) : -1;
}

int vmm_start(struct vmm *v, int64_t deadline, struct err *e)
{
	if (v->child.reaper)
		return err_set(e, ERR_STATE, 0, "machine '%s' was started before", v->name);
	if (v->driver->ops->start(v, deadline, e) < 0) {
		if (v->child.reaper)
			(void)fail_start(v, e);
		v->driver->ops->fini(v);
		return err_wrap(e, "start %s", v->driver->name);
	}
	v->started = true;
	return 0;
}

int vmm_stop(struct vmm *v, int64_t deadline, struct err *e)
{
	int64_t soon = deadline_in(QUIT_MS);
	struct err ignored;

	if (!vmm_is_running(v))
		return 0;
	v->stopping = true;
	if (soon > deadline)
		soon = deadline;
	/* a start that failed has left nobody to ask */
	if (!v->started || v->driver->ops->quit(v, soon, &ignored) < 0 ||
	    child_wait(&v->child, soon, &ignored) < 0)
		end_process(v);
	if (vmm_is_running(v))
		return err_set(e, ERR_TIMEOUT, 0, "machine '%s': process %d does not end",
			       v->name, (int)v->child.pid);
	return 0;
}

int vmm_wait(struct vmm *v, int64_t deadline, struct err *e)
{
	if (!v->child.reaper)
		return err_set(e, ERR_STATE, 0, "machine '%s' was not started", v->name);
	return child_wait(&v->child, deadline, e);
}

const struct vmm_exit *vmm_exit_info(const struct vmm *v)
{
	return &v->exit;
}

static int need_running(const struct vmm *v, struct err *e)
{
	if (vmm_is_running(v))
		return 0;
	return err_set(e, ERR_STATE, 0, "machine '%s' is not running", v->name);
}

int vmm_serial_take(struct vmm *v, const char *name, int *fd_out, struct err *e)
{
	if (vmm_require(v, VMM_CAP_SERIAL_PORTS, e) < 0)
		return -1;
	return v->driver->ops->serial_take(v, name, fd_out, e);
}

size_t vmm_console_tail(const struct vmm *v, char *out, size_t size)
{
	return console_tail(&v->console, out, size);
}

int vmm_device_add(struct vmm *v, const struct vmm_device *d, int64_t deadline,
		   struct vmm_device_addr *addr, struct err *e)
{
	struct vmm_device_addr unused;
	enum vmm_cap plug;

	if (check_device(v, d, e) < 0)
		return -1;
	plug = device_caps[d->kind].plug;
	if (plug == VMM_CAP_COUNT_)
		return err_set(e, ERR_UNSUPPORTED, 0, "device '%s': a %s cannot be hot-plugged",
			       d->id, device_caps[d->kind].name);
	if (vmm_require(v, plug, e) < 0 || need_running(v, e) < 0)
		return err_wrap(e, "device '%s'", d->id);
	if (d->kind == VMM_DEV_BLK && d->blk.extent_count &&
	    vmm_require(v, VMM_CAP_EXTENTS, e) < 0)
		return err_wrap(e, "device '%s'", d->id);
	return v->driver->ops->device_add(v, d, deadline, addr ? addr : &unused, e);
}

int vmm_device_remove(struct vmm *v, const char *id, int64_t deadline, struct err *e)
{
	if (!v->driver->ops->device_remove)
		return err_set(e, ERR_UNSUPPORTED, 0, "%s removes no devices", v->driver->name);
	if (need_running(v, e) < 0)
		return -1;
	return v->driver->ops->device_remove(v, id, deadline, e);
}

int vmm_device_addr(struct vmm *v, const char *id, int64_t deadline,
		    struct vmm_device_addr *out, struct err *e)
{
	(void)deadline;
	return v->driver->ops->device_addr(v, id, out, e);
}

int vmm_pause(struct vmm *v, int64_t deadline, struct err *e)
{
	if (vmm_require(v, VMM_CAP_PAUSE, e) < 0 || need_running(v, e) < 0)
		return -1;
	return v->driver->ops->pause(v, deadline, e);
}

int vmm_resume(struct vmm *v, int64_t deadline, struct err *e)
{
	if (vmm_require(v, VMM_CAP_PAUSE, e) < 0 || need_running(v, e) < 0)
		return -1;
	return v->driver->ops->resume(v, deadline, e);
}

int vmm_resize_vcpus(struct vmm *v, unsigned vcpus, int64_t deadline, unsigned *out,
		     struct err *e)
{
	if (vmm_require(v, VMM_CAP_HOTPLUG_CPU, e) < 0 || need_running(v, e) < 0)
		return -1;
	return v->driver->ops->resize_vcpus(v, vcpus, deadline, out, e);
}

int vmm_resize_memory(struct vmm *v, uint64_t mib, int64_t deadline, uint64_t *out,
		      struct err *e)
{
	if (vmm_require(v, VMM_CAP_HOTPLUG_MEM, e) < 0 || need_running(v, e) < 0)
		return -1;
	return v->driver->ops->resize_memory(v, mib, deadline, out, e);
}

pid_t vmm_pid(const struct vmm *v)
{
	return vmm_is_running(v) ? v->child.pid : 0;
}

int vmm_vcpu_threads(struct vmm *v, int64_t deadline, pid_t *tids, size_t max, size_t *count,
		     struct err *e)
{
	if (need_running(v, e) < 0)
		return -1;
	return v->driver->ops->vcpu_threads(v, deadline, tids, max, count, e);
}

int vmm_memory_kib(const struct vmm *v, uint64_t *pss_out, struct err *e)
{
	OWN(free) char *text = NULL;
	const char *line;
	char path[48];
	size_t len;

	if (need_running(v, e) < 0)
		return -1;
	(void)snprintf(path, sizeof(path), "/proc/%d/smaps_rollup", (int)v->child.pid);
	if (file_read(AT_FDCWD, path, 8192, &text, &len, e) < 0)
		return -1;
	line = strstr(text, "\nPss:");
	if (!line)
		return err_set(e, ERR_SYS, 0, "'%s' has no Pss line", path);
	*pss_out = strtoull(line + strlen("\nPss:"), NULL, 10);
	return 0;
}

const char *vmm_hypervisor(const struct vmm *v)
{
	return v->driver->name;
}

const char *vmm_machine(const struct vmm *v)
{
	return v->machine;
}

enum accel vmm_accel(const struct vmm *v)
{
	return v->config.accel;
}
