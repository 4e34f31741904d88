/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The shared directory of a sandbox. It lies on a tmpfs of its own in the engine's mount
 * namespace: `rw` is shared, `ro` a slave of it, so whatever is mounted in `rw` appears in
 * `ro` and in the namespaces of virtiofsd and the monitor, and ends with the engine.
 */
#include "share/share.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/magic.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "base/err.h"
#include "base/fd.h"
#include "base/list.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/path.h"
#include "base/str.h"
#include "base/sys.h"
#include "oci/caps.h"
#include "share/parts.h"
#include "vmm/vmm.h"

#define GUEST_DIR    "/run/kata-containers/shared/containers/"
#define DEFAULT_BASE "/run/kata-containers/shared/sandboxes"
#define TAG          "kataShared"

enum {
	ID_MAX = 128,
	FILES_MIN = 16384
};

/* One thing in the directory and who uses it. */
struct entry {
	struct list node;
	char *name;   /* below rw, or layers */
	char *source; /* of a volume; NULL: made here */
	bool is_dir, mounted;
	unsigned how;      /* SHARE_* */
	bool is_layer;     /* the guest does not see it */
	struct stat st;    /* of the source when it was taken */
	struct strv users; /* container ids, one per use */
};

struct share {
	struct virtiofsd virtiofsd;
	enum share_fs fs;
	char dir[SHARE_PATH_LEN / 2], rw[SHARE_PATH_LEN / 2 + 4], ro[SHARE_PATH_LEN / 2 + 4];
	struct list entries;
	unsigned next_volume, next_layer, queue_size;
	char msize[32];
	struct share_storage storage;
	bool made;
};

static const char *const names[] = {
	[SHARE_FS_AUTO] = "auto",
	[SHARE_FS_VIRTIO_FS] = "virtio-fs",
	[SHARE_FS_9P] = "virtio-9p",
	[SHARE_FS_NONE] = "none",
};
static_assert(ARRAY_LEN(names) == SHARE_FS_COUNT_, "every kind of share needs a name");

const char *share_fs_name(enum share_fs f)
{
	return f < SHARE_FS_COUNT_ ? names[f] : "unknown";
}

bool share_fs_parse(const char *s, enum share_fs *out)
{
	for (int i = 0; i < SHARE_FS_COUNT_; i++) {
		if (str_eq(names[i], s)) {
			*out = (enum share_fs)i;
			return true;
		}
	}
	return false;
}

int share_enter_namespace(struct err *e)
{
	if (unshare(CLONE_NEWNS) < 0)
		return err_sys(e, "a mount namespace of our own%s",
			       errno == EPERM ? " (CAP_SYS_ADMIN is needed)" : "");
	if (mount(NULL, "/", NULL, MS_REC | MS_SLAVE, NULL) < 0)
		return err_sys(e, "cut our mounts off from the host's");
	return 0;
}

/* Those it takes, and ends without: but only once somebody is connected. */
static int may_virtiofsd(struct err *e)
{
	static const int needed[] = { CAP_CHOWN,  CAP_DAC_OVERRIDE, CAP_FOWNER,
				      CAP_FSETID, CAP_SETGID,       CAP_SETUID,
				      CAP_MKNOD,  CAP_SETFCAP,      CAP_SYS_ADMIN };
	uint64_t effective, permitted, inheritable;

	if (geteuid() != 0)
		return err_set(e, ERR_UNSUPPORTED, 0, "virtiofsd needs root");
	if (sys_capget(&effective, &permitted, &inheritable) < 0)
		return err_sys(e, "capget");
	for (size_t i = 0; i < ARRAY_LEN(needed); i++) {
		if (!(permitted >> needed[i] & 1))
			return err_set(e, ERR_UNSUPPORTED, 0,
				       "virtiofsd needs %s, which is not ours to give",
				       cap_name(needed[i]));
	}
	return 0;
}

/* It has every file open that the guest remembers, a program's libraries and directories. */
static int check_files(struct err *e)
{
	uint64_t files;

	if (virtiofsd_max_files(&files, e) < 0)
		return -1;
	if (files >= FILES_MIN)
		return 0;
	return err_set(
		e, ERR_UNSUPPORTED, 0,
		"virtiofsd may have no more than %llu files open (RLIMIT_NOFILE), %d are "
		"needed",
		(unsigned long long)files, FILES_MIN);
}

static int can_virtio_fs(const struct share_config *c, const char **program, struct err *e)
{
	if (!(c->vmm_caps >> VMM_CAP_SHARED_MEM_FS & 1))
		return err_set(e, ERR_UNSUPPORTED, 0, "the hypervisor has no virtio-fs");
	if (!(c->guest_fs & SHARE_GUEST_VIRTIO_FS))
		return err_set(e, ERR_UNSUPPORTED, 0, "the guest's kernel has no virtio-fs");
	if (may_virtiofsd(e) < 0 || check_files(e) < 0)
		return -1;
	return virtiofsd_find(c->virtiofsd, program, e);
}

static int can_9p(const struct share_config *c, struct err *e)
{
	if (!(c->vmm_caps >> VMM_CAP_9P & 1))
		return err_set(e, ERR_UNSUPPORTED, 0, "the hypervisor has no 9p");
	if (!(c->guest_fs & SHARE_GUEST_9P))
		return err_set(e, ERR_UNSUPPORTED, 0, "the guest's kernel has no 9p");
	return 0;
}

static int choose(const struct share_config *c, enum share_fs *out, const char **program,
		  struct err *e)
{
	struct err why = ERR_INIT, no9p = ERR_INIT;
	const char *reason = "as configured";

	*out = c->fs;
	if (c->fs == SHARE_FS_AUTO) {
		*out = SHARE_FS_VIRTIO_FS;
		reason = "it can run here";
		if (can_virtio_fs(c, program, &why) < 0) {
			if (c->virtiofsd && c->virtiofsd[0] && why.kind == ERR_NOT_FOUND) {
				*e = why; /* what was named must be there */
				return -1;
			}
			*out = SHARE_FS_9P;
			reason = why.msg;
			if (can_9p(c, &no9p) < 0)
				return err_set(e, ERR_UNSUPPORTED, 0,
					       "no way to share files: %s; %s", why.msg,
					       no9p.msg);
		}
	} else if ((c->fs == SHARE_FS_VIRTIO_FS && can_virtio_fs(c, program, e) < 0) ||
		   (c->fs == SHARE_FS_9P && can_9p(c, e) < 0)) {
		e->kind = ERR_UNSUPPORTED;
		return err_wrap(e, "shared_fs = \"%s\" is demanded but impossible",
				share_fs_name(c->fs));
	}
	log_info(c->log, "file sharing: %s (%s)", share_fs_name(*out), reason);
	return 0;
}

static int set_names(struct share *s, const struct share_config *c, struct err *e)
{
	const char *base = c->base ? c->base : DEFAULT_BASE;

	if (!path_is_component(c->sandbox_id))
		return err_set(e, ERR_INVALID, 0, "'%.80s' cannot name a directory",
			       c->sandbox_id);
	if ((size_t)snprintf(s->dir, sizeof(s->dir), "%s/%s", base, c->sandbox_id) >=
	    sizeof(s->dir))
		return err_set(e, ERR_INVALID, 0, "shared directory '%s': too long", base);
	(void)snprintf(s->rw, sizeof(s->rw), "%s/rw", s->dir);
	(void)snprintf(s->ro, sizeof(s->ro), "%s/ro", s->dir);
	return 0;
}

static int make_dirs(struct share *s, struct err *e)
{
	if (path_mkdirs(s->dir, 0700, e) < 0)
		return -1;
	if (mount("kata-share", s->dir, "tmpfs", MS_NOSUID | MS_NODEV, "mode=0700,size=64m") <
	    0)
		return err_sys(e, "mount a tmpfs at '%s'", s->dir);
	s->made = true;
	if (mount(NULL, s->dir, NULL, MS_PRIVATE, NULL) < 0 || mkdir(s->rw, 0755) < 0 ||
	    mkdir(s->ro, 0755) < 0)
		return err_sys(e, "directories below '%s'", s->dir);
	if (mount(s->rw, s->rw, NULL, MS_BIND, NULL) < 0 ||
	    mount(NULL, s->rw, NULL, MS_SHARED, NULL) < 0 ||
	    mount(s->rw, s->ro, NULL, MS_BIND, NULL) < 0 ||
	    mount(NULL, s->ro, NULL, MS_SLAVE, NULL) < 0 ||
	    mount(NULL, s->ro, NULL, MS_SHARED, NULL) < 0 ||
	    mount(NULL, s->ro, NULL, MS_REMOUNT | MS_BIND | MS_RDONLY, NULL) < 0)
		return err_sys(e, "mounts below '%s'", s->dir);
	return 0;
}

static void set_storage(struct share *s, const struct share_config *c)
{
	static const char *const options_9p[] = { "trans=virtio", "version=9p2000.L",
						  "cache=mmap" };
	struct share_storage *st = &s->storage;

	st->source = TAG;
	st->mount_point = GUEST_DIR;
	if (s->fs == SHARE_FS_VIRTIO_FS) {
		st->driver = "virtio-fs";
		st->fstype = "virtiofs";
		return;
	}
	st->driver = "9p";
	st->fstype = "9p";
	for (size_t i = 0; i < ARRAY_LEN(options_9p); i++)
		st->options[st->option_count++] = options_9p[i];
	(void)snprintf(s->msize, sizeof(s->msize), "msize=%u",
		       c->msize_9p ? c->msize_9p : SHARE_MSIZE_9P);
	st->options[st->option_count++] = s->msize;
}

static int set_files(struct share *s, struct err *e)
{
	uint64_t files;

	if (virtiofsd_files(&s->virtiofsd, &files, e) < 0)
		return -1;
	(void)snprintf(s->storage.files, sizeof(s->storage.files), "files=%llu",
		       (unsigned long long)files);
	return 0;
}

int share_new(struct loop *l, struct child_reaper *r, const struct share_config *c,
	      int64_t deadline, struct share **out, struct err *e)
{
	OWN(share) struct share *s = mem_new(struct share);
	const char *program = NULL;

	if (!s)
		return err_oom(e, "a shared directory");
	list_init(&s->entries);
	s->virtiofsd.socket_fd = -1;
	s->queue_size = c->queue_size;
	if (set_names(s, c, e) < 0 || choose(c, &s->fs, &program, e) < 0)
		return -1;
	if (s->fs == SHARE_FS_NONE) {
		*out = TAKE(s);
		return 0;
	}
	set_storage(s, c);
	if (make_dirs(s, e) < 0)
		return -1;
	if (s->fs == SHARE_FS_VIRTIO_FS &&
	    (virtiofsd_start(&s->virtiofsd, l, r, c, program, s->ro, s->dir, deadline, e) < 0 ||
	     set_files(s, e) < 0))
		return err_wrap(e, "file sharing");
	*out = TAKE(s);
	return 0;
}

static void entry_free(struct entry *n)
{
	if (!n)
		return;
	strv_fini(&n->users);
	free(n->name);
	free(n->source);
	free(n);
}
OWN_DEFINE(entry, struct entry *, entry_free)

void share_free(struct share *s)
{
	if (!s)
		return;
	virtiofsd_stop(&s->virtiofsd);
	list_for_each(n, tmp, &s->entries) {
		list_remove(n);
		entry_free(list_entry(n, struct entry, node));
	}
	if (s->made)
		(void)umount2(s->dir, MNT_DETACH);
	if (s->dir[0] && rmdir(s->dir) < 0 && errno != ENOENT)
		log_warn(NULL, "'%s' cannot be removed: %s", s->dir, strerror(errno));
	free(s);
}

enum share_fs share_fs(const struct share *s)
{
	return s->fs;
}

bool share_needs_shared_memory(const struct share *s)
{
	return s->fs == SHARE_FS_VIRTIO_FS;
}

bool share_needs_root_vmm(const struct share *s)
{
	return s->fs == SHARE_FS_9P;
}

bool share_device(struct share *s, struct vmm_device *out)
{
	if (s->fs == SHARE_FS_NONE)
		return false;
	*out = (struct vmm_device){ .id = "share" };
	if (s->fs == SHARE_FS_VIRTIO_FS) {
		out->kind = VMM_DEV_FS;
		out->fs.tag = TAG;
		out->fs.socket_fd = s->virtiofsd.socket_fd;
		out->fs.queue_size = s->queue_size;
	} else {
		out->kind = VMM_DEV_9P;
		out->p9.tag = TAG;
		out->p9.path = s->ro;
	}
	return true;
}

const struct share_storage *share_storage(const struct share *s)
{
	return s->storage.driver ? &s->storage : NULL;
}

static int need_dir(const struct share *s, struct err *e)
{
	if (s->fs != SHARE_FS_NONE)
		return 0;
	return err_set(e, ERR_UNSUPPORTED, 0, "file sharing is off (shared_fs = \"none\")");
}

static int host_path(const struct share *s, const char *name, char out[SHARE_PATH_LEN],
		     struct err *e)
{
	if (snprintf(out, SHARE_PATH_LEN, "%s/%s", s->rw, name) >= SHARE_PATH_LEN)
		return err_set(e, ERR_INVALID, 0, "the name '%s' is too long", name);
	return 0;
}

static int layer_path(const struct share *s, const char *name, char out[SHARE_PATH_LEN],
		      struct err *e)
{
	if (snprintf(out, SHARE_PATH_LEN, "%s/layers/%s", s->dir, name) >= SHARE_PATH_LEN)
		return err_set(e, ERR_INVALID, 0, "the name '%s' is too long", name);
	return 0;
}

static int entry_path(const struct share *s, const struct entry *n, char out[SHARE_PATH_LEN],
		      struct err *e)
{
	return n->is_layer ? layer_path(s, n->name, out, e) : host_path(s, n->name, out, e);
}

static int describe(const struct share *s, const struct entry *n, struct share_entry *out,
		    struct err *e)
{
	struct share_entry o = { .is_dir = n->is_dir };

	if (host_path(s, n->name, o.host_path, e) < 0)
		return -1;
	if (snprintf(o.guest_path, sizeof(o.guest_path), GUEST_DIR "%s", n->name) >=
	    SHARE_PATH_LEN)
		return err_set(e, ERR_INVALID, 0, "the name '%s' is too long", n->name);
	*out = o;
	return 0;
}

/* An entry not yet in the list. */
static struct entry *new_entry(char *name, const char *source, const char *cid, bool is_dir,
			       struct err *e)
{
	OWN(free) char *own = name;
	OWN(entry) struct entry *n = mem_new(struct entry);

	if (!own || !n) {
		(void)err_oom(e, "an entry of the shared directory");
		return NULL;
	}
	list_init(&n->node);
	n->is_dir = is_dir;
	n->name = TAKE(own);
	if (strv_add(&n->users, cid, e) < 0)
		return NULL;
	if (source) {
		n->source = mem_dup(source, strlen(source));
		if (!n->source) {
			(void)err_oom(e, "an entry of the shared directory");
			return NULL;
		}
	}
	return TAKE(n);
}

static void remove_entry(struct share *s, struct entry *n)
{
	char path[SHARE_PATH_LEN];
	struct err ignored;

	if (entry_path(s, n, path, &ignored) == 0) {
		if (n->mounted)
			mounts_clear(path);
		if ((n->is_dir ? rmdir(path) : unlink(path)) < 0 && n->is_dir && !n->mounted)
			(void)path_remove_tree(AT_FDCWD, path, &ignored);
	}
	list_remove(&n->node);
	entry_free(n);
}

static struct entry *find_name(struct share *s, const char *name)
{
	list_for_each(i, tmp, &s->entries) {
		struct entry *n = list_entry(i, struct entry, node);

		if (str_eq(n->name, name))
			return n;
	}
	return NULL;
}

/* Makes rw/<cid>; an existing one is fine. */
static int container_dir(const struct share *s, const char *cid, struct err *e)
{
	char path[SHARE_PATH_LEN];

	if (path_check_id(cid, ID_MAX, "container id", e) < 0 || host_path(s, cid, path, e) < 0)
		return -1;
	if (mkdir(path, 0755) < 0 && errno != EEXIST)
		return err_sys(e, "mkdir '%s'", path);
	return 0;
}

static int fill_rootfs(const char *path, const char *dir, bool read_only,
		       const struct share_mount *mounts, size_t count, struct err *e)
{
	if (dir)
		return mounts_bind(dir, path, read_only ? SHARE_READ_ONLY : 0, e);
	for (size_t i = 0; i < count; i++) {
		if (mounts_one(&mounts[i], path, e) < 0)
			return -1;
	}
	return read_only && count > 0 ? mounts_set_read_only(path, e) : 0;
}

int share_add_rootfs(struct share *s, const char *cid, const char *dir, bool read_only,
		     const struct share_mount *mounts, size_t count, struct share_entry *out,
		     struct err *e)
{
	OWN(entry) struct entry *n = NULL;
	char path[SHARE_PATH_LEN];

	if (need_dir(s, e) < 0 || container_dir(s, cid, e) < 0)
		return -1;
	n = new_entry(str_printf("%s/rootfs", cid), NULL, cid, true, e);
	if (!n || host_path(s, n->name, path, e) < 0)
		return -1;
	if (find_name(s, n->name))
		return err_set(e, ERR_EXISTS, 0, "container '%s' has a root file system", cid);
	if (mkdir(path, 0755) < 0)
		return err_sys(e, "mkdir '%s'", path);
	n->mounted = dir || count > 0;
	if (describe(s, n, out, e) < 0 ||
	    fill_rootfs(path, dir, read_only, mounts, count, e) < 0) {
		remove_entry(s, TAKE(n));
		return -1;
	}
	list_append(&s->entries, &n->node);
	(void)TAKE(n);
	return 0;
}

int share_add_layer(struct share *s, const char *cid, const struct share_mount *m,
		    char out[SHARE_PATH_LEN], struct err *e)
{
	OWN(entry) struct entry *n = NULL;
	char path[SHARE_PATH_LEN];

	if (need_dir(s, e) < 0)
		return -1;
	n = new_entry(str_printf("%u", s->next_layer++), NULL, cid, true, e);
	if (!n || layer_path(s, n->name, path, e) < 0 || path_mkdirs(path, 0700, e) < 0)
		return -1;
	n->is_layer = n->mounted = true;
	if (mounts_one(m, path, e) < 0) {
		remove_entry(s, TAKE(n));
		return -1;
	}
	list_append(&s->entries, &n->node);
	(void)TAKE(n);
	memcpy(out, path, sizeof(path));
	return 0;
}

/*
 * Whether what is mounted below a directory is the same by both ways to it. By one way to the
 * same mount it is; by two it is where there is nothing, and nothing that comes is to be seen.
 */
static bool shows_the_same(const struct entry *n, const char *source, unsigned how)
{
	if (str_eq(n->source, source))
		return true;
	return (how & (SHARE_PRIVATE | SHARE_FLAT)) && !mounts_are_below(n->source) &&
	       !mounts_are_below(source);
}

/*
 * virtiofsd tells mounts apart: by two entries for one directory the guest would have its files
 * twice, with locks, sockets and caches of their own. Who only reads joins those who write, as
 * the machine may write there in any case, and mounts it read-only in the guest. Not the other
 * way round: virtiofsd's copy of a mount cannot be made writable. A path is not yet a file: it
 * may have been replaced, or mounted upon.
 */
static struct entry *find_volume(struct share *s, const char *source, const struct stat *st,
				 unsigned how)
{
	struct entry *found = NULL;

	list_for_each(i, tmp, &s->entries) {
		struct entry *n = list_entry(i, struct entry, node);

		if (!n->source || n->st.st_dev != st->st_dev || n->st.st_ino != st->st_ino ||
		    (n->how | (how & SHARE_READ_ONLY)) != how ||
		    !shows_the_same(n, source, how))
			continue;
		if (!found || !(n->how & SHARE_READ_ONLY))
			found = n;
	}
	return found;
}

/* "@3-data": as no container can be called, a number to be unique, the rest for people. */
static char *volume_name(struct share *s, const char *source)
{
	const char *base = strrchr(source, '/');
	char text[48];
	size_t len = 0;

	for (base = base ? base + 1 : source; *base && len < sizeof(text) - 1; base++) {
		bool plain = (*base >= 'a' && *base <= 'z') || (*base >= 'A' && *base <= 'Z') ||
			     (*base >= '0' && *base <= '9') || *base == '.' || *base == '_';

		text[len++] = plain ? *base : '-';
	}
	text[len] = '\0';
	return str_printf("@%u-%s", s->next_volume++, text);
}

/* A place to mount on, of the same kind as what is mounted. */
static int make_place(const char *path, bool is_dir, struct err *e)
{
	OWN(fd) int fd = -1;

	if (is_dir)
		return mkdir(path, 0755) < 0 ? err_sys(e, "mkdir '%s'", path) : 0;
	fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
	return fd < 0 ? err_sys(e, "make '%s'", path) : 0;
}

/*
 * Files of the kernel's own whose sizes are 0: the guest believes that and reads nothing. Those
 * of /sys have sizes. What they say is of the host in any case.
 */
static int check_readable(const char *source, struct err *e)
{
	static const struct {
		long magic;
		const char *name;
	} kinds[] = {
		{ PROC_SUPER_MAGIC, "/proc" },     { CGROUP2_SUPER_MAGIC, "cgroups" },
		{ CGROUP_SUPER_MAGIC, "cgroups" }, { TRACEFS_MAGIC, "tracefs" },
		{ DEBUGFS_MAGIC, "debugfs" },      { SECURITYFS_MAGIC, "securityfs" },
	};
	struct statfs fs;

	if (statfs(source, &fs) < 0)
		return err_sys(e, "volume '%s'", source);
	for (size_t i = 0; i < ARRAY_LEN(kinds); i++) {
		if (fs.f_type == kinds[i].magic)
			return err_set(e, ERR_UNSUPPORTED, 0,
				       "volume '%s' is of the host's %s, whose files would "
				       "read as empty in the guest",
				       source, kinds[i].name);
	}
	return 0;
}

static int add_new_volume(struct share *s, const char *cid, const char *source,
			  const struct stat *st, unsigned how, struct share_entry *out,
			  struct err *e)
{
	OWN(entry) struct entry *n = NULL;
	char path[SHARE_PATH_LEN];

	if (!S_ISDIR(st->st_mode) && !S_ISREG(st->st_mode))
		return err_set(
			e, ERR_UNSUPPORTED, 0,
			"volume '%s' is neither file, directory nor device: it cannot be shared",
			source);
	if (check_readable(source, e) < 0)
		return -1;
	n = new_entry(volume_name(s, source), source, cid, S_ISDIR(st->st_mode), e);
	if (!n || host_path(s, n->name, path, e) < 0 || describe(s, n, out, e) < 0 ||
	    make_place(path, n->is_dir, e) < 0)
		return -1;
	n->how = how;
	n->mounted = true;
	n->st = *st;
	if (mounts_bind(source, path, how, e) < 0) {
		remove_entry(s, TAKE(n));
		return -1;
	}
	list_append(&s->entries, &n->node);
	(void)TAKE(n);
	return 0;
}

int share_add_volume(struct share *s, const char *cid, const char *source, unsigned how,
		     struct share_entry *out, struct err *e)
{
	struct entry *n;
	struct stat st;

	if (need_dir(s, e) < 0 || path_check_id(cid, ID_MAX, "container id", e) < 0)
		return -1;
	if (source[0] != '/')
		return err_set(e, ERR_INVALID, 0, "volume '%s' is no absolute path", source);
	if (stat(source, &st) < 0)
		return err_set(e, errno == ENOENT ? ERR_NOT_FOUND : ERR_SYS, errno,
			       "volume '%s'", source);
	n = find_volume(s, source, &st, how);
	if (!n)
		return add_new_volume(s, cid, source, &st, how, out, e);
	if (describe(s, n, out, e) < 0)
		return -1;
	return strv_add(&n->users, cid, e);
}

int share_add_file(struct share *s, const char *cid, const char *name, const void *p,
		   size_t len, mode_t mode, struct share_entry *out, struct err *e)
{
	OWN(entry) struct entry *n = NULL;
	char path[SHARE_PATH_LEN];

	if (need_dir(s, e) < 0 || container_dir(s, cid, e) < 0)
		return -1;
	if (!path_is_component(name))
		return err_set(e, ERR_INVALID, 0, "'%s' cannot name a file", name);
	n = new_entry(str_printf("%s/%s", cid, name), NULL, cid, false, e);
	if (!n || host_path(s, n->name, path, e) < 0 || describe(s, n, out, e) < 0)
		return -1;
	if (find_name(s, n->name))
		return err_set(e, ERR_EXISTS, 0, "container '%s' has a file '%s'", cid, name);
	if (file_replace(AT_FDCWD, path, p, len, mode, false, e) < 0)
		return -1;
	list_append(&s->entries, &n->node);
	(void)TAKE(n);
	return 0;
}

int share_make_file(struct share *s, const char *name, const void *p, size_t len,
		    char out[SHARE_PATH_LEN], struct err *e)
{
	char dir[SHARE_PATH_LEN], path[SHARE_PATH_LEN];

	if (need_dir(s, e) < 0)
		return -1;
	if (!path_is_component(name))
		return err_set(e, ERR_INVALID, 0, "'%s' cannot name a file", name);
	if ((size_t)snprintf(dir, sizeof(dir), "%s/files", s->dir) >= sizeof(dir) ||
	    (size_t)snprintf(path, sizeof(path), "%s/files/%s", s->dir, name) >= sizeof(path))
		return err_set(e, ERR_INVALID, 0, "the name '%s' is too long", name);
	if (path_mkdirs(dir, 0700, e) < 0)
		return -1;
	if (access(path, F_OK) < 0 && file_replace(AT_FDCWD, path, p, len, 0644, false, e) < 0)
		return -1;
	memcpy(out, path, sizeof(path));
	return 0;
}

/* Drops the uses of `cid`; true if none is left. */
static bool drop_user(struct entry *n, const char *cid)
{
	size_t kept = 0;

	for (size_t i = 0; i < n->users.n; i++) {
		if (str_eq(n->users.v[i], cid)) {
			free(n->users.v[i]);
			continue;
		}
		n->users.v[kept++] = n->users.v[i];
	}
	n->users.n = kept;
	if (n->users.v)
		n->users.v[kept] = NULL;
	return kept == 0;
}

int share_remove_container(struct share *s, const char *cid, struct err *e)
{
	char path[SHARE_PATH_LEN];

	if (path_check_id(cid, ID_MAX, "container id", e) < 0 || host_path(s, cid, path, e) < 0)
		return -1;
	list_for_each(i, tmp, &s->entries) {
		struct entry *n = list_entry(i, struct entry, node);

		if (drop_user(n, cid))
			remove_entry(s, n);
	}
	if (s->fs != SHARE_FS_NONE && rmdir(path) < 0 && errno != ENOENT)
		return err_sys(e, "remove '%s'", path);
	return 0;
}

pid_t share_pid(const struct share *s)
{
	const struct child *c = &s->virtiofsd.child;

	return c->reaper && !c->exited ? c->pid : 0;
}

int share_sweep(const char *base, const char *sandbox_id, struct err *e)
{
	char path[SHARE_PATH_LEN];

	if (!path_is_component(sandbox_id))
		return err_set(e, ERR_INVALID, 0, "'%.80s' cannot name a directory",
			       sandbox_id);
	if (snprintf(path, sizeof(path), "%s/%s", base ? base : DEFAULT_BASE, sandbox_id) >=
	    (int)sizeof(path))
		return err_set(e, ERR_INVALID, 0, "the base directory's name is too long");
	mounts_clear(path);
	return path_remove_tree(AT_FDCWD, path, e);
}
