/* SPDX-License-Identifier: Apache-2.0 */
/* What tests ask of remarks. */
#pragma once

#include <stdbool.h>
#include <string.h>

#include "oci/notes.h"

/* Does one of them hold this text? */
static inline bool has_note(const struct oci_notes *n, const char *text)
{
	for (unsigned i = 0; i < n->kept; i++) {
		if (strstr(n->texts[i], text))
			return true;
	}
	return false;
}
