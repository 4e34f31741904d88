/* SPDX-License-Identifier: Apache-2.0 */
/*
 * protobuf messages: every one of the contracts (message_types.inc is made from them). The
 * first two bytes choose the type. What is accepted encodes to bytes that are accepted and
 * encode the same.
 */
#include "fuzz.h"

#include <string.h>

#include "agent.pb-c.h"
#include "base/buf.h"
#include "base/err.h"
#include "base/mem.h"
#include "bootstrap.pb-c.h"
#include "cgroups_v1.pb-c.h"
#include "cgroups_v2.pb-c.h"
#include "engine.pb-c.h"
#include "events.pb-c.h"
#include "forward.pb-c.h"
#include "oci.pb-c.h"
#include "options.pb-c.h"
#include "sandbox.pb-c.h"
#include "task.pb-c.h"
#include "ttrpc.pb-c.h"
#include "types.pb-c.h"
#include "wire/message.h"

static const ProtobufCMessageDescriptor *const types[] = {
#include "message_types.inc"
};

static void strip_field(ProtobufCMessage *m, const ProtobufCFieldDescriptor *f);

/*
 * Drops unknown fields at every level: protobuf-c keeps them as they came, also with the
 * number 0 (in an overlong encoding), which its own decoder then refuses.
 */
static void strip_unknown(ProtobufCMessage *m)
{
	m->n_unknown_fields = 0;
	for (unsigned i = 0; i < m->descriptor->n_fields; i++)
		if (m->descriptor->fields[i].type == PROTOBUF_C_TYPE_MESSAGE)
			strip_field(m, &m->descriptor->fields[i]);
}

static void strip_field(ProtobufCMessage *m, const ProtobufCFieldDescriptor *f)
{
	void *at = (char *)m + f->offset;
	const void *quantifier = (const char *)m + f->quantifier_offset;

	if (f->label == PROTOBUF_C_LABEL_REPEATED) {
		for (size_t i = 0; i < *(const size_t *)quantifier; i++)
			strip_unknown((*(ProtobufCMessage ***)at)[i]);
		return;
	}
	if ((f->flags & PROTOBUF_C_FIELD_FLAG_ONEOF) && *(const uint32_t *)quantifier != f->id)
		return;
	if (*(ProtobufCMessage **)at)
		strip_unknown(*(ProtobufCMessage **)at);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	OWN(arena) struct arena a = { .limit = 8 << 20 };
	OWN(buf) struct buf first = BUF_INIT, second = BUF_INIT;
	const ProtobufCMessageDescriptor *type;
	ProtobufCMessage *m, *again;
	struct err e;

	if (size < 2)
		return 0;
	type = types[(data[0] | data[1] << 8) % ARRAY_LEN(types)];
	if (message_decode(type, data + 2, size - 2, &a, &m, &e) < 0)
		return 0;
	strip_unknown(m);
	FUZZ_CHECK(message_encode(m, &first, &e) == 0);
	FUZZ_CHECK(message_decode(type, buf_head(&first), buf_len(&first), &a, &again, &e) ==
		   0);
	FUZZ_CHECK(message_encode(again, &second, &e) == 0);
	FUZZ_CHECK(buf_len(&first) == buf_len(&second));
	FUZZ_CHECK(memcmp(buf_head(&first), buf_head(&second), buf_len(&first)) == 0);
	return 0;
}
