/* SPDX-License-Identifier: Apache-2.0 */
/*
 * protobuf messages with limits: everything decoded lives in the caller's arena and dies
 * with it, so nothing of a message is ever freed by itself, and a hostile peer can make a
 * decoder use no more than the arena's limit. (protobuf-c has no nesting limit; none of the
 * project's messages is recursive, so nesting is bounded by the contracts themselves.)
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include <protobuf-c/protobuf-c.h>

struct arena;
struct buf;
struct err;

/*
 * Decodes `len` bytes; *out points into `a`. ERR_PEER for bytes that are no such message,
 * ERR_NO_MEMORY when the arena has no room for it.
 */
int message_decode(const ProtobufCMessageDescriptor *type, const void *p, size_t len,
		   struct arena *a, ProtobufCMessage **out, struct err *e);
/* Appends the encoding to `out`. */
int message_encode(const ProtobufCMessage *m, struct buf *out, struct err *e);
/* An initialised empty message in `a`; NULL when out of memory. */
ProtobufCMessage *message_new(const ProtobufCMessageDescriptor *type, struct arena *a);
