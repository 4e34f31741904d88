/* SPDX-License-Identifier: Apache-2.0 */
/* A guest's Ethernet frame: what goes to passt is for no address of the host's loopback. */
#include "fuzz.h"

#include <arpa/inet.h>
#include <string.h>

#include "base/mem.h"
#include "base/own.h"
#include "net/frame_filter.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	OWN(free) uint8_t *frame = mem_dup(data, size); /* of that size, for ASan to guard */
	struct in6_addr six;

	FUZZ_CHECK(frame);
	if (!frame_filter_passes(frame, size))
		return 0;
	FUZZ_CHECK(size >= 14);
	if (frame[12] == 0x08 && frame[13] == 0x00)
		FUZZ_CHECK(size >= 34 && frame[30] != 127 && frame[30] != 0);
	if (frame[12] == 0x86 && frame[13] == 0xdd) {
		FUZZ_CHECK(size >= 54);
		memcpy(&six, frame + 38, sizeof(six));
		FUZZ_CHECK(!IN6_IS_ADDR_LOOPBACK(&six) && !IN6_IS_ADDR_UNSPECIFIED(&six));
		FUZZ_CHECK(!IN6_IS_ADDR_V4MAPPED(&six) && !IN6_IS_ADDR_V4COMPAT(&six));
	}
	return 0;
}
