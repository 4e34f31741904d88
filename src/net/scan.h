/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the links of a network namespace have that a guest must have as well: read once, by
 * rtnetlink, from the namespace the caller stands in. Which links count goes by what they are
 * (Ethernet, up to carry addresses), never by the name of their kind.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "net/parameters.h"

struct arena;

enum {
	SCAN_LINKS_MAX = 8,
	SCAN_ROWS_MAX = 1024 /* of addresses, routes, neighbours each */
};

struct scan_ip {
	int family; /* AF_INET, AF_INET6; 0: none */
	uint8_t bytes[16];
	unsigned prefix;
};

struct scan_link {
	int index;
	char name[16];
	uint8_t mac[6];
	uint32_t mtu;
	bool no_arp;
	/* filled in by whoever stands in the namespace; zeroes until then */
	int32_t parameters[PARAMETERS_LINK];
	uint32_t tuned; /* a bit for each that the guest is told */
};

struct scan_address {
	int link; /* index */
	struct scan_ip ip;
	struct scan_ip peer; /* of a point-to-point address: `routes` has the way there */
	uint32_t scope;      /* RT_SCOPE_* */
	uint32_t flags;      /* IFA_F_NOPREFIXROUTE, IFA_F_DEPRECATED */
	bool secondary;      /* of a subnet that has one already */
};

struct scan_route {
	int link;
	struct scan_ip dst; /* family 0: the default route of `family` */
	struct scan_ip gateway,
		source; /* source: also where the host would choose one itself */
	int family;
	uint32_t scope, flags, mtu; /* RT_SCOPE_*, RTNH_F_*, 0: none */
	uint32_t priority;          /* "metric": of several with one `dst` the lowest is here */
};

struct scan_neighbor {
	int link;
	struct scan_ip ip;
	uint8_t mac[6];
	uint32_t state, flags; /* NUD_PERMANENT, NTF_* */
};

struct scan {
	struct scan_link links[SCAN_LINKS_MAX];
	size_t link_count;
	struct scan_address *addresses; /* those of the widest scope first */
	struct scan_route *routes;      /* those that need no gateway first */
	struct scan_neighbor *neighbors;
	/* rows begin with their link's index, and have zeroes where they have no field: two
	 * looks can be compared as memory */
	size_t address_count, route_count, neighbor_count;
	bool other_tables;  /* there are routes that were left out: of policy routing */
	bool dead_routes;   /* and: that lead nowhere (blackhole, unreachable, prohibit) */
	struct err refused; /* why the first row that the guest cannot be given is not here */
};

/*
 * Links with an address beyond their own segment, and their addresses (but those that the
 * kernel has found to be another's, IFA_F_DADFAILED), the main table's unicast routes that are
 * not the kernel's own, and permanent neighbours. Loopback has none of that. Left out and
 * `refused` by name (ERR_UNSUPPORTED) is a link with addresses that is no Ethernet, a route of
 * a kind that the guest cannot be told of, and what is more than SCAN_LINKS_MAX and
 * SCAN_ROWS_MAX. `nl` is a socket of nl_open().
 */
int scan_links(int nl, struct arena *a, struct scan *out, struct err *e);
/* NULL if no link has that index. */
const struct scan_link *scan_find(const struct scan *s, int index);
/* Takes a link out, with all that is its own. */
void scan_drop(struct scan *s, int index);
/* Another link with the same hardware address, as VLANs and ipvlans of one parent have; or
 * NULL. */
const struct scan_link *scan_double(const struct scan *s, const struct scan_link *l);
