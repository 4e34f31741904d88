/* SPDX-License-Identifier: Apache-2.0 */
/* Task "inflate": whatever compression comes in on descriptor 0, plain bytes on descriptor 1.
 */
#include "image/unpack/helper.h"

#include <errno.h>
#include <unistd.h>

#include <archive.h>
#include <archive_entry.h>

#include "base/err.h"
#include "base/fd.h"
#include "base/own.h"

OWN_DEFINE(archive, struct archive *, archive_read_free)

static const size_t input_block = 128 << 10;

static int fail(struct archive *a, struct err *e)
{
	const char *text = archive_error_string(a);

	return err_set(e, ERR_INVALID, 0, "compressed data is damaged: %s",
		       text ? text : "it ends too early");
}

/* archive_read_data() sees the bytes behind the filters because the format is "raw". */
static int copy_out(struct archive *a, uint64_t max, uint64_t *total, struct err *e)
{
	static uint8_t buf[256 << 10];

	for (;;) {
		ssize_t n = archive_read_data(a, buf, sizeof(buf));

		if (n < 0)
			return fail(a, e);
		if (n == 0)
			return 0;
		*total += (uint64_t)n;
		if (*total > max)
			return err_set(
				e, ERR_SYS, ENOSPC,
				"it unpacks to more than the %llu bytes there is room for",
				(unsigned long long)max);
		if (fd_write_all(STDOUT_FILENO, buf, (size_t)n, e) < 0)
			return -1;
	}
}

int inflate_run(const struct unpack_limits *limits, struct report_done *done, struct err *e)
{
	OWN(archive) struct archive *a = archive_read_new();
	struct archive_entry *entry;
	int rc;

	if (!a)
		return err_oom(e, "the decompressor");
	/* only those that libarchive does itself: it would run programs for the others */
	if (archive_read_support_filter_gzip(a) < ARCHIVE_WARN ||
	    archive_read_support_filter_bzip2(a) < ARCHIVE_WARN ||
	    archive_read_support_filter_xz(a) < ARCHIVE_WARN ||
	    archive_read_support_filter_zstd(a) < ARCHIVE_WARN ||
	    archive_read_support_format_raw(a) < ARCHIVE_WARN ||
	    archive_read_support_format_empty(a) < ARCHIVE_WARN ||
	    archive_read_open_fd(a, STDIN_FILENO, input_block) != ARCHIVE_OK)
		return fail(a, e);
	rc = archive_read_next_header(a, &entry);
	if (rc != ARCHIVE_EOF && rc < ARCHIVE_WARN)
		return fail(a, e);
	if (rc != ARCHIVE_EOF && copy_out(a, limits->bytes, &done->bytes, e) < 0)
		return -1;
	return 0;
}
