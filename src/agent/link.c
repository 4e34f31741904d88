/* SPDX-License-Identifier: Apache-2.0 */
/* Links. */
#include "agent/link.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "base/err.h"
#include "base/str.h"
#include "wire/netlink.h"

bool mac_parse(const char *s, uint8_t out[LINK_MAC_LEN])
{
	uint8_t b[LINK_MAC_LEN];

	for (int i = 0; i < LINK_MAC_LEN; i++, s += 3) {
		if (!isxdigit((unsigned char)s[0]) || !isxdigit((unsigned char)s[1]) ||
		    s[2] != (i < LINK_MAC_LEN - 1 ? ':' : '\0'))
			return false;
		b[i] = (uint8_t)strtoul(s, NULL, 16);
	}
	memcpy(out, b, sizeof(b));
	return true;
}

void mac_text(const uint8_t m[LINK_MAC_LEN], char out[LINK_TEXT_MAC])
{
	(void)snprintf(out, LINK_TEXT_MAC, "%02x:%02x:%02x:%02x:%02x:%02x", m[0], m[1], m[2],
		       m[3], m[4], m[5]);
}

int ip_parse(const char *s, struct ip *out, struct err *e)
{
	const char *slash = strchr(s, '/');
	struct ip ip = { .family = strchr(s, ':') ? AF_INET6 : AF_INET };
	char text[64];
	uint64_t prefix;
	size_t n = slash ? (size_t)(slash - s) : strlen(s);

	if (n >= sizeof(text))
		return err_set(e, ERR_INVALID, 0, "address '%.64s'", s);
	memcpy(text, s, n);
	text[n] = '\0';
	ip.len = ip.family == AF_INET ? 4 : 16;
	ip.prefix = (unsigned)ip.len * 8;
	if (inet_pton(ip.family, text, ip.bytes) != 1)
		return err_set(e, ERR_INVALID, 0, "address '%.64s'", s);
	if (slash) {
		if (str_to_u64(slash + 1, 0, ip.len * 8, "prefix length", &prefix, e) < 0)
			return -1;
		ip.prefix = (unsigned)prefix;
	}
	*out = ip;
	return 0;
}

/* false: a message that is no link. */
static bool parse_link(const struct nlmsghdr *m, struct link *out)
{
	struct nl_attr a[IFLA_STATS64 + 1];
	struct ifinfomsg info;
	struct link l = { 0 };

	if (m->nlmsg_type != RTM_NEWLINK || nl_parse(m, sizeof(info), a, IFLA_STATS64) < 0)
		return false;
	memcpy(&info, m + 1, sizeof(info));
	l.index = info.ifi_index;
	l.flags = info.ifi_flags;
	if (nl_get_str(&a[IFLA_IFNAME], l.name, sizeof(l.name)) < 0)
		return false;
	(void)nl_get_u32(&a[IFLA_MTU], &l.mtu);
	if (a[IFLA_ADDRESS].data && a[IFLA_ADDRESS].len == LINK_MAC_LEN) {
		memcpy(l.mac, a[IFLA_ADDRESS].data, LINK_MAC_LEN);
		l.has_mac = true;
	}
	if (a[IFLA_STATS64].data) { /* newer kernels append members */
		size_t n = a[IFLA_STATS64].len;

		memcpy(&l.stats, a[IFLA_STATS64].data,
		       n < sizeof(l.stats) ? n : sizeof(l.stats));
		l.has_stats = true;
	}
	*out = l;
	return true;
}

struct walk {
	int (*each)(const struct link *l, void *arg, struct err *e);
	void *arg;
};

static int walk_link(const struct nlmsghdr *m, void *arg, struct err *e)
{
	struct walk *w = arg;
	struct link l;

	return parse_link(m, &l) ? w->each(&l, w->arg, e) : 0;
}

int link_each(int nl, int (*each)(const struct link *l, void *arg, struct err *e), void *arg,
	      struct err *e)
{
	struct ifinfomsg info = { .ifi_family = AF_UNSPEC };
	struct walk w = { each, arg };
	struct nl_request r;

	nl_start(&r, RTM_GETLINK, NLM_F_DUMP, &info, sizeof(info));
	if (nl_call(nl, &r, walk_link, &w, e) < 0)
		return err_wrap(e, "list links");
	return 0;
}

struct search {
	const char *name;
	const uint8_t *mac;
	struct link *out;
	bool found;
};

static int match(const struct link *l, void *arg, struct err *e)
{
	struct search *s = arg;

	(void)e;
	if (s->found || (s->name && !str_eq(l->name, s->name)) ||
	    (s->mac && (!l->has_mac || memcmp(l->mac, s->mac, LINK_MAC_LEN) != 0)))
		return 0;
	*s->out = *l;
	s->found = true;
	return 0;
}

int link_find(int nl, const char *name, const uint8_t *mac, struct link *out, bool *found,
	      struct err *e)
{
	struct search s = { name, mac, out, false };

	if (link_each(nl, match, &s, e) < 0)
		return -1;
	*found = s.found;
	return 0;
}

int link_change(int nl, int index, const char *name, uint32_t mtu, unsigned flags,
		unsigned mask, struct err *e)
{
	struct ifinfomsg info = {
		.ifi_family = AF_UNSPEC,
		.ifi_index = index,
		.ifi_flags = flags,
		.ifi_change = mask,
	};
	struct nl_request r;

	nl_start(&r, RTM_NEWLINK, 0, &info, sizeof(info));
	if (name)
		nl_put_str(&r, IFLA_IFNAME, name);
	if (mtu)
		nl_put_u32(&r, IFLA_MTU, mtu);
	return nl_call(nl, &r, NULL, NULL, e);
}

int link_set_mac(int nl, int index, const uint8_t mac[LINK_MAC_LEN], struct err *e)
{
	struct ifinfomsg info = { .ifi_family = AF_UNSPEC, .ifi_index = index };
	struct nl_request r;

	nl_start(&r, RTM_NEWLINK, 0, &info, sizeof(info));
	nl_put(&r, IFLA_ADDRESS, mac, LINK_MAC_LEN);
	return nl_call(nl, &r, NULL, NULL, e);
}
