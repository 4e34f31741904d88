/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The log of a container's output: the input as a log file, then as output that is written to
 * one, whose records must give it back byte for byte.
 */
#include "fuzz.h"

#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/fd.h"
#include "base/own.h"
#include "sandbox/stream_log.h"

static void read_log(const uint8_t *p, size_t size, struct buf *text)
{
	const uint8_t *end = p + size;

	while (p < end) {
		const uint8_t *nl = memchr(p, '\n', (size_t)(end - p));
		size_t len = (size_t)((nl ? nl : end) - p);
		struct stream_record r;
		struct err e = ERR_INIT;

		if (stream_log_parse(p, len, &r, &e) == 0) {
			FUZZ_CHECK(r.text >= p && r.text + r.len == p + len);
			FUZZ_CHECK(strlen(r.time) < sizeof(r.time));
			FUZZ_CHECK(!text || buf_append(text, r.text, r.len, &e) == 0);
			FUZZ_CHECK(!text || r.partial || buf_puts(text, "\n", &e) == 0);
		} else {
			FUZZ_CHECK(e.kind == ERR_INVALID && !text);
		}
		p += len + 1;
	}
}

static int append(struct stream_log *l, const char *stream, const uint8_t *p, size_t len,
		  struct err *e)
{
	size_t taken = 0;

	for (; len; len -= taken, p += taken) {
		if (stream_log_append(l, stream, p, len, &taken, e) < 0)
			return -1;
	}
	return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	OWN(fd) int fd = memfd_create("log", MFD_CLOEXEC);
	OWN(buf) struct buf log = { .limit = 64 << 20 }, back = BUF_INIT;
	size_t half = size / 2;
	struct err e;

	read_log(data, size, NULL);
	struct stream_log to = { .fd = fd, .max = UINT64_MAX };

	FUZZ_CHECK(fd >= 0 && append(&to, "stdout", data, half, &e) == 0);
	FUZZ_CHECK(append(&to, "stdout", data + half, size - half, &e) == 0);
	FUZZ_CHECK(lseek(fd, 0, SEEK_SET) == 0 && fd_read_to_end(fd, &log, &e) == 0);
	read_log(buf_head(&log), buf_len(&log), &back);
	FUZZ_CHECK(buf_len(&back) == size);
	FUZZ_CHECK(size == 0 || memcmp(buf_head(&back), data, size) == 0);
	return 0;
}
