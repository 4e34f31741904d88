/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Kernel modules of the initrd, as guest/README.md describes its tables: "load" (what and in
 * which order), "alias" (what the kernel calls them) and "devname" (nodes that load one).
 * Where there are no tables the kernel has everything built in and there is nothing to do.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

struct err;

#define MODULES_DIR "/lib/modules"

/* Loads the "boot" lines in order and makes the nodes of "devname". */
int modules_boot(struct err *e);
/* Loads a module and what it needs, with parameters for itself ("name=value"). */
int module_load(const char *name, char *const *params, size_t param_count, struct err *e);
/* /sbin/modprobe as the kernel calls it: an exit code. */
int modprobe_main(int argc, char **argv);

/* ---- pure parts, for tests ---- */

/* '-' as '_' outside of [brackets]; false if it does not fit. */
bool module_normalise(const char *request, char *out, size_t size);
/*
 * The next NAME of the alias table whose pattern matches `request`. *at (0 at first) is where
 * to go on. NULL: none left.
 */
const char *alias_next(const char *table, size_t *at, const char *request, char *name,
		       size_t size);
