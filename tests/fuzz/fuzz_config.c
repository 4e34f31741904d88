/* SPDX-License-Identifier: Apache-2.0 */
/* configuration.toml: whatever is accepted stays within its ranges. */
#include "fuzz.h"

#include "base/err.h"
#include "config/config.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	OWN(config) struct kata_config *c = NULL;
	struct err e;

	FUZZ_CHECK(config_new(&c, &e) == 0);
	if (config_parse(c, (const char *)data, size, "fuzz", &e) < 0)
		return 0;
	FUZZ_CHECK(c->hypervisor.default_memory >= 64);
	FUZZ_CHECK(c->hypervisor.default_vcpus >= -1 && c->hypervisor.default_vcpus <= 256);
	FUZZ_CHECK(c->hypervisor.machine_type && c->hypervisor.virtio_fs_extra_args);
	FUZZ_CHECK(c->hypervisor.shared_fs <= CONFIG_SHARED_FS_NONE);
	return 0;
}
