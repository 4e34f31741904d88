/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A macvtap of a link, in mode "passthru" (drivers/net/macvtap.c, ip-link(8)): it takes what is
 * for the link's hardware address, which it has as well, so nothing of the link has to be
 * changed, and nothing to be put back. Broadcasts reach the host's side of the link too, which
 * answers what the guest does: that the addresses are behind that hardware address.
 */
#pragma once

#include <stdint.h>

struct err;

/*
 * Makes and brings up `name` upon the link with index `link`; `nl` is a socket of the link's
 * namespace. ERR_SYS with EBUSY or EINVAL if something else is upon it.
 */
int macvtap_add(int nl, int link, const char *name, uint32_t mtu, struct err *e);
/*
 * Its character device, found by its numbers: names in /dev are taken from interface indexes,
 * which several namespaces have. The caller stands in the namespace.
 */
int macvtap_open(const char *name, int *out, struct err *e);
/* One that is gone is ERR_SYS with ENODEV. */
int macvtap_remove(int nl, const char *name, struct err *e);
