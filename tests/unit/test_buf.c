/* SPDX-License-Identifier: Apache-2.0 */
/* Byte buffers: limits, compaction, hand-over. */
#include "unit.h"

#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/own.h"

static void test_append_consume(void **state)
{
	OWN(buf) struct buf b = BUF_INIT;
	struct err e;

	assert_ok(buf_puts(&b, "hello", &e), &e);
	assert_ok(buf_printf(&b, &e, " %s %d", "world", 42), &e);
	assert_int_equal(buf_len(&b), 14);
	assert_memory_equal(buf_head(&b), "hello world 42", 14);
	buf_consume(&b, 6);
	assert_string_equal(buf_cstr(&b), "world 42");
	assert_int_equal(buf_len(&b), 8);
	buf_clear(&b);
	assert_int_equal(buf_len(&b), 0);
	assert_string_equal(buf_cstr(&b), "");
}

static void test_queue(void **state)
{
	OWN(buf) struct buf b = BUF_INIT;
	unsigned char next_in = 0, next_out = 0;
	struct err e;

	for (int round = 0; round < 2000; round++) {
		unsigned char piece[37];

		for (size_t i = 0; i < sizeof(piece); i++)
			piece[i] = next_in++;
		assert_ok(buf_append(&b, piece, sizeof(piece), &e), &e);
		for (int i = 0; i < 31; i++) {
			assert_int_equal(*buf_head(&b), next_out++);
			buf_consume(&b, 1);
		}
	}
	assert_int_equal(buf_len(&b), 2000 * 6);
	/* what was consumed is used again instead of growing for ever */
	assert_true(b.cap <= 64 * 1024);
}

static void test_limit(void **state)
{
	OWN(buf) struct buf b = BUF_INIT;
	struct err e;

	buf_init(&b, 10);
	assert_ok(buf_append(&b, "12345", 5, &e), &e);
	assert_err(buf_append(&b, "678901", 6, &e), &e, ERR_NO_MEMORY);
	assert_int_equal(buf_len(&b), 5);
	assert_ok(buf_printf(&b, &e, "%s", "67890"), &e);
	assert_string_equal(buf_cstr(&b), "1234567890");
	assert_err(buf_append(&b, "x", 1, &e), &e, ERR_NO_MEMORY);
	buf_consume(&b, 3);
	assert_ok(buf_append(&b, "abc", 3, &e), &e);
	assert_string_equal(buf_cstr(&b), "4567890abc");
}

static void test_overflow(void **state)
{
	OWN(buf) struct buf b = BUF_INIT;
	struct err e;

	assert_ok(buf_puts(&b, "x", &e), &e);
	assert_err(buf_reserve(&b, SIZE_MAX, &e), &e, ERR_NO_MEMORY);
	assert_err(buf_reserve(&b, SIZE_MAX - 1, &e), &e, ERR_NO_MEMORY);
	assert_int_equal(buf_len(&b), 1);
}

static void test_take(void **state)
{
	OWN(buf) struct buf b = BUF_INIT;
	OWN(free) char *s = NULL;
	OWN(free) char *empty = NULL;
	struct err e;

	assert_ok(buf_puts(&b, "abcdef", &e), &e);
	buf_consume(&b, 2);
	s = buf_take_str(&b);
	assert_string_equal(s, "cdef");
	assert_int_equal(buf_len(&b), 0);
	empty = buf_take_str(&b);
	assert_string_equal(empty, "");
}

static void test_gives_memory_back(void **state)
{
	OWN(buf) struct buf b = BUF_INIT;
	struct err e;

	assert_ok(buf_reserve(&b, 1 << 20, &e), &e);
	buf_produced(&b, 1 << 20);
	buf_consume(&b, 1 << 20);
	assert_null(b.data);
	assert_ok(buf_puts(&b, "again", &e), &e);
	assert_string_equal(buf_cstr(&b), "again");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_append_consume), cmocka_unit_test(test_queue),
		cmocka_unit_test(test_limit),          cmocka_unit_test(test_overflow),
		cmocka_unit_test(test_take),           cmocka_unit_test(test_gives_memory_back),
	};

	return cmocka_run_group_tests_name("buf", tests, NULL, NULL);
}
