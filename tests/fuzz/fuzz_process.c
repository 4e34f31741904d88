/* SPDX-License-Identifier: Apache-2.0 */
/* What exec and update bring: each text is tried as a process and as resources. */
#include "fuzz.h"

#include "base/buf.h"
#include "base/err.h"
#include "base/mem.h"
#include "oci/guest_spec.h"
#include "oci/spec.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	OWN(arena) struct arena a = { .limit = SPEC_ARENA_BYTES };
	OWN(buf) struct buf text = BUF_INIT;
	const char *json = (const char *)data;
	Grpc__LinuxResources *r;
	Grpc__Process *p;
	struct err e;

	if (process_parse(json, size, &a, NULL, &p, &e) == 0) {
		guest_process_edit(p, NULL);
		FUZZ_CHECK(process_print(p, &text, &e) == 0);
		FUZZ_CHECK(process_parse((const char *)buf_head(&text), buf_len(&text), &a,
					 NULL, &p, &e) == 0);
	}
	buf_clear(&text);
	if (resources_parse(json, size, &a, NULL, &r, &e) == 0) {
		guest_resources_edit(r, NULL, NULL);
		FUZZ_CHECK(resources_print(r, &text, &e) == 0);
		FUZZ_CHECK(resources_parse((const char *)buf_head(&text), buf_len(&text), &a,
					   NULL, &r, &e) == 0);
	}
	return 0;
}
