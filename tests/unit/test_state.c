/* SPDX-License-Identifier: Apache-2.0 */
/* The state tables: every pair of state and event, and that refusals change nothing. */
#include "unit.h"

#include <string.h>

#include "sandbox/state.h"

/* What must hold whatever the tables say, pair by pair. */
static void test_every_process_pair(void **state)
{
	(void)state;
	for (int s = 0; s < PROCESS_STATE_COUNT_; s++) {
		for (int ev = 0; ev < PROCESS_EVENT_COUNT_; ev++) {
			enum process_state at = (enum process_state)s;
			struct err e = ERR_INIT;

			if (process_step(&at, (enum process_event)ev, &e) == 0) {
				assert_int_not_equal(at, s);
				if (ev == PROCESS_EXIT)
					assert_int_equal(at, PROCESS_STOPPED);
				if (ev == PROCESS_DELETE)
					assert_int_equal(at, PROCESS_DELETED);
				assert_int_not_equal(s, PROCESS_DELETED);
			} else {
				assert_int_equal(at, s);
				assert_int_equal(e.kind, ERR_STATE);
				assert_non_null(strstr(e.msg, process_state_name(at)));
			}
		}
	}
}

static void test_running_process_cannot_be_deleted(void **state)
{
	static const enum process_state alive[] = { PROCESS_NEW, PROCESS_STARTING,
						    PROCESS_RUNNING, PROCESS_PAUSED };

	(void)state;
	for (size_t i = 0; i < sizeof(alive) / sizeof(alive[0]); i++) {
		enum process_state s = alive[i];
		struct err e;

		assert_err(process_step(&s, PROCESS_DELETE, &e), &e, ERR_STATE);
	}
}

static void test_usual_lives(void **state)
{
	static const enum process_event life[] = { PROCESS_MAKE,    PROCESS_START,
						   PROCESS_STARTED, PROCESS_PAUSE,
						   PROCESS_RESUME,  PROCESS_EXIT,
						   PROCESS_DELETE };
	static const enum sandbox_event whole[] = { SANDBOX_BOOT, SANDBOX_BOOTED, SANDBOX_STOP,
						    SANDBOX_GONE };
	enum process_state p = PROCESS_NEW;
	enum sandbox_state s = SANDBOX_NEW;
	struct err e;

	(void)state;
	for (size_t i = 0; i < sizeof(life) / sizeof(life[0]); i++)
		assert_ok(process_step(&p, life[i], &e), &e);
	assert_int_equal(p, PROCESS_DELETED);
	for (size_t i = 0; i < sizeof(whole) / sizeof(whole[0]); i++)
		assert_ok(sandbox_step(&s, whole[i], &e), &e);
	assert_int_equal(s, SANDBOX_STOPPED);
}

/* Whatever the state, a sandbox can be stopped and its machine may die. */
static void test_sandbox_always_ends(void **state)
{
	(void)state;
	for (int i = 0; i < SANDBOX_STATE_COUNT_; i++) {
		enum sandbox_state s = (enum sandbox_state)i;
		struct err e;

		assert_ok(sandbox_step(&s, SANDBOX_STOP, &e), &e);
		assert_ok(sandbox_step(&s, SANDBOX_GONE, &e), &e);
		assert_int_equal(s, SANDBOX_STOPPED);
		assert_err(sandbox_step(&s, SANDBOX_BOOT, &e), &e, ERR_STATE);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_every_process_pair),
		cmocka_unit_test(test_running_process_cannot_be_deleted),
		cmocka_unit_test(test_usual_lives),
		cmocka_unit_test(test_sandbox_always_ends),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
