/* SPDX-License-Identifier: Apache-2.0 */
/* Taps and redirections. Links are looked at in src/net/scan.c. */
#include "net/tap_net.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <linux/neighbour.h>
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "base/err.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/str.h"
#include "net/ingress.h"
#include "net/link_record.h"
#include "net/macvtap.h"
#include "net/netns.h"
#include "net/parameters.h"
#include "vmm/vmm.h"
#include "wire/netlink.h"

enum {
	SCAN_BYTES = 1 << 20
};

struct tap {
	int fd, vhost, index; /* vhost: of /dev/vhost-net, -1: none */
	struct scan_link
		link; /* as it was when joined; its index is 0 where the place is free */
	char name[IFNAMSIZ], id[8];
	bool redirected; /* the link has an ingress qdisc of ours */
	bool is_macvtap; /* it is upon the link, and stays without us */
	bool gone;       /* the link is no more, and the owner knows */
	bool moved;      /* it had another hardware address for a time */
	bool told;       /* see tap_net_set_told() */
	/* kernel parameters, a bit each: that were ever changed, that the guest has as `said`
	 */
	uint32_t tuned, known;
	int32_t said[PARAMETERS_LINK], read[PARAMETERS_LINK];
};

struct tap_net {
	const struct log_ctx *log;
	int ns, nl, events;   /* the other namespace, and netlink sockets of it */
	char *netns, *record; /* paths; record may be NULL */
	enum tap_model model;
	bool vhost;         /* wanted, and there so far */
	struct arena arena; /* of the scan */
	struct scan scan;
	struct parameters fresh, own; /* of an untouched namespace, and of this one */
	bool compares;                /* they are known */
	struct tap taps[SCAN_LINKS_MAX];
	int refused[SCAN_LINKS_MAX]; /* indexes of links */
	size_t refused_count;
};

/* ---- taps ---- */

static int bring_up(int nl, int index, uint32_t mtu, struct err *e)
{
	struct ifinfomsg m = { .ifi_index = index, .ifi_flags = IFF_UP, .ifi_change = IFF_UP };
	struct nl_request r;

	nl_start(&r, RTM_NEWLINK, NLM_F_ACK, &m, sizeof(m));
	nl_put_u32(&r, IFLA_MTU, mtu);
	return nl_call(nl, &r, NULL, NULL, e);
}

static int make_tap(int nl, struct tap *t, struct err *e)
{
	OWN(fd) int fd = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);
	struct ifreq req = { .ifr_flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR };

	if (fd < 0)
		return err_sys(e, "open /dev/net/tun");
	memcpy(req.ifr_name, t->name, sizeof(req.ifr_name));
	if (ioctl(fd, TUNSETIFF, &req) < 0) {
		if (errno != EBUSY)
			return err_sys(e, "make %s", t->name);
		return err_set(
			e, ERR_STATE, EBUSY,
			"%s is in use: another sandbox has this namespace, and two machines "
			"cannot share its addresses; containers of one pod are in one machine",
			t->name);
	}
	t->index = (int)if_nametoindex(t->name);
	if (t->index == 0)
		return err_sys(e, "find %s", t->name);
	if (bring_up(nl, t->index, t->link.mtu, e) < 0)
		return err_wrap(e, "bring %s up", t->name);
	t->fd = fd_take(&fd);
	return 0;
}

/* Without it the monitor moves the frames: slower, nothing else. */
static void add_vhost(struct tap_net *n, struct tap *t)
{
	if (!n->vhost)
		return;
	t->vhost = open("/dev/vhost-net", O_RDWR | O_CLOEXEC);
	if (t->vhost >= 0)
		return;
	log_info(n->log, "network: no vhost-net: /dev/vhost-net: %s", strerror(errno));
	n->vhost = false;
}

static int join_by_macvtap(struct tap_net *n, struct tap *t, struct err *e)
{
	if (macvtap_add(n->nl, t->link.index, t->name, t->link.mtu, e) < 0)
		return err_wrap(e, e->sys == EINVAL || e->sys == EBUSY
					   ? "macvtap upon it (it is a macvlan, or has one)"
					   : "macvtap upon it");
	t->is_macvtap = true;
	if (macvtap_open(t->name, &t->fd, e) < 0)
		return -1;
	add_vhost(n, t);
	return 0;
}

static int join(struct tap_net *n, struct tap *t, struct err *e)
{
	int nl = n->nl;

	if (n->model == TAP_MACVTAP)
		return join_by_macvtap(n, t, e);
	if (make_tap(nl, t, e) < 0)
		return -1;
	add_vhost(n, t);
	if (ingress_add(nl, t->link.index, e) < 0)
		return err_wrap(e, "ingress qdisc");
	t->redirected = true;
	if (ingress_add(nl, t->index, e) < 0)
		return err_wrap(e, "ingress qdisc of %s", t->name);
	if (ingress_redirect(nl, t->link.index, t->index, e) < 0 ||
	    ingress_redirect(nl, t->index, t->link.index, e) < 0)
		return err_wrap(e, "redirection to %s", t->name);
	return 0;
}

static void part(struct tap_net *n, size_t place)
{
	struct tap *t = &n->taps[place];
	struct err e;

	/* the link may have gone with its namespace's owner already */
	if (t->redirected && ingress_remove(n->nl, t->link.index, &e) < 0 && e.sys != ENODEV &&
	    e.sys != ENOENT && e.sys != EINVAL)
		log_warn(n->log, "redirection of '%s' stays: %s", t->link.name, e.msg);
	fd_close(&t->fd);
	fd_close(&t->vhost);
	if (t->is_macvtap && macvtap_remove(n->nl, t->name, &e) < 0 && e.sys != ENODEV)
		log_warn(n->log, "'%s' stays upon '%s': %s", t->name, t->link.name, e.msg);
	t->link = (struct scan_link){ .index = 0 };
	t->redirected = t->is_macvtap = t->gone = t->moved = t->told = false;
	t->tuned = t->known = 0;
}

/* ---- differences ---- */

static bool same_rows(const void *a, size_t na, const void *b, size_t nb, size_t size)
{
	return na == nb && (na == 0 || memcmp(a, b, na * size) == 0);
}

/* Rows are zeroed before they are filled, so that their padding is equal too. */
static bool same_scan(const struct scan *a, const struct scan *b)
{
	return same_rows(a->links, a->link_count, b->links, b->link_count, sizeof(*a->links)) &&
	       same_rows(a->addresses, a->address_count, b->addresses, b->address_count,
			 sizeof(*a->addresses)) &&
	       same_rows(a->routes, a->route_count, b->routes, b->route_count,
			 sizeof(*a->routes)) &&
	       same_rows(a->neighbors, a->neighbor_count, b->neighbors, b->neighbor_count,
			 sizeof(*a->neighbors));
}

static struct tap *tap_of(struct tap_net *n, int link)
{
	for (size_t i = 0; i < SCAN_LINKS_MAX; i++) {
		if (n->taps[i].link.index == link)
			return &n->taps[i];
	}
	return NULL;
}

/* An index is given again. */
static void forget_gone(struct tap_net *n, const struct scan *found)
{
	size_t kept = 0;

	for (size_t i = 0; i < n->refused_count; i++) {
		if (scan_find(found, n->refused[i]))
			n->refused[kept++] = n->refused[i];
	}
	n->refused_count = kept;
}

static void leave_out_refused(const struct tap_net *n, struct scan *found)
{
	for (size_t i = 0; i < n->refused_count; i++)
		scan_drop(found, n->refused[i]);
}

static int join_link(struct tap_net *n, const struct scan_link *l, size_t *place, struct err *e)
{
	struct tap *t = tap_of(n, 0);

	if (!t)
		return err_set(e, ERR_UNSUPPORTED, 0,
			       "link '%s': all %d places for links are taken", l->name,
			       SCAN_LINKS_MAX);
	t->link = *l;
	*place = (size_t)(t - n->taps);
	if (join(n, t, e) == 0)
		return 0;
	part(n, *place);
	return err_wrap(e, "link '%s'", l->name);
}

/* Joins the links that have no tap yet. */
static void join_new(struct tap_net *n, const struct scan *found, struct tap_net_changes *out)
{
	for (size_t i = 0; i < found->link_count; i++) {
		const struct scan_link *l = &found->links[i];
		struct err e;

		if (tap_of(n, l->index))
			continue;
		if (join_link(n, l, &out->joined[out->joined_count], &e) == 0) {
			out->joined_count++;
			continue;
		}
		n->refused[n->refused_count++] = l->index; /* no more than were scanned */
		if (out->refused.kind == ERR_NONE)
			out->refused = e;
		else
			log_error(n->log, "network: %s", e.msg);
	}
}

static void find_gone(struct tap_net *n, const struct scan *found, struct tap_net_changes *out)
{
	for (size_t i = 0; i < SCAN_LINKS_MAX; i++) {
		struct tap *t = &n->taps[i];

		if (t->link.index == 0 || t->gone || scan_find(found, t->link.index))
			continue;
		t->gone = true;
		out->gone[out->gone_count++] = i;
	}
}

/* The machine's device has the address of the link when it was joined. */
static void find_moved(struct tap_net *n, const struct scan *found)
{
	for (size_t i = 0; i < found->link_count; i++) {
		const struct scan_link *l = &found->links[i];
		struct tap *t = tap_of(n, l->index);

		if (t && memcmp(t->link.mac, l->mac, sizeof(l->mac)) != 0)
			t->moved = true;
	}
}

/* Those of the joined links. One that has been changed is told at each further change. */
static void read_parameters(struct tap_net *n, struct scan *found)
{
	for (size_t i = 0; n->compares && i < found->link_count; i++) {
		struct scan_link *l = &found->links[i];
		struct tap *t = tap_of(n, l->index);

		if (!t)
			continue;
		parameters_of_link(l->name, &n->fresh, l->parameters);
		for (size_t j = 0; j < PARAMETERS_LINK; j++) {
			if (l->parameters[j] != n->fresh.link[j])
				t->tuned |= 1U << j;
		}
		memcpy(t->read, l->parameters, sizeof(t->read));
		l->tuned = t->tuned;
		for (size_t j = 0; j < PARAMETERS_LINK; j++) {
			/* not again: what the workload has made of it stays */
			if (t->known & 1U << j && t->said[j] == t->read[j])
				l->tuned &= ~(1U << j);
		}
	}
}

/* What is redirected, and what is about to be, for whoever cleans up after a killed process. */
static int write_record(struct tap_net *n, const struct scan *found, struct err *e)
{
	const char *macvtaps[SCAN_LINKS_MAX + 1] = { NULL };
	int links[2 * SCAN_LINKS_MAX];
	size_t count = 0;

	for (size_t i = 0; i < SCAN_LINKS_MAX; i++) {
		if (n->taps[i].link.index)
			links[count++] = n->taps[i].link.index;
	}
	for (size_t i = 0; i < found->link_count; i++) {
		if (!tap_of(n, found->links[i].index))
			links[count++] = found->links[i].index;
	}
	if (!n->record || count == 0)
		return 0;
	if (n->model == TAP_MACVTAP) {
		count = 0; /* nothing of the links themselves is touched */
		for (size_t i = 0; i < SCAN_LINKS_MAX; i++)
			macvtaps[i] = n->taps[i].name;
	}
	return link_record_write(n->record, n->ns, n->netns, links, count, macvtaps, e);
}

int tap_net_look(struct tap_net *n, struct tap_net_changes *out, struct err *e)
{
	struct tap_net_changes c = { .joined_count = 0, .refused = ERR_INIT };
	OWN(arena) struct arena a = { .limit = SCAN_BYTES };
	struct scan found;
	int back;

	if (scan_links(n->nl, &a, &found, e) < 0)
		return -1;
	if (!str_eq(n->scan.refused.msg, found.refused.msg)) /* each look finds it again */
		c.refused = found.refused;
	forget_gone(n, &found);
	leave_out_refused(n, &found);
	if (write_record(n, &found, e) < 0)
		return -1;
	/* a tap is made where its maker stands */
	if (netns_enter(n->ns, &back, e) < 0)
		return -1;
	join_new(n, &found, &c);
	read_parameters(n, &found);
	netns_leave(&back);
	leave_out_refused(n, &found);
	find_gone(n, &found, &c);
	find_moved(n, &found);
	c.other = !same_scan(&n->scan, &found);
	arena_fini(&n->arena);
	n->arena = a;
	arena_init(&a, 0);
	n->scan = found;
	*out = c;
	return 0;
}

/* ---- life ---- */

/* Called in the namespace, and leaves it. */
static void compare_parameters(struct tap_net *n)
{
	struct err e;

	parameters_read(&n->own);
	n->compares = parameters_of_fresh(&n->fresh, &e) == 0;
	if (!n->compares)
		log_info(n->log, "network: kernel parameters are not handed on: %s", e.msg);
}

int tap_net_new(const struct tap_net_config *c, struct tap_net **out, struct err *e)
{
	const unsigned groups = RTMGRP_LINK | RTMGRP_IPV4_IFADDR | RTMGRP_IPV6_IFADDR |
				RTMGRP_IPV4_ROUTE | RTMGRP_IPV6_ROUTE | RTMGRP_NEIGH;
	OWN(tap_net) struct tap_net *n = mem_new(struct tap_net);
	int back, rc;

	if (!n)
		return err_oom(e, "a network");
	n->log = c->log;
	n->model = c->model;
	n->vhost = c->vhost;
	n->ns = n->nl = n->events = -1;
	arena_init(&n->arena, SCAN_BYTES);
	for (size_t i = 0; i < SCAN_LINKS_MAX; i++) {
		struct tap *t = &n->taps[i];

		t->fd = t->vhost = -1;
		(void)snprintf(t->name, sizeof(t->name), "tap%u_kata", (unsigned)i);
		(void)snprintf(t->id, sizeof(t->id), "net%u", (unsigned)i);
	}
	n->netns = strdup(c->netns);
	n->record = c->record ? strdup(c->record) : NULL;
	if (!n->netns || (c->record && !n->record))
		return err_oom(e, "a network");
	n->ns = open(n->netns, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	if (n->ns < 0)
		return err_sys(e, "network namespace '%.200s'", n->netns);
	if (netns_is_ours(n->ns))
		return err_set(e, ERR_UNSUPPORTED, 0,
			       "network namespace '%.200s' is the host's own: a container in a "
			       "VM cannot have that (--net host, hostNetwork)",
			       n->netns);
	if (netns_enter(n->ns, &back, e) < 0)
		return err_wrap(e, "'%.200s'", n->netns);
	rc = nl_open(&n->nl, e) < 0 || nl_listen(groups, &n->events, e) < 0 ? -1 : 0;
	compare_parameters(n);
	netns_leave(&back);
	if (rc < 0)
		return err_wrap(e, "network namespace '%.200s'", n->netns);
	*out = TAKE(n);
	return 0;
}

void tap_net_part(struct tap_net *n, size_t place)
{
	part(n, place);
	tap_net_retry(n);
}

void tap_net_part_later(struct tap_net *n, size_t place)
{
	n->taps[place].gone = false;
}

void tap_net_refuse(struct tap_net *n, size_t place)
{
	int link = n->taps[place].link.index;

	part(n, place);
	scan_drop(&n->scan, link);
	n->refused[n->refused_count++] = link;
}

void tap_net_retry(struct tap_net *n)
{
	n->refused_count = 0;
	n->scan.refused = (struct err)ERR_INIT;
}

void tap_net_free(struct tap_net *n)
{
	if (!n)
		return;
	for (size_t i = 0; i < SCAN_LINKS_MAX; i++)
		part(n, i);
	if (n->record)
		(void)unlink(n->record);
	fd_close(&n->nl);
	fd_close(&n->events);
	fd_close(&n->ns);
	arena_fini(&n->arena);
	free(n->netns);
	free(n->record);
	free(n);
}

int tap_net_event_fd(const struct tap_net *n)
{
	return n->events;
}

/* A permanent neighbour, or one that was found as such, whatever has become of it. */
static bool counts(const struct nlmsghdr *m, void *arg)
{
	const struct tap_net *n = arg;
	struct nl_attr a[NDA_DST + 1];
	struct ndmsg info;

	if ((m->nlmsg_type != RTM_NEWNEIGH && m->nlmsg_type != RTM_DELNEIGH) ||
	    nl_parse(m, sizeof(info), a, NDA_DST) < 0)
		return true;
	memcpy(&info, m + 1, sizeof(info));
	if (info.ndm_state & NUD_PERMANENT)
		return true;
	for (size_t i = 0; a[NDA_DST].data && i < n->scan.neighbor_count; i++) {
		const struct scan_neighbor *known = &n->scan.neighbors[i];

		if (known->link == info.ndm_ifindex && known->ip.family == info.ndm_family &&
		    a[NDA_DST].len <= sizeof(known->ip.bytes) &&
		    memcmp(known->ip.bytes, a[NDA_DST].data, a[NDA_DST].len) == 0)
			return true;
	}
	return false;
}

bool tap_net_drain(struct tap_net *n)
{
	return nl_drain(n->events, counts, n);
}

int tap_net_namespace(const struct tap_net *n)
{
	return n->ns;
}

const char *tap_net_model(const struct tap_net *n)
{
	return n->model == TAP_MACVTAP ? "a macvtap" : "traffic control";
}

bool tap_net_parameter(const struct tap_net *n, size_t *at, const char **key,
		       const char **value)
{
	for (size_t i = *at; n->compares && i < PARAMETERS_ALL; i++) {
		if (!n->own.all[i][0] || str_eq(n->own.all[i], n->fresh.all[i]))
			continue;
		*key = parameters_key(i);
		*value = n->own.all[i];
		*at = i + 1;
		return true;
	}
	return false;
}

const struct scan *tap_net_scan(const struct tap_net *n)
{
	return &n->scan;
}

bool tap_net_place(const struct tap_net *n, int link, size_t *out)
{
	for (size_t i = 0; i < SCAN_LINKS_MAX; i++) {
		if (n->taps[i].link.index != link)
			continue;
		*out = i;
		return true;
	}
	return false;
}

bool tap_net_has_moved(const struct tap_net *n, size_t place)
{
	return n->taps[place].moved;
}

void tap_net_set_told(struct tap_net *n, size_t place)
{
	struct tap *t = &n->taps[place];

	t->told = true;
	t->known = t->tuned;
	memcpy(t->said, t->read, sizeof(t->said));
}

bool tap_net_is_told(const struct tap_net *n, size_t place)
{
	return n->taps[place].told;
}

const char *tap_net_name(const struct tap_net *n, size_t place)
{
	return n->taps[place].link.name;
}

void tap_net_device(struct tap_net *n, size_t place, struct vmm_device *out)
{
	struct tap *t = &n->taps[place];

	*out = (struct vmm_device){ .kind = VMM_DEV_NET, .id = t->id };
	out->net.tap_fds = &t->fd;
	out->net.vhost_fds = t->vhost >= 0 ? &t->vhost : NULL;
	out->net.tap_count = 1;
	out->net.stream_fd = -1;
	memcpy(out->net.mac, t->link.mac, sizeof(out->net.mac));
}

void tap_net_release_fds(struct tap_net *n)
{
	for (size_t i = 0; i < SCAN_LINKS_MAX; i++) {
		fd_close(&n->taps[i].fd);
		fd_close(&n->taps[i].vhost);
	}
}
