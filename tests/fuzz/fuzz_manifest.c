/* SPDX-License-Identifier: Apache-2.0 */
/* The JSON documents of image archives: every parser over the same bytes. */
#include "fuzz.h"

#include <string.h>

#include "base/err.h"
#include "base/mem.h"
#include "base/own.h"
#include "image/manifest.h"

static void check_list(const struct string_list *l)
{
	for (size_t i = 0; i < l->n; i++)
		FUZZ_CHECK(l->v[i] && strlen(l->v[i]) <= MANIFEST_MAX_BYTES);
	FUZZ_CHECK(!l->v[l->n]);
}

static void check_config(const struct image_config *c)
{
	check_list(&c->env);
	check_list(&c->cmd);
	check_list(&c->entrypoint);
	check_list(&c->exposed_ports);
	check_list(&c->volumes);
	FUZZ_CHECK(c->n_diff_ids <= MANIFEST_MAX_LAYERS);
	for (size_t i = 0; i < c->n_labels; i++)
		FUZZ_CHECK(c->labels[i].key && c->labels[i].value);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	OWN(arena) struct arena a = { 0 };
	OWN(free) char *text = mem_dup(data, size);
	struct docker_image *images;
	struct descriptor_list list;
	struct oci_manifest manifest;
	struct image_config config;
	struct err e = ERR_INIT;
	size_t n;

	FUZZ_CHECK(text);
	arena_init(&a, MANIFEST_ARENA);
	if (manifest_parse_docker(&a, text, size, &images, &n, &e) == 0) {
		FUZZ_CHECK(n > 0 && n <= MANIFEST_MAX_IMAGES);
		for (size_t i = 0; i < n; i++) {
			check_list(&images[i].tags);
			check_list(&images[i].layers);
		}
	}
	if (manifest_parse_index(&a, text, size, "index", &list, &e) == 0)
		FUZZ_CHECK(list.n <= MANIFEST_MAX_IMAGES);
	if (manifest_parse_oci(&a, text, size, "manifest", &manifest, &e) == 0)
		FUZZ_CHECK(manifest.layers.n <= MANIFEST_MAX_LAYERS);
	if (manifest_parse_config(&a, text, size, "config", &config, &e) == 0)
		check_config(&config);
	return 0;
}
