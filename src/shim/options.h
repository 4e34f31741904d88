/* SPDX-License-Identifier: Apache-2.0 */
/* The shim's command line: Go's flag syntax as containerd uses it (reference: shim v2). */
#pragma once

#include <stdbool.h>

struct err;

struct shim_options {
	const char *namespace;
	const char *id;
	const char *address; /* containerd's socket; may be empty */
	const char *publish_binary;
	const char *bundle;
	const char *socket;
	const char *action; /* "start", "delete" or "" to serve */
	bool debug, version, info, help, manual;
};

/* Points into argv. ERR_INVALID names the flag. */
int shim_options_parse(int argc, char **argv, struct shim_options *out, struct err *e);
/* The usage text, made from the table of flags. */
void shim_options_usage(int fd);
/* containerd-shim-kata-v2(8), from the same table. */
void shim_options_manual(int fd);
