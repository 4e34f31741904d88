/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The model "tcfilter": each link of the caller's network namespace is joined to a tap of the
 * machine, frame by frame, by redirections of the traffic control in both directions (ingress
 * qdisc, u32 match-all, mirred; tc-mirred(8)). The guest's interface has the link's hardware
 * address, MTU, addresses, routes and neighbours, so that nobody outside sees a difference.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/own.h"
#include "net/scan.h"

struct err;
struct log_ctx;
struct tap_net;
struct vmm_device;

/*
 * Looks into the namespace (a path) and makes taps and redirections there. Waits for nothing:
 * the process is in the other namespace for the time of the call. *out has no link where the
 * namespace has none with an address.
 */
int tap_net_new(const char *netns, const struct log_ctx *log, struct tap_net **out,
		struct err *e);
/* Takes redirections and taps away. NULL is accepted. */
void tap_net_free(struct tap_net *n);
OWN_DEFINE(tap_net, struct tap_net *, tap_net_free)

/* What was found there; valid as long as *n. */
const struct scan *tap_net_scan(const struct tap_net *n);
/* The machine's device for link `i`; its descriptors belong to *n. */
void tap_net_device(struct tap_net *n, size_t i, struct vmm_device *out);
/* After vmm_start(): the machine has descriptors of its own, a tap goes with the last one. */
void tap_net_release_fds(struct tap_net *n);
