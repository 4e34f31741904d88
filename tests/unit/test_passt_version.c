/* SPDX-License-Identifier: Apache-2.0 */
/* What is taken from `passt --version`. */
#include "unit.h"

#include "net/passt_version.h"

static void test_version(void **state)
{
	(void)state;
	assert_true(passt_leaves_handshakes("passt unknown version\nCopyright Red Hat\n"));
	assert_true(passt_leaves_handshakes("passt 0.0~git20230309.7c7625d-1\n"));
	assert_true(passt_leaves_handshakes("passt 2023_09_21.aaaaaaa"));
	assert_false(passt_leaves_handshakes("passt 2023_09_22.aaaaaaa"));
	assert_false(passt_leaves_handshakes("passt 0.0~git20250503.587980c-2\n"));
	assert_true(passt_leaves_handshakes(""));
	assert_true(passt_leaves_handshakes(passt_version_of("", false)));
	assert_false(passt_leaves_handshakes(passt_version_of("", true)));
	assert_true(passt_leaves_handshakes(passt_version_of("passt unknown version", true)));
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_version),
	};

	return cmocka_run_group_tests_name("passt_version", tests, NULL, NULL);
}
