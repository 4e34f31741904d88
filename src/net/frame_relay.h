/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Stands between a guest's network device and passt. What would reach the host's loopback is
 * dropped (net/frame_filter.h), and the TCP handshakes are completed that a passt older than
 * 2023-09-22 leaves open: it does not acknowledge a guest's SYN,ACK before the client has sent
 * something, so that a published server that speaks first (SMTP, MySQL, FTP) waits for ever.
 * Everything else passes unchanged. See docs/decisions/0023.
 *
 * Both sides speak QEMU's stream framing: a length of 32 bits, big endian, then the Ethernet
 * frame. What is no frame ends the relay.
 */
#pragma once

#include <stdbool.h>

#include "base/own.h"

struct err;
struct frame_relay;
struct loop;

enum {
	FRAME_RELAY_MAX = 4096 + 65536 /* QEMU 7.2's longest (include/net/net.h, NET_BUFSIZE) */
};

struct frame_relay_ends {
	int guest, passt; /* taken over */
	bool completes_handshakes;
};

/*
 * Takes over both descriptors. `lost` is called once, from the loop, when a side breaks the
 * framing; an end of either side is passed on to the other and is nobody's fault here.
 */
int frame_relay_new(struct loop *l, const struct frame_relay_ends *ends,
		    void (*lost)(const struct err *why, void *arg), void *arg,
		    struct frame_relay **out, struct err *e);
/* NULL is accepted. */
void frame_relay_free(struct frame_relay *r);
OWN_DEFINE(frame_relay, struct frame_relay *, frame_relay_free)
