/* SPDX-License-Identifier: Apache-2.0 */
/* Image references: whatever is accepted has a canonical text that is a fixed point. */
#include "fuzz.h"

#include <string.h>

#include "base/err.h"
#include "base/mem.h"
#include "base/own.h"
#include "image/reference.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	OWN(free) char *s = mem_dup(data, size);
	char text[REF_TEXT_SIZE], again[REF_TEXT_SIZE];
	struct reference r;
	struct err e = ERR_INIT;

	FUZZ_CHECK(s);
	(void)reference_is_id_prefix(s, NULL);
	if (reference_parse(s, &r, &e) < 0)
		return 0;
	reference_text(&r, text);
	FUZZ_CHECK(reference_parse(text, &r, &e) == 0);
	reference_text(&r, again);
	FUZZ_CHECK(strcmp(text, again) == 0);
	/* the short form names the same image */
	FUZZ_CHECK(reference_parse(reference_familiar(text), &r, &e) == 0);
	reference_text(&r, again);
	FUZZ_CHECK(strcmp(text, again) == 0);
	return 0;
}
