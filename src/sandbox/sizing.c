/* SPDX-License-Identifier: Apache-2.0 */
/* VM size from limits. */
#include "sandbox/sizing.h"

#include <stdint.h>
#include <unistd.h>

#include "base/err.h"
#include "base/log.h"
#include "base/str.h"
#include "config/config.h"
#include "oci/annotations.h"
#include "oci.pb-c.h"
#include "sandbox/sandbox.h"

enum {
	MIB = 1 << 20,
	VCPUS_MAX = 240,
	CPU_SHARES = 1024, /* for one processor: kubelet's MilliCPUToShares */
	/* a 64th of the memory is struct page; hash tables, watermarks and the like grow too */
	MEMORY_PER_OVERHEAD = 32,
	/* from here on q35 puts memory above 4 GiB, and the guest sets SWIOTLB_MIB aside */
	SWIOTLB_FROM_MIB = 2560,
	SWIOTLB_MIB = 64
};

static uint64_t host_cpus(void)
{
	long n = sysconf(_SC_NPROCESSORS_ONLN);

	return n > 0 ? (uint64_t)n : 1;
}

static uint64_t host_memory_mib(void)
{
	long pages = sysconf(_SC_PHYS_PAGES), size = sysconf(_SC_PAGESIZE);

	return pages > 0 && size > 0 ? (uint64_t)pages * (uint64_t)size / MIB : UINT64_MAX;
}

#define POD_QUOTA  "io.kubernetes.cri.sandbox-cpu-quota"
#define POD_PERIOD "io.kubernetes.cri.sandbox-cpu-period"
#define POD_SHARES "io.kubernetes.cri.sandbox-cpu-shares"
#define POD_MEMORY "io.kubernetes.cri.sandbox-memory"

static int number_of(const Grpc__Spec *spec, const char *key, int64_t *out, struct err *e)
{
	const char *value = spec_annotation(spec, key);

	return value ? str_to_i64(value, INT64_MIN, INT64_MAX, key, out, e) : 0;
}

static int64_t add(int64_t a, int64_t b)
{
	int64_t sum;

	return __builtin_add_overflow(a, b, &sum) ? INT64_MAX : sum;
}

static int64_t huge_of(const Grpc__LinuxResources *r)
{
	int64_t sum = 0;

	for (size_t i = 0; i < r->n_hugepagelimits; i++) {
		uint64_t limit = r->hugepagelimits[i]->limit;

		sum = add(sum, limit < INT64_MAX ? (int64_t)limit : INT64_MAX);
	}
	return sum;
}

void sizing_take_limits(const Grpc__LinuxResources *r, struct sizing_limits *out)
{
	if (r && r->memory && r->memory->limit)
		out->memory = r->memory->limit;
	if (r && r->n_hugepagelimits)
		out->huge = huge_of(r);
	if (r && r->cpu && r->cpu->quota)
		out->quota = r->cpu->quota;
	if (r && r->cpu && r->cpu->period)
		out->period = r->cpu->period < INT64_MAX ? (int64_t)r->cpu->period : INT64_MAX;
}

int sizing_limits_of(const Grpc__Spec *spec, struct sizing_limits *out, struct err *e)
{
	const Grpc__LinuxResources *r = spec->linux ? spec->linux->resources : NULL;
	struct oci_identity id;

	*out = (struct sizing_limits){ 0 };
	if (spec_identity(spec, &id, e) < 0)
		return -1;
	if (id.kind == OCI_POD_SANDBOX)
		return number_of(spec, POD_QUOTA, &out->quota, e) < 0 ||
				       number_of(spec, POD_PERIOD, &out->period, e) < 0 ||
				       number_of(spec, POD_SHARES, &out->shares, e) < 0 ||
				       number_of(spec, POD_MEMORY, &out->memory, e) < 0
			       ? -1
			       : 0;
	sizing_take_limits(r, out);
	return 0;
}

/* ceil(quota / period + overhead), at least 1; 0 without a quota. */
static uint64_t vcpus_of(const struct sizing_limits *l, double overhead)
{
	double period = l->period > 0 ? (double)l->period : 100000;
	/* a millionth is the sum's own error, not a further processor */
	double wanted = (double)l->quota / period + overhead - 1e-6;

	if (l->quota <= 0)
		return 0;
	if (wanted < 1)
		return 1;
	return (uint64_t)wanted + (wanted > (double)(uint64_t)wanted);
}

/* The configuration's number: below 0 stands for all of the host's. */
static uint64_t default_vcpus(double n)
{
	if (n < 0)
		return host_cpus();
	return n < 1 ? 1 : (uint64_t)(n + 0.999);
}

/*
 * Without a quota: what is configured, but not less than what a pod asks for. kubelet takes the
 * quota away from pods with processors of their own (CPU manager, policy static).
 */
static uint64_t vcpus_without_quota(const struct sizing_limits *l, double configured)
{
	uint64_t usual = default_vcpus(configured);
	uint64_t asked =
		l->shares > 0 ? ((uint64_t)l->shares + CPU_SHARES - 1) / CPU_SHARES : 0;

	return asked > usual ? asked : usual;
}

/* A machine larger than its host gains nothing: a limit above that is never reached. */
static uint64_t at_most(uint64_t wanted, uint64_t max, const char *what)
{
	if (wanted <= max)
		return wanted;
	log_info(NULL, "%llu %s would be above the most there may be: %llu",
		 (unsigned long long)wanted, what, (unsigned long long)max);
	return max;
}

/* What a guest with room for a limit of `mib` needs besides (docs/decisions/0010). */
static uint64_t overhead_of(uint64_t mib, uint64_t base)
{
	return base + mib / MEMORY_PER_OVERHEAD + (mib >= SWIOTLB_FROM_MIB ? SWIOTLB_MIB : 0);
}

static int check_bytes(int64_t bytes, const char *what, struct err *e)
{
	if (bytes / MIB <= (int64_t)16 << 20)
		return 0;
	return err_set(e, ERR_INVALID, 0, "linux.resources.%s: %lld bytes is more than 16 TiB",
		       what, (long long)bytes);
}

int sizing_of_limits(const struct sizing_limits *l, const struct kata_config *config,
		     uint64_t overhead_mib, struct sandbox_config *out, struct err *e)
{
	const struct config_hypervisor *h = &config->hypervisor;
	uint64_t max_cpus = h->default_maxvcpus ? h->default_maxvcpus : host_cpus();
	uint64_t max_mib =
		h->default_maxmemory ? h->default_maxmemory : host_memory_mib() & ~(uint64_t)1;
	uint64_t vcpus = vcpus_of(l, h->overhead_vcpus), mib = h->default_memory;
	uint64_t base = overhead_mib > h->overhead_memory ? overhead_mib : h->overhead_memory;

	if (check_bytes(l->memory, "memory.limit", e) < 0 ||
	    check_bytes(l->huge, "hugepageLimits", e) < 0)
		return -1;
	if (l->memory > 0) {
		mib = ((uint64_t)l->memory + MIB - 1) / MIB;
		mib = (mib + overhead_of(mib, base) + 1) & ~(uint64_t)1;
	}
	mib += (uint64_t)(l->huge / MIB + 1) & ~(uint64_t)1;
	if (vcpus == 0)
		vcpus = vcpus_without_quota(l, h->default_vcpus);
	if (max_cpus > VCPUS_MAX)
		max_cpus = VCPUS_MAX;
	out->vcpus = (uint32_t)at_most(vcpus, max_cpus, "virtual CPUs");
	out->memory_mib = at_most(mib, max_mib, "MiB of memory");
	out->overhead_mib = overhead_mib;
	if (!config->runtime.static_sandbox_resource_mgmt) {
		out->max_vcpus = (uint32_t)max_cpus;
		out->max_memory_mib = max_mib;
	}
	return 0;
}

void sizing_add(const struct sizing_limits *l, struct sizing_limits *sum)
{
	int64_t period = l->period > 0 ? l->period : 100000, quota;

	if (l->memory > 0)
		sum->memory = add(sum->memory, l->memory);
	sum->huge = add(sum->huge, l->huge);
	if (l->quota <= 0)
		return;
	sum->period = 100000;
	if (__builtin_mul_overflow(l->quota, sum->period, &quota))
		quota = INT64_MAX; /* more processors than there are */
	else
		quota /= period;
	if (__builtin_add_overflow(sum->quota, quota, &sum->quota))
		sum->quota = INT64_MAX;
}

int sizing_of_spec(const Grpc__Spec *spec, const struct kata_config *config,
		   uint64_t overhead_mib, struct sandbox_config *out, struct err *e)
{
	struct sizing_limits l;

	if (sizing_limits_of(spec, &l, e) < 0)
		return -1;
	return sizing_of_limits(&l, config, overhead_mib, out, e);
}
