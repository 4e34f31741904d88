/* SPDX-License-Identifier: Apache-2.0 */
/*
 * passwd and group files of a container, as the agent reads them: the first line of the input
 * is the name looked for, the rest is the file.
 */
#include "fuzz.h"

#include <stdbool.h>
#include <string.h>

#include "agent/user.h"
#include "base/err.h"
#include "base/mem.h"
#include "base/own.h"

static bool is_inside(const char *p, size_t len, const char *text, size_t size)
{
	/* a field that is not there is an empty text elsewhere */
	return len == 0 || (p >= text && p + len <= text + size);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const uint8_t *nl = size ? memchr(data, '\n', size) : NULL;
	size_t name_len = nl ? (size_t)(nl - data) : size;
	OWN(free) char *name = mem_dup(data, name_len);
	const char *text = (const char *)data + (nl ? name_len + 1 : size);
	size_t len = size - (size_t)(text - (const char *)data);
	OWN(free) struct identity *id = mem_new(struct identity);
	struct passwd_line l, again;
	struct err e = ERR_INIT;
	gid_t gid;

	FUZZ_CHECK(name && id);
	if (passwd_find(text, len, name, &l)) {
		FUZZ_CHECK(l.name_len > 0 && is_inside(l.name, l.name_len, text, len));
		FUZZ_CHECK(is_inside(l.home, l.home_len, text, len));
		FUZZ_CHECK(l.uid != UINT32_MAX && l.gid != UINT32_MAX);
		FUZZ_CHECK(passwd_find_uid(text, len, l.uid, &again) && again.uid == l.uid);
	}
	if (group_find(text, len, name, &gid))
		FUZZ_CHECK(gid != UINT32_MAX);
	if (group_add_memberships(text, len, name, strlen(name), id, &e) < 0)
		FUZZ_CHECK(e.kind == ERR_INVALID);
	FUZZ_CHECK(id->group_count <= IDENTITY_GROUPS_MAX);
	return 0;
}
