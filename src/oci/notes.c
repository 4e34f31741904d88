/* SPDX-License-Identifier: Apache-2.0 */
/* Remarks for one log line. */
#include "oci/notes.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

void oci_note(struct oci_notes *n, const char *fmt, ...)
{
	static const char cut[] = "; ...";
	char one[256];
	size_t len, separator;
	va_list ap;

	if (!n)
		return;
	va_start(ap, fmt);
	(void)vsnprintf(one, sizeof(one), fmt, ap);
	va_end(ap);
	n->count++;
	len = strlen(one);
	separator = n->len ? 2 : 0;
	if (n->len + separator + len + sizeof(cut) > sizeof(n->text)) {
		/* room for the mark was kept; it is written once */
		if (n->len + sizeof(cut) <= sizeof(n->text) && !strstr(n->text, cut))
			memcpy(n->text + n->len, cut, sizeof(cut));
		return;
	}
	if (strstr(n->text, cut))
		return;
	if (separator)
		memcpy(n->text + n->len, "; ", 2);
	memcpy(n->text + n->len + separator, one, len + 1);
	n->len += separator + len;
}
