/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Command-line options from a table, in the manner of docker's: --name value, --name=value,
 * -n value, -nvalue, -it; "--" ends them, and so does the first word that is none.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

#include "base/str.h"

struct err;

enum arg_type {
	ARG_FLAG,   /* bool; =true and =false are accepted */
	ARG_STRING, /* const char *, points into argv */
	ARG_LIST,   /* struct strv, each use adds one */
};

struct arg_option {
	const char *name;
	char letter; /* 0: none */
	enum arg_type type;
	size_t offset;     /* of the member in the verb's options */
	const char *value; /* what the help calls the value; NULL for flags */
	const char *help;
};

/*
 * Fills `out` and returns the index of the first word behind the options in *first.
 * ERR_INVALID names the option and, for one that is unknown, the nearest that is known.
 * ERR_CANCELLED: --help, or -h where that is no option, stands there.
 */
int args_parse(int argc, char **argv, const struct arg_option *options, size_t count, void *out,
	       int *first, struct err *e);
/*
 * The same where options may stand between and behind the other words, up to "--", as docker
 * and podman have it where no command follows: those words are then argv[*first..argc).
 */
int args_parse_mixed(int argc, char **argv, const struct arg_option *options, size_t count,
		     void *out, int *first, struct err *e);
/* Prints the options, one a line. */
void args_help(FILE *f, const struct arg_option *options, size_t count);
/* The same in the macros of man(7). */
void args_manual(FILE *f, const struct arg_option *options, size_t count);
/* What becomes part of a specification must be UTF-8: ERR_INVALID names the argument. */
int args_check_text(int argc, char *const *argv, struct err *e);
