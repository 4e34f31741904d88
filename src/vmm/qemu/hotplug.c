/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Devices, processors and memory added to a running QEMU. A PCI device goes into a root port
 * of its own. What a device needs (descriptors, back end) is made first and taken away again
 * when a later step fails; its removal is over when the guest has let go of it.
 */
#include <stdio.h>
#include <string.h>

#include "base/err.h"
#include "base/log.h"
#include "base/time.h"
#include "vmm/qemu/qemu.h"
#include "wire/json.h"
#include "wire/qmp.h"
#include "wire/unix_socket.h"

enum {
	MEMORY_BLOCK_MIB = 128,
	TAKEN_POLL_MS = 5,
	UNDO_MS = 2000
};

/* In the place of a device's id: there may be one, and it cannot be told apart from none. */
#define PORT_LOST "?"

static struct qemu *qemu_of(struct vmm *v)
{
	return container_of(v, struct qemu, vmm);
}

static int find_port(struct qemu *q, const char *id)
{
	for (unsigned i = 0; i < q->port_count; i++) {
		if (str_eq(q->ports[i].id, id))
			return (int)i;
	}
	return -1;
}

static int take_port(struct qemu *q, const char *id, unsigned *out, struct err *e)
{
	int i;

	for (size_t n = 0; n < q->boot_count; n++) {
		if (str_eq(q->boot[n].id, id))
			return err_set(e, ERR_EXISTS, 0, "there is a device '%s'", id);
	}
	if (find_port(q, id) >= 0)
		return err_set(e, ERR_EXISTS, 0, "there is a device '%s'", id);
	i = find_port(q, "");
	if (i < 0)
		return err_set(e, ERR_STATE, 0,
			       "all %u places for hot-plugged devices are taken "
			       "(pcie_root_port adds some)",
			       q->port_count);
	(void)snprintf(q->ports[i].id, sizeof(q->ports[i].id), "%s", id);
	q->ports[i].deleted = false;
	*out = (unsigned)i;
	return 0;
}

static void port_addr(unsigned port, struct vmm_device_addr *out)
{
	unsigned function = qemu_port_function(port);

	if (function)
		(void)snprintf(out->pci_path, sizeof(out->pci_path), "%02x.%x/00",
			       qemu_port_slot(port), function);
	else
		(void)snprintf(out->pci_path, sizeof(out->pci_path), "%02x/00",
			       qemu_port_slot(port));
}

/* A best-effort command that takes something back. */
static void undo(struct qemu *q, const char *command, const char *key, const char *value)
{
	struct jval *args;
	struct err ignored;

	args = qemu_object(&ignored, key, value, NULL);
	if (args &&
	    qmp_execute(q->qmp, command, args, deadline_in(UNDO_MS), NULL, &ignored) < 0)
		log_debug(q->vmm.config.log, "%s", ignored.msg);
}

/* Nobody waits for the answer any more: QEMU may do it all the same. */
static bool is_given_up(const struct err *e)
{
	return e->kind == ERR_TIMEOUT || e->kind == ERR_CANCELLED;
}

static int getfd(struct qemu *q, const char *name, int fd, int64_t deadline, struct err *e)
{
	struct jval *args = qemu_object(e, "fdname", name, NULL);

	return args ? qmp_execute_fd(q->qmp, "getfd", args, fd, deadline, NULL, e) : -1;
}

static int plug(struct qemu *q, struct jval *args, unsigned port, int64_t deadline,
		struct err *e)
{
	char bus[16];

	(void)snprintf(bus, sizeof(bus), "port%u", port);
	if (!args)
		return -1;
	if (jval_set_str(args, "bus", bus, e) < 0) {
		jval_free(args);
		return -1;
	}
	return qmp_execute(q->qmp, "device_add", args, deadline, NULL, e);
}

/* An error of the host's disk, a full one too, is the guest's: QEMU would stop the machine for
 * it. */
static int plug_blk(struct qemu *q, const struct vmm_device *d, unsigned port, int64_t deadline,
		    struct err *e)
{
	char node[40];

	(void)snprintf(node, sizeof(node), "b-%s", d->id);
	if (qemu_blockdev_add(q, d, node, deadline, e) < 0)
		return -1;
	if (plug(q,
		 qemu_object(e, "driver", "virtio-blk-pci", "id", d->id, "drive", node,
			     "serial", d->blk.serial ? d->blk.serial : d->id, "werror",
			     "report", "rerror", "report", NULL),
		 port, deadline, e) == 0)
		return 0;
	undo(q, "blockdev-del", "node-name", node);
	return -1;
}

static int add_netdev(struct qemu *q, const struct vmm_device *d, const char *netdev,
		      int64_t deadline, struct err *e)
{
	char fds[16 * 40] = "", vhosts[16 * 40] = "", name[40];
	size_t n = d->net.tap_count;
	struct jval *args;

	for (size_t i = 0; i < n; i++) {
		(void)snprintf(name, sizeof(name), "%s-t%zu", d->id, i);
		if (getfd(q, name, d->net.tap_fds[i], deadline, e) < 0)
			return -1;
		(void)snprintf(fds + strlen(fds), sizeof(fds) - strlen(fds), "%s%s",
			       i ? ":" : "", name);
		if (!d->net.vhost_fds)
			continue;
		(void)snprintf(name, sizeof(name), "%s-v%zu", d->id, i);
		if (getfd(q, name, d->net.vhost_fds[i], deadline, e) < 0)
			return -1;
		(void)snprintf(vhosts + strlen(vhosts), sizeof(vhosts) - strlen(vhosts), "%s%s",
			       i ? ":" : "", name);
	}
	args = qemu_object(e, "type", "tap", "id", netdev, n > 1 ? "fds" : "fd", fds,
			   d->net.vhost_fds ? (n > 1 ? "vhostfds" : "vhostfd") : NULL, vhosts,
			   NULL);
	if (args && d->net.vhost_fds && jval_set_bool(args, "vhost", true, e) < 0) {
		jval_free(args);
		return -1;
	}
	return args ? qmp_execute(q->qmp, "netdev_add", args, deadline, NULL, e) : -1;
}

static int add_stream(struct qemu *q, const struct vmm_device *d, const char *netdev,
		      int64_t deadline, struct err *e)
{
	OWN(jval) struct jval *addr = NULL;
	OWN(jval) struct jval *args = NULL;
	char name[40];

	(void)snprintf(name, sizeof(name), "%s-s", d->id);
	if (getfd(q, name, d->net.stream_fd, deadline, e) < 0)
		return -1;
	addr = qemu_object(e, "type", "fd", "str", name, NULL);
	args = qemu_object(e, "type", "stream", "id", netdev, NULL);
	if (!addr || !args || jval_set_bool(args, "server", false, e) < 0 ||
	    jval_set(args, "addr", TAKE(addr), e) < 0)
		return -1;
	return qmp_execute(q->qmp, "netdev_add", TAKE(args), deadline, NULL, e);
}

static int plug_net(struct qemu *q, const struct vmm_device *d, unsigned port, int64_t deadline,
		    struct err *e)
{
	const uint8_t *m = d->net.mac;
	char netdev[40], mac[24];
	struct jval *args;
	bool bad;

	(void)snprintf(netdev, sizeof(netdev), "n-%s", d->id);
	(void)snprintf(mac, sizeof(mac), "%02x:%02x:%02x:%02x:%02x:%02x", m[0], m[1], m[2],
		       m[3], m[4], m[5]);
	if ((d->net.tap_count ? add_netdev : add_stream)(q, d, netdev, deadline, e) < 0)
		return -1;
	args = qemu_object(e, "driver", "virtio-net-pci", "id", d->id, "netdev", netdev, "mac",
			   mac, "romfile", "", NULL);
	bad = args && d->net.tap_count > 1 && jval_set_bool(args, "mq", true, e) < 0;
	if (bad)
		jval_free(TAKE(args));
	if (plug(q, args, port, deadline, e) == 0)
		return 0;
	undo(q, "netdev_del", "id", netdev);
	return -1;
}

static int add_chardev(struct qemu *q, const struct vmm_device *d, const char *chardev,
		       int64_t deadline, struct err *e)
{
	OWN(fd) int own = -1;
	OWN(jval) struct jval *addr = NULL, *data = NULL, *backend = NULL, *args = NULL;
	OWN(jval) struct jval *inner = NULL;
	int fd = d->fs.socket_fd;

	if (fd < 0) {
		if (unix_connect(d->fs.socket_path, &own, e) < 0)
			return -1;
		fd = own;
	}
	if (getfd(q, chardev, fd, deadline, e) < 0)
		return -1;
	inner = qemu_object(e, "str", chardev, NULL);
	addr = qemu_object(e, "type", "fd", NULL);
	data = jval_new_object();
	backend = qemu_object(e, "type", "socket", NULL);
	args = qemu_object(e, "id", chardev, NULL);
	if (!inner || !addr || !data || !backend || !args)
		return err_oom(e, "a QMP command");
	if (jval_set(addr, "data", TAKE(inner), e) < 0 ||
	    jval_set_bool(data, "server", false, e) < 0 ||
	    jval_set(data, "addr", TAKE(addr), e) < 0 ||
	    jval_set(backend, "data", TAKE(data), e) < 0 ||
	    jval_set(args, "backend", TAKE(backend), e) < 0)
		return -1;
	return qmp_execute(q->qmp, "chardev-add", TAKE(args), deadline, NULL, e);
}

static int plug_fs(struct qemu *q, const struct vmm_device *d, unsigned port, int64_t deadline,
		   struct err *e)
{
	char chardev[40];
	struct jval *args;

	(void)snprintf(chardev, sizeof(chardev), "c-%s", d->id);
	if (add_chardev(q, d, chardev, deadline, e) < 0)
		return -1;
	args = qemu_object(e, "driver", "vhost-user-fs-pci", "id", d->id, "chardev", chardev,
			   "tag", d->fs.tag, NULL);
	if (args &&
	    jval_set_int(args, "queue-size", d->fs.queue_size ? d->fs.queue_size : 1024, e) < 0)
		jval_free(TAKE(args));
	if (plug(q, args, port, deadline, e) == 0)
		return 0;
	undo(q, "chardev-remove", "id", chardev);
	return -1;
}

/* What is left in the monitor when a device has gone: its back end. */
static const struct plugger {
	int (*plug)(struct qemu *q, const struct vmm_device *d, unsigned port, int64_t deadline,
		    struct err *e);
	const char *prefix, *remove, *key;
} pluggers[VMM_DEV_KIND_COUNT_] = {
	[VMM_DEV_BLK] = { plug_blk, "b-", "blockdev-del", "node-name" },
	[VMM_DEV_NET] = { plug_net, "n-", "netdev_del", "id" },
	[VMM_DEV_FS] = { plug_fs, "c-", "chardev-remove", "id" },
};

int qemu_device_add(struct vmm *v, const struct vmm_device *d, int64_t deadline,
		    struct vmm_device_addr *addr, struct err *e)
{
	struct qemu *q = qemu_of(v);
	unsigned port = 0;

	if (take_port(q, d->id, &port, e) < 0)
		return -1;
	q->ports[port].kind = d->kind;
	if (pluggers[d->kind].plug(q, d, port, deadline, e) < 0) {
		(void)snprintf(q->ports[port].id, sizeof(q->ports[port].id), "%s",
			       is_given_up(e) ? PORT_LOST : "");
		return err_wrap(e, "plug device '%s'", d->id);
	}
	port_addr(port, addr);
	return 0;
}

void qemu_device_deleted(struct qemu *q, const char *id)
{
	int i = id[0] ? find_port(q, id) : -1;

	if (i < 0)
		return;
	q->ports[i].deleted = true;
	cond_wake_all(&q->unplugged);
}

int qemu_device_remove(struct vmm *v, const char *id, int64_t deadline, struct err *e)
{
	struct qemu *q = qemu_of(v);
	int i = id[0] ? find_port(q, id) : -1;
	struct jval *args;
	char back_end[40];

	if (i < 0)
		return err_set(e, ERR_NOT_FOUND, 0, "there is no hot-plugged device '%s'", id);
	if (!q->ports[i].deleted) {
		args = qemu_object(e, "id", id, NULL);
		if (!args || qmp_execute(q->qmp, "device_del", args, deadline, NULL, e) < 0)
			return err_wrap(e, "unplug device '%s'", id);
	}
	while (!q->ports[i].deleted) {
		if (!vmm_is_running(v))
			return err_set(e, ERR_PEER, 0, "the machine ended");
		if (cond_wait(&q->unplugged, deadline, e) < 0)
			return err_wrap(e, "the guest keeps device '%s'", id);
	}
	(void)snprintf(back_end, sizeof(back_end), "%s%s", pluggers[q->ports[i].kind].prefix,
		       id);
	undo(q, pluggers[q->ports[i].kind].remove, pluggers[q->ports[i].kind].key, back_end);
	q->ports[i].id[0] = '\0';
	return 0;
}

int qemu_device_addr(struct vmm *v, const char *id, struct vmm_device_addr *out, struct err *e)
{
	struct qemu *q = qemu_of(v);
	int port = id[0] ? find_port(q, id) : -1;

	if (port >= 0) {
		port_addr((unsigned)port, out);
		return 0;
	}
	for (size_t i = 0; i < q->boot_count; i++) {
		if (!str_eq(q->boot[i].id, id))
			continue;
		out->pci_path[0] = '\0';
		if (q->machine->has_pci)
			(void)snprintf(out->pci_path, sizeof(out->pci_path), "%02x",
				       qemu_device_slot(i));
		return 0;
	}
	return err_set(e, ERR_NOT_FOUND, 0, "machine '%s' has no device '%s'", v->name, id);
}

/* Plugs one of the processors QEMU offers. */
static int plug_vcpu(struct qemu *q, const struct jval *slot, int64_t deadline, struct err *e)
{
	const char *type = jval_str(jval_get(slot, "type"));
	OWN(jval) struct jval *args = NULL;
	static const char *const keys[] = { "socket-id", "die-id", "core-id", "thread-id" };
	char id[24];

	if (!type)
		return err_set(e, ERR_PEER, 0, "QMP: a processor without type");
	(void)snprintf(id, sizeof(id), "vcpu%u", q->next_vcpu++);
	args = qemu_object(e, "driver", type, "id", id, NULL);
	if (!args)
		return -1;
	for (size_t i = 0; i < ARRAY_LEN(keys); i++) {
		const struct jval *props = jval_get(slot, "props");
		int64_t n;

		if (jval_int(jval_get(props, keys[i]), &n) &&
		    jval_set_int(args, keys[i], n, e) < 0)
			return -1;
	}
	if (qmp_execute(q->qmp, "device_add", TAKE(args), deadline, NULL, e) < 0)
		return -1;
	q->vcpus++;
	return 0;
}

int qemu_resize_vcpus(struct vmm *v, unsigned vcpus, int64_t deadline, unsigned *out,
		      struct err *e)
{
	struct qemu *q = qemu_of(v);
	OWN(jval) struct jval *slots = NULL;
	unsigned there = 0;

	if (vcpus > q->max_vcpus)
		return err_set(e, ERR_INVALID, 0, "%u processors of at most %u", vcpus,
			       q->max_vcpus);
	if (vcpus > q->vcpus &&
	    qmp_execute(q->qmp, "query-hotpluggable-cpus", NULL, deadline, &slots, e) < 0)
		return -1;
	for (size_t i = 0; i < jval_count(slots); i++)
		there += jval_get(jval_at(slots, i), "qom-path") != NULL;
	if (there > q->max_vcpus)
		return err_set(e, ERR_PEER, 0, "QMP: %u processors of at most %u are there",
			       there, q->max_vcpus);
	if (there > q->vcpus) /* one that was asked for and given up came after all */
		q->vcpus = there;
	/* the list begins with the highest */
	for (size_t i = jval_count(slots); i > 0 && q->vcpus < vcpus; i--) {
		const struct jval *slot = jval_at(slots, i - 1);

		if (!jval_get(slot, "qom-path") && plug_vcpu(q, slot, deadline, e) < 0)
			return -1;
	}
	*out = q->vcpus;
	return 0;
}

/*
 * What the guest has said of a module: 1: it has the memory, 0: nothing yet, -1: its refusal.
 * ACPI 6.5, 6.3.5 (_OST): source 1 is a device check, status 0 success.
 */
static int memory_status(struct qemu *q, const char *dimm, int64_t deadline, struct err *e)
{
	OWN(jval) struct jval *list = NULL;

	if (qmp_execute(q->qmp, "query-acpi-ospm-status", NULL, deadline, &list, e) < 0)
		return -1;
	for (size_t i = 0; i < jval_count(list); i++) {
		const struct jval *slot = jval_at(list, i);
		int64_t source = 0, status = 0;

		if (!str_eq(jval_str(jval_get(slot, "device")), dimm) ||
		    !jval_int(jval_get(slot, "source"), &source) ||
		    !jval_int(jval_get(slot, "status"), &status) || source != 1)
			continue;
		return status == 0 ? 1
				   : err_set(e, ERR_PEER, 0,
					     "the guest refused the memory (_OST status %lld)",
					     (long long)status);
	}
	return 0;
}

/* QEMU offers memory at once; the guest takes it when it comes to it. */
static int wait_for_memory(struct qemu *q, const char *dimm, int64_t deadline, struct err *e)
{
	int rc;

	while ((rc = memory_status(q, dimm, deadline, e)) == 0) {
		if (deadline_left(deadline) == 0)
			return err_set(e, ERR_TIMEOUT, 0,
				       "the guest did not take the memory in time");
		/* no sleep: the end of the machine is to be noticed before it is freed */
		if (cond_wait(&q->unplugged, deadline_in(TAKEN_POLL_MS), e) < 0 &&
		    e->kind != ERR_TIMEOUT)
			return -1;
		if (!vmm_is_running(&q->vmm))
			return err_set(e, ERR_PEER, 0, "the machine ended");
	}
	return rc < 0 ? -1 : 0;
}

static int add_memory(struct qemu *q, uint64_t mib, int64_t deadline, struct err *e)
{
	const struct vmm_config *c = &q->vmm.config;
	OWN(jval) struct jval *object = NULL, *device = NULL;
	char mem[24], dimm[24];

	/* new names each time: what was given up may have been done */
	(void)snprintf(mem, sizeof(mem), "mem%u", q->next_memory);
	(void)snprintf(dimm, sizeof(dimm), "dimm%u", q->next_memory++);
	object = qemu_object(e, "qom-type", qemu_memory_backend(c), "id", mem, NULL);
	device = qemu_object(e, "driver", "pc-dimm", "id", dimm, "memdev", mem, NULL);
	if (!object || !device || jval_set_int(object, "size", (int64_t)(mib << 20), e) < 0 ||
	    jval_set_bool(object, "share", qemu_memory_is_shared(c), e) < 0 ||
	    jval_set_bool(object, "prealloc", c->prealloc, e) < 0 ||
	    (c->huge_pages && jval_set_bool(object, "hugetlb", true, e) < 0) ||
	    qmp_execute(q->qmp, "object-add", TAKE(object), deadline, NULL, e) < 0)
		return -1;
	if (qmp_execute(q->qmp, "device_add", TAKE(device), deadline, NULL, e) < 0) {
		q->memory_plugged += is_given_up(e); /* and its slot may be taken */
		undo(q, "object-del", "id", mem);
		return -1;
	}
	q->memory_plugged++;
	q->memory_mib += mib;
	return wait_for_memory(q, dimm, deadline, e);
}

int qemu_resize_memory(struct vmm *v, uint64_t mib, int64_t deadline, uint64_t *out,
		       struct err *e)
{
	struct qemu *q = qemu_of(v);
	uint64_t more;

	if (mib > q->max_memory_mib)
		return err_set(e, ERR_INVALID, 0, "%llu MiB of memory of at most %llu",
			       (unsigned long long)mib, (unsigned long long)q->max_memory_mib);
	if (mib > q->memory_mib) {
		if (q->memory_plugged >= qemu_memory_slots(&v->config))
			return err_set(e, ERR_STATE, 0, "all %u memory slots are taken",
				       qemu_memory_slots(&v->config));
		more = (mib - q->memory_mib + MEMORY_BLOCK_MIB - 1) / MEMORY_BLOCK_MIB *
		       MEMORY_BLOCK_MIB;
		if (q->memory_mib + more > q->max_memory_mib)
			more -= MEMORY_BLOCK_MIB;
		if (more && add_memory(q, more, deadline, e) < 0)
			return -1;
	}
	*out = q->memory_mib;
	return 0;
}
