/* SPDX-License-Identifier: Apache-2.0 */
/* Taps and redirections. Links are looked at in src/net/scan.c. */
#include "net/tap_net.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if_ether.h>
#include <linux/if_tun.h>
#include <linux/pkt_cls.h>
#include <linux/pkt_sched.h>
#include <linux/tc_act/tc_mirred.h>
#include <net/if.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "base/err.h"
#include "base/log.h"
#include "base/mem.h"
#include "vmm/vmm.h"
#include "wire/netlink.h"

enum {
	INGRESS = 0xffff0000U, /* the handle of every ingress qdisc */
	PRIORITY = 1
};

struct tap {
	int fd, index;
	char name[IFNAMSIZ], id[8];
	bool redirected; /* the link has an ingress qdisc of ours */
};

struct tap_net {
	const struct log_ctx *log;
	struct arena arena;
	int nl; /* of the other namespace */
	struct scan scan;
	struct tap taps[SCAN_LINKS_MAX];
};

/* ---- in the other namespace ---- */

/* Goes there; *back is the way home. */
static int enter(const char *netns, int *back, struct err *e)
{
	OWN(fd) int there = open(netns, O_RDONLY | O_CLOEXEC);
	OWN(fd) int here = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);

	if (there < 0)
		return err_sys(e, "network namespace '%.200s'", netns);
	if (here < 0)
		return err_sys(e, "our own network namespace");
	if (setns(there, CLONE_NEWNET) < 0)
		return err_sys(e, "enter network namespace '%.200s'", netns);
	*back = fd_take(&here);
	return 0;
}

/* A process that cannot come back would serve everything else from the wrong place. */
static void leave(int *back)
{
	BUG_ON(setns(*back, CLONE_NEWNET) < 0);
	fd_close(back);
}

/* ---- taps ---- */

static int bring_up(int nl, int index, uint32_t mtu, struct err *e)
{
	struct ifinfomsg m = { .ifi_index = index, .ifi_flags = IFF_UP, .ifi_change = IFF_UP };
	struct nl_request r;

	nl_start(&r, RTM_NEWLINK, NLM_F_ACK, &m, sizeof(m));
	nl_put_u32(&r, IFLA_MTU, mtu);
	return nl_call(nl, &r, NULL, NULL, e);
}

static int make_tap(struct tap_net *n, size_t i, struct err *e)
{
	struct tap *t = &n->taps[i];
	OWN(fd) int fd = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);
	struct ifreq req = { .ifr_flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR };

	if (fd < 0)
		return err_sys(e, "open /dev/net/tun");
	(void)snprintf(req.ifr_name, sizeof(req.ifr_name), "tap%u_kata",
		       (unsigned)i % SCAN_LINKS_MAX);
	if (ioctl(fd, TUNSETIFF, &req) < 0)
		return err_sys(e, "make %s", req.ifr_name);
	(void)snprintf(t->name, sizeof(t->name), "%s", req.ifr_name);
	(void)snprintf(t->id, sizeof(t->id), "net%u", (unsigned)i % SCAN_LINKS_MAX);
	t->index = (int)if_nametoindex(t->name);
	if (t->index == 0)
		return err_sys(e, "find %s", t->name);
	if (bring_up(n->nl, t->index, n->scan.links[i].mtu, e) < 0)
		return err_wrap(e, "bring %s up", t->name);
	t->fd = fd_take(&fd);
	return 0;
}

/* ---- redirections ---- */

static int add_qdisc(int nl, int index, struct err *e)
{
	struct tcmsg m = { .tcm_family = AF_UNSPEC,
			   .tcm_ifindex = index,
			   .tcm_handle = INGRESS,
			   .tcm_parent = TC_H_INGRESS };
	struct nl_request r;

	nl_start(&r, RTM_NEWQDISC, NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL, &m, sizeof(m));
	nl_put_str(&r, TCA_KIND, "ingress");
	return nl_call(nl, &r, NULL, NULL, e);
}

static int remove_qdisc(int nl, int index, struct err *e)
{
	struct tcmsg m = { .tcm_family = AF_UNSPEC,
			   .tcm_ifindex = index,
			   .tcm_handle = INGRESS,
			   .tcm_parent = TC_H_INGRESS };
	struct nl_request r;

	nl_start(&r, RTM_DELQDISC, NLM_F_ACK, &m, sizeof(m));
	return nl_call(nl, &r, NULL, NULL, e);
}

/* Whatever comes in at `from` goes out at `to` (linux/pkt_cls.h, linux/tc_act/tc_mirred.h). */
static int redirect(int nl, int from, int to, struct err *e)
{
	struct tcmsg m = { .tcm_family = AF_UNSPEC,
			   .tcm_ifindex = from,
			   .tcm_parent = INGRESS,
			   .tcm_info = TC_H_MAKE(PRIORITY << 16, htons(ETH_P_ALL)) };
	struct tc_mirred act = { .action = TC_ACT_STOLEN,
				 .eaction = TCA_EGRESS_REDIR,
				 .ifindex = (uint32_t)to };
	/* one key behind it whose mask is empty: whatever the frame */
	const struct tc_u32_sel sel = { .flags = TC_U32_TERMINAL, .nkeys = 1 };
	uint8_t all[sizeof(sel) + sizeof(struct tc_u32_key)] = { 0 };
	struct nl_request r;
	size_t options, actions, first, parms;

	nl_start(&r, RTM_NEWTFILTER, NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL, &m, sizeof(m));
	nl_put_str(&r, TCA_KIND, "u32");
	options = nl_nest(&r, TCA_OPTIONS);
	memcpy(all, &sel, sizeof(sel));
	nl_put(&r, TCA_U32_SEL, all, sizeof(all));
	actions = nl_nest(&r, TCA_U32_ACT);
	first = nl_nest(&r, 1);
	nl_put_str(&r, TCA_ACT_KIND, "mirred");
	parms = nl_nest(&r, TCA_ACT_OPTIONS);
	nl_put(&r, TCA_MIRRED_PARMS, &act, sizeof(act));
	nl_nest_end(&r, parms);
	nl_nest_end(&r, first);
	nl_nest_end(&r, actions);
	nl_nest_end(&r, options);
	return nl_call(nl, &r, NULL, NULL, e);
}

static int join(struct tap_net *n, size_t i, struct err *e)
{
	const struct scan_link *l = &n->scan.links[i];
	struct tap *t = &n->taps[i];

	if (make_tap(n, i, e) < 0)
		return -1;
	if (add_qdisc(n->nl, l->index, e) < 0)
		return err_wrap(e, "ingress qdisc");
	t->redirected = true;
	if (add_qdisc(n->nl, t->index, e) < 0)
		return err_wrap(e, "ingress qdisc of %s", t->name);
	if (redirect(n->nl, l->index, t->index, e) < 0 ||
	    redirect(n->nl, t->index, l->index, e) < 0)
		return err_wrap(e, "redirection to %s", t->name);
	return 0;
}

/* ---- life ---- */

static int set_up(struct tap_net *n, struct err *e)
{
	if (nl_open(&n->nl, e) < 0 || scan_links(n->nl, &n->arena, &n->scan, e) < 0)
		return -1;
	for (size_t i = 0; i < n->scan.link_count; i++) {
		if (join(n, i, e) < 0)
			return err_wrap(e, "link '%s'", n->scan.links[i].name);
	}
	return 0;
}

int tap_net_new(const char *netns, const struct log_ctx *log, struct tap_net **out,
		struct err *e)
{
	OWN(tap_net) struct tap_net *n = mem_new(struct tap_net);
	int back, rc;

	if (!n)
		return err_oom(e, "a network");
	n->log = log;
	n->nl = -1;
	arena_init(&n->arena, 1 << 20);
	for (size_t i = 0; i < SCAN_LINKS_MAX; i++)
		n->taps[i].fd = -1;
	if (enter(netns, &back, e) < 0)
		return -1;
	rc = set_up(n, e);
	leave(&back);
	if (rc < 0)
		return err_wrap(e, "network namespace '%.200s'", netns);
	*out = TAKE(n);
	return 0;
}

void tap_net_free(struct tap_net *n)
{
	struct err e;

	if (!n)
		return;
	for (size_t i = 0; i < SCAN_LINKS_MAX; i++) {
		struct tap *t = &n->taps[i];

		/* the link may have gone with its namespace's owner already */
		if (t->redirected && remove_qdisc(n->nl, n->scan.links[i].index, &e) < 0 &&
		    e.sys != ENODEV && e.sys != ENOENT && e.sys != EINVAL)
			log_warn(n->log, "redirection of '%s' stays: %s", n->scan.links[i].name,
				 e.msg);
		fd_close(&t->fd);
	}
	fd_close(&n->nl);
	arena_fini(&n->arena);
	free(n);
}

const struct scan *tap_net_scan(const struct tap_net *n)
{
	return &n->scan;
}

void tap_net_device(struct tap_net *n, size_t i, struct vmm_device *out)
{
	*out = (struct vmm_device){ .kind = VMM_DEV_NET, .id = n->taps[i].id };
	out->net.tap_fds = &n->taps[i].fd;
	out->net.tap_count = 1;
	out->net.stream_fd = -1;
	out->net.mtu = n->scan.links[i].mtu;
	memcpy(out->net.mac, n->scan.links[i].mac, sizeof(out->net.mac));
}

void tap_net_release_fds(struct tap_net *n)
{
	for (size_t i = 0; i < SCAN_LINKS_MAX; i++)
		fd_close(&n->taps[i].fd);
}
