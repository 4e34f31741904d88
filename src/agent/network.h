/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The guest's network: links by hardware address, addresses, routes, neighbours. Each call is
 * a handler of the service's table; what a request leaves out is left as it is. Whoever runs
 * here may have addresses and routes of its own: what the engine gives is marked, and nothing
 * else is ever taken away.
 */
#pragma once

struct err;
struct ttrpc_call;

enum {
	/* the mark: protocol of addresses (Linux 5.18), routes and neighbours; no routing
	 * program of rt_protos(5) has this one */
	NETWORK_GIVEN = 75
};

int network_update_interface(struct ttrpc_call *call, const void *request, void *response,
			     struct err *e);
int network_update_routes(struct ttrpc_call *call, const void *request, void *response,
			  struct err *e);
int network_list_interfaces(struct ttrpc_call *call, const void *request, void *response,
			    struct err *e);
int network_list_routes(struct ttrpc_call *call, const void *request, void *response,
			struct err *e);
int network_add_neighbors(struct ttrpc_call *call, const void *request, void *response,
			  struct err *e);
