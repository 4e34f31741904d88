/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The mounts inside a shared directory. The guest opens devices and runs programs by its own
 * kernel: on the host all of them are nodev and nosuid, for whoever takes QEMU or virtiofsd
 * over. What the host mounts below a volume later has its own attributes.
 */
#include <errno.h>
#include <fcntl.h>
#include <mntent.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/mem.h"
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

int mounts_bind(const char *source, const char *target, unsigned how, struct err *e)
{
	OWN(fd)
	int tree = sys_open_tree(AT_FDCWD, source,
				 OPEN_TREE_CLONE | O_CLOEXEC |
					 (how & SHARE_FLAT ? 0U : (unsigned)AT_RECURSIVE));

	if (tree < 0)
		return err_set(e, errno == ENOENT ? ERR_NOT_FOUND : ERR_SYS, errno,
			       "share '%s'", source);
	/* before it is attached: copies made then inherit it */
	if (sys_mount_setattr(tree, "", AT_EMPTY_PATH | AT_RECURSIVE,
			      MOUNT_ATTR_NODEV | MOUNT_ATTR_NOSUID |
				      (how & SHARE_READ_ONLY ? MOUNT_ATTR_RDONLY : 0),
			      0, how & SHARE_PRIVATE ? MS_PRIVATE : 0) < 0)
		return err_sys(e, "share '%s': its attributes", source);
	if (sys_move_mount(tree, "", AT_FDCWD, target, MOVE_MOUNT_F_EMPTY_PATH) < 0)
		return err_sys(e, "share '%s' at '%s'", source, target);
	return 0;
}

bool mounts_are_below(const char *dir)
{
	OWN(free) char *real = realpath(dir, NULL);
	size_t len = real ? strlen(real) : 0;
	struct mntent *m;
	bool found = false;
	FILE *f;

	if (!real || !(f = setmntent("/proc/self/mounts", "re")))
		return true;
	while (!found && (m = getmntent(f)))
		found = strncmp(m->mnt_dir, real, len) == 0 && m->mnt_dir[len] == '/';
	(void)endmntent(f);
	return found;
}

/* A mount's words, taken apart; what keeps its loop devices until it is made. */
struct words_of {
	struct mount_options o;
	bool loop;
	const char *devices[DEVICES_MAX]; /* files a file system has its data in, too */
	size_t device_count;
	int fds[DEVICES_MAX + 1];
	size_t fd_count;
};

static void own_words_of(struct words_of *w)
{
	mount_options_fini(&w->o);
	while (w->fd_count)
		(void)close(w->fds[--w->fd_count]);
}

/* Whether it is a word for us rather than for the kernel: 1 or 0. */
static int take_word(const struct share_mount *m, const char *word, struct words_of *w,
		     struct err *e)
{
	if (mount_word_is_loop(word)) {
		w->loop = true;
		return 1;
	}
	/* containerd 2's, for pods with users of their own; the kernel's overlay has no such */
	if (str_starts(word, "uidmap=") || str_starts(word, "gidmap="))
		return err_set(e, ERR_UNSUPPORTED, 0,
			       "mount of '%s', option '%.100s': files are not mapped to other "
			       "users (hostUsers: false)",
			       m->source, word);
	if (!str_eq(m->type, "erofs") || !str_starts(word, DEVICE))
		return 0;
	if (w->device_count == DEVICES_MAX)
		return err_set(e, ERR_UNSUPPORTED, 0, "'%s' has its data in more than %d files",
			       m->source, DEVICES_MAX);
	w->devices[w->device_count++] = word + strlen(DEVICE);
	return 1;
}

static int sort_words(const struct share_mount *m, struct words_of *w, struct err *e)
{
	OWN(free) char **rest = NULL;
	size_t n = 0, kept = 0;

	while (m->options && m->options[n])
		n++;
	rest = mem_calloc(n + 1, sizeof(*rest));
	if (!rest)
		return err_oom(e, "mount options");
	for (size_t i = 0; i < n; i++) {
		int rc = take_word(m, m->options[i], w, e);

		if (rc < 0)
			return -1;
		if (rc == 0)
			rest[kept++] = (char *)(uintptr_t)m->options[i];
	}
	if (mount_options_parse(rest, kept, &w->o, e) < 0)
		return err_wrap(e, "mount of '%s'", m->source);
	if (w->o.propagation || w->o.idmap || w->o.copy_up || w->o.rec_set || w->o.rec_clear ||
	    w->o.flags & MS_REMOUNT)
		return err_set(
			e, ERR_UNSUPPORTED, 0,
			"mount of '%s': options about propagation, recursion, id maps or "
			"mounting again",
			m->source);
	if (str_eq(m->type, "bind") || str_eq(m->type, "rbind"))
		w->o.flags |= MS_BIND | (str_eq(m->type, "rbind") ? MS_REC : 0);
	return 0;
}

/* The file itself, or with "loop" the node of a device that is it. */
static int as_device(struct words_of *w, const char *path, char node[LOOP_NODE_SIZE],
		     const char **out, struct err *e)
{
	*out = path;
	if (!w->loop)
		return 0;
	if (loop_device_attach(path, w->o.flags & MS_RDONLY, node, &w->fds[w->fd_count], e) < 0)
		return -1;
	w->fd_count++;
	*out = node;
	return 0;
}

static int mount_file_system(const struct share_mount *m, struct words_of *w,
			     const char *target, struct err *e)
{
	OWN(buf) struct buf data = { .limit = 65536 };
	char node[LOOP_NODE_SIZE], device[LOOP_NODE_SIZE];
	const char *source, *other;

	if (as_device(w, m->source, node, &source, e) < 0 ||
	    (w->o.data && buf_puts(&data, w->o.data, e) < 0))
		return -1;
	for (size_t i = 0; i < w->device_count; i++) {
		if (as_device(w, w->devices[i], device, &other, e) < 0 ||
		    buf_printf(&data, e, "%s" DEVICE "%s", buf_len(&data) ? "," : "", other) <
			    0)
			return -1;
	}
	if (!buf_cstr(&data))
		return err_oom(e, "mount options");
	if (buf_len(&data) > MOUNT_OPTIONS_MAX)
		return err_set(e, ERR_UNSUPPORTED, 0,
			       "'%s': %zu bytes of mount options, of which the kernel takes %d",
			       m->source, buf_len(&data), MOUNT_OPTIONS_MAX);
	if (mount(source, target, m->type, w->o.flags, buf_cstr(&data)) < 0)
		return err_sys(e, "mount %s '%s' at '%s'", m->type, m->source, target);
	return 0;
}

int mounts_one(const struct share_mount *m, const char *target, struct err *e)
{
	OWN(words_of) struct words_of w = { 0 };

	if (sort_words(m, &w, e) < 0)
		return -1;
	if (w.o.flags & MS_BIND) {
		if (w.o.data)
			return err_set(e, ERR_INVALID, 0, "bind mount of '%s': options '%s'",
				       m->source, w.o.data);
		return mounts_bind(m->source, target,
				   w.o.flags & MS_RDONLY ? SHARE_READ_ONLY : 0, e);
	}
	w.o.flags |= MS_NODEV | MS_NOSUID;
	if (!str_eq(m->type, "overlay"))
		return mount_file_system(m, &w, target, e);
	return overlay_mount(m->source, target, w.o.flags, w.o.data ? w.o.data : "", e);
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
