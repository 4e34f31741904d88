/* SPDX-License-Identifier: Apache-2.0 */
/* Messages of the traffic control. */
#include "net/ingress.h"

#include <arpa/inet.h>
#include <linux/if_ether.h>
#include <linux/pkt_cls.h>
#include <linux/pkt_sched.h>
#include <linux/tc_act/tc_mirred.h>
#include <string.h>
#include <sys/socket.h>

#include "base/err.h"
#include "wire/netlink.h"

enum {
	INGRESS = 0xffff0000U, /* the handle of every ingress qdisc */
	PRIORITY = 1
};

int ingress_add(int nl, int index, struct err *e)
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

int ingress_remove(int nl, int index, struct err *e)
{
	struct tcmsg m = { .tcm_family = AF_UNSPEC,
			   .tcm_ifindex = index,
			   .tcm_handle = INGRESS,
			   .tcm_parent = TC_H_INGRESS };
	struct nl_request r;

	nl_start(&r, RTM_DELQDISC, NLM_F_ACK, &m, sizeof(m));
	nl_put_str(&r, TCA_KIND, "ingress"); /* another's clsact has the same place */
	return nl_call(nl, &r, NULL, NULL, e);
}

/* linux/pkt_cls.h, linux/tc_act/tc_mirred.h */
int ingress_redirect(int nl, int from, int to, struct err *e)
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
