/* SPDX-License-Identifier: Apache-2.0 */
/* The network "user": ports as -p takes them, and passt's command line. */
#include "unit.h"

#include <stdlib.h>
#include <string.h>

#include "base/own.h"
#include "base/str.h"
#include "net/user_net.h"
#include "net/user_net_args.h"

static void test_ports(void **state)
{
	static const struct {
		const char *text, *addr;
		uint16_t host, guest;
		enum user_net_proto proto;
	} rows[] = {
		{ "80:8080", NULL, 80, 8080, USER_NET_TCP },
		{ "53:53/udp", NULL, 53, 53, USER_NET_UDP },
		{ "127.0.0.1:1:65535/TCP", "127.0.0.1", 1, 65535, USER_NET_TCP },
		{ "[::1]:5:6", "::1", 5, 6, USER_NET_TCP },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		OWN(free) char *addr = NULL;
		struct user_net_port p;
		struct err e;

		assert_ok(user_net_parse_port(rows[i].text, &p, &addr, &e), &e);
		assert_true(str_eq(addr, rows[i].addr));
		assert_int_equal(p.host_port, rows[i].host);
		assert_int_equal(p.guest_port, rows[i].guest);
		assert_int_equal(p.proto, rows[i].proto);
	}
}

static void test_bad_ports(void **state)
{
	static const char *const rows[] = {
		"",          "80",       "80:",        ":80",  "0:80",
		"80:0",      "65536:1",  "80:80/sctp", "a:b",  "80:80:80",
		"1.2.3:1:1", "[::1:1:1", "[x]:1:1",    "1:1/", "-1:1",
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct user_net_port p;
		char *addr = NULL;
		struct err e;

		assert_err(user_net_parse_port(rows[i], &p, &addr, &e), &e, ERR_INVALID);
	}
}

static bool has_pair(const struct strv *v, const char *option, const char *value)
{
	for (size_t i = 0; i + 1 < v->n; i++) {
		if (str_eq(v->v[i], option) && str_eq(v->v[i + 1], value))
			return true;
	}
	return false;
}

static bool has_word(const struct strv *v, const char *word)
{
	for (size_t i = 0; i < v->n; i++) {
		if (str_eq(v->v[i], word))
			return true;
	}
	return false;
}

static void test_arguments(void **state)
{
	const struct user_net_port ports[] = {
		{ .proto = USER_NET_TCP,
		  .host_addr = "127.0.0.1",
		  .host_port = 80,
		  .guest_port = 81 },
		{ .proto = USER_NET_UDP, .host_addr = "", .host_port = 5, .guest_port = 6 },
	};
	struct user_net_config c = { .program = "/bin/true", .ports = ports, .port_count = 2 };
	struct user_net_guest g = { .ipv4 = USER_NET_IPV4,
				    .gateway4 = USER_NET_GATEWAY4,
				    .ipv4_prefix = 24,
				    .dns = { USER_NET_DNS4 },
				    .dns_count = 1 };
	OWN(strv) struct strv v = { 0 };
	struct err e;

	(void)state;
	assert_ok(user_net_args(&c, &g, &v, &e), &e);
	assert_string_equal(v.v[0], "/bin/true");
	assert_true(
		has_word(&v, "--no-map-gw")); /* what keeps the host's loopback out of reach */
	assert_true(has_word(&v, "--ipv4-only"));
	assert_true(has_pair(&v, "--address", USER_NET_IPV4));
	assert_true(has_pair(&v, "--dns-forward", USER_NET_DNS4));
	assert_true(has_pair(&v, "--tcp-ports", "127.0.0.1/80:81"));
	assert_true(has_pair(&v, "--udp-ports", "5:6"));
}

static void test_arguments_refused(void **state)
{
	const struct user_net_port bad[] = {
		{ .host_addr = "-t all", .host_port = 1, .guest_port = 1 },
		{ .host_addr = "", .host_port = 0, .guest_port = 1 },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		struct user_net_config c = { .program = "/bin/true",
					     .ports = &bad[i],
					     .port_count = 1 };
		struct user_net_guest g = { .ipv4 = USER_NET_IPV4 };
		OWN(strv) struct strv v = { 0 };
		struct err e;

		assert_err(user_net_args(&c, &g, &v, &e), &e, ERR_INVALID);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_ports),
		cmocka_unit_test(test_bad_ports),
		cmocka_unit_test(test_arguments),
		cmocka_unit_test(test_arguments_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
