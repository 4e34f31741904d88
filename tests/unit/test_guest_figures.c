/* SPDX-License-Identifier: Apache-2.0 */
/* Figures of a guest that wants to be in the way of others. */
#include "unit.h"

#include <stdlib.h>
#include <string.h>

#include "agent.pb-c.h"
#include "base/own.h"
#include "sandbox/guest_figures.h"

enum {
	MANY = 100000
};

static void test_names(void **state)
{
	static const char *const names[] = { "eth0",         "",
					     "\xff",         "a b",
					     "veth.1:2@x-_", "sixteen-bytes-it-is",
					     "\x1b[2J",      "fifteen-bytes-x" };
	static const char *const kept[] = { "eth0", "veth.1:2@x-_", "fifteen-bytes-x" };
	Grpc__NetworkStats links[ARRAY_LEN(names)], *list[ARRAY_LEN(names)];
	Grpc__StatsContainerResponse r = GRPC__STATS_CONTAINER_RESPONSE__INIT;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(names); i++) {
		grpc__network_stats__init(&links[i]);
		links[i].name = (char *)(uintptr_t)names[i];
		list[i] = &links[i];
	}
	r.network_stats = list;
	r.n_network_stats = ARRAY_LEN(names);
	guest_figures_trim(&r);
	assert_int_equal(r.n_network_stats, ARRAY_LEN(kept));
	for (size_t i = 0; i < ARRAY_LEN(kept); i++)
		assert_string_equal(r.network_stats[i]->name, kept[i]);
}

static void test_huge_pages(void **state)
{
	Grpc__StatsContainerResponse r = GRPC__STATS_CONTAINER_RESPONSE__INIT;
	Grpc__CgroupStats c = GRPC__CGROUP_STATS__INIT;
	Grpc__HugetlbStats figures = GRPC__HUGETLB_STATS__INIT;
	Grpc__CgroupStats__HugetlbStatsEntry good =
		GRPC__CGROUP_STATS__HUGETLB_STATS_ENTRY__INIT;
	Grpc__CgroupStats__HugetlbStatsEntry bad =
		GRPC__CGROUP_STATS__HUGETLB_STATS_ENTRY__INIT;
	Grpc__CgroupStats__HugetlbStatsEntry none =
		GRPC__CGROUP_STATS__HUGETLB_STATS_ENTRY__INIT;
	Grpc__CgroupStats__HugetlbStatsEntry *list[] = { &bad, &good, &none };

	(void)state;
	good.key = (char *)(uintptr_t) "2MB";
	bad.key = (char *)(uintptr_t) "\xff";
	none.key = (char *)(uintptr_t) "1GB";
	good.value = bad.value = &figures;
	c.hugetlb_stats = list;
	c.n_hugetlb_stats = ARRAY_LEN(list);
	r.cgroup_stats = &c;
	guest_figures_trim(&r);
	assert_int_equal(c.n_hugetlb_stats, 1);
	assert_ptr_equal(c.hugetlb_stats[0], &good);
}

static void test_lists(void **state)
{
	Grpc__StatsContainerResponse r = GRPC__STATS_CONTAINER_RESPONSE__INIT;
	Grpc__CgroupStats c = GRPC__CGROUP_STATS__INIT;
	Grpc__BlkioStats b = GRPC__BLKIO_STATS__INIT;
	Grpc__MemoryStats m = GRPC__MEMORY_STATS__INIT;
	Grpc__BlkioStatsEntry one = GRPC__BLKIO_STATS_ENTRY__INIT;
	OWN(free) Grpc__BlkioStatsEntry **entries = malloc(MANY * sizeof(*entries));

	(void)state;
	assert_non_null(entries);
	for (size_t i = 0; i < MANY; i++)
		entries[i] = &one;
	b.io_serviced_recursive = entries;
	b.n_io_serviced_recursive = MANY;
	m.n_stats = MANY;
	c.blkio_stats = &b;
	c.memory_stats = &m;
	r.cgroup_stats = &c;
	r.n_pids = MANY;
	guest_figures_trim(&r);
	assert_int_equal(b.n_io_serviced_recursive, 256);
	assert_int_equal(m.n_stats, 256);
	assert_int_equal(r.n_pids, 32768);
	/* an operation that is none */
	one.op = (char *)(uintptr_t) "\xc3(";
	guest_figures_trim(&r);
	assert_int_equal(b.n_io_serviced_recursive, 0);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_names),
		cmocka_unit_test(test_huge_pages),
		cmocka_unit_test(test_lists),
	};

	return cmocka_run_group_tests_name("guest_figures", tests, NULL, NULL);
}
