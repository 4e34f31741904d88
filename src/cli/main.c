/* SPDX-License-Identifier: Apache-2.0 */
/* kata: containers in virtual machines without a daemon. Verbs are in verb_*.c. */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/err.h"
#include "base/fd.h"
#include "base/log.h"
#include "base/own.h"
#include "build_config.h"
#include "cli/cli.h"
#include "config/paths.h"
#include "event/fiber.h"
#include "event/loop.h"
#include "event/signal.h"
#include "image/store.h"
#include "version.h"
#include "wire/utf8.h"

static const struct verb *const verbs[] = {
	&verb_run,  &verb_ps, &verb_exec,    &verb_logs, &verb_stop,   &verb_kill,
	&verb_wait, &verb_rm, &verb_inspect, &verb_load, &verb_images, &verb_rmi,
};

struct globals {
	const char *root, *config;
	bool debug, version, help, manual;
};

static const struct arg_option global_options[] = {
	{ "root", 0, ARG_STRING, offsetof(struct globals, root), "DIR",
	  "where images and containers are kept (/var/lib/kata)" },
	{ "config", 0, ARG_STRING, offsetof(struct globals, config), "FILE",
	  "configuration.toml to use" },
	{ "debug", 'D', ARG_FLAG, offsetof(struct globals, debug), NULL, "log more" },
	{ "version", 'v', ARG_FLAG, offsetof(struct globals, version), NULL,
	  "print the version" },
	{ "help", 'h', ARG_FLAG, offsetof(struct globals, help), NULL, "print this text" },
	{ "man", 0, ARG_FLAG, offsetof(struct globals, manual), NULL,
	  "print the manual page, for man -l" },
};

int cli_open_store(struct cli *c, struct store **out, struct err *e)
{
	OWN(free) char *unpacker = NULL;
	struct store_config sc = { .root = c->root };

	if (paths_libexec("kata-unpack", &unpacker, e) < 0)
		return -1;
	sc.unpacker = unpacker;
	return store_open(&sc, out, e);
}

void cli_keep_failure(struct err *kept, const struct err *e)
{
	if (kept->kind != ERR_NONE) {
		(void)fflush(stdout);
		(void)fprintf(stderr, "kata: %s\n", kept->msg);
	}
	*kept = *e;
}

int cli_kept(const struct err *kept, struct err *e)
{
	if (kept->kind == ERR_NONE)
		return 0;
	*e = *kept;
	return -1;
}

static void verb_usage(const struct verb *v)
{
	(void)printf("usage: kata %s %s\n\n%s\n\n", v->name, v->usage, v->help);
	args_help(stdout, v->options, v->option_count);
}

int verb_parse(const struct verb *v, int argc, char **argv, void *options, int *first, int min,
	       int max, struct err *e)
{
	int n, rc = v->takes_command ? args_parse(argc, argv, v->options, v->option_count,
						  options, first, e)
				     : args_parse_mixed(argc, argv, v->options, v->option_count,
							options, first, e);

	if (rc < 0) {
		if (e->kind != ERR_CANCELLED)
			return -1;
		verb_usage(v);
		exit(fflush(stdout) == 0 ? EXIT_SUCCESS : EXIT_FAILURE);
	}
	n = argc - *first;
	if (n < min || (max >= 0 && n > max))
		return err_set(e, ERR_INVALID, 0, "usage: kata %s %s", v->name, v->usage);
	return 0;
}

static void usage(FILE *f)
{
	(void)fprintf(f, "usage: kata [options] VERB [options] …\n\nverbs:\n");
	for (size_t i = 0; i < ARRAY_LEN(verbs); i++)
		(void)fprintf(f, "  %-10s %s\n", verbs[i]->name, verbs[i]->help);
	(void)fprintf(f, "\noptions:\n");
	args_help(f, global_options, ARRAY_LEN(global_options));
	(void)fprintf(f, "\n`kata VERB --help` shows the options of a verb.\n");
}

/* kata(1), from the same tables. */
static void manual(FILE *f)
{
	(void)fprintf(
		f,
		".TH KATA 1 \"\" \"kata %s\"\n.SH NAME\nkata \\- run containers in virtual "
		"machines\n.SH SYNOPSIS\n.B kata\n[options] VERB [options] ...\n"
		".SH DESCRIPTION\nEach container gets a virtual machine of its own; there is "
		"no daemon. Exit status of run and exec: the program's; 125 for failures of "
		"kata, 126 if the program cannot be executed, 127 if it does not exist, "
		"128+n if signal n ended it.\n.PP\nA verb's options may stand before, between "
		"and behind its other words, up to --; those of run and exec stand before, "
		"since what follows is a command with options of its own.\n.PP\n"
		"On a terminal Ctrl-P Ctrl-Q leaves the program running; all other keys are "
		"its own. An address that ports are published on stands in brackets if it is "
		"of IPv6: [::1]:8080:80.\n"
		".SH OPTIONS\n",
		KATA_VERSION);
	args_manual(f, global_options, ARRAY_LEN(global_options));
	for (size_t i = 0; i < ARRAY_LEN(verbs); i++) {
		(void)fprintf(f, ".SH KATA %s\n.B kata %s\n%s\n.PP\n%s\n", verbs[i]->name,
			      verbs[i]->name, verbs[i]->usage, verbs[i]->help);
		args_manual(f, verbs[i]->options, verbs[i]->option_count);
	}
	(void)fprintf(f, ".SH SEE ALSO\nconfiguration.toml(5), containerd-shim-kata-v2(8)\n");
}

struct job {
	struct cli *cli;
	const struct verb *verb;
	int argc;
	char **argv;
	int rc;
	struct err e;
};

static void run_job(void *arg)
{
	struct job *j = arg;

	j->rc = j->verb->run(j->cli, j->argc, j->argv, &j->e);
}

/* What was printed may not have been written: on a full disk, for example. */
static int flush_output(int rc, int own_failure)
{
	if (fflush(stdout) == 0 && !ferror(stdout))
		return rc;
	if (errno == EPIPE)
		return 128 + SIGPIPE; /* as a program that nobody listens to ends */
	(void)fprintf(stderr, "kata: write the output: %s\n", strerror(errno));
	return own_failure;
}

static int run_verb(struct cli *c, const struct verb *v, int argc, char **argv)
{
	struct job j = { .cli = c, .verb = v, .argc = argc, .argv = argv };
	int own_failure = v == &verb_run || v == &verb_exec ? EXIT_OURS : 1;
	struct err e = ERR_INIT;

	if (loop_new(&c->loop, &e) < 0 || fiber_main(c->loop, run_job, &j, &e) < 0) {
		(void)fprintf(stderr, "kata: %s\n", e.msg);
		return EXIT_OURS;
	}
	if (j.rc >= 0)
		return flush_output(j.rc, own_failure);
	(void)fflush(stdout);
	(void)fprintf(stderr, "kata: %s\n", j.e.msg);
	return own_failure;
}

/* The engine stands in another directory: what is handed to it must not depend on ours. */
static int make_absolute(const char **path, char **owned, struct err *e)
{
	OWN(free) char *cwd = NULL;

	if (!*path || **path == '/' || !**path)
		return 0;
	cwd = getcwd(NULL, 0);
	if (!cwd)
		return err_sys(e, "current directory");
	*owned = str_printf("%s/%s", cwd, *path);
	if (!*owned)
		return err_oom(e, "a path");
	*path = *owned;
	return 0;
}

/* It becomes part of specifications and of addresses, which are lines of UTF-8. */
static int check_root(const char *root, struct err *e)
{
	size_t len = strlen(root);
	char quoted[128];
	bool plain = utf8_valid(root, len);

	if (!len)
		return err_set(e, ERR_INVALID, 0, "--root '' names no directory");
	for (size_t i = 0; i < len; i++)
		plain = plain && (unsigned char)root[i] >= ' ' && root[i] != 0x7f;
	if (plain && strstr(root, "?log=")) /* see sandbox/stdio.h */
		return err_set(e, ERR_INVALID, 0,
			       "--root '%.200s': '?log=' may not be in the name", root);
	if (plain)
		return 0;
	return err_set(e, ERR_INVALID, 0,
		       "--root '%s': the name is not UTF-8, or has control characters",
		       str_quote(root, len, quoted, sizeof(quoted)));
}

/* ARRAY_LEN(verbs): there is no such verb. */
static size_t verb_of(const char *name)
{
	size_t i = 0;

	while (i < ARRAY_LEN(verbs) && !str_eq(verbs[i]->name, name))
		i++;
	return i;
}

static int no_verb(const char *name)
{
	(void)fprintf(stderr, "kata: '%s' is no verb, see kata --help\n", name);
	return EXIT_OURS;
}

/* "help", or "help VERB". */
static int help(int argc, char **argv)
{
	size_t about = argc == 2 ? verb_of(argv[1]) : ARRAY_LEN(verbs);

	if (argc > 2) {
		(void)fprintf(stderr, "kata: usage: kata help [VERB]\n");
		return EXIT_OURS;
	}
	if (about < ARRAY_LEN(verbs))
		verb_usage(verbs[about]);
	else if (argc == 2 && !str_eq(argv[1], "help"))
		return no_verb(argv[1]);
	else
		usage(stdout);
	return flush_output(0, EXIT_OURS);
}

int main(int argc, char **argv)
{
	OWN(free) char *root = NULL;
	OWN(free) char *config = NULL;
	struct log_config log = { .level = LOG_WARN, .fd = STDERR_FILENO, .source = "kata" };
	size_t asked;
	struct globals g = { 0 };
	struct cli c = { 0 };
	struct err e = ERR_INIT;
	int first;

	fd_fill_std();
	/* what a container sees of its files must not depend on who started it */
	(void)umask(022);
	signal_defaults();
	if (args_parse(argc - 1, argv + 1, global_options, ARRAY_LEN(global_options), &g,
		       &first, &e) < 0) {
		(void)fprintf(stderr, "kata: %s\n", e.msg);
		return EXIT_OURS;
	}
	log.level = g.debug ? LOG_DEBUG : LOG_WARN;
	log.plain = !g.debug && isatty(STDERR_FILENO);
	log_setup(&log);
	if (g.manual) {
		manual(stdout);
		return flush_output(0, EXIT_OURS);
	}
	if (g.version) {
		(void)printf("kata version %s, commit %s\n", KATA_VERSION, KATA_COMMIT);
		return flush_output(0, EXIT_OURS);
	}
	argv += 1 + first;
	argc -= 1 + first;
	if (g.help)
		return help(1, NULL);
	if (argc == 0) {
		usage(stderr);
		return EXIT_OURS;
	}
	if (str_eq(argv[0], "help"))
		return help(argc, argv);
	if (make_absolute(&g.root, &root, &e) < 0 ||
	    make_absolute(&g.config, &config, &e) < 0) {
		(void)fprintf(stderr, "kata: %s\n", e.msg);
		return EXIT_OURS;
	}
	c = (struct cli){ .root = g.root ? g.root : STORE_DEFAULT_ROOT,
			  .config = g.config,
			  .debug = g.debug };
	if (check_root(c.root, &e) < 0) {
		(void)fprintf(stderr, "kata: %s\n", e.msg);
		return EXIT_OURS;
	}
	asked = verb_of(argv[0]);
	if (asked < ARRAY_LEN(verbs))
		return run_verb(&c, verbs[asked], argc - 1, argv + 1);
	return no_verb(argv[0]);
}
