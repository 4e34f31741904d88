/* SPDX-License-Identifier: Apache-2.0 */
/* One table of flags: -name value, -name=value, --name likewise; booleans take =true/false. */
#include "shim/options.h"

#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "base/err.h"
#include "base/own.h"
#include "base/str.h"

enum flag_type {
	FLAG_STRING,
	FLAG_BOOL
};

static const struct flag {
	const char *name;
	enum flag_type type;
	size_t offset;
	const char *help;
} flags[] = {
	{ "namespace", FLAG_STRING, offsetof(struct shim_options, namespace),
	  "namespace of the caller's containers" },
	{ "id", FLAG_STRING, offsetof(struct shim_options, id),
	  "id of the container or sandbox" },
	{ "address", FLAG_STRING, offsetof(struct shim_options, address),
	  "containerd's socket" },
	{ "publish-binary", FLAG_STRING, offsetof(struct shim_options, publish_binary),
	  "program that publishes events" },
	{ "bundle", FLAG_STRING, offsetof(struct shim_options, bundle),
	  "path of the bundle (delete)" },
	{ "socket", FLAG_STRING, offsetof(struct shim_options, socket),
	  "accepted and not used" },
	{ "debug", FLAG_BOOL, offsetof(struct shim_options, debug), "log more" },
	{ "info", FLAG_BOOL, offsetof(struct shim_options, info),
	  "print information about the runtime" },
	{ "version", FLAG_BOOL, offsetof(struct shim_options, version), "print the version" },
	{ "v", FLAG_BOOL, offsetof(struct shim_options, version), "print the version" },
	{ "man", FLAG_BOOL, offsetof(struct shim_options, manual), "print the manual page" },
	{ "help", FLAG_BOOL, offsetof(struct shim_options, help), "print this text" },
	{ "h", FLAG_BOOL, offsetof(struct shim_options, help), "print this text" },
};

static const struct flag *find_flag(const char *name, size_t len)
{
	for (size_t i = 0; i < ARRAY_LEN(flags); i++) {
		if (strlen(flags[i].name) == len && memcmp(flags[i].name, name, len) == 0)
			return &flags[i];
	}
	return NULL;
}

static int set_bool(const struct flag *f, const char *value, bool *out, struct err *e)
{
	if (!value || str_eq(value, "true") || str_eq(value, "1"))
		*out = true;
	else if (str_eq(value, "false") || str_eq(value, "0"))
		*out = false;
	else
		return err_set(e, ERR_INVALID, 0, "flag -%s: '%.64s' is neither true nor false",
			       f->name, value);
	return 0;
}

int shim_options_parse(int argc, char **argv, struct shim_options *out, struct err *e)
{
	struct shim_options o = { .namespace = "",
				  .id = "",
				  .address = "",
				  .publish_binary = "",
				  .bundle = "",
				  .socket = "",
				  .action = "" };

	for (int i = 1; i < argc; i++) {
		const char *arg = argv[i], *name = arg, *value;
		const struct flag *f;

		if (arg[0] != '-' || arg[1] == '\0') {
			if (*o.action)
				return err_set(e, ERR_INVALID, 0,
					       "'%.64s' follows the action '%s'", arg,
					       o.action);
			o.action = arg;
			continue;
		}
		name += arg[1] == '-' ? 2 : 1;
		value = strchr(name, '=');
		f = find_flag(name, value ? (size_t)(value - name) : strlen(name));
		if (!f)
			return err_set(e, ERR_INVALID, 0, "unknown flag '%.64s', see -help",
				       arg);
		value = value ? value + 1 : NULL;
		if (f->type == FLAG_BOOL) {
			if (set_bool(f, value, (bool *)((char *)&o + f->offset), e) < 0)
				return -1;
			continue;
		}
		if (!value && ++i >= argc)
			return err_set(e, ERR_INVALID, 0, "flag -%s needs a value", f->name);
		*(const char **)((char *)&o + f->offset) = value ? value : argv[i];
	}
	*out = o;
	return 0;
}

void shim_options_usage(int fd)
{
	(void)dprintf(fd, "usage: containerd-shim-kata-v2 [flags] [start | delete]\n");
	for (size_t i = 0; i < ARRAY_LEN(flags); i++)
		(void)dprintf(fd, "  -%-16s %s\n", flags[i].name, flags[i].help);
}

void shim_options_manual(int fd)
{
	(void)dprintf(
		fd,
		".TH CONTAINERD-SHIM-KATA-V2 8 \"\" \"kata\"\n.SH NAME\n"
		"containerd-shim-kata-v2 \\- engine of Kata Containers\n.SH SYNOPSIS\n"
		".B containerd-shim-kata-v2\n[flags] [start | delete]\n.SH DESCRIPTION\n"
		"Started by containerd (runtime io.containerd.kata.v2) or by kata(1), in the "
		"directory of a bundle. start begins the engine of a sandbox and prints the "
		"address of its socket; delete cleans up after one that died; without an "
		"action it serves.\n.SH FLAGS\n");
	for (size_t i = 0; i < ARRAY_LEN(flags); i++)
		(void)dprintf(fd, ".TP\n.B \\-%s\n%s\n", flags[i].name, flags[i].help);
	(void)dprintf(fd, ".SH FILES\n/run/kata/SANDBOX/, configuration.toml(5)\n");
}
