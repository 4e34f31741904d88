/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The agent's figures as containerd's metrics, in the shapes of both versions of control
 * groups: every figure is another number, so that none can stand in another's place.
 */
#include "messages.h"
#include "unit.h"

#include <string.h>

#include "agent.pb-c.h"
#include "base/mem.h"
#include "base/own.h"
#include "base/str.h"
#include "cgroups_v1.pb-c.h"
#include "cgroups_v2.pb-c.h"
#include "shim/metrics.h"

#define UNLIMITED_V1 0x7ffffffffffff000ULL

/* ---- what the agent says ---- */

static Grpc__MemoryData *memory_data(uint64_t first, uint64_t limit)
{
	Grpc__MemoryData *d = MAKE(Grpc__MemoryData, grpc__memory_data);

	d->usage = first;
	d->max_usage = first + 1;
	d->failcnt = first + 2;
	d->limit = limit;
	return d;
}

static Grpc__MemoryStats *memory(void)
{
	static const struct {
		const char *key;
		uint64_t value;
	} rows[] = {
		{ "anon", 201 },
		{ "file", 202 },
		{ "shmem", 203 },
		{ "pgfault", 204 },
		{ "inactive_file", 205 },
		{ "workingset_refault_anon", 1000 },
		{ "workingset_refault_file", 206 },
		{ "a_later_kernel's", 207 },
	};
	Grpc__MemoryStats *m = MAKE(Grpc__MemoryStats, grpc__memory_stats);

	m->usage = memory_data(211, 4096);
	m->swap_usage = memory_data(221, UINT64_MAX);
	m->kernel_usage = memory_data(231, 0);
	m->stats = list_of(ARRAY_LEN(rows));
	for (; m->n_stats < ARRAY_LEN(rows); m->n_stats++) {
		Grpc__MemoryStats__StatsEntry *entry =
			MAKE(Grpc__MemoryStats__StatsEntry, grpc__memory_stats__stats_entry);

		entry->key = word(rows[m->n_stats].key);
		entry->value = rows[m->n_stats].value;
		m->stats[m->n_stats] = entry;
	}
	return m;
}

static Grpc__CpuStats *cpu(void)
{
	Grpc__CpuStats *c = MAKE(Grpc__CpuStats, grpc__cpu_stats);

	c->cpu_usage = MAKE(Grpc__CpuUsage, grpc__cpu_usage);
	c->cpu_usage->total_usage = 301000;
	c->cpu_usage->usage_in_usermode = 302000;
	c->cpu_usage->usage_in_kernelmode = 303000;
	c->throttling_data = MAKE(Grpc__ThrottlingData, grpc__throttling_data);
	c->throttling_data->periods = 304;
	c->throttling_data->throttled_periods = 305;
	c->throttling_data->throttled_time = 306000;
	return c;
}

static Grpc__BlkioStatsEntry *io_entry(uint64_t minor, const char *op, uint64_t value)
{
	Grpc__BlkioStatsEntry *x = MAKE(Grpc__BlkioStatsEntry, grpc__blkio_stats_entry);

	x->major = 254;
	x->minor = minor;
	x->op = word(op);
	x->value = value;
	return x;
}

/* Two disks; what is discarded has no place in version 2. */
static Grpc__BlkioStats *io(void)
{
	Grpc__BlkioStats *b = MAKE(Grpc__BlkioStats, grpc__blkio_stats);

	b->io_service_bytes_recursive = list_of(4);
	b->io_service_bytes_recursive[0] = io_entry(0, "Read", 401);
	b->io_service_bytes_recursive[1] = io_entry(0, "Write", 402);
	b->io_service_bytes_recursive[2] = io_entry(0, "Discard", 403);
	b->io_service_bytes_recursive[3] = io_entry(16, "Write", 404);
	b->n_io_service_bytes_recursive = 4;
	b->io_serviced_recursive = list_of(3);
	b->io_serviced_recursive[0] = io_entry(16, "Write", 405);
	b->io_serviced_recursive[1] = io_entry(0, "Read", 406);
	b->io_serviced_recursive[2] = io_entry(0, "Write", 407);
	b->n_io_serviced_recursive = 3;
	return b;
}

static Grpc__NetworkStats *network(const char *name, uint64_t first)
{
	Grpc__NetworkStats *n = MAKE(Grpc__NetworkStats, grpc__network_stats);

	n->name = word(name);
	n->rx_bytes = first;
	n->rx_packets = first + 1;
	n->rx_errors = first + 2;
	n->rx_dropped = first + 3;
	n->tx_bytes = first + 4;
	n->tx_packets = first + 5;
	n->tx_errors = first + 6;
	n->tx_dropped = first + 7;
	return n;
}

static void add_huge(Grpc__CgroupStats *g)
{
	Grpc__CgroupStats__HugetlbStatsEntry *entry = MAKE(
		Grpc__CgroupStats__HugetlbStatsEntry, grpc__cgroup_stats__hugetlb_stats_entry);

	entry->key = word("2MB");
	entry->value = MAKE(Grpc__HugetlbStats, grpc__hugetlb_stats);
	entry->value->usage = 501;
	entry->value->max_usage = 502;
	entry->value->failcnt = 503;
	g->hugetlb_stats = list_of(1);
	g->hugetlb_stats[g->n_hugetlb_stats++] = entry;
}

static Grpc__StatsContainerResponse *figures(void)
{
	Grpc__StatsContainerResponse *s =
		MAKE(Grpc__StatsContainerResponse, grpc__stats_container_response);
	Grpc__CgroupStats *g = MAKE(Grpc__CgroupStats, grpc__cgroup_stats);

	g->cpu_stats = cpu();
	g->memory_stats = memory();
	g->pids_stats = MAKE(Grpc__PidsStats, grpc__pids_stats);
	g->pids_stats->current = 101;
	g->pids_stats->limit = 102;
	g->blkio_stats = io();
	add_huge(g);
	s->cgroup_stats = g;
	s->network_stats = list_of(2);
	s->network_stats[0] = network("eth0", 600);
	s->network_stats[1] = network("eth1", 700);
	s->n_network_stats = 2;
	s->oom = 103;
	s->oom_kill = 104;
	return s;
}

/* ---- what containerd reads ---- */

static void *read_as(const Grpc__StatsContainerResponse *s, bool v2,
		     const ProtobufCMessageDescriptor *type)
{
	Google__Protobuf__Any *any;
	ProtobufCMessage *m;
	struct err e;

	assert_ok(metrics_make(s, v2, &arena, &any, &e), &e);
	assert_string_equal(any->type_url, type->name);
	assert_ok(message_decode(type, any->value.data, any->value.len, &arena, &m, &e), &e);
	return m;
}

#define assert_link(n, want, first)                                                            \
	do {                                                                                   \
		assert_string_equal((n)->name, want);                                          \
		assert_int_equal((n)->rx_bytes, (first));                                      \
		assert_int_equal((n)->rx_packets, (first) + 1);                                \
		assert_int_equal((n)->rx_errors, (first) + 2);                                 \
		assert_int_equal((n)->rx_dropped, (first) + 3);                                \
		assert_int_equal((n)->tx_bytes, (first) + 4);                                  \
		assert_int_equal((n)->tx_packets, (first) + 5);                                \
		assert_int_equal((n)->tx_errors, (first) + 6);                                 \
		assert_int_equal((n)->tx_dropped, (first) + 7);                                \
	} while (0)

static void check_io_v1(Io__Containerd__Cgroups__V1__BlkIOEntry *const *list, size_t n,
			Grpc__BlkioStatsEntry *const *said, size_t said_count)
{
	assert_int_equal(n, said_count);
	for (size_t i = 0; i < n; i++) {
		assert_string_equal(list[i]->op, said[i]->op);
		assert_int_equal(list[i]->major, said[i]->major);
		assert_int_equal(list[i]->minor, said[i]->minor);
		assert_int_equal(list[i]->value, said[i]->value);
	}
}

static void check_memory_v1(const Io__Containerd__Cgroups__V1__MemoryStat *m)
{
	assert_int_equal(m->rss, 201);
	assert_int_equal(m->total_rss, 201);
	assert_int_equal(m->cache, 202);
	assert_int_equal(m->total_cache, 202);
	assert_int_equal(m->pg_fault, 204);
	assert_int_equal(m->total_inactive_file, 205);
	assert_int_equal(m->hierarchical_memory_limit, 4096);
	assert_int_equal(m->hierarchical_swap_limit, UNLIMITED_V1);
	assert_int_equal(m->usage->usage, 211);
	assert_int_equal(m->usage->max, 212);
	assert_int_equal(m->usage->failcnt, 213);
	assert_int_equal(m->usage->limit, 4096);
	assert_int_equal(m->swap->usage, 221);
	assert_int_equal(m->swap->limit, UNLIMITED_V1);
	assert_int_equal(m->kernel->usage, 231);
	assert_non_null(m->kernel_tcp);
}

static void test_version_1(void **state)
{
	const Grpc__StatsContainerResponse *s = figures();
	const Grpc__BlkioStats *said = s->cgroup_stats->blkio_stats;
	const Io__Containerd__Cgroups__V1__Metrics *m =
		read_as(s, false, &io__containerd__cgroups__v1__metrics__descriptor);

	assert_int_equal(m->pids->current, 101);
	assert_int_equal(m->pids->limit, 102);
	assert_int_equal(m->memory_oom_control->oom_kill, 104);
	assert_int_equal(m->cpu->usage->total, 301000);
	assert_int_equal(m->cpu->usage->user, 302000);
	assert_int_equal(m->cpu->usage->kernel, 303000);
	assert_int_equal(m->cpu->throttling->periods, 304);
	assert_int_equal(m->cpu->throttling->throttled_periods, 305);
	assert_int_equal(m->cpu->throttling->throttled_time, 306000);
	check_memory_v1(m->memory);
	check_io_v1(m->blkio->io_service_bytes_recursive,
		    m->blkio->n_io_service_bytes_recursive, said->io_service_bytes_recursive,
		    said->n_io_service_bytes_recursive);
	check_io_v1(m->blkio->io_serviced_recursive, m->blkio->n_io_serviced_recursive,
		    said->io_serviced_recursive, said->n_io_serviced_recursive);
	assert_int_equal(m->n_hugetlb, 1);
	assert_string_equal(m->hugetlb[0]->pagesize, "2MB");
	assert_int_equal(m->hugetlb[0]->usage, 501);
	assert_int_equal(m->hugetlb[0]->max, 502);
	assert_int_equal(m->hugetlb[0]->failcnt, 503);
	assert_int_equal(m->n_network, 2);
	assert_link(m->network[0], "eth0", 600);
	assert_link(m->network[1], "eth1", 700);
}

static void check_memory_v2(const Io__Containerd__Cgroups__V2__MemoryStat *m)
{
	assert_int_equal(m->anon, 201);
	assert_int_equal(m->file, 202);
	assert_int_equal(m->shmem, 203);
	assert_int_equal(m->pgfault, 204);
	assert_int_equal(m->inactive_file, 205);
	assert_int_equal(m->workingset_refault, 1206);
	assert_int_equal(m->usage, 211);
	assert_int_equal(m->max_usage, 212);
	assert_int_equal(m->usage_limit, 4096);
	assert_int_equal(m->swap_usage, 221);
	assert_int_equal(m->swap_max_usage, 222);
	assert_int_equal(m->swap_limit, UINT64_MAX);
}

/* Both lists become one, an entry for each disk. */
static void check_io_v2(const Io__Containerd__Cgroups__V2__IOStat *io_stat)
{
	assert_int_equal(io_stat->n_usage, 2);
	assert_int_equal(io_stat->usage[0]->major, 254);
	assert_int_equal(io_stat->usage[0]->minor, 0);
	assert_int_equal(io_stat->usage[0]->rbytes, 401);
	assert_int_equal(io_stat->usage[0]->wbytes, 402);
	assert_int_equal(io_stat->usage[0]->rios, 406);
	assert_int_equal(io_stat->usage[0]->wios, 407);
	assert_int_equal(io_stat->usage[1]->minor, 16);
	assert_int_equal(io_stat->usage[1]->rbytes, 0);
	assert_int_equal(io_stat->usage[1]->wbytes, 404);
	assert_int_equal(io_stat->usage[1]->rios, 0);
	assert_int_equal(io_stat->usage[1]->wios, 405);
}

static void test_version_2(void **state)
{
	const Io__Containerd__Cgroups__V2__Metrics *m =
		read_as(figures(), true, &io__containerd__cgroups__v2__metrics__descriptor);

	assert_int_equal(m->pids->current, 101);
	assert_int_equal(m->pids->limit, 102);
	assert_int_equal(m->cpu->usage_usec, 301);
	assert_int_equal(m->cpu->user_usec, 302);
	assert_int_equal(m->cpu->system_usec, 303);
	assert_int_equal(m->cpu->nr_periods, 304);
	assert_int_equal(m->cpu->nr_throttled, 305);
	assert_int_equal(m->cpu->throttled_usec, 306);
	check_memory_v2(m->memory);
	assert_int_equal(m->memory_events->max, 213);
	assert_int_equal(m->memory_events->oom, 103);
	assert_int_equal(m->memory_events->oom_kill, 104);
	check_io_v2(m->io);
	assert_int_equal(m->n_hugetlb, 1);
	assert_string_equal(m->hugetlb[0]->pagesize, "2MB");
	assert_int_equal(m->hugetlb[0]->current, 501);
	assert_int_equal(m->hugetlb[0]->max, 502);
	assert_int_equal(m->n_network, 2);
	assert_link(m->network[0], "eth0", 600);
	assert_link(m->network[1], "eth1", 700);
}

/* An agent that leaves parts out: messages that clients read without looking are there. */
static void test_parts_left_out(void **state)
{
	Grpc__StatsContainerResponse *s =
		MAKE(Grpc__StatsContainerResponse, grpc__stats_container_response);
	const Io__Containerd__Cgroups__V1__Metrics *v1;
	const Io__Containerd__Cgroups__V2__Metrics *v2;
	Google__Protobuf__Any *any;
	struct err e;

	assert_err(metrics_make(s, true, &arena, &any, &e), &e, ERR_PEER);
	s->cgroup_stats = MAKE(Grpc__CgroupStats, grpc__cgroup_stats);
	v1 = read_as(s, false, &io__containerd__cgroups__v1__metrics__descriptor);
	assert_true(v1->pids && v1->cpu->usage && v1->cpu->throttling);
	assert_null(v1->memory);
	assert_null(v1->blkio);
	v2 = read_as(s, true, &io__containerd__cgroups__v2__metrics__descriptor);
	assert_true(v2->pids && v2->cpu && v2->io);
	assert_null(v2->memory);
	assert_int_equal(v1->n_network + v2->n_network, 0);
}

static int set_up(void **state)
{
	arena = (struct arena){ .limit = 1 << 20 };
	return 0;
}

static int tear_down(void **state)
{
	arena_fini(&arena);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_version_1, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_version_2, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_parts_left_out, set_up, tear_down),
	};

	return cmocka_run_group_tests_name("metrics", tests, NULL, NULL);
}
