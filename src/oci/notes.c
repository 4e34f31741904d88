/* SPDX-License-Identifier: Apache-2.0 */
/* Remarks for the log. */
#include "oci/notes.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void oci_note(struct oci_notes *n, const char *fmt, ...)
{
	char one[OCI_NOTE_BYTES];
	va_list ap;

	if (!n)
		return;
	va_start(ap, fmt);
	(void)vsnprintf(one, sizeof(one), fmt, ap);
	va_end(ap);
	for (unsigned i = 0; i < n->kept; i++) {
		if (strcmp(n->texts[i], one) == 0)
			return;
	}
	n->count++;
	if (n->kept == OCI_NOTES_MAX)
		return;
	n->texts[n->kept] = strdup(one);
	if (n->texts[n->kept])
		n->kept++;
}

void oci_notes_log(const struct oci_notes *n, enum log_level level, const struct log_ctx *ctx,
		   const char *fmt, ...)
{
	char about[160];
	va_list ap;

	if (!n)
		return;
	va_start(ap, fmt);
	(void)vsnprintf(about, sizeof(about), fmt, ap);
	va_end(ap);
	for (unsigned i = 0; i < n->kept; i++)
		log_emit(level, ctx, "%s: %s", about, n->texts[i]);
	if (n->count > n->kept)
		log_emit(level, ctx, "%s: %u more remarks", about, n->count - n->kept);
}

void oci_notes_fini(struct oci_notes *n)
{
	for (unsigned i = 0; i < n->kept; i++)
		free(n->texts[i]);
	*n = (struct oci_notes){ 0 };
}
