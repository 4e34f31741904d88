/* SPDX-License-Identifier: Apache-2.0 */
/* JSON: what is accepted prints to text that is accepted and prints the same. */
#include "fuzz.h"

#include <string.h>

#include "base/buf.h"
#include "base/err.h"
#include "wire/json.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	OWN(buf) struct buf first = BUF_INIT, second = BUF_INIT;
	OWN(jval) struct jval *v = NULL, *again = NULL;
	struct err e;

	if (jval_parse((const char *)data, size, &v, &e) < 0)
		return 0;
	FUZZ_CHECK(jval_print(v, size & 1, &first, &e) == 0);
	FUZZ_CHECK(jval_parse((const char *)buf_head(&first), buf_len(&first), &again, &e) ==
		   0);
	FUZZ_CHECK(jval_print(again, size & 1, &second, &e) == 0);
	FUZZ_CHECK(buf_len(&first) == buf_len(&second));
	FUZZ_CHECK(memcmp(buf_head(&first), buf_head(&second), buf_len(&first)) == 0);
	return 0;
}
