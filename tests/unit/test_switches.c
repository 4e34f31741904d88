/* SPDX-License-Identifier: Apache-2.0 */
/* The agent's watch of context switches, on this machine's own processors. */
#include "unit.h"

#include <signal.h>
#include <stdbool.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "agent/switches.h"
#include "base/err.h"
#include "base/own.h"
#include "base/time.h"

enum {
	GUARD_MS = 20000,
	QUIET_MS = 200,
	ROUNDS = 3
};

struct fixture {
	struct switches switches;
	struct loop *loop;
	struct timer guard;
	unsigned calls;
};

static void on_guard(struct timer *t)
{
	struct fixture *f = container_of(t, struct fixture, guard);

	loop_stop(f->loop);
}

static void on_some(struct switches *w)
{
	struct fixture *f = container_of(w, struct fixture, switches);

	f->calls++;
	loop_stop(f->loop);
}

/* Two processes that hand a byte there and back: two switches each time. */
static pid_t start_switching(void)
{
	int there[2], back[2];
	pid_t pid;
	char c = 0;

	assert_int_equal(pipe(there), 0);
	assert_int_equal(pipe(back), 0);
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		pid_t other = fork();

		if (other == 0)
			(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
		while (other == 0 ? read(there[0], &c, 1) == 1 && write(back[1], &c, 1) == 1
				  : write(there[1], &c, 1) == 1 && read(back[0], &c, 1) == 1)
			;
		_exit(0);
	}
	for (int i = 0; i < 2; i++) {
		(void)close(there[i]);
		(void)close(back[i]);
	}
	return pid;
}

/* Whether on_some() was called before the guard. */
static bool is_told(struct fixture *f, int ms)
{
	unsigned before = f->calls;
	struct err e;

	timer_set(f->loop, &f->guard, deadline_in(ms));
	assert_ok(loop_run(f->loop, &e), &e);
	return f->calls > before;
}

static void test_tells_once_a_wait(void **state)
{
	OWN(loop) struct loop *loop = NULL;
	struct fixture f = { .guard.fire = on_guard };
	struct err e;
	pid_t pid;

	assert_ok(loop_new(&loop, &e), &e);
	f.loop = loop;
	if (switches_start(&f.switches, loop, on_some, &e) < 0) {
		assert_int_equal(e.kind, ERR_UNSUPPORTED);
		assert_null(f.switches.cpus);
		skip_because(e.msg);
	}
	pid = start_switching();
	for (unsigned i = 1; i <= ROUNDS; i++) {
		assert_true(is_told(&f, GUARD_MS));
		assert_false(is_told(&f, QUIET_MS)); /* however much happens */
		assert_int_equal(f.calls, i);
		assert_ok(switches_more(&f.switches, &e), &e);
		assert_ok(switches_wait(&f.switches, &e), &e);
	}
	(void)kill(pid, SIGKILL);
	assert_int_equal(waitpid(pid, NULL, 0), pid);
	timer_clear(&f.guard);
	switches_stop(&f.switches);
	switches_stop(&f.switches);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_tells_once_a_wait),
	};

	return cmocka_run_group_tests_name("switches", tests, NULL, NULL);
}
