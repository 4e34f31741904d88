/* SPDX-License-Identifier: Apache-2.0 */
/* Fibers: every way into and out of a wait. */
#include "unit.h"

#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/own.h"
#include "base/time.h"
#include "event/child.h"
#include "event/fiber.h"
#include "event/loop.h"

struct fixture {
	struct loop *loop;
	struct cond cond;
	int value;
	int pipe[2];
	struct err seen;
	struct fiber *other;
};

static void waiter(void *arg)
{
	struct fixture *f = arg;

	while (!f->value)
		if (cond_wait(&f->cond, deadline_in(5000), &f->seen) < 0)
			return;
	f->value++;
}

static void wake_flow(void *arg)
{
	struct fixture *f = arg;
	struct err e;

	assert_ok(fiber_spawn(f->loop, "waiter", waiter, f, NULL, &e), &e);
	assert_ok(fiber_sleep(f->loop, 5, &e), &e);
	assert_int_equal(f->value, 0);
	f->value = 1;
	cond_wake_all(&f->cond);
	assert_ok(fiber_sleep(f->loop, 1, &e), &e);
	assert_int_equal(f->value, 2);
}

static void deadline_flow(void *arg)
{
	struct fixture *f = arg;
	struct err e;

	assert_err(cond_wait(&f->cond, deadline_in(10), &e), &e, ERR_TIMEOUT);
}

static void cancel_flow(void *arg)
{
	struct fixture *f = arg;
	struct err e;

	assert_ok(fiber_spawn(f->loop, "waiter", waiter, f, &f->other, &e), &e);
	assert_ok(fiber_sleep(f->loop, 1, &e), &e);
	fiber_cancel(f->other);
	assert_ok(fiber_sleep(f->loop, 1, &e), &e);
	assert_int_equal(f->seen.kind, ERR_CANCELLED);
}

static void writer(void *arg)
{
	struct fixture *f = arg;
	char block[4096];
	struct err e;

	memset(block, 'x', sizeof(block));
	for (int i = 0; i < 256; i++) /* 1 MiB: far more than a pipe holds */
		assert_ok(fiber_write_all(f->loop, f->pipe[1], block, sizeof(block),
					  deadline_in(5000), &e),
			  &e);
	fd_close(&f->pipe[1]);
}

static void pipe_flow(void *arg)
{
	struct fixture *f = arg;
	size_t got = 1, total = 0;
	char block[1000];
	struct err e;

	assert_ok(fd_pipe(f->pipe, &e), &e);
	assert_ok(fd_set_nonblock(f->pipe[0], true, &e), &e);
	assert_ok(fd_set_nonblock(f->pipe[1], true, &e), &e);
	assert_ok(fiber_spawn(f->loop, "writer", writer, f, NULL, &e), &e);
	while (got) {
		assert_ok(fiber_read(f->loop, f->pipe[0], block, sizeof(block),
				     deadline_in(5000), &got, &e),
			  &e);
		total += got;
	}
	assert_int_equal(total, 1 << 20);
	fd_close(&f->pipe[0]);
}

static void child_flow(void *arg)
{
	struct fixture *f = arg;
	struct child_reaper r;
	struct child c;
	struct err e;
	pid_t pid;

	assert_ok(child_reaper_init(&r, f->loop, &e), &e);
	pid = fork();
	if (pid == 0)
		_exit(7);
	child_watch(&r, &c, pid, NULL);
	assert_ok(child_wait(&c, deadline_in(5000), &e), &e);
	assert_int_equal(child_exit_code(c.status), 7);
	child_reaper_fini(&r);
}

static void nested(void *arg)
{
	(*(int *)arg)++;
}

static void many_flow(void *arg)
{
	struct fixture *f = arg;
	struct err e;

	for (int i = 0; i < 1000; i++)
		assert_ok(fiber_spawn(f->loop, "n", nested, &f->value, NULL, &e), &e);
	assert_ok(fiber_sleep(f->loop, 1, &e), &e);
	assert_int_equal(f->value, 1000);
}

static void run(fiber_fn flow)
{
	struct fixture f = { .pipe = { -1, -1 } };
	struct err e;

	assert_ok(loop_new(&f.loop, &e), &e);
	cond_init(&f.cond, f.loop);
	assert_ok(fiber_main(f.loop, flow, &f, &e), &e);
	loop_free(f.loop);
}

#define FLOW(name)                                                                             \
	static void test_##name(void **state)                                                  \
	{                                                                                      \
		(void)state;                                                                   \
		run(name##_flow);                                                              \
	}
FLOW(wake)
FLOW(deadline)
FLOW(cancel)
FLOW(pipe)
FLOW(child)
FLOW(many)

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_wake),   cmocka_unit_test(test_deadline),
		cmocka_unit_test(test_cancel), cmocka_unit_test(test_pipe),
		cmocka_unit_test(test_child),  cmocka_unit_test(test_many),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
