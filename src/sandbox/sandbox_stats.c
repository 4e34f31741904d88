/* SPDX-License-Identifier: Apache-2.0 */
/* The figures of a sandbox: those of its containers, added up. */
#include <string.h>

#include "base/err.h"
#include "base/str.h"
#include "sandbox/internal.h"
#include "wire/message.h"

enum {
	KEYS_MAX = 256
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

static int add_container(const Grpc__StatsContainerResponse *from,
			 Grpc__StatsContainerResponse *to, struct arena *a, struct err *e)
{
	const Grpc__CgroupStats *g = from->cgroup_stats;
	Grpc__CgroupStats *t = to->cgroup_stats;

	to->oom += from->oom;
	to->oom_kill += from->oom_kill;
	to->network_stats = from->network_stats; /* the guest's: every container sees them */
	to->n_network_stats = from->n_network_stats;
	if (!g)
		return 0;
	if (g->cpu_stats && g->cpu_stats->cpu_usage) {
		t->cpu_stats->cpu_usage->total_usage += g->cpu_stats->cpu_usage->total_usage;
		t->cpu_stats->cpu_usage->usage_in_kernelmode +=
			g->cpu_stats->cpu_usage->usage_in_kernelmode;
		t->cpu_stats->cpu_usage->usage_in_usermode +=
			g->cpu_stats->cpu_usage->usage_in_usermode;
	}
	if (g->pids_stats)
		t->pids_stats->current += g->pids_stats->current;
	return add_memory(g->memory_stats, t->memory_stats, a, e);
}

static Grpc__StatsContainerResponse *new_sum(struct arena *a)
{
	Grpc__StatsContainerResponse *r =
		NEW(Grpc__StatsContainerResponse, grpc__stats_container_response, a);
	Grpc__CgroupStats *g = NEW(Grpc__CgroupStats, grpc__cgroup_stats, a);
	Grpc__MemoryStats *m = NEW(Grpc__MemoryStats, grpc__memory_stats, a);

	if (!r || !g || !m)
		return NULL;
	r->cgroup_stats = g;
	g->memory_stats = m;
	g->cpu_stats = NEW(Grpc__CpuStats, grpc__cpu_stats, a);
	g->pids_stats = NEW(Grpc__PidsStats, grpc__pids_stats, a);
	m->usage = NEW(Grpc__MemoryData, grpc__memory_data, a);
	m->swap_usage = NEW(Grpc__MemoryData, grpc__memory_data, a);
	m->kernel_usage = NEW(Grpc__MemoryData, grpc__memory_data, a);
	m->stats = arena_calloc(a, KEYS_MAX, sizeof(*m->stats));
	if (!g->cpu_stats || !g->pids_stats || !m->usage || !m->swap_usage ||
	    !m->kernel_usage || !m->stats)
		return NULL;
	g->cpu_stats->cpu_usage = NEW(Grpc__CpuUsage, grpc__cpu_usage, a);
	return g->cpu_stats->cpu_usage ? r : NULL;
}

int sandbox_stats(struct sandbox *s, struct arena *a, Grpc__StatsContainerResponse **out,
		  struct err *e)
{
	Grpc__StatsContainerResponse *sum = new_sum(a), *one;
	struct strv ids = { 0 };
	struct err gone;
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

		if (c && container_stats(c, a, &one, &gone) == 0)
			rc = add_container(one, sum, a, e);
	}
	strv_fini(&ids);
	if (rc == 0)
		*out = sum;
	return rc;
}
