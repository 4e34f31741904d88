/* SPDX-License-Identifier: Apache-2.0 */
/* Places and memory for machines that start. */
#include "unit.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/own.h"
#include "base/path.h"
#include "base/str.h"
#include "base/time.h"
#include "event/fiber.h"
#include "event/loop.h"
#include "sandbox/admission.h"

static char dir[] = "/tmp/kata-admission.XXXXXX";
static char meminfo[64], overcommit[64];
static struct loop *loop;

static void set_meminfo(unsigned total_mib, unsigned available_mib, const char *more)
{
	OWN(free)
	char *text = str_printf("MemTotal: %u kB\nMemFree: 1 kB\nMemAvailable:   %u kB\n%s",
				total_mib * 1024, available_mib * 1024, more);
	struct err e;

	assert_non_null(text);
	assert_ok(file_replace(AT_FDCWD, meminfo, text, strlen(text), 0600, false, &e), &e);
}

static void set_memory(unsigned total_mib, unsigned available_mib)
{
	set_meminfo(total_mib, available_mib, "");
}

struct one {
	int64_t wait_ms, hold_ms; /* hold: gives its place back after that; 0: keeps it */
	uint64_t huge_mib, need_mib;
	int rc;
	int64_t took_ms;
	struct admission a;
	struct err e;
};

static void enter(void *arg)
{
	struct one *o = arg;
	struct admission_config c = {
		.base = dir,
		.meminfo = meminfo,
		.places = 2,
		.need_mib = o->need_mib ? o->need_mib : 100,
		.huge_mib = o->huge_mib,
		.overcommit = overcommit,
		.deadline = deadline_in(o->wait_ms),
	};
	int64_t began = time_mono_ms();

	o->rc = admission_enter(loop, &c, &o->a, &o->e);
	o->took_ms = time_mono_ms() - began;
	if (o->hold_ms) {
		(void)fiber_sleep(loop, o->hold_ms, &o->e);
		admission_leave(&o->a);
	}
}

static void run(struct one *o)
{
	struct err e;

	assert_ok(fiber_main(loop, enter, o, &e), &e);
}

static void test_places(void **state)
{
	struct one first = { 1000 }, second = { 1000 }, third = { 250 };

	(void)state;
	set_memory(8192, 4096);
	run(&first);
	run(&second);
	assert_ok(first.rc, &first.e);
	assert_ok(second.rc, &second.e);
	run(&third);
	assert_int_equal(third.rc, -1);
	assert_int_equal(third.e.kind, ERR_TIMEOUT);
	assert_int_equal(third.a.place_fd, -1);
	admission_leave(&first.a);
	run(&third);
	assert_ok(third.rc, &third.e);
	admission_leave(&second.a);
	admission_leave(&third.a);
}

static void test_waits_for_a_place(void **state)
{
	struct one first = { 1000, 300 }, second = { 1000, 300 }, third = { 5000 };
	struct err e;

	(void)state;
	set_memory(8192, 4096);
	assert_ok(fiber_spawn(loop, "first", enter, &first, NULL, &e), &e);
	assert_ok(fiber_spawn(loop, "second", enter, &second, NULL, &e), &e);
	run(&third);
	assert_ok(third.rc, &third.e);
	assert_true(third.took_ms >= 200);
	admission_leave(&third.a);
	/* both have given theirs back before their time is up */
	struct one last = { 1000, 300 };
	run(&last);
	assert_ok(last.rc, &last.e);
}

/* Alone: refused at once, with the numbers. While others start: when they do not end. */
static void test_memory(void **state)
{
	struct one alone = { 60000 }, first = { 1000 }, second = { 250 };

	(void)state;
	set_memory(8192, 227); /* 128 are to stay free */
	run(&alone);
	assert_int_equal(alone.rc, -1);
	assert_int_equal(alone.e.kind, ERR_NO_MEMORY);
	assert_true(alone.took_ms < 10000);
	assert_non_null(strstr(alone.e.msg, "has 227 MiB of memory available, of which 128"));
	assert_non_null(strstr(alone.e.msg, "takes 100"));
	set_memory(8192, 228);
	run(&first);
	assert_ok(first.rc, &first.e);
	run(&second);
	assert_int_equal(second.e.kind, ERR_NO_MEMORY);
	assert_true(second.took_ms >= 250);
	admission_leave(&first.a);
	/* a small host: 64 at least */
	set_memory(512, 163);
	run(&alone);
	assert_int_equal(alone.rc, -1);
	set_memory(512, 164);
	run(&alone);
	assert_ok(alone.rc, &alone.e);
	admission_leave(&alone.a);
}

static void test_huge_pages(void **state)
{
	struct one o = { .wait_ms = 60000, .huge_mib = 129 };
	uint64_t page;
	struct err e;

	(void)state;
	set_meminfo(8192, 4096,
		    "HugePages_Total: 100\nHugePages_Free: 70\nHugePages_Rsvd: 6\n"
		    "HugePages_Surp: 0\nHugepagesize:       2048 kB\n");
	run(&o);
	assert_int_equal(o.rc, -1);
	assert_int_equal(o.e.kind, ERR_NO_MEMORY);
	assert_true(o.took_ms < 10000);
	assert_non_null(strstr(o.e.msg, "129 MiB of memory are 65 pages of 2048 KiB"));
	assert_non_null(strstr(o.e.msg, "64 of this host's 100 are free"));
	o.huge_mib = 128;
	run(&o);
	assert_ok(o.rc, &o.e);
	admission_leave(&o.a);
	/* more reserved than free: between two lines of the kernel's */
	set_meminfo(8192, 4096,
		    "HugePages_Total: 9\nHugePages_Free: 1\nHugePages_Rsvd: 2\n"
		    "HugePages_Surp: 0\nHugepagesize: 2048 kB\n");
	run(&o);
	assert_non_null(strstr(o.e.msg, "0 of this host's 9"));
	/* a pool that may grow by itself */
	assert_ok(file_replace(AT_FDCWD, overcommit, "80\n", 3, 0600, false, &e), &e);
	set_meminfo(8192, 4096,
		    "HugePages_Total: 20\nHugePages_Free: 4\nHugePages_Rsvd: 0\n"
		    "HugePages_Surp: 20\nHugepagesize: 2048 kB\n");
	run(&o);
	assert_ok(o.rc, &o.e);
	admission_leave(&o.a);
	o.huge_mib = 130;
	run(&o);
	assert_non_null(strstr(o.e.msg, "64 of this host's 80"));
	/* which takes what it grows by from the rest: 4 pages are there, 60 of 2 MiB are not */
	o.huge_mib = 128;
	set_meminfo(8192, 128 + 100 + 119,
		    "HugePages_Total: 20\nHugePages_Free: 4\nHugePages_Rsvd: 0\n"
		    "HugePages_Surp: 20\nHugepagesize: 2048 kB\n");
	run(&o);
	assert_non_null(strstr(o.e.msg, "of memory available"));
	set_meminfo(8192, 128 + 100 + 120,
		    "HugePages_Total: 20\nHugePages_Free: 4\nHugePages_Rsvd: 0\n"
		    "HugePages_Surp: 20\nHugepagesize: 2048 kB\n");
	run(&o);
	assert_ok(o.rc, &o.e);
	admission_leave(&o.a);
	assert_int_equal(unlink(overcommit), 0);
	assert_ok(admission_huge_page(meminfo, &page, &e), &e);
	assert_int_equal(page, 2);
	/* a kernel without them has no such lines */
	set_memory(8192, 4096);
	run(&o);
	assert_int_equal(o.rc, -1);
	assert_int_equal(o.e.kind, ERR_INVALID);
	assert_err(admission_huge_page(meminfo, &page, &e), &e, ERR_UNSUPPORTED);
	o.huge_mib = 0;
	run(&o);
	assert_ok(o.rc, &o.e);
	admission_leave(&o.a);
}

/* One that takes much counts as much for those who come after it. */
static void test_needs(void **state)
{
	struct one large = { .wait_ms = 1000, .need_mib = 3000 }, small = { .wait_ms = 250 };

	(void)state;
	set_memory(8192, 3200);
	run(&large);
	assert_ok(large.rc, &large.e);
	run(&small);
	assert_int_equal(small.rc, -1);
	assert_true(small.took_ms >= 250);
	admission_leave(&large.a);
	run(&small);
	assert_ok(small.rc, &small.e);
	/* and a small one as little */
	run(&large);
	assert_int_equal(large.rc, -1);
	set_memory(8192, 3228);
	run(&large);
	assert_ok(large.rc, &large.e);
	admission_leave(&large.a);
	admission_leave(&small.a);
}

static void test_broken(void **state)
{
	static const char *const texts[] = { "", "MemTotal: 1 kB\n",
					     "MemTotal: x\nMemAvailable: 1 kB\n" };
	struct one o = { 1000 };
	struct err e;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
		assert_ok(file_replace(AT_FDCWD, meminfo, texts[i], strlen(texts[i]), 0600,
				       false, &e),
			  &e);
		run(&o);
		assert_int_equal(o.rc, -1);
		assert_int_equal(o.e.kind, ERR_INVALID);
	}
	assert_int_equal(unlink(meminfo), 0);
	run(&o);
	assert_int_equal(o.rc, -1);
}

static int set_up(void **state)
{
	struct err e;

	(void)state;
	if (!mkdtemp(dir))
		return -1;
	(void)snprintf(meminfo, sizeof(meminfo), "%s/meminfo", dir);
	(void)snprintf(overcommit, sizeof(overcommit), "%s/overcommit", dir);
	return loop_new(&loop, &e);
}

static int tear_down(void **state)
{
	struct err e;

	(void)state;
	loop_free(loop);
	return path_remove_tree(AT_FDCWD, dir, &e);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_places), cmocka_unit_test(test_waits_for_a_place),
		cmocka_unit_test(test_memory), cmocka_unit_test(test_huge_pages),
		cmocka_unit_test(test_needs),  cmocka_unit_test(test_broken),
	};

	return cmocka_run_group_tests_name("admission", tests, set_up, tear_down);
}
