/* SPDX-License-Identifier: Apache-2.0 */
/* The network that an agent is told of, beside what a container with CAP_NET_ADMIN has made. */
#include "agent_life.h"

/* The loopback link is the one link every namespace has: its hardware address is all zero. */
void test_network(struct test *t)
{
	Grpc__UpdateInterfaceRequest r = GRPC__UPDATE_INTERFACE_REQUEST__INIT;
	Grpc__UpdateRoutesRequest routes = GRPC__UPDATE_ROUTES_REQUEST__INIT;
	Grpc__ListInterfacesRequest list = GRPC__LIST_INTERFACES_REQUEST__INIT;
	Grpc__Routes want = GRPC__ROUTES__INIT, *have;
	Grpc__Interfaces *links;
	Types__Interface *i = new_message(t, &types__interface__descriptor);
	Types__Route *route = new_message(t, &types__route__descriptor);
	bool found = false;

	for (int n = 0; n < 2; n++) {
		Types__IPAddress *a = new_message(t, &types__ipaddress__descriptor);

		a->family = n ? TYPES__IPFAMILY__v6 : TYPES__IPFAMILY__v4;
		a->address = dup_str(t, n ? "fd00:9::7" : "10.9.8.7");
		a->mask = dup_str(t, n ? "64" : "24");
		add_ptr(t, &i->ipaddresses, &i->n_ipaddresses, a);
	}
	i->name = dup_str(t, "lo");
	i->hwaddr = dup_str(t, "00:00:00:00:00:00");
	i->mtu = 40000;
	r.interface = i;
	CHECK(t,
	      call(t, AGENT, "UpdateInterface", &r.base, &types__interface__descriptor, NULL) ==
		      0,
	      "%s", t->e.msg);
	route->dest = dup_str(t, "192.168.77.0/24");
	route->gateway = dup_str(t, "10.9.8.1");
	route->device = dup_str(t, "lo");
	add_ptr(t, &want.routes, &want.n_routes, route);
	route = new_message(t, &types__route__descriptor);
	route->dest = dup_str(t, "10.9.8.0/24");
	route->device = dup_str(t, "lo");
	route->scope = 253;
	route->mtu = 1400;
	add_ptr(t, &want.routes, &want.n_routes, route);
	routes.routes = &want;
	for (int n = 0; n < 2; n++) { /* the second time replaces the first */
		CHECK(t,
		      call(t, AGENT, "UpdateRoutes", &routes.base, &grpc__routes__descriptor,
			   &have) == 0,
		      "%s", t->e.msg);
		found = false;
		for (size_t j = 0; have && j < have->n_routes; j++)
			found = found || (str_eq(have->routes[j]->dest, "192.168.77.0/24") &&
					  str_eq(have->routes[j]->gateway, "10.9.8.1"));
		CHECK(t, found, "%zu routes", have ? have->n_routes : 0);
	}
	CHECK(t,
	      call(t, AGENT, "ListInterfaces", &list.base, &grpc__interfaces__descriptor,
		   &links) == 0,
	      "%s", t->e.msg);
	found = false;
	for (size_t j = 0; j < links->n_interfaces; j++) {
		const Types__Interface *l = links->interfaces[j];

		for (size_t k = 0; k < l->n_ipaddresses; k++)
			found = found || (str_eq(l->name, "lo") && l->mtu == 40000 &&
					  str_eq(l->ipaddresses[k]->address, "fd00:9::7") &&
					  str_eq(l->ipaddresses[k]->mask, "64"));
	}
	CHECK(t, found, "%zu links", links->n_interfaces);
	i->hwaddr = dup_str(t, "02:00:00:00:00:99");
	CHECK(t,
	      call(t, AGENT, "UpdateInterface", &r.base, &types__interface__descriptor, NULL) <
			      0 &&
		      t->e.kind == ERR_NOT_FOUND,
	      "%s", t->e.msg);
}

/* ---- beside the workload's own ---- */

/* Addresses with their prefixes, on the loopback link. */
static int give_addresses(struct test *t, const char *const *list)
{
	Grpc__UpdateInterfaceRequest r = GRPC__UPDATE_INTERFACE_REQUEST__INIT;
	Types__Interface *i = new_message(t, &types__interface__descriptor);

	for (; *list; list++) {
		Types__IPAddress *a = new_message(t, &types__ipaddress__descriptor);

		a->address = dup_str(t, *list);
		add_ptr(t, &i->ipaddresses, &i->n_ipaddresses, a);
	}
	i->name = dup_str(t, "lo");
	i->hwaddr = dup_str(t, "00:00:00:00:00:00");
	r.interface = i;
	return call(t, AGENT, "UpdateInterface", &r.base, &types__interface__descriptor, NULL);
}

static int give_routes(struct test *t, const char *const (*list)[2])
{
	Grpc__UpdateRoutesRequest r = GRPC__UPDATE_ROUTES_REQUEST__INIT;
	Grpc__Routes routes = GRPC__ROUTES__INIT, *have;

	for (; (*list)[0]; list++) {
		Types__Route *m = new_message(t, &types__route__descriptor);

		m->dest = dup_str(t, (*list)[0]);
		m->gateway = dup_str(t, (*list)[1]);
		m->device = dup_str(t, "lo");
		add_ptr(t, &routes.routes, &routes.n_routes, m);
	}
	r.routes = &routes;
	return call(t, AGENT, "UpdateRoutes", &r.base, &grpc__routes__descriptor, &have);
}

/* Whether a container sees it in what `ip` tells, and changes the network before. */
static bool shows(struct test *t, const char *script, const char *text)
{
	Grpc__CreateContainerRequest *r = make_container(t, ARGS("sh", "-c", script));
	Grpc__LinuxCapabilities *c = r->oci->process->capabilities;
	const char *out, *err_out;

	add_str(t, &c->bounding, &c->n_bounding, "CAP_NET_ADMIN");
	add_str(t, &c->effective, &c->n_effective, "CAP_NET_ADMIN");
	add_str(t, &c->permitted, &c->n_permitted, "CAP_NET_ADMIN");
	CHECK(t, run_request(t, r, &out, &err_out) == 0, "%s%s", out, err_out);
	return strstr(out, text) != NULL;
}

#define ADDRESSES "ip -o addr show dev lo"
#define ROUTES    "ip route; ip -6 route"

/* The new one is a secondary of the old one, which the kernel deletes with it. */
static void test_address_within_a_subnet(struct test *t)
{
	CHECK(t, give_addresses(t, ARGS("10.9.0.2/24", "10.9.1.2/24")) == 0, "%s", t->e.msg);
	CHECK(t, give_addresses(t, ARGS("10.9.0.3/24", "10.9.1.2/24")) == 0, "%s", t->e.msg);
	CHECK(t, shows(t, ADDRESSES, "10.9.0.3/24"), "lost");
	CHECK(t, !shows(t, ADDRESSES, "10.9.0.2/24"), "kept");
	CHECK(t, shows(t, ADDRESSES, "10.9.1.2/24"), "lost");
}

static int give_neighbors(struct test *t, const char *const *list, bool replace)
{
	Grpc__AddARPNeighborsRequest r = GRPC__ADD_ARPNEIGHBORS_REQUEST__INIT;
	Grpc__ARPNeighbors all = GRPC__ARPNEIGHBORS__INIT;

	for (; *list; list++) {
		Types__ARPNeighbor *n = new_message(t, &types__arpneighbor__descriptor);

		n->toipaddress = new_message(t, &types__ipaddress__descriptor);
		n->toipaddress->address = dup_str(t, *list);
		n->device = dup_str(t, "lo");
		n->lladdr = dup_str(t, "02:00:00:00:00:09");
		add_ptr(t, &all.arpneighbors, &all.n_arpneighbors, n);
	}
	r.neighbors = &all;
	r.replace = replace;
	return simple(t, "AddARPNeighbors", &r);
}

#define NEIGHBORS "ip -6 neigh show dev lo nud permanent;"

/* Of IPv6, since IPv4 has none on the loopback link. */
void test_neighbors(struct test *t)
{
	CHECK(t, give_neighbors(t, ARGS("fd00:94::1", "fd00:94::3"), false) == 0, "%s",
	      t->e.msg);
	CHECK(t, shows(t, NEIGHBORS, "fd00:94::1 lladdr 02:00:00:00:00:09"), "none");
	CHECK(t, give_neighbors(t, ARGS("fd00:94::2"), false) == 0, "%s", t->e.msg);
	CHECK(t, shows(t, NEIGHBORS, "fd00:94::1"), "another agent's caller knows adding only");
	CHECK(t, give_neighbors(t, ARGS("fd00:94::2"), true) == 0, "%s", t->e.msg);
	CHECK(t, !shows(t, NEIGHBORS, "fd00:94::1"), "kept");
	CHECK(t, !shows(t, NEIGHBORS, "fd00:94::3"), "kept");
	CHECK(t, shows(t, NEIGHBORS, "fd00:94::2"), "lost");
	CHECK(t, give_neighbors(t, ARGS(NULL), true) == 0, "%s", t->e.msg);
	CHECK(t, !shows(t, NEIGHBORS, "fd00:94::2"), "kept");
}

static int give_flagged(struct test *t, uint32_t flags)
{
	static const char *const list[] = { "10.9.3.2/24", "fd00:93::2/64" };
	Grpc__UpdateInterfaceRequest r = GRPC__UPDATE_INTERFACE_REQUEST__INIT;
	Types__Interface *i = new_message(t, &types__interface__descriptor);

	for (size_t n = 0; n < ARRAY_LEN(list); n++) {
		Types__IPAddress *a = new_message(t, &types__ipaddress__descriptor);

		a->address = dup_str(t, list[n]);
		a->flags = flags;
		add_ptr(t, &i->ipaddresses, &i->n_ipaddresses, a);
	}
	i->hwaddr = dup_str(t, "00:00:00:00:00:00");
	r.interface = i;
	return call(t, AGENT, "UpdateInterface", &r.base, &types__interface__descriptor, NULL);
}

static int give_parameter(struct test *t, const char *key, const char *value)
{
	Grpc__UpdateInterfaceRequest r = GRPC__UPDATE_INTERFACE_REQUEST__INIT;
	Types__Interface *i = new_message(t, &types__interface__descriptor);
	Types__Interface__ParametersEntry *p =
		new_message(t, &types__interface__parameters_entry__descriptor);

	p->key = dup_str(t, key);
	p->value = dup_str(t, value);
	add_ptr(t, &i->parameters, &i->n_parameters, p);
	i->hwaddr = dup_str(t, "00:00:00:00:00:00");
	r.interface = i;
	return call(t, AGENT, "UpdateInterface", &r.base, &types__interface__descriptor, NULL);
}

void test_link_parameters(struct test *t)
{
	static const char *const bad[] = { "rp_filter", "ipv4/../../x", "ipv4/a/b", "core/x",
					   "" };

	CHECK(t, give_parameter(t, "ipv4/arp_ignore", "3") == 0, "%s", t->e.msg);
	CHECK(t, shows(t, "cat /proc/sys/net/ipv4/conf/lo/arp_ignore", "3\n"), "another");
	CHECK(t, give_parameter(t, "ipv6/no_such", "3") == 0, "%s", t->e.msg);
	for (size_t i = 0; i < ARRAY_LEN(bad); i++)
		CHECK(t, give_parameter(t, bad[i], "1") < 0 && t->e.kind == ERR_INVALID,
		      "%s: %s", bad[i], t->e.msg);
}

/* On the loopback link it is IPv6 alone that makes routes for addresses. */
void test_address_flags(struct test *t)
{
	const uint32_t no_route = 0x200, deprecated = 0x20; /* linux/if_addr.h */

	CHECK(t, give_flagged(t, 0) == 0, "%s", t->e.msg);
	CHECK(t, shows(t, ROUTES, "fd00:93::/64"), "no route");
	CHECK(t, give_flagged(t, no_route) == 0, "%s", t->e.msg);
	CHECK(t, shows(t, ADDRESSES, "fd00:93::2/64"), "lost");
	CHECK(t, shows(t, ADDRESSES, "10.9.3.2/24"), "lost");
	CHECK(t, !shows(t, ROUTES, "fd00:93::/64"), "a route");
	CHECK(t, !shows(t, ADDRESSES, "deprecated"), "all");
	CHECK(t, give_flagged(t, deprecated) == 0, "%s", t->e.msg);
	CHECK(t, shows(t, ROUTES, "fd00:93::/64"), "no route");
	CHECK(t, shows(t, ADDRESSES, "deprecated"), "none");
	CHECK(t, give_flagged(t, 0) == 0, "%s", t->e.msg);
	CHECK(t, !shows(t, ADDRESSES, "deprecated"), "still");
	CHECK(t, give_addresses(t, ARGS(NULL)) == 0, "%s", t->e.msg);
}

void test_network_of_the_workload(struct test *t)
{
	static const char *const before[][2] = { { "192.168.78.0/24", "10.9.0.1" },
						 { "192.168.79.0/24", "10.9.0.1" },
						 { "fd00:78::/64", "" },
						 { NULL } };
	static const char *const after[][2] = { { "192.168.79.0/24", "10.9.0.9" }, { NULL } };

	test_address_within_a_subnet(t);
	CHECK(t, give_routes(t, before) == 0, "%s", t->e.msg);
	CHECK(t,
	      shows(t,
		    "ip addr add 10.7.7.7/32 dev lo; ip addr add fd00:7::7/128 dev lo;"
		    "ip route add 10.7.0.0/16 dev lo; ip -6 route add fd00:70::/64 dev lo;"
		    "ip route replace 192.168.78.0/24 via 10.9.0.77;" ROUTES,
		    "192.168.78.0/24 via 10.9.0.77"),
	      "not made");
	CHECK(t, give_routes(t, before) == 0, "%s", t->e.msg);
	CHECK(t, shows(t, ROUTES, "192.168.78.0/24 via 10.9.0.77"), "replaced");
	CHECK(t, shows(t, ROUTES, "fd00:78::/64"), "lost");
	CHECK(t, give_addresses(t, ARGS("10.9.0.4/24", "fd00:9::8/64")) == 0, "%s", t->e.msg);
	CHECK(t, give_routes(t, after) == 0, "%s", t->e.msg);
	CHECK(t, shows(t, ADDRESSES, "10.7.7.7/32"), "lost");
	CHECK(t, shows(t, ADDRESSES, "fd00:7::7/128"), "lost");
	CHECK(t, !shows(t, ADDRESSES, "10.9.1.2/24"), "kept");
	CHECK(t, shows(t, ROUTES, "10.7.0.0/16"), "lost");
	CHECK(t, shows(t, ROUTES, "fd00:70::/64"), "lost");
	CHECK(t, shows(t, ROUTES, "192.168.78.0/24 via 10.9.0.77"), "lost");
	CHECK(t, shows(t, ROUTES, "192.168.79.0/24 via 10.9.0.9"), "not changed");
	CHECK(t, !shows(t, ROUTES, "fd00:78::/64"), "kept");
	/* what of the given ones it has removed comes back */
	CHECK(t, !shows(t, "ip route del 192.168.79.0/24;" ROUTES, "192.168.79.0/24"), "kept");
	CHECK(t, give_routes(t, after) == 0, "%s", t->e.msg);
	CHECK(t, shows(t, ROUTES, "192.168.79.0/24 via 10.9.0.9"), "not back");
	CHECK(t, give_addresses(t, ARGS(NULL)) == 0, "%s", t->e.msg);
	CHECK(t, !shows(t, ADDRESSES, "10.9.0.4/24"), "kept");
	CHECK(t, shows(t, ADDRESSES, "127.0.0.1/8"), "lost");
}
