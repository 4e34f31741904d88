/* SPDX-License-Identifier: Apache-2.0 */
/* mountInfo.json in both of upstream's spellings, and what is wrong with it named. */
#include "unit.h"

#include <string.h>

#include "base/own.h"
#include "sandbox/direct_volume.h"

static int parse(const char *text, struct direct_volume *out, struct err *e)
{
	return direct_volume_parse(text, strlen(text), out, e);
}

static void test_all_of_it(void **state)
{
	struct direct_volume v;
	struct err e;

	(void)state;
	assert_ok(parse("{\"volume-type\":\"block\",\"device\":\"/dev/sdz\",\"fstype\":\"xfs\","
			"\"options\":[\"ro\",\"noatime\"],\"metadata\":{\"fsGroup\":\"77\","
			"\"fsGroupChangePolicy\":\"OnRootMismatch\",\"other\":\"x\"}}",
			&v, &e),
		  &e);
	assert_string_equal(v.device, "/dev/sdz");
	assert_string_equal(v.fstype, "xfs");
	assert_int_equal(v.options.n, 2);
	assert_string_equal(v.options.v[1], "noatime");
	assert_true(v.has_group && v.on_root_mismatch && v.group == 77);
	direct_volume_fini(&v);
}

static void test_the_other_spelling(void **state)
{
	struct direct_volume v;
	struct err e;

	(void)state;
	assert_ok(parse("{\"volume_type\":\"directvol\",\"device\":\"/d\",\"fs_type\":\"ext4\","
			"\"metadata\":null,\"options\":null}",
			&v, &e),
		  &e);
	assert_true(v.options.n == 0 && !v.has_group);
	direct_volume_fini(&v);
}

static void test_wrong(void **state)
{
#define GOOD "\"volume-type\":\"block\",\"device\":\"/d\",\"fstype\":\"ext4\""
	static const struct {
		const char *text, *word;
		enum err_kind kind;
	} cases[] = {
		{ "", "", ERR_INVALID },
		{ "[]", "volume-type", ERR_INVALID },
		{ "{\"volume-type\":\"spdkvol\"}", "spdkvol", ERR_UNSUPPORTED },
		{ "{\"volume-type\":\"block\",\"device\":\"d\",\"fstype\":\"ext4\"}",
		  "absolute", ERR_INVALID },
		{ "{\"volume-type\":\"block\",\"device\":\"/d\"}", "fstype", ERR_INVALID },
		{ "{\"volume-type\":\"block\",\"device\":\"/a\\u0000b\",\"fstype\":\"ext4\"}",
		  "device", ERR_INVALID },
		{ "{" GOOD ",\"options\":\"ro\"}", "options", ERR_INVALID },
		{ "{" GOOD ",\"options\":[1]}", "options[0]", ERR_INVALID },
		{ "{" GOOD ",\"metadata\":[]}", "metadata", ERR_INVALID },
		{ "{" GOOD ",\"metadata\":{\"fsGroup\":7}}", "fsGroup", ERR_INVALID },
		{ "{" GOOD ",\"metadata\":{\"fsGroup\":\"-1\"}}", "fsGroup", ERR_INVALID },
		{ "{" GOOD ",\"metadata\":{\"fsGroup\":\"4294967295\"}}", "fsGroup",
		  ERR_INVALID },
		{ "{" GOOD ",\"metadata\":{\"fsGroupChangePolicy\":\"Never\"}}", "Never",
		  ERR_INVALID },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct direct_volume v;
		struct err e;

		assert_err(parse(cases[i].text, &v, &e), &e, cases[i].kind);
		assert_non_null(strstr(e.msg, cases[i].word));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_all_of_it),
		cmocka_unit_test(test_the_other_spelling),
		cmocka_unit_test(test_wrong),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
