/* SPDX-License-Identifier: Apache-2.0 */
/* Programs that are run for what they say. */
#include "unit.h"

#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/own.h"
#include "base/time.h"
#include "event/child.h"
#include "event/fiber.h"
#include "event/loop.h"
#include "event/program.h"

static struct loop *loop;
static struct child_reaper reaper;

struct one {
	const char *script;
	size_t max;
	int64_t ms;
	int rc, status;
	char said[64];
	struct err e;
};

static void run_one(void *arg)
{
	OWN(buf) struct buf out = BUF_INIT;
	struct one *o = arg;
	const char *const argv[] = { "/bin/sh", "-c", o->script, NULL };

	o->rc = program_run(loop, &reaper, argv, o->max, deadline_in(o->ms), &out, &o->status,
			    &o->e);
	(void)snprintf(o->said, sizeof(o->said), "%.*s", (int)buf_len(&out),
		       (const char *)buf_head(&out));
}

static void run(struct one *o)
{
	struct err e;

	assert_ok(fiber_main(loop, run_one, o, &e), &e);
}

static void test_said(void **state)
{
	struct one o = { "echo one; echo two >&2; exit 3", 100, 10000 };

	(void)state;
	run(&o);
	assert_ok(o.rc, &o.e);
	assert_string_equal(o.said, "one\ntwo\n");
	assert_int_equal(WEXITSTATUS(o.status), 3);
}

/* One that never stops talking, one that never ends, and one whose child holds the output. */
static void test_ended(void **state)
{
	struct one much = { "while :; do echo many words; done", 20, 10000 };
	struct one late = { "echo first; exec sleep 100", 100, 300 };
	struct one quiet = { "exec >/dev/null 2>&1; exec sleep 100", 100, 300 };

	(void)state;
	run(&much);
	assert_ok(much.rc, &much.e);
	assert_string_equal(much.said, "many words\nmany word");
	assert_int_equal(much.status, 0);
	run(&late);
	assert_int_equal(late.rc, -1);
	assert_int_equal(late.e.kind, ERR_TIMEOUT);
	assert_string_equal(late.said, "first\n");
	run(&quiet);
	assert_int_equal(quiet.e.kind, ERR_TIMEOUT);
	assert_int_equal(waitpid(-1, NULL, WNOHANG), -1);
}

static void test_none(void **state)
{
	const char *const argv[] = { "/nowhere/program", NULL };
	OWN(buf) struct buf out = BUF_INIT;
	struct err e;
	int status;

	(void)state;
	assert_int_equal(
		program_run(loop, &reaper, argv, 10, deadline_in(1000), &out, &status, &e), -1);
	assert_non_null(strstr(e.msg, "/nowhere/program"));
}

static int set_up(void **state)
{
	struct err e;

	(void)state;
	return loop_new(&loop, &e) < 0 || child_reaper_init(&reaper, loop, &e) < 0 ? -1 : 0;
}

static int tear_down(void **state)
{
	(void)state;
	child_reaper_fini(&reaper);
	loop_free(loop);
	return 0;
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_said),
		cmocka_unit_test(test_ended),
		cmocka_unit_test(test_none),
	};

	return cmocka_run_group_tests_name("program", tests, set_up, tear_down);
}
