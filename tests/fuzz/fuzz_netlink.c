/* SPDX-License-Identifier: Apache-2.0 */
/* rtnetlink answers: every message, its attributes and those inside of them. */
#include "fuzz.h"

#include <stdbool.h>
#include <string.h>

#include "base/own.h"
#include "wire/netlink.h"

enum {
	MAX_ATTR = 64,
	STRING_MAX = 16
};

static bool is_inside(const void *p, size_t len, const uint8_t *data, size_t size)
{
	const uint8_t *q = p;

	return q >= data && len <= size && (size_t)(q - data) <= size - len;
}

static void check_attrs(const struct nl_attr *table, const uint8_t *data, size_t size,
			int depth)
{
	for (int i = 0; i <= MAX_ATTR; i++) {
		struct nl_attr inner[MAX_ATTR + 1];
		char text[STRING_MAX];
		uint32_t n;

		if (!table[i].data)
			continue;
		FUZZ_CHECK(is_inside(table[i].data, table[i].len, data, size));
		if (nl_get_u32(&table[i], &n) == 0)
			FUZZ_CHECK(table[i].len == sizeof(n));
		if (nl_get_str(&table[i], text, sizeof(text)) == 0)
			FUZZ_CHECK(strlen(text) < sizeof(text));
		if (depth < 2 && nl_parse_nested(&table[i], inner, MAX_ATTR) == 0)
			check_attrs(inner, data, size, depth + 1);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const size_t fixed[] = { 0, sizeof(struct ifinfomsg), sizeof(struct ifaddrmsg),
					sizeof(struct rtmsg) };
	const uint8_t *p = data;
	const struct nlmsghdr *m;
	size_t left = size;

	while (nl_next(&p, &left, &m) > 0) {
		FUZZ_CHECK(is_inside(m, m->nlmsg_len, data, size));
		FUZZ_CHECK(p + left == data + size);
		for (size_t i = 0; i < ARRAY_LEN(fixed); i++) {
			struct nl_attr table[MAX_ATTR + 1];

			if (nl_parse(m, fixed[i], table, MAX_ATTR) == 0)
				check_attrs(table, data, size, 0);
		}
	}
	return 0;
}
