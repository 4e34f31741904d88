/* SPDX-License-Identifier: Apache-2.0 */
/* A guest's Ethernet frame: what has an answer is answered to where it came from. */
#include "fuzz.h"

#include <string.h>

#include "base/mem.h"
#include "base/own.h"
#include "net/handshake.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	OWN(free) uint8_t *frame = mem_dup(data, size); /* of that size, for ASan to guard */
	uint8_t out[HANDSHAKE_ANSWER_MAX];
	size_t len = 0;

	FUZZ_CHECK(frame);
	if (!handshake_answer(frame, size, out, &len))
		return 0;
	FUZZ_CHECK(len <= sizeof(out) && size >= 54);
	FUZZ_CHECK(memcmp(out, frame + 6, 6) == 0 && memcmp(out + 12, frame + 12, 2) == 0);
	FUZZ_CHECK(!handshake_answer(out, len, out, &len));
	return 0;
}
