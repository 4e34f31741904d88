/* SPDX-License-Identifier: Apache-2.0 */
/* Records out of a stream of bytes. */
#include "image/reports.h"

#include <stdio.h>
#include <string.h>

#include "base/str.h"

void reports_init(struct reports *r, struct strv *opaque, struct strv *implied)
{
	*r = (struct reports){ .opaque = opaque, .implied = implied };
	buf_init(&r->bytes, 4 * REPORT_MAX_LEN);
}

void reports_fini(struct reports *r)
{
	buf_fini(&r->bytes);
}

static int no_report(struct err *e)
{
	return err_set(e, ERR_PEER, 0, "the unpacker sent a report that is none");
}

static int take_failure(struct reports *r, const uint8_t *data, size_t len, struct err *e)
{
	struct report_error re;
	char quoted[400];

	if (len < sizeof(re))
		return no_report(e);
	memcpy(&re, data, sizeof(re));
	if (re.kind == ERR_NONE || re.kind >= ERR_KIND_COUNT_)
		re.kind = ERR_INVALID;
	(void)str_quote((const char *)data + sizeof(re), len - sizeof(re), quoted,
			sizeof(quoted));
	r->failure.kind = (enum err_kind)re.kind;
	r->failure.sys = re.sys; /* its text is in the message already */
	(void)snprintf(r->failure.msg, sizeof(r->failure.msg), "%s", quoted);
	r->failed = r->ended = true;
	return 0;
}

static int take_record(struct reports *r, uint32_t type, const uint8_t *data, size_t len,
		       struct err *e)
{
	char path[REPORT_MAX_LEN + 1];

	memcpy(path, data, len);
	path[len] = '\0';
	switch (type) {
	case REPORT_ERROR:
		return take_failure(r, data, len, e);
	case REPORT_OPAQUE:
		return strv_add(r->opaque, path, e);
	case REPORT_IMPLIED:
		return strv_add(r->implied, path, e);
	case REPORT_DONE:
		if (len != sizeof(r->done))
			break;
		memcpy(&r->done, data, sizeof(r->done));
		r->ended = true;
		return 0;
	default:
		break;
	}
	return no_report(e);
}

int reports_take(struct reports *r, const void *p, size_t len, struct err *e)
{
	struct report_header head;

	r->total += len;
	if (r->total > REPORT_MAX_TOTAL)
		return err_set(e, ERR_PEER, 0, "the unpacker reports without end");
	if (r->ended)
		return 0;
	if (buf_append(&r->bytes, p, len, e) < 0)
		return -1;
	while (buf_len(&r->bytes) >= sizeof(head) && !r->ended) {
		memcpy(&head, buf_head(&r->bytes), sizeof(head));
		if (head.len > REPORT_MAX_LEN)
			return no_report(e);
		if (buf_len(&r->bytes) < sizeof(head) + head.len)
			return 0;
		if (take_record(r, head.type, buf_head(&r->bytes) + sizeof(head), head.len, e) <
		    0)
			return -1;
		buf_consume(&r->bytes, sizeof(head) + head.len);
	}
	return 0;
}
