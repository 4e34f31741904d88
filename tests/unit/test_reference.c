/* SPDX-License-Identifier: Apache-2.0 */
/* Image references: Docker's normalisation, and what is refused. */
#include "unit.h"

#include <stdio.h>
#include <string.h>

#include "base/own.h"
#include "image/reference.h"

#define HEX "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

static void test_normalised(void **state)
{
	static const struct {
		const char *in;
		const char *out;
		const char *familiar;
	} rows[] = {
		{ "busybox", "docker.io/library/busybox:latest", "busybox:latest" },
		{ "busybox:1.36", "docker.io/library/busybox:1.36", "busybox:1.36" },
		{ "foo/bar:1", "docker.io/foo/bar:1", "foo/bar:1" },
		{ "docker.io/busybox", "docker.io/library/busybox:latest", "busybox:latest" },
		{ "index.docker.io/a/b", "docker.io/a/b:latest", "a/b:latest" },
		{ "docker.io/library/a/b", "docker.io/library/a/b:latest",
		  "library/a/b:latest" },
		{ "localhost/x", "localhost/x:latest", "localhost/x:latest" },
		{ "localhost:5000/x:y", "localhost:5000/x:y", "localhost:5000/x:y" },
		{ "host:5000/x@sha256:" HEX, "host:5000/x@sha256:" HEX,
		  "host:5000/x@sha256:" HEX },
		{ "x:tag@sha256:" HEX, "docker.io/library/x@sha256:" HEX, "x@sha256:" HEX },
		{ "UPPER/x", "UPPER/x:latest", "UPPER/x:latest" },
		{ "[::1]:5000/x", "[::1]:5000/x:latest", "[::1]:5000/x:latest" },
		{ "a.b-c__d---e/f_g", "a.b-c__d---e/f_g:latest", NULL },
		{ "x:_A.b-C", "docker.io/library/x:_A.b-C", "x:_A.b-C" },
		{ "docker.io/a.b/c", "docker.io/a.b/c:latest", "docker.io/a.b/c:latest" },
		{ "docker.io/library/" HEX, "docker.io/library/" HEX ":latest",
		  "library/" HEX ":latest" },
		{ "myhost/x", "docker.io/myhost/x:latest", "myhost/x:latest" },
	};

	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		char text[REF_TEXT_SIZE];
		struct reference r;
		struct err e = ERR_INIT;

		if (!rows[i].familiar) { /* a host may not hold underscores */
			assert_err(reference_parse(rows[i].in, &r, &e), &e, ERR_INVALID);
			continue;
		}
		assert_ok(reference_parse(rows[i].in, &r, &e), &e);
		reference_text(&r, text);
		assert_string_equal(text, rows[i].out);
		assert_string_equal(reference_familiar(text), rows[i].familiar);
	}
}

static void test_refused(void **state)
{
	static const char *const bad[] = {
		"",
		":",
		"@",
		"/",
		"a/",
		"/a",
		"a//b",
		"UPPER",
		"a/UPPER",
		"a:",
		"a:-x",
		"a:.x",
		"a:b:c",
		"a b",
		"a\nb",
		"..",
		"../x",
		"a..b",
		"a___b",
		"-a",
		"a-",
		"a_",
		"a@",
		"a@sha256:12",
		/* texts in pieces: no comma is missing */
		("a@sha512:" HEX HEX),
		("a@sha256:" HEX "0"),
		("a@sha256:" HEX "@x"),
		HEX,
		"host:port/x",
		"-host.x/y",
		"host..x/y",
		"[::1/x",
		"[]:5/x",
		"a.b:5000",
		"h\xc3\xa9/x",
		"x:\xc3\xa9",
	};
	static const char before[] = "untouched";

	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		struct reference r = { .tag = "" };
		struct err e = ERR_INIT;

		memcpy(r.repository, before, sizeof(before));
		if (strcmp(bad[i], "a.b:5000") == 0) { /* no slash: a name and a tag */
			assert_ok(reference_parse(bad[i], &r, &e), &e);
			continue;
		}
		if (reference_parse(bad[i], &r, &e) == 0)
			fail_msg("'%s' was accepted as %s:%s", bad[i], r.repository, r.tag);
		assert_int_equal(e.kind, ERR_INVALID);
		assert_non_null(strstr(e.msg, "image reference '"));
		assert_string_equal(r.repository, before);
	}
}

static void test_lengths(void **state)
{
	char text[700], tag[200];
	struct reference r;
	struct err e = ERR_INIT;

	memset(text, 'a', sizeof(text));
	/* "docker.io/library/" takes 18 of 255 */
	text[255 - 18] = '\0';
	assert_ok(reference_parse(text, &r, &e), &e);
	assert_int_equal(strlen(r.repository), REF_REPOSITORY_MAX);
	text[255 - 18] = 'a';
	text[255 - 18 + 1] = '\0';
	assert_err(reference_parse(text, &r, &e), &e, ERR_INVALID);
	memset(tag, 't', sizeof(tag));
	memcpy(tag, "x:", 2);
	tag[2 + 128] = '\0';
	assert_ok(reference_parse(tag, &r, &e), &e);
	tag[2 + 128] = 't';
	tag[2 + 129] = '\0';
	assert_err(reference_parse(tag, &r, &e), &e, ERR_INVALID);
}

static void test_tagged(void **state)
{
	char text[REF_TEXT_SIZE];
	struct err e = ERR_INIT;

	assert_ok(reference_tagged_text("a", text, &e), &e);
	assert_string_equal(text, "docker.io/library/a:latest");
	assert_err(reference_tagged_text("a@sha256:" HEX, text, &e), &e, ERR_INVALID);
}

static void test_ids(void **state)
{
	const char *hex = NULL;

	assert_true(reference_is_id_prefix("abc123", &hex));
	assert_string_equal(hex, "abc123");
	assert_true(reference_is_id_prefix("sha256:" HEX, &hex));
	assert_string_equal(hex, HEX);
	assert_false(reference_is_id_prefix("", NULL));
	assert_false(reference_is_id_prefix("sha256:", NULL));
	assert_false(reference_is_id_prefix("ABC", NULL));
	assert_false(reference_is_id_prefix("busybox", NULL));
	assert_false(reference_is_id_prefix(HEX "0", NULL));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_normalised), cmocka_unit_test(test_refused),
		cmocka_unit_test(test_lengths),    cmocka_unit_test(test_tagged),
		cmocka_unit_test(test_ids),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
