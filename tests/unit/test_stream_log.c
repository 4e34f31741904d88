/* SPDX-License-Identifier: Apache-2.0 */
/* The log of a container's output: whatever bytes go in come out again. */
#include "unit.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/fd.h"
#include "base/own.h"
#include "base/path.h"
#include "base/sys.h"
#include "sandbox/stream_log.h"

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

		assert_ok(append(&log, "stdout", p, strlen(pieces[i]), &e), &e);
		assert_ok(append(&log, "stderr", every, sizeof(every), &e), &e);
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

/* One call takes a part of a stream that is much longer as records. */
static void test_empty_lines(void **state)
{
	OWN(fd) int fd = sys_memfd_create("log", 0);
	struct stream_log log = { .fd = fd, .max = UINT64_MAX };
	OWN(free) uint8_t *lines = malloc(1 << 20);
	OWN(buf) struct buf got = BUF_INIT;
	struct stat st;
	size_t taken;
	struct err e;

	(void)state;
	assert_non_null(lines);
	memset(lines, '\n', 1 << 20);
	assert_ok(stream_log_append(&log, "stdout", lines, 1 << 20, &taken, &e), &e);
	assert_int_equal(fstat(fd, &st), 0);
	assert_in_range(taken, 1, 1 << 14);
	assert_in_range(st.st_size, STREAM_LOG_BATCH, STREAM_LOG_BATCH + 100);
	restore(fd, "stdout", &got);
	assert_int_equal(buf_len(&got), taken);
	/* and of one long line */
	memset(lines, 'x', 1 << 20);
	assert_ok(stream_log_append(&log, "stdout", lines, 1 << 20, &taken, &e), &e);
	assert_int_equal(taken, STREAM_LOG_BATCH);
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

struct test_log {
	char dir[32], path[40], turns[48], stopped[48];
	struct stream_log out, err;
};

static void log_setup(struct test_log *t)
{
	struct err e;

	(void)snprintf(t->dir, sizeof(t->dir), "/tmp/kata-log.XXXXXX");
	assert_non_null(mkdtemp(t->dir));
	(void)snprintf(t->path, sizeof(t->path), "%s/log", t->dir);
	(void)snprintf(t->turns, sizeof(t->turns), "%s/log.turns", t->dir);
	(void)snprintf(t->stopped, sizeof(t->stopped), "%s/log.stopped", t->dir);
	assert_ok(stream_log_open(t->path, 1000, &t->out, &e), &e);
	assert_ok(stream_log_open(t->path, 1000, &t->err, &e), &e);
}

static void log_teardown(struct test_log *t)
{
	struct err e;

	stream_log_close(&t->out);
	stream_log_close(&t->err);
	assert_ok(path_remove_tree(AT_FDCWD, t->dir, &e), &e);
}

/* Appends until `count` more files have been begun. */
static void turn(struct test_log *t, int count)
{
	struct stat before, now;
	struct err e;

	while (count) {
		assert_int_equal(stat(t->path, &before), 0);
		assert_ok(append(&t->out, "stdout", (const uint8_t *)"a line\n", 7, &e), &e);
		assert_ok(append(&t->err, "stderr", (const uint8_t *)"a line\n", 7, &e), &e);
		assert_int_equal(stat(t->path, &now), 0);
		count -= now.st_size < before.st_size ? 1 : 0;
	}
}

/* Two streams, one file: whichever comes to its end turns it over for both. */
static void test_limit(void **state)
{
	struct stream_log_files f;
	struct stat now, old;
	struct test_log t = { .out = STREAM_LOG_INIT, .err = STREAM_LOG_INIT };
	struct err e;

	(void)state;
	log_setup(&t);
	for (uint64_t i = 0; i < 5; i++) {
		assert_ok(stream_log_look(t.path, &f, &e), &e);
		assert_int_equal(f.index, i);
		assert_int_equal(f.before >= 0, i > 0);
		assert_true(f.now >= 0);
		assert_int_equal(fstat(f.now, &now), 0);
		assert_true(now.st_size <= 1100);
		if (i) {
			assert_int_equal(fstat(f.before, &old), 0);
			assert_true(old.st_size >= 1000 && old.st_size <= 1200);
		}
		assert_int_equal(fstat(t.out.fd, &old), 0);
		assert_true(i > 0 || old.st_ino == now.st_ino);
		stream_log_files_fini(&f);
		turn(&t, 1);
	}
	assert_null(stream_log_stopped(t.path));
	log_teardown(&t);
	assert_err(stream_log_open("/nowhere/log", 1, &t.out, &e), &e, ERR_SYS);
}

/* A turn that is announced and not made yet, or half made, does not change what is what. */
static void test_look_between(void **state)
{
	struct stream_log_files f;
	char before[48], line[32];
	struct test_log t = { .out = STREAM_LOG_INIT, .err = STREAM_LOG_INIT };
	struct stat st;
	struct err e;
	FILE *turns;

	(void)state;
	log_setup(&t);
	turn(&t, 3);
	assert_int_equal(stat(t.path, &st), 0);
	(void)snprintf(line, sizeof(line), "%020ju\n", (uintmax_t)st.st_ino);
	turns = fopen(t.turns, "a");
	assert_non_null(turns);
	assert_true(fputs(line, turns) >= 0 && fclose(turns) == 0);
	assert_ok(stream_log_look(t.path, &f, &e), &e);
	assert_int_equal(f.index, 3);
	stream_log_files_fini(&f);
	(void)snprintf(before, sizeof(before), "%s.1", t.path);
	assert_int_equal(rename(t.path, before), 0);
	assert_ok(stream_log_look(t.path, &f, &e), &e);
	assert_int_equal(f.index, 4);
	assert_int_equal(f.now, -1);
	assert_int_equal(fstat(f.before, &st), 0);
	stream_log_files_fini(&f);
	assert_int_equal(truncate(t.turns, 4 * 21 + 5), 0);
	assert_ok(stream_log_look(t.path, &f, &e), &e);
	stream_log_files_fini(&f);
	turns = fopen(t.turns, "w");
	assert_non_null(turns);
	assert_true(fputs("what is no number...\n", turns) >= 0 && fclose(turns) == 0);
	assert_err(stream_log_look(t.path, &f, &e), &e, ERR_INVALID);
	log_teardown(&t);
}

/* Half a record is none: when there is room again, another stream's would be a part of it. */
static void test_write_that_fails(void **state)
{
	struct rlimit before, now;
	struct stat st, after;
	struct test_log t = { .out = STREAM_LOG_INIT, .err = STREAM_LOG_INIT };
	struct err e;

	(void)state;
	log_setup(&t);
	assert_ok(append(&t.out, "stdout", (const uint8_t *)"one\n", 4, &e), &e);
	assert_int_equal(stat(t.path, &st), 0);
	assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
	now = before;
	now.rlim_cur = (rlim_t)st.st_size + 20;
	(void)signal(SIGXFSZ, SIG_IGN);
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &now), 0);
	assert_err(append(&t.out, "stdout", (const uint8_t *)"two\n", 4, &e), &e, ERR_SYS);
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
	assert_int_equal(stat(t.path, &after), 0);
	assert_int_equal(after.st_size, st.st_size);
	now.rlim_cur = (rlim_t)st.st_size + st.st_size + 20;
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &now), 0);
	assert_err(append(&t.out, "stdout", (const uint8_t *)"two\ntre\n", 8, &e), &e, ERR_SYS);
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
	assert_int_equal(stat(t.path, &after), 0);
	assert_int_equal(after.st_size, 2 * st.st_size);
	log_teardown(&t);
}

enum {
	RECORDS = 40000,
	FILES = RECORDS / 20 /* of at least 1000 bytes, with records of at most 50 */
};

/* The number in the first record of a file; -1 while there is none. */
static long first_number(int fd)
{
	char line[64];
	ssize_t n = fd < 0 ? 0 : pread(fd, line, sizeof(line) - 1, 0);
	const char *text;

	line[n > 0 ? n : 0] = '\0';
	text = strstr(line, " F ");
	return text ? strtol(text + 3, NULL, 10) : -1;
}

static int write_numbers(struct stream_log *l)
{
	struct err e;

	for (int i = 0; i < RECORDS; i++) {
		char line[16];
		size_t n = (size_t)snprintf(line, sizeof(line), "%d\n", i);

		if (append(l, "stdout", (const uint8_t *)line, n, &e) < 0)
			return 1;
	}
	return 0;
}

/* Each file has one index, however fast they come. */
static void test_look_while_written(void **state)
{
	static long first[FILES];
	struct test_log t = { .out = STREAM_LOG_INIT, .err = STREAM_LOG_INIT };
	int status = -1;
	struct err e;
	pid_t child;

	(void)state;
	log_setup(&t);
	memset(first, -1, sizeof(first));
	child = fork();
	assert_true(child >= 0);
	if (child == 0)
		_exit(write_numbers(&t.out));
	while (waitpid(child, &status, WNOHANG) == 0) {
		struct stream_log_files f;
		long number[2];

		if (stream_log_look(t.path, &f, &e) < 0) {
			assert_err(-1, &e, ERR_STATE);
			continue;
		}
		number[0] = first_number(f.before);
		number[1] = first_number(f.now);
		assert_true(f.index < FILES);
		for (uint64_t i = f.index ? 0 : 1; i < 2; i++) {
			long *known = &first[f.index - 1 + i];

			if (*known < 0)
				*known = number[i];
			else if (number[i] >= 0)
				assert_int_equal(number[i], *known);
		}
		stream_log_files_fini(&f);
	}
	assert_int_equal(status, 0);
	log_teardown(&t);
}

static void test_given_up(void **state)
{
	struct test_log t = { .out = STREAM_LOG_INIT, .err = STREAM_LOG_INIT };
	struct err why;
	char *said;

	(void)state;
	log_setup(&t);
	(void)err_set(&why, ERR_SYS, ENOSPC, "write: it is full");
	stream_log_give_up(&t.out, &why);
	(void)err_set(&why, ERR_INVALID, 0, "something else");
	stream_log_give_up(&t.err, &why);
	said = stream_log_stopped(t.path);
	assert_string_equal(said, "No space left on device");
	free(said);
	log_teardown(&t);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_limit),
		cmocka_unit_test(test_write_that_fails),
		cmocka_unit_test(test_look_between),
		cmocka_unit_test(test_look_while_written),
		cmocka_unit_test(test_given_up),
		cmocka_unit_test(test_bytes_survive),
		cmocka_unit_test(test_empty_lines),
		cmocka_unit_test(test_refuses_what_is_no_record),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
