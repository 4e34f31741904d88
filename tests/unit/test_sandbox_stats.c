/* SPDX-License-Identifier: Apache-2.0 */
/* The figures of a sandbox: those of its containers added up, whatever a guest sends. */
#include "messages.h"
#include "unit.h"

#include <string.h>

#include "agent.pb-c.h"
#include "base/mem.h"
#include "base/own.h"
#include "base/str.h"
#include "sandbox/internal.h"

static Grpc__StatsContainerResponse *container(void)
{
	Grpc__StatsContainerResponse *s =
		MAKE(Grpc__StatsContainerResponse, grpc__stats_container_response);

	s->cgroup_stats = MAKE(Grpc__CgroupStats, grpc__cgroup_stats);
	return s;
}

static void add(const Grpc__StatsContainerResponse *from, Grpc__StatsContainerResponse *to)
{
	struct err e;

	assert_ok(stats_sum_add(from, to, &arena, &e), &e);
}

static Grpc__StatsContainerResponse *nothing(void)
{
	Grpc__StatsContainerResponse *sum = stats_sum_new(&arena);

	assert_non_null(sum);
	return sum;
}

/* ---- processors, memory ---- */

static void set_cpu(Grpc__StatsContainerResponse *s, uint64_t first)
{
	Grpc__CpuStats *c = MAKE(Grpc__CpuStats, grpc__cpu_stats);

	c->cpu_usage = MAKE(Grpc__CpuUsage, grpc__cpu_usage);
	c->cpu_usage->total_usage = first;
	c->cpu_usage->usage_in_kernelmode = first + 1;
	c->cpu_usage->usage_in_usermode = first + 2;
	c->throttling_data = MAKE(Grpc__ThrottlingData, grpc__throttling_data);
	c->throttling_data->periods = first + 3;
	c->throttling_data->throttled_periods = first + 4;
	c->throttling_data->throttled_time = first + 5;
	s->cgroup_stats->cpu_stats = c;
}

static void set_memory(Grpc__StatsContainerResponse *s, uint64_t usage, uint64_t limit)
{
	Grpc__MemoryStats *m = MAKE(Grpc__MemoryStats, grpc__memory_stats);
	Grpc__MemoryStats__StatsEntry *entry =
		MAKE(Grpc__MemoryStats__StatsEntry, grpc__memory_stats__stats_entry);

	m->usage = MAKE(Grpc__MemoryData, grpc__memory_data);
	m->usage->usage = usage;
	m->usage->limit = limit;
	m->stats = list_of(1);
	entry->key = word("anon");
	entry->value = usage + 1;
	m->stats[m->n_stats++] = entry;
	s->cgroup_stats->memory_stats = m;
}

static void test_processors_and_memory(void **state)
{
	Grpc__StatsContainerResponse *sum = nothing(), *a = container(), *b = container();
	const Grpc__CgroupStats *g = sum->cgroup_stats;

	set_cpu(a, 100);
	set_cpu(b, 1000);
	set_memory(a, 10, 64);
	set_memory(b, 20, UINT64_MAX);
	add(a, sum);
	assert_int_equal(g->memory_stats->usage->limit, 64);
	add(b, sum);
	assert_int_equal(g->cpu_stats->cpu_usage->total_usage, 1100);
	assert_int_equal(g->cpu_stats->cpu_usage->usage_in_kernelmode, 1102);
	assert_int_equal(g->cpu_stats->cpu_usage->usage_in_usermode, 1104);
	assert_int_equal(g->cpu_stats->throttling_data->periods, 1106);
	assert_int_equal(g->cpu_stats->throttling_data->throttled_periods, 1108);
	assert_int_equal(g->cpu_stats->throttling_data->throttled_time, 1110);
	assert_int_equal(g->memory_stats->usage->usage, 30);
	assert_int_equal(g->memory_stats->usage->limit, UINT64_MAX);
	assert_int_equal(g->memory_stats->n_stats, 1);
	assert_int_equal(g->memory_stats->stats[0]->value, 32);
}

/* ---- disks ---- */

struct io_row {
	uint64_t minor;
	const char *op;
	uint64_t value;
};

static size_t fill_io(Grpc__BlkioStatsEntry ***list, const struct io_row *rows, size_t n)
{
	*list = list_of(n);
	for (size_t i = 0; i < n; i++) {
		Grpc__BlkioStatsEntry *x = MAKE(Grpc__BlkioStatsEntry, grpc__blkio_stats_entry);

		x->major = 254;
		x->minor = rows[i].minor;
		x->op = word(rows[i].op);
		x->value = rows[i].value;
		(*list)[i] = x;
	}
	return n;
}

static void check_io(Grpc__BlkioStatsEntry *const *list, size_t n, const struct io_row *rows,
		     size_t row_count)
{
	assert_int_equal(n, row_count);
	for (size_t i = 0; i < n; i++) {
		assert_int_equal(list[i]->major, 254);
		assert_int_equal(list[i]->minor, rows[i].minor);
		assert_string_equal(list[i]->op, rows[i].op);
		assert_int_equal(list[i]->value, rows[i].value);
	}
}

static void test_disks(void **state)
{
	static const struct io_row bytes_a[] = { { 0, "Read", 1 }, { 0, "Write", 2 } },
				   bytes_b[] = { { 16, "Read", 10 }, { 0, "Write", 20 } },
				   bytes[] = { { 0, "Read", 1 },
					       { 0, "Write", 22 },
					       { 16, "Read", 10 } },
				   count_a[] = { { 0, "Read", 3 } },
				   count_b[] = { { 0, "Read", 4 } },
				   count[] = { { 0, "Read", 7 } };
	Grpc__StatsContainerResponse *sum = nothing(), *a = container(), *b = container();
	const Grpc__BlkioStats *io = sum->cgroup_stats->blkio_stats;
	Grpc__BlkioStats *x = MAKE(Grpc__BlkioStats, grpc__blkio_stats);
	Grpc__BlkioStats *y = MAKE(Grpc__BlkioStats, grpc__blkio_stats);

	x->n_io_service_bytes_recursive =
		fill_io(&x->io_service_bytes_recursive, bytes_a, ARRAY_LEN(bytes_a));
	y->n_io_service_bytes_recursive =
		fill_io(&y->io_service_bytes_recursive, bytes_b, ARRAY_LEN(bytes_b));
	x->n_io_serviced_recursive =
		fill_io(&x->io_serviced_recursive, count_a, ARRAY_LEN(count_a));
	y->n_io_serviced_recursive =
		fill_io(&y->io_serviced_recursive, count_b, ARRAY_LEN(count_b));
	a->cgroup_stats->blkio_stats = x;
	b->cgroup_stats->blkio_stats = y;
	add(a, sum);
	add(b, sum);
	check_io(io->io_service_bytes_recursive, io->n_io_service_bytes_recursive, bytes,
		 ARRAY_LEN(bytes));
	check_io(io->io_serviced_recursive, io->n_io_serviced_recursive, count,
		 ARRAY_LEN(count));
	assert_int_equal(x->io_service_bytes_recursive[1]->value, 2); /* not theirs */
}

/* ---- huge pages ---- */

static void set_huge(Grpc__StatsContainerResponse *s, const char *const *sizes, size_t n)
{
	s->cgroup_stats->hugetlb_stats = list_of(n);
	for (size_t i = 0; i < n; i++) {
		Grpc__CgroupStats__HugetlbStatsEntry *entry =
			MAKE(Grpc__CgroupStats__HugetlbStatsEntry,
			     grpc__cgroup_stats__hugetlb_stats_entry);

		entry->key = word(sizes[i]);
		entry->value = MAKE(Grpc__HugetlbStats, grpc__hugetlb_stats);
		entry->value->usage = 1;
		entry->value->max_usage = 10;
		entry->value->failcnt = 100;
		s->cgroup_stats->hugetlb_stats[i] = entry;
	}
	s->cgroup_stats->n_hugetlb_stats = n;
}

static void test_huge_pages(void **state)
{
	static const char *const both[] = { "2MB", "1GB" };
	Grpc__StatsContainerResponse *sum = nothing(), *a = container(), *b = container();
	const Grpc__CgroupStats *g = sum->cgroup_stats;

	set_huge(a, both + 1, 1);
	set_huge(b, both, 2);
	add(a, sum);
	add(b, sum);
	assert_int_equal(g->n_hugetlb_stats, 2);
	assert_string_equal(g->hugetlb_stats[0]->key, "1GB");
	assert_int_equal(g->hugetlb_stats[0]->value->usage, 2);
	assert_int_equal(g->hugetlb_stats[0]->value->max_usage, 20);
	assert_int_equal(g->hugetlb_stats[0]->value->failcnt, 200);
	assert_string_equal(g->hugetlb_stats[1]->key, "2MB");
	assert_int_equal(g->hugetlb_stats[1]->value->usage, 1);
}

/* ---- what a guest may send ---- */

static void test_too_many(void **state)
{
	enum {
		MANY = 600
	};
	static struct io_row rows[MANY];
	const char *sizes[40];
	Grpc__StatsContainerResponse *sum = nothing(), *a = container();
	Grpc__BlkioStats *x = MAKE(Grpc__BlkioStats, grpc__blkio_stats);
	const Grpc__CgroupStats *g = sum->cgroup_stats;

	for (size_t i = 0; i < MANY; i++)
		rows[i] = (struct io_row){ i, "Read", 1 };
	for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
		sizes[i] = arena_printf(&arena, "%zuMB", i);
		assert_non_null(sizes[i]);
	}
	x->n_io_serviced_recursive = fill_io(&x->io_serviced_recursive, rows, MANY);
	a->cgroup_stats->blkio_stats = x;
	set_huge(a, sizes, ARRAY_LEN(sizes));
	add(a, sum);
	add(a, sum);
	assert_in_range(g->blkio_stats->n_io_serviced_recursive, 1, MANY - 1);
	assert_in_range(g->n_hugetlb_stats, 1, ARRAY_LEN(sizes) - 1);
	assert_int_equal(g->blkio_stats->io_serviced_recursive[0]->value, 2);
	assert_int_equal(g->hugetlb_stats[0]->value->usage, 2);
}

static void test_parts_left_out(void **state)
{
	Grpc__StatsContainerResponse *sum = nothing(), *a = container();

	set_huge(a, (const char *const[]){ "2MB" }, 1);
	a->cgroup_stats->hugetlb_stats[0]->value = NULL;
	a->cgroup_stats->cpu_stats = MAKE(Grpc__CpuStats, grpc__cpu_stats);
	add(a, sum);
	a->cgroup_stats = NULL;
	add(a, sum);
	assert_int_equal(sum->cgroup_stats->n_hugetlb_stats, 0);
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
		cmocka_unit_test_setup_teardown(test_processors_and_memory, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_disks, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_huge_pages, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_too_many, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_parts_left_out, set_up, tear_down),
	};

	return cmocka_run_group_tests_name("sandbox_stats", tests, NULL, NULL);
}
