/* SPDX-License-Identifier: Apache-2.0 */
/* Random bytes and names from getrandom(2). */
#pragma once

#include <stddef.h>

struct err;

int rand_bytes(void *out, size_t len, struct err *e);

/* Size of a string of `n` random bytes in lower-case hexadecimal, with the NUL. */
#define RAND_HEX_LEN(n) (2 * (n) + 1)
int rand_hex(char *out, size_t n, struct err *e);
