/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What `start` and its caller tell each other beyond flags and environment: parameters on
 * standard input (containerd 2.3 and newer) and the answer on standard output.
 */
#pragma once

#include <stdbool.h>

struct err;
struct shim_options;

struct bootstrap {
	bool v3; /* the caller takes version 3 of the Task API, and an answer in JSON */
	char *config_path; /* the configuration file that it names, or NULL; owned */
};

/*
 * Reads standard input if the caller is a containerd (it named a program to publish events
 * with): 2.3 and newer put their parameters there, older ones a runtime's options, or nothing.
 */
int bootstrap_read(const struct shim_options *o, struct bootstrap *out, struct err *e);
/* The address alone, or {"version":3,"address":…,"protocol":"ttrpc"}. */
int bootstrap_answer(const char *address, bool v3, struct err *e);
