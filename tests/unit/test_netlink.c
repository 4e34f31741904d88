/* SPDX-License-Identifier: Apache-2.0 */
/*
 * rtnetlink: requests as the kernel reads them, answers of the real kernel, and answers that
 * no kernel gives. For the last a child plays the kernel on a socket pair.
 */
#include "unit.h"

#include <arpa/inet.h>
#include <errno.h>
#include <net/if.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/own.h"
#include "wire/netlink.h"

static const struct nlmsghdr *header(const struct nl_request *r)
{
	return (const void *)r->data;
}

static void test_request(void **state)
{
	const struct ifinfomsg link = { .ifi_index = 7 };
	struct nl_attr table[IFLA_MAX + 1], inner[IFLA_INFO_MAX + 1];
	struct nl_request r;
	struct nlmsghdr *h;
	char text[16];
	size_t at;
	uint32_t n;

	nl_start(&r, RTM_NEWLINK, NLM_F_CREATE, &link, sizeof(link));
	assert_int_equal(header(&r)->nlmsg_type, RTM_NEWLINK);
	assert_int_equal(header(&r)->nlmsg_flags, NLM_F_CREATE | NLM_F_REQUEST);
	nl_put_str(&r, IFLA_IFNAME, "eth0");
	nl_put_u32(&r, IFLA_MTU, 1500);
	at = nl_nest(&r, IFLA_LINKINFO);
	nl_put_str(&r, IFLA_INFO_KIND, "veth");
	nl_nest_end(&r, at);
	nl_put(&r, IFLA_IFALIAS, NULL, 0);
	assert_false(r.overflow);
	assert_int_equal(r.len % 4, 0);

	h = (struct nlmsghdr *)(void *)r.data;
	h->nlmsg_len = (uint32_t)r.len;
	assert_int_equal(nl_parse(h, sizeof(link), table, IFLA_MAX), 0);
	assert_int_equal(nl_get_str(&table[IFLA_IFNAME], text, sizeof(text)), 0);
	assert_string_equal(text, "eth0");
	assert_int_equal(nl_get_str(&table[IFLA_IFNAME], text, 4), -1);
	assert_int_equal(nl_get_u32(&table[IFLA_MTU], &n), 0);
	assert_int_equal(n, 1500);
	assert_int_equal(nl_get_u32(&table[IFLA_IFNAME], &n), -1);
	assert_int_equal(nl_get_u32(&table[IFLA_TXQLEN], &n), -1);
	assert_non_null(table[IFLA_IFALIAS].data);
	assert_int_equal(table[IFLA_IFALIAS].len, 0);
	assert_int_equal(nl_get_str(&table[IFLA_IFALIAS], text, sizeof(text)), -1);
	assert_int_equal(nl_parse_nested(&table[IFLA_LINKINFO], inner, IFLA_INFO_MAX), 0);
	assert_int_equal(nl_get_str(&inner[IFLA_INFO_KIND], text, sizeof(text)), 0);
	assert_string_equal(text, "veth");
	assert_int_equal(nl_parse_nested(&table[IFLA_TXQLEN], inner, IFLA_INFO_MAX), -1);
}

static void test_request_overflow(void **state)
{
	static const char big[NL_REQUEST_MAX + 1];
	struct nl_request r;
	struct err e;
	size_t at;

	/* exactly full, and one more */
	nl_start(&r, RTM_GETLINK, 0, NULL, 0);
	nl_put(&r, 1, big, NL_REQUEST_MAX - sizeof(struct nlmsghdr) - sizeof(struct rtattr));
	assert_false(r.overflow);
	assert_int_equal(r.len, NL_REQUEST_MAX);
	at = nl_nest(&r, 2);
	assert_true(r.overflow);
	nl_nest_end(&r, at);
	assert_int_equal(r.len, NL_REQUEST_MAX);
	assert_err(nl_call(-1, &r, NULL, NULL, &e), &e, ERR_INVALID);
	assert_non_null(strstr(e.msg, "netlink request of more than 4096 bytes"));

	nl_start(&r, RTM_GETLINK, 0, NULL, 0);
	assert_false(r.overflow);
	nl_put(&r, 1, big, sizeof(big));
	assert_true(r.overflow);
	nl_start(&r, RTM_GETLINK, 0, big, sizeof(big));
	assert_true(r.overflow);
}

static void test_broken_answers(void **state)
{
	uint8_t data[64] __attribute__((aligned(4))) = { 0 };
	struct nlmsghdr h = { .nlmsg_len = 24, .nlmsg_type = RTM_NEWLINK };
	struct rtattr a = { .rta_len = 8, .rta_type = 1 };
	const struct nlmsghdr *m;
	struct nl_attr table[2];
	const uint8_t *p = data;
	size_t left = 24;

	memcpy(data, &h, sizeof(h));
	memcpy(data + 16, &a, sizeof(a));
	assert_int_equal(nl_next(&p, &left, &m), 1);
	assert_int_equal(nl_parse(m, 0, table, 1), 0);
	assert_int_equal(table[1].len, 4);
	assert_int_equal(nl_next(&p, &left, &m), 0);
	assert_int_equal(nl_parse(m, 8, table, 1), 0); /* nothing behind the fixed part */
	assert_null(table[1].data);
	assert_int_equal(nl_parse(m, 12, table, 1), -1);
	for (unsigned len = 0; len < 16; len++) { /* shorter than a header, or than it says */
		p = data;
		left = len ? len : 23;
		assert_int_equal(nl_next(&p, &left, &m), -1);
	}
	h.nlmsg_len = 15;
	memcpy(data, &h, sizeof(h));
	p = data;
	left = sizeof(data);
	assert_int_equal(nl_next(&p, &left, &m), -1);
	h.nlmsg_len = 24;
	memcpy(data, &h, sizeof(h));
	for (unsigned len = 0; len < 20; len++) { /* an attribute's length */
		a.rta_len = (unsigned short)len;
		memcpy(data + 16, &a, sizeof(a));
		/* 4: none behind it but four bytes that are none either; 5 to 8: padded */
		assert_int_equal(nl_parse((const void *)data, 0, table, 1),
				 len >= 5 && len <= 8 ? 0 : -1);
	}
}

/* ---- the kernel's own answers ---- */

struct seen {
	int count;
	int stop_at; /* fails there; 0: never */
	bool has_lo;
};

static int see_link(const struct nlmsghdr *m, void *arg, struct err *e)
{
	struct nl_attr table[IFLA_MAX + 1];
	struct seen *s = arg;
	char name[IF_NAMESIZE];

	if (++s->count == s->stop_at)
		return err_set(e, ERR_STATE, 0, "enough");
	assert_int_equal(m->nlmsg_type, RTM_NEWLINK);
	assert_int_equal(nl_parse(m, sizeof(struct ifinfomsg), table, IFLA_MAX), 0);
	assert_int_equal(nl_get_str(&table[IFLA_IFNAME], name, sizeof(name)), 0);
	s->has_lo |= strcmp(name, "lo") == 0;
	return 0;
}

static void test_kernel(void **state)
{
	struct ifinfomsg link = { .ifi_index = 0 };
	struct seen s = { 0 }, first = { .stop_at = 1 };
	OWN(fd) int fd = -1;
	struct nl_request r;
	struct err e;

	assert_ok(nl_open(&fd, &e), &e);
	nl_start(&r, RTM_GETLINK, NLM_F_DUMP, &link, sizeof(link));
	assert_ok(nl_call(fd, &r, see_link, &s, &e), &e);
	assert_true(s.has_lo);
	/* a call given up leaves answers on the socket: the next is not confused by them */
	nl_start(&r, RTM_GETLINK, NLM_F_DUMP, &link, sizeof(link));
	assert_err(nl_call(fd, &r, see_link, &first, &e), &e, ERR_STATE);
	link.ifi_index = (int)if_nametoindex("lo");
	s = (struct seen){ 0 };
	nl_start(&r, RTM_GETLINK, 0, &link, sizeof(link));
	assert_ok(nl_call(fd, &r, see_link, &s, &e), &e);
	assert_int_equal(s.count, 1);
	assert_true(s.has_lo);
	link.ifi_index = 0x7ffffff0;
	nl_start(&r, RTM_GETLINK, 0, &link, sizeof(link));
	assert_err(nl_call(fd, &r, NULL, NULL, &e), &e, ERR_SYS);
	assert_int_equal(e.sys, ENODEV);
	assert_string_equal(e.msg, "netlink: No such device");
}

/* ---- answers that no kernel gives ---- */

/* One answer, and what the caller makes of it. */
struct lie {
	const char *what;
	uint16_t type;
	uint32_t seq_off; /* added to the request's number */
	int32_t error;    /* the body, for errors and ends */
	uint32_t len;     /* as the header says; 0: the truth */
	size_t size;      /* of the datagram; 0: header and body */
	enum err_kind kind;
	int sys;
	const char *text;
};

static const struct lie lies[] = {
	{ "success", NLMSG_ERROR, 0, 0, 0, 0, ERR_NONE, 0, "" },
	{ "end", NLMSG_DONE, 0, 0, 0, 0, ERR_NONE, 0, "" },
	{ "refusal", NLMSG_ERROR, 0, -EEXIST, 0, 0, ERR_SYS, EEXIST, "netlink: File exists" },
	{ "a dump that fails", NLMSG_DONE, 0, -EBUSY, 0, 0, ERR_SYS, EBUSY, "netlink: " },
	{ "an error above zero", NLMSG_ERROR, 0, 17, 0, 0, ERR_PEER, 0, "netlink error 17" },
	{ "the least number", NLMSG_ERROR, 0, INT32_MIN, 0, 0, ERR_PEER, 0,
	  "netlink error -2" },
	{ "an error without number", NLMSG_ERROR, 0, 0, 16, 16, ERR_PEER, 0, "broken netlink" },
	{ "too short", NLMSG_ERROR, 0, 0, 0, 7, ERR_PEER, 0, "broken netlink message" },
	{ "too long", NLMSG_ERROR, 0, 0, 21, 0, ERR_PEER, 0, "broken netlink message" },
	{ "much too long", NLMSG_ERROR, 0, 0, 0, 20000, ERR_PEER, 0,
	  "netlink message of 20000" },
	{ "another's answer, then silence", NLMSG_ERROR, 1, 0, 0, 0, ERR_SYS, EAGAIN,
	  "netlink receive" },
};

static _Noreturn void play_kernel(int fd, const struct lie *l)
{
	uint8_t in[NL_REQUEST_MAX], out[20000] = { 0 };
	struct nlmsghdr h;

	if (recv(fd, in, sizeof(in), 0) < (ssize_t)sizeof(h))
		_exit(2);
	memcpy(&h, in, sizeof(h));
	if (!(h.nlmsg_flags & NLM_F_ACK))
		_exit(3);
	h.nlmsg_type = l->type;
	h.nlmsg_seq += l->seq_off;
	h.nlmsg_len = l->len ? l->len : (uint32_t)(sizeof(h) + sizeof(l->error));
	memcpy(out, &h, sizeof(h));
	memcpy(out + sizeof(h), &l->error, sizeof(l->error));
	if (send(fd, out, l->size ? l->size : sizeof(h) + sizeof(l->error), 0) < 0)
		_exit(4);
	_exit(recv(fd, in, sizeof(in), 0) == 0 ? 0 : 5); /* until the caller has enough */
}

static void test_lies(void **state)
{
	const struct timeval limit = { .tv_usec = 50 * 1000 };

	for (size_t i = 0; i < ARRAY_LEN(lies); i++) {
		const struct lie *l = &lies[i];
		struct err e = ERR_INIT;
		struct nl_request r;
		int pair[2], status;
		pid_t pid;

		/* keeps datagrams apart and takes an address it does not know, as netlink */
		assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair),
				 0);
		assert_int_equal(
			setsockopt(pair[0], SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit)), 0);
		pid = fork();
		assert_true(pid >= 0);
		if (pid == 0) {
			(void)close(pair[0]);
			play_kernel(pair[1], l);
		}
		(void)close(pair[1]);
		nl_start(&r, RTM_GETLINK, 0, NULL, 0);
		(void)nl_call(pair[0], &r, NULL, NULL, &e);
		(void)close(pair[0]);
		assert_int_equal(waitpid(pid, &status, 0), pid);
		if (status || e.kind != l->kind || e.sys != l->sys || !strstr(e.msg, l->text))
			fail_msg("%s: status %d, %s %d: %s", l->what, status,
				 err_kind_name(e.kind), e.sys, e.msg);
	}
}

/* ---- announcements ---- */

static bool is_link(const struct nlmsghdr *m, void *arg)
{
	++*(int *)arg;
	return m->nlmsg_type == RTM_NEWLINK;
}

static void announce(int fd, uint16_t first, uint16_t second, size_t size)
{
	struct nlmsghdr h[2] = { { .nlmsg_len = sizeof(h[0]), .nlmsg_type = first },
				 { .nlmsg_len = sizeof(h[0]), .nlmsg_type = second } };

	assert_int_equal(send(fd, h, size, 0), (ssize_t)size);
}

static void test_announcements(void **state)
{
	const size_t both = 2 * sizeof(struct nlmsghdr);
	int pair[2], seen = 0;

	assert_int_equal(
		socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair), 0);
	assert_false(nl_drain(pair[0], is_link, &seen));
	announce(pair[1], RTM_NEWNEIGH, RTM_DELNEIGH, both);
	announce(pair[1], RTM_NEWNEIGH, RTM_DELNEIGH, both);
	assert_false(nl_drain(pair[0], is_link, &seen));
	assert_int_equal(seen, 4);
	announce(pair[1], RTM_NEWNEIGH, RTM_NEWLINK, both);
	announce(pair[1], RTM_NEWNEIGH, RTM_DELNEIGH, both);
	assert_true(nl_drain(pair[0], is_link, &seen)); /* all are taken, none asked about */
	assert_int_equal(seen, 6);
	assert_false(nl_drain(pair[0], is_link, &seen));
	announce(pair[1], RTM_NEWNEIGH, RTM_DELNEIGH, both - 1); /* one that is cut */
	assert_true(nl_drain(pair[0], is_link, &seen));
	(void)close(pair[1]);
	assert_false(nl_drain(pair[0], is_link, &seen));
	(void)close(pair[0]);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_request),        cmocka_unit_test(test_request_overflow),
		cmocka_unit_test(test_broken_answers), cmocka_unit_test(test_kernel),
		cmocka_unit_test(test_lies),           cmocka_unit_test(test_announcements),
	};

	return cmocka_run_group_tests_name("netlink", tests, NULL, NULL);
}
