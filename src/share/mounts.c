/* SPDX-License-Identifier: Apache-2.0 */
/* The mounts inside a shared directory. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mount.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/own.h"
#include "base/str.h"
#include "base/sys.h"
#include "share/parts.h"

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
	if ((read_only || is_private) &&
	    sys_mount_setattr(tree, "", AT_EMPTY_PATH | AT_RECURSIVE,
			      read_only ? MOUNT_ATTR_RDONLY : 0, 0,
			      is_private ? MS_PRIVATE : 0) < 0)
		return err_sys(e, "share '%s': its attributes", source);
	if (sys_move_mount(tree, "", AT_FDCWD, target, MOVE_MOUNT_F_EMPTY_PATH) < 0)
		return err_sys(e, "share '%s' at '%s'", source, target);
	return 0;
}

int mounts_one(const struct share_mount *m, const char *target, struct err *e)
{
	OWN(buf) struct buf data = { .limit = 65536 };
	unsigned long flags = 0;

	for (size_t i = 0; m->options && m->options[i]; i++) {
		const struct word *w = find_word(m->options[i]);

		if (w)
			flags = (flags & ~w->clear) | w->set;
		else if (buf_printf(&data, e, "%s%s", buf_len(&data) ? "," : "",
				    m->options[i]) < 0)
			return -1;
	}
	if (str_eq(m->type, "bind") || str_eq(m->type, "rbind"))
		flags |= MS_BIND | (str_eq(m->type, "rbind") ? MS_REC : 0);
	if (flags & MS_BIND) {
		if (buf_len(&data) > 0)
			return err_set(e, ERR_INVALID, 0, "bind mount of '%s': options '%s'",
				       m->source, buf_cstr(&data));
		return mounts_bind(m->source, target, flags & MS_RDONLY, false, e);
	}
	if (!buf_cstr(&data))
		return err_oom(e, "mount options");
	if (str_eq(m->type, "overlay"))
		return overlay_mount(m->source, target, flags, buf_cstr(&data), e);
	if (mount(m->source, target, m->type, flags, buf_cstr(&data)) < 0)
		return err_sys(e, "mount %s '%s' at '%s'", m->type, m->source, target);
	return 0;
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
