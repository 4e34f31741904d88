/* SPDX-License-Identifier: Apache-2.0 */
/* rtnetlink messages. */
#include "wire/netlink.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include "base/err.h"
#include "base/own.h"
#include "base/time.h"

enum {
	RECEIVE_SIZE = 16 * 1024,
	ANSWER_SECONDS = 10,
	ERRNO_MAX = 4095
};

#define ALIGN(n) (((n) + 3U) & ~(size_t)3)

/* ---- requests ---- */

static void *take_room(struct nl_request *r, size_t len)
{
	size_t padded = ALIGN(len);
	uint8_t *p = r->data + r->len;

	if (r->overflow || len > NL_REQUEST_MAX || padded > NL_REQUEST_MAX - r->len) {
		r->overflow = true;
		return NULL;
	}
	memset(p, 0, padded);
	r->len += padded;
	return p;
}

void nl_start(struct nl_request *r, uint16_t type, uint16_t flags, const void *fixed,
	      size_t fixed_len)
{
	struct nlmsghdr h = { .nlmsg_type = type, .nlmsg_flags = flags | NLM_F_REQUEST };
	void *p;

	r->len = 0;
	r->overflow = false;
	p = take_room(r, sizeof(h));
	memcpy(p, &h, sizeof(h));
	p = take_room(r, fixed_len);
	if (p && fixed_len)
		memcpy(p, fixed, fixed_len);
}

void nl_put(struct nl_request *r, uint16_t type, const void *data, size_t len)
{
	struct rtattr a = { .rta_type = type };
	uint8_t *p;

	if (len > NL_REQUEST_MAX) {
		r->overflow = true;
		return;
	}
	a.rta_len = (unsigned short)(sizeof(a) + len);
	p = take_room(r, sizeof(a) + len);
	if (!p)
		return;
	memcpy(p, &a, sizeof(a));
	if (len)
		memcpy(p + sizeof(a), data, len);
}

void nl_put_u32(struct nl_request *r, uint16_t type, uint32_t v)
{
	nl_put(r, type, &v, sizeof(v));
}

void nl_put_str(struct nl_request *r, uint16_t type, const char *s)
{
	nl_put(r, type, s, strlen(s) + 1);
}

size_t nl_nest(struct nl_request *r, uint16_t type)
{
	size_t at = r->len;

	nl_put(r, type, NULL, 0);
	return at;
}

void nl_nest_end(struct nl_request *r, size_t at)
{
	struct rtattr a;

	if (r->overflow)
		return;
	memcpy(&a, r->data + at, sizeof(a));
	a.rta_len = (unsigned short)(r->len - at);
	memcpy(r->data + at, &a, sizeof(a));
}

/* ---- answers ---- */

int nl_next(const uint8_t **p, size_t *left, const struct nlmsghdr **out)
{
	const struct nlmsghdr *h = (const void *)*p;
	size_t step;

	if (*left == 0)
		return 0;
	if (*left < sizeof(*h) || h->nlmsg_len < sizeof(*h) || h->nlmsg_len > *left)
		return -1;
	step = ALIGN((size_t)h->nlmsg_len);
	if (step > *left)
		step = *left;
	*p += step;
	*left -= step;
	*out = h;
	return 1;
}

static int parse_attrs(const uint8_t *p, size_t left, struct nl_attr *table, uint16_t max)
{
	memset(table, 0, sizeof(*table) * ((size_t)max + 1));
	while (left) {
		struct rtattr a;
		size_t step;
		uint16_t type;

		if (left < sizeof(a))
			return -1;
		memcpy(&a, p, sizeof(a));
		if (a.rta_len < sizeof(a) || a.rta_len > left)
			return -1;
		type = a.rta_type & NLA_TYPE_MASK;
		if (type <= max)
			table[type] = (struct nl_attr){ p + sizeof(a), a.rta_len - sizeof(a) };
		step = ALIGN((size_t)a.rta_len);
		if (step > left)
			step = left;
		p += step;
		left -= step;
	}
	return 0;
}

int nl_parse(const struct nlmsghdr *m, size_t fixed_len, struct nl_attr *table, uint16_t max)
{
	size_t head = sizeof(*m) + ALIGN(fixed_len);

	if (m->nlmsg_len < head)
		return -1;
	return parse_attrs((const uint8_t *)m + head, m->nlmsg_len - head, table, max);
}

int nl_parse_nested(const struct nl_attr *a, struct nl_attr *table, uint16_t max)
{
	return a->data ? parse_attrs(a->data, a->len, table, max) : -1;
}

int nl_get_u32(const struct nl_attr *a, uint32_t *out)
{
	if (!a->data || a->len != sizeof(*out))
		return -1;
	memcpy(out, a->data, sizeof(*out));
	return 0;
}

int nl_get_str(const struct nl_attr *a, char *out, size_t size)
{
	if (!a->data || a->len == 0 || a->len > size || !memchr(a->data, '\0', a->len))
		return -1;
	memcpy(out, a->data, a->len);
	return 0;
}

/* ---- talking ---- */

int nl_open(int *out, struct err *e)
{
	OWN(fd) int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
	struct timeval limit = { .tv_sec = ANSWER_SECONDS };

	if (fd < 0)
		return err_sys(e, "netlink socket");
	/* the kernel answers within the call; a limit all the same */
	if (setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit)) < 0)
		return err_sys(e, "netlink socket");
	*out = fd_take(&fd);
	return 0;
}

struct answer {
	uint32_t seq;
	bool done;
	int (*each)(const struct nlmsghdr *m, void *arg, struct err *e);
	void *arg;
};

/* The number that an error and the end of a dump begin with: 0 or a negative errno. */
static int take_error(const struct nlmsghdr *m, struct err *e)
{
	int error;

	if (m->nlmsg_len < sizeof(*m) + sizeof(error))
		return err_set(e, ERR_PEER, 0, "broken netlink message");
	memcpy(&error, m + 1, sizeof(error));
	if (error > 0 || error < -ERRNO_MAX)
		return err_set(e, ERR_PEER, 0, "netlink error %d", error);
	return error ? err_set(e, ERR_SYS, -error, "netlink") : 0;
}

static int take_message(struct answer *a, const struct nlmsghdr *m, struct err *e)
{
	if (m->nlmsg_seq != a->seq)
		return 0; /* of an earlier call that was given up */
	if (m->nlmsg_type == NLMSG_ERROR || m->nlmsg_type == NLMSG_DONE) {
		a->done = true;
		return take_error(m, e);
	}
	return a->each ? a->each(m, a->arg, e) : 0;
}

static int take_datagram(struct answer *a, const uint8_t *p, size_t len, struct err *e)
{
	const struct nlmsghdr *m;
	int rc;

	while (!a->done && (rc = nl_next(&p, &len, &m)) != 0) {
		if (rc < 0)
			return err_set(e, ERR_PEER, 0, "broken netlink message");
		if (take_message(a, m, e) < 0)
			return -1;
	}
	return 0;
}

static int receive(int fd, struct answer *a, struct err *e)
{
	uint8_t buf[RECEIVE_SIZE] __attribute__((aligned(4)));

	while (!a->done) {
		struct sockaddr_nl from = { .nl_family = AF_NETLINK };
		socklen_t from_len = sizeof(from);
		ssize_t n = recvfrom(fd, buf, sizeof(buf), MSG_TRUNC, (struct sockaddr *)&from,
				     &from_len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return err_sys(e, "netlink receive");
		if (from.nl_pid != 0)
			continue; /* of another process, which may say anything */
		if ((size_t)n > sizeof(buf))
			return err_set(e, ERR_PEER, 0, "netlink message of %zd bytes", n);
		if (take_datagram(a, buf, (size_t)n, e) < 0)
			return -1;
	}
	return 0;
}

int nl_call(int fd, struct nl_request *r,
	    int (*each)(const struct nlmsghdr *m, void *arg, struct err *e), void *arg,
	    struct err *e)
{
	struct sockaddr_nl kernel = { .nl_family = AF_NETLINK };
	struct answer a = { .each = each, .arg = arg };
	struct nlmsghdr h;

	if (r->overflow)
		return err_set(e, ERR_INVALID, 0, "netlink request of more than %d bytes",
			       NL_REQUEST_MAX);
	memcpy(&h, r->data, sizeof(h));
	h.nlmsg_len = (uint32_t)r->len;
	/* numbers need only differ from the calls before on this socket */
	h.nlmsg_seq = a.seq = (uint32_t)time_mono_us();
	if ((h.nlmsg_flags & NLM_F_DUMP) != NLM_F_DUMP)
		h.nlmsg_flags |= NLM_F_ACK;
	memcpy(r->data, &h, sizeof(h));
	if (sendto(fd, r->data, r->len, 0, (struct sockaddr *)&kernel, sizeof(kernel)) < 0)
		return err_sys(e, "netlink send");
	return receive(fd, &a, e);
}

int nl_listen(unsigned groups, int *out, struct err *e)
{
	struct sockaddr_nl addr = { .nl_family = AF_NETLINK, .nl_groups = groups };
	OWN(fd)
	int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, NETLINK_ROUTE);

	if (fd < 0 || bind(fd, (struct sockaddr *)&addr, sizeof(addr)) < 0)
		return err_sys(e, "netlink socket");
	*out = fd_take(&fd);
	return 0;
}

bool nl_drain(int fd, bool (*counts)(const struct nlmsghdr *m, void *arg), void *arg)
{
	uint8_t buf[RECEIVE_SIZE] __attribute__((aligned(4)));
	const struct nlmsghdr *m;
	bool any = false;

	for (;;) {
		ssize_t n = recv(fd, buf, sizeof(buf), MSG_TRUNC);
		const uint8_t *p = buf;
		size_t left = (size_t)n;
		int rc = 1;

		if (n < 0 && (errno == ENOBUFS || errno == EINTR)) {
			any |= errno == ENOBUFS; /* says so once: the rest is still there */
			continue;
		}
		if (n <= 0)
			return any;
		any |= left > sizeof(buf);
		while (!any && (rc = nl_next(&p, &left, &m)) > 0)
			any = counts(m, arg);
		any |= rc < 0;
	}
}
