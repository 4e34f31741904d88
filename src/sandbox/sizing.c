/* SPDX-License-Identifier: Apache-2.0 */
/* VM size from limits. */
#include "sandbox/sizing.h"

#include <stdint.h>
#include <unistd.h>

#include "base/err.h"
#include "base/log.h"
#include "config/config.h"
#include "oci.pb-c.h"
#include "sandbox/sandbox.h"

enum {
	MIB = 1 << 20,
	VCPUS_MAX = 240,
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

/* ceil(quota / period), at least 1; 0 without a quota. */
static uint64_t vcpus_of(const Grpc__LinuxCPU *cpu)
{
	uint64_t period = cpu && cpu->period ? cpu->period : 100000;

	if (!cpu || cpu->quota <= 0)
		return 0;
	return ((uint64_t)cpu->quota + period - 1) / period;
}

/* The configuration's number: below 0 stands for all of the host's. */
static uint64_t default_vcpus(double n)
{
	if (n < 0)
		return host_cpus();
	return n < 1 ? 1 : (uint64_t)(n + 0.999);
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

int sizing_of_spec(const Grpc__Spec *spec, const struct kata_config *config,
		   uint64_t overhead_mib, struct sandbox_config *out, struct err *e)
{
	const struct config_hypervisor *h = &config->hypervisor;
	const Grpc__LinuxResources *r = spec->linux ? spec->linux->resources : NULL;
	int64_t limit = r && r->memory ? r->memory->limit : 0;
	uint64_t vcpus = vcpus_of(r ? r->cpu : NULL), mib = h->default_memory;
	uint64_t max_cpus = h->default_maxvcpus ? h->default_maxvcpus : host_cpus();

	if (limit > 0) {
		mib = ((uint64_t)limit + MIB - 1) / MIB;
		if (mib > (uint64_t)16 << 20)
			return err_set(
				e, ERR_INVALID, 0,
				"linux.resources.memory.limit: %lld bytes is more than 16 TiB",
				(long long)limit);
		mib = (mib + overhead_of(mib, overhead_mib) + 1) & ~(uint64_t)1;
	}
	if (vcpus == 0)
		vcpus = default_vcpus(h->default_vcpus);
	out->vcpus = (uint32_t)at_most(vcpus, max_cpus < VCPUS_MAX ? max_cpus : VCPUS_MAX,
				       "virtual CPUs");
	out->memory_mib = at_most(mib,
				  h->default_maxmemory ? h->default_maxmemory
						       : host_memory_mib() & ~(uint64_t)1,
				  "MiB of memory");
	return 0;
}
