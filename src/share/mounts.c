/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The mounts inside a shared directory. The guest opens devices and runs programs by its own
 * kernel: on the host all of them are nodev and nosuid, for whoever takes QEMU or virtiofsd
 * over.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mount.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/own.h"
#include "base/str.h"
#include "base/sys.h"
#include "oci/mount_options.h"
#include "oci/overlay.h"
#include "share/parts.h"

enum {
	DEVICES_MAX = 250
};

#define DEVICE "device="

/* Words of mount(8) that are flags; anything else is data for the file system. */
static const struct word {
	const char *name;
	unsigned long set, clear;
} words[] = {
	{ "rw", 0, MS_RDONLY },
	{ "ro", MS_RDONLY, 0 },
	{ "bind", MS_BIND, 0 },
	{ "rbind", MS_BIND | MS_REC, 0 },
	{ "suid", 0, MS_NOSUID },
	{ "nosuid", MS_NOSUID, 0 },
	{ "dev", 0, MS_NODEV },
	{ "nodev", MS_NODEV, 0 },
	{ "exec", 0, MS_NOEXEC },
	{ "noexec", MS_NOEXEC, 0 },
	{ "sync", MS_SYNCHRONOUS, 0 },
	{ "async", 0, MS_SYNCHRONOUS },
	{ "dirsync", MS_DIRSYNC, 0 },
	{ "atime", 0, MS_NOATIME },
	{ "noatime", MS_NOATIME, 0 },
	{ "diratime", 0, MS_NODIRATIME },
	{ "nodiratime", MS_NODIRATIME, 0 },
	{ "relatime", MS_RELATIME, 0 },
	{ "norelatime", 0, MS_RELATIME },
	{ "strictatime", MS_STRICTATIME, 0 },
	{ "nostrictatime", 0, MS_STRICTATIME },
	{ "defaults", 0, 0 },
};

static const struct word *find_word(const char *s)
{
	for (size_t i = 0; i < ARRAY_LEN(words); i++) {
		if (str_eq(words[i].name, s))
			return &words[i];
	}
	return NULL;
}

int mounts_bind(const char *source, const char *target, bool read_only, bool is_private,
		struct err *e)
{
	OWN(fd)
	int tree = sys_open_tree(AT_FDCWD, source, OPEN_TREE_CLONE | AT_RECURSIVE | O_CLOEXEC);

	if (tree < 0)
		return err_set(e, errno == ENOENT ? ERR_NOT_FOUND : ERR_SYS, errno,
			       "share '%s'", source);
	/* before it is attached: copies made then inherit it */
	if (sys_mount_setattr(tree, "", AT_EMPTY_PATH | AT_RECURSIVE,
			      MOUNT_ATTR_NODEV | MOUNT_ATTR_NOSUID |
				      (read_only ? MOUNT_ATTR_RDONLY : 0),
			      0, is_private ? MS_PRIVATE : 0) < 0)
		return err_sys(e, "share '%s': its attributes", source);
	if (sys_move_mount(tree, "", AT_FDCWD, target, MOVE_MOUNT_F_EMPTY_PATH) < 0)
		return err_sys(e, "share '%s' at '%s'", source, target);
	return 0;
}

/* A mount's words, taken apart; what keeps its loop devices until it is made. */
struct words_of {
	struct buf data;
	unsigned long flags;
	bool loop;
	const char *devices[DEVICES_MAX]; /* files a file system has its data in, too */
	size_t device_count;
	int fds[DEVICES_MAX + 1];
	size_t fd_count;
};

static void own_words_of(struct words_of *w)
{
	buf_fini(&w->data);
	while (w->fd_count)
		(void)close(w->fds[--w->fd_count]);
}

static int add_data(struct words_of *w, const char *name, const char *value, struct err *e)
{
	return buf_printf(&w->data, e, "%s%s%s", buf_len(&w->data) ? "," : "", name, value);
}

static int sort_words(const struct share_mount *m, struct words_of *w, struct err *e)
{
	for (size_t i = 0; m->options && m->options[i]; i++) {
		const char *o = m->options[i];
		const struct word *known = find_word(o);

		if (known) {
			w->flags = (w->flags & ~known->clear) | known->set;
		} else if (mount_word_is_loop(o)) {
			w->loop = true;
		} else if (str_eq(m->type, "erofs") && str_starts(o, DEVICE)) {
			if (w->device_count == DEVICES_MAX)
				return err_set(e, ERR_UNSUPPORTED, 0,
					       "'%s' has its data in more than %d files",
					       m->source, DEVICES_MAX);
			w->devices[w->device_count++] = o + strlen(DEVICE);
		} else if (add_data(w, o, "", e) < 0) {
			return -1;
		}
	}
	if (str_eq(m->type, "bind") || str_eq(m->type, "rbind"))
		w->flags |= MS_BIND | (str_eq(m->type, "rbind") ? MS_REC : 0);
	return 0;
}

/* The file itself, or with "loop" the node of a device that is it. */
static int as_device(struct words_of *w, const char *path, char node[LOOP_NODE_SIZE],
		     const char **out, struct err *e)
{
	*out = path;
	if (!w->loop)
		return 0;
	if (loop_device_attach(path, w->flags & MS_RDONLY, node, &w->fds[w->fd_count], e) < 0)
		return -1;
	w->fd_count++;
	*out = node;
	return 0;
}

static int mount_file_system(const struct share_mount *m, struct words_of *w,
			     const char *target, struct err *e)
{
	char node[LOOP_NODE_SIZE], device[LOOP_NODE_SIZE];
	const char *source, *other;

	if (as_device(w, m->source, node, &source, e) < 0)
		return -1;
	for (size_t i = 0; i < w->device_count; i++) {
		if (as_device(w, w->devices[i], device, &other, e) < 0 ||
		    add_data(w, DEVICE, other, e) < 0)
			return -1;
	}
	if (!buf_cstr(&w->data))
		return err_oom(e, "mount options");
	if (buf_len(&w->data) > MOUNT_OPTIONS_MAX)
		return err_set(e, ERR_UNSUPPORTED, 0,
			       "'%s': %zu bytes of mount options, of which the kernel takes %d",
			       m->source, buf_len(&w->data), MOUNT_OPTIONS_MAX);
	if (mount(source, target, m->type, w->flags, buf_cstr(&w->data)) < 0)
		return err_sys(e, "mount %s '%s' at '%s'", m->type, m->source, target);
	return 0;
}

int mounts_one(const struct share_mount *m, const char *target, struct err *e)
{
	OWN(words_of) struct words_of w = { .data = { .limit = 65536 } };

	if (sort_words(m, &w, e) < 0)
		return -1;
	if (w.flags & MS_BIND) {
		if (buf_len(&w.data) > 0)
			return err_set(e, ERR_INVALID, 0, "bind mount of '%s': options '%s'",
				       m->source, buf_cstr(&w.data));
		return mounts_bind(m->source, target, w.flags & MS_RDONLY, false, e);
	}
	w.flags |= MS_NODEV | MS_NOSUID;
	if (!str_eq(m->type, "overlay"))
		return mount_file_system(m, &w, target, e);
	if (!buf_cstr(&w.data))
		return err_oom(e, "mount options");
	return overlay_mount(m->source, target, w.flags, buf_cstr(&w.data), e);
}

int mounts_set_read_only(const char *target, struct err *e)
{
	if (sys_mount_setattr(AT_FDCWD, target, AT_RECURSIVE, MOUNT_ATTR_RDONLY, 0, 0) < 0)
		return err_sys(e, "make '%s' read-only", target);
	return 0;
}

void mounts_clear(const char *target)
{
	while (umount2(target, MNT_DETACH | UMOUNT_NOFOLLOW) == 0)
		;
}
