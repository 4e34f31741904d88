/* SPDX-License-Identifier: Apache-2.0 */
/* CRI log records. */
#include "sandbox/stream_log.h"

#include <string.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/fd.h"
#include "base/own.h"
#include "base/time.h"

int stream_log_append(int fd, const char *stream, const uint8_t *p, size_t len, struct err *e)
{
	OWN(buf) struct buf b = BUF_INIT;
	char when[TIME_RFC3339_LEN];

	time_rfc3339(time_wall_ns(), when);
	while (len) {
		const uint8_t *nl = memchr(p, '\n', len);
		size_t n = nl ? (size_t)(nl - p) : len;

		if (buf_printf(&b, e, "%s %s %c ", when, stream, nl ? 'F' : 'P') < 0 ||
		    buf_append(&b, p, n, e) < 0 || buf_append(&b, "\n", 1, e) < 0)
			return -1;
		n += nl ? 1 : 0;
		p += n;
		len -= n;
	}
	return fd_write_all(fd, buf_head(&b), buf_len(&b), e);
}

/* Copies the word up to the next space; NULL if it is empty, too long or the last. */
static const uint8_t *take_word(const uint8_t *p, const uint8_t *end, char *out, size_t size)
{
	const uint8_t *sp = memchr(p, ' ', (size_t)(end - p));
	size_t n = sp ? (size_t)(sp - p) : 0;

	if (n == 0 || n >= size)
		return NULL;
	memcpy(out, p, n);
	out[n] = '\0';
	return sp + 1;
}

int stream_log_parse(const uint8_t *line, size_t len, struct stream_record *out, struct err *e)
{
	const uint8_t *end = line + len, *p = line;
	struct stream_record r;
	char tag[8];

	p = take_word(p, end, r.time, sizeof(r.time));
	p = p ? take_word(p, end, r.stream, sizeof(r.stream)) : NULL;
	p = p ? take_word(p, end, tag, sizeof(tag)) : NULL;
	if (!p || (strcmp(tag, "F") != 0 && strcmp(tag, "P") != 0) ||
	    (strcmp(r.stream, "stdout") != 0 && strcmp(r.stream, "stderr") != 0))
		return err_set(e, ERR_INVALID, 0, "no record of a container's log");
	r.partial = tag[0] == 'P';
	r.text = p;
	r.len = (size_t)(end - p);
	*out = r;
	return 0;
}
