/* SPDX-License-Identifier: Apache-2.0 */
/* Messages that a test fills in, in one arena of its file. */
#pragma once

#include "unit.h"

#include "base/mem.h"
#include "wire/message.h"

#define MAKE(type, name) ((type *)made(&name##__descriptor))

static struct arena arena;

static inline char *word(const char *s)
{
	return (char *)(uintptr_t)s;
}

static inline void *made(const ProtobufCMessageDescriptor *d)
{
	ProtobufCMessage *m = message_new(d, &arena);

	assert_non_null(m);
	return m;
}

static inline void *list_of(size_t n)
{
	void *list = arena_calloc(&arena, n, sizeof(void *));

	assert_non_null(list);
	return list;
}
