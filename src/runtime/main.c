/* SPDX-License-Identifier: Apache-2.0 */
/* kata-runtime: a row for each command. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/fd.h"
#include "base/log.h"
#include "base/own.h"
#include "build_config.h"
#include "cli/args.h"
#include "config/config.h"
#include "event/fiber.h"
#include "event/loop.h"
#include "event/signal.h"
#include "runtime/env.h"
#include "runtime/exec.h"
#include "sandbox/debug_console.h"
#include "sandbox/layout.h"
#include "version.h"
#include "wire/json.h"

struct globals {
	const char *config, *kata_config;
	bool version, help, manual, paths;
};

static const struct arg_option global_options[] = {
	{ "config", 0, ARG_STRING, offsetof(struct globals, config), "FILE",
	  "configuration.toml to use" },
	{ "kata-config", 0, ARG_STRING, offsetof(struct globals, kata_config), "FILE",
	  "the same" },
	{ "show-default-config-paths", 0, ARG_FLAG, offsetof(struct globals, paths), NULL,
	  "print where a configuration is looked for" },
	{ "version", 'v', ARG_FLAG, offsetof(struct globals, version), NULL,
	  "print the version" },
	{ "help", 'h', ARG_FLAG, offsetof(struct globals, help), NULL, "print this text" },
	{ "man", 0, ARG_FLAG, offsetof(struct globals, manual), NULL,
	  "print the manual page, for man -l" },
};

struct env_options {
	bool json;
};

static const struct arg_option env_options[] = {
	{ "json", 0, ARG_FLAG, offsetof(struct env_options, json), NULL,
	  "JSON in place of TOML" },
};

struct exec_options {
	const char *port;
};

static const struct arg_option exec_options[] = {
	{ "kata-debug-port", 'p', ARG_STRING, offsetof(struct exec_options, port), "PORT",
	  "1026, the only one" },
};

struct job {
	struct loop *loop;
	const char *config;
	int argc;
	char **argv;
	int rc;
	struct err e;
};

static int print_env(struct job *j, struct err *e)
{
	OWN(config) struct kata_config *c = NULL;
	OWN(jval) struct jval *v = NULL;
	OWN(buf) struct buf text = BUF_INIT;
	struct env_options o = { .json = false };
	OWN(oci_notes) struct oci_notes paths = { .count = 0 };
	int first;

	if (args_parse(j->argc, j->argv, env_options, ARRAY_LEN(env_options), &o, &first, e) <
	    0)
		return -1;
	if (first != j->argc)
		return err_set(e, ERR_INVALID, 0, "env takes no argument ('%.80s')",
			       j->argv[first]);
	if (config_load(j->config, &c, e) < 0 || layout_settle(c, &paths, e) < 0 ||
	    env_collect(j->loop, c, &v, e) < 0)
		return -1;
	oci_notes_log(&c->warnings, LOG_WARN, NULL, "configuration");
	oci_notes_log(&paths, LOG_WARN, NULL, "configuration");
	if ((o.json ? jval_print(v, true, &text, e) : toml_print(v, &text, e)) < 0 ||
	    (o.json && buf_puts(&text, "\n", e) < 0))
		return -1;
	return fd_write_waiting(STDOUT_FILENO, buf_head(&text), buf_len(&text), e);
}

static int enter_guest(struct job *j, struct err *e)
{
	struct exec_options o = { .port = NULL };
	uint64_t port = DEBUG_CONSOLE_PORT;
	int first;

	if (args_parse(j->argc, j->argv, exec_options, ARRAY_LEN(exec_options), &o, &first, e) <
	    0)
		return -1;
	if (first + 1 != j->argc)
		return err_set(e, ERR_INVALID, 0, "exec takes the id of a sandbox");
	if (o.port && str_to_u64(o.port, 0, UINT32_MAX, "port", &port, e) < 0)
		return -1;
	if (port != DEBUG_CONSOLE_PORT)
		return err_set(e, ERR_UNSUPPORTED, 0,
			       "--kata-debug-port %.20s: the console of every sandbox is at %d",
			       o.port, DEBUG_CONSOLE_PORT);
	return debug_console_attach(j->argv[first], e);
}

static const struct command {
	const char *name, *alias, *usage, *help;
	const char *more; /* of the manual page, or NULL */
	const struct arg_option *options;
	size_t option_count;
	int (*run)(struct job *j, struct err *e);
} commands[] = {
	{ "env", "kata-env", "[--json]", "print what containers of this host would run with",
	  "It reads the configuration and looks at the host. Members that "
	  "upstream's has keep their names and their order; what only upstream can do has the value "
	  "that it has here: ConfidentialGuest is false, HotPlugVFIO is no-port, SocketPath is "
	  "empty, since QEMU's sockets have no names. Behind them, in the same tables, stands every "
	  "other key of configuration.toml as it is configured: \"auto\" means that a sandbox's start decides, and its log says how. "
	  "DisableSeccomp is whether SeccompSandbox, QEMU's \\-sandbox, leaves its system calls "
	  "unfiltered. AvailableGuestProtections is what KVM on this host has switched on, and no "
	  "guest uses. There is no Rootless: QEMU has a user without rights where files are shared "
	  "by virtio-fs, and not where they are by virtio-9p.",
	  env_options, ARRAY_LEN(env_options), print_env },
	{ "exec", NULL, "[--kata-debug-port 1026] SANDBOX",
	  "a shell in the guest itself, if debug_console_enabled; Ctrl-P Ctrl-Q leaves it",
	  NULL, exec_options, ARRAY_LEN(exec_options), enter_guest },
};

static const struct command *find_command(const char *name)
{
	for (size_t i = 0; i < ARRAY_LEN(commands); i++) {
		if (str_eq(commands[i].name, name) ||
		    (commands[i].alias && str_eq(commands[i].alias, name)))
			return &commands[i];
	}
	return NULL;
}

static void usage(FILE *f)
{
	(void)fprintf(f, "usage: kata-runtime [options] COMMAND\n\ncommands:\n");
	for (size_t i = 0; i < ARRAY_LEN(commands); i++)
		(void)fprintf(f, "  %s %s%s%s%s\n      %s\n", commands[i].name,
			      commands[i].usage, commands[i].alias ? " (or " : "",
			      commands[i].alias ? commands[i].alias : "",
			      commands[i].alias ? ")" : "", commands[i].help);
	(void)fprintf(f, "\noptions:\n");
	args_help(f, global_options, ARRAY_LEN(global_options));
}

static void manual(FILE *f)
{
	(void)fprintf(
		f,
		".TH KATA-RUNTIME 1 \"\" \"kata %s\"\n.SH NAME\nkata-runtime \\- what "
		"Kata Containers would run with, and a shell in a guest\n.SH SYNOPSIS\n.B kata-runtime\n"
		"[options] COMMAND\n.SH OPTIONS\n",
		KATA_VERSION);
	args_manual(f, global_options, ARRAY_LEN(global_options));
	for (size_t i = 0; i < ARRAY_LEN(commands); i++) {
		(void)fprintf(f, ".SH KATA-RUNTIME %s\n.B kata-runtime %s\n%s\n.PP\n%s\n",
			      commands[i].name, commands[i].name, commands[i].usage,
			      commands[i].help);
		if (commands[i].more)
			(void)fprintf(f, ".PP\n%s\n", commands[i].more);
		args_manual(f, commands[i].options, commands[i].option_count);
	}
	(void)fprintf(f, ".SH SEE ALSO\nkata(1), configuration.toml(5)\n");
}

static int fail(const struct err *e)
{
	(void)fprintf(stderr, "kata-runtime: %s\n", e->msg);
	return EXIT_FAILURE;
}

/* Whether all that was printed could be. */
static int written(void)
{
	struct err e;

	if (fflush(stdout) == 0 && !ferror(stdout))
		return EXIT_SUCCESS;
	(void)err_sys(&e, "write the output");
	return fail(&e);
}

static int print_paths(void)
{
	OWN(buf) struct buf text = BUF_INIT;
	struct err e;

	if (config_write_search(NULL, &text, &e) < 0 ||
	    fd_write_waiting(STDOUT_FILENO, buf_head(&text), buf_len(&text), &e) < 0)
		return fail(&e);
	return EXIT_SUCCESS;
}

struct call {
	struct job *job;
	const struct command *command;
};

static void run_call(void *arg)
{
	struct call *c = arg;

	c->job->rc = c->command->run(c->job, &c->job->e);
}

static int run_command(const struct command *c, struct job *j)
{
	struct call call = { j, c };
	struct err e;

	if (loop_new(&j->loop, &e) < 0 || fiber_main(j->loop, run_call, &call, &e) < 0)
		return fail(&e);
	if (j->rc < 0 && j->e.kind == ERR_CANCELLED) {
		(void)printf("usage: kata-runtime %s %s\n\n%s\n\n", c->name, c->usage, c->help);
		args_help(stdout, c->options, c->option_count);
		return written();
	}
	return j->rc < 0 ? fail(&j->e) : EXIT_SUCCESS;
}

int main(int argc, char **argv)
{
	struct log_config log = { .level = LOG_WARN,
				  .fd = STDERR_FILENO,
				  .source = "kata-runtime" };
	struct globals g = { 0 };
	const struct command *c;
	struct err e = ERR_INIT;
	struct job j;
	int first;

	fd_fill_std();
	signal_defaults();
	log.plain = isatty(STDERR_FILENO);
	log_setup(&log);
	if (args_parse(argc - 1, argv + 1, global_options, ARRAY_LEN(global_options), &g,
		       &first, &e) < 0)
		return fail(&e);
	if (g.manual) {
		manual(stdout);
		return written();
	}
	if (g.version) {
		(void)printf("kata-runtime  : %s\n   commit   : %s\n   OCI specs: %s\n",
			     KATA_VERSION, KATA_COMMIT, ENV_OCI_VERSION);
		return written();
	}
	if (g.paths)
		return print_paths();
	argv += 1 + first;
	argc -= 1 + first;
	if (g.help || argc == 0) {
		usage(g.help ? stdout : stderr);
		return g.help ? written() : EXIT_FAILURE;
	}
	c = find_command(argv[0]);
	if (!c) {
		(void)err_set(&e, ERR_INVALID, 0,
			      "'%.80s' is no command here, see kata-runtime --help", argv[0]);
		return fail(&e);
	}
	j = (struct job){ .config = g.config ? g.config : g.kata_config,
			  .argc = argc - 1,
			  .argv = argv + 1 };
	return run_command(c, &j);
}
