/* SPDX-License-Identifier: Apache-2.0 */
/* protobuf messages in arenas. */
#include "wire/message.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/mem.h"

struct decoding {
	struct arena *arena;
	bool exhausted;
};

static void *alloc_in_arena(void *data, size_t size)
{
	struct decoding *d = data;
	void *p = arena_alloc(d->arena, size);

	if (!p)
		d->exhausted = true;
	return p;
}

static void free_in_arena(void *data, void *p)
{
	(void)data;
	(void)p;
}

int message_decode(const ProtobufCMessageDescriptor *type, const void *p, size_t len,
		   struct arena *a, ProtobufCMessage **out, struct err *e)
{
	struct decoding d = { .arena = a };
	ProtobufCAllocator in_arena = {
		.alloc = alloc_in_arena,
		.free = free_in_arena,
		.allocator_data = &d,
	};
	ProtobufCMessage *m = protobuf_c_message_unpack(type, &in_arena, len, p);

	if (!m && d.exhausted)
		return err_set(e, ERR_NO_MEMORY, 0, "out of memory for %s of %zu bytes",
			       type->name, len);
	if (!m)
		return err_set(e, ERR_PEER, 0, "%zu bytes are no valid %s", len, type->name);
	*out = m;
	return 0;
}

int message_encode(const ProtobufCMessage *m, struct buf *out, struct err *e)
{
	size_t size = protobuf_c_message_get_packed_size(m);

	if (buf_reserve(out, size, e) < 0)
		return -1;
	buf_produced(out, protobuf_c_message_pack(m, buf_tail(out)));
	return 0;
}

ProtobufCMessage *message_new(const ProtobufCMessageDescriptor *type, struct arena *a)
{
	ProtobufCMessage *m = arena_alloc(a, type->sizeof_message);

	if (m)
		type->message_init(m);
	return m;
}
