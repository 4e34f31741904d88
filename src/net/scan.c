/* SPDX-License-Identifier: Apache-2.0 */
/* Four dumps: addresses decide which links count, then routes and neighbours of those. */
#include "net/scan.h"

#include <arpa/inet.h>
#include <linux/if.h>
#include <linux/if_arp.h>
#include <linux/neighbour.h>

#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "base/err.h"
#include "base/mem.h"
#include "base/own.h"
#include "wire/netlink.h"

const struct scan_link *scan_find(const struct scan *s, int index)
{
	for (size_t i = 0; i < s->link_count; i++) {
		if (s->links[i].index == index)
			return &s->links[i];
	}
	return NULL;
}

const struct scan_link *scan_double(const struct scan *s, const struct scan_link *l)
{
	for (size_t i = 0; i < s->link_count; i++) {
		if (s->links[i].index != l->index &&
		    memcmp(s->links[i].mac, l->mac, sizeof(l->mac)) == 0)
			return &s->links[i];
	}
	return NULL;
}

/* Each kind of row begins with its link's index. */
static size_t drop_rows(void *rows, size_t count, size_t size, int index)
{
	char *to = rows, *from = rows;

	for (size_t i = 0; i < count; i++, from += size) {
		if (memcmp(from, &index, sizeof(index)) == 0)
			continue;
		memmove(to, from, size);
		to += size;
	}
	return (size_t)(to - (char *)rows) / size;
}

void scan_drop(struct scan *s, int index)
{
	s->link_count = drop_rows(s->links, s->link_count, sizeof(*s->links), index);
	s->address_count =
		drop_rows(s->addresses, s->address_count, sizeof(*s->addresses), index);
	s->route_count = drop_rows(s->routes, s->route_count, sizeof(*s->routes), index);
	s->neighbor_count =
		drop_rows(s->neighbors, s->neighbor_count, sizeof(*s->neighbors), index);
}

static bool take_ip(const struct nl_attr *a, int family, unsigned prefix, struct scan_ip *out)
{
	size_t want = family == AF_INET ? 4 : 16;

	if (!a->data || a->len != want || (family != AF_INET && family != AF_INET6))
		return false;
	*out = (struct scan_ip){ .family = family, .prefix = prefix };
	memcpy(out->bytes, a->data, want);
	return true;
}

/* ---- addresses ---- */

/* "10.0.0.2 peer 10.0.0.1/32": the prefix is the other side's. */
static void take_peer(const struct nl_attr *a, const struct ifaddrmsg *info,
		      struct scan_address *row)
{
	size_t whole = info->ifa_family == AF_INET ? 32 : 128;
	struct scan_ip peer;

	if (!a[IFA_LOCAL].data ||
	    !take_ip(&a[IFA_ADDRESS], info->ifa_family, info->ifa_prefixlen, &peer) ||
	    memcmp(peer.bytes, row->ip.bytes, sizeof(peer.bytes)) == 0)
		return;
	for (size_t bit = peer.prefix; bit < whole; bit++)
		peer.bytes[bit / 8] &= (uint8_t) ~(0x80 >> bit % 8);
	row->peer = peer;
	row->ip.prefix = (unsigned)whole;
}

static int on_address(const struct nlmsghdr *m, void *arg, struct err *e)
{
	struct scan *s = arg;
	struct nl_attr a[IFA_FLAGS + 1];
	struct scan_address row = { 0 };
	struct ifaddrmsg info;

	if (m->nlmsg_type != RTM_NEWADDR || nl_parse(m, sizeof(info), a, IFA_FLAGS) < 0)
		return 0;
	memcpy(&info, m + 1, sizeof(info));
	if (info.ifa_scope >= RT_SCOPE_HOST)
		return 0;
	row.link = (int)info.ifa_index;
	if (!take_ip(a[IFA_LOCAL].data ? &a[IFA_LOCAL] : &a[IFA_ADDRESS], info.ifa_family,
		     info.ifa_prefixlen, &row.ip))
		return 0;
	row.scope = info.ifa_scope;
	row.flags = info.ifa_flags;
	(void)nl_get_u32(&a[IFA_FLAGS], &row.flags);
	if (row.flags & IFA_F_DADFAILED) /* it is another's */
		return 0;
	row.secondary = info.ifa_family == AF_INET && row.flags & IFA_F_SECONDARY;
	row.flags &= IFA_F_NOPREFIXROUTE | IFA_F_DEPRECATED;
	take_peer(a, &info, &row);
	if (s->address_count == SCAN_ROWS_MAX)
		return err_set(e, ERR_UNSUPPORTED, 0, "more than %d addresses", SCAN_ROWS_MAX);
	s->addresses[s->address_count++] = row;
	return 0;
}

/* Of links that do not count. */
static void drop_addresses_of_others(struct scan *s)
{
	size_t kept = 0;

	for (size_t i = 0; i < s->address_count; i++) {
		if (scan_find(s, s->addresses[i].link))
			s->addresses[kept++] = s->addresses[i];
	}
	s->address_count = kept;
}

/* ---- links ---- */

/* One that reaches beyond its own segment. */
static bool has_address(const struct scan *s, int index)
{
	for (size_t i = 0; i < s->address_count; i++) {
		if (s->addresses[i].link == index && s->addresses[i].scope < RT_SCOPE_LINK)
			return true;
	}
	return false;
}

static int on_link(const struct nlmsghdr *m, void *arg, struct err *e)
{
	struct scan *s = arg;
	struct nl_attr a[IFLA_MTU + 1];
	struct scan_link l = { 0 };
	struct ifinfomsg info;

	if (m->nlmsg_type != RTM_NEWLINK || nl_parse(m, sizeof(info), a, IFLA_MTU) < 0)
		return 0;
	memcpy(&info, m + 1, sizeof(info));
	l.index = info.ifi_index;
	if (info.ifi_flags & IFF_LOOPBACK || !has_address(s, l.index) ||
	    nl_get_str(&a[IFLA_IFNAME], l.name, sizeof(l.name)) < 0)
		return 0;
	if (info.ifi_type != ARPHRD_ETHER || a[IFLA_ADDRESS].len != sizeof(l.mac))
		return err_set(e, ERR_UNSUPPORTED, 0,
			       "link '%s' (ARPHRD %u) carries no Ethernet, which is what a "
			       "virtual machine's network is",
			       l.name, info.ifi_type);
	if (memcmp(a[IFLA_ADDRESS].data, l.mac, sizeof(l.mac)) == 0) /* zeroes */
		return err_set(e, ERR_UNSUPPORTED, 0,
			       "link '%s' has no hardware address, as a netkit of mode l3: "
			       "frames for it would reach nobody in the guest; mode l2 has one",
			       l.name);
	if (s->link_count == SCAN_LINKS_MAX)
		return err_set(e, ERR_UNSUPPORTED, 0, "more than %d links", SCAN_LINKS_MAX);
	memcpy(l.mac, a[IFLA_ADDRESS].data, sizeof(l.mac));
	(void)nl_get_u32(&a[IFLA_MTU], &l.mtu);
	l.no_arp = info.ifi_flags & IFF_NOARP;
	s->links[s->link_count++] = l;
	return 0;
}

/* ---- routes ---- */

static bool same_bits(const uint8_t *a, const uint8_t *b, unsigned bits)
{
	unsigned rest = bits % 8;

	return memcmp(a, b, bits / 8) == 0 &&
	       (rest == 0 || (a[bits / 8] ^ b[bits / 8]) >> (8 - rest) == 0);
}

static bool is_of_main_table(const struct rtmsg *r)
{
	return r->rtm_table == RT_TABLE_MAIN && r->rtm_type == RTN_UNICAST &&
	       (r->rtm_family == AF_INET || r->rtm_family == AF_INET6) &&
	       !(r->rtm_flags & RTM_F_CLONED) && r->rtm_protocol != RTPROT_RA;
}

/*
 * What the guest's kernel makes as well, for an address. NetworkManager makes it itself: it
 * says so of the address, and calls the route the kernel's.
 */
static bool is_made(const struct scan *s, const struct rtmsg *info, const struct scan_route *r)
{
	bool by_hand = false;

	if (info->rtm_protocol != RTPROT_KERNEL)
		return false;
	for (size_t i = 0; i < s->address_count; i++) {
		const struct scan_address *a = &s->addresses[i];

		if (a->link != r->link || a->ip.family != r->dst.family ||
		    a->ip.prefix != r->dst.prefix ||
		    !same_bits(a->ip.bytes, r->dst.bytes, r->dst.prefix))
			continue;
		if (!(a->flags & IFA_F_NOPREFIXROUTE))
			return true;
		by_hand = true;
	}
	return !by_hand;
}

/* Those of policy routing: which packets they are for say rules, and neither is handed on. */
static bool is_of_another_table(const struct rtmsg *r)
{
	return r->rtm_type == RTN_UNICAST && r->rtm_table != RT_TABLE_MAIN &&
	       r->rtm_table != RT_TABLE_LOCAL &&
	       (r->rtm_family == AF_INET || r->rtm_family == AF_INET6);
}

static bool is_dead(const struct rtmsg *r)
{
	return r->rtm_table == RT_TABLE_MAIN && r->rtm_protocol != RTPROT_KERNEL &&
	       (r->rtm_type == RTN_BLACKHOLE || r->rtm_type == RTN_UNREACHABLE ||
		r->rtm_type == RTN_PROHIBIT);
}

/* Of several ways to one place the guest is given the one that the host would take. */
static struct scan_route *find_destination(struct scan *s, const struct scan_route *like)
{
	for (size_t i = 0; i < s->route_count; i++) {
		struct scan_route *r = &s->routes[i];

		if (r->family == like->family &&
		    memcmp(&r->dst, &like->dst, sizeof(r->dst)) == 0)
			return r;
	}
	return NULL;
}

static int add_route(struct scan *s, const struct scan_route *row, struct err *e)
{
	struct scan_route *same = find_destination(s, row);

	if (same) {
		if (row->priority < same->priority)
			*same = *row;
		return 0;
	}
	if (s->route_count == SCAN_ROWS_MAX)
		return err_set(e, ERR_UNSUPPORTED, 0, "more than %d routes", SCAN_ROWS_MAX);
	s->routes[s->route_count++] = *row;
	return 0;
}

/* The kernel's own routes are left to the guest's, which makes none for a peer it is not told
 * of. */
static int add_ways_to_peers(struct scan *s, struct err *e)
{
	for (size_t i = 0; i < s->address_count; i++) {
		const struct scan_address *a = &s->addresses[i];
		struct scan_route row = { 0 };

		if (!a->peer.family || a->flags & IFA_F_NOPREFIXROUTE || !scan_find(s, a->link))
			continue;
		row.link = a->link;
		row.family = a->ip.family;
		row.dst = a->peer;
		row.source = a->ip;
		row.source.prefix = 0;
		row.scope = a->ip.family == AF_INET ? RT_SCOPE_LINK : RT_SCOPE_UNIVERSE;
		if (add_route(s, &row, e) < 0)
			return -1;
	}
	return 0;
}

static int refuse_several_hops(const struct rtmsg *info, const struct scan_ip *dst,
			       struct err *e)
{
	char text[INET6_ADDRSTRLEN] = "default";

	if (dst->family)
		(void)inet_ntop(dst->family, dst->bytes, text, sizeof(text));
	return err_set(e, ERR_UNSUPPORTED, 0, "the route to %s/%u has several next hops", text,
		       info->rtm_dst_len);
}

static int on_route(const struct nlmsghdr *m, void *arg, struct err *e)
{
	struct scan *s = arg;
	struct nl_attr a[RTA_ENCAP + 1], metrics[RTAX_MTU + 1];
	struct scan_route row = { 0 };
	struct rtmsg info;
	uint32_t link = 0;

	if (m->nlmsg_type != RTM_NEWROUTE || nl_parse(m, sizeof(info), a, RTA_ENCAP) < 0)
		return 0;
	memcpy(&info, m + 1, sizeof(info));
	s->other_tables |= is_of_another_table(&info);
	s->dead_routes |= is_dead(&info);
	if (!is_of_main_table(&info))
		return 0;
	(void)take_ip(&a[RTA_DST], info.rtm_family, info.rtm_dst_len, &row.dst);
	if (nl_get_u32(&a[RTA_OIF], &link) < 0)
		return refuse_several_hops(&info, &row.dst, e);
	row.link = (int)link;
	if (!scan_find(s, row.link) || is_made(s, &info, &row))
		return 0;
	if (a[RTA_VIA].data || a[RTA_ENCAP].data) /* without it, it would lead elsewhere */
		return err_set(e, ERR_UNSUPPORTED, 0, "a route of '%s' %s",
			       scan_find(s, row.link)->name,
			       a[RTA_VIA].data ? "by a gateway of the other family (via inet6)"
					       : "in a tunnel of its own (encap)");
	row.family = info.rtm_family;
	row.scope = info.rtm_scope;
	row.flags = info.rtm_flags & RTNH_F_ONLINK;
	(void)take_ip(&a[RTA_GATEWAY], info.rtm_family, 0, &row.gateway);
	(void)take_ip(&a[RTA_PREFSRC], info.rtm_family, 0, &row.source);
	if (nl_parse_nested(&a[RTA_METRICS], metrics, RTAX_MTU) == 0)
		(void)nl_get_u32(&metrics[RTAX_MTU], &row.mtu);
	(void)nl_get_u32(&a[RTA_PRIORITY], &row.priority);
	return add_route(s, &row, e);
}

/* A gateway must be reachable before a route goes through it. */
static void direct_first(struct scan *s)
{
	size_t at = 0;

	for (size_t i = 0; i < s->route_count; i++) {
		struct scan_route r = s->routes[i];

		if (r.gateway.family)
			continue;
		memmove(&s->routes[at + 1], &s->routes[at], (i - at) * sizeof(r));
		s->routes[at++] = r;
	}
}

/* ---- sources ---- */

static void widest_first(struct scan *s)
{
	size_t at = 0;

	for (size_t i = 0; i < s->address_count; i++) {
		struct scan_address a = s->addresses[i];

		if (a.scope >= RT_SCOPE_LINK)
			continue;
		memmove(&s->addresses[at + 1], &s->addresses[at], (i - at) * sizeof(a));
		s->addresses[at++] = a;
	}
}

static bool has_on_its_side(const struct scan_address *a, const struct scan_ip *ip)
{
	const struct scan_ip *side = a->peer.family ? &a->peer : &a->ip;

	return same_bits(side->bytes, ip->bytes, side->prefix);
}

/*
 * As the kernel does (net/ipv4/devinet.c, inet_select_addr()), by addresses' scopes and peers,
 * which the agent's protocol has no place for: the guest would choose otherwise.
 */
static void choose_source(const struct scan *s, struct scan_route *r)
{
	const struct scan_address *first = NULL;
	size_t count = 0;

	if (r->family != AF_INET || r->source.family)
		return;
	for (size_t i = 0; i < s->address_count; i++) {
		const struct scan_address *a = &s->addresses[i];

		if (a->link != r->link || a->ip.family != AF_INET)
			continue;
		count++;
		if (a->secondary || a->scope > r->scope)
			continue;
		if (r->gateway.family && has_on_its_side(a, &r->gateway)) {
			first = a;
			break;
		}
		if (!first)
			first = a;
	}
	if (!first || count < 2)
		return;
	r->source = first->ip;
	r->source.prefix = 0;
}

/* ---- neighbours ---- */

static int on_neighbor(const struct nlmsghdr *m, void *arg, struct err *e)
{
	struct scan *s = arg;
	struct scan_neighbor row = { 0 };
	struct nl_attr a[NDA_LLADDR + 1];
	struct ndmsg info;

	if (m->nlmsg_type != RTM_NEWNEIGH || nl_parse(m, sizeof(info), a, NDA_LLADDR) < 0)
		return 0;
	memcpy(&info, m + 1, sizeof(info));
	row.link = info.ndm_ifindex;
	if (!(info.ndm_state & NUD_PERMANENT) || !scan_find(s, row.link) ||
	    a[NDA_LLADDR].len != sizeof(row.mac) ||
	    !take_ip(&a[NDA_DST], info.ndm_family, 0, &row.ip))
		return 0;
	memcpy(row.mac, a[NDA_LLADDR].data, sizeof(row.mac));
	row.state = info.ndm_state;
	row.flags = info.ndm_flags;
	if (s->neighbor_count == SCAN_ROWS_MAX)
		return err_set(e, ERR_UNSUPPORTED, 0, "more than %d neighbours", SCAN_ROWS_MAX);
	s->neighbors[s->neighbor_count++] = row;
	return 0;
}

/* ---- all of it ---- */

struct dump {
	int (*each)(const struct nlmsghdr *m, void *scan, struct err *e);
	struct scan *scan;
};

/* What the guest cannot be given is left out, and the rest is there all the same. */
static int leave_out(struct scan *s, struct err *e)
{
	if (e->kind != ERR_UNSUPPORTED)
		return -1;
	if (s->refused.kind == ERR_NONE)
		s->refused = *e;
	return 0;
}

static int on_row(const struct nlmsghdr *m, void *arg, struct err *e)
{
	const struct dump *d = arg;

	return d->each(m, d->scan, e) == 0 ? 0 : leave_out(d->scan, e);
}

static int dump(int nl, uint16_t type, const void *fixed, size_t len,
		int (*each)(const struct nlmsghdr *, void *, struct err *), struct scan *s,
		struct err *e)
{
	struct dump d = { .each = each, .scan = s };
	struct nl_request r;

	nl_start(&r, type, NLM_F_DUMP, fixed, len);
	return nl_call(nl, &r, on_row, &d, e);
}

int scan_links(int nl, struct arena *a, struct scan *out, struct err *e)
{
	const struct ifaddrmsg address = { .ifa_family = AF_UNSPEC };
	const struct ifinfomsg link = { .ifi_family = AF_UNSPEC };
	const struct rtmsg route = { .rtm_family = AF_UNSPEC };
	const struct ndmsg neighbor = { .ndm_family = AF_UNSPEC };
	struct scan s = { 0 };

	s.addresses = arena_calloc(a, SCAN_ROWS_MAX, sizeof(*s.addresses));
	s.routes = arena_calloc(a, SCAN_ROWS_MAX + 1, sizeof(*s.routes));
	s.neighbors = arena_calloc(a, SCAN_ROWS_MAX, sizeof(*s.neighbors));
	if (!s.addresses || !s.routes || !s.neighbors)
		return err_oom(e, "what a network namespace has");
	if (dump(nl, RTM_GETADDR, &address, sizeof(address), on_address, &s, e) < 0 ||
	    dump(nl, RTM_GETLINK, &link, sizeof(link), on_link, &s, e) < 0 ||
	    (add_ways_to_peers(&s, e) < 0 && leave_out(&s, e) < 0) ||
	    dump(nl, RTM_GETROUTE, &route, sizeof(route), on_route, &s, e) < 0 ||
	    dump(nl, RTM_GETNEIGH, &neighbor, sizeof(neighbor), on_neighbor, &s, e) < 0)
		return -1;
	direct_first(&s);
	for (size_t i = 0; i < s.route_count; i++)
		choose_source(&s, &s.routes[i]);
	drop_addresses_of_others(&s);
	widest_first(&s);
	*out = s;
	return 0;
}
