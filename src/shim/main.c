/* SPDX-License-Identifier: Apache-2.0 */
/*
 * containerd-shim-kata-v2: the engine's program. Without an action it serves one sandbox (it
 * was then started by its own `start`, which hands it the socket and the lock); `start` and
 * `delete` are containerd's two commands (containerd, core/runtime/v2/README.md).
 */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/err.h"
#include "base/fd.h"
#include "base/log.h"
#include "base/own.h"
#include "base/str.h"
#include "build_config.h"
#include "event/signal.h"
#include "shim/actions.h"
#include "shim/options.h"
#include "version.h"

static const struct {
	const char *name;
	int (*run)(const struct shim_options *o, struct err *e);
} actions[] = {
	{ "", shim_serve },
	{ "start", shim_start },
	{ "delete", shim_delete },
};

static int print_version(void)
{
	(void)printf(
		"Kata Containers containerd shim (C): id: io.containerd.kata.v2, version: %s, "
		"commit: %s\n",
		KATA_VERSION, KATA_COMMIT);
	return 0;
}

static int run(const struct shim_options *o, struct err *e)
{
	if (o->info)
		return shim_info(o, e);
	for (size_t i = 0; i < ARRAY_LEN(actions); i++) {
		if (str_eq(actions[i].name, o->action))
			return actions[i].run(o, e);
	}
	return err_set(e, ERR_INVALID, 0, "unknown action '%.64s': start, delete or none",
		       o->action);
}

int main(int argc, char **argv)
{
	struct shim_options o;
	struct err e = ERR_INIT;

	fd_fill_std();
	signal_defaults();
	if (shim_options_parse(argc, argv, &o, &e) < 0)
		goto fail;
	if (o.help) {
		shim_options_usage(STDOUT_FILENO);
		return 0;
	}
	if (o.manual) {
		shim_options_manual(STDOUT_FILENO);
		return 0;
	}
	if (o.version)
		return print_version();
	if (o.debug)
		log_set_level(LOG_DEBUG);
	if (run(&o, &e) == 0)
		return 0;
fail:
	(void)fprintf(stderr, "containerd-shim-kata-v2: %s\n", e.msg);
	return 1;
}
