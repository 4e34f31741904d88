/* SPDX-License-Identifier: Apache-2.0 */
/* VM size from limits. */
#include "sandbox/sizing.h"

#include <unistd.h>

#include "base/err.h"
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

/* ceil(quota / period), at least 1; 0 without a quota. */
static uint32_t vcpus_of(const Grpc__LinuxCPU *cpu)
{
	uint64_t period = cpu && cpu->period ? cpu->period : 100000;
	uint64_t n;

	if (!cpu || cpu->quota <= 0)
		return 0;
	n = ((uint64_t)cpu->quota + period - 1) / period;
	return n > VCPUS_MAX ? VCPUS_MAX : (uint32_t)n;
}

/* The configuration's number: below 0 stands for all of the host's. */
static uint32_t default_vcpus(double n)
{
	long host = sysconf(_SC_NPROCESSORS_ONLN);

	if (n < 0)
		n = host > 0 ? (double)host : 1;
	if (n < 1)
		return 1;
	return n > VCPUS_MAX ? VCPUS_MAX : (uint32_t)(n + 0.999);
}

/* What a guest with room for a limit of `mib` needs besides (docs/decisions/0010). */
static uint64_t overhead_of(uint64_t mib, uint64_t base)
{
	return base + mib / MEMORY_PER_OVERHEAD + (mib >= SWIOTLB_FROM_MIB ? SWIOTLB_MIB : 0);
}

int sizing_of_spec(const Grpc__Spec *spec, const struct kata_config *config,
		   uint64_t overhead_mib, struct sandbox_config *out, struct err *e)
{
	const Grpc__LinuxResources *r = spec->linux ? spec->linux->resources : NULL;
	int64_t limit = r && r->memory ? r->memory->limit : 0;
	uint32_t vcpus = vcpus_of(r ? r->cpu : NULL);

	out->vcpus = vcpus ? vcpus : default_vcpus(config->hypervisor.default_vcpus);
	out->memory_mib = config->hypervisor.default_memory;
	if (limit > 0) {
		uint64_t mib = ((uint64_t)limit + MIB - 1) / MIB;

		if (mib > (uint64_t)16 << 20)
			return err_set(
				e, ERR_INVALID, 0,
				"linux.resources.memory.limit: %lld bytes is more than 16 TiB",
				(long long)limit);
		out->memory_mib = (mib + overhead_of(mib, overhead_mib) + 1) & ~(uint64_t)1;
	}
	return 0;
}
