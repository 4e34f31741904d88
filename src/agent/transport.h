/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How the engine reaches the agent: "vsock://CID:PORT" (-1: any), "virtio-serial://NAME" (the
 * port of that name carries the one connection; its end is the sandbox's end), "unix://PATH".
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct err;
struct loop;
struct ttrpc_conn;
struct ttrpc_server;
struct ttrpc_service;

struct transport_config {
	struct loop *loop;
	const char *address;
	const struct ttrpc_service *services;
	size_t service_count;
	/* The only connection is gone for good (virtio-serial). */
	void (*lost)(const struct err *why, void *arg);
	void *arg;
	/* Kept by transport_serve(). */
	struct ttrpc_server *server;
	struct ttrpc_conn *conn;
};

/* Serves from now on. Call in a fiber: a port may have to be waited for. */
int transport_serve(struct transport_config *c, struct err *e);
/* Whether a vsock connection comes from the host, not from a process of this machine. */
bool transport_is_host(int fd);
/* Listens on a vsock port, any CID. Who connects is asked by transport_is_host(). */
int transport_listen_vsock(uint32_t cid, uint32_t port, int *out, struct err *e);
/* Opens the virtio-serial port called `name`; ERR_NOT_FOUND if there is none now. */
int transport_open_port(const char *name, int *out, struct err *e);
/* Waits until the host has its side of a virtio-serial port open. */
int transport_wait_host(struct loop *l, int fd, int64_t deadline, struct err *e);
