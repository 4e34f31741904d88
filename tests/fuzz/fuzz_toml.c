/* SPDX-License-Identifier: Apache-2.0 */
/* TOML: the tree is sound: counts, keys, lines and nesting. */
#include "fuzz.h"

#include <string.h>

#include "base/err.h"
#include "base/mem.h"
#include "wire/toml.h"

/* Returns the number of values below `v`. */
static size_t check_tree(const struct toml_value *v, unsigned depth)
{
	size_t n = 0, total = 0;

	FUZZ_CHECK(depth <= 3 * TOML_MAX_DEPTH);
	FUZZ_CHECK(v->line >= 1);
	if (v->type == TOML_STRING)
		return strlen(v->string) < TOML_MAX_BYTES;
	if (v->type != TOML_TABLE && v->type != TOML_ARRAY)
		return 1;
	for (const struct toml_value *m = v->list.first; m; m = m->next) {
		FUZZ_CHECK((v->type == TOML_TABLE) == (m->key != NULL));
		if (m->key)
			FUZZ_CHECK(toml_get(v, m->key) == m);
		total += check_tree(m, depth + 1);
		n++;
	}
	FUZZ_CHECK(n == v->list.count);
	return total + 1;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	OWN(arena) struct arena a = { .limit = 64 << 20 };
	struct toml_value *root, *again;
	struct err e;
	size_t n;

	if (toml_parse((const char *)data, size, "fuzz", &a, &root, &e) < 0)
		return 0;
	n = check_tree(root, 0);
	FUZZ_CHECK(n <= TOML_MAX_VALUES);
	/* laid upon itself it is what it was */
	FUZZ_CHECK(toml_parse((const char *)data, size, "again", &a, &again, &e) == 0);
	toml_merge(root, again);
	FUZZ_CHECK(check_tree(root, 0) == n);
	return 0;
}
