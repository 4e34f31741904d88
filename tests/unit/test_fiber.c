/* SPDX-License-Identifier: Apache-2.0 */
/* Fibers: every way into and out of a wait. */
#include "unit.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/epoll.h>
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

/* Something blocks the loop beyond a deadline; what came before that was in time. */
static void block_the_loop(void *arg)
{
	int fd = *(int *)arg;

	(void)!write(fd, "x", 1);
	(void)usleep(60 * 1000);
}

static void blocked_flow(void *arg)
{
	struct fixture *f = arg;
	struct err e;
	int p[2];

	assert_ok(fd_socketpair(p, &e), &e);
	assert_ok(fiber_spawn(f->loop, "block", block_the_loop, &p[1], NULL, &e), &e);
	assert_ok(fiber_wait_fd(f->loop, p[0], EPOLLIN, deadline_in(30), &e), &e);
	(void)close(p[0]);
	(void)close(p[1]);
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

/* A fiber knows itself, what cancels it, and that it stays cancelled. */
static void cancelled_self(void *arg)
{
	struct fixture *f = arg;
	char byte;
	size_t got;
	struct err e;

	assert_ptr_equal(fiber_self(f->loop), f->other);
	assert_false(fiber_is_cancelled(f->other));
	fiber_cancel(f->other);
	assert_true(fiber_is_cancelled(f->other));
	assert_err(fiber_sleep(f->loop, 1000, &e), &e, ERR_CANCELLED);
	assert_err(cond_wait(&f->cond, DEADLINE_NONE, &e), &e, ERR_CANCELLED);
	assert_err(fiber_read(f->loop, f->pipe[0], &byte, 1, DEADLINE_NONE, &got, &e), &e,
		   ERR_CANCELLED);
	/* under the shield it waits, and only the deadline ends that */
	fiber_shield(f->loop, true);
	fiber_shield(f->loop, true);
	fiber_shield(f->loop, false);
	assert_ok(fiber_sleep(f->loop, 2, &e), &e);
	assert_err(cond_wait(&f->cond, deadline_in(2), &e), &e, ERR_TIMEOUT);
	fiber_shield(f->loop, false);
	assert_err(fiber_sleep(f->loop, 0, &e), &e, ERR_CANCELLED);
	f->value = 1;
}

static void self_flow(void *arg)
{
	struct fixture *f = arg;
	struct err e;

	assert_ok(fd_pipe(f->pipe, &e), &e);
	assert_ok(fd_set_nonblock(f->pipe[0], true, &e), &e);
	assert_ok(fiber_spawn(f->loop, "self", cancelled_self, f, &f->other, &e), &e);
	while (!f->value)
		assert_ok(fiber_sleep(f->loop, 1, &e), &e);
	fd_close(&f->pipe[0]);
	fd_close(&f->pipe[1]);
}

static void shielded(void *arg)
{
	struct fixture *f = arg;

	fiber_shield(f->loop, true);
	while (f->value < 2)
		if (cond_wait(&f->cond, deadline_in(5000), &f->seen) < 0)
			return;
	f->value = 3;
	fiber_shield(f->loop, false);
}

/* A cancellation does not cut a shielded wait short. */
static void shield_flow(void *arg)
{
	struct fixture *f = arg;
	struct err e;

	assert_ok(fiber_spawn(f->loop, "shielded", shielded, f, &f->other, &e), &e);
	assert_ok(fiber_sleep(f->loop, 1, &e), &e);
	fiber_cancel(f->other);
	assert_ok(fiber_sleep(f->loop, 5, &e), &e);
	assert_int_equal(f->seen.kind, ERR_NONE);
	f->value = 2;
	cond_wake_one(&f->cond);
	assert_ok(fiber_sleep(f->loop, 1, &e), &e);
	assert_int_equal(f->value, 3);
}

static void queue(void *arg)
{
	struct fixture *f = arg;
	int mine = ++f->value;
	struct err e;

	assert_ok(cond_wait(&f->cond, deadline_in(5000), &e), &e);
	f->seen.sys = f->seen.sys * 10 + mine;
}

/* Who waited first is woken first; one at a time is one at a time. */
static void order_flow(void *arg)
{
	struct fixture *f = arg;
	struct err e;

	for (int i = 0; i < 3; i++)
		assert_ok(fiber_spawn(f->loop, "queue", queue, f, NULL, &e), &e);
	assert_ok(fiber_sleep(f->loop, 1, &e), &e);
	cond_wake_one(&f->cond);
	assert_ok(fiber_sleep(f->loop, 1, &e), &e);
	assert_int_equal(f->seen.sys, 1);
	cond_wake_all(&f->cond);
	assert_ok(fiber_sleep(f->loop, 1, &e), &e);
	assert_int_equal(f->seen.sys, 123);
	cond_wake_one(&f->cond); /* nobody waits */
}

/* Reading and writing: deadlines, the end, and what is no descriptor. */
static void io_flow(void *arg)
{
	struct fixture *f = arg;
	static char block[256 * 1024];
	char byte;
	size_t got = 7;
	struct err e;

	assert_ok(fd_pipe(f->pipe, &e), &e);
	assert_ok(fd_set_nonblock(f->pipe[0], true, &e), &e);
	assert_ok(fd_set_nonblock(f->pipe[1], true, &e), &e);
	assert_err(fiber_read(f->loop, f->pipe[0], &byte, 1, deadline_in(2), &got, &e), &e,
		   ERR_TIMEOUT);
	assert_int_equal(got, 7);
	assert_err(
		fiber_write_all(f->loop, f->pipe[1], block, sizeof(block), deadline_in(2), &e),
		&e, ERR_TIMEOUT);
	fd_close(&f->pipe[0]);
	(void)signal(SIGPIPE, SIG_IGN);
	assert_err(fiber_write_all(f->loop, f->pipe[1], block, 1, deadline_in(2), &e), &e,
		   ERR_SYS);
	assert_int_equal(e.sys, EPIPE);
	assert_err(fiber_read(f->loop, f->pipe[1], &byte, 1, deadline_in(2), &got, &e), &e,
		   ERR_SYS);
	assert_int_equal(e.sys, EBADF);
	assert_err(fiber_wait_fd(f->loop, 99999, EPOLLIN, deadline_in(2), &e), &e, ERR_SYS);
	assert_non_null(strstr(e.msg, "watch descriptor 99999"));
	fd_close(&f->pipe[1]);
}

/* Waiting for children that do not end, are forgotten, and are killed. */
static void stubborn_flow(void *arg)
{
	struct fixture *f = arg;
	struct child none = { .reaper = NULL }, c;
	struct child_reaper r;
	struct err e;
	pid_t pid;

	child_unwatch(&none);
	assert_ok(child_end(&none, 100, &e), &e);
	assert_ok(child_reaper_init(&r, f->loop, &e), &e);
	pid = fork();
	if (pid == 0)
		for (;;)
			(void)pause();
	child_watch(&r, &c, pid, NULL);
	assert_err(child_wait(&c, deadline_in(5), &e), &e, ERR_TIMEOUT);
	assert_false(c.exited);
	assert_ok(child_kill(&c, SIGSTOP, &e), &e); /* no end */
	assert_err(child_kill(&c, 9999, &e), &e, ERR_SYS);
	assert_non_null(strstr(e.msg, "signal 9999 to process"));
	assert_err(child_wait(&c, deadline_in(5), &e), &e, ERR_TIMEOUT);
	assert_ok(child_end(&c, 5000, &e), &e);
	assert_int_equal(child_exit_code(c.status), 128 + SIGKILL);
	assert_ok(child_end(&c, 5000, &e), &e);
	child_unwatch(&c);
	/* a forgotten one is reaped all the same: no zombie is left */
	pid = fork();
	if (pid == 0)
		_exit(0);
	child_watch(&r, &c, pid, NULL);
	child_unwatch(&c);
	for (int i = 0; kill(pid, 0) == 0; i++) {
		assert_true(i < 1000);
		assert_ok(fiber_sleep(f->loop, 2, &e), &e);
	}
	assert_false(c.exited);
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
FLOW(blocked)
FLOW(cancel)
FLOW(pipe)
FLOW(child)
FLOW(many)
FLOW(self)
FLOW(shield)
FLOW(order)
FLOW(io)
FLOW(stubborn)

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_wake),     cmocka_unit_test(test_deadline),
		cmocka_unit_test(test_cancel),   cmocka_unit_test(test_pipe),
		cmocka_unit_test(test_child),    cmocka_unit_test(test_many),
		cmocka_unit_test(test_self),     cmocka_unit_test(test_shield),
		cmocka_unit_test(test_order),    cmocka_unit_test(test_io),
		cmocka_unit_test(test_stubborn), cmocka_unit_test(test_blocked),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
