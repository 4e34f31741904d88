/* SPDX-License-Identifier: Apache-2.0 */
/* From a SYN,ACK to its ACK: addresses and numbers change sides. */
#include "net/handshake.h"

#include <linux/if_ether.h>
#include <string.h>

enum {
	ETH_TYPE = ETH_HLEN - 2,
	MAC_LEN = 6,
	IP4_MIN = 20,
	IP6_LEN = 40,
	TCP_LEN = 20,
	PROTO_TCP = 6,
	TCP_FLAG_FIN_SYN_RST_ACK = 0x17,
	TCP_FLAG_SYN = 0x02,
	TCP_FLAG_ACK = 0x10,
	HOP_LIMIT = 255,
	/* small, so that it is right whether scaled or not; passt's next segment corrects it */
	WINDOW = 256
};

static unsigned get16(const uint8_t *p)
{
	return (unsigned)p[0] << 8 | p[1];
}

static void put16(uint8_t *p, unsigned v)
{
	p[0] = (uint8_t)(v >> 8);
	p[1] = (uint8_t)v;
}

static uint32_t get32(const uint8_t *p)
{
	return (uint32_t)get16(p) << 16 | get16(p + 2);
}

static void put32(uint8_t *p, uint32_t v)
{
	put16(p, v >> 16);
	put16(p + 2, v & 0xffff);
}

/* RFC 1071: of an even number of bytes. */
static uint32_t sum16(const uint8_t *p, size_t len, uint32_t sum)
{
	for (size_t i = 0; i + 1 < len; i += 2)
		sum += get16(p + i);
	return sum;
}

static unsigned fold(uint32_t sum)
{
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return ~sum & 0xffff;
}

/* The TCP header of a SYN,ACK within the packet, or NULL. */
static const uint8_t *find_syn_ack(const uint8_t *ip, size_t len, unsigned type)
{
	const uint8_t *tcp;
	size_t head;

	if (type == ETH_P_IP) {
		head = len >= IP4_MIN ? (size_t)(ip[0] & 15) * 4 : 0;
		if (head < IP4_MIN || ip[0] >> 4 != 4 || ip[9] != PROTO_TCP ||
		    get16(ip + 6) & 0x3fff) /* a fragment */
			return NULL;
	} else if (type == ETH_P_IPV6) {
		head = IP6_LEN;
		if (len < IP6_LEN || ip[0] >> 4 != 6 || ip[6] != PROTO_TCP)
			return NULL;
	} else {
		return NULL;
	}
	if (len < head + TCP_LEN)
		return NULL;
	tcp = ip + head;
	return (tcp[13] & TCP_FLAG_FIN_SYN_RST_ACK) == (TCP_FLAG_SYN | TCP_FLAG_ACK) ? tcp
										     : NULL;
}

static void put_tcp(const uint8_t *syn_ack, uint8_t *out)
{
	memset(out, 0, TCP_LEN);
	memcpy(out, syn_ack + 2, 2);
	memcpy(out + 2, syn_ack, 2);
	memcpy(out + 4, syn_ack + 8, 4); /* what it acknowledged is what comes next */
	put32(out + 8, get32(syn_ack + 4) + 1);
	out[12] = TCP_LEN / 4 << 4;
	out[13] = TCP_FLAG_ACK;
	put16(out + 14, WINDOW);
}

/* Writes both headers; returns their length. */
static size_t put_ip4(const uint8_t *ip, const uint8_t *syn_ack, uint8_t *out)
{
	uint8_t *tcp = out + IP4_MIN;

	memset(out, 0, IP4_MIN);
	out[0] = 4 << 4 | IP4_MIN / 4;
	put16(out + 2, IP4_MIN + TCP_LEN);
	out[8] = HOP_LIMIT;
	out[9] = PROTO_TCP;
	memcpy(out + 12, ip + 16, 4);
	memcpy(out + 16, ip + 12, 4);
	put16(out + 10, fold(sum16(out, IP4_MIN, 0)));
	put_tcp(syn_ack, tcp);
	put16(tcp + 16, fold(sum16(out + 12, 8, sum16(tcp, TCP_LEN, PROTO_TCP + TCP_LEN))));
	return IP4_MIN + TCP_LEN;
}

static size_t put_ip6(const uint8_t *ip, const uint8_t *syn_ack, uint8_t *out)
{
	uint8_t *tcp = out + IP6_LEN;

	memset(out, 0, IP6_LEN);
	out[0] = 6 << 4;
	put16(out + 4, TCP_LEN);
	out[6] = PROTO_TCP;
	out[7] = HOP_LIMIT;
	memcpy(out + 8, ip + 24, 16);
	memcpy(out + 24, ip + 8, 16);
	put_tcp(syn_ack, tcp);
	put16(tcp + 16, fold(sum16(out + 8, 32, sum16(tcp, TCP_LEN, PROTO_TCP + TCP_LEN))));
	return IP6_LEN + TCP_LEN;
}

bool handshake_answer(const uint8_t *frame, size_t len, uint8_t out[HANDSHAKE_ANSWER_MAX],
		      size_t *out_len)
{
	const uint8_t *ip = frame + ETH_HLEN, *syn_ack;

	if (len < ETH_HLEN)
		return false;
	syn_ack = find_syn_ack(ip, len - ETH_HLEN, get16(frame + ETH_TYPE));
	if (!syn_ack)
		return false;
	memcpy(out, frame + MAC_LEN, MAC_LEN);
	memcpy(out + MAC_LEN, frame, MAC_LEN);
	memcpy(out + ETH_TYPE, frame + ETH_TYPE, 2);
	*out_len = ETH_HLEN + (ip[0] >> 4 == 4 ? put_ip4(ip, syn_ack, out + ETH_HLEN)
					       : put_ip6(ip, syn_ack, out + ETH_HLEN));
	return true;
}
