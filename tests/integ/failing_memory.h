/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Linked into an agent of the tests: one of its allocations fails, which one is said from
 * outside, in a file that KATA_TEST_MEMORY names and all its processes share.
 */
#pragma once

#include <stdint.h>

struct failing_memory {
	int64_t fail_at; /* the n-th allocation since `asked` was 0 fails; 0: none */
	int64_t asked;
	int64_t failed;
};
