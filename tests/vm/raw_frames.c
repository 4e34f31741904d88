/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Sends what no kernel sends by itself: frames for any address, over eth0, for test_network.py.
 *
 *     raw_frames PORT ADDRESS…     to each a datagram and the first segment of a connection
 */
#include <arpa/inet.h>
#include <linux/if_packet.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

enum {
	ETH_LEN = 14,
	UDP = 17,
	TCP = 6,
	FROM_PORT = 40000
};

static const char text[] = "from the guest";

struct frame {
	uint8_t bytes[200];
	size_t ip_len; /* of its header */
	bool six;
};

static void put16(uint8_t *p, unsigned v)
{
	p[0] = (uint8_t)(v >> 8);
	p[1] = (uint8_t)v;
}

static uint32_t sum(const uint8_t *p, size_t len, uint32_t start)
{
	for (size_t i = 0; i < len; i += 2)
		start += (uint32_t)p[i] << 8 | (i + 1 < len ? p[i + 1] : 0);
	return start;
}

static unsigned fold(uint32_t s)
{
	while (s >> 16)
		s = (s & 0xffff) + (s >> 16);
	return ~s & 0xffff;
}

static bool own_address(int fd, bool six, uint8_t *out)
{
	struct ifreq r = { .ifr_name = "eth0" };
	char hex[33], name[20], line[200];
	FILE *f;

	if (!six) {
		r.ifr_addr.sa_family = AF_INET;
		if (ioctl(fd, SIOCGIFADDR, &r) < 0)
			return false;
		memcpy(out, &((struct sockaddr_in *)&r.ifr_addr)->sin_addr, 4);
		return true;
	}
	f = fopen("/proc/net/if_inet6", "r");
	while (f && fgets(line, sizeof(line), f)) {
		if (sscanf(line, "%32s %*s %*s 00 %*s %19s", hex, name) != 2 ||
		    strcmp(name, "eth0") != 0)
			continue;
		for (int i = 0; i < 16; i++) {
			char byte[3] = { hex[2 * i], hex[2 * i + 1], 0 };

			out[i] = (uint8_t)strtoul(byte, NULL, 16);
		}
		(void)fclose(f);
		return true;
	}
	return false;
}

/* The header of the network layer, for `len` bytes of a protocol behind it. */
static void put_ip(struct frame *f, unsigned proto, size_t len)
{
	uint8_t *ip = f->bytes + ETH_LEN;

	if (f->six) {
		ip[0] = 0x60;
		put16(ip + 4, (unsigned)len);
		ip[6] = (uint8_t)proto;
		ip[7] = 64;
		return;
	}
	ip[0] = 0x45;
	put16(ip + 2, (unsigned)(20 + len));
	ip[8] = 64;
	ip[9] = (uint8_t)proto;
	put16(ip + 10, 0);
	put16(ip + 10, fold(sum(ip, 20, 0)));
}

/* `at`: where the protocol has its checksum. */
static void send_ip(int fd, int link, struct frame *f, unsigned proto, size_t len, size_t at)
{
	struct sockaddr_ll to = { .sll_family = AF_PACKET, .sll_ifindex = link };
	uint8_t *ip = f->bytes + ETH_LEN, *l4 = ip + f->ip_len;
	size_t addresses = f->six ? 32 : 8;

	put_ip(f, proto, len);
	put16(l4 + at, 0);
	put16(l4 + at,
	      fold(sum(l4, len, sum(l4 - addresses, addresses, (uint32_t)(proto + len)))));
	if (sendto(fd, f->bytes, ETH_LEN + f->ip_len + len, 0, (struct sockaddr *)&to,
		   sizeof(to)) < 0)
		perror("sendto");
}

static void send_both(int fd, int link, struct frame *f, unsigned port)
{
	uint8_t *l4 = f->bytes + ETH_LEN + f->ip_len;

	put16(l4, FROM_PORT);
	put16(l4 + 2, port);
	put16(l4 + 4, 8 + sizeof(text));
	memcpy(l4 + 8, text, sizeof(text));
	send_ip(fd, link, f, UDP, 8 + sizeof(text), 6);

	memset(l4 + 4, 0, 16);
	l4[7] = 1;     /* sequence number */
	l4[12] = 0x50; /* five words of header */
	l4[13] = 0x02; /* SYN */
	put16(l4 + 14, 1000);
	send_ip(fd, link, f, TCP, 20, 16);
}

int main(int argc, char **argv)
{
	int fd = socket(AF_PACKET, SOCK_RAW, htons(ETH_P_ALL)),
	    inet = socket(AF_INET, SOCK_DGRAM, 0);
	struct ifreq r = { .ifr_name = "eth0" };
	int link = (int)if_nametoindex("eth0");

	if (argc < 3 || fd < 0 || inet < 0 || !link || ioctl(inet, SIOCGIFHWADDR, &r) < 0) {
		perror("eth0");
		return 1;
	}
	for (int i = 2; i < argc; i++) {
		struct frame f = { .six = strchr(argv[i], ':') };
		uint8_t *ip = f.bytes + ETH_LEN;

		f.ip_len = f.six ? 40 : 20;
		memset(f.bytes, 0xff, 6); /* whoever is there */
		memcpy(f.bytes + 6, r.ifr_hwaddr.sa_data, 6);
		put16(f.bytes + 12, f.six ? ETH_P_IPV6 : ETH_P_IP);
		if (!own_address(inet, f.six, ip + (f.six ? 8 : 12)) ||
		    inet_pton(f.six ? AF_INET6 : AF_INET, argv[i], ip + (f.six ? 24 : 16)) !=
			    1) {
			(void)fprintf(stderr, "%s: no such address\n", argv[i]);
			return 1;
		}
		send_both(fd, link, &f, (unsigned)strtoul(argv[1], NULL, 10));
	}
	return 0;
}
