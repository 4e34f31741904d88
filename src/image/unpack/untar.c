/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Task "untar": the tar stream on descriptor 0 becomes the tree below the helper's root.
 * libarchive reads the headers; everything on disk is done here, so that no name is ever
 * followed through a symbolic link and every refusal names its entry.
 *
 * Whiteouts become overlayfs's: a character device 0:0. Opaque directories and those made
 * only for their children are reported: the marks of the first are attributes that this
 * process may not set, the second take their owner and mode from a lower layer.
 * Sources: OCI image specification 1.1, "Image Layer Filesystem Changeset"; overlayfs.rst.
 */
#include "image/unpack/helper.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <archive.h>
#include <archive_entry.h>

#include "base/err.h"
#include "base/mem.h"
#include "base/own.h"
#include "base/path.h"
#include "base/str.h"
#include "base/sys.h"

OWN_DEFINE(archive, struct archive *, archive_read_free)

#define WHITEOUT_META   ".wh..wh."
#define WHITEOUT_OPAQUE ".wh..wh..opq"

enum {
	MAX_DEPTH = 255,
	MAX_XATTRS = 256,  /* of one entry */
	ENTRY_COST = 4096, /* what one entry takes on disk besides its data, at least */
	QUOTED = 160,
	/* mode of a directory made for its children until its own entry comes, if ever */
	IMPLIED_MODE = 01000,
	BEHIND_MAX = 64 << 20 /* bytes after the end mark */
};

/* A directory whose modification time is set at the end, when nothing is put into it any more.
 */
struct dir_time {
	char *path;
	struct timespec mtime;
	bool implied;
};

struct untar {
	int root;
	const struct unpack_limits *limits;
	struct report_done *done;
	struct dir_time *dirs;
	size_t n_dirs, cap_dirs;
	int parent; /* the directory `parent_path`; -1: none open */
	char parent_path[PATH_MAX];
};

/* The entry at hand: its cleaned path, cut into directory and name. */
struct target {
	char path[PATH_MAX]; /* "" is the root itself */
	char dir[PATH_MAX];
	const char *name;
	char shown[QUOTED]; /* for messages */
	struct archive_entry *entry;
};

static int refuse(const struct target *t, struct err *e, const char *why)
{
	return err_set(e, ERR_INVALID, 0, "entry '%s': %s", t->shown, why);
}

static int fail(const struct target *t, struct err *e, const char *doing)
{
	return err_sys(e, "entry '%s': %s", t->shown, doing);
}

static int archive_fail(struct archive *a, struct err *e)
{
	const char *text = archive_error_string(a);

	return err_set(e, ERR_INVALID, 0, "the tar stream is damaged: %s",
		       text ? text : "no details");
}

/*
 * Removes empty components and ".", refuses "..": what is left is relative and goes down
 * only. Returns NULL, or what is wrong with the name.
 */
static const char *clean_name(const char *in, char out[PATH_MAX])
{
	size_t len = 0, depth = 0;

	while (*in) {
		size_t n = strcspn(in, "/");

		if (n == 2 && in[0] == '.' && in[1] == '.')
			return "its name leads out of the layer (\"..\")";
		if (n > NAME_MAX)
			return "a part of its name is longer than 255 bytes";
		if (n > 0 && !(n == 1 && in[0] == '.')) {
			if (len + n + 2 > PATH_MAX)
				return "its name is longer than 4095 bytes";
			if (++depth > MAX_DEPTH)
				return "it lies deeper than 255 directories";
			if (len > 0)
				out[len++] = '/';
			memcpy(out + len, in, n);
			len += n;
		}
		in += n;
		while (*in == '/')
			in++;
	}
	out[len] = '\0';
	return NULL;
}

static int set_target(struct target *t, struct archive_entry *entry, struct err *e)
{
	const char *name = archive_entry_pathname(entry), *why;
	char *slash;

	t->entry = entry;
	if (!name || *name == '\0')
		return err_set(e, ERR_INVALID, 0,
			       "an entry of the tar stream has no usable name");
	(void)str_quote(name, strlen(name), t->shown, sizeof(t->shown));
	why = clean_name(name, t->path);
	if (why)
		return refuse(t, e, why);
	memcpy(t->dir, t->path, sizeof(t->dir));
	slash = strrchr(t->dir, '/');
	if (slash)
		*slash = '\0';
	else
		t->dir[0] = '\0';
	t->name = slash ? t->path + (slash - t->dir) + 1 : t->path;
	return 0;
}

static int open_inside(struct untar *u, const char *path, int flags)
{
	return sys_openat2(u->root, *path ? path : ".", (uint64_t)(unsigned)flags | O_CLOEXEC,
			   0, RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_XDEV);
}

static void forget_parent(struct untar *u)
{
	fd_close(&u->parent);
}

static bool is_whiteout(const struct stat *st)
{
	return S_ISCHR(st->st_mode) && st->st_rdev == makedev(0, 0);
}

static int charge(struct untar *u, uint64_t bytes, struct err *e)
{
	u->done->bytes += bytes;
	if (u->done->bytes > u->limits->bytes)
		return err_set(e, ERR_SYS, ENOSPC,
			       "the layer needs more than the %llu bytes there is room for",
			       (unsigned long long)u->limits->bytes);
	return 0;
}

static int note_dir(struct untar *u, const char *path, const struct timespec *mtime,
		    bool implied, struct err *e)
{
	struct dir_time *grown;

	if (u->n_dirs == u->cap_dirs) {
		size_t cap = u->cap_dirs ? 2 * u->cap_dirs : 256;

		grown = mem_resize(u->dirs, cap, sizeof(*grown));
		if (!grown)
			return err_oom(e, "the list of directories");
		u->dirs = grown;
		u->cap_dirs = cap;
	}
	u->dirs[u->n_dirs].path = strdup(path);
	if (!u->dirs[u->n_dirs].path)
		return err_oom(e, "the list of directories");
	u->dirs[u->n_dirs].implied = implied;
	u->dirs[u->n_dirs].mtime = mtime ? *mtime : (struct timespec){ .tv_nsec = UTIME_OMIT };
	u->n_dirs++;
	return 0;
}

/* Makes one missing directory on the way to an entry; a whiteout there becomes opaque. */
static int imply_dir(struct untar *u, const struct target *t, int at, const char *name,
		     const char *path, struct err *e)
{
	struct stat st;

	if (fstatat(at, name, &st, AT_SYMLINK_NOFOLLOW) == 0) {
		if (S_ISDIR(st.st_mode))
			return 0;
		if (S_ISLNK(st.st_mode))
			return refuse(t, e, "its name goes through a symbolic link");
		if (!is_whiteout(&st))
			return refuse(t, e,
				      "its name goes through something that is no directory");
		if (unlinkat(at, name, 0) < 0)
			return fail(t, e, "replace a whiteout");
		if (report_path(REPORT_OPAQUE, path, e) < 0)
			return -1;
	} else if (errno != ENOENT) {
		return fail(t, e, "look at its directory");
	}
	if (mkdirat(at, name, 0700) < 0 || fchmodat(at, name, IMPLIED_MODE, 0) < 0)
		return fail(t, e, "make its directory");
	if (charge(u, ENTRY_COST, e) < 0)
		return -1;
	return note_dir(u, path, NULL, true, e);
}

/* Opens `dir`, making what is missing of it component by component. */
static int walk_parents(struct untar *u, const struct target *t, const char *dir, int *out,
			struct err *e)
{
	char sofar[PATH_MAX];
	OWN(fd) int at = open_inside(u, "", O_PATH | O_DIRECTORY);
	size_t len = strlen(dir), start = 0;

	if (at < 0)
		return fail(t, e, "open the layer");
	for (size_t i = 0; i <= len && len > 0; i++) {
		int next;

		if (i < len && dir[i] != '/')
			continue;
		memcpy(sofar, dir, i);
		sofar[i] = '\0';
		if (imply_dir(u, t, at, sofar + start, sofar, e) < 0)
			return -1;
		next = open_inside(u, sofar, O_PATH | O_DIRECTORY);
		if (next < 0)
			return fail(t, e, "open its directory");
		fd_close(&at);
		at = next;
		start = i + 1;
	}
	*out = fd_take(&at);
	return 0;
}

/* The directory of an entry, kept open: the next entry is most often in the same one. */
static int open_parent(struct untar *u, const struct target *t, struct err *e)
{
	if (u->parent >= 0 && strcmp(u->parent_path, t->dir) == 0)
		return 0;
	forget_parent(u);
	u->parent = open_inside(u, t->dir, O_PATH | O_DIRECTORY);
	if (u->parent < 0 && errno == ELOOP)
		return refuse(t, e, "its name goes through a symbolic link");
	if (u->parent < 0 && walk_parents(u, t, t->dir, &u->parent, e) < 0)
		return -1;
	memcpy(u->parent_path, t->dir, sizeof(u->parent_path));
	return 0;
}

static bool times_of(struct archive_entry *entry, struct timespec out[2])
{
	out[0] = (struct timespec){ .tv_nsec = UTIME_OMIT };
	out[1] = out[0];
	if (!archive_entry_mtime_is_set(entry))
		return false;
	out[1].tv_sec = archive_entry_mtime(entry);
	out[1].tv_nsec = archive_entry_mtime_nsec(entry);
	if (out[1].tv_nsec < 0 || out[1].tv_nsec > 999999999)
		out[1].tv_nsec = 0;
	out[0] = out[1];
	return true;
}

static int owner_of(const struct target *t, uid_t *uid, gid_t *gid, struct err *e)
{
	int64_t u = archive_entry_uid(t->entry), g = archive_entry_gid(t->entry);

	/* the largest number means "leave it" to chown(2) */
	if (u < 0 || u >= UINT32_MAX || g < 0 || g >= UINT32_MAX)
		return refuse(t, e, "its owner is no valid user or group number");
	*uid = (uid_t)u;
	*gid = (gid_t)g;
	return 0;
}

enum xattr_fate {
	XATTR_SET,
	XATTR_SKIP,
	XATTR_REFUSE
};

/* Labels of the machine the image was made on mean nothing here; overlayfs's own are forgeries.
 */
static enum xattr_fate xattr_fate(const char *name)
{
	static const struct {
		const char *prefix;
		enum xattr_fate fate;
	} rules[] = {
		{ "user.overlay.", XATTR_REFUSE },
		{ "user.", XATTR_SET },
		{ "security.capability", XATTR_SET },
		{ "system.posix_acl_access", XATTR_SET },
		{ "system.posix_acl_default", XATTR_SET },
		{ "security.selinux", XATTR_SKIP },
		{ "security.apparmor", XATTR_SKIP },
		{ "security.SMACK64", XATTR_SKIP },
		{ "security.ima", XATTR_SKIP },
		{ "security.evm", XATTR_SKIP },
	};

	for (size_t i = 0; i < ARRAY_LEN(rules); i++) {
		if (str_starts(name, rules[i].prefix))
			return rules[i].fate;
	}
	return XATTR_REFUSE;
}

/* fd -1: something that cannot carry attributes (a link, a device); only labels pass there. */
static int put_xattrs(const struct target *t, int fd, struct err *e)
{
	int n = archive_entry_xattr_reset(t->entry);
	const char *name;
	const void *value;
	char quoted[QUOTED];
	size_t size;

	if (n > MAX_XATTRS)
		return refuse(t, e, "it has more than 256 extended attributes");
	if (archive_entry_acl_types(t->entry) != 0)
		return refuse(t, e,
			      "access control lists in tar's text form are not supported");
	while (archive_entry_xattr_next(t->entry, &name, &value, &size) == ARCHIVE_OK) {
		enum xattr_fate fate = xattr_fate(name);

		if (fate == XATTR_SKIP)
			continue;
		(void)str_quote(name, strlen(name), quoted, sizeof(quoted));
		if (fate == XATTR_REFUSE || fd < 0)
			return err_set(e, ERR_INVALID, 0,
				       "entry '%s': extended attribute '%s' is not accepted",
				       t->shown, quoted);
		if (fsetxattr(fd, name, value, size, 0) < 0)
			return err_sys(e, "entry '%s': set extended attribute '%s'", t->shown,
				       quoted);
	}
	return 0;
}

/* Owner before mode and attributes: chown clears set-id bits and file capabilities. */
static int put_metadata(const struct target *t, int fd, struct err *e)
{
	struct timespec times[2];
	uid_t uid;
	gid_t gid;

	if (owner_of(t, &uid, &gid, e) < 0)
		return -1;
	if (fchown(fd, uid, gid) < 0)
		return fail(t, e, "set its owner");
	if (fchmod(fd, archive_entry_perm(t->entry) & 07777) < 0)
		return fail(t, e, "set its mode");
	if (put_xattrs(t, fd, e) < 0)
		return -1;
	if (times_of(t->entry, times) && futimens(fd, times) < 0)
		return fail(t, e, "set its time");
	return 0;
}

/* The same for what cannot be opened; `chmod` only where there is a mode of its own. */
static int put_metadata_at(struct untar *u, const struct target *t, bool has_mode,
			   struct err *e)
{
	struct timespec times[2];
	uid_t uid;
	gid_t gid;

	if (owner_of(t, &uid, &gid, e) < 0)
		return -1;
	if (fchownat(u->parent, t->name, uid, gid, AT_SYMLINK_NOFOLLOW) < 0)
		return fail(t, e, "set its owner");
	/* safe without "nofollow": it was just made here and nobody else works in this tree */
	if (has_mode &&
	    fchmodat(u->parent, t->name, archive_entry_perm(t->entry) & 07777, 0) < 0)
		return fail(t, e, "set its mode");
	if (put_xattrs(t, -1, e) < 0)
		return -1;
	if (times_of(t->entry, times) &&
	    utimensat(u->parent, t->name, times, AT_SYMLINK_NOFOLLOW) < 0)
		return fail(t, e, "set its time");
	return 0;
}

/*
 * Clears the place of an entry: as in tar the later one wins. *was_whiteout tells the maker
 * of a directory that the lower one is to stay hidden.
 */
static int clear_place(struct untar *u, const struct target *t, bool *was_whiteout,
		       struct err *e)
{
	struct stat st;

	*was_whiteout = false;
	if (fstatat(u->parent, t->name, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return errno == ENOENT ? 0 : fail(t, e, "look at its place");
	*was_whiteout = is_whiteout(&st);
	if (!S_ISDIR(st.st_mode))
		return unlinkat(u->parent, t->name, 0) < 0
			       ? fail(t, e, "replace the earlier one")
			       : 0;
	if (path_remove_tree(u->parent, t->name, e) < 0)
		return err_wrap(e, "entry '%s': replace the earlier directory", t->shown);
	return 0;
}

static int put_data(struct untar *u, struct archive *a, const struct target *t, int fd,
		    struct err *e)
{
	int64_t size = archive_entry_size(t->entry), offset;
	const void *block;
	size_t len;

	for (;;) {
		int rc = archive_read_data_block(a, &block, &len, &offset);

		if (rc == ARCHIVE_EOF)
			break;
		if (rc < ARCHIVE_WARN)
			return archive_fail(a, e);
		if (offset < 0 || offset > size || (int64_t)len > size - offset)
			return refuse(t, e, "its data does not fit its size");
		if (charge(u, len, e) < 0)
			return -1;
		while (len > 0) {
			ssize_t n = pwrite(fd, block, len, offset);

			if (n < 0 && errno == EINTR)
				continue;
			if (n < 0)
				return fail(t, e, "write");
			block = (const char *)block + n;
			len -= (size_t)n;
			offset += n;
		}
	}
	/* a hole at the end is in no block */
	return ftruncate(fd, size) < 0 ? fail(t, e, "set its size") : 0;
}

static int put_regular(struct untar *u, struct archive *a, const struct target *t,
		       struct err *e)
{
	OWN(fd) int fd = -1;

	if (archive_entry_size(t->entry) < 0)
		return refuse(t, e, "its size is negative");
	fd = openat(u->parent, t->name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC,
		    0600);
	if (fd < 0)
		return fail(t, e, "make the file");
	if (put_data(u, a, t, fd, e) < 0)
		return -1;
	return put_metadata(t, fd, e);
}

static int put_symlink(struct untar *u, struct archive *a, const struct target *t,
		       struct err *e)
{
	const char *to = archive_entry_symlink(t->entry);

	if (!to || *to == '\0')
		return refuse(t, e, "a symbolic link without a target");
	if (strlen(to) >= PATH_MAX)
		return refuse(t, e,
			      "the target of the symbolic link is longer than 4095 bytes");
	/* kept as it is, absolute or not: it is resolved in the container, never here */
	if (symlinkat(to, u->parent, t->name) < 0)
		return fail(t, e, "make the symbolic link");
	return put_metadata_at(u, t, false, e);
}

static int put_node(struct untar *u, struct archive *a, const struct target *t, struct err *e)
{
	mode_t type = archive_entry_filetype(t->entry);
	dev_t dev = type == AE_IFIFO ? 0
				     : makedev((unsigned)archive_entry_rdevmajor(t->entry),
					       (unsigned)archive_entry_rdevminor(t->entry));

	if (type == AE_IFCHR && dev == makedev(0, 0))
		return refuse(
			t, e,
			"the character device 0:0 is overlayfs's mark for a deleted file");
	if (mknodat(u->parent, t->name, type | 0600, dev) < 0)
		return fail(t, e, type == AE_IFIFO ? "make the fifo" : "make the device");
	return put_metadata_at(u, t, true, e);
}

/* What is made anew by its type; directories and hard links are dealt with before. */
static const struct entry_kind {
	mode_t type;
	int (*put)(struct untar *u, struct archive *a, const struct target *t, struct err *e);
} kinds[] = {
	{ AE_IFREG, put_regular }, { AE_IFLNK, put_symlink }, { AE_IFCHR, put_node },
	{ AE_IFBLK, put_node },    { AE_IFIFO, put_node },
};

static int put_dir(struct untar *u, const struct target *t, struct err *e)
{
	OWN(fd) int fd = -1;
	bool was_whiteout = false;
	struct timespec times[2];
	struct stat st;

	if (*t->path && (open_parent(u, t, e) < 0))
		return -1;
	if (*t->path && (fstatat(u->parent, t->name, &st, AT_SYMLINK_NOFOLLOW) < 0 ||
			 !S_ISDIR(st.st_mode))) {
		if (clear_place(u, t, &was_whiteout, e) < 0)
			return -1;
		if (mkdirat(u->parent, t->name, 0700) < 0)
			return fail(t, e, "make the directory");
	}
	if (was_whiteout && report_path(REPORT_OPAQUE, t->path, e) < 0)
		return -1;
	fd = open_inside(u, t->path, O_RDONLY | O_DIRECTORY);
	if (fd < 0)
		return fail(t, e, "open the directory");
	if (put_metadata(t, fd, e) < 0)
		return -1;
	return times_of(t->entry, times) ? note_dir(u, t->path, &times[1], false, e) : 0;
}

/*
 * A hard link to something earlier in this layer. The target's name is held to stricter
 * rules than an entry's: it comes from no archiver with a leading slash.
 */
static int put_hardlink(struct untar *u, const struct target *t, const char *to, struct err *e)
{
	char path[PATH_MAX], shown[QUOTED], *slash;
	const char *why = *to == '/' ? "it is absolute" : clean_name(to, path);
	OWN(fd) int dir = -1;
	struct stat st;

	(void)str_quote(to, strlen(to), shown, sizeof(shown));
	if (!why && *path == '\0')
		why = "it is the layer itself";
	if (why)
		return err_set(e, ERR_INVALID, 0, "entry '%s': hard link to '%s': %s", t->shown,
			       shown, why);
	slash = strrchr(path, '/');
	if (slash)
		*slash = '\0';
	dir = open_inside(u, slash ? path : "", O_PATH | O_DIRECTORY);
	if (dir < 0 && errno == ELOOP)
		why = "it goes through a symbolic link";
	else if (dir < 0 ||
		 fstatat(dir, slash ? slash + 1 : path, &st, AT_SYMLINK_NOFOLLOW) < 0)
		why = "there is no such file in this layer";
	else if (S_ISDIR(st.st_mode))
		why = "it is a directory";
	else if (is_whiteout(&st))
		why = "it is a deleted file";
	if (why)
		return err_set(e, ERR_INVALID, 0, "entry '%s': hard link to '%s': %s", t->shown,
			       shown, why);
	if (linkat(dir, slash ? slash + 1 : path, u->parent, t->name, 0) < 0)
		return fail(t, e, "make the hard link");
	return 0;
}

/* Whether both names are one entry: then a hard link must not delete its own target. */
static bool links_to_itself(const struct target *t, const char *to)
{
	char path[PATH_MAX];

	return *to != '/' && !clean_name(to, path) && strcmp(path, t->path) == 0;
}

/*
 * ".wh.name" hides `name` of the lower layers, and those alone: what this layer itself has
 * there stays, but a directory is then not merged with the lower one.
 */
static int put_whiteout(struct untar *u, struct target *t, struct err *e)
{
	const char *hidden = t->name + strlen(WHITEOUT);
	char path[PATH_MAX];
	struct stat st;

	if (strcmp(t->name, WHITEOUT_OPAQUE) == 0)
		return report_path(REPORT_OPAQUE, t->dir, e);
	if (str_starts(t->name, WHITEOUT_META)) /* bookkeeping of aufs, dead with it */
		return 0;
	if (!path_is_component(hidden))
		return refuse(t, e, "a whiteout of no valid name");
	if (fstatat(u->parent, hidden, &st, AT_SYMLINK_NOFOLLOW) == 0) {
		if (!S_ISDIR(st.st_mode))
			return 0;
		if (snprintf(path, sizeof(path), "%s%s%s", t->dir, *t->dir ? "/" : "",
			     hidden) >= (int)sizeof(path))
			return refuse(t, e, "its name is longer than 4095 bytes");
		return report_path(REPORT_OPAQUE, path, e);
	}
	if (errno != ENOENT)
		return fail(t, e, "look at the place of the whiteout");
	if (mknodat(u->parent, hidden, S_IFCHR, makedev(0, 0)) < 0)
		return fail(t, e, "make the whiteout");
	return 0;
}

static int put_other(struct untar *u, struct archive *a, struct target *t, struct err *e)
{
	const char *link = archive_entry_hardlink(t->entry);
	mode_t type = archive_entry_filetype(t->entry);
	bool was_whiteout;

	if (*t->path == '\0')
		return refuse(t, e, "the layer itself must be a directory");
	if (open_parent(u, t, e) < 0)
		return -1;
	if (str_starts(t->name, WHITEOUT))
		return put_whiteout(u, t, e);
	if (link && links_to_itself(t, link))
		return refuse(t, e, "a hard link to itself");
	if (type == AE_IFSOCK &&
	    !link) /* a socket nobody listens on: not even Docker keeps it */
		return 0;
	if (clear_place(u, t, &was_whiteout, e) < 0)
		return -1;
	if (link)
		return put_hardlink(u, t, link, e);
	for (size_t i = 0; i < ARRAY_LEN(kinds); i++) {
		if (kinds[i].type == type)
			return kinds[i].put(u, a, t, e);
	}
	return refuse(t, e, "it is of an unknown type");
}

static int put_entry(struct untar *u, struct archive *a, struct archive_entry *entry,
		     struct err *e)
{
	struct target t;

	if (++u->done->entries > u->limits->entries)
		return err_set(e, ERR_INVALID, 0, "the layer holds more than %llu entries",
			       (unsigned long long)u->limits->entries);
	if (set_target(&t, entry, e) < 0 || charge(u, ENTRY_COST, e) < 0)
		return -1;
	if (archive_entry_filetype(entry) == AE_IFDIR && !archive_entry_hardlink(entry) &&
	    !str_starts(t.name, WHITEOUT))
		return put_dir(u, &t, e);
	return put_other(u, a, &t, e);
}

/* Directories last: their times, and which of them never had an entry of their own. */
static int finish_dirs(struct untar *u, struct err *e)
{
	for (size_t i = 0; i < u->n_dirs; i++) {
		struct timespec times[2] = { u->dirs[i].mtime, u->dirs[i].mtime };
		OWN(fd) int fd = open_inside(u, u->dirs[i].path, O_RDONLY | O_DIRECTORY);
		struct stat st;

		if (fd < 0) /* a later entry took its place */
			continue;
		if (!u->dirs[i].implied) {
			if (futimens(fd, times) < 0)
				return err_sys(e, "set the time of a directory");
			continue;
		}
		if (fstat(fd, &st) < 0)
			return err_sys(e, "look at a directory");
		if ((st.st_mode & 07777) != IMPLIED_MODE)
			continue;
		if (fchmod(fd, 0755) < 0)
			return err_sys(e, "set the mode of a directory");
		if (report_path(REPORT_IMPLIED, u->dirs[i].path, e) < 0)
			return -1;
	}
	return 0;
}

struct stream {
	char block[64 << 10];
	bool over; /* the reader wanted more than there is: it has seen no end mark */
};

static la_ssize_t read_block(struct archive *a, void *arg, const void **out)
{
	struct stream *s = arg;
	ssize_t n;

	do
		n = read(STDIN_FILENO, s->block, sizeof(s->block));
	while (n < 0 && errno == EINTR);
	if (n < 0)
		archive_set_error(a, errno, "read the tar stream");
	s->over = n == 0;
	*out = s->block;
	return n;
}

/* Reads what is behind the end mark: the starter hashes the whole stream. */
static int drain(struct stream *s, struct err *e)
{
	uint64_t total = 0;

	for (;;) {
		ssize_t n = read(STDIN_FILENO, s->block, sizeof(s->block));

		if (n == 0)
			return 0;
		if (n < 0 && errno != EINTR)
			return err_sys(e, "read the tar stream");
		total += n > 0 ? (uint64_t)n : 0;
		if (total > BEHIND_MAX)
			return err_set(e, ERR_INVALID, 0,
				       "more than %d MiB follow the end of the tar stream",
				       BEHIND_MAX >> 20);
	}
}

static int read_all(struct untar *u, struct err *e)
{
	static struct stream stream;
	OWN(archive) struct archive *a = archive_read_new();
	struct archive_entry *entry;

	if (!a)
		return err_oom(e, "the tar reader");
	if (archive_read_support_format_tar(a) < ARCHIVE_WARN ||
	    archive_read_support_format_empty(a) < ARCHIVE_WARN ||
	    archive_read_open(a, &stream, NULL, read_block, NULL) != ARCHIVE_OK)
		return archive_fail(a, e);
	for (;;) {
		int rc = archive_read_next_header(a, &entry);

		if (rc == ARCHIVE_EOF) {
			u->done->ended = !stream.over;
			return drain(&stream, e);
		}
		if (rc < ARCHIVE_WARN)
			return archive_fail(a, e);
		if (put_entry(u, a, entry, e) < 0)
			return -1;
	}
}

int untar_run(int root_fd, const struct unpack_limits *limits, struct report_done *done,
	      struct err *e)
{
	struct untar u = { .root = root_fd, .limits = limits, .done = done, .parent = -1 };
	int rc = 0;

	/* the layer's root has an entry of its own (".") or takes what a lower layer says */
	if (fchmodat(root_fd, ".", IMPLIED_MODE, 0) < 0)
		rc = err_sys(e, "set the mode of the layer's root");
	if (rc == 0)
		rc = note_dir(&u, "", NULL, true, e);
	if (rc == 0)
		rc = read_all(&u, e);
	if (rc == 0)
		rc = finish_dirs(&u, e);
	forget_parent(&u);
	for (size_t i = 0; i < u.n_dirs; i++)
		free(u.dirs[i].path);
	free(u.dirs);
	return rc;
}
