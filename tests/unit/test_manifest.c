/* SPDX-License-Identifier: Apache-2.0 */
/* The documents of image archives, and digests. */
#include "unit.h"

#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "base/own.h"
#include "image/digest.h"
#include "image/manifest.h"

#define HEX    "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
#define DIGEST "\"sha256:" HEX "\""

static int setup(void **state)
{
	static struct arena a;

	arena_init(&a, MANIFEST_ARENA);
	*state = &a;
	return 0;
}

static int teardown(void **state)
{
	arena_fini(*state);
	return 0;
}

static void test_docker(void **state)
{
	static const char text[] = "[{\"Config\":\"c.json\",\"RepoTags\":[\"a:1\",\"b:2\"],"
				   "\"Layers\":[\"x/layer.tar\",\"y\"],\"Other\":{}},"
				   "{\"Config\":\"d\",\"RepoTags\":null,\"Layers\":[]}]";
	struct docker_image *v;
	struct err e = ERR_INIT;
	size_t n;

	assert_ok(manifest_parse_docker(*state, text, strlen(text), &v, &n, &e), &e);
	assert_int_equal(n, 2);
	assert_string_equal(v[0].config, "c.json");
	assert_int_equal(v[0].tags.n, 2);
	assert_string_equal(v[0].tags.v[1], "b:2");
	assert_null(v[0].tags.v[2]);
	assert_string_equal(v[0].layers.v[0], "x/layer.tar");
	assert_int_equal(v[1].tags.n, 0);
}

static void test_docker_refused(void **state)
{
	static const char *const bad[] = {
		"",
		"null",
		"{}",
		"[]",
		"[null]",
		"[{}]",
		"[{\"Config\":\"\",\"Layers\":[]}]",
		"[{\"Config\":5,\"Layers\":[]}]",
		"[{\"Config\":\"c\",\"Layers\":[5]}]",
		"[{\"Config\":\"c\",\"Layers\":{}}]",
		"[{\"Config\":\"c\",\"Layers\":[\"\"]}]",
		"[{\"Config\":\"c\\u0000d\",\"Layers\":[]}]",
		"[{\"Config\":\"c\",\"RepoTags\":\"a\",\"Layers\":[]}]",
		"[{\"Config\":\"c\",\"Layers\":[]}] x",
	};

	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		struct docker_image *v = NULL;
		struct err e = ERR_INIT;
		size_t n = 77;

		if (manifest_parse_docker(*state, bad[i], strlen(bad[i]), &v, &n, &e) == 0)
			fail_msg("accepted: %s", bad[i]);
		assert_int_equal(e.kind, ERR_INVALID);
		assert_non_null(strstr(e.msg, "manifest.json"));
		assert_null(v);
		assert_int_equal(n, 77);
	}
}

static void test_index(void **state)
{
	static const char text[] =
		"{\"schemaVersion\":2,\"manifests\":["
		"{\"mediaType\":\"application/vnd.oci.image.manifest.v1+json\",\"digest\":" DIGEST
		",\"size\":5,\"platform\":{\"os\":\"linux\",\"architecture\":\"amd64\"},"
		"\"annotations\":{\"org.opencontainers.image.ref.name\":\"a:1\"}},"
		"{\"mediaType\":\"application/vnd.docker.distribution.manifest.list.v2+json\","
		"\"digest\":" DIGEST ",\"size\":6},"
		"{\"digest\":" DIGEST ",\"size\":7,\"platform\":{\"os\":\"unknown\","
		"\"architecture\":\"unknown\"}}]}";
	struct descriptor_list l;
	struct err e = ERR_INIT;

	assert_ok(manifest_parse_index(*state, text, strlen(text), "i", &l, &e), &e);
	assert_int_equal(l.n, 3);
	assert_int_equal(l.v[0].kind, DESCRIPTOR_MANIFEST);
	assert_int_equal(l.v[0].size, 5);
	assert_string_equal(l.v[0].arch, "amd64");
	assert_string_equal(l.v[0].ref_name, "a:1");
	assert_string_equal(l.v[0].image_name, "");
	assert_false(l.v[0].attestation);
	assert_int_equal(l.v[1].kind, DESCRIPTOR_INDEX);
	assert_int_equal(l.v[2].kind, DESCRIPTOR_OTHER);
	assert_true(l.v[2].attestation);
}

static void test_index_refused(void **state)
{
	static const struct {
		const char *text;
		enum err_kind kind;
	} rows[] = {
		{ "[]", ERR_INVALID },
		{ "{\"schemaVersion\":1,\"manifests\":[]}", ERR_INVALID },
		{ "{\"schemaVersion\":2}", ERR_INVALID },
		{ "{\"schemaVersion\":2,\"manifests\":[5]}", ERR_INVALID },
		{ "{\"schemaVersion\":2,\"manifests\":[{\"digest\":" DIGEST "}]}",
		  ERR_INVALID },
		{ "{\"schemaVersion\":2,\"manifests\":[{\"digest\":" DIGEST ",\"size\":-1}]}",
		  ERR_INVALID },
		{ "{\"schemaVersion\":2,\"manifests\":[{\"digest\":\"sha256:../../x\",\"size\":1}]}",
		  ERR_INVALID },
		{ "{\"schemaVersion\":2,\"manifests\":[{\"digest\":\"md5:00\",\"size\":1}]}",
		  ERR_UNSUPPORTED },
	};

	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct descriptor_list l;
		struct err e = ERR_INIT;

		assert_err(manifest_parse_index(*state, rows[i].text, strlen(rows[i].text), "i",
						&l, &e),
			   &e, rows[i].kind);
	}
}

static void test_artifact_is_no_image(void **state)
{
	static const char text[] =
		"{\"schemaVersion\":2,\"config\":{\"mediaType\":\"application/vnd.cncf.helm\","
		"\"digest\":" DIGEST ",\"size\":1},\"layers\":[]}";
	struct oci_manifest m;
	struct err e = ERR_INIT;

	assert_ok(manifest_parse_oci(*state, text, strlen(text), "m", &m, &e), &e);
	assert_string_equal(m.artifact, "application/vnd.cncf.helm");
	assert_int_equal(m.layers.n, 0);
}

/* cosign's signatures have the type of an image's configuration. */
static void test_layers_tell_an_artifact(void **state)
{
#define LAYER(type) "{\"mediaType\":\"" type "\",\"digest\":" DIGEST ",\"size\":1}"
	static const char cosign[] = "application/vnd.dev.cosign.simplesigning.v1+json";
	static const struct {
		const char *layers, *artifact;
	} rows[] = {
		{ LAYER("application/vnd.dev.cosign.simplesigning.v1+json"), cosign },
		{ LAYER("application/vnd.oci.image.layer.v1.tar+gzip"), NULL },
		{ LAYER("application/vnd.docker.image.rootfs.diff.tar.gzip"), NULL },
		{ LAYER("application/x-other") "," LAYER(
			  "application/vnd.oci.image.layer.v1.tar"),
		  NULL },
		{ LAYER(""), NULL },
		{ "", NULL },
	};

	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct oci_manifest m;
		struct err e = ERR_INIT;
		char text[1024];

		(void)snprintf(text, sizeof(text),
			       "{\"schemaVersion\":2,\"config\":{\"mediaType\":\"application/"
			       "vnd.oci.image.config.v1+json\",\"digest\":" DIGEST
			       ",\"size\":1},\"layers\":[%s]}",
			       rows[i].layers);
		assert_ok(manifest_parse_oci(*state, text, strlen(text), "m", &m, &e), &e);
		if (rows[i].artifact)
			assert_string_equal(m.artifact, rows[i].artifact);
		else
			assert_null(m.artifact);
	}
}

static void test_config(void **state)
{
	static const char text[] =
		"{\"os\":\"linux\",\"architecture\":\"amd64\",\"created\":\"2020-01-01T00:00:00Z\","
		"\"config\":{\"Env\":[\"A=1\"],\"Cmd\":null,\"Entrypoint\":[\"/e\",\"x\"],"
		"\"User\":\"1:2\",\"WorkingDir\":\"/w\",\"ExposedPorts\":{\"80/tcp\":{}},"
		"\"Labels\":{\"k\":\"v\"},\"StopSignal\":\"SIGINT\"},"
		"\"rootfs\":{\"type\":\"layers\",\"diff_ids\":[" DIGEST "]}}";
	struct image_config c;
	struct err e = ERR_INIT;
	char hex[DIGEST_HEX_SIZE];

	assert_ok(manifest_parse_config(*state, text, strlen(text), "c", &c, &e), &e);
	assert_string_equal(c.env.v[0], "A=1");
	assert_int_equal(c.cmd.n, 0);
	assert_null(c.cmd.v[0]);
	assert_string_equal(c.entrypoint.v[1], "x");
	assert_string_equal(c.user, "1:2");
	assert_string_equal(c.exposed_ports.v[0], "80/tcp");
	assert_string_equal(c.labels[0].value, "v");
	assert_string_equal(c.stop_signal, "SIGINT");
	assert_int_equal(c.n_diff_ids, 1);
	digest_hex(&c.diff_ids[0], hex);
	assert_string_equal(hex, HEX);
}

static void test_config_minimal_and_refused(void **state)
{
	static const char *const bad[] = {
		"{}",
		"{\"rootfs\":{\"diff_ids\":[\"\"]}}",
		"{\"rootfs\":{\"diff_ids\":{}}}",
		"{\"config\":[],\"rootfs\":{\"diff_ids\":[]}}",
		"{\"config\":{\"Labels\":{\"k\":1}},\"rootfs\":{\"diff_ids\":[]}}",
		"{\"config\":{\"Env\":[null]},\"rootfs\":{\"diff_ids\":[]}}",
		"{\"os\":1,\"rootfs\":{\"diff_ids\":[]}}",
	};
	static const char least[] = "{\"rootfs\":{}}";
	struct image_config c;
	struct err e = ERR_INIT;

	assert_ok(manifest_parse_config(*state, least, strlen(least), "c", &c, &e), &e);
	assert_string_equal(c.arch, "");
	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		if (manifest_parse_config(*state, bad[i], strlen(bad[i]), "c", &c, &e) == 0)
			fail_msg("accepted: %s", bad[i]);
		assert_int_equal(e.kind, ERR_INVALID);
	}
}

static void test_digest(void **state)
{
	/* FIPS 180-4's "abc" */
	static const char abc[] =
		"sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
	struct digest d, parsed, chain;
	struct err e = ERR_INIT;
	char text[DIGEST_TEXT_SIZE];

	digest_of("abc", 3, &d);
	digest_text(&d, text);
	assert_string_equal(text, abc);
	assert_ok(digest_parse(abc, "it", &parsed, &e), &e);
	assert_true(digest_eq(&d, &parsed));
	assert_err(digest_parse("sha256:BA78", "it", &parsed, &e), &e, ERR_INVALID);
	assert_err(digest_parse("sha1:00", "it", &parsed, &e), &e, ERR_UNSUPPORTED);
	digest_chain(NULL, &d, &chain);
	assert_true(digest_eq(&d, &chain));
	/* sha256 of the two texts with a space between */
	digest_chain(&d, &d, &chain);
	digest_text(&chain, text);
	assert_string_equal(
		text,
		"sha256:95bbd0d1bf2f6edd073d53e1caa6d4b4778912f6b19bad7a45d56c58e23533bd");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_docker, setup, teardown),
		cmocka_unit_test_setup_teardown(test_docker_refused, setup, teardown),
		cmocka_unit_test_setup_teardown(test_index, setup, teardown),
		cmocka_unit_test_setup_teardown(test_index_refused, setup, teardown),
		cmocka_unit_test_setup_teardown(test_artifact_is_no_image, setup, teardown),
		cmocka_unit_test_setup_teardown(test_layers_tell_an_artifact, setup, teardown),
		cmocka_unit_test_setup_teardown(test_config, setup, teardown),
		cmocka_unit_test_setup_teardown(test_config_minimal_and_refused, setup,
						teardown),
		cmocka_unit_test(test_digest),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
