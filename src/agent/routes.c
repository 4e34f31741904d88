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

	*out = (struct routes){ .n = 0 };
	out->list = arena_calloc(a, ROUTES_MAX, sizeof(*out->list));
	if (!out->list)
		return err_oom(e, "routes");
	nl_start(&r, RTM_GETROUTE, NLM_F_DUMP, &m, sizeof(m));
	if (nl_call(nl, &r, collect, out, e) < 0)
		return err_wrap(e, "list routes");
	return 0;
}

/* ---- UpdateRoutes ---- */

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

static int read_wanted(int nl, const Types__Route *from, struct route *out, struct err *e)
{
	struct route r = { 0 };

	if (parse_optional(from->dest, &r.dst, e) < 0 ||
	    parse_optional(from->gateway, &r.gateway, e) < 0 ||
	    parse_optional(from->source, &r.source, e) < 0 ||
	    find_device(nl, from->device, &r.device, e) < 0)
		return -1;
	r.m = (struct rtmsg){
		.rtm_family = (uint8_t)family_of(from, &r.dst, &r.gateway),
		.rtm_dst_len = (uint8_t)(r.dst.len ? r.dst.prefix : 0),
		.rtm_table = RT_TABLE_MAIN,
		.rtm_protocol = NETWORK_GIVEN,
		.rtm_scope = (uint8_t)from->scope,
		.rtm_type = RTN_UNICAST,
		.rtm_flags = from->flags & RTNH_F_ONLINK,
	};
	if (r.m.rtm_dst_len == 0)
		r.dst.len = 0; /* "0.0.0.0/0", as the kernel tells it */
	r.mtu = from->mtu;
	/* what the kernel makes of none */
	r.priority = r.m.rtm_family == AF_INET6 ? IP6_RT_PRIO_USER : 0;
	*out = r;
	return 0;
}

static bool same_ip(const struct ip *a, const struct ip *b)
{
	return a->len == b->len && memcmp(a->bytes, b->bytes, a->len) == 0;
}

/* The kernel has one route of that kind. */
static bool same_place(const struct route *a, const struct route *b)
{
	return a->m.rtm_family == b->m.rtm_family && a->m.rtm_dst_len == b->m.rtm_dst_len &&
	       same_ip(&a->dst, &b->dst) && a->priority == b->priority;
}

static bool is_wanted(const struct route *have, const struct route *want)
{
	return same_place(have, want) && same_ip(&have->gateway, &want->gateway) &&
	       same_ip(&have->source, &want->source) && have->mtu == want->mtu &&
	       (have->device == want->device || want->device == 0) &&
	       (have->m.rtm_flags & RTNH_F_ONLINK) == want->m.rtm_flags &&
	       /* IPv6 knows no scopes */
	       (have->m.rtm_scope == want->m.rtm_scope || have->m.rtm_family == AF_INET6);
}

static bool is_given(const struct route *have)
{
	return have->m.rtm_protocol == NETWORK_GIVEN;
}

/* Of whoever runs here, and not to be touched. */
static bool is_foreign(const struct route *have)
{
	return !is_given(have) && have->m.rtm_protocol != RTPROT_KERNEL &&
	       have->m.rtm_protocol != RTPROT_RA;
}

static int delete_route(int nl, const struct route *r, struct err *e)
{
	struct nl_request req;

	nl_start(&req, RTM_DELROUTE, 0, &r->m, sizeof(r->m));
	if (r->dst.len)
		nl_put(&req, RTA_DST, r->dst.bytes, r->dst.len);
	if (r->gateway.len)
		nl_put(&req, RTA_GATEWAY, r->gateway.bytes, r->gateway.len);
	if (r->device)
		nl_put_u32(&req, RTA_OIF, (uint32_t)r->device);
	if (r->priority)
		nl_put_u32(&req, RTA_PRIORITY, r->priority);
	if (nl_call(nl, &req, NULL, NULL, e) == 0)
		return 0;
	if (e->sys != ESRCH)
		return err_wrap(e, "delete an old route");
	err_clear(e);
	return 0;
}

/* What was given before and is not wanted any more. */
static int delete_old(int nl, const struct routes *have, const struct routes *want,
		      struct err *e)
{
	for (size_t i = 0; i < have->n; i++) {
		bool wanted = !is_given(&have->list[i]);

		for (size_t j = 0; !wanted && j < want->n; j++)
			wanted = is_wanted(&have->list[i], &want->list[j]);
		if (!wanted && delete_route(nl, &have->list[i], e) < 0)
			return -1;
	}
	return 0;
}

static bool is_there(const struct routes *have, const struct route *want)
{
	for (size_t i = 0; i < have->n; i++) {
		const struct route *r = &have->list[i];

		if (is_given(r) ? is_wanted(r, want) : is_foreign(r) && same_place(r, want))
			return true;
	}
	return false;
}

static int add_route(int nl, const struct route *r, struct err *e)
{
	struct nl_request req;
	size_t metrics;

	nl_start(&req, RTM_NEWROUTE, NLM_F_CREATE | NLM_F_REPLACE, &r->m, sizeof(r->m));
	if (r->dst.len)
		nl_put(&req, RTA_DST, r->dst.bytes, r->dst.len);
	if (r->gateway.len)
		nl_put(&req, RTA_GATEWAY, r->gateway.bytes, r->gateway.len);
	if (r->source.len)
		nl_put(&req, RTA_PREFSRC, r->source.bytes, r->source.len);
	if (r->device)
		nl_put_u32(&req, RTA_OIF, (uint32_t)r->device);
	if (r->mtu) {
		metrics = nl_nest(&req, RTA_METRICS);
		nl_put_u32(&req, RTAX_MTU, r->mtu);
		nl_nest_end(&req, metrics);
	}
	return nl_call(nl, &req, NULL, NULL, e);
}

/*
 * A gateway must be reachable when it is named: routes without one come first. One that is
 * refused takes none of the others with it; the first of them is the error in the end.
 */
static void add_missing(int nl, const struct routes *have, const struct routes *want,
			const Grpc__Routes *told, bool with_gateway, struct err *first)
{
	struct err e;

	for (size_t i = 0; i < want->n; i++) {
		const Types__Route *r = told->routes[i];

		if (!want->list[i].m.rtm_family || /* see read_all() */
		    (want->list[i].gateway.len != 0) != with_gateway ||
		    is_there(have, &want->list[i]) || add_route(nl, &want->list[i], &e) == 0 ||
		    first->kind != ERR_NONE)
			continue;
		*first = e;
		(void)err_wrap(first, "Routes[%zu] to '%.40s' by '%.40s' on '%.16s'", i,
			       r->dest, r->gateway, r->device);
	}
}

/* One that cannot be read, for want of its link perhaps, has no family. */
static int read_all(int nl, struct arena *a, const Grpc__Routes *told, struct routes *out,
		    struct err *first, struct err *e)
{
	out->list = arena_calloc(a, told->n_routes, sizeof(*out->list));
	if (!out->list)
		return err_oom(e, "routes");
	for (; out->n < told->n_routes; out->n++) {
		struct route *r = &out->list[out->n];
		struct err why;

		if (read_wanted(nl, told->routes[out->n], r, &why) == 0)
			continue;
		memset(r, 0, sizeof(*r));
		if (first->kind != ERR_NONE)
			continue;
		*first = why;
		(void)err_wrap(first, "Routes[%zu]", out->n);
	}
	return 0;
}

/* Those of the workload stay, also where one is in the place of a given one. */
static int update(int nl, struct arena *a, const Grpc__Routes *told, struct err *e)
{
	struct routes have, want = { 0 };
	struct err first = ERR_INIT;

	if (read_all(nl, a, told, &want, &first, e) < 0 || list_routes(nl, a, &have, e) < 0 ||
	    delete_old(nl, &have, &want, e) < 0)
		return -1;
	add_missing(nl, &have, &want, told, false, &first);
	add_missing(nl, &have, &want, told, true, &first);
	if (first.kind == ERR_NONE)
		return 0;
	*e = first;
	return -1;
}

/* ---- the answer, and ListRoutes ---- */

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
	if (nl_open(&nl, e) < 0 || update(nl, call->arena, r->routes, e) < 0)
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
