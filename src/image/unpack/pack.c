/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Task "pack": the tree that is the helper's root, as a tar stream on descriptor 1. Mounts
 * in it are not entered (the starter's clone of the tree has none) and sockets are left out, as
 * in a backup of a root file system; nor is the directory entered that is to be skipped.
 */
#include "image/unpack/helper.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include <archive.h>
#include <archive_entry.h>

#include "base/err.h"
#include "base/own.h"
#include "base/str.h"

OWN_DEFINE(reader, struct archive *, archive_read_free)
OWN_DEFINE(writer, struct archive *, archive_write_free)
OWN_DEFINE(resolver, struct archive_entry_linkresolver *, archive_entry_linkresolver_free)

struct packer {
	struct archive *in;
	struct archive *out;
	const struct unpack_limits *limits;
	struct report_done *done;
};

static int fail(struct archive *a, const char *what, struct err *e)
{
	const char *text = archive_error_string(a);
	int sys = archive_errno(a);

	return err_set(e, ERR_SYS, sys > 0 ? sys : 0, "%s: %s", what,
		       text ? text : "no details");
}

static int put_bytes(struct packer *p, const void *data, size_t len, struct err *e)
{
	while (len > 0) {
		la_ssize_t n = archive_write_data(p->out, data, len);

		if (n <= 0)
			return fail(p->out, "write", e);
		data = (const char *)data + n;
		len -= (size_t)n;
	}
	return 0;
}

/* The writer wants every byte in order and leaves out itself what it knows to be a hole. */
static int put_zeros(struct packer *p, int64_t len, struct err *e)
{
	static const char zeros[64 << 10];

	while (len > 0) {
		size_t n = len < (int64_t)sizeof(zeros) ? (size_t)len : sizeof(zeros);

		if (put_bytes(p, zeros, n, e) < 0)
			return -1;
		len -= (int64_t)n;
	}
	return 0;
}

static int copy_data(struct packer *p, int64_t size, struct err *e)
{
	const void *block;
	int64_t offset, at = 0;
	size_t len;

	for (;;) {
		int rc = archive_read_data_block(p->in, &block, &len, &offset);

		if (rc == ARCHIVE_EOF)
			return put_zeros(p, size - at, e);
		if (rc != ARCHIVE_OK)
			return fail(p->in, "read a file of the directory", e);
		p->done->bytes += len;
		if (p->done->bytes > p->limits->bytes)
			return err_set(
				e, ERR_SYS, ENOSPC,
				"the directory holds more than the %llu bytes there is room for",
				(unsigned long long)p->limits->bytes);
		if (offset < at || put_zeros(p, offset - at, e) < 0 ||
		    put_bytes(p, block, len, e) < 0)
			return offset < at ? fail(p->in, "a file changed while it was read", e)
					   : -1;
		at = offset + (int64_t)len;
	}
}

/* As a part of an image such a name is no file any more. */
static int check_name(struct archive_entry *entry, struct err *e)
{
	const char *path = archive_entry_pathname(entry);
	const char *name = path ? strrchr(path, '/') : NULL;
	char quoted[400];

	name = name ? name + 1 : path;
	if (name && str_starts(name, WHITEOUT))
		return err_set(e, ERR_INVALID, 0,
			       "entry '%s': in an image a name that begins with '" WHITEOUT
			       "' removes a file: rename it",
			       str_quote(path, strlen(path), quoted, sizeof(quoted)));
	return 0;
}

static int put_entry(struct packer *p, struct archive_entry *entry, struct err *e)
{
	if (check_name(entry, e) < 0)
		return -1;
	if (++p->done->entries > p->limits->entries)
		return err_set(e, ERR_INVALID, 0, "the directory holds more than %llu files",
			       (unsigned long long)p->limits->entries);
	/* times other than the modification time would make every packing differ */
	archive_entry_unset_atime(entry);
	archive_entry_unset_ctime(entry);
	archive_entry_unset_birthtime(entry);
	archive_entry_set_fflags(entry, 0, 0);
	archive_entry_set_uname(entry, NULL);
	archive_entry_set_gname(entry, NULL);
	if (archive_write_header(p->out, entry) < ARCHIVE_WARN)
		return fail(p->out, "write", e);
	if (archive_entry_filetype(entry) == AE_IFREG && !archive_entry_hardlink(entry) &&
	    archive_entry_size(entry) > 0)
		return copy_data(p, archive_entry_size(entry), e);
	return 0;
}

static void descend(struct packer *p, struct archive_entry *entry)
{
	if (archive_entry_filetype(entry) != AE_IFDIR)
		return;
	if ((uint64_t)archive_entry_dev(entry) == p->limits->skip_dev &&
	    (uint64_t)archive_entry_ino64(entry) == p->limits->skip_ino)
		p->done->skipped = 1;
	else
		(void)archive_read_disk_descend(p->in);
}

static int walk(struct packer *p, struct archive_entry_linkresolver *links, struct err *e)
{
	for (;;) {
		struct archive_entry *entry = NULL, *spare = NULL;
		int rc = archive_read_next_header(p->in, &entry);

		if (rc == ARCHIVE_EOF)
			return 0;
		if (rc < ARCHIVE_WARN)
			return fail(p->in, "read the directory", e);
		descend(p, entry);
		if (archive_entry_filetype(entry) == AE_IFSOCK) {
			p->done->sockets++;
			continue;
		}
		/* with the tar strategy an entry is never held back: spare stays empty */
		archive_entry_linkify(links, &entry, &spare);
		if (entry && put_entry(p, entry, e) < 0)
			return -1;
	}
}

int pack_run(const struct unpack_limits *limits, struct report_done *done, struct err *e)
{
	OWN(reader) struct archive *in = archive_read_disk_new();
	OWN(writer) struct archive *out = archive_write_new();
	OWN(resolver)
	struct archive_entry_linkresolver *links = archive_entry_linkresolver_new();
	struct packer p = { .in = in, .out = out, .limits = limits, .done = done };

	if (!in || !out || !links)
		return err_oom(e, "the packer");
	archive_entry_linkresolver_set_strategy(links, ARCHIVE_FORMAT_TAR_PAX_INTERCHANGE);
	if (archive_read_disk_set_symlink_physical(in) != ARCHIVE_OK ||
	    archive_read_disk_set_behavior(
		    in, ARCHIVE_READDISK_NO_TRAVERSE_MOUNTS | ARCHIVE_READDISK_NO_ACL |
				ARCHIVE_READDISK_NO_FFLAGS) < ARCHIVE_WARN ||
	    archive_read_disk_open(in, ".") != ARCHIVE_OK)
		return fail(in, "read the directory", e);
	if (archive_write_set_format_pax(out) != ARCHIVE_OK ||
	    archive_write_set_bytes_in_last_block(out, 1) != ARCHIVE_OK ||
	    archive_write_open_fd(out, STDOUT_FILENO) != ARCHIVE_OK)
		return fail(out, "write", e);
	if (walk(&p, links, e) < 0)
		return -1;
	return archive_write_close(out) == ARCHIVE_OK ? 0 : fail(out, "write", e);
}
