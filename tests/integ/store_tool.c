/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The image store by hand, for tests/integ/test_image.py: one call of image/store.h per run,
 * results as lines on stdout, failures as "<KIND>: <message>" on stderr and exit status 1.
 *
 *   store_tool ROOT UNPACKER load PATH [NAME] | find NAME | list | rmi NAME [force]
 *                            | lease CONTAINER ID | unlease CONTAINER
 *
 * STORE_TOOL_STALL_MS in the environment is how long `load` waits for the next data.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/own.h"
#include "base/str.h"
#include "image/store.h"

enum {
	STALL_MS = 20000
};

static void on_progress(void *arg, const struct load_progress *p)
{
	/* one line per step, not per piece */
	if (p->done == 0)
		printf("phase %d %zu/%zu total %llu\n", (int)p->phase, p->index, p->count,
		       (unsigned long long)p->total);
	(void)fflush(stdout);
}

static int stall_ms(int64_t *out, struct err *e)
{
	const char *text = getenv("STORE_TOOL_STALL_MS");
	uint64_t ms = STALL_MS;

	if (text && str_to_u64(text, 1, STALL_MS, "STORE_TOOL_STALL_MS", &ms, e) < 0)
		return -1;
	*out = (int64_t)ms;
	return 0;
}

static int tool_load(struct store *s, char **argv, struct err *e)
{
	struct load_options o = { .name = argv[1], .progress = on_progress };
	OWN(load_result) struct load_result r = { .n = 0 };

	if (stall_ms(&o.stall_ms, e) < 0 || store_load_path(s, argv[0], &o, &r, e) < 0)
		return -1;
	if (r.left_mounts || r.left_sockets || r.left_store)
		printf("left out: %llu mounts, %llu sockets%s\n",
		       (unsigned long long)r.left_mounts, (unsigned long long)r.left_sockets,
		       r.left_store ? ", the store" : "");
	for (size_t i = 0; i < r.n; i++) {
		printf("loaded %s", r.images[i].id);
		for (size_t n = 0; n < r.images[i].refs.n; n++)
			printf(" %s", r.images[i].refs.v[n]);
		printf("\n");
	}
	return 0;
}

static void print_list(const char *key, const struct string_list *l)
{
	for (size_t i = 0; i < l->n; i++)
		printf("%s=%s\n", key, l->v[i]);
}

static int print_image(void *arg, const struct image *image)
{
	const struct image_config *c = &image->config;

	printf("id=%s\nmanifest=%s\nsize=%llu\nuser=%s\nworkdir=%s\nstop=%s\n", image->id,
	       image->manifest, (unsigned long long)image->size, c->user, c->working_dir,
	       c->stop_signal);
	print_list("ref", &image->refs);
	print_list("env", &c->env);
	print_list("entrypoint", &c->entrypoint);
	print_list("cmd", &c->cmd);
	print_list("port", &c->exposed_ports);
	print_list("volume", &c->volumes);
	print_list("layer", &image->layers);
	for (size_t i = 0; i < c->n_labels; i++)
		printf("label=%s:%s\n", c->labels[i].key, c->labels[i].value);
	return 0;
}

static int tool_find(struct store *s, char **argv, struct err *e)
{
	OWN(image) struct image *image = NULL;

	if (store_find(s, argv[0], &image, e) < 0)
		return -1;
	return print_image(NULL, image);
}

static int tool_list(struct store *s, char **argv, struct err *e)
{
	return store_list(s, print_image, NULL, e);
}

static int tool_rmi(struct store *s, char **argv, struct err *e)
{
	OWN(remove_result) struct remove_result r = { .deleted = false };

	if (store_remove(s, argv[0], argv[1] != NULL, &r, e) < 0)
		return -1;
	for (size_t i = 0; i < r.untagged.n; i++)
		printf("untagged %s\n", r.untagged.v[i]);
	if (r.deleted)
		printf("deleted %s\n", r.id);
	return 0;
}

static int tool_lease(struct store *s, char **argv, struct err *e)
{
	return store_lease(s, argv[0], argv[1], e);
}

static int tool_unlease(struct store *s, char **argv, struct err *e)
{
	return store_unlease(s, argv[0], e);
}

static const struct verb {
	const char *name;
	int min_args;
	int (*run)(struct store *s, char **argv, struct err *e);
} verbs[] = {
	{ "load", 1, tool_load }, { "find", 1, tool_find },   { "list", 0, tool_list },
	{ "rmi", 1, tool_rmi },   { "lease", 2, tool_lease }, { "unlease", 1, tool_unlease },
};

static int run(int argc, char **argv, struct err *e)
{
	struct store_config config = { .root = argv[1], .unpacker = argv[2] };
	OWN(store) struct store *s = NULL;

	for (size_t i = 0; i < ARRAY_LEN(verbs); i++) {
		if (strcmp(verbs[i].name, argv[3]) != 0 || argc - 4 < verbs[i].min_args)
			continue;
		if (store_open(&config, &s, e) < 0)
			return -1;
		return verbs[i].run(s, argv + 4, e);
	}
	return err_set(e, ERR_INVALID, 0, "no verb '%s' with so few arguments", argv[3]);
}

int main(int argc, char **argv)
{
	struct err e = ERR_INIT;

	if (argc < 4) {
		(void)fprintf(stderr, "usage: store_tool ROOT UNPACKER VERB ...\n");
		return 2;
	}
	if (run(argc, argv, &e) == 0)
		return 0;
	(void)fprintf(stderr, "%s: %s\n", err_kind_name(e.kind), e.msg);
	return 1;
}
