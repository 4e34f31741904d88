/* SPDX-License-Identifier: Apache-2.0 */
/*
 * passwd and group of an image, as the command line reads them: what -u says, passwd and
 * group stand one behind the other in the input, each ended by a NUL.
 */
#include "fuzz.h"

#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/err.h"
#include "base/fd.h"
#include "base/mem.h"
#include "base/own.h"
#include "base/path.h"
#include "cli/user_lookup.h"
#include "image/store.h"

static char layer[] = "/tmp/kata-fuzz-user.XXXXXX";

static void remove_layer(void)
{
	struct err e;

	(void)path_remove_tree(AT_FDCWD, layer, &e);
}

static void make_layer(void)
{
	static int made;
	char etc[64];
	struct err e;

	if (made++)
		return;
	FUZZ_CHECK(mkdtemp(layer) && atexit(remove_layer) == 0);
	(void)snprintf(etc, sizeof(etc), "%s/etc", layer);
	FUZZ_CHECK(path_mkdirs(etc, 0755, &e) == 0);
}

static void put(const char *name, const char *text, size_t len)
{
	char path[64];
	OWN(fd) int fd = -1;
	struct err e;

	(void)snprintf(path, sizeof(path), "%s/etc/%s", layer, name);
	fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	FUZZ_CHECK(fd >= 0 && fd_write_all(fd, text, len, &e) == 0);
}

/* Up to the next NUL, behind which *at goes on; the rest may be empty. */
static const char *part(const char **at, const char *end, size_t *len)
{
	const char *from = *at, *nul = memchr(from, '\0', (size_t)(end - from));

	*len = (size_t)((nul ? nul : end) - from);
	*at = nul ? nul + 1 : end;
	return from;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	OWN(free) char *all = mem_dup(data, size);
	OWN(free) char *user = NULL;
	OWN(arena) struct arena a = { .limit = 1 << 20 };
	const char *layers[] = { layer, NULL };
	struct image image = { .layers = { .v = layers, .n = 1 } };
	struct user_ids ids;
	struct err e = ERR_INIT;
	const char *at = all, *text;
	size_t len;

	make_layer();
	FUZZ_CHECK(all);
	text = part(&at, all + size, &len);
	user = mem_dup(text, len);
	text = part(&at, all + size, &len);
	put("passwd", text, len);
	put("group", at, (size_t)(all + size - at));
	if (user_lookup(&image, user, &a, &ids, &e) < 0) {
		FUZZ_CHECK(e.kind == ERR_INVALID || e.kind == ERR_NOT_FOUND);
		return 0;
	}
	FUZZ_CHECK(ids.uid != UINT32_MAX && ids.gid != UINT32_MAX);
	FUZZ_CHECK(ids.group_count <= size && (ids.groups || !ids.group_count));
	return 0;
}
