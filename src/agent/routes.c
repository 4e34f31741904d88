/* SPDX-License-Identifier: Apache-2.0 */
/* The guest's routes: the main table of both families. */
#include <arpa/inet.h>
#include <errno.h>
#include <linux/ipv6_route.h>
#include <string.h>
#include <sys/socket.h>

#include "agent.pb-c.h"
#include "agent/link.h"
#include "agent/network.h"
#include "base/err.h"
#include "base/mem.h"
#include "base/own.h"
#include "base/str.h"
#include "wire/message.h"
#include "wire/netlink.h"
#include "wire/ttrpc.h"

enum {
	ROUTES_MAX = 4096
};

/* One route as the kernel told it, enough to delete or describe it. */
struct route {
	struct rtmsg m;
	struct ip dst, gateway, source; /* len 0: not there */
	int device;
	uint32_t priority, mtu;
};

static void take_ip(const struct nl_attr *a, int family, unsigned prefix, struct ip *out)
{
	size_t want = family == AF_INET ? 4 : 16;

	if (!a->data || a->len != want)
		return;
	out->family = family;
	out->len = want;
	out->prefix = prefix;
	memcpy(out->bytes, a->data, want);
}

/* false: not one of the main table's unicast routes. */
static bool parse_route(const struct nlmsghdr *m, struct route *out)
{
	struct nl_attr a[RTA_TABLE + 1], metrics[RTAX_MTU + 1];
	struct route r = { 0 };
	uint32_t device = 0;

	if (m->nlmsg_type != RTM_NEWROUTE || nl_parse(m, sizeof(r.m), a, RTA_TABLE) < 0)
		return false;
	memcpy(&r.m, m + 1, sizeof(r.m));
	if (r.m.rtm_table != RT_TABLE_MAIN || r.m.rtm_type != RTN_UNICAST ||
	    (r.m.rtm_family != AF_INET && r.m.rtm_family != AF_INET6) ||
	    (r.m.rtm_flags & RTM_F_CLONED))
		return false;
	take_ip(&a[RTA_DST], r.m.rtm_family, r.m.rtm_dst_len, &r.dst);
	take_ip(&a[RTA_GATEWAY], r.m.rtm_family, 0, &r.gateway);
	take_ip(&a[RTA_PREFSRC], r.m.rtm_family, 0, &r.source);
	(void)nl_get_u32(&a[RTA_OIF], &device);
	(void)nl_get_u32(&a[RTA_PRIORITY], &r.priority);
	if (nl_parse_nested(&a[RTA_METRICS], metrics, RTAX_MTU) == 0)
		(void)nl_get_u32(&metrics[RTAX_MTU], &r.mtu);
	r.device = (int)device;
	*out = r;
	return true;
}

struct routes {
	struct arena *arena;
	struct route *list;
	size_t n;
};

static int collect(const struct nlmsghdr *m, void *arg, struct err *e)
{
	struct routes *all = arg;
	struct route r;

	(void)e;
	if (parse_route(m, &r) && all->n < ROUTES_MAX)
		all->list[all->n++] = r;
	return 0;
}

static int list_routes(int nl, struct arena *a, struct routes *out, struct err *e)
{
	struct rtmsg m = { .rtm_family = AF_UNSPEC };
	struct nl_request r;

	*out = (struct routes){ .arena = a };
	out->list = arena_calloc(a, ROUTES_MAX, sizeof(*out->list));
	if (!out->list)
		return err_oom(e, "routes");
	nl_start(&r, RTM_GETROUTE, NLM_F_DUMP, &m, sizeof(m));
	if (nl_call(nl, &r, collect, out, e) < 0)
		return err_wrap(e, "list routes");
	return 0;
}

/* ---- UpdateRoutes ---- */

/* What the kernel made for an address goes and comes with the address. */
static int delete_old(int nl, struct arena *a, struct err *e)
{
	struct nl_request req;
	struct routes all;

	if (list_routes(nl, a, &all, e) < 0)
		return -1;
	for (size_t i = 0; i < all.n; i++) {
		const struct route *r = &all.list[i];

		if (r->m.rtm_protocol == RTPROT_KERNEL || r->m.rtm_protocol == RTPROT_RA)
			continue;
		nl_start(&req, RTM_DELROUTE, 0, &r->m, sizeof(r->m));
		if (r->dst.len)
			nl_put(&req, RTA_DST, r->dst.bytes, r->dst.len);
		if (r->gateway.len)
			nl_put(&req, RTA_GATEWAY, r->gateway.bytes, r->gateway.len);
		if (r->device)
			nl_put_u32(&req, RTA_OIF, (uint32_t)r->device);
		if (r->priority)
			nl_put_u32(&req, RTA_PRIORITY, r->priority);
		if (nl_call(nl, &req, NULL, NULL, e) < 0 && e->sys != ESRCH)
			return err_wrap(e, "delete an old route");
	}
	err_clear(e);
	return 0;
}

static int parse_optional(const char *s, struct ip *out, struct err *e)
{
	out->len = 0;
	if (!*s || str_eq(s, "default"))
		return 0;
	return ip_parse(s, out, e);
}

static int family_of(const Types__Route *r, const struct ip *dst, const struct ip *gateway)
{
	if (dst->len)
		return dst->family;
	if (gateway->len)
		return gateway->family;
	return r->family == TYPES__IPFAMILY__v6 ? AF_INET6 : AF_INET;
}

static int find_device(int nl, const char *name, int *out, struct err *e)
{
	struct link l;
	bool found;

	*out = 0;
	if (!*name)
		return 0;
	if (link_find(nl, name, NULL, &l, &found, e) < 0)
		return -1;
	if (!found)
		return err_set(e, ERR_NOT_FOUND, 0, "no link '%.16s'", name);
	*out = l.index;
	return 0;
}

static void put_route(struct nl_request *req, const Types__Route *r, const struct ip *dst,
		      const struct ip *gateway, const struct ip *source, int device)
{
	struct rtmsg m = {
		.rtm_family = (uint8_t)family_of(r, dst, gateway),
		.rtm_dst_len = (uint8_t)(dst->len ? dst->prefix : 0),
		.rtm_table = RT_TABLE_MAIN,
		.rtm_protocol = RTPROT_BOOT,
		.rtm_scope = (uint8_t)r->scope,
		.rtm_type = RTN_UNICAST,
		.rtm_flags = r->flags & RTNH_F_ONLINK,
	};
	size_t metrics;

	nl_start(req, RTM_NEWROUTE, NLM_F_CREATE | NLM_F_REPLACE, &m, sizeof(m));
	if (dst->len && dst->prefix)
		nl_put(req, RTA_DST, dst->bytes, dst->len);
	if (gateway->len)
		nl_put(req, RTA_GATEWAY, gateway->bytes, gateway->len);
	if (source->len)
		nl_put(req, RTA_PREFSRC, source->bytes, source->len);
	if (device)
		nl_put_u32(req, RTA_OIF, (uint32_t)device);
	if (r->mtu) {
		metrics = nl_nest(req, RTA_METRICS);
		nl_put_u32(req, RTAX_MTU, r->mtu);
		nl_nest_end(req, metrics);
	}
}

static int add_route(int nl, const Types__Route *r, struct err *e)
{
	struct ip dst, gateway, source;
	struct nl_request req;
	int device;

	if (parse_optional(r->dest, &dst, e) < 0 ||
	    parse_optional(r->gateway, &gateway, e) < 0 ||
	    parse_optional(r->source, &source, e) < 0 ||
	    find_device(nl, r->device, &device, e) < 0)
		return -1;
	put_route(&req, r, &dst, &gateway, &source, device);
	return nl_call(nl, &req, NULL, NULL, e);
}

/* A gateway must be reachable when it is named: routes without one come first. */
static int add_all(int nl, const Grpc__Routes *want, bool with_gateway, struct err *e)
{
	for (size_t i = 0; i < want->n_routes; i++) {
		const Types__Route *r = want->routes[i];

		if ((*r->gateway != '\0') != with_gateway)
			continue;
		if (add_route(nl, r, e) < 0)
			return err_wrap(e, "Routes[%zu] to '%.40s' by '%.40s' on '%.16s'", i,
					r->dest, r->gateway, r->device);
	}
	return 0;
}

static int name_link(const struct link *l, void *arg, struct err *e)
{
	struct link *want = arg;

	(void)e;
	if (l->index == want->index)
		*want = *l;
	return 0;
}

static char *ip_text(struct arena *a, const struct ip *ip, bool with_prefix)
{
	char text[INET6_ADDRSTRLEN];

	if (!ip->len)
		return arena_strdup(a, "");
	if (!inet_ntop(ip->family, ip->bytes, text, sizeof(text)))
		return NULL;
	return with_prefix ? arena_printf(a, "%s/%u", text, ip->prefix) : arena_strdup(a, text);
}

static int describe(int nl, struct arena *a, Grpc__Routes *out, struct err *e)
{
	struct routes all;

	if (list_routes(nl, a, &all, e) < 0)
		return -1;
	out->routes = arena_calloc(a, all.n, sizeof(*out->routes));
	if (!out->routes)
		return err_oom(e, "routes");
	for (size_t i = 0; i < all.n; i++) {
		const struct route *r = &all.list[i];
		Types__Route *m = (Types__Route *)message_new(&types__route__descriptor, a);
		struct link l = { .index = r->device };

		if (!m || link_each(nl, name_link, &l, e) < 0)
			return m ? -1 : err_oom(e, "routes");
		m->dest = ip_text(a, &r->dst, true);
		m->gateway = ip_text(a, &r->gateway, false);
		m->source = ip_text(a, &r->source, false);
		m->device = arena_strdup(a, l.name);
		m->scope = r->m.rtm_scope;
		m->family =
			r->m.rtm_family == AF_INET ? TYPES__IPFAMILY__v4 : TYPES__IPFAMILY__v6;
		m->flags = r->m.rtm_flags;
		m->mtu = r->mtu;
		if (!m->dest || !m->gateway || !m->source || !m->device)
			return err_oom(e, "routes");
		out->routes[out->n_routes++] = m;
	}
	return 0;
}

int network_update_routes(struct ttrpc_call *call, const void *request, void *response,
			  struct err *e)
{
	const Grpc__UpdateRoutesRequest *r = request;
	OWN(fd) int nl = -1;

	if (!r->routes)
		return err_set(e, ERR_INVALID, 0, "routes are missing");
	if (nl_open(&nl, e) < 0 || delete_old(nl, call->arena, e) < 0 ||
	    add_all(nl, r->routes, false, e) < 0 || add_all(nl, r->routes, true, e) < 0)
		return -1;
	return describe(nl, call->arena, response, e);
}

int network_list_routes(struct ttrpc_call *call, const void *request, void *response,
			struct err *e)
{
	OWN(fd) int nl = -1;

	(void)request;
	return nl_open(&nl, e) < 0 ? -1 : describe(nl, call->arena, response, e);
}
