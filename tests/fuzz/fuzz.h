/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A fuzz target is one function over bytes. It is linked twice: with replay_main.c into an
 * ordinary test that runs the corpus, and (-Dfuzz=true, clang) with libFuzzer.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* What must hold for any input; a violation is a finding. */
#define FUZZ_CHECK(cond)                                                                       \
	do {                                                                                   \
		if (!(cond)) {                                                                 \
			(void)fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #cond);       \
			abort();                                                               \
		}                                                                              \
	} while (0)
