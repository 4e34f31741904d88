/* SPDX-License-Identifier: Apache-2.0 */
/* The log of a container's output: whatever bytes go in come out again. */
#include "unit.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/fd.h"
#include "base/own.h"
#include "base/path.h"
#include "base/sys.h"
#include "sandbox/stream_log.h"

/* Reads a whole log back as `kata logs` does, one stream only. */
static void restore(int fd, const char *stream, struct buf *out)
{
	OWN(buf) struct buf all = { .limit = 16 << 20 };
	struct err e;

	assert_int_equal(lseek(fd, 0, SEEK_SET), 0);
	assert_ok(fd_read_to_end(fd, &all, &e), &e);
	while (buf_len(&all)) {
		const uint8_t *nl = memchr(buf_head(&all), '\n', buf_len(&all));
		struct stream_record r;

		assert_non_null(nl);
		assert_ok(
			stream_log_parse(buf_head(&all), (size_t)(nl - buf_head(&all)), &r, &e),
			&e);
		if (strcmp(r.stream, stream) == 0) {
			assert_ok(buf_append(out, r.text, r.len, &e), &e);
			if (!r.partial)
				assert_ok(buf_append(out, "\n", 1, &e), &e);
		}
		buf_consume(&all, (size_t)(nl - buf_head(&all)) + 1);
	}
}

static void test_bytes_survive(void **state)
{
	static const char *const pieces[] = { "one\ntwo", "\n", "\n\nthree\r\n",
					      "tail without end" };
	OWN(fd) int fd = sys_memfd_create("log", 0);
	struct stream_log log = { .fd = fd, .max = UINT64_MAX };
	OWN(buf) struct buf want = BUF_INIT, got = BUF_INIT;
	uint8_t every[256];
	struct err e;

	(void)state;
	for (int i = 0; i < 256; i++)
		every[i] = (uint8_t)i;
	for (size_t i = 0; i < ARRAY_LEN(pieces); i++) {
		const uint8_t *p = (const uint8_t *)pieces[i];

		assert_ok(stream_log_append(&log, "stdout", p, strlen(pieces[i]), &e), &e);
		assert_ok(stream_log_append(&log, "stderr", every, sizeof(every), &e), &e);
		assert_ok(buf_append(&want, p, strlen(pieces[i]), &e), &e);
	}
	restore(fd, "stdout", &got);
	assert_int_equal(buf_len(&got), buf_len(&want));
	assert_memory_equal(buf_head(&got), buf_head(&want), buf_len(&want));
	buf_clear(&got);
	restore(fd, "stderr", &got);
	assert_int_equal(buf_len(&got), ARRAY_LEN(pieces) * 256);
	assert_memory_equal(buf_head(&got) + 256, every, 256);
}

static void test_refuses_what_is_no_record(void **state)
{
	static const char *const bad[] = {
		"",
		"x",
		"2026-01-01T00:00:00Z",
		"2026-01-01T00:00:00Z stdout",
		"2026-01-01T00:00:00Z stdout F",
		"2026-01-01T00:00:00Z stdin F x",
		"2026-01-01T00:00:00Z stdout X x",
		" stdout F x",
		"a  F x",
		"0123456789012345678901234567890123456789 stdout F x",
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		struct stream_record r;
		struct err e;

		assert_err(stream_log_parse((const uint8_t *)bad[i], strlen(bad[i]), &r, &e),
			   &e, ERR_INVALID);
	}
}

/* Two streams, one file: whichever comes to its end turns it over for both. */
static void test_limit(void **state)
{
	char dir[] = "/tmp/kata-log.XXXXXX", path[64], before[64], cut[64];
	struct stream_log out = STREAM_LOG_INIT, err = STREAM_LOG_INIT;
	const uint8_t text[] = "a line\n";
	struct stat now, old;
	struct err e;

	(void)state;
	assert_non_null(mkdtemp(dir));
	(void)snprintf(path, sizeof(path), "%s/log", dir);
	(void)snprintf(before, sizeof(before), "%s/log.1", dir);
	(void)snprintf(cut, sizeof(cut), "%s/log.cut", dir);
	assert_ok(stream_log_open(path, 1000, &out, &e), &e);
	assert_ok(stream_log_open(path, 1000, &err, &e), &e);
	for (int i = 0; i < 30; i++) {
		assert_ok(stream_log_append(&out, "stdout", text, 7, &e), &e);
		assert_ok(stream_log_append(&err, "stderr", text, 7, &e), &e);
		if (i == 15) { /* some 90 bytes a round */
			assert_int_equal(access(before, F_OK), 0);
			assert_int_equal(access(cut, F_OK), -1);
		}
	}
	assert_int_equal(access(cut, F_OK), 0);
	assert_int_equal(stat(path, &now), 0);
	assert_int_equal(stat(before, &old), 0);
	assert_true(now.st_size <= 1100 && old.st_size >= 1000 && old.st_size <= 1200);
	assert_int_equal(fstat(out.fd, &old), 0);
	assert_int_equal(old.st_ino, now.st_ino);
	stream_log_close(&out);
	stream_log_close(&err);
	assert_ok(path_remove_tree(AT_FDCWD, dir, &e), &e);
	assert_err(stream_log_open("/nowhere/log", 1, &out, &e), &e, ERR_SYS);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_limit),
		cmocka_unit_test(test_bytes_survive),
		cmocka_unit_test(test_refuses_what_is_no_record),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
