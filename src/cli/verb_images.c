/* SPDX-License-Identifier: Apache-2.0 */
/* kata load, images, rmi: the image store. */
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "base/err.h"
#include "base/own.h"
#include "base/str.h"
#include "base/time.h"
#include "cli/cli.h"
#include "cli/table.h"
#include "event/signal.h"
#include "image/reference.h"
#include "image/store.h"

enum {
	SHORT_ID = 12
};

/* "sha256:" and the first digits: what people type. */
static const char *short_id(const char *id)
{
	const char *colon = strchr(id, ':');

	return colon ? colon + 1 : id;
}

/* ---- load ---- */

struct load_opts {
	const char *name;
	bool quiet;
};

static const struct arg_option load_options[] = {
	{ "name", 0, ARG_STRING, offsetof(struct load_opts, name), "NAME",
	  "name of the image; a root file system needs one (mounts below it stay out)" },
	{ "quiet", 'q', ARG_FLAG, offsetof(struct load_opts, quiet), NULL, "show no progress" },
};

static void show_progress(void *arg, const struct load_progress *p)
{
	static const char *const phase[] = { "reading", "layer", "storing" };
	int64_t *last = arg, now = time_mono_ms();

	if (now - *last < 100 && p->done != p->total)
		return;
	*last = now;
	(void)fprintf(stderr, "\r\033[K%s", phase[p->phase]);
	if (p->phase == LOAD_LAYER)
		(void)fprintf(stderr, " %zu/%zu", p->index, p->count);
	if (p->total)
		(void)fprintf(stderr, " %3" PRIu64 "%%", p->done * 100 / p->total);
	else
		(void)fprintf(stderr, " %" PRIu64 " MB", p->done >> 20);
}

/* Signals that end it: as a descriptor, so that what was unpacked is removed first. */
static int watch_end(sigset_t *set, int *out, struct err *e)
{
	static const int ends[] = { SIGINT, SIGTERM, SIGHUP };

	(void)sigemptyset(set);
	for (size_t i = 0; i < ARRAY_LEN(ends); i++) {
		if (!signal_is_ignored(ends[i]))
			(void)sigaddset(set, ends[i]);
	}
	if (sigprocmask(SIG_BLOCK, set, NULL) < 0)
		return err_sys(e, "block signals");
	*out = signalfd(-1, set, SFD_CLOEXEC);
	return *out < 0 ? err_sys(e, "signalfd") : 0;
}

/* A signal that waits ends this process as it would have at first. */
static void end_by_signal(const sigset_t *set)
{
	(void)sigprocmask(SIG_UNBLOCK, set, NULL);
}

static int open_source(const char **path, int argc, char **argv, int first, struct err *e)
{
	*path = first < argc ? argv[first] : "-";
	if (str_eq(*path, "-") && isatty(STDIN_FILENO))
		return err_set(e, ERR_INVALID, 0,
			       "load: standard input is a terminal; name a file, or send an "
			       "archive into it");
	return 0;
}

/* Nobody expects less than what is there. */
static void say_left_out(const struct load_result *r)
{
	if (r->left_mounts)
		(void)fprintf(stderr,
			      "kata: left out: what %" PRIu64 " file system%s mounted in the "
			      "directory hold%s\n",
			      r->left_mounts, r->left_mounts == 1 ? "" : "s",
			      r->left_mounts == 1 ? "s" : "");
	if (r->left_sockets)
		(void)fprintf(stderr, "kata: left out: %" PRIu64 " socket%s\n", r->left_sockets,
			      r->left_sockets == 1 ? "" : "s");
	if (r->left_store)
		(void)fprintf(stderr, "kata: left out: what is in the image store itself\n");
}

static int run_load(struct cli *cli, int argc, char **argv, struct err *e)
{
	OWN(store) struct store *st = NULL;
	OWN(load_result) struct load_result result = { 0 };
	struct load_opts o = { 0 };
	struct load_options lo = { 0 };
	OWN(fd) int end_fd = -1;
	int64_t last = 0;
	const char *path;
	sigset_t ends;
	bool shown;
	int first, rc;

	if (verb_parse(&verb_load, argc, argv, &o, &first, 0, 1, e) < 0 ||
	    open_source(&path, argc, argv, first, e) < 0 || cli_open_store(cli, &st, e) < 0 ||
	    watch_end(&ends, &end_fd, e) < 0)
		return -1;
	shown = !o.quiet && isatty(STDERR_FILENO);
	lo.name = o.name;
	lo.progress = shown ? show_progress : NULL;
	lo.progress_arg = &last;
	store_stop_on(st, end_fd);
	rc = store_load_path(st, path, &lo, &result, e);
	if (shown)
		(void)fprintf(stderr, "\r\033[K");
	if (rc < 0) {
		end_by_signal(&ends);
		return -1;
	}
	say_left_out(&result);
	for (size_t i = 0; i < result.n; i++) {
		for (size_t j = 0; j < result.images[i].refs.n; j++)
			(void)printf("Loaded image: %s\n",
				     reference_familiar(result.images[i].refs.v[j]));
		if (result.images[i].refs.n == 0)
			(void)printf("Loaded image ID: %s\n", result.images[i].id);
	}
	(void)fflush(stdout);
	end_by_signal(&ends);
	return 0;
}

const struct verb verb_load = {
	.name = "load",
	.usage = "[--name NAME] [FILE|DIRECTORY|-]",
	.help = "load an image archive, OCI layout or root file system",
	.options = load_options,
	.option_count = ARRAY_LEN(load_options),
	.run = run_load,
};

/* ---- images ---- */

struct images_opts {
	bool quiet;
};

static const struct arg_option images_options[] = {
	{ "quiet", 'q', ARG_FLAG, offsetof(struct images_opts, quiet), NULL, "ids only" },
};

struct images {
	struct images_opts o;
	struct table table;
	struct err *e;
};

static int add_row(struct images *i, const struct image *image, const char *ref)
{
	char id[SHORT_ID + 1], when[TIME_RFC3339_LEN], size[32];

	(void)snprintf(id, sizeof(id), "%.*s", SHORT_ID, short_id(image->id));
	time_rfc3339(image->loaded_ns, when);
	when[19] = '\0'; /* seconds are enough */
	(void)snprintf(size, sizeof(size), "%.1f MB", (double)image->size / 1e6);
	return table_add(&i->table,
			 (const char *const[]){ ref ? reference_familiar(ref) : "<none>", id,
						when, size },
			 i->e);
}

static int list_image(void *arg, const struct image *image)
{
	struct images *i = arg;

	if (i->o.quiet) {
		(void)printf("%.*s\n", SHORT_ID, short_id(image->id));
		return 0;
	}
	if (image->refs.n == 0)
		return add_row(i, image, NULL);
	for (size_t n = 0; n < image->refs.n; n++) {
		if (add_row(i, image, image->refs.v[n]) < 0)
			return -1;
	}
	return 0;
}

static int run_images(struct cli *cli, int argc, char **argv, struct err *e)
{
	static const char *const head[] = { "IMAGE", "ID", "LOADED", "SIZE" };
	OWN(store) struct store *st = NULL;
	struct images i = { .table = { .columns = ARRAY_LEN(head) }, .e = e };
	int first, rc;

	if (verb_parse(&verb_images, argc, argv, &i.o, &first, 0, 0, e) < 0 ||
	    cli_open_store(cli, &st, e) < 0)
		return -1;
	rc = i.o.quiet ? 0 : table_add(&i.table, head, e);
	if (rc == 0) {
		rc = store_list(st, list_image, &i, e);
		table_print(&i.table, stdout); /* one that is damaged hides no other */
	}
	table_fini(&i.table);
	return rc;
}

const struct verb verb_images = {
	.name = "images",
	.usage = "[-q]",
	.help = "list images",
	.options = images_options,
	.option_count = ARRAY_LEN(images_options),
	.run = run_images,
};

/* ---- rmi ---- */

struct rmi_opts {
	bool force;
};

static const struct arg_option rmi_options[] = {
	{ "force", 'f', ARG_FLAG, offsetof(struct rmi_opts, force), NULL,
	  "remove every name, also of an image in use" },
};

static int run_rmi(struct cli *cli, int argc, char **argv, struct err *e)
{
	OWN(store) struct store *st = NULL;
	struct rmi_opts o = { 0 };
	struct err kept = ERR_INIT;
	int first;

	if (verb_parse(&verb_rmi, argc, argv, &o, &first, 1, -1, e) < 0 ||
	    cli_open_store(cli, &st, e) < 0)
		return -1;
	for (int i = first; i < argc; i++) {
		OWN(remove_result) struct remove_result r = { 0 };

		if (store_remove(st, argv[i], o.force, &r, e) < 0) {
			cli_keep_failure(&kept, e);
			continue;
		}
		for (size_t j = 0; j < r.untagged.n; j++)
			(void)printf("Untagged: %s\n", reference_familiar(r.untagged.v[j]));
		if (r.deleted)
			(void)printf("Deleted: %s\n", r.id);
	}
	return cli_kept(&kept, e);
}

const struct verb verb_rmi = {
	.name = "rmi",
	.usage = "[-f] IMAGE …",
	.help = "remove images",
	.options = rmi_options,
	.option_count = ARRAY_LEN(rmi_options),
	.run = run_rmi,
};
