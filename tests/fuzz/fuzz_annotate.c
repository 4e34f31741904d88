/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Annotations, which whoever makes a pod writes: lines "key value", the key behind
 * io.katacontainers.config. Whatever is accepted stays within its ranges, and what may not be
 * set is as it was.
 */
#include "fuzz.h"

#include <string.h>

#include "base/err.h"
#include "base/mem.h"
#include "base/str.h"
#include "config/config.h"

static void annotate(struct kata_config *c, char *line)
{
	char *value = strchr(line, ' ');
	OWN(free) char *name = NULL;
	struct err e;

	if (!value)
		return;
	*value++ = '\0';
	name = str_printf("io.katacontainers.config.%s", line);
	FUZZ_CHECK(name != NULL);
	if (config_annotate(c, name, value, &e) < 0)
		FUZZ_CHECK(e.msg[0] != '\0');
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const char allowed[] = "[hypervisor.qemu]\nenable_annotations = ['[^i].*']\n"
				      "valid_hypervisor_paths = ['/usr/bin/*']\n";
	OWN(config) struct kata_config *c = NULL;
	OWN(free) char *text = mem_dup(data, size);
	char *line, *rest;
	struct err e;

	FUZZ_CHECK(text && config_new(&c, &e) == 0);
	FUZZ_CHECK(config_parse(c, allowed, strlen(allowed), "fuzz", &e) == 0);
	for (line = strtok_r(text, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest))
		annotate(c, line);
	FUZZ_CHECK(c->hypervisor.default_memory >= 64);
	FUZZ_CHECK(c->hypervisor.default_vcpus >= -1 && c->hypervisor.default_vcpus <= 256);
	FUZZ_CHECK(*c->hypervisor.initrd == '\0');
	FUZZ_CHECK(*c->hypervisor.path == '\0' || str_starts(c->hypervisor.path, "/usr/bin/"));
	FUZZ_CHECK(str_eq(c->hypervisor.enable_annotations[0], "[^i].*"));
	return 0;
}
