/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Remarks for one log line: what a step passed over, dropped or changed. Not an error
 * channel. Every function that takes a `struct oci_notes *` accepts NULL.
 */
#pragma once

#include <stddef.h>

struct oci_notes {
	unsigned count; /* remarks made, also those that no longer fitted */
	size_t len;
	char text[1000]; /* "a; b; c", ends in "; ..." when cut */
};

void oci_note(struct oci_notes *n, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
