/* SPDX-License-Identifier: Apache-2.0 */
/* mountInfo.json in both of upstream's spellings, and what is wrong with it named. */
#include "unit.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/fd.h"
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

/* Whoever wrote the record, nothing but files beside direct volumes goes. */
static void test_sweep_leaves_others(void **state)
{
	char dir[] = "/tmp/test_direct_volume.XXXXXX", record[64], kept[64];
	OWN(free) char *text = NULL;
	struct err e;

	(void)state;
	assert_non_null(mkdtemp(dir));
	(void)snprintf(record, sizeof(record), "%s/marks", dir);
	(void)snprintf(kept, sizeof(kept), "%s/kept", dir);
	direct_volume_sweep(AT_FDCWD, record); /* there is none */
	assert_ok(file_replace(AT_FDCWD, kept, "", 0, 0600, false, &e), &e);
	text = str_printf("%s\n/run/kata-containers/shared/direct-volumes/../../../..%s\n"
			  "/run/kata-containers/shared/direct-volumes/bm8tc3VjaA/none\nno end",
			  kept, kept);
	assert_non_null(text);
	assert_ok(file_replace(AT_FDCWD, record, text, strlen(text), 0600, false, &e), &e);
	direct_volume_sweep(AT_FDCWD, record);
	assert_int_equal(access(kept, F_OK), 0);
	assert_int_equal(unlink(kept), 0);
	assert_int_equal(unlink(record), 0);
	assert_int_equal(rmdir(dir), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_all_of_it),
		cmocka_unit_test(test_the_other_spelling),
		cmocka_unit_test(test_wrong),
		cmocka_unit_test(test_sweep_leaves_others),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
