/* SPDX-License-Identifier: Apache-2.0 */
/* Interfaces, addresses and neighbours. Routes: routes.c. */
#include "agent/network.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/neighbour.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include "agent/device.h"
#include "agent/link.h"
#include "agent/sandbox.h"
#include "base/err.h"
#include "base/mem.h"
#include "base/own.h"
#include "base/str.h"
#include "base/time.h"
#include "wire/message.h"
#include "wire/netlink.h"
#include "wire/ttrpc.h"

enum {
	LINK_POLL_MS = 10,
	LIST_MAX = 4096
};

/* ---- UpdateInterface ---- */

/* By its place if that is told, for several may have one hardware address. */
static int find_link(int nl, const char *path, const uint8_t *mac, struct link *out,
		     bool *found, struct err *e)
{
	char name[IFNAMSIZ];
	int rc;

	if (!*path)
		return link_find(nl, NULL, mac, out, found, e);
	rc = device_find_net(path, name, sizeof(name), e);
	*found = false;
	return rc ? (rc < 0 ? -1 : 0) : link_find(nl, name, mac, out, found, e);
}

/* It may be plugged in just now. */
static int wait_link(struct sandbox *s, int nl, const Types__Interface *i, struct link *out,
		     struct err *e)
{
	int64_t deadline = deadline_in(s->config.hotplug_timeout_ms);
	uint8_t mac[LINK_MAC_LEN];
	bool found;

	if (!mac_parse(i->hwaddr, mac))
		return err_set(e, ERR_INVALID, 0, "hwAddr '%.40s'", i->hwaddr);
	for (;;) {
		if (find_link(nl, i->devicepath, mac, out, &found, e) < 0)
			return -1;
		if (found)
			return 0;
		if (deadline_left(deadline) == 0)
			return err_set(e, ERR_NOT_FOUND, 0, "no link with hwAddr %s%s%.32s",
				       i->hwaddr, *i->devicepath ? " at " : "", i->devicepath);
		if (fiber_sleep(s->loop, LINK_POLL_MS, e) < 0)
			return -1;
	}
}

/* The kernel names links in the order it finds them: whoever has the name has to give way. */
static int rename_link(int nl, const struct link *l, const char *name, struct err *e)
{
	char aside[IFNAMSIZ];
	struct link other;
	bool taken;

	if (str_eq(l->name, name))
		return 0;
	if (strlen(name) >= IFNAMSIZ || strchr(name, '/'))
		return err_set(e, ERR_INVALID, 0, "name '%.40s'", name);
	if (link_find(nl, name, NULL, &other, &taken, e) < 0)
		return -1;
	if (taken) {
		(void)snprintf(aside, sizeof(aside), "was%d", other.index);
		if (link_change(nl, other.index, NULL, 0, 0, IFF_UP, e) < 0 ||
		    link_change(nl, other.index, aside, 0, other.flags & IFF_UP, IFF_UP, e) < 0)
			return err_wrap(e, "rename %s", name);
	}
	if (link_change(nl, l->index, NULL, 0, 0, IFF_UP, e) < 0 ||
	    link_change(nl, l->index, name, 0, 0, 0, e) < 0)
		return err_wrap(e, "rename %s to %s", l->name, name);
	return 0;
}

static int change_address(int nl, int type, int index, const struct ip *ip, struct err *e)
{
	struct ifaddrmsg m = {
		.ifa_family = (uint8_t)ip->family,
		.ifa_prefixlen = (uint8_t)ip->prefix,
		.ifa_index = (uint32_t)index,
	};
	struct nl_request r;

	/* the host's side is known to be free: no time is lost on asking for duplicates */
	if (ip->family == AF_INET6)
		m.ifa_flags = IFA_F_NODAD;
	nl_start(&r, (uint16_t)type, type == RTM_NEWADDR ? NLM_F_CREATE | NLM_F_REPLACE : 0, &m,
		 sizeof(m));
	nl_put(&r, IFA_LOCAL, ip->bytes, ip->len);
	nl_put(&r, IFA_ADDRESS, ip->bytes, ip->len);
	return nl_call(nl, &r, NULL, NULL, e);
}

struct addresses {
	int index; /* of the link; 0: any */
	struct ip list[64];
	size_t n;
};

static int collect_address(const struct nlmsghdr *m, void *arg, struct err *e)
{
	struct addresses *a = arg;
	struct nl_attr t[IFA_LOCAL + 1];
	const struct nl_attr *which;
	struct ifaddrmsg info;
	struct ip ip = { 0 };

	(void)e;
	if (m->nlmsg_type != RTM_NEWADDR || nl_parse(m, sizeof(info), t, IFA_LOCAL) < 0)
		return 0;
	memcpy(&info, m + 1, sizeof(info));
	if ((a->index && (int)info.ifa_index != a->index) || info.ifa_scope == RT_SCOPE_LINK)
		return 0;
	which = t[IFA_LOCAL].data ? &t[IFA_LOCAL] : &t[IFA_ADDRESS];
	if (!which->data || (which->len != 4 && which->len != 16) || a->n >= ARRAY_LEN(a->list))
		return 0;
	ip.family = info.ifa_family;
	ip.len = which->len;
	ip.prefix = info.ifa_prefixlen;
	memcpy(ip.bytes, which->data, which->len);
	a->list[a->n++] = ip;
	return 0;
}

static int list_addresses(int nl, int index, struct addresses *out, struct err *e)
{
	struct ifaddrmsg m = { .ifa_family = AF_UNSPEC };
	struct nl_request r;

	out->index = index;
	out->n = 0;
	nl_start(&r, RTM_GETADDR, NLM_F_DUMP, &m, sizeof(m));
	return nl_call(nl, &r, collect_address, out, e);
}

static bool same_address(const struct ip *a, const struct ip *b)
{
	return a->family == b->family && a->prefix == b->prefix &&
	       memcmp(a->bytes, b->bytes, a->len) == 0;
}

static int set_addresses(int nl, int index, const Types__Interface *want, struct err *e)
{
	struct addresses have;
	struct ip ip;

	if (list_addresses(nl, index, &have, e) < 0)
		return -1;
	for (size_t i = 0; i < want->n_ipaddresses; i++) {
		const Types__IPAddress *a = want->ipaddresses[i];
		char text[96];

		(void)snprintf(text, sizeof(text), "%.60s%s%.8s", a->address,
			       *a->mask ? "/" : "", a->mask);
		if (ip_parse(text, &ip, e) < 0)
			return err_wrap(e, "IPAddresses[%zu]", i);
		for (size_t j = 0; j < have.n; j++) {
			if (same_address(&have.list[j], &ip))
				have.list[j].len = 0; /* stays */
		}
		if (change_address(nl, RTM_NEWADDR, index, &ip, e) < 0)
			return err_wrap(e, "IPAddresses[%zu] %s", i, text);
	}
	for (size_t j = 0; j < have.n; j++) {
		if (have.list[j].len &&
		    change_address(nl, RTM_DELADDR, index, &have.list[j], e) < 0 &&
		    e->sys != EADDRNOTAVAIL)
			return err_wrap(e, "remove an address");
	}
	err_clear(e);
	return 0;
}

static int apply_interface(struct sandbox *s, const Types__Interface *want, struct err *e)
{
	unsigned flags = IFF_UP | (want->raw_flags & IFF_NOARP);
	OWN(fd) int nl = -1;
	struct link l;

	if (want->mtu > UINT32_MAX)
		return err_set(e, ERR_INVALID, 0, "mtu %llu", (unsigned long long)want->mtu);
	if (nl_open(&nl, e) < 0 || wait_link(s, nl, want, &l, e) < 0)
		return -1;
	if (*want->name && rename_link(nl, &l, want->name, e) < 0)
		return -1;
	if (want->mtu && link_change(nl, l.index, NULL, (uint32_t)want->mtu, 0, 0, e) < 0)
		return err_wrap(e, "mtu %llu", (unsigned long long)want->mtu);
	if (set_addresses(nl, l.index, want, e) < 0)
		return -1;
	if (link_change(nl, l.index, NULL, 0, flags, IFF_UP | IFF_NOARP, e) < 0)
		return err_wrap(e, "bring it up");
	return 0;
}

int network_update_interface(struct ttrpc_call *call, const void *request, void *response,
			     struct err *e)
{
	const Grpc__UpdateInterfaceRequest *r = request;

	if (!r->interface)
		return err_set(e, ERR_INVALID, 0, "interface is missing");
	if (apply_interface(call->context, r->interface, e) < 0)
		return err_wrap(e, "interface '%.16s'", r->interface->name);
	*(Types__Interface *)response = *r->interface;
	return 0;
}

/* ---- ListInterfaces ---- */

struct listing {
	struct arena *arena;
	int nl;
	Grpc__Interfaces *out;
};

static int add_address(struct arena *a, Types__Interface *i, const struct ip *ip, struct err *e)
{
	Types__IPAddress *m = (Types__IPAddress *)message_new(&types__ipaddress__descriptor, a);
	char text[INET6_ADDRSTRLEN];

	if (!m)
		return err_oom(e, "addresses");
	m->family = ip->family == AF_INET ? TYPES__IPFAMILY__v4 : TYPES__IPFAMILY__v6;
	m->address = arena_strdup(a, inet_ntop(ip->family, ip->bytes, text, sizeof(text)));
	m->mask = arena_printf(a, "%u", ip->prefix);
	if (!m->address || !m->mask)
		return err_oom(e, "addresses");
	i->ipaddresses[i->n_ipaddresses++] = m;
	return 0;
}

static int describe_link(const struct link *l, void *arg, struct err *e)
{
	struct listing *x = arg;
	Types__Interface *i =
		(Types__Interface *)message_new(&types__interface__descriptor, x->arena);
	char mac[LINK_TEXT_MAC] = "";

	if (x->out->n_interfaces >= LIST_MAX)
		return 0;
	if (!i)
		return err_oom(e, "interfaces");
	if (l->has_mac)
		mac_text(l->mac, mac);
	i->device = i->name = arena_strdup(x->arena, l->name);
	i->hwaddr = arena_strdup(x->arena, mac);
	i->mtu = l->mtu;
	i->raw_flags = l->flags;
	/* the index is needed once more for the addresses, and is not part of the message */
	i->type = arena_printf(x->arena, "%d", l->index);
	if (!i->device || !i->hwaddr || !i->type)
		return err_oom(e, "interfaces");
	x->out->interfaces[x->out->n_interfaces++] = i;
	return 0;
}

static int add_addresses(struct listing *x, Types__Interface *i, struct err *e)
{
	static char no_type[] = "";
	struct addresses list;
	int64_t index;

	if (str_to_i64(i->type, 1, INT32_MAX, "link", &index, e) < 0 ||
	    list_addresses(x->nl, (int)index, &list, e) < 0)
		return -1;
	i->type = no_type;
	i->ipaddresses = arena_calloc(x->arena, list.n, sizeof(*i->ipaddresses));
	if (!i->ipaddresses)
		return err_oom(e, "addresses");
	for (size_t j = 0; j < list.n; j++) {
		if (add_address(x->arena, i, &list.list[j], e) < 0)
			return -1;
	}
	return 0;
}

int network_list_interfaces(struct ttrpc_call *call, const void *request, void *response,
			    struct err *e)
{
	struct listing x = { .arena = call->arena, .out = response };
	OWN(fd) int nl = -1;

	(void)request;
	x.out->interfaces = arena_calloc(call->arena, LIST_MAX, sizeof(*x.out->interfaces));
	if (!x.out->interfaces)
		return err_oom(e, "interfaces");
	if (nl_open(&nl, e) < 0 || link_each(nl, describe_link, &x, e) < 0)
		return -1;
	x.nl = nl;
	for (size_t i = 0; i < x.out->n_interfaces; i++) {
		if (add_addresses(&x, x.out->interfaces[i], e) < 0)
			return -1;
	}
	return 0;
}

/* ---- AddARPNeighbors ---- */

static int add_neighbor(int nl, const Types__ARPNeighbor *n, struct err *e)
{
	struct ndmsg m = {
		.ndm_state = n->state ? (uint16_t)n->state : NUD_PERMANENT,
		.ndm_flags = (uint8_t)n->flags,
	};
	uint8_t mac[LINK_MAC_LEN];
	struct nl_request r;
	struct link l;
	struct ip ip;
	bool found;

	if (!n->toipaddress)
		return err_set(e, ERR_INVALID, 0, "toIPAddress is missing");
	if (ip_parse(n->toipaddress->address, &ip, e) < 0)
		return -1;
	if (*n->lladdr && !mac_parse(n->lladdr, mac))
		return err_set(e, ERR_INVALID, 0, "lladdr '%.40s'", n->lladdr);
	if (link_find(nl, n->device, NULL, &l, &found, e) < 0)
		return -1;
	if (!found)
		return err_set(e, ERR_NOT_FOUND, 0, "no link '%.16s'", n->device);
	m.ndm_family = (uint8_t)ip.family;
	m.ndm_ifindex = l.index;
	nl_start(&r, RTM_NEWNEIGH, NLM_F_CREATE | NLM_F_REPLACE, &m, sizeof(m));
	nl_put(&r, NDA_DST, ip.bytes, ip.len);
	if (*n->lladdr)
		nl_put(&r, NDA_LLADDR, mac, sizeof(mac));
	return nl_call(nl, &r, NULL, NULL, e);
}

int network_add_neighbors(struct ttrpc_call *call, const void *request, void *response,
			  struct err *e)
{
	const Grpc__AddARPNeighborsRequest *r = request;
	OWN(fd) int nl = -1;

	(void)call;
	(void)response;
	if (nl_open(&nl, e) < 0)
		return -1;
	for (size_t i = 0; r->neighbors && i < r->neighbors->n_arpneighbors; i++) {
		if (add_neighbor(nl, r->neighbors->arpneighbors[i], e) < 0)
			return err_wrap(e, "ARPNeighbors[%zu]", i);
	}
	return 0;
}
