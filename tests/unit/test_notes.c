/* SPDX-License-Identifier: Apache-2.0 */
/* Remarks: which are kept, and how they reach the log. */
#include "unit.h"
#include "notes.h"

#include <sys/mman.h>
#include <unistd.h>

#include "base/own.h"

static void test_bounds(void **state)
{
	OWN(oci_notes) struct oci_notes n = { 0 };
	char text[2 * OCI_NOTE_BYTES];

	(void)state;
	memset(text, 'x', sizeof(text));
	text[sizeof(text) - 1] = '\0';
	oci_note(&n, "%s", text);
	assert_int_equal(strlen(n.texts[0]), OCI_NOTE_BYTES - 1);
	for (int i = 0; i < OCI_NOTES_MAX + 2; i++)
		oci_note(&n, "remark number %d", i);
	assert_int_equal(n.count, OCI_NOTES_MAX + 3);
	assert_int_equal(n.kept, OCI_NOTES_MAX);
	assert_true(has_note(&n, "number 0"));
	oci_note(NULL, "nothing");
}

static void test_said_once(void **state)
{
	OWN(oci_notes) struct oci_notes n = { 0 };

	(void)state;
	for (int i = 0; i < 3; i++) {
		oci_note(&n, "the same");
		oci_note(&n, "another");
	}
	assert_int_equal(n.count, 2);
	oci_notes_fini(&n);
	assert_int_equal(n.count, 0);
	oci_note(&n, "the same");
	assert_int_equal(n.count, 1);
}

static void logged(const struct oci_notes *n, char *out, size_t size)
{
	OWN(fd) int fd = memfd_create("log", MFD_CLOEXEC);
	ssize_t len;

	assert_true(fd >= 0);
	log_setup(&(struct log_config){
		.level = LOG_INFO, .fd = fd, .plain = true, .source = "t" });
	oci_notes_log(n, LOG_WARN, NULL, "things of '%s'", "x");
	log_setup(&(struct log_config){ .fd = -1 });
	len = pread(fd, out, size - 1, 0);
	assert_true(len >= 0);
	out[len] = '\0';
}

static void test_log(void **state)
{
	OWN(oci_notes) struct oci_notes n = { 0 };
	char text[500];

	(void)state;
	logged(NULL, text, sizeof(text));
	assert_string_equal(text, "");
	logged(&n, text, sizeof(text));
	assert_string_equal(text, "");
	oci_note(&n, "a; b");
	oci_note(&n, "c");
	logged(&n, text, sizeof(text));
	assert_string_equal(text, "t: things of 'x': a; b\nt: things of 'x': c\n");
	n.count += 3;
	logged(&n, text, sizeof(text));
	assert_string_equal(text, "t: things of 'x': a; b\nt: things of 'x': c\n"
				  "t: things of 'x': 3 more remarks\n");
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_bounds),
		cmocka_unit_test(test_said_once),
		cmocka_unit_test(test_log),
	};

	return cmocka_run_group_tests_name("notes", tests, NULL, NULL);
}
