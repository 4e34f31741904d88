/* SPDX-License-Identifier: Apache-2.0 */
/* What the verbs of `kata` share: their table's row, the context, opening the store. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "cli/args.h"

struct err;
struct loop;
struct store;

struct cli {
	const char *root;   /* of the image store and the containers: /var/lib/kata */
	const char *config; /* --config, or NULL */
	bool debug;
	struct loop *loop; /* verbs run in a fiber of it */
};

/* Exit codes of our own failures, in docker's manner. */
enum {
	EXIT_OURS = 125,
	EXIT_CANNOT_EXECUTE = 126,
	EXIT_NO_PROGRAM = 127
};

struct verb {
	const char *name;
	const char *usage; /* behind the name */
	const char *help;
	const struct arg_option *options;
	size_t option_count;
	bool takes_command; /* whose options are its own: ours end at the first other word */
	/*
	 * argv[0] is the first word behind the verb. Returns the exit code, or -1 with *e set
	 * (printed by the caller, exit code 125 for `run`, else 1).
	 */
	int (*run)(struct cli *c, int argc, char **argv, struct err *e);
};

extern const struct verb verb_load, verb_images, verb_rmi, verb_run, verb_ps, verb_exec,
	verb_logs, verb_stop, verb_kill, verb_wait, verb_rm, verb_inspect;

/*
 * Of several things asked for, one has failed and the others are still to come: keeps why for
 * the caller to return at the end, after printing what was kept before. *kept begins as
 * ERR_INIT.
 */
void cli_keep_failure(struct err *kept, const struct err *e);
/* -1 with *e if something was kept. */
int cli_kept(const struct err *kept, struct err *e);

int cli_open_store(struct cli *c, struct store **out, struct err *e);

/* args_parse() over the verb's table; checks the number of words left (max < 0: any). */
int verb_parse(const struct verb *v, int argc, char **argv, void *options, int *first, int min,
	       int max, struct err *e);
