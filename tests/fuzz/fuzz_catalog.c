/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A store that another version wrote, or that was damaged. The input's parts, each ended by a
 * NUL: refs.json, record.json, what the user calls the image, config.json. The image's
 * directory has the digest that its configuration has.
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
#include "image/store_internal.h"

static char root[] = "/tmp/kata-fuzz-store.XXXXXX";

static void remove_root(void)
{
	struct err e;

	(void)path_remove_tree(AT_FDCWD, root, &e);
}

static void make_root(struct store *s)
{
	static int made;

	if (!made++)
		FUZZ_CHECK(mkdtemp(root) && atexit(remove_root) == 0);
	*s = (struct store){ .root = root };
	s->root_fd = open(root, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	FUZZ_CHECK(s->root_fd >= 0 && mkdirat(s->root_fd, "images", 0700) == 0);
	s->images_fd = openat(s->root_fd, "images", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	FUZZ_CHECK(s->images_fd >= 0);
}

static void put(int dir, const char *name, const char *text, size_t len)
{
	OWN(fd) int fd = openat(dir, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	struct err e;

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

/* What is not the list of references must not pass for an empty one: it would be lost. */
static bool is_object(const char *p, size_t len)
{
	while (len && strchr(" \t\r\n", *p)) {
		p++;
		len--;
	}
	return len && *p == '{';
}

static void use(struct store *s, const char *hex, const char *name, bool has_refs)
{
	OWN(ref_table) struct ref_table refs = { .n = 0 }, again = { .n = 0 };
	OWN(image) struct image *image = NULL;
	char found[DIGEST_HEX_SIZE];
	struct err e = ERR_INIT;
	bool by_ref;

	if (ref_table_read(s, &refs, &e) < 0) {
		FUZZ_CHECK(e.kind == ERR_INVALID);
	} else {
		FUZZ_CHECK(has_refs);
		for (size_t i = 1; i < refs.n; i++)
			FUZZ_CHECK(strcmp(refs.v[i - 1].text, refs.v[i].text) < 0);
		/* what is read can be written and is the same then */
		FUZZ_CHECK(ref_table_write(s, &refs, &e) == 0);
		FUZZ_CHECK(ref_table_read(s, &again, &e) == 0 && again.n == refs.n);
	}
	if (catalog_read(s, hex, &refs, &image, &e) < 0)
		FUZZ_CHECK(e.kind == ERR_INVALID || e.kind == ERR_UNSUPPORTED);
	else
		FUZZ_CHECK(image->layers.n == image->config.n_diff_ids &&
			   image->refs.n <= refs.n);
	if (catalog_resolve(s, name, &refs, found, &by_ref, &e) == 0)
		FUZZ_CHECK(strlen(found) == DIGEST_HEX_SIZE - 1);
	else
		FUZZ_CHECK(e.kind != ERR_NONE && e.msg[0]);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	OWN(free) char *all = mem_dup(data, size);
	OWN(free) char *name = NULL;
	const char *at = all, *text;
	char hex[DIGEST_HEX_SIZE];
	OWN(fd) int dir = -1;
	struct digest d;
	struct store s;
	bool has_refs;
	struct err e;
	size_t len;

	FUZZ_CHECK(all);
	make_root(&s);
	text = part(&at, all + size, &len);
	put(s.images_fd, "refs.json", text, len);
	has_refs = is_object(text, len);
	text = part(&at, all + size, &len);
	FUZZ_CHECK(mkdirat(s.images_fd, "new", 0700) == 0);
	dir = openat(s.images_fd, "new", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	FUZZ_CHECK(dir >= 0);
	put(dir, "record.json", text, len);
	text = part(&at, all + size, &len);
	name = mem_dup(text, len);
	FUZZ_CHECK(name);
	put(dir, "config.json", at, (size_t)(all + size - at));
	digest_of(at, (size_t)(all + size - at), &d);
	digest_hex(&d, hex);
	FUZZ_CHECK(renameat(s.images_fd, "new", s.images_fd, hex) == 0);
	use(&s, hex, name, has_refs);
	FUZZ_CHECK(path_remove_tree(s.root_fd, "images", &e) == 0);
	(void)close(s.images_fd);
	(void)close(s.root_fd);
	return 0;
}
