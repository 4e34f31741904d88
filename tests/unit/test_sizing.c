/* SPDX-License-Identifier: Apache-2.0 */
/* From limits and configuration to the size of a machine. */
#include "unit.h"

#include <string.h>
#include <unistd.h>

#include "base/own.h"
#include "config/config.h"
#include "oci.pb-c.h"
#include "sandbox/sandbox.h"
#include "sandbox/pinning.h"
#include "sandbox/sizing.h"

enum {
	OVERHEAD = 50
};

struct wish {
	double default_vcpus;
	uint32_t max_vcpus, max_memory;
	int64_t memory_limit, quota;
	uint64_t period;
};

static int size_of(const struct wish *w, struct sandbox_config *out, struct err *e)
{
	OWN(config) struct kata_config *c = NULL;
	Grpc__Spec spec = GRPC__SPEC__INIT;
	Grpc__Linux linux_part = GRPC__LINUX__INIT;
	Grpc__LinuxResources r = GRPC__LINUX_RESOURCES__INIT;
	Grpc__LinuxMemory memory = GRPC__LINUX_MEMORY__INIT;
	Grpc__LinuxCPU cpu = GRPC__LINUX_CPU__INIT;

	assert_ok(config_new(&c, e), e);
	c->hypervisor.default_vcpus = w->default_vcpus;
	c->hypervisor.default_maxvcpus = w->max_vcpus;
	c->hypervisor.default_maxmemory = w->max_memory;
	spec.linux = &linux_part;
	linux_part.resources = &r;
	r.memory = &memory;
	r.cpu = &cpu;
	memory.limit = w->memory_limit;
	cpu.quota = w->quota;
	cpu.period = w->period;
	return sizing_of_spec(&spec, c, OVERHEAD, out, e);
}

static void test_sizes(void **state)
{
	static const struct {
		struct wish w;
		uint32_t vcpus;
		uint64_t mib;
	} rows[] = {
		{ { 1, 8, 9000, 0, 0, 0 }, 1, 2048 },
		{ { 0, 8, 9000, -1, -1, 0 }, 1, 2048 },
		{ { 2.2, 8, 9000, 0, 0, 0 }, 3, 2048 },
		{ { 1, 8, 9000, 0, 150000, 100000 }, 2, 2048 },
		{ { 1, 8, 9000, 0, 25000, 0 }, 1, 2048 },
		{ { 1, 8, 9000, 64 << 20, 0, 0 }, 1, 64 + OVERHEAD + 2 },
		{ { 1, 8, 9000, (64 << 20) + 1, 0, 0 }, 1, 66 + OVERHEAD + 2 },
		{ { 1, 8, 9000, 4096LL << 20, 0, 0 }, 1, 4096 + OVERHEAD + 128 + 64 },
		/* ceilings: a machine is not made larger, a limit is not refused */
		{ { 1, 4, 9000, 0, 900000, 100000 }, 4, 2048 },
		{ { 16, 4, 9000, 0, 0, 0 }, 4, 2048 },
		{ { 1, 8, 1024, 4096LL << 20, 0, 0 }, 1, 1024 },
		{ { 1, 8, 1024, 0, 0, 0 }, 1, 1024 },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct sandbox_config out = { .id = "x" };
		struct err e;

		assert_ok(size_of(&rows[i].w, &out, &e), &e);
		if (out.vcpus != rows[i].vcpus || out.memory_mib != rows[i].mib)
			fail_msg("row %zu: %u CPUs, %llu MiB", i, out.vcpus,
				 (unsigned long long)out.memory_mib);
	}
}

/* Without a ceiling it is the host's size. */
static void test_host(void **state)
{
	const struct wish w = { -1, 0, 0, 8LL << 40, 100000LL * 200, 100000 };
	const struct wish all = { -1, 0, 0, 0, 0, 0 };
	struct sandbox_config out = { .id = "x" };
	uint64_t host =
		(uint64_t)sysconf(_SC_PHYS_PAGES) * (uint64_t)sysconf(_SC_PAGESIZE) >> 20;
	struct err e;

	(void)state;
	assert_ok(size_of(&w, &out, &e), &e);
	assert_int_equal(out.vcpus, sysconf(_SC_NPROCESSORS_ONLN));
	assert_int_equal(out.memory_mib, host & ~1ULL);
	assert_ok(size_of(&all, &out, &e), &e);
	assert_int_equal(out.vcpus, sysconf(_SC_NPROCESSORS_ONLN));
}

static void test_too_much(void **state)
{
	const struct wish w = { 1, 0, 0, 17LL << 40, 0, 0 };
	struct sandbox_config out = { .id = "x" };
	struct err e;

	(void)state;
	assert_err(size_of(&w, &out, &e), &e, ERR_INVALID);
	assert_non_null(strstr(e.msg, "linux.resources.memory.limit"));
}

static void test_sums(void **state)
{
	static const struct sizing_limits each[] = {
		{ 50000, 100000, 64 << 20 },
		{ 0, 0, 0 },
		{ 1000, 2000, -1 },
		{ 150000, 0, 1 << 20 },
	};
	const struct sizing_limits most = { INT64_MAX, 1, INT64_MAX };
	struct sizing_limits sum = { 0, 0, 0 };

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(each); i++)
		sizing_add(&each[i], &sum);
	assert_int_equal(sum.quota, 250000);
	assert_int_equal(sum.period, 100000);
	assert_int_equal(sum.memory, 65 << 20);
	sizing_add(&most, &sum);
	assert_int_equal(sum.quota, INT64_MAX);
	assert_int_equal(sum.memory, INT64_MAX);
}

/* overhead_vcpus and overhead_memory: on top of limits, never below what was measured. */
static void test_overheads(void **state)
{
	static const struct {
		double vcpus;
		uint32_t mib;
		struct sizing_limits limits;
		uint32_t want_vcpus;
		uint64_t want_mib;
	} rows[] = {
		{ 0.2, 32, { 0, 0, 0 }, 1, 2048 },
		{ 0.2, 32, { 50000, 100000, 64 << 20 }, 1, 64 + OVERHEAD + 2 },
		{ 0.2, 32, { 100000, 100000, 0 }, 2, 2048 },
		{ 0.2, 32, { 180000, 100000, 0 }, 2, 2048 },
		{ 0.7, 32, { 230000, 100000, 0 }, 3, 2048 },
		{ 0.7, 32, { 231000, 100000, 0 }, 4, 2048 },
		{ 256, 32, { 1, 100000, 0 }, 8, 2048 },
		{ 0, OVERHEAD + 10, { 1, 1000000, 64 << 20 }, 1, 64 + OVERHEAD + 10 + 2 },
		{ 0, 1 << 24, { INT64_MAX, 1, 64 << 20 }, 8, 9000 },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		OWN(config) struct kata_config *c = NULL;
		struct sandbox_config out = { .id = "x" };
		struct err e;

		assert_ok(config_new(&c, &e), &e);
		c->hypervisor.default_maxvcpus = 8;
		c->hypervisor.default_maxmemory = 9000;
		c->hypervisor.overhead_vcpus = rows[i].vcpus;
		c->hypervisor.overhead_memory = rows[i].mib;
		assert_ok(sizing_of_limits(&rows[i].limits, c, OVERHEAD, &out, &e), &e);
		assert_int_equal(out.overhead_mib, OVERHEAD);
		if (out.vcpus != rows[i].want_vcpus || out.memory_mib != rows[i].want_mib)
			fail_msg("row %zu: %u CPUs, %llu MiB", i, out.vcpus,
				 (unsigned long long)out.memory_mib);
	}
}

/* A machine that may grow knows how far. */
static void test_room(void **state)
{
	OWN(config) struct kata_config *c = NULL;
	const struct sizing_limits none = { 0, 0, 0 };
	struct sandbox_config out = { .id = "x" };
	struct err e;

	(void)state;
	assert_ok(config_new(&c, &e), &e);
	c->hypervisor.default_maxvcpus = 8;
	c->hypervisor.default_maxmemory = 4096;
	assert_ok(sizing_of_limits(&none, c, OVERHEAD, &out, &e), &e);
	assert_int_equal(out.max_vcpus, 0);
	assert_int_equal(out.max_memory_mib, 0);
	c->runtime.static_sandbox_resource_mgmt = false;
	assert_ok(sizing_of_limits(&none, c, OVERHEAD, &out, &e), &e);
	assert_int_equal(out.max_vcpus, 8);
	assert_int_equal(out.max_memory_mib, 4096);
	assert_int_equal(out.overhead_mib, OVERHEAD);
}

static void test_lists_of_processors(void **state)
{
	static const char *const bad[] = { "",   ",",    "1,",     "-1",
					   "1-", "3-1",  "a",      "0x1",
					   "1 ", "1024", "0-1024", "99999999999999999999" };
	cpu_set_t set;
	struct err e;

	(void)state;
	assert_ok(cpu_list_parse("0-2,5,1023", &set, &e), &e);
	assert_int_equal(CPU_COUNT(&set), 5);
	assert_true(CPU_ISSET(1, &set) && CPU_ISSET(5, &set) && CPU_ISSET(1023, &set));
	assert_false(CPU_ISSET(3, &set));
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		assert_err(cpu_list_parse(bad[i], &set, &e), &e, ERR_INVALID);
		assert_non_null(strstr(e.msg, bad[i]));
	}
}

/* What a pod asks for counts where it has no quota; a single container's weight never does. */
static void test_shares(void **state)
{
	static const struct {
		int64_t quota, shares;
		double configured;
		uint32_t vcpus;
	} rows[] = {
		{ -1, 4096, 1, 4 }, { -1, 1025, 1, 2 }, { 0, 102, 1, 1 },
		{ -1, 2, 1, 1 },    { -1, 1024, 3, 3 }, { 50000, 4096, 1, 1 },
	};
	char key[] = "io.kubernetes.cri.container-type", value[] = "sandbox";
	char shares_key[] = "io.kubernetes.cri.sandbox-cpu-shares", shares[] = "3000";
	Grpc__Spec__AnnotationsEntry entries[] = { GRPC__SPEC__ANNOTATIONS_ENTRY__INIT,
						   GRPC__SPEC__ANNOTATIONS_ENTRY__INIT };
	Grpc__Spec__AnnotationsEntry *list[] = { &entries[0], &entries[1] };
	OWN(config) struct kata_config *c = NULL;
	Grpc__Spec spec = GRPC__SPEC__INIT;
	struct sandbox_config out = { .id = "x" };
	struct err e;

	(void)state;
	assert_ok(config_new(&c, &e), &e);
	c->hypervisor.default_maxvcpus = 8;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		const struct sizing_limits l = { .quota = rows[i].quota,
						 .period = 100000,
						 .shares = rows[i].shares };

		c->hypervisor.default_vcpus = rows[i].configured;
		assert_ok(sizing_of_limits(&l, c, OVERHEAD, &out, &e), &e);
		assert_int_equal(out.vcpus, rows[i].vcpus);
	}
	entries[0].key = key;
	entries[0].value = value;
	entries[1].key = shares_key;
	entries[1].value = shares;
	spec.annotations = list;
	spec.n_annotations = ARRAY_LEN(list);
	c->hypervisor.default_vcpus = 1;
	assert_ok(sizing_of_spec(&spec, c, OVERHEAD, &out, &e), &e);
	assert_int_equal(out.vcpus, 3);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_lists_of_processors),
		cmocka_unit_test(test_sizes),
		cmocka_unit_test(test_shares),
		cmocka_unit_test(test_host),
		cmocka_unit_test(test_too_much),
		cmocka_unit_test(test_sums),
		cmocka_unit_test(test_room),
		cmocka_unit_test(test_overheads),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
