/* SPDX-License-Identifier: Apache-2.0 */
/* Interfaces and addresses. Routes: routes.c, neighbours: neighbors.c. */
#include "agent/network.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include "agent/device.h"
#include "agent/link.h"
#include "agent/sandbox.h"
#include "base/err.h"
#include "base/fd.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/own.h"
#include "base/str.h"
#include "base/time.h"
#include "wire/message.h"
#include "wire/netlink.h"
#include "wire/ttrpc.h"

enum {
	LINK_POLL_MS = 10,
	LIST_MAX = 4096,
	ADDRESS_FLAGS = IFA_F_NOPREFIXROUTE | IFA_F_DEPRECATED
};

/* ---- UpdateInterface ---- */

/* By its place if that is told: several may have one hardware address, or it is a new one. */
static int find_link(int nl, const char *path, const uint8_t *mac, struct link *out,
		     bool *found, struct err *e)
{
	char name[IFNAMSIZ];
	int rc;

	if (!*path)
		return link_find(nl, NULL, mac, out, found, e);
	rc = device_find_net(path, name, sizeof(name), e);
	*found = false;
	if (rc != 0 || link_find(nl, name, NULL, out, found, e) < 0)
		return rc > 0 ? 0 : -1;
	if (!*found || (out->has_mac && memcmp(out->mac, mac, sizeof(out->mac)) == 0))
		return 0;
	if (link_set_mac(nl, out->index, mac, e) < 0)
		return err_wrap(e, "change the hardware address");
	return 0;
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
			return err_set(e, ERR_NOT_FOUND, 0,
				       "no link with hwAddr %s%s%.32s within %lld s "
				       "(agent.hotplug_timeout)",
				       i->hwaddr, *i->devicepath ? " at " : "", i->devicepath,
				       (long long)s->config.hotplug_timeout_ms / 1000);
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

struct address {
	struct ip ip;
	bool given;     /* by the engine */
	bool own;       /* of whoever runs here */
	uint32_t flags; /* ADDRESS_FLAGS */
	int scope;      /* RT_SCOPE_* */
};

static int change_address(int nl, int type, int index, const struct address *a, struct err *e)
{
	const struct ip *ip = &a->ip;
	const struct ifa_cacheinfo life = {
		.ifa_prefered = a->flags & IFA_F_DEPRECATED ? 0 : UINT32_MAX,
		.ifa_valid = UINT32_MAX, /* for ever */
	};
	const uint8_t given = NETWORK_GIVEN;
	struct ifaddrmsg m = {
		.ifa_family = (uint8_t)ip->family,
		.ifa_prefixlen = (uint8_t)ip->prefix,
		.ifa_index = (uint32_t)index,
	};
	uint32_t flags = a->flags & IFA_F_NOPREFIXROUTE;
	struct nl_request r;

	/* the host's kernel asks for duplicates: no time is lost on doing so once more */
	if (ip->family == AF_INET6)
		flags |= IFA_F_NODAD;
	nl_start(&r, (uint16_t)type, type == RTM_NEWADDR ? NLM_F_CREATE | NLM_F_REPLACE : 0, &m,
		 sizeof(m));
	nl_put(&r, IFA_LOCAL, ip->bytes, ip->len);
	nl_put(&r, IFA_ADDRESS, ip->bytes, ip->len);
	nl_put(&r, IFA_PROTO, &given, sizeof(given));
	nl_put_u32(&r, IFA_FLAGS, flags);
	nl_put(&r, IFA_CACHEINFO, &life, sizeof(life));
	return nl_call(nl, &r, NULL, NULL, e);
}

struct addresses {
	int index; /* of the link; 0: any */
	struct address *list;
	size_t n, room;
};

static int collect_address(const struct nlmsghdr *m, void *arg, struct err *e)
{
	const uint8_t given = NETWORK_GIVEN;
	struct addresses *a = arg;
	struct nl_attr t[IFA_PROTO + 1];
	const struct nl_attr *which;
	struct address row = { 0 };
	struct ifaddrmsg info;

	(void)e;
	if (m->nlmsg_type != RTM_NEWADDR || nl_parse(m, sizeof(info), t, IFA_PROTO) < 0)
		return 0;
	memcpy(&info, m + 1, sizeof(info));
	if (a->index && (int)info.ifa_index != a->index)
		return 0;
	which = t[IFA_LOCAL].data ? &t[IFA_LOCAL] : &t[IFA_ADDRESS];
	if (!which->data || (which->len != 4 && which->len != 16) || a->n >= a->room)
		return 0;
	row.ip.family = info.ifa_family;
	row.ip.len = which->len;
	row.ip.prefix = info.ifa_prefixlen;
	row.scope = info.ifa_scope;
	row.flags = info.ifa_flags;
	(void)nl_get_u32(&t[IFA_FLAGS], &row.flags);
	row.flags &= ADDRESS_FLAGS;
	memcpy(row.ip.bytes, which->data, which->len);
	row.own = !t[IFA_PROTO].data; /* the kernel marks what it makes itself, Linux 5.18 */
	row.given = t[IFA_PROTO].data && t[IFA_PROTO].len == sizeof(given) &&
		    memcmp(t[IFA_PROTO].data, &given, sizeof(given)) == 0;
	a->list[a->n++] = row;
	return 0;
}

static int addresses_init(struct addresses *out, struct arena *a, size_t room, struct err *e)
{
	*out = (struct addresses){ .room = room };
	out->list = arena_calloc(a, room, sizeof(*out->list));
	return out->list ? 0 : err_oom(e, "addresses");
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

/* An address is not made one without a route later, nor one with it (IPv4). */
static bool has_address(const struct addresses *a, const struct address *like)
{
	for (size_t i = 0; i < a->n; i++) {
		const struct address *other = &a->list[i];

		if (other->ip.family == like->ip.family &&
		    other->ip.prefix == like->ip.prefix &&
		    memcmp(other->ip.bytes, like->ip.bytes, like->ip.len) == 0 &&
		    (like->ip.family == AF_INET6 ||
		     !((other->flags ^ like->flags) & IFA_F_NOPREFIXROUTE)))
			return true;
	}
	return false;
}

static int read_addresses(const Types__Interface *from, struct addresses *out, struct err *e)
{
	for (; out->n < from->n_ipaddresses; out->n++) {
		const Types__IPAddress *a = from->ipaddresses[out->n];
		char text[96];

		(void)snprintf(text, sizeof(text), "%.60s%s%.8s", a->address,
			       *a->mask ? "/" : "", a->mask);
		if (ip_parse(text, &out->list[out->n].ip, e) < 0)
			return err_wrap(e, "IPAddresses[%zu]", out->n);
		out->list[out->n].flags = a->flags & ADDRESS_FLAGS;
	}
	return 0;
}

static bool is_own(const struct addresses *have, const struct ip *ip)
{
	for (size_t i = 0; i < have->n; i++) {
		const struct address *a = &have->list[i];

		if (a->own && a->ip.family == ip->family && a->ip.prefix == ip->prefix &&
		    memcmp(a->ip.bytes, ip->bytes, ip->len) == 0)
			return true;
	}
	return false;
}

/* fe80::/10 (RFC 4291, section 2.4) */
static bool is_link_local(const struct ip *ip)
{
	return ip->family == AF_INET6 && ip->bytes[0] == 0xfe && (ip->bytes[1] & 0xc0) == 0x80;
}

/*
 * All that can be; the first that cannot is the error. But a link-local address, which the host
 * has wherever it has IPv6: a kernel without IPv6 (ipv6.disable=1) does without it.
 */
static int give_addresses(int nl, int index, const struct addresses *have,
			  const struct addresses *want, struct err *e)
{
	struct err first = ERR_INIT;

	for (size_t i = 0; i < want->n; i++) {
		if (is_own(have, &want->list[i].ip) ||
		    change_address(nl, RTM_NEWADDR, index, &want->list[i], e) == 0 ||
		    first.kind != ERR_NONE)
			continue;
		if (is_link_local(&want->list[i].ip)) {
			log_warn(NULL, "IPAddresses[%zu]: %s", i, e->msg);
			err_clear(e);
			continue;
		}
		first = *e;
		(void)err_wrap(&first, "IPAddresses[%zu]", i);
	}
	if (first.kind == ERR_NONE)
		return 0;
	*e = first;
	return -1;
}

/*
 * New ones first, so that a link never loses its last one, and all routes with it. A new one
 * in the subnet of one that goes is its secondary until then, and goes with it unless
 * promote_secondaries says otherwise; whoever runs here may have changed that.
 */
static int set_addresses(int nl, int index, const Types__Interface *told, struct arena *a,
			 struct err *e)
{
	struct addresses have, want;
	struct err refused = ERR_INIT;
	bool gone = false;

	if (addresses_init(&have, a, LIST_MAX, e) < 0 ||
	    addresses_init(&want, a, told->n_ipaddresses, e) < 0 ||
	    list_addresses(nl, index, &have, e) < 0 || read_addresses(told, &want, e) < 0)
		return -1;
	(void)give_addresses(nl, index, &have, &want, &refused);
	for (size_t i = 0; i < have.n; i++) {
		const struct address *old = &have.list[i];

		if (!old->given || has_address(&want, old))
			continue;
		if (change_address(nl, RTM_DELADDR, index, old, e) < 0 &&
		    e->sys != EADDRNOTAVAIL)
			return err_wrap(e, "remove an address");
		err_clear(e);
		gone = true;
	}
	if (refused.kind != ERR_NONE) {
		*e = refused;
		return -1;
	}
	return gone ? give_addresses(nl, index, &have, &want, e) : 0;
}

/* What this kernel does not have, or take, is said; the link is of use without it. */
static int set_parameters(const char *link, const Types__Interface *want, struct err *e)
{
	OWN(fd) int sys = open("/proc/sys/net", O_PATH | O_DIRECTORY | O_CLOEXEC);

	if (want->n_parameters && sys < 0)
		return err_sys(e, "open /proc/sys/net");
	for (size_t i = 0; i < want->n_parameters; i++) {
		const char *key = want->parameters[i]->key, *name = strchr(key, '/');
		char path[128];
		struct err why;

		if (!name || strchr(name + 1, '/') || strstr(key, "..") || strlen(key) > 64 ||
		    (strncmp(key, "ipv4/", 5) != 0 && strncmp(key, "ipv6/", 5) != 0))
			return err_set(e, ERR_INVALID, 0, "parameters '%.64s'", key);
		(void)snprintf(path, sizeof(path), "%.4s/conf/%.15s%s", key, link, name);
		if (file_write_value(sys, path, want->parameters[i]->value, &why) < 0)
			log_warn(NULL, "interface '%.15s': %s", link, why.msg);
	}
	return 0;
}

static int apply_interface(struct sandbox *s, const Types__Interface *want, struct arena *a,
			   struct err *e)
{
	unsigned flags = IFF_UP | (want->raw_flags & IFF_NOARP);
	struct err mtu_refused = ERR_INIT;
	OWN(fd) int nl = -1;
	struct link l;

	if (want->mtu > UINT32_MAX)
		return err_set(e, ERR_INVALID, 0, "mtu %llu", (unsigned long long)want->mtu);
	if (nl_open(&nl, e) < 0 || wait_link(s, nl, want, &l, e) < 0)
		return -1;
	if (*want->name && rename_link(nl, &l, want->name, e) < 0)
		return -1;
	/* before the addresses, since IPv6 needs 1280; but they can be without it */
	if (want->mtu &&
	    link_change(nl, l.index, NULL, (uint32_t)want->mtu, 0, 0, &mtu_refused) < 0)
		(void)err_wrap(&mtu_refused, "mtu %llu", (unsigned long long)want->mtu);
	if (set_parameters(*want->name ? want->name : l.name, want, e) < 0)
		return -1;
	if (set_addresses(nl, l.index, want, a, e) < 0)
		return -1;
	if (link_change(nl, l.index, NULL, 0, flags, IFF_UP | IFF_NOARP, e) < 0)
		return err_wrap(e, "bring it up");
	if (mtu_refused.kind == ERR_NONE)
		return 0;
	*e = mtu_refused;
	return -1;
}

int network_update_interface(struct ttrpc_call *call, const void *request, void *response,
			     struct err *e)
{
	const Grpc__UpdateInterfaceRequest *r = request;

	if (!r->interface)
		return err_set(e, ERR_INVALID, 0, "interface is missing");
	if (apply_interface(call->context, r->interface, call->arena, e) < 0)
		return err_wrap(e, "interface '%.16s'", r->interface->name);
	*(Types__Interface *)response = *r->interface;
	return 0;
}

/* ---- ListInterfaces ---- */

struct listing {
	struct arena *arena;
	int nl;
	struct addresses addresses; /* of one link at a time */
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
	struct addresses *list = &x->addresses;
	int64_t index;

	if (str_to_i64(i->type, 1, INT32_MAX, "link", &index, e) < 0 ||
	    list_addresses(x->nl, (int)index, list, e) < 0)
		return -1;
	i->type = no_type;
	i->ipaddresses = arena_calloc(x->arena, list->n, sizeof(*i->ipaddresses));
	if (!i->ipaddresses)
		return err_oom(e, "addresses");
	for (size_t j = 0; j < list->n; j++) {
		if (list->list[j].scope == RT_SCOPE_LINK)
			continue;
		if (add_address(x->arena, i, &list->list[j].ip, e) < 0)
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
	if (addresses_init(&x.addresses, call->arena, LIST_MAX, e) < 0 || nl_open(&nl, e) < 0 ||
	    link_each(nl, describe_link, &x, e) < 0)
		return -1;
	x.nl = nl;
	for (size_t i = 0; i < x.out->n_interfaces; i++) {
		if (add_addresses(&x, x.out->interfaces[i], e) < 0)
			return -1;
	}
	return 0;
}
