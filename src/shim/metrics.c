/* SPDX-License-Identifier: Apache-2.0 */
/* From the agent's figures to containerd's two kinds of metrics. */
#include "shim/metrics.h"

#include <linux/magic.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/vfs.h>

#include "agent.pb-c.h"
#include "base/buf.h"
#include "base/err.h"
#include "base/mem.h"
#include "base/str.h"
#include "cgroups_v1.pb-c.h"
#include "cgroups_v2.pb-c.h"
#include "wire/message.h"

/* What version 1 shows where there is no limit: the largest number of whole pages. */
#define V1_UNLIMITED 0x7ffffffffffff000ULL

typedef Io__Containerd__Cgroups__V1__Metrics Metrics1;
typedef Io__Containerd__Cgroups__V2__Metrics Metrics2;

#define NEW1(type, name, a)                                                                    \
	((Io__Containerd__Cgroups__V1__##type *)message_new(                                   \
		&io__containerd__cgroups__v1__##name##__descriptor, (a)))
#define NEW2(type, name, a)                                                                    \
	((Io__Containerd__Cgroups__V2__##type *)message_new(                                   \
		&io__containerd__cgroups__v2__##name##__descriptor, (a)))

bool metrics_host_is_v2(void)
{
	struct statfs fs;

	return statfs("/sys/fs/cgroup", &fs) == 0 && fs.f_type == CGROUP2_SUPER_MAGIC;
}

/* The three messages of a link's counts differ in nothing but their names. */
#define COPY_LINK(to, from)                                                                    \
	do {                                                                                   \
		(to)->name = (from)->name;                                                     \
		(to)->rx_bytes = (from)->rx_bytes;                                             \
		(to)->rx_packets = (from)->rx_packets;                                         \
		(to)->rx_errors = (from)->rx_errors;                                           \
		(to)->rx_dropped = (from)->rx_dropped;                                         \
		(to)->tx_bytes = (from)->tx_bytes;                                             \
		(to)->tx_packets = (from)->tx_packets;                                         \
		(to)->tx_errors = (from)->tx_errors;                                           \
		(to)->tx_dropped = (from)->tx_dropped;                                         \
	} while (0)

/* The figures of the guest's memory.stat; 0 where it has none of that name. */
static uint64_t memory_value(const Grpc__MemoryStats *m, const char *key)
{
	for (size_t i = 0; i < m->n_stats; i++) {
		if (str_eq(m->stats[i]->key, key))
			return m->stats[i]->value;
	}
	return 0;
}

/* ---- version 1 ---- */

#define AT(name) offsetof(Io__Containerd__Cgroups__V1__MemoryStat, name)

/* Version 1's names of what version 2 counts, for the container and with all below it. */
static const struct {
	const char *key;
	size_t own, total;
} v1_memory[] = {
	{ "file", AT(cache), AT(total_cache) },
	{ "anon", AT(rss), AT(total_rss) },
	{ "anon_thp", AT(rss_huge), AT(total_rss_huge) },
	{ "file_mapped", AT(mapped_file), AT(total_mapped_file) },
	{ "file_dirty", AT(dirty), AT(total_dirty) },
	{ "file_writeback", AT(writeback), AT(total_writeback) },
	{ "pgfault", AT(pg_fault), AT(total_pg_fault) },
	{ "pgmajfault", AT(pg_maj_fault), AT(total_pg_maj_fault) },
	{ "inactive_anon", AT(inactive_anon), AT(total_inactive_anon) },
	{ "active_anon", AT(active_anon), AT(total_active_anon) },
	{ "inactive_file", AT(inactive_file), AT(total_inactive_file) },
	{ "active_file", AT(active_file), AT(total_active_file) },
	{ "unevictable", AT(unevictable), AT(total_unevictable) },
};

static uint64_t v1_limit(uint64_t limit)
{
	return limit > V1_UNLIMITED ? V1_UNLIMITED : limit;
}

static int v1_entry(const Grpc__MemoryData *d, struct arena *a,
		    Io__Containerd__Cgroups__V1__MemoryEntry **out, struct err *e)
{
	*out = NEW1(MemoryEntry, memory_entry, a);
	if (!*out)
		return err_oom(e, "metrics");
	if (d) {
		(*out)->limit = v1_limit(d->limit);
		(*out)->usage = d->usage;
		(*out)->max = d->max_usage;
		(*out)->failcnt = d->failcnt;
	}
	return 0;
}

static int v1_add_memory(const Grpc__MemoryStats *m, struct arena *a, Metrics1 *out,
			 struct err *e)
{
	Io__Containerd__Cgroups__V1__MemoryStat *s = NEW1(MemoryStat, memory_stat, a);

	if (!m)
		return 0;
	if (!s)
		return err_oom(e, "metrics");
	for (size_t i = 0; i < ARRAY_LEN(v1_memory); i++) {
		uint64_t v = memory_value(m, v1_memory[i].key);

		memcpy((char *)s + v1_memory[i].own, &v, sizeof(v));
		memcpy((char *)s + v1_memory[i].total, &v, sizeof(v));
	}
	s->hierarchical_memory_limit = m->usage ? v1_limit(m->usage->limit) : 0;
	s->hierarchical_swap_limit = m->swap_usage ? v1_limit(m->swap_usage->limit) : 0;
	if (v1_entry(m->usage, a, &s->usage, e) < 0 ||
	    v1_entry(m->swap_usage, a, &s->swap, e) < 0 ||
	    v1_entry(m->kernel_usage, a, &s->kernel, e) < 0 ||
	    v1_entry(NULL, a, &s->kernel_tcp, e) < 0)
		return -1;
	out->memory = s;
	return 0;
}

static int v1_add_cpu(const Grpc__CpuStats *c, struct arena *a, Metrics1 *out, struct err *e)
{
	out->cpu = NEW1(CPUStat, cpustat, a);
	if (!out->cpu || !(out->cpu->usage = NEW1(CPUUsage, cpuusage, a)) ||
	    !(out->cpu->throttling = NEW1(Throttle, throttle, a)))
		return err_oom(e, "metrics");
	if (c && c->cpu_usage) {
		out->cpu->usage->total = c->cpu_usage->total_usage;
		out->cpu->usage->kernel = c->cpu_usage->usage_in_kernelmode;
		out->cpu->usage->user = c->cpu_usage->usage_in_usermode;
		out->cpu->usage->per_cpu = c->cpu_usage->percpu_usage;
		out->cpu->usage->n_per_cpu = c->cpu_usage->n_percpu_usage;
	}
	if (c && c->throttling_data) {
		out->cpu->throttling->periods = c->throttling_data->periods;
		out->cpu->throttling->throttled_periods = c->throttling_data->throttled_periods;
		out->cpu->throttling->throttled_time = c->throttling_data->throttled_time;
	}
	return 0;
}

static int v1_io_list(Grpc__BlkioStatsEntry *const *in, size_t n, struct arena *a,
		      Io__Containerd__Cgroups__V1__BlkIOEntry ***out, struct err *e)
{
	Io__Containerd__Cgroups__V1__BlkIOEntry **list = arena_calloc(a, n, sizeof(*list));

	if (!list)
		return err_oom(e, "metrics");
	for (size_t i = 0; i < n; i++) {
		list[i] = NEW1(BlkIOEntry, blk_ioentry, a);
		if (!list[i])
			return err_oom(e, "metrics");
		list[i]->op = in[i]->op;
		list[i]->major = in[i]->major;
		list[i]->minor = in[i]->minor;
		list[i]->value = in[i]->value;
	}
	*out = list;
	return 0;
}

static int v1_add_io(const Grpc__BlkioStats *io, struct arena *a, Metrics1 *out, struct err *e)
{
	Io__Containerd__Cgroups__V1__BlkIOStat *s = NEW1(BlkIOStat, blk_iostat, a);

	if (!io)
		return 0;
	if (!s)
		return err_oom(e, "metrics");
	if (v1_io_list(io->io_service_bytes_recursive, io->n_io_service_bytes_recursive, a,
		       &s->io_service_bytes_recursive, e) < 0 ||
	    v1_io_list(io->io_serviced_recursive, io->n_io_serviced_recursive, a,
		       &s->io_serviced_recursive, e) < 0)
		return -1;
	s->n_io_service_bytes_recursive = io->n_io_service_bytes_recursive;
	s->n_io_serviced_recursive = io->n_io_serviced_recursive;
	out->blkio = s;
	return 0;
}

static int v1_add_hugetlb(const Grpc__CgroupStats *s, struct arena *a, Metrics1 *out,
			  struct err *e)
{
	out->hugetlb = arena_calloc(a, s->n_hugetlb_stats, sizeof(*out->hugetlb));
	if (!out->hugetlb)
		return err_oom(e, "metrics");
	for (size_t i = 0; i < s->n_hugetlb_stats; i++) {
		const Grpc__HugetlbStats *h = s->hugetlb_stats[i]->value;
		Io__Containerd__Cgroups__V1__HugetlbStat *n =
			NEW1(HugetlbStat, hugetlb_stat, a);

		if (!n)
			return err_oom(e, "metrics");
		n->pagesize = s->hugetlb_stats[i]->key;
		n->usage = h ? h->usage : 0;
		n->max = h ? h->max_usage : 0;
		n->failcnt = h ? h->failcnt : 0;
		out->hugetlb[out->n_hugetlb++] = n;
	}
	return 0;
}

static int make_v1(const Grpc__StatsContainerResponse *s, struct arena *a,
		   ProtobufCMessage **out, struct err *e)
{
	Metrics1 *m = NEW1(Metrics, metrics, a);
	const Grpc__CgroupStats *g = s->cgroup_stats;

	if (!m || !(m->pids = NEW1(PidsStat, pids_stat, a)) ||
	    !(m->memory_oom_control = NEW1(MemoryOomControl, memory_oom_control, a)) ||
	    !(m->network = arena_calloc(a, s->n_network_stats, sizeof(*m->network))))
		return err_oom(e, "metrics");
	for (size_t i = 0; i < s->n_network_stats; i++) {
		m->network[i] = NEW1(NetworkStat, network_stat, a);
		if (!m->network[i])
			return err_oom(e, "metrics");
		COPY_LINK(m->network[i], s->network_stats[i]);
		m->n_network++;
	}
	if (g->pids_stats) {
		m->pids->current = g->pids_stats->current;
		m->pids->limit = g->pids_stats->limit;
	}
	m->memory_oom_control->oom_kill = s->oom_kill;
	if (v1_add_cpu(g->cpu_stats, a, m, e) < 0 ||
	    v1_add_memory(g->memory_stats, a, m, e) < 0 ||
	    v1_add_io(g->blkio_stats, a, m, e) < 0 || v1_add_hugetlb(g, a, m, e) < 0)
		return -1;
	*out = &m->base;
	return 0;
}

/* ---- version 2 ---- */

/* memory.stat's words are the names of the message's fields. */
static void v2_memory_fields(const Grpc__MemoryStats *m,
			     Io__Containerd__Cgroups__V2__MemoryStat *out)
{
	for (size_t i = 0; i < m->n_stats; i++) {
		const ProtobufCFieldDescriptor *f =
			protobuf_c_message_descriptor_get_field_by_name(
				&io__containerd__cgroups__v2__memory_stat__descriptor,
				m->stats[i]->key);

		if (f)
			memcpy((char *)out + f->offset, &m->stats[i]->value, sizeof(uint64_t));
	}
	out->workingset_refault = memory_value(m, "workingset_refault_anon") +
				  memory_value(m, "workingset_refault_file");
	out->workingset_activate = memory_value(m, "workingset_activate_anon") +
				   memory_value(m, "workingset_activate_file");
}

static int v2_add_memory(const Grpc__MemoryStats *m, struct arena *a, Metrics2 *out,
			 struct err *e)
{
	if (!m)
		return 0;
	out->memory = NEW2(MemoryStat, memory_stat, a);
	out->memory_events = NEW2(MemoryEvents, memory_events, a);
	if (!out->memory || !out->memory_events)
		return err_oom(e, "metrics");
	v2_memory_fields(m, out->memory);
	if (m->usage) {
		out->memory->usage = m->usage->usage;
		out->memory->usage_limit = m->usage->limit;
		out->memory->max_usage = m->usage->max_usage;
		out->memory_events->max = m->usage->failcnt;
	}
	if (m->swap_usage) {
		out->memory->swap_usage = m->swap_usage->usage;
		out->memory->swap_limit = m->swap_usage->limit;
		out->memory->swap_max_usage = m->swap_usage->max_usage;
	}
	return 0;
}

static int v2_add_cpu(const Grpc__CpuStats *c, struct arena *a, Metrics2 *out, struct err *e)
{
	out->cpu = NEW2(CPUStat, cpustat, a);
	if (!out->cpu)
		return err_oom(e, "metrics");
	if (c && c->cpu_usage) {
		out->cpu->usage_usec = c->cpu_usage->total_usage / 1000;
		out->cpu->user_usec = c->cpu_usage->usage_in_usermode / 1000;
		out->cpu->system_usec = c->cpu_usage->usage_in_kernelmode / 1000;
	}
	if (c && c->throttling_data) {
		out->cpu->nr_periods = c->throttling_data->periods;
		out->cpu->nr_throttled = c->throttling_data->throttled_periods;
		out->cpu->throttled_usec = c->throttling_data->throttled_time / 1000;
	}
	return 0;
}

/* The entry of a device, made if it is new; NULL when out of memory. */
static Io__Containerd__Cgroups__V2__IOEntry *
v2_io_entry(Io__Containerd__Cgroups__V2__IOStat *io, const Grpc__BlkioStatsEntry *x,
	    struct arena *a)
{
	Io__Containerd__Cgroups__V2__IOEntry *n;

	for (size_t i = 0; i < io->n_usage; i++) {
		if (io->usage[i]->major == x->major && io->usage[i]->minor == x->minor)
			return io->usage[i];
	}
	n = NEW2(IOEntry, ioentry, a);
	if (n) {
		n->major = x->major;
		n->minor = x->minor;
		io->usage[io->n_usage++] = n;
	}
	return n;
}

static int v2_add_io(const Grpc__BlkioStats *b, struct arena *a, Metrics2 *out, struct err *e)
{
	Io__Containerd__Cgroups__V2__IOStat *io = NEW2(IOStat, iostat, a);
	size_t bytes = b ? b->n_io_service_bytes_recursive : 0;
	size_t count = b ? b->n_io_serviced_recursive : 0;

	if (!io || !(io->usage = arena_calloc(a, bytes + count, sizeof(*io->usage))))
		return err_oom(e, "metrics");
	for (size_t i = 0; i < bytes + count; i++) {
		const Grpc__BlkioStatsEntry *x = i < bytes
							 ? b->io_service_bytes_recursive[i]
							 : b->io_serviced_recursive[i - bytes];
		Io__Containerd__Cgroups__V2__IOEntry *n = v2_io_entry(io, x, a);

		if (!n)
			return err_oom(e, "metrics");
		if (str_eq(x->op, "Read"))
			*(i < bytes ? &n->rbytes : &n->rios) = x->value;
		else if (str_eq(x->op, "Write"))
			*(i < bytes ? &n->wbytes : &n->wios) = x->value;
	}
	out->io = io;
	return 0;
}

static int v2_add_hugetlb(const Grpc__CgroupStats *s, struct arena *a, Metrics2 *out,
			  struct err *e)
{
	out->hugetlb = arena_calloc(a, s->n_hugetlb_stats, sizeof(*out->hugetlb));
	if (!out->hugetlb)
		return err_oom(e, "metrics");
	for (size_t i = 0; i < s->n_hugetlb_stats; i++) {
		const Grpc__HugetlbStats *h = s->hugetlb_stats[i]->value;
		Io__Containerd__Cgroups__V2__HugeTlbStat *n =
			NEW2(HugeTlbStat, huge_tlb_stat, a);

		if (!n)
			return err_oom(e, "metrics");
		n->pagesize = s->hugetlb_stats[i]->key;
		n->current = h ? h->usage : 0;
		n->max = h ? h->max_usage : 0;
		out->hugetlb[out->n_hugetlb++] = n;
	}
	return 0;
}

static int make_v2(const Grpc__StatsContainerResponse *s, struct arena *a,
		   ProtobufCMessage **out, struct err *e)
{
	Metrics2 *m = NEW2(Metrics, metrics, a);
	const Grpc__CgroupStats *g = s->cgroup_stats;

	if (!m || !(m->pids = NEW2(PidsStat, pids_stat, a)) ||
	    !(m->network = arena_calloc(a, s->n_network_stats, sizeof(*m->network))))
		return err_oom(e, "metrics");
	for (size_t i = 0; i < s->n_network_stats; i++) {
		m->network[i] = NEW2(NetworkStat, network_stat, a);
		if (!m->network[i])
			return err_oom(e, "metrics");
		COPY_LINK(m->network[i], s->network_stats[i]);
		m->n_network++;
	}
	if (g->pids_stats) {
		m->pids->current = g->pids_stats->current;
		m->pids->limit = g->pids_stats->limit;
	}
	if (v2_add_cpu(g->cpu_stats, a, m, e) < 0 ||
	    v2_add_memory(g->memory_stats, a, m, e) < 0 ||
	    v2_add_io(g->blkio_stats, a, m, e) < 0 || v2_add_hugetlb(g, a, m, e) < 0)
		return -1;
	if (m->memory_events) {
		m->memory_events->oom = s->oom;
		m->memory_events->oom_kill = s->oom_kill;
	}
	*out = &m->base;
	return 0;
}

int metrics_make(const Grpc__StatsContainerResponse *s, bool v2, struct arena *a,
		 Google__Protobuf__Any **out, struct err *e)
{
	OWN(buf) struct buf bytes = BUF_INIT;
	Google__Protobuf__Any *any;
	ProtobufCMessage *m;

	if (!s->cgroup_stats)
		return err_set(e, ERR_PEER, 0, "the agent sent no figures");
	if ((v2 ? make_v2(s, a, &m, e) : make_v1(s, a, &m, e)) < 0 ||
	    message_encode(m, &bytes, e) < 0)
		return -1;
	any = (Google__Protobuf__Any *)message_new(&google__protobuf__any__descriptor, a);
	if (!any || !(any->value.data = arena_alloc(a, buf_len(&bytes) + 1)) ||
	    !(any->type_url = arena_strdup(a, m->descriptor->name)))
		return err_oom(e, "metrics");
	memcpy(any->value.data, buf_head(&bytes), buf_len(&bytes));
	any->value.len = buf_len(&bytes);
	*out = any;
	return 0;
}
