/* SPDX-License-Identifier: Apache-2.0 */
/* Writing of reports. */
#include "image/unpack/helper.h"

#include <string.h>

#include "base/err.h"
#include "base/fd.h"

static int report_send(enum report_type type, const void *head, size_t head_len,
		       const void *text, size_t text_len, struct err *e)
{
	uint8_t record[sizeof(struct report_header) + REPORT_MAX_LEN];
	struct report_header h = { .type = type, .len = (uint32_t)(head_len + text_len) };

	if (head_len + text_len > REPORT_MAX_LEN)
		return err_set(e, ERR_INVALID, ENAMETOOLONG, "report of %zu bytes", text_len);
	memcpy(record, &h, sizeof(h));
	if (head_len)
		memcpy(record + sizeof(h), head, head_len);
	if (text_len)
		memcpy(record + sizeof(h) + head_len, text, text_len);
	return fd_write_all(UNPACK_REPORT_FD, record, sizeof(h) + h.len, e);
}

int report_path(enum report_type type, const char *path, struct err *e)
{
	return report_send(type, NULL, 0, path, strlen(path), e);
}

int report_done(const struct report_done *done, struct err *e)
{
	return report_send(REPORT_DONE, done, sizeof(*done), NULL, 0, e);
}

void report_error(const struct err *failure)
{
	struct report_error head = { .kind = failure->kind, .sys = failure->sys };
	struct err ignored;

	/* nobody is left to tell when this fails; the exit status says that something did */
	(void)report_send(REPORT_ERROR, &head, sizeof(head), failure->msg, strlen(failure->msg),
			  &ignored);
}
