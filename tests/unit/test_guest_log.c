/* SPDX-License-Identifier: Apache-2.0 */
/* How much of what a guest says is logged; and bytes that are carried both ways. */
#include "unit.h"

#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/own.h"
#include "base/time.h"
#include "event/fiber.h"
#include "event/loop.h"
#include "event/relay.h"
#include "sandbox/guest_log.h"

static unsigned taken(struct line_budget *b, int64_t now, unsigned tries)
{
	unsigned n = 0;

	while (tries--)
		n += line_budget_take(b, now);
	return n;
}

static void test_budget(void **state)
{
	struct line_budget b = { .burst = 10, .each = 2, .period_ms = 1000 };

	(void)state;
	assert_int_equal(taken(&b, 5000, 30), 10);
	assert_int_equal(line_budget_missed(&b), 20);
	assert_int_equal(line_budget_missed(&b), 0);
	assert_int_equal(taken(&b, 5999, 1), 0);
	assert_int_equal(taken(&b, 6000, 5), 2);
	/* periods that nobody used are not lost, up to the burst */
	assert_int_equal(taken(&b, 8999, 5), 4);
	assert_int_equal(taken(&b, INT64_C(1) << 50, 50), 10);
	/* a clock that stands, or goes back */
	assert_int_equal(taken(&b, 0, 5), 0);
}

struct fixture {
	struct loop *loop;
	int left[2], right[2];
	struct fiber *relay;
	bool over;
	struct err seen;
};

static void relay(void *arg)
{
	struct fixture *f = arg;

	err_clear(&f->seen);
	(void)relay_run(f->loop, f->left[1], f->right[1], &f->seen);
	f->over = true;
}

static void begin(struct fixture *f)
{
	struct err e;

	assert_ok(fd_socketpair(f->left, &e), &e);
	assert_ok(fd_socketpair(f->right, &e), &e);
	for (int i = 0; i < 2; i++) {
		assert_ok(fd_set_nonblock(f->left[i], true, &e), &e);
		assert_ok(fd_set_nonblock(f->right[i], true, &e), &e);
	}
	f->over = false;
	assert_ok(fiber_spawn(f->loop, "relay", relay, f, &f->relay, &e), &e);
	assert_ok(fiber_sleep(f->loop, 1, &e), &e);
}

static void end(struct fixture *f)
{
	for (int i = 0; i < 2; i++) {
		fd_close(&f->left[i]);
		fd_close(&f->right[i]);
	}
}

static void expect(struct fixture *f, int fd, const char *text)
{
	char got[16];
	size_t n;
	struct err e;

	assert_ok(fiber_read(f->loop, fd, got, sizeof(got), deadline_in(5000), &n, &e), &e);
	assert_int_equal(n, strlen(text));
	assert_memory_equal(got, text, n);
}

static void wait_over(struct fixture *f)
{
	int64_t deadline = deadline_in(5000);
	struct err e;

	while (!f->over) {
		assert_true(deadline_left(deadline) > 0);
		assert_ok(fiber_sleep(f->loop, 1, &e), &e);
	}
}

static void relay_flow(void *arg)
{
	static char block[1 << 20];
	struct fixture *f = arg;
	struct err e;

	begin(f);
	assert_ok(fiber_write_all(f->loop, f->left[0], "there", 5, deadline_in(5000), &e), &e);
	expect(f, f->right[0], "there");
	assert_ok(fiber_write_all(f->loop, f->right[0], "back", 4, deadline_in(5000), &e), &e);
	expect(f, f->left[0], "back");
	/* one side's end is the other's */
	fd_close(&f->left[0]);
	wait_over(f);
	assert_int_equal(f->seen.kind, ERR_NONE);
	end(f);

	/* nobody reads on the other side, and this one goes */
	begin(f);
	assert_err(
		fiber_write_all(f->loop, f->left[0], block, sizeof(block), deadline_in(50), &e),
		&e, ERR_TIMEOUT);
	fd_close(&f->left[0]);
	wait_over(f);
	end(f);

	/* nobody reads on the other side: it can still be ended */
	begin(f);
	assert_err(
		fiber_write_all(f->loop, f->left[0], block, sizeof(block), deadline_in(50), &e),
		&e, ERR_TIMEOUT);
	fiber_cancel(f->relay);
	wait_over(f);
	assert_int_equal(f->seen.kind, ERR_CANCELLED);
	/* the descriptors are still the caller's */
	assert_int_equal(write(f->left[1], "x", 1), 1);
	end(f);
}

static void test_relay(void **state)
{
	struct fixture f = { .left = { -1, -1 }, .right = { -1, -1 } };
	struct err e;

	(void)state;
	assert_ok(loop_new(&f.loop, &e), &e);
	assert_ok(fiber_main(f.loop, relay_flow, &f, &e), &e);
	loop_free(f.loop);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_budget),
		cmocka_unit_test(test_relay),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
