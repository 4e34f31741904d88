/* SPDX-License-Identifier: Apache-2.0 */
/* What a storage driver wrote about a volume, and a container's list of processors. */
#include "fuzz.h"

#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/own.h"
#include "sandbox/direct_volume.h"
#include "sandbox/pinning.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	OWN(free) char *text = strndup((const char *)data, size);
	struct direct_volume v;
	struct err e;
	cpu_set_t set;

	FUZZ_CHECK(text);
	if (direct_volume_parse((const char *)data, size, &v, &e) == 0) {
		FUZZ_CHECK(v.device[0] == '/' && v.fstype[0]);
		direct_volume_fini(&v);
	} else {
		FUZZ_CHECK(e.kind == ERR_INVALID || e.kind == ERR_UNSUPPORTED);
	}
	if (cpu_list_parse(text, &set, &e) == 0)
		FUZZ_CHECK(CPU_COUNT(&set) > 0);
	else
		FUZZ_CHECK(e.kind == ERR_INVALID);
	return 0;
}
