/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The third step of a TCP handshake, for a passt that leaves it out: given the SYN,ACK a guest
 * sends, the ACK it waits for. Pure, for tests. RFC 9293 section 3.5; Ethernet without tags,
 * IPv4 (RFC 791) and IPv6 (RFC 8200) without extension headers.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
	HANDSHAKE_ANSWER_MAX = 14 + 40 + 20
};

/*
 * Whether `frame` is a SYN,ACK; then *out, *out_len is the Ethernet frame that acknowledges it.
 * The bytes are the guest's: any length and content is looked at safely.
 */
bool handshake_answer(const uint8_t *frame, size_t len, uint8_t out[HANDSHAKE_ANSWER_MAX],
		      size_t *out_len);
