/* SPDX-License-Identifier: Apache-2.0 */
/* The way to the agent in a guest: vhost-vsock where it works, else a virtio-serial port. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

struct err;
struct kata_config;
struct log_ctx;
struct loop;
struct vmm;
struct vmm_device;

struct transport {
	bool vsock;
	int fd;       /* of /dev/vhost-vsock, with the address below; -1: none. The user's */
	uint32_t cid; /* 0: none */
};

#define TRANSPORT_INIT                                                                         \
	{                                                                                      \
		.fd = -1                                                                       \
	}

/*
 * What the configuration asks for, on this host, and one log line about it (none without
 * `log`). `vmm_caps` are the machine's. ERR_UNSUPPORTED: vsock is demanded and cannot be.
 */
int transport_choose(const struct kata_config *c, const char *hypervisor, uint64_t vmm_caps,
		     const struct log_ctx *log, struct transport *out, struct err *e);
/* Its device, for the machine's start. The transport must live as long. */
void transport_device(const struct transport *t, struct vmm_device *out);
/* The agent's word for it on the kernel's command line; a constant. */
const char *transport_kernel_word(const struct transport *t);
/*
 * A connection to the agent, which may not be up yet; the caller's. Tried every `pause_ms`
 * until `deadline`, or until *lost: then ERR_PEER.
 */
int transport_connect(const struct transport *t, struct loop *l, struct vmm *v,
		      int64_t pause_ms, int64_t deadline, const bool *lost, int *out,
		      struct err *e);
