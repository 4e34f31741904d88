/* SPDX-License-Identifier: Apache-2.0 */
/* What an unpacker in an enemy's hands may report, in whatever pieces it comes. */
#include "fuzz.h"

#include <string.h>

#include "base/err.h"
#include "base/own.h"
#include "base/str.h"
#include "image/reports.h"

static int read_all(const uint8_t *data, size_t size, size_t piece, struct reports *r,
		    struct err *e)
{
	for (size_t at = 0; at < size; at += piece) {
		size_t n = size - at < piece ? size - at : piece;

		if (reports_take(r, data + at, n, e) < 0)
			return -1;
	}
	return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const size_t pieces[] = { 1, 7, 4096 };
	int first = 0;

	for (size_t i = 0; i < ARRAY_LEN(pieces); i++) {
		OWN(strv) struct strv opaque = { .n = 0 }, implied = { .n = 0 };
		struct reports r;
		struct err e;
		int rc;

		reports_init(&r, &opaque, &implied);
		rc = read_all(data, size, pieces[i], &r, &e);
		FUZZ_CHECK(rc == 0 || e.kind == ERR_PEER || e.kind == ERR_NO_MEMORY);
		FUZZ_CHECK(!r.failed || (r.ended && r.failure.kind != ERR_NONE));
		if (i == 0)
			first = rc;
		FUZZ_CHECK(rc == first); /* pieces change nothing */
		reports_fini(&r);
	}
	return 0;
}
