/* SPDX-License-Identifier: Apache-2.0 */
/* The table of mount option words. */
#include "oci/mount_options.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/own.h"
#include "base/str.h"
#include "base/sys.h"

#ifndef MS_LAZYTIME
#define MS_LAZYTIME (1 << 25) /* Linux 4.0 */
#endif

#define ATIME    MOUNT_ATTR__ATIME
#define DIRATIME MOUNT_ATTR_NODIRATIME

/* MS_* set and cleared, MOUNT_ATTR_* set and cleared. */
static const struct row {
	const char *word;
	unsigned long set, clear;
	uint64_t attr_set, attr_clear;
	bool super_only;
} rows[] = {
	/* clang-format off */
	{ "defaults",	   0, 0, 0, 0, false },
	{ "ro",		   MS_RDONLY, 0, MOUNT_ATTR_RDONLY, 0, false },
	{ "rw",		   0, MS_RDONLY, 0, MOUNT_ATTR_RDONLY, false },
	{ "suid",	   0, MS_NOSUID, 0, MOUNT_ATTR_NOSUID, false },
	{ "nosuid",	   MS_NOSUID, 0, MOUNT_ATTR_NOSUID, 0, false },
	{ "dev",	   0, MS_NODEV, 0, MOUNT_ATTR_NODEV, false },
	{ "nodev",	   MS_NODEV, 0, MOUNT_ATTR_NODEV, 0, false },
	{ "exec",	   0, MS_NOEXEC, 0, MOUNT_ATTR_NOEXEC, false },
	{ "noexec",	   MS_NOEXEC, 0, MOUNT_ATTR_NOEXEC, 0, false },
	{ "sync",	   MS_SYNCHRONOUS, 0, 0, 0, true },
	{ "async",	   0, MS_SYNCHRONOUS, 0, 0, false },
	{ "dirsync",	   MS_DIRSYNC, 0, 0, 0, true },
	{ "mand",	   MS_MANDLOCK, 0, 0, 0, true },
	{ "nomand",	   0, MS_MANDLOCK, 0, 0, false },
	{ "iversion",	   MS_I_VERSION, 0, 0, 0, true },
	{ "noiversion",	   0, MS_I_VERSION, 0, 0, false },
	{ "lazytime",	   MS_LAZYTIME, 0, 0, 0, true },
	{ "nolazytime",	   0, MS_LAZYTIME, 0, 0, false },
	{ "silent",	   MS_SILENT, 0, 0, 0, false },
	{ "loud",	   0, MS_SILENT, 0, 0, false },
	{ "remount",	   MS_REMOUNT, 0, 0, 0, false },
	{ "atime",	   0, MS_NOATIME, 0, ATIME, false },
	{ "noatime",	   MS_NOATIME, MS_STRICTATIME, MOUNT_ATTR_NOATIME, ATIME, false },
	{ "diratime",	   0, MS_NODIRATIME, 0, DIRATIME, false },
	{ "nodiratime",	   MS_NODIRATIME, 0, DIRATIME, 0, false },
	{ "relatime",	   MS_RELATIME, MS_NOATIME | MS_STRICTATIME, 0, ATIME, false },
	{ "norelatime",	   0, MS_RELATIME, 0, 0, false },
	{ "strictatime",   MS_STRICTATIME, MS_NOATIME, MOUNT_ATTR_STRICTATIME, ATIME, false },
	{ "nostrictatime", 0, MS_STRICTATIME, 0, ATIME, false },
	{ "symfollow",	   0, MS_NOSYMFOLLOW, 0, MOUNT_ATTR_NOSYMFOLLOW, false },
	{ "nosymfollow",   MS_NOSYMFOLLOW, 0, MOUNT_ATTR_NOSYMFOLLOW, 0, false },
	{ "bind",	   MS_BIND, 0, 0, 0, false },
	{ "rbind",	   MS_BIND | MS_REC, 0, 0, 0, false },
	/* clang-format on */
};

/* Recursive attributes: what mount_setattr(2) with AT_RECURSIVE does (Linux 5.12). */
static const struct rec_row {
	const char *word;
	uint64_t set, clear;
} rec_rows[] = {
	/* clang-format off */
	{ "rro",	    MOUNT_ATTR_RDONLY, 0 },
	{ "rrw",	    0, MOUNT_ATTR_RDONLY },
	{ "rsuid",	    0, MOUNT_ATTR_NOSUID },
	{ "rnosuid",	    MOUNT_ATTR_NOSUID, 0 },
	{ "rdev",	    0, MOUNT_ATTR_NODEV },
	{ "rnodev",	    MOUNT_ATTR_NODEV, 0 },
	{ "rexec",	    0, MOUNT_ATTR_NOEXEC },
	{ "rnoexec",	    MOUNT_ATTR_NOEXEC, 0 },
	{ "ratime",	    0, ATIME },
	{ "rnoatime",	    MOUNT_ATTR_NOATIME, ATIME },
	{ "rdiratime",	    0, DIRATIME },
	{ "rnodiratime",    DIRATIME, 0 },
	{ "rrelatime",	    0, ATIME },
	{ "rnorelatime",    0, 0 },
	{ "rstrictatime",   MOUNT_ATTR_STRICTATIME, ATIME },
	{ "rnostrictatime", 0, ATIME },
	{ "rsymfollow",	    0, MOUNT_ATTR_NOSYMFOLLOW },
	{ "rnosymfollow",   MOUNT_ATTR_NOSYMFOLLOW, 0 },
	/* clang-format on */
};

static const struct {
	const char *word;
	unsigned long flags;
} propagations[] = {
	{ "private", MS_PRIVATE },       { "rprivate", MS_PRIVATE | MS_REC },
	{ "shared", MS_SHARED },         { "rshared", MS_SHARED | MS_REC },
	{ "slave", MS_SLAVE },           { "rslave", MS_SLAVE | MS_REC },
	{ "unbindable", MS_UNBINDABLE }, { "runbindable", MS_UNBINDABLE | MS_REC },
};

static const char *const idmap_words[] = { "idmap", "ridmap" };

unsigned long mount_propagation_of(const char *word)
{
	for (size_t i = 0; i < ARRAY_LEN(propagations); i++) {
		if (str_eq(propagations[i].word, word))
			return propagations[i].flags;
	}
	return 0;
}

static const struct row *find_row(const char *word)
{
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		if (str_eq(rows[i].word, word))
			return &rows[i];
	}
	return NULL;
}

static const struct rec_row *find_rec_row(const char *word)
{
	for (size_t i = 0; i < ARRAY_LEN(rec_rows); i++) {
		if (str_eq(rec_rows[i].word, word))
			return &rec_rows[i];
	}
	return NULL;
}

static const char *find_idmap(const char *word)
{
	for (size_t i = 0; i < ARRAY_LEN(idmap_words); i++) {
		if (str_eq(idmap_words[i], word))
			return idmap_words[i];
	}
	return NULL;
}

bool mount_options_knows(const char *word)
{
	return find_row(word) || find_rec_row(word) || find_idmap(word) ||
	       mount_propagation_of(word) || str_eq(word, "tmpcopyup");
}

const char *mount_options_word(size_t i)
{
	if (i < ARRAY_LEN(rows))
		return rows[i].word;
	i -= ARRAY_LEN(rows);
	if (i < ARRAY_LEN(rec_rows))
		return rec_rows[i].word;
	i -= ARRAY_LEN(rec_rows);
	if (i < ARRAY_LEN(propagations))
		return propagations[i].word;
	i -= ARRAY_LEN(propagations);
	return i == 0 ? "tmpcopyup" : NULL;
}

bool mount_word_is_loop(const char *word)
{
	return str_eq(word, "loop") || str_starts(word, "loop=");
}

/* The later word wins, bit by bit; an access time mode replaces the earlier one. */
static void attr_apply(uint64_t *set, uint64_t *clear, uint64_t more_set, uint64_t more_clear)
{
	*set = (*set & ~more_clear) | more_set;
	*clear = (*clear & ~(more_set & ~(uint64_t)ATIME)) | more_clear;
}

/* 0: applied; 1: the word is the file system's. */
static int apply_word(struct mount_options *o, const char *word)
{
	unsigned long propagation = mount_propagation_of(word);
	const struct rec_row *rec = find_rec_row(word);
	const struct row *r = find_row(word);
	const char *idmap = find_idmap(word);

	if (r) {
		o->flags = (o->flags & ~r->clear) | r->set;
		attr_apply(&o->attr_set, &o->attr_clear, r->attr_set, r->attr_clear);
		if (r->super_only)
			o->super_only = r->word;
	} else if (rec) {
		attr_apply(&o->rec_set, &o->rec_clear, rec->set, rec->clear);
	} else if (propagation) {
		o->propagation = propagation;
	} else if (idmap) {
		o->idmap = idmap;
	} else if (str_eq(word, "tmpcopyup")) {
		o->copy_up = true;
	} else {
		return 1;
	}
	return 0;
}

int mount_options_parse(char *const *words, size_t count, struct mount_options *out,
			struct err *e)
{
	struct mount_options o = { 0 };
	OWN(buf) struct buf data = BUF_INIT;

	for (size_t i = 0; i < count; i++) {
		if (!words[i] || !*words[i])
			return err_set(e, ERR_INVALID, 0, "an empty mount option");
		if (apply_word(&o, words[i]) == 0)
			continue;
		if ((buf_len(&data) && buf_puts(&data, ",", e) < 0) ||
		    buf_puts(&data, words[i], e) < 0)
			return -1;
	}
	if (buf_len(&data)) {
		o.data = buf_take_str(&data);
		if (!o.data)
			return err_oom(e, "mount options");
	}
	*out = o;
	return 0;
}

void mount_options_fini(struct mount_options *o)
{
	free(o->data);
	o->data = NULL;
}
