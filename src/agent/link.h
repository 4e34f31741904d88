/* SPDX-License-Identifier: Apache-2.0 */
/* Network links of the guest, read from and changed through rtnetlink. */
#pragma once

#include <net/if.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <linux/if_link.h>

struct err;

enum {
	LINK_MAC_LEN = 6,
	LINK_TEXT_MAC = 18
};

struct link {
	int index;
	unsigned flags; /* IFF_* */
	uint32_t mtu;
	char name[IFNAMSIZ];
	uint8_t mac[LINK_MAC_LEN];
	bool has_mac;
	struct rtnl_link_stats64 stats;
	bool has_stats;
};

/* An address or destination of either family. */
struct ip {
	int family; /* AF_INET, AF_INET6 */
	uint8_t bytes[16];
	size_t len; /* 4 or 16 */
	unsigned prefix;
};

/* "aa:bb:cc:dd:ee:ff" */
bool mac_parse(const char *s, uint8_t out[LINK_MAC_LEN]);
void mac_text(const uint8_t mac[LINK_MAC_LEN], char out[LINK_TEXT_MAC]);
/* "10.0.0.1", "10.0.0.0/8", "fd00::/64"; without a prefix the whole address. */
int ip_parse(const char *s, struct ip *out, struct err *e);

/* Calls `each` for every link of the namespace; its failure ends the walk. */
int link_each(int nl, int (*each)(const struct link *l, void *arg, struct err *e), void *arg,
	      struct err *e);
/* false if there is none. */
int link_find(int nl, const char *name, const uint8_t *mac, struct link *out, bool *found,
	      struct err *e);
int link_set_mac(int nl, int index, const uint8_t mac[LINK_MAC_LEN], struct err *e);
/* Any of: a new name (or NULL), MTU (or 0), flags to set under a mask. */
int link_change(int nl, int index, const char *name, uint32_t mtu, unsigned flags,
		unsigned mask, struct err *e);
