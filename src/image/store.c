/* SPDX-License-Identifier: Apache-2.0 */
/* The store's root: opening, format, locks, work directories, sweeping, space, leases. */
#include "image/store_internal.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "base/err.h"
#include "base/fd.h"
#include "base/log.h"
#include "base/path.h"
#include "base/rand.h"
#include "base/time.h"

#define VERSION_FILE "version"
static const char version_text[] = "kata image store, format 1\n";

enum {
	LOCK_MS = 30000,
	LOCK_STEP_MS = 20,
	CAUSE_MAX = 200 /* the last bytes of a cause that is told in a longer message */
};

static int open_dir(int at, const char *path, int *out, struct err *e)
{
	int fd = openat(at, path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);

	if (fd < 0)
		return err_sys(e, "open directory '%s'", path);
	*out = fd;
	return 0;
}

/* Calls `visit` for every name of a directory but "." and ".."; stops at the first failure. */
static int each_name(int dir_fd, int (*visit)(void *arg, const char *name, struct err *e),
		     void *arg, struct err *e)
{
	OWN(fd) int fd = -1;
	struct dirent *ent;
	int rc = 0;
	DIR *dir;

	if (open_dir(dir_fd, ".", &fd, e) < 0)
		return -1;
	dir = fdopendir(fd);
	if (!dir)
		return err_sys(e, "read a directory of the image store");
	fd = -1;
	while (rc == 0 && (ent = readdir(dir))) {
		if (strcmp(ent->d_name, ".") != 0 && strcmp(ent->d_name, "..") != 0)
			rc = visit(arg, ent->d_name, e);
	}
	(void)closedir(dir);
	return rc;
}

void store_stop_on(struct store *s, int fd)
{
	s->stop_fd = fd;
}

int store_pause(const struct store *s, int ms, struct err *e)
{
	struct pollfd stop = { .fd = s->stop_fd, .events = POLLIN };

	(void)poll(&stop, 1, ms);
	return stop.revents ? err_set(e, ERR_CANCELLED, 0, "stopped by a signal") : 0;
}

static int take_lock(const struct store *s, int fd, int how, const char *what, struct err *e)
{
	int64_t deadline = deadline_in(LOCK_MS);

	while (flock(fd, how | LOCK_NB) < 0) {
		if (errno != EWOULDBLOCK && errno != EINTR)
			return err_sys(e, "lock the image store's %s", what);
		if (deadline_left(deadline) == 0)
			return err_set(
				e, ERR_TIMEOUT, 0,
				"the image store's %s is held by another process for more than "
				"%d seconds",
				what, LOCK_MS / 1000);
		if (store_pause(s, LOCK_STEP_MS, e) < 0) /* flock(2) itself knows no deadline */
			return -1;
	}
	return 0;
}

static int open_lock(struct store *s, const char *name, int *out, struct err *e)
{
	int fd = openat(s->root_fd, name, O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);

	if (fd < 0 && errno == EROFS) /* enough to look */
		fd = openat(s->root_fd, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0) {
		(void)err_sys(e, "open '%s/%s'", s->root, name);
		return store_explain(s, e);
	}
	*out = fd;
	return 0;
}

int store_lock(struct store *s, int *out, struct err *e)
{
	OWN(fd) int fd = -1;

	if (open_lock(s, "lock", &fd, e) < 0 || take_lock(s, fd, LOCK_EX, "lock", e) < 0)
		return -1;
	*out = fd_take(&fd);
	return 0;
}

int store_lock_loads(struct store *s, int *out, struct err *e)
{
	OWN(fd) int fd = -1;

	if (open_lock(s, "loads", &fd, e) < 0 ||
	    take_lock(s, fd, LOCK_SH, "list of loads", e) < 0)
		return -1;
	*out = fd_take(&fd);
	return 0;
}

int store_try_loads(struct store *s, int *out, struct err *e)
{
	OWN(fd) int fd = -1;

	*out = -1;
	if (open_lock(s, "loads", &fd, e) < 0)
		return -1;
	if (flock(fd, LOCK_EX | LOCK_NB) == 0)
		*out = fd_take(&fd);
	return 0;
}

int staging_open(struct store *s, struct staging *out, struct err *e)
{
	struct staging st = { .store = s, .fd = -1 };
	OWN(fd) int lock = -1;

	/* made and locked under the lock, or a sweep could come between */
	if (store_lock(s, &lock, e) < 0 ||
	    rand_hex(st.name, (STAGING_NAME_SIZE - 1) / 2, e) < 0)
		return -1;
	if (mkdirat(s->tmp_fd, st.name, 0700) < 0) {
		(void)err_sys(e, "make '%s/tmp/%s'", s->root, st.name);
		return store_explain(s, e);
	}
	if (open_dir(s->tmp_fd, st.name, &st.fd, e) < 0 ||
	    take_lock(s, st.fd, LOCK_EX, "work directory", e) < 0) {
		fd_close(&st.fd);
		return -1;
	}
	*out = st;
	return 0;
}

int staging_adopt(struct store *s, int from, const char *name, struct staging *out,
		  struct err *e)
{
	struct staging st = { .store = s, .fd = -1 };

	if (rand_hex(st.name, (STAGING_NAME_SIZE - 1) / 2, e) < 0 ||
	    open_dir(from, name, &st.fd, e) < 0)
		return -1;
	if (take_lock(s, st.fd, LOCK_EX, "work directory", e) < 0) {
		fd_close(&st.fd);
		return -1;
	}
	if (renameat(from, name, s->tmp_fd, st.name) < 0) {
		(void)err_sys(e, "move '%s' to '%s/tmp'", name, s->root);
		fd_close(&st.fd);
		return -1;
	}
	*out = st;
	return 0;
}

void staging_close(struct staging *st)
{
	struct err ignored;

	if (st->fd < 0)
		return;
	/* what cannot be removed now is swept later: closing gives the lock away */
	(void)path_remove_tree(st->store->tmp_fd, st->name, &ignored);
	fd_close(&st->fd);
}

struct sweep {
	struct store *s;
	struct strv dead; /* work directories whose locks were taken over … */
	int *fds;         /* … through these, owned */
	size_t n_fds;
};

/* staging_open() gives such names, and nobody else is expected to. */
static bool is_staging_name(const char *name)
{
	return strlen(name) == STAGING_NAME_SIZE - 1 &&
	       strspn(name, "0123456789abcdef") == STAGING_NAME_SIZE - 1;
}

static int find_dead(void *arg, const char *name, struct err *e)
{
	struct sweep *w = arg;
	OWN(fd) int fd = -1;
	struct err ignored;
	int *grown;

	if (!is_staging_name(name) || open_dir(w->s->tmp_fd, name, &fd, &ignored) < 0)
		return 0;
	if (flock(fd, LOCK_EX | LOCK_NB) < 0)
		return 0;
	grown = mem_resize(w->fds, w->n_fds + 1, sizeof(*grown));
	if (!grown)
		return err_oom(e, "the sweep of the image store");
	w->fds = grown;
	if (strv_add(&w->dead, name, e) < 0)
		return -1;
	w->fds[w->n_fds++] = fd_take(&fd);
	return 0;
}

static int remove_half_written(void *arg, const char *name, struct err *e)
{
	int dir = *(int *)arg;

	if (str_ends(name, ".tmp"))
		(void)unlinkat(dir, name, 0);
	return 0;
}

/* Removes what dead processes left below tmp/, and the halves of their small files. */
static int sweep_tmp(struct store *s, struct err *e)
{
	struct sweep w = { .s = s };
	OWN(fd) int lock = -1;
	int rc;

	if (store_lock(s, &lock, e) < 0)
		return -1;
	rc = each_name(s->tmp_fd, find_dead, &w, e);
	if (rc == 0)
		rc = each_name(s->images_fd, remove_half_written, &s->images_fd, e);
	if (rc == 0)
		rc = each_name(s->leases_fd, remove_half_written, &s->leases_fd, e);
	fd_close(&lock); /* trees take long to remove; they are this process's by their locks */
	for (size_t i = 0; i < w.n_fds; i++) {
		struct err ignored;

		(void)path_remove_tree(s->tmp_fd, w.dead.v[i], &ignored);
		fd_close(&w.fds[i]);
	}
	/* someone died at work: perhaps between its layers and its image */
	if (rc == 0 && w.n_fds > 0)
		rc = store_sweep_layers(s, e);
	strv_fini(&w.dead);
	free(w.fds);
	return rc;
}

struct layer_sweep {
	struct store *s;
	struct strv used;
	struct staging *st;
	size_t n;
};

static int move_unused(void *arg, const char *name, struct err *e)
{
	struct layer_sweep *w = arg;

	for (size_t i = 0; i < w->used.n; i++) {
		if (strncmp(w->used.v[i], name, LAYER_KEY_LEN) == 0)
			return 0;
	}
	w->n++;
	if (renameat(w->s->layers_fd, name, w->st->fd, name) < 0)
		return err_sys(e, "take away the layer '%s'", name);
	return 0;
}

/* The keys of the layers of all images. */
static int used_layers(struct store *s, struct strv *out, struct err *e)
{
	struct ref_table none = { .n = 0 };
	OWN(strv) struct strv ids = { .n = 0 };

	if (catalog_ids(s, &ids, e) < 0)
		return -1;
	for (size_t i = 0; i < ids.n; i++) {
		OWN(image) struct image *image = NULL;

		if (catalog_read(s, ids.v[i], &none, &image, e) < 0)
			return -1;
		for (size_t l = 0; l < image->layers.n; l++) {
			if (strv_add(out, strrchr(image->layers.v[l], '/') + 1, e) < 0)
				return -1;
		}
	}
	return 0;
}

int store_sweep_layers(struct store *s, struct err *e)
{
	OWN(staging) struct staging st = { .fd = -1 };
	OWN(fd) int loads = -1;
	OWN(fd) int lock = -1;
	struct layer_sweep w = { .s = s, .st = &st };
	int rc;

	if (store_try_loads(s, &loads, e) < 0)
		return -1;
	if (loads < 0) /* a load counts on layers it has seen; it sweeps when it is done */
		return 0;
	if (staging_open(s, &st, e) < 0 || store_lock(s, &lock, e) < 0)
		return -1;
	/* which layers a damaged image has is not known: then all stay */
	rc = used_layers(s, &w.used, e);
	if (rc < 0 && e->kind != ERR_NO_MEMORY) {
		log_warn(NULL, "no layer is removed: %s", e->msg);
		rc = 0;
	} else if (rc == 0) {
		rc = each_name(s->layers_fd, move_unused, &w, e);
	}
	strv_fini(&w.used);
	return rc;
}

int store_free_bytes(struct store *s, uint64_t *out, struct err *e)
{
	uint64_t avail, reserve, most = 64 << 20;
	struct statvfs v;

	if (fstatvfs(s->tmp_fd, &v) < 0)
		return err_sys(e, "statvfs '%s'", s->root);
	if (!v.f_blocks) { /* a file system without an end, such as ramfs */
		*out = INT64_MAX >> 1;
		return 0;
	}
	avail = (uint64_t)v.f_bavail * v.f_frsize;
	reserve = (uint64_t)v.f_blocks * v.f_frsize / 20;
	if (reserve > most)
		reserve = most;
	*out = avail > reserve ? avail - reserve : 0;
	return 0;
}

/* Where the store's file system is mounted: the last parent on the same device. */
static void mount_point(const char *root, char out[PATH_MAX])
{
	struct stat here, above;

	(void)snprintf(out, PATH_MAX, "%s", root);
	while (strlen(out) > 1 && stat(out, &here) == 0) {
		char up[PATH_MAX];
		char *slash;

		memcpy(up, out, sizeof(up));
		slash = strrchr(up, '/');
		slash[slash == up] = '\0';
		if (stat(up, &above) < 0 || above.st_dev != here.st_dev)
			return;
		memcpy(out, up, sizeof(up));
	}
}

int store_explain(struct store *s, struct err *e)
{
	char where[PATH_MAX], was[sizeof(e->msg)];
	struct statvfs v;
	size_t len;
	int sys;

	if (e->kind != ERR_SYS || (e->sys != ENOSPC && e->sys != EDQUOT))
		return -1;
	if (fstatvfs(s->root_fd, &v) < 0)
		return -1;
	mount_point(s->root, where);
	sys = e->sys;
	memcpy(was, e->msg, sizeof(was)); /* which says what that errno means */
	len = strlen(was);
	(void)err_set(
		e, ERR_SYS, 0,
		"no room in the image store: the file system on '%.120s' has %llu of %llu MiB "
		"and %llu of %llu files free: make room or use another store (%s%s)",
		where, (unsigned long long)v.f_bavail * v.f_frsize >> 20,
		(unsigned long long)v.f_blocks * v.f_frsize >> 20,
		(unsigned long long)v.f_favail, (unsigned long long)v.f_files,
		len > CAUSE_MAX ? "…" : "", len > CAUSE_MAX ? was + len - CAUSE_MAX : was);
	e->sys = sys;
	return -1;
}

/* What may be where a store is yet to be: kata's containers, and a version half written. */
static bool is_of_a_new_store(const char *name)
{
	return str_eq(name, "containers") || str_eq(name, "lost+found") ||
	       str_starts(name, VERSION_FILE ".");
}

static int find_foreign(void *arg, const char *name, struct err *e)
{
	struct strv *found = arg;

	return found->n || is_of_a_new_store(name) ? 0 : strv_add(found, name, e);
}

/*
 * Our directories would stand beside what somebody else has there, or be somebody else's: what
 * is in tmp/, images/ and leases/ is removed by rules of ours.
 */
static int begin_store(struct store *s, struct err *e)
{
	OWN(strv) struct strv found = { 0 };
	char quoted[160];

	if (each_name(s->root_fd, find_foreign, &found, e) < 0)
		return -1;
	/* or another process has begun it in the meantime */
	if (found.n && faccessat(s->root_fd, VERSION_FILE, F_OK, AT_SYMLINK_NOFOLLOW) < 0)
		return err_set(
			e, ERR_UNSUPPORTED, 0,
			"image store '%s': it has no 'version' file, so this program did not "
			"make it, and is not empty ('%s'): use another directory",
			s->root,
			str_quote(found.v[0], strlen(found.v[0]), quoted, sizeof(quoted)));
	return found.n ? 0
		       : file_replace(s->root_fd, VERSION_FILE, version_text,
				      sizeof(version_text) - 1, 0644, true, e);
}

static bool has_version(int root_fd)
{
	return faccessat(root_fd, VERSION_FILE, F_OK, AT_SYMLINK_NOFOLLOW) == 0;
}

static int read_version(int root_fd, const char *root, struct err *e)
{
	char text[128], quoted[160];

	if (file_read_line(root_fd, VERSION_FILE, text, sizeof(text), e) < 0)
		return -1;
	if (strncmp(text, version_text, strlen(text)) != 0 ||
	    strlen(text) != sizeof(version_text) - 2)
		return err_set(
			e, ERR_UNSUPPORTED, 0,
			"image store '%s' was written by another version ('%s'; this one "
			"writes 'kata image store, format 1'): it is left untouched; use that "
			"version, move the store away or use another directory",
			root, str_quote(text, strlen(text), quoted, sizeof(quoted)));
	return 0;
}

static int check_version(struct store *s, struct err *e)
{
	if (!has_version(s->root_fd) && begin_store(s, e) < 0)
		return -1;
	return read_version(s->root_fd, s->root, e);
}

int store_check(const char *root, struct err *e)
{
	OWN(fd) int fd = open(root, O_PATH | O_DIRECTORY | O_CLOEXEC);

	/* whoever needs it says what is wrong with it */
	return fd < 0 || !has_version(fd) ? 0 : read_version(fd, root, e);
}

static int open_parts(struct store *s, struct err *e)
{
	const struct {
		const char *name;
		int *fd;
	} parts[] = {
		{ "images", &s->images_fd },
		{ "layers", &s->layers_fd },
		{ "leases", &s->leases_fd },
		{ "tmp", &s->tmp_fd },
	};

	for (size_t i = 0; i < ARRAY_LEN(parts); i++) {
		/* 0700: layers hold set-user-id programs, which are no business of the host's
		 * users */
		if (mkdirat(s->root_fd, parts[i].name, 0700) < 0 && errno != EEXIST)
			return err_sys(e, "make '%s/%s'", s->root, parts[i].name);
		if (open_dir(s->root_fd, parts[i].name, parts[i].fd, e) < 0)
			return -1;
	}
	return 0;
}

int store_open(const struct store_config *config, struct store **out, struct err *e)
{
	const char *root = config->root ? config->root : STORE_DEFAULT_ROOT;
	OWN(store) struct store *s = NULL;

	if (geteuid() != 0)
		return err_set(
			e, ERR_DENIED, EPERM,
			"image store '%s': only root can make the devices, owners and overlay "
			"marks that image layers consist of: run this as root",
			root);
	if (root[0] != '/')
		return err_set(e, ERR_INVALID, 0, "image store '%s': the path must be absolute",
			       root);
	s = mem_new(struct store);
	if (!s)
		return err_oom(e, "the image store");
	s->root_fd = s->images_fd = s->layers_fd = s->leases_fd = s->tmp_fd = s->stop_fd = -1;
	s->root = strdup(root);
	s->unpacker = config->unpacker ? strdup(config->unpacker) : NULL;
	if (!s->root || (config->unpacker && !s->unpacker))
		return err_oom(e, "the image store");
	path_clean(s->root);
	if (path_mkdirs(s->root, 0711, e) < 0)
		return -1;
	s->root_fd = open(s->root, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (s->root_fd < 0)
		return err_sys(e, "open the image store '%s'", s->root);
	if (check_version(s, e) < 0 || open_parts(s, e) < 0 || sweep_tmp(s, e) < 0)
		return store_explain(s, e);
	*out = TAKE(s);
	return 0;
}

void store_close(struct store *s)
{
	if (!s)
		return;
	fd_close(&s->root_fd);
	fd_close(&s->images_fd);
	fd_close(&s->layers_fd);
	fd_close(&s->leases_fd);
	fd_close(&s->tmp_fd);
	free(s->root);
	free(s->unpacker);
	free(s);
}

int store_lease(struct store *s, const char *container, const char *image_id, struct err *e)
{
	OWN(fd) int lock = -1;
	struct digest d;
	struct stat st;
	char hex[DIGEST_HEX_SIZE];

	if (path_check_id(container, 128, "container", e) < 0 ||
	    digest_parse(image_id, "image id", &d, e) < 0)
		return -1;
	digest_hex(&d, hex);
	if (store_lock(s, &lock, e) < 0)
		return -1;
	if (fstatat(s->images_fd, hex, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return err_set(e, ERR_NOT_FOUND, 0, "image '%s' is not in the store", image_id);
	if (fstatat(s->leases_fd, container, &st, AT_SYMLINK_NOFOLLOW) == 0)
		return err_set(e, ERR_EXISTS, 0, "container '%s' has an image already",
			       container);
	if (file_replace(s->leases_fd, container, hex, strlen(hex), 0600, true, e) < 0)
		return store_explain(s, e);
	return 0;
}

int store_unlease(struct store *s, const char *container, struct err *e)
{
	if (path_check_id(container, 128, "container", e) < 0)
		return -1;
	if (unlinkat(s->leases_fd, container, 0) < 0 && errno != ENOENT)
		return err_sys(e, "remove the lease of container '%s'", container);
	return 0;
}
