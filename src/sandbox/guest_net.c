/* SPDX-License-Identifier: Apache-2.0 */
/* From an addressing plan to the agent's UpdateInterface and UpdateRoutes. */
#include "sandbox/guest_net.h"

#include <arpa/inet.h>
#include <net/if.h>
#include <stdio.h>

#include "base/err.h"
#include "base/time.h"
#include "net/scan.h"
#include "net/tap_net.h"
#include "net/user_net.h"
#include "sandbox/internal.h"
#include "vmm/vmm.h"

enum {
	ADDR_MS = 10 * 1000
};

/* RFC 4291, appendix A: as the guest's kernel makes it itself. */
static void link_local(const uint8_t mac[6], char *out, socklen_t size)
{
	struct in6_addr a = { .s6_addr = { 0xfe, 0x80, [8] = mac[0] ^ 2, mac[1], mac[2], 0xff,
					   0xfe, mac[3], mac[4], mac[5] } };

	(void)inet_ntop(AF_INET6, &a, out, size);
}

static int update_interface(struct sandbox *s, const struct user_net_guest *g, struct err *e)
{
	Grpc__UpdateInterfaceRequest req = GRPC__UPDATE_INTERFACE_REQUEST__INIT;
	Types__Interface nic = TYPES__INTERFACE__INIT;
	Types__IPAddress v4 = TYPES__IPADDRESS__INIT, v6 = TYPES__IPADDRESS__INIT;
	Types__IPAddress local = TYPES__IPADDRESS__INIT;
	char mac[18], mask4[8], mask6[8], local_text[INET6_ADDRSTRLEN];
	Types__IPAddress *addrs[3];

	(void)snprintf(mac, sizeof(mac), "%02x:%02x:%02x:%02x:%02x:%02x", g->mac[0], g->mac[1],
		       g->mac[2], g->mac[3], g->mac[4], g->mac[5]);
	(void)snprintf(mask4, sizeof(mask4), "%u", g->ipv4_prefix);
	(void)snprintf(mask6, sizeof(mask6), "%u", g->ipv6_prefix);
	nic.device = nic.name = (char *)(uintptr_t)g->name;
	nic.hwaddr = mac;
	nic.mtu = g->mtu;
	nic.ipaddresses = addrs;
	if (*g->ipv4) {
		v4.family = TYPES__IPFAMILY__v4;
		v4.address = (char *)(uintptr_t)g->ipv4;
		v4.mask = mask4;
		addrs[nic.n_ipaddresses++] = &v4;
	}
	if (*g->ipv6) {
		v6.family = TYPES__IPFAMILY__v6;
		v6.address = (char *)(uintptr_t)g->ipv6;
		v6.mask = mask6;
		addrs[nic.n_ipaddresses++] = &v6;
		/* passt leads published ports there; the kernel would look for duplicates of
		 * its own for a second, in which it does not answer */
		link_local(g->mac, local_text, sizeof(local_text));
		local.family = TYPES__IPFAMILY__v6;
		local.address = local_text;
		local.mask = (char *)(uintptr_t) "64";
		addrs[nic.n_ipaddresses++] = &local;
	}
	req.interface = &nic;
	return agent_do(s->agent, AGENT_UPDATE_INTERFACE, &req, e);
}

static int update_routes(struct sandbox *s, const struct user_net_guest *g, struct err *e)
{
	Grpc__UpdateRoutesRequest req = GRPC__UPDATE_ROUTES_REQUEST__INIT;
	Grpc__Routes routes = GRPC__ROUTES__INIT;
	Types__Route v4 = TYPES__ROUTE__INIT, v6 = TYPES__ROUTE__INIT;
	Types__Route *list[2];

	routes.routes = list;
	if (*g->gateway4) {
		v4.gateway = (char *)(uintptr_t)g->gateway4;
		v4.device = (char *)(uintptr_t)g->name;
		list[routes.n_routes++] = &v4;
	}
	if (*g->gateway6) {
		v6.family = TYPES__IPFAMILY__v6;
		v6.gateway = (char *)(uintptr_t)g->gateway6;
		v6.device = (char *)(uintptr_t)g->name;
		list[routes.n_routes++] = &v6;
	}
	req.routes = &routes;
	return agent_do(s->agent, AGENT_UPDATE_ROUTES, &req, e);
}

int guest_net_apply(struct sandbox *s, const struct user_net_guest *g, struct err *e)
{
	if (update_interface(s, g, e) < 0 || update_routes(s, g, e) < 0)
		return err_wrap(e, "guest network");
	return 0;
}

/* ---- links of a namespace ---- */

/* "10.0.0.1" or, with the prefix, "10.0.0.0/8"; "" for none. */
static char *ip_text(struct arena *a, const struct scan_ip *ip, bool with_prefix)
{
	char text[INET6_ADDRSTRLEN];

	if (!ip->family)
		return arena_strdup(a, "");
	(void)inet_ntop(ip->family, ip->bytes, text, sizeof(text));
	return with_prefix ? arena_printf(a, "%s/%u", text, ip->prefix) : arena_strdup(a, text);
}

static char *mac_text(struct arena *a, const uint8_t m[6])
{
	return arena_printf(a, "%02x:%02x:%02x:%02x:%02x:%02x", m[0], m[1], m[2], m[3], m[4],
			    m[5]);
}

static Types__IPFamily family_of(int family)
{
	return family == AF_INET ? TYPES__IPFAMILY__v4 : TYPES__IPFAMILY__v6;
}

static char *name_of(const struct scan *found, int link)
{
	return (char *)(uintptr_t)scan_find(found, link)->name;
}

/* Where its device is, for which the hardware address does not do; where it does, *out stays.
 */
static int find_path(struct sandbox *s, size_t place, const struct scan_link *other,
		     struct vmm_device_addr *out, struct err *e)
{
	struct vmm_device d;

	if (!other && !tap_net_has_moved(s->taps, place))
		return 0;
	tap_net_device(s->taps, place, &d);
	if (vmm_device_addr(s->vmm, d.id, deadline_in(ADDR_MS), out, e) < 0)
		return -1;
	if (*out->pci_path)
		return 0;
	return err_set(e, ERR_UNSUPPORTED, 0,
		       "%s%s, and a machine without PCI does not tell which is which",
		       other ? "it has the hardware address of "
			     : "its hardware address has changed",
		       other ? other->name : "");
}

static int add_parameters(Types__Interface *nic, const struct scan_link *l, struct arena *a,
			  struct err *e)
{
	Types__Interface__ParametersEntry *rows =
		arena_calloc(a, PARAMETERS_LINK, sizeof(*rows));

	nic->parameters = arena_calloc(a, PARAMETERS_LINK, sizeof(void *));
	if (!rows || !nic->parameters)
		return err_oom(e, "kernel parameters");
	for (size_t i = 0; i < PARAMETERS_LINK; i++) {
		if (!(l->tuned & 1U << i))
			continue;
		types__interface__parameters_entry__init(&rows[i]);
		rows[i].key = (char *)(uintptr_t)parameters_link_key(i);
		rows[i].value = arena_printf(a, "%d", (int)l->parameters[i]);
		if (!rows[i].value)
			return err_oom(e, "kernel parameters");
		nic->parameters[nic->n_parameters++] = &rows[i];
	}
	return 0;
}

static int apply_link(struct sandbox *s, const struct scan *found, const struct scan_link *l,
		      size_t place, struct arena *a, struct err *e)
{
	Grpc__UpdateInterfaceRequest req = GRPC__UPDATE_INTERFACE_REQUEST__INIT;
	Types__Interface nic = TYPES__INTERFACE__INIT;
	struct vmm_device_addr at = { .pci_path = "" };

	if (find_path(s, place, scan_double(found, l), &at, e) < 0)
		return -1;
	nic.devicepath = at.pci_path;
	nic.device = nic.name = name_of(found, l->index);
	nic.hwaddr = mac_text(a, l->mac);
	nic.mtu = l->mtu;
	nic.raw_flags = l->no_arp ? IFF_NOARP : 0;
	nic.ipaddresses = arena_calloc(a, found->address_count + 1, sizeof(void *));
	if (!nic.hwaddr || !nic.ipaddresses)
		return err_oom(e, "an interface");
	if (add_parameters(&nic, l, a, e) < 0)
		return -1;
	for (size_t i = 0; i < found->address_count; i++) {
		const struct scan_address *from = &found->addresses[i];
		Types__IPAddress *to = arena_alloc(a, sizeof(*to));

		if (from->link != l->index)
			continue;
		if (!to)
			return err_oom(e, "an address");
		types__ipaddress__init(to);
		to->family = family_of(from->ip.family);
		to->address = ip_text(a, &from->ip, false);
		to->mask = arena_printf(a, "%u", from->ip.prefix);
		to->flags = from->flags;
		if (!to->address || !to->mask)
			return err_oom(e, "an address");
		nic.ipaddresses[nic.n_ipaddresses++] = to;
	}
	req.interface = &nic;
	return agent_do(s->agent, AGENT_UPDATE_INTERFACE, &req, e);
}

static int apply_routes(struct sandbox *s, const struct scan *found, struct arena *a,
			struct err *e)
{
	Grpc__UpdateRoutesRequest req = GRPC__UPDATE_ROUTES_REQUEST__INIT;
	Grpc__Routes routes = GRPC__ROUTES__INIT;

	routes.routes = arena_calloc(a, found->route_count + 1, sizeof(void *));
	if (!routes.routes)
		return err_oom(e, "routes");
	for (size_t i = 0; i < found->route_count; i++) {
		const struct scan_route *from = &found->routes[i];
		Types__Route *to = arena_alloc(a, sizeof(*to));

		if (!to)
			return err_oom(e, "a route");
		types__route__init(to);
		to->dest = ip_text(a, &from->dst, true);
		to->gateway = ip_text(a, &from->gateway, false);
		to->source = ip_text(a, &from->source, false);
		to->device = name_of(found, from->link);
		to->family = family_of(from->family);
		to->scope = from->scope;
		to->flags = from->flags;
		to->mtu = from->mtu;
		if (!to->dest || !to->gateway || !to->source)
			return err_oom(e, "a route");
		routes.routes[routes.n_routes++] = to;
	}
	req.routes = &routes;
	return agent_do(s->agent, AGENT_UPDATE_ROUTES, &req, e);
}

static int apply_neighbors(struct sandbox *s, const struct scan *found, struct arena *a,
			   struct err *e)
{
	Grpc__AddARPNeighborsRequest req = GRPC__ADD_ARPNEIGHBORS_REQUEST__INIT;
	Grpc__ARPNeighbors list = GRPC__ARPNEIGHBORS__INIT;

	if (found->neighbor_count == 0 && !s->neighbors_given)
		return 0;
	list.arpneighbors = arena_calloc(a, found->neighbor_count + 1, sizeof(void *));
	if (!list.arpneighbors)
		return err_oom(e, "neighbours");
	for (size_t i = 0; i < found->neighbor_count; i++) {
		const struct scan_neighbor *from = &found->neighbors[i];
		Types__ARPNeighbor *to = arena_alloc(a, sizeof(*to));
		Types__IPAddress *ip = arena_alloc(a, sizeof(*ip));

		if (!to || !ip)
			return err_oom(e, "a neighbour");
		types__arpneighbor__init(to);
		types__ipaddress__init(ip);
		ip->family = family_of(from->ip.family);
		ip->address = ip_text(a, &from->ip, false);
		to->toipaddress = ip;
		to->device = name_of(found, from->link);
		to->lladdr = mac_text(a, from->mac);
		to->state = (int32_t)from->state;
		to->flags = (int32_t)from->flags;
		if (!ip->address || !to->lladdr)
			return err_oom(e, "a neighbour");
		list.arpneighbors[list.n_arpneighbors++] = to;
	}
	req.neighbors = &list;
	req.replace = true;
	if (agent_do(s->agent, AGENT_ADD_ARP_NEIGHBORS, &req, e) < 0)
		return -1;
	s->neighbors_given = found->neighbor_count > 0;
	return 0;
}

/* The guest's own word, in contrast to one that cannot be asked, or will be asked again. */
static bool is_refusal(const struct err *e)
{
	return e->kind != ERR_PEER && e->kind != ERR_TIMEOUT && e->kind != ERR_CANCELLED &&
	       e->kind != ERR_NO_MEMORY;
}

/*
 * A link that the guest has goes on with what it had: a change that cannot be followed is not
 * the business of a container that is started later.
 */
static int apply_each(struct sandbox *s, const struct scan *found, struct arena *a,
		      bool *refused, struct err *e)
{
	for (size_t i = 0; i < found->link_count; i++) {
		const struct scan_link *l = &found->links[i];
		size_t place;

		if (!tap_net_place(s->taps, l->index, &place))
			return err_set(e, ERR_STATE, 0, "link '%s' is not joined", l->name);
		if (apply_link(s, found, l, place, a, e) == 0) {
			tap_net_set_told(s->taps, place);
			continue;
		}
		if (!is_refusal(e) || !tap_net_is_told(s->taps, place))
			return err_wrap(e, "guest network '%s'", l->name);
		log_warn(&s->log, "guest network '%s': not all of its change: %s", l->name,
			 e->msg);
		*refused = true;
	}
	return 0;
}

int guest_net_apply_links(struct sandbox *s, const struct scan *found, struct err *e)
{
	OWN(arena) struct arena a = { .limit = 4 << 20 };
	bool refused = false;

	s->links_partly = false;
	if (found->link_count == 0)
		return 0;
	if (apply_each(s, found, &a, &refused, e) < 0)
		return -1;
	if (apply_routes(s, found, &a, e) == 0 && apply_neighbors(s, found, &a, e) == 0)
		return 0;
	(void)err_wrap(e, "guest network");
	if (!refused || !is_refusal(e))
		return -1;
	/* for want of what was refused, or not: it is tried again */
	log_warn(&s->log, "%s", e->msg);
	s->links_partly = true;
	return 0;
}
