/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The network "user": passt, a process without privileges that turns the guest's Ethernet
 * frames into sockets of the host. Outgoing access without any set-up on the host, no way
 * into the host's loopback, ports of the guest published on the host on request. The guest's
 * addresses are fixed ones of our own, whatever the host's are.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/own.h"

struct child_reaper;
struct err;
struct log_ctx;
struct loop;
struct user_net;
struct vmm_device;

enum user_net_proto {
	USER_NET_TCP,
	USER_NET_UDP
};

struct user_net_port {
	enum user_net_proto proto;
	const char *host_addr; /* numeric address to listen on; NULL or "": all */
	uint16_t host_port;    /* 1 … 65535 */
	uint16_t guest_port;
};

/*
 * "[addr:]host:guest[/tcp|/udp]", as `-p` takes it; IPv6 addresses in
 * brackets. ERR_INVALID names what is wrong. *addr_out (malloc'd, or NULL) holds the address
 * that out->host_addr points at.
 */
int user_net_parse_port(const char *s, struct user_net_port *out, char **addr_out,
			struct err *e);

struct user_net_config {
	const char *program; /* NULL: passt, looked for where packages put it */
	const struct user_net_port *ports;
	size_t port_count;
	unsigned mtu;            /* 0: 65520 */
	const char *resolv_conf; /* NULL: /etc/resolv.conf */
	bool debug;
	const char *cgroup_procs; /* or NULL */
	const struct log_ctx *log;
	/* Called once, from the loop, if passt ends before user_net_free(). May be NULL. */
	void (*lost)(const struct err *why, void *arg);
	void *arg;
};

/* What the guest's interface gets; addresses as text, "" where there is none. */
struct user_net_guest {
	const char *name; /* "eth0" */
	uint8_t mac[6];
	unsigned mtu;
	char ipv4[16]; /* with ipv4_prefix */
	unsigned ipv4_prefix;
	char gateway4[16]; /* of the default route */
	char ipv6[46];     /* "" if the host has no IPv6 route */
	unsigned ipv6_prefix;
	char gateway6[46];
	char dns[4][46]; /* as the guest must use them */
	size_t dns_count;
	char search[256]; /* search domains, separated by blanks */
};

/*
 * The address by which a guest is reached from outside, as text: of the families that the
 * calling process's network namespace has a default route for, IPv4 first. NULL: none.
 */
const char *user_net_address(void);

/*
 * Starts passt in the calling process's network namespace and waits until it has bound its
 * ports. A port in use or not allowed is an error that names it. Call in a fiber.
 */
int user_net_start(struct loop *l, struct child_reaper *r, const struct user_net_config *c,
		   int64_t deadline, struct user_net **out, struct err *e);
/* Ends passt. NULL is accepted. */
void user_net_free(struct user_net *n);
OWN_DEFINE(user_net, struct user_net *, user_net_free)

/*
 * The device of the machine. Its descriptor belongs to *n; after vmm_start() the machine has
 * its own and user_net_release_fd() closes it, so that passt sees the machine's end.
 */
void user_net_device(const struct user_net *n, struct vmm_device *out);
void user_net_release_fd(struct user_net *n);
const struct user_net_guest *user_net_guest(const struct user_net *n);
pid_t user_net_pid(const struct user_net *n);
