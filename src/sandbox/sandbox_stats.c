/* SPDX-License-Identifier: Apache-2.0 */
/* The figures of a sandbox: those of its containers, added up. */
#include <string.h>

#include "base/err.h"
#include "base/str.h"
#include "sandbox/internal.h"
#include "wire/message.h"

enum {
	KEYS_MAX = 256,
	IO_MAX = 512, /* devices times operations */
	HUGE_MAX = 16
};

#define NEW(type, name, a) ((type *)message_new(&name##__descriptor, (a)))

static void add_data(const Grpc__MemoryData *from, Grpc__MemoryData *to)
{
	if (!from)
		return;
	to->usage += from->usage;
	to->max_usage += from->max_usage;
	to->failcnt += from->failcnt;
	/* no limit (all ones) stays no limit */
	to->limit = to->limit + from->limit < to->limit ? UINT64_MAX : to->limit + from->limit;
}

static int add_value(Grpc__MemoryStats *to, const Grpc__MemoryStats__StatsEntry *from,
		     struct arena *a, struct err *e)
{
	for (size_t i = 0; i < to->n_stats; i++) {
		if (str_eq(to->stats[i]->key, from->key)) {
			to->stats[i]->value += from->value;
			return 0;
		}
	}
	if (to->n_stats >= KEYS_MAX)
		return 0;
	to->stats[to->n_stats] =
		NEW(Grpc__MemoryStats__StatsEntry, grpc__memory_stats__stats_entry, a);
	if (!to->stats[to->n_stats])
		return err_oom(e, "figures");
	to->stats[to->n_stats]->key = from->key;
	to->stats[to->n_stats]->value = from->value;
	to->n_stats++;
	return 0;
}

static int add_memory(const Grpc__MemoryStats *from, Grpc__MemoryStats *to, struct arena *a,
		      struct err *e)
{
	if (!from)
		return 0;
	to->cache += from->cache;
	add_data(from->usage, to->usage);
	add_data(from->swap_usage, to->swap_usage);
	add_data(from->kernel_usage, to->kernel_usage);
	for (size_t i = 0; i < from->n_stats; i++) {
		if (add_value(to, from->stats[i], a, e) < 0)
			return -1;
	}
	return 0;
}

static void add_cpu(const Grpc__CpuStats *from, Grpc__CpuStats *to)
{
	if (from && from->cpu_usage) {
		to->cpu_usage->total_usage += from->cpu_usage->total_usage;
		to->cpu_usage->usage_in_kernelmode += from->cpu_usage->usage_in_kernelmode;
		to->cpu_usage->usage_in_usermode += from->cpu_usage->usage_in_usermode;
	}
	if (from && from->throttling_data) {
		to->throttling_data->periods += from->throttling_data->periods;
		to->throttling_data->throttled_periods +=
			from->throttling_data->throttled_periods;
		to->throttling_data->throttled_time += from->throttling_data->throttled_time;
	}
}

/* One of each device and operation; the list has room for IO_MAX. */
static int add_io_entry(const Grpc__BlkioStatsEntry *from, Grpc__BlkioStatsEntry **to,
			size_t *count, struct arena *a, struct err *e)
{
	for (size_t i = 0; i < *count; i++) {
		if (to[i]->major == from->major && to[i]->minor == from->minor &&
		    str_eq(to[i]->op, from->op)) {
			to[i]->value += from->value;
			return 0;
		}
	}
	if (*count >= IO_MAX)
		return 0;
	to[*count] = NEW(Grpc__BlkioStatsEntry, grpc__blkio_stats_entry, a);
	if (!to[*count])
		return err_oom(e, "figures");
	to[*count]->major = from->major;
	to[*count]->minor = from->minor;
	to[*count]->op = from->op;
	to[(*count)++]->value = from->value;
	return 0;
}

static int add_io(const Grpc__BlkioStats *from, Grpc__BlkioStats *to, struct arena *a,
		  struct err *e)
{
	for (size_t i = 0; from && i < from->n_io_service_bytes_recursive && i < IO_MAX; i++) {
		if (add_io_entry(from->io_service_bytes_recursive[i],
				 to->io_service_bytes_recursive,
				 &to->n_io_service_bytes_recursive, a, e) < 0)
			return -1;
	}
	for (size_t i = 0; from && i < from->n_io_serviced_recursive && i < IO_MAX; i++) {
		if (add_io_entry(from->io_serviced_recursive[i], to->io_serviced_recursive,
				 &to->n_io_serviced_recursive, a, e) < 0)
			return -1;
	}
	return 0;
}

static int add_huge_entry(const Grpc__CgroupStats__HugetlbStatsEntry *from,
			  Grpc__CgroupStats *to, struct arena *a, struct err *e)
{
	Grpc__CgroupStats__HugetlbStatsEntry *n = NULL;

	for (size_t i = 0; i < to->n_hugetlb_stats; i++) {
		if (str_eq(to->hugetlb_stats[i]->key, from->key))
			n = to->hugetlb_stats[i];
	}
	if (!from->value || (!n && to->n_hugetlb_stats >= HUGE_MAX))
		return 0;
	if (!n) {
		n = NEW(Grpc__CgroupStats__HugetlbStatsEntry,
			grpc__cgroup_stats__hugetlb_stats_entry, a);
		if (!n || !(n->value = NEW(Grpc__HugetlbStats, grpc__hugetlb_stats, a)))
			return err_oom(e, "figures");
		n->key = from->key;
		to->hugetlb_stats[to->n_hugetlb_stats++] = n;
	}
	n->value->usage += from->value->usage;
	n->value->max_usage += from->value->max_usage;
	n->value->failcnt += from->value->failcnt;
	return 0;
}

static int add_huge(const Grpc__CgroupStats *from, Grpc__CgroupStats *to, struct arena *a,
		    struct err *e)
{
	for (size_t i = 0; i < from->n_hugetlb_stats && i < HUGE_MAX; i++) {
		if (add_huge_entry(from->hugetlb_stats[i], to, a, e) < 0)
			return -1;
	}
	return 0;
}

int stats_sum_add(const Grpc__StatsContainerResponse *from, Grpc__StatsContainerResponse *to,
		  struct arena *a, struct err *e)
{
	const Grpc__CgroupStats *g = from->cgroup_stats;
	Grpc__CgroupStats *t = to->cgroup_stats;

	to->oom += from->oom;
	to->oom_kill += from->oom_kill;
	to->network_stats = from->network_stats; /* the guest's: every container sees them */
	to->n_network_stats = from->n_network_stats;
	if (!g)
		return 0;
	add_cpu(g->cpu_stats, t->cpu_stats);
	if (g->pids_stats)
		t->pids_stats->current += g->pids_stats->current;
	if (add_io(g->blkio_stats, t->blkio_stats, a, e) < 0 || add_huge(g, t, a, e) < 0)
		return -1;
	return add_memory(g->memory_stats, t->memory_stats, a, e);
}

static Grpc__CpuStats *new_cpu(struct arena *a)
{
	Grpc__CpuStats *c = NEW(Grpc__CpuStats, grpc__cpu_stats, a);

	if (!c)
		return NULL;
	c->cpu_usage = NEW(Grpc__CpuUsage, grpc__cpu_usage, a);
	c->throttling_data = NEW(Grpc__ThrottlingData, grpc__throttling_data, a);
	return c->cpu_usage && c->throttling_data ? c : NULL;
}

static Grpc__MemoryStats *new_memory(struct arena *a)
{
	Grpc__MemoryStats *m = NEW(Grpc__MemoryStats, grpc__memory_stats, a);

	if (!m)
		return NULL;
	m->usage = NEW(Grpc__MemoryData, grpc__memory_data, a);
	m->swap_usage = NEW(Grpc__MemoryData, grpc__memory_data, a);
	m->kernel_usage = NEW(Grpc__MemoryData, grpc__memory_data, a);
	m->stats = arena_calloc(a, KEYS_MAX, sizeof(*m->stats));
	return m->usage && m->swap_usage && m->kernel_usage && m->stats ? m : NULL;
}

static Grpc__BlkioStats *new_io(struct arena *a)
{
	Grpc__BlkioStats *io = NEW(Grpc__BlkioStats, grpc__blkio_stats, a);

	if (!io)
		return NULL;
	io->io_service_bytes_recursive =
		arena_calloc(a, IO_MAX, sizeof(*io->io_service_bytes_recursive));
	io->io_serviced_recursive = arena_calloc(a, IO_MAX, sizeof(*io->io_serviced_recursive));
	return io->io_service_bytes_recursive && io->io_serviced_recursive ? io : NULL;
}

Grpc__StatsContainerResponse *stats_sum_new(struct arena *a)
{
	Grpc__StatsContainerResponse *r =
		NEW(Grpc__StatsContainerResponse, grpc__stats_container_response, a);
	Grpc__CgroupStats *g = NEW(Grpc__CgroupStats, grpc__cgroup_stats, a);

	if (!r || !g)
		return NULL;
	r->cgroup_stats = g;
	g->cpu_stats = new_cpu(a);
	g->memory_stats = new_memory(a);
	g->pids_stats = NEW(Grpc__PidsStats, grpc__pids_stats, a);
	g->blkio_stats = new_io(a);
	g->hugetlb_stats = arena_calloc(a, HUGE_MAX, sizeof(*g->hugetlb_stats));
	return g->cpu_stats && g->memory_stats && g->pids_stats && g->blkio_stats &&
			       g->hugetlb_stats
		       ? r
		       : NULL;
}

int sandbox_stats(struct sandbox *s, struct arena *a, Grpc__StatsContainerResponse **out,
		  struct err *e)
{
	Grpc__StatsContainerResponse *sum = stats_sum_new(a), *one;
	struct strv ids = { 0 };
	int rc = 0;

	if (!sum)
		return err_oom(e, "figures");
	/* by name: every call waits, and containers may come and go meanwhile */
	list_for_each(n, tmp, &s->containers) {
		if (rc == 0)
			rc = strv_add(&ids, list_entry(n, struct container, node)->id, e);
	}
	for (size_t i = 0; rc == 0 && i < ids.n; i++) {
		struct container *c = container_find(s, ids.v[i]);

		if (!c)
			continue;
		rc = container_stats(c, a, &one, e);
		if (rc == 0)
			rc = stats_sum_add(one, sum, a, e);
		else if (e->kind == ERR_NOT_FOUND)
			rc = 0; /* it has gone meanwhile; a sum without the others would be a
				   lie */
	}
	strv_fini(&ids);
	if (rc == 0)
		*out = sum;
	return rc;
}
