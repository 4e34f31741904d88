/* SPDX-License-Identifier: Apache-2.0 */
/* Connections to the loopback of a namespace, to whatever port, come to two sockets. */
#include "unit.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <netinet/in.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/own.h"
#include "net/loopback.h"

static int ns = -1;

static int dial(const char *address, uint16_t port)
{
	struct sockaddr_in v4 = { .sin_family = AF_INET, .sin_port = htons(port) };
	struct sockaddr_in6 v6 = { .sin6_family = AF_INET6, .sin6_port = htons(port) };
	bool is_v4 = inet_pton(AF_INET, address, &v4.sin_addr) == 1;
	OWN(fd) int fd = socket(is_v4 ? AF_INET : AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);

	assert_true(is_v4 || inet_pton(AF_INET6, address, &v6.sin6_addr) == 1);
	assert_true(fd >= 0);
	if (connect(fd, is_v4 ? (void *)&v4 : (void *)&v6, is_v4 ? sizeof(v4) : sizeof(v6)) < 0)
		return -errno;
	return fd_take(&fd);
}

/* It arrives, and its own name is what was asked for. */
static void assert_taken(int listening, const char *address, uint16_t port)
{
	struct sockaddr_in6 name = { .sin6_family = AF_UNSPEC }; /* or IPv4's, as to the port */
	socklen_t len = sizeof(name);
	OWN(fd) int ours = dial(address, port);
	OWN(fd) int theirs = -1;

	if (ours < 0)
		fail_msg("%s port %u: %s", address, port, strerror(-ours));
	theirs = accept(listening, NULL, NULL);
	assert_true(theirs >= 0);
	assert_int_equal(getsockname(theirs, (void *)&name, &len), 0);
	assert_int_equal(ntohs(name.sin6_port), port);
}

/* lo is up, and has two addresses that are not the loopback's. */
static void prepare_addresses(void)
{
	struct ifreq r = { .ifr_name = "lo", .ifr_flags = IFF_UP };
	struct {
		struct in6_addr address;
		uint32_t prefix;
		int index;
	} v6 = { .prefix = 128 };
	OWN(fd) int s4 = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	OWN(fd) int s6 = socket(AF_INET6, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	struct sockaddr_in a = { .sin_family = AF_INET };

	assert_int_equal(ioctl(s4, SIOCSIFFLAGS, &r), 0);
	(void)snprintf(r.ifr_name, sizeof(r.ifr_name), "lo:1");
	assert_int_equal(inet_pton(AF_INET, "198.51.100.7", &a.sin_addr), 1);
	memcpy(&r.ifr_addr, &a, sizeof(a));
	assert_int_equal(ioctl(s4, SIOCSIFADDR, &r), 0);
	v6.index = (int)if_nametoindex("lo");
	assert_int_equal(inet_pton(AF_INET6, "2001:db8::7", &v6.address), 1);
	assert_int_equal(ioctl(s6, SIOCSIFADDR, &v6), 0);
}

static void prepare(void)
{
	assert_int_equal(unshare(CLONE_NEWNET), 0);
	ns = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
	assert_true(ns >= 0);
	prepare_addresses();
}

static void test_any_port(void **state)
{
	struct loopback l = LOOPBACK_INIT;
	struct err e;

	(void)state;
	if (geteuid() != 0)
		skip_because("only root can enter a network namespace");
	prepare();
	assert_int_equal(dial("127.0.0.1", 80), -ECONNREFUSED);
	assert_ok(loopback_open(ns, &l, &e), &e);
	assert_taken(l.sockets[0], "127.0.0.1", 80);
	assert_taken(l.sockets[0], "127.0.0.1", 65535);
	assert_taken(l.sockets[0], "127.1.2.3", 1);
	if (l.sockets[1] >= 0)
		assert_taken(l.sockets[1], "::1", 8080);
	/* the rest of the namespace is as it was */
	assert_int_equal(dial("198.51.100.7", 80), -ECONNREFUSED);
	assert_int_equal(dial("2001:db8::7", 80), -ECONNREFUSED);
	loopback_close(&l);
	assert_int_equal(dial("127.0.0.1", 80), -ECONNREFUSED);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_any_port),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
