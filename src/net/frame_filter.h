/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which frames of a guest go to passt: none that passt, which connects to whatever address a
 * frame is for, would take to the host's own loopback. Pure, for tests.
 *
 * For Linux that is 127.0.0.0/8 and ::1, what stands for "this host" (0.0.0.0/8, ::), and each
 * IPv4 address within an IPv6 one (::/96, ::ffff:0:0/96; RFC 4291 section 2.5.5), which a
 * socket of IPv6 takes for the other. Ethernet without tags; what is neither ARP, IPv4 nor IPv6
 * passt does not know either.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The bytes are the guest's: any length and content is looked at safely. */
bool frame_filter_passes(const uint8_t *frame, size_t len);
