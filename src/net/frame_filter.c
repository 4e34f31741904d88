/* SPDX-License-Identifier: Apache-2.0 */
/* By the addresses of the network layer alone: those are what passt goes by. */
#include "net/frame_filter.h"

#include <linux/if_ether.h>
#include <string.h>

enum {
	TYPE = ETH_HLEN - 2, /* of what follows the header, big endian */
	IP4_MIN = 20,
	IP4_SOURCE = 12,
	IP4_DESTINATION = 16,
	IP6_LEN = 40,
	IP6_SOURCE = 8,
	IP6_DESTINATION = 24
};

static bool is_this_host4(const uint8_t *a)
{
	return a[0] == 127 || a[0] == 0;
}

/* Whether what IPv6 has for addresses of IPv4, "::" and "::1" among them. */
static bool is_within_4(const uint8_t *a)
{
	static const uint8_t zeroes[10];

	return memcmp(a, zeroes, sizeof(zeroes)) == 0 &&
	       ((a[10] == 0 && a[11] == 0) || (a[10] == 0xff && a[11] == 0xff));
}

static bool is_unspecified(const uint8_t *a, size_t len)
{
	static const uint8_t zeroes[16];

	return memcmp(a, zeroes, len) == 0;
}

/* "From nobody yet" asks for an address (DHCP, duplicate address detection). */
static bool passes4(const uint8_t *ip, size_t len)
{
	return len >= IP4_MIN && !is_this_host4(ip + IP4_DESTINATION) &&
	       (!is_this_host4(ip + IP4_SOURCE) || is_unspecified(ip + IP4_SOURCE, 4));
}

static bool passes6(const uint8_t *ip, size_t len)
{
	return len >= IP6_LEN && !is_within_4(ip + IP6_DESTINATION) &&
	       (!is_within_4(ip + IP6_SOURCE) || is_unspecified(ip + IP6_SOURCE, 16));
}

bool frame_filter_passes(const uint8_t *frame, size_t len)
{
	if (len < ETH_HLEN)
		return false;
	switch (frame[TYPE] << 8 | frame[TYPE + 1]) {
	case ETH_P_ARP:
		return true;
	case ETH_P_IP:
		return passes4(frame + ETH_HLEN, len - ETH_HLEN);
	case ETH_P_IPV6:
		return passes6(frame + ETH_HLEN, len - ETH_HLEN);
	default:
		return false;
	}
}
