/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ttrpc: containerd's small RPC protocol (unary calls), both sides of a connection.
 *
 * Frame (containerd/ttrpc PROTOCOL.md): length u32 BE, stream u32 BE, type u8, flags u8, then
 * at most 4 MiB of data. Type 1 request, 2 response. Streams of calls are odd and grow.
 *
 * One connection may serve and call at the same time. Each request runs in a fiber of its
 * own, so several are under way at once; when the connection ends they are cancelled.
 * Limits: TTRPC_MAX_DATA a frame, TTRPC_MAX_CALLS requests under way from a peer (one more is
 * answered RESOURCE_EXHAUSTED), a frame must be complete within TTRPC_STALL_MS of its first
 * byte, and a peer that takes none of our bytes for that long is given up. Any other violation
 * fails this connection only.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <protobuf-c/protobuf-c.h>

#include "base/own.h"

struct arena;
struct err;
struct loop;

enum {
	TTRPC_HEADER = 10,
	TTRPC_MAX_DATA = 4 << 20,
	TTRPC_MAX_CALLS = 4608,
	TTRPC_STALL_MS = 30 * 1000,
};

struct ttrpc_conn;

/* One call being served. */
struct ttrpc_call {
	struct ttrpc_conn *conn;
	struct arena *arena; /* lives as long as the call; results may point into it */
	void *context;       /* as given with the service */
	const char *service;
	const char *method;
};

struct ttrpc_method {
	const char *name;
	const ProtobufCMessageDescriptor *request;
	const ProtobufCMessageDescriptor *response;
	/*
	 * Runs in its own fiber. *response is initialised and empty. Server side only; NULL in
	 * a client's tables.
	 */
	int (*run)(struct ttrpc_call *c, const void *request, void *response, struct err *e);
};

struct ttrpc_service {
	const char *name;
	const struct ttrpc_method *methods;
	size_t method_count;
	void *context;
};

struct ttrpc_options {
	const struct ttrpc_service *services; /* served on the connection; must outlive it */
	size_t service_count;
	/* Called once when the connection has ended, from the loop; may free the connection. */
	void (*closed)(struct ttrpc_conn *c, const struct err *why, void *arg);
	void *arg;
};

/*
 * Takes over `fd` (made non-blocking, closed at the end) whatever the outcome. Served
 * requests start at once.
 */
int ttrpc_conn_new(struct loop *l, int fd, const struct ttrpc_options *o,
		   struct ttrpc_conn **out, struct err *e);
/*
 * Closes: callers get ERR_PEER, fibers of served requests are cancelled and the connection's
 * memory goes when the last of them has left. `closed` is not called. NULL is accepted.
 */
void ttrpc_conn_free(struct ttrpc_conn *c);
bool ttrpc_conn_is_open(const struct ttrpc_conn *c);
/* The descriptor, for getsockopt and the like; still the connection's. */
int ttrpc_conn_fd(const struct ttrpc_conn *c);

/*
 * Calls a method of the peer from a fiber and waits. `timeout_ms` < 0: no deadline (for calls
 * that wait for events). The response lives in `a`; it may be NULL if not wanted. A status
 * other than OK becomes an error of the kind that belongs to its code.
 */
int ttrpc_call(struct ttrpc_conn *c, const char *service, const struct ttrpc_method *m,
	       const void *request, int64_t timeout_ms, struct arena *a, void *response_out,
	       struct err *e);

/* gRPC status codes of error kinds, and back (unknown codes are ERR_PEER). */
int ttrpc_code_of(const struct err *e);

/* Accepts connections on a listening unix socket (taken over) and serves each. */
struct ttrpc_server;
int ttrpc_server_new(struct loop *l, int listen_fd, const struct ttrpc_service *services,
		     size_t service_count, struct ttrpc_server **out, struct err *e);
/* Serves only connections for which `is_welcome(fd)` holds; others are closed unread. */
void ttrpc_server_admit(struct ttrpc_server *s, bool (*is_welcome)(int fd));
/* Closes the listener and every connection. NULL is accepted. */
void ttrpc_server_free(struct ttrpc_server *s);
/* Requests being served now, over all connections. */
size_t ttrpc_server_requests(const struct ttrpc_server *s);
/* Connections open now. */
size_t ttrpc_server_connections(const struct ttrpc_server *s);

/* The frame header, for the connection, the fuzzer and tests. */
struct ttrpc_frame {
	uint32_t length, stream;
	uint8_t type, flags;
};
void ttrpc_frame_encode(const struct ttrpc_frame *f, uint8_t out[TTRPC_HEADER]);
/* ERR_PEER if the length is over TTRPC_MAX_DATA. */
int ttrpc_frame_decode(const uint8_t in[TTRPC_HEADER], struct ttrpc_frame *out, struct err *e);

OWN_DEFINE(ttrpc_conn, struct ttrpc_conn *, ttrpc_conn_free)
