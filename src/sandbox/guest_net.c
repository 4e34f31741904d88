/* SPDX-License-Identifier: Apache-2.0 */
/* From an addressing plan to the agent's UpdateInterface and UpdateRoutes. */
#include "sandbox/guest_net.h"

#include <stdio.h>

#include "base/err.h"
#include "net/user_net.h"
#include "sandbox/internal.h"

static int update_interface(struct sandbox *s, const struct user_net_guest *g, struct err *e)
{
	Grpc__UpdateInterfaceRequest req = GRPC__UPDATE_INTERFACE_REQUEST__INIT;
	Types__Interface nic = TYPES__INTERFACE__INIT;
	Types__IPAddress v4 = TYPES__IPADDRESS__INIT, v6 = TYPES__IPADDRESS__INIT;
	Types__IPAddress *addrs[2];
	char mac[18], mask4[8], mask6[8];

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
