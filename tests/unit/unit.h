/* SPDX-License-Identifier: Apache-2.0 */
/* What every unit test includes: cmocka with its prerequisites. */
#pragma once

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/err.h"

/* Asserts success and shows the error's text otherwise. */
#define assert_ok(call, e)                                                                     \
	do {                                                                                   \
		if ((call) < 0)                                                                \
			fail_msg("%s: %s", #call, (e)->msg);                                   \
	} while (0)
#define assert_err(call, e, want)                                                              \
	do {                                                                                   \
		assert_int_equal((call), -1);                                                  \
		if ((e)->kind != (want))                                                       \
			fail_msg("%s: %s instead of %s: %s", #call, err_kind_name((e)->kind),  \
				 err_kind_name(want), (e)->msg);                               \
	} while (0)
/* Leaves the test out; the runner takes the reason from the line before. */
#define skip_because(reason)                                                                   \
	do {                                                                                   \
		print_message("# skipped: %s\n", reason);                                      \
		skip();                                                                        \
	} while (0)
