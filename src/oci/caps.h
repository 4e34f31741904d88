/* SPDX-License-Identifier: Apache-2.0 */
/* Names of Linux capabilities ("CAP_NET_RAW"), numbers as in linux/capability.h of 6.1. */
#pragma once

#include <stddef.h>
#include <stdint.h>

struct err;

/* The number, or -1 if no capability has that name. With or without "CAP_", any case. */
int cap_number(const char *name);
/* NULL beyond the last known one. */
const char *cap_name(int number);
/* The set of the names as a mask; ERR_INVALID naming the one that is unknown. */
int cap_mask(char *const *names, size_t count, uint64_t *out, struct err *e);
