/* SPDX-License-Identifier: Apache-2.0 */
/* Neighbours that are told, beside those that the workload has made permanent itself. */
#include <errno.h>
#include <linux/neighbour.h>
#include <string.h>
#include <sys/socket.h>

#include "agent.pb-c.h"
#include "agent/link.h"
#include "agent/network.h"
#include "base/err.h"
#include "base/mem.h"
#include "base/own.h"
#include "wire/netlink.h"
#include "wire/ttrpc.h"

enum {
	NEIGHBORS_MAX = 4096
};

struct neighbor {
	struct ndmsg m;
	struct ip ip;
	uint8_t mac[LINK_MAC_LEN];
	bool has_mac;
	bool given; /* by the engine */
};

struct neighbors {
	struct neighbor *list;
	size_t n, room;
};

static int neighbors_init(struct neighbors *out, struct arena *a, size_t room, struct err *e)
{
	*out = (struct neighbors){ .room = room };
	out->list = arena_calloc(a, room, sizeof(*out->list));
	return out->list ? 0 : err_oom(e, "neighbours");
}

static int collect(const struct nlmsghdr *m, void *arg, struct err *e)
{
	const uint8_t given = NETWORK_GIVEN;
	struct neighbors *all = arg;
	struct neighbor row = { 0 };
	struct nl_attr a[NDA_PROTOCOL + 1];

	(void)e;
	if (m->nlmsg_type != RTM_NEWNEIGH || nl_parse(m, sizeof(row.m), a, NDA_PROTOCOL) < 0 ||
	    !a[NDA_DST].data || (a[NDA_DST].len != 4 && a[NDA_DST].len != 16) ||
	    all->n >= all->room)
		return 0;
	memcpy(&row.m, m + 1, sizeof(row.m));
	row.ip.family = row.m.ndm_family;
	row.ip.len = a[NDA_DST].len;
	memcpy(row.ip.bytes, a[NDA_DST].data, row.ip.len);
	row.given = a[NDA_PROTOCOL].data && a[NDA_PROTOCOL].len == sizeof(given) &&
		    memcmp(a[NDA_PROTOCOL].data, &given, sizeof(given)) == 0;
	all->list[all->n++] = row;
	return 0;
}

static int list_neighbors(int nl, struct neighbors *out, struct err *e)
{
	const struct ndmsg m = { .ndm_family = AF_UNSPEC };
	struct nl_request r;

	nl_start(&r, RTM_GETNEIGH, NLM_F_DUMP, &m, sizeof(m));
	if (nl_call(nl, &r, collect, out, e) < 0)
		return err_wrap(e, "list neighbours");
	return 0;
}

static int read_wanted(int nl, const Types__ARPNeighbor *from, struct neighbor *out,
		       struct err *e)
{
	struct neighbor n = { .has_mac = *from->lladdr != '\0' };
	struct link l;
	bool found;

	if (!from->toipaddress)
		return err_set(e, ERR_INVALID, 0, "toIPAddress is missing");
	if (ip_parse(from->toipaddress->address, &n.ip, e) < 0)
		return -1;
	if (n.has_mac && !mac_parse(from->lladdr, n.mac))
		return err_set(e, ERR_INVALID, 0, "lladdr '%.40s'", from->lladdr);
	if (link_find(nl, from->device, NULL, &l, &found, e) < 0)
		return -1;
	if (!found)
		return err_set(e, ERR_NOT_FOUND, 0, "no link '%.16s'", from->device);
	n.m = (struct ndmsg){
		.ndm_family = (uint8_t)n.ip.family,
		.ndm_ifindex = l.index,
		.ndm_state = from->state ? (uint16_t)from->state : NUD_PERMANENT,
		.ndm_flags = (uint8_t)from->flags,
	};
	*out = n;
	return 0;
}

static const struct neighbor *find(const struct neighbors *all, const struct neighbor *like)
{
	for (size_t i = 0; i < all->n; i++) {
		const struct neighbor *n = &all->list[i];

		if (n->m.ndm_ifindex == like->m.ndm_ifindex && n->ip.len == like->ip.len &&
		    memcmp(n->ip.bytes, like->ip.bytes, like->ip.len) == 0)
			return n;
	}
	return NULL;
}

static int add_neighbor(int nl, const struct neighbor *n, struct err *e)
{
	const uint8_t given = NETWORK_GIVEN;
	struct nl_request r;

	nl_start(&r, RTM_NEWNEIGH, NLM_F_CREATE | NLM_F_REPLACE, &n->m, sizeof(n->m));
	nl_put(&r, NDA_DST, n->ip.bytes, n->ip.len);
	if (n->has_mac)
		nl_put(&r, NDA_LLADDR, n->mac, sizeof(n->mac));
	nl_put(&r, NDA_PROTOCOL, &given, sizeof(given));
	return nl_call(nl, &r, NULL, NULL, e);
}

static int add_all(int nl, const struct neighbors *have, const struct neighbors *want,
		   struct err *e)
{
	for (size_t i = 0; i < want->n; i++) {
		const struct neighbor *old = find(have, &want->list[i]);

		if (old && !old->given && old->m.ndm_state & NUD_PERMANENT)
			continue; /* the workload's */
		if (add_neighbor(nl, &want->list[i], e) < 0)
			return err_wrap(e, "ARPNeighbors[%zu]", i);
	}
	return 0;
}

static int delete_old(int nl, const struct neighbors *have, const struct neighbors *want,
		      struct err *e)
{
	for (size_t i = 0; i < have->n; i++) {
		const struct neighbor *n = &have->list[i];
		struct nl_request r;

		if (!n->given || find(want, n))
			continue;
		nl_start(&r, RTM_DELNEIGH, 0, &n->m, sizeof(n->m));
		nl_put(&r, NDA_DST, n->ip.bytes, n->ip.len);
		if (nl_call(nl, &r, NULL, NULL, e) < 0 && e->sys != ENOENT)
			return err_wrap(e, "delete an old neighbour");
		err_clear(e);
	}
	return 0;
}

int network_add_neighbors(struct ttrpc_call *call, const void *request, void *response,
			  struct err *e)
{
	const Grpc__AddARPNeighborsRequest *r = request;
	size_t count = r->neighbors ? r->neighbors->n_arpneighbors : 0;
	struct neighbors have, want;
	OWN(fd) int nl = -1;

	(void)response;
	if (neighbors_init(&have, call->arena, NEIGHBORS_MAX, e) < 0 ||
	    neighbors_init(&want, call->arena, count, e) < 0 || nl_open(&nl, e) < 0)
		return -1;
	for (; want.n < count; want.n++) {
		if (read_wanted(nl, r->neighbors->arpneighbors[want.n], &want.list[want.n], e) <
		    0)
			return err_wrap(e, "ARPNeighbors[%zu]", want.n);
	}
	if (list_neighbors(nl, &have, e) < 0 || add_all(nl, &have, &want, e) < 0)
		return -1;
	return r->replace ? delete_old(nl, &have, &want, e) : 0;
}
