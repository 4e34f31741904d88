/* SPDX-License-Identifier: Apache-2.0 */
/* The files of a pod without a pause container: what they say, and whose words are none. */
#include "unit.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include "base/fd.h"
#include "base/mem.h"
#include "base/own.h"
#include "base/path.h"
#include "base/str.h"
#include "sandbox.pb-c.h"
#include "sandbox/sandbox.h"
#include "shim/pod_files.h"

#define HOSTS  "127.0.0.1 localhost\n10.0.0.1 of-the-host\n"
#define RESOLV "nameserver 192.0.2.53\n"

enum {
	WORDS_MAX = 4
};

struct fixture {
	char dir[32];
	int etc;
	struct arena arena;
};

static char *word(const char *s)
{
	return (char *)(uintptr_t)s;
}

static void put(const struct fixture *f, const char *name, const char *text, size_t len)
{
	struct err e;

	assert_ok(file_replace(f->etc, name, text, len, 0644, false, &e), &e);
}

static int set_up(void **state)
{
	static struct fixture f;

	f = (struct fixture){ .dir = "/tmp/kata-etc.XXXXXX", .arena.limit = 2 << 20 };
	assert_non_null(mkdtemp(f.dir));
	f.etc = open(f.dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
	assert_true(f.etc >= 0);
	put(&f, "hosts", HOSTS, strlen(HOSTS));
	put(&f, "resolv.conf", RESOLV, strlen(RESOLV));
	*state = &f;
	return 0;
}

static int tear_down(void **state)
{
	struct fixture *f = *state;
	struct err e;

	fd_close(&f->etc);
	arena_fini(&f->arena);
	return path_remove_tree(AT_FDCWD, f->dir, &e);
}

static int make(struct fixture *f, Containerd__Sandbox__DNSConfig *dns, struct pod_files *out,
		struct err *e)
{
	Containerd__Sandbox__PodSandboxConfig p = CONTAINERD__SANDBOX__POD_SANDBOX_CONFIG__INIT;

	p.dns_config = dns;
	return pod_files_make(&p, "the-host", f->etc, &f->arena, out, e);
}

/* ---- resolv.conf ---- */

struct row {
	const char *servers[WORDS_MAX], *searches[WORDS_MAX], *options[WORDS_MAX];
	const char *text; /* of the file, or of the error */
};

static size_t fill(char **to, const char *const *from)
{
	size_t n = 0;

	for (; n < WORDS_MAX && from[n]; n++)
		to[n] = word(from[n]);
	return n;
}

static int make_row(struct fixture *f, const struct row *r, struct pod_files *out,
		    struct err *e)
{
	Containerd__Sandbox__DNSConfig d = CONTAINERD__SANDBOX__DNSCONFIG__INIT;
	char *servers[WORDS_MAX], *searches[WORDS_MAX], *options[WORDS_MAX];

	d.servers = servers;
	d.n_servers = fill(servers, r->servers);
	d.searches = searches;
	d.n_searches = fill(searches, r->searches);
	d.options = options;
	d.n_options = fill(options, r->options);
	return make(f, &d, out, e);
}

static void test_dns_config(void **state)
{
	static const struct row rows[] = {
		{ { "10.96.0.10", "fd00::a" },
		  { "a.svc.cluster.local", "svc.cluster.local" },
		  { "ndots:5", "edns0" },
		  "search a.svc.cluster.local svc.cluster.local\nnameserver 10.96.0.10\n"
		  "nameserver fd00::a\noptions ndots:5 edns0\n" },
		{ { "10.96.0.10" }, { NULL }, { NULL }, "nameserver 10.96.0.10\n" },
		{ { NULL }, { "." }, { NULL }, "search .\n" },
		{ { NULL }, { NULL }, { NULL }, RESOLV }, /* as if it were left out */
	};

	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct pod_files out;
		struct err e;

		assert_ok(make_row(*state, &rows[i], &out, &e), &e);
		assert_string_equal(out.resolv_conf, rows[i].text);
		assert_string_equal(out.hosts, HOSTS);
		assert_string_equal(out.hostname, "the-host\n");
	}
}

static void test_words_that_are_none(void **state)
{
	static const struct row rows[] = {
		{ { "10.0.0.1", "10.0.0.2\nsearch evil" },
		  { NULL },
		  { NULL },
		  "dns_config.servers[1] '10.0.0.2\\x0asearch evil'" },
		{ { NULL }, { "two words" }, { NULL }, "dns_config.searches[0] 'two words'" },
		{ { NULL }, { NULL }, { "" }, "dns_config.options[0] ''" },
	};

	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct pod_files out = { .hosts = "untouched" };
		struct err e;

		assert_err(make_row(*state, &rows[i], &out, &e), &e, ERR_INVALID);
		assert_non_null(strstr(e.msg, rows[i].text));
		assert_string_equal(out.hosts, "untouched");
	}
}

static void test_too_long(void **state)
{
	Containerd__Sandbox__DNSConfig d = CONTAINERD__SANDBOX__DNSCONFIG__INIT;
	OWN(free) char *name = mem_zalloc(POD_FILE_MAX + 1);
	struct pod_files out;
	struct err e;

	assert_non_null(name);
	memset(name, 'a', POD_FILE_MAX);
	d.searches = &name;
	d.n_searches = 1;
	assert_err(make(*state, &d, &out, &e), &e, ERR_NO_MEMORY);
	assert_non_null(strstr(e.msg, "dns_config"));
}

/* ---- the host's ---- */

static void test_copies(void **state)
{
	struct fixture *f = *state;
	struct pod_files out;
	struct err e;

	assert_ok(make(f, NULL, &out, &e), &e);
	assert_string_equal(out.hosts, HOSTS);
	assert_string_equal(out.resolv_conf, RESOLV);
}

static void test_host_without_files(void **state)
{
	OWN(free) char *much = mem_zalloc(POD_FILE_MAX + 1);
	struct fixture *f = *state;
	struct pod_files out;
	struct err e;

	assert_non_null(much);
	memset(much, '#', POD_FILE_MAX + 1);
	put(f, "hosts", much, POD_FILE_MAX + 1);
	assert_int_equal(unlinkat(f->etc, "resolv.conf", 0), 0);
	assert_ok(make(f, NULL, &out, &e), &e);
	assert_non_null(strstr(out.hosts, "127.0.0.1\tlocalhost\n"));
	assert_null(out.resolv_conf);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_dns_config, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_words_that_are_none, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_too_long, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_copies, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_host_without_files, set_up, tear_down),
	};

	return cmocka_run_group_tests_name("pod_files", tests, NULL, NULL);
}
