/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the agent is told from outside: the kernel's command line, and what the kernel asks of
 * modprobe. A container can make it ask for almost anything; the table of aliases is ours.
 */
#include "fuzz.h"

#include <string.h>

#include "agent/config.h"
#include "agent/modules.h"
#include "base/err.h"
#include "base/mem.h"
#include "base/own.h"

enum {
	NAME_SIZE = 64
};

static const char aliases[] = "pci:v00001AF4d*sv*sd*bc*sc*i* virtio_pci\n"
			      "virtio:d0000001Av* virtiofs\n"
			      "fs_virtiofs virtiofs\n"
			      "cpu:type:x86,ven0002fam*mod*:feature:*0082* kvm_amd\n"
			      "net_pf_[0_9]* af_any\n"
			      "net_pf_40 vsock\n"
			      "symbol:fuse_* fuse\n";

static void check_alias(const char *request)
{
	char wanted[NAME_SIZE], name[NAME_SIZE];
	size_t at = 0, before = 0;

	if (!module_normalise(request, wanted, sizeof(wanted)))
		return;
	FUZZ_CHECK(strlen(wanted) == strlen(request));
	while (alias_next(aliases, &at, wanted, name, sizeof(name))) {
		FUZZ_CHECK(at > before && at < sizeof(aliases) && *name);
		before = at;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	OWN(free) char *text = mem_dup(data, size);
	struct agent_config c;
	struct err e = ERR_INIT;

	FUZZ_CHECK(text);
	agent_config_init(&c);
	if (agent_config_cmdline(&c, (const char *)data, size, &e) < 0)
		FUZZ_CHECK(e.kind == ERR_INVALID && e.msg[0]);
	FUZZ_CHECK(strlen(c.server_addr) < sizeof(c.server_addr));
	FUZZ_CHECK(strlen(c.cgroup_root) < sizeof(c.cgroup_root));
	FUZZ_CHECK(c.log_level < LOG_LEVEL_COUNT_);
	check_alias(text);
	return 0;
}
