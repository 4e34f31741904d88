/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The loopback of a caller's network namespace: whoever connects there to any port, of IPv4 or
 * IPv6, comes to two sockets of ours, by a program that is asked where a new connection goes
 * (BPF_PROG_TYPE_SK_LOOKUP, Linux 5.9). Nothing is put into the namespace: all of it goes with
 * the descriptors.
 */
#pragma once

struct err;

struct loopback {
	int sockets[2]; /* listening: IPv4, IPv6 (-1 where the host has none) */
	int link;       /* of the program with the namespace */
};

#define LOOPBACK_INIT                                                                          \
	{                                                                                      \
		.sockets = { -1, -1 }, .link = -1                                              \
	}

/* `ns`: a descriptor of the namespace. ERR_SYS where the kernel has no such programs. */
int loopback_open(int ns, struct loopback *out, struct err *e);
void loopback_close(struct loopback *l);
