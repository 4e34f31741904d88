/* SPDX-License-Identifier: Apache-2.0 */
/* The small modules of base: errors, memory, lists, time, random bytes. */
#include "unit.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/device_name.h"
#include "base/list.h"
#include "base/mem.h"
#include "base/rand.h"
#include "base/time.h"

static void test_err(void **state)
{
	struct err e = ERR_INIT;

	assert_int_equal(err_set(&e, ERR_SYS, ENOENT, "open '%s'", "x"), -1);
	assert_int_equal(e.kind, ERR_SYS);
	assert_int_equal(e.sys, ENOENT);
	assert_string_equal(e.msg, "open 'x': No such file or directory");
	assert_int_equal(err_wrap(&e, "layer %d", 3), -1);
	assert_string_equal(e.msg, "layer 3: open 'x': No such file or directory");
	assert_int_equal(e.sys, ENOENT);
	errno = EACCES;
	assert_int_equal(err_sys(&e, "read"), -1);
	assert_string_equal(e.msg, "read: Permission denied");
	assert_int_equal(err_oom(&e, "a frame"), -1);
	assert_int_equal(e.kind, ERR_NO_MEMORY);
	assert_string_equal(e.msg, "out of memory for a frame");
	err_clear(&e);
	assert_int_equal(e.kind, ERR_NONE);
	assert_string_equal(e.msg, "");
}

/* What a file says in a message is read at a terminal. */
static void test_err_is_one_line_of_text(void **state)
{
	struct err e;

	(void)err_set(&e, ERR_INVALID, 0, "image '%s'",
		      "\033]52;c;x\a\r\n\tk\177\302\233J \303\244");
	assert_string_equal(e.msg, "image '?]52;c;x??  k???J \303\244'");
	(void)err_wrap(&e, "%s", "a\033[2Jb");
	assert_string_equal(e.msg, "a?[2Jb: image '?]52;c;x??  k???J \303\244'");
}

static void test_err_is_cut(void **state)
{
	char huge[2000];
	struct err e;

	memset(huge, 'x', sizeof(huge) - 1);
	huge[sizeof(huge) - 1] = '\0';
	(void)err_set(&e, ERR_SYS, EIO, "%s", huge);
	assert_int_equal(strlen(e.msg), sizeof(e.msg) - 1);
	for (int i = 0; i < 20; i++)
		(void)err_wrap(&e, "%s", "some words in front");
	assert_int_equal(strlen(e.msg), sizeof(e.msg) - 1);
	(void)err_wrap(&e, "%s", huge);
	assert_int_equal(e.msg[0], 'x');
}

static void test_err_names(void **state)
{
	for (int kind = 0; kind < ERR_KIND_COUNT_; kind++) {
		assert_non_null(err_kind_name((enum err_kind)kind));
		assert_true(*err_kind_name((enum err_kind)kind) != '\0');
	}
}

/* A bug ends the program by SIGABRT, and its last words say where. */
static void test_device_names(void **state)
{
	char name[32], tiny[4];
	struct err e;

	(void)state;
	assert_int_equal(device_name('c', 1, 3, name, sizeof(name), &e), 0);
	assert_string_equal(name, "null");
	/* its numbers are another device's among disks, or nobody's */
	if (device_name('b', 1, 3, name, sizeof(name), &e) == 0)
		assert_string_equal(name, "ram3");
	assert_int_equal(device_name('c', 4095, 77777, name, sizeof(name), &e), 1);
	assert_err(device_name('c', 1, 3, tiny, sizeof(tiny), &e), &e, ERR_INVALID);
	assert_non_null(strstr(e.msg, "null"));
}

static void test_bug(void **state)
{
	char said[200] = "";
	int p[2], status;
	pid_t pid;

	assert_int_equal(pipe(p), 0);
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		(void)signal(SIGABRT, SIG_DFL);
		(void)dup2(p[1], STDERR_FILENO);
		BUG_ON(1 + 1 == 2);
		_exit(0);
	}
	(void)close(p[1]);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
	assert_true(read(p[0], said, sizeof(said) - 1) > 0);
	assert_non_null(strstr(said, "test_base.c:"));
	assert_non_null(strstr(said, ": internal error: 1 + 1 == 2\n"));
	(void)close(p[0]);
}

static void test_mem(void **state)
{
	OWN(free) char *zero = mem_zalloc(0);
	OWN(free) char *copy = mem_dup("ab\0c", 4);
	OWN(free) int *numbers = mem_calloc(4, sizeof(int));

	assert_non_null(zero);
	assert_memory_equal(copy, "ab\0c", 5);
	assert_int_equal(numbers[3], 0);
	assert_null(mem_calloc(SIZE_MAX / 2, 3));
	assert_null(mem_resize(numbers, SIZE_MAX / 2, 3));
	numbers[3] = 7; /* still valid */
	assert_null(mem_dup("x", SIZE_MAX));
}

static void test_arena(void **state)
{
	OWN(arena) struct arena a = { 0 };
	char *small, *big, *again;

	arena_init(&a, 64 * 1024);
	small = arena_strdup(&a, "small");
	big = arena_alloc(&a, 20000);
	again = arena_printf(&a, "%s-%d", "n", 5);
	assert_string_equal(small, "small");
	assert_string_equal(again, "n-5");
	for (int i = 0; i < 20000; i++)
		assert_int_equal(big[i], 0);
	for (size_t size = 0; size < 40; size++)
		assert_int_equal((uintptr_t)arena_alloc(&a, size) % _Alignof(max_align_t), 0);
	assert_string_equal(arena_strndup(&a, "abcdef", 3), "abc");
	assert_null(arena_alloc(&a, 64 * 1024));
	assert_null(arena_alloc(&a, SIZE_MAX));
	assert_null(arena_calloc(&a, SIZE_MAX / 2, 4));
	while (arena_alloc(&a, 1000))
		;
	assert_true(a.used <= a.limit);
}

static void test_arena_of_zero(void **state)
{
	OWN(arena) struct arena a = { 0 };

	assert_null(arena_alloc(&a, 1));
}

struct item {
	int n;
	struct list node;
};

static void test_list(void **state)
{
	struct item items[4];
	struct list head;
	int sum = 0;

	list_init(&head);
	assert_true(list_empty(&head));
	for (int i = 0; i < 4; i++) {
		items[i].n = i + 1;
		list_append(&head, &items[i].node);
	}
	list_for_each(pos, tmp, &head) {
		struct item *it = list_entry(pos, struct item, node);

		sum = sum * 10 + it->n;
		if (it->n % 2)
			list_remove(pos); /* the current one may go */
	}
	assert_int_equal(sum, 1234);
	list_remove(&items[0].node); /* harmless the second time */
	assert_ptr_equal(head.next, &items[1].node);
	assert_ptr_equal(head.prev, &items[3].node);
	list_remove(&items[1].node);
	list_remove(&items[3].node);
	assert_true(list_empty(&head));
}

static void test_deadlines(void **state)
{
	int64_t now = time_mono_ms();

	assert_true(deadline_in(-1) == DEADLINE_NONE);
	assert_true(deadline_in(INT64_MAX) == DEADLINE_NONE);
	assert_int_equal(deadline_left(DEADLINE_NONE), -1);
	assert_int_equal(deadline_left(now - 5), 0);
	assert_in_range(deadline_left(deadline_in(60000)), 59000, 60000);
	assert_int_equal(deadline_left(INT64_MAX - 1), INT32_MAX);
	assert_true(time_mono_us() / 1000 >= now);
}

static void test_rfc3339(void **state)
{
	char text[TIME_RFC3339_LEN];

	time_rfc3339(0, text);
	assert_string_equal(text, "1970-01-01T00:00:00.000000000Z");
	time_rfc3339(1582934400123456789, text);
	assert_string_equal(text, "2020-02-29T00:00:00.123456789Z");
	time_rfc3339(-1, text);
	assert_string_equal(text, "1969-12-31T23:59:59.999999999Z");
	time_rfc3339(-1000000000, text);
	assert_string_equal(text, "1969-12-31T23:59:59.000000000Z");
	time_rfc3339(INT64_MAX, text);
	assert_string_equal(text, "2262-04-11T23:47:16.854775807Z");
}

static void test_rand(void **state)
{
	char a[RAND_HEX_LEN(16)], b[RAND_HEX_LEN(16)];
	struct err e;

	assert_ok(rand_hex(a, 16, &e), &e);
	assert_ok(rand_hex(b, 16, &e), &e);
	assert_int_equal(strlen(a), 32);
	assert_int_equal(strspn(a, "0123456789abcdef"), 32);
	assert_string_not_equal(a, b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_err),
		cmocka_unit_test(test_err_is_one_line_of_text),
		cmocka_unit_test(test_err_is_cut),
		cmocka_unit_test(test_err_names),
		cmocka_unit_test(test_mem),
		cmocka_unit_test(test_arena),
		cmocka_unit_test(test_arena_of_zero),
		cmocka_unit_test(test_list),
		cmocka_unit_test(test_deadlines),
		cmocka_unit_test(test_rfc3339),
		cmocka_unit_test(test_rand),
		cmocka_unit_test(test_device_names),
		cmocka_unit_test(test_bug),
	};

	return cmocka_run_group_tests_name("base", tests, NULL, NULL);
}
