/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Words of a command line, each ended by a NUL: as options of kata and of the engine, as ports,
 * signals, sizes, identifiers and mount options.
 */
#include "fuzz.h"

#include <arpa/inet.h>
#include <string.h>

#include "base/err.h"
#include "base/mem.h"
#include "base/own.h"
#include "base/path.h"
#include "base/str.h"
#include "cli/args.h"
#include "cli/signal_name.h"
#include "net/user_net.h"
#include "oci/caps.h"
#include "oci/mount_options.h"
#include "shim/options.h"

enum {
	WORDS_MAX = 64,
	ID_MAX = 64
};

struct words {
	bool flag, other;
	const char *text;
	struct strv list;
};

static const struct arg_option options[] = {
	{ "flag", 'f', ARG_FLAG, offsetof(struct words, flag), NULL, "a flag" },
	{ "other", 'o', ARG_FLAG, offsetof(struct words, other), NULL, "another" },
	{ "text", 't', ARG_STRING, offsetof(struct words, text), "TEXT", "a text" },
	{ "list", 'l', ARG_LIST, offsetof(struct words, list), "ITEM", "a list" },
};

static void check_options(int argc, char **argv)
{
	struct words w = { 0 };
	struct shim_options shim;
	struct err e = ERR_INIT;
	int first = -1;

	if (args_parse(argc, argv, options, ARRAY_LEN(options), &w, &first, &e) == 0)
		FUZZ_CHECK(first >= 0 && first <= argc);
	else
		FUZZ_CHECK(e.kind == ERR_INVALID && e.msg[0]);
	strv_fini(&w.list);
	if (shim_options_parse(argc, argv, &shim, &e) == 0)
		FUZZ_CHECK(shim.namespace && shim.id && shim.action && shim.bundle);
	else
		FUZZ_CHECK(e.kind == ERR_INVALID && e.msg[0]);
}

static void check_port(const char *s)
{
	OWN(free) char *addr = NULL;
	struct user_net_port p;
	uint8_t raw[16];
	struct err e;

	if (user_net_parse_port(s, &p, &addr, &e) < 0) {
		FUZZ_CHECK(e.kind == ERR_INVALID && !addr);
		return;
	}
	FUZZ_CHECK(p.host_port && p.guest_port && p.host_addr == addr);
	FUZZ_CHECK(!addr || inet_pton(AF_INET, addr, raw) == 1 ||
		   inet_pton(AF_INET6, addr, raw) == 1);
}

static void check_word(char *s)
{
	struct mount_options o;
	uint64_t n;
	int sig;
	struct err e;

	check_port(s);
	if (signal_parse(s, &sig, &e) == 0)
		FUZZ_CHECK(sig > 0 && sig <= 64);
	(void)str_to_bytes(s, "size", &n, &e);
	if (path_check_id(s, ID_MAX, "id", &e) == 0)
		FUZZ_CHECK(path_is_component(s) && strlen(s) <= ID_MAX);
	if (cap_number(s) >= 0)
		FUZZ_CHECK(cap_name(cap_number(s)));
	if (mount_options_parse(&s, 1, &o, &e) == 0) {
		FUZZ_CHECK(!o.data == mount_options_knows(s));
		mount_options_fini(&o);
	}
	if (*s == '/') {
		path_clean(s);
		FUZZ_CHECK(*s == '/' && !strstr(s, "//") && !strstr(s, "/../"));
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	OWN(free) char *all = mem_dup(data, size);
	char *argv[WORDS_MAX + 1];
	int argc = 0;

	FUZZ_CHECK(all);
	for (char *p = all; p < all + size && argc < WORDS_MAX; p += strlen(p) + 1)
		argv[argc++] = p;
	argv[argc] = NULL;
	check_options(argc, argv);
	for (int i = 0; i < argc; i++)
		check_word(argv[i]);
	return 0;
}
