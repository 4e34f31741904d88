/* SPDX-License-Identifier: Apache-2.0 */
/* Loading: take the archive apart, unpack layers into the staging, make it all permanent. */
#include "image/load.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <mntent.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/fd.h"
#include "base/path.h"
#include "base/sys.h"
#include "base/time.h"
#include "image/layer.h"
#include "wire/json.h"

enum {
	DEFAULT_STALL_MS = 300000,
	HASH_BLOCK = 256 << 10
};

void load_report(struct load *l, enum load_phase phase, size_t index, size_t count,
		 uint64_t done, uint64_t total)
{
	l->progress.phase = phase;
	l->progress.index = index;
	l->progress.count = count;
	l->progress.done = done;
	l->progress.total = total;
	if (l->o->progress)
		l->o->progress(l->o->progress_arg, &l->progress);
}

static void on_progress(void *arg, uint64_t done)
{
	struct load *l = arg;

	l->progress.done = done;
	if (l->o->progress)
		l->o->progress(l->o->progress_arg, &l->progress);
}

/* Makes the directory `name` in `at` and unpacks `input` into it. */
static int unpack_into(struct load *l, int at, const char *name, int input, bool is_tree,
		       const char *what, bool need_end_mark, struct layer_result *out,
		       struct err *e)
{
	struct layer_job job = {
		.unpacker = l->s->unpacker,
		.input = input,
		.is_tree = is_tree,
		.what = what,
		.stall_ms = l->stall_ms,
		.stop_fd = l->s->stop_fd,
		.need_end_mark = need_end_mark,
		.progress = on_progress,
		.progress_arg = l,
	};
	OWN(fd) int target = -1;
	struct stat root;

	if (fstat(l->s->root_fd, &root) < 0)
		return err_sys(e, "stat the image store");
	job.skip_dev = root.st_dev;
	job.skip_ino = root.st_ino;
	if (store_free_bytes(l->s, &job.max_bytes, e) < 0)
		return -1;
	if (mkdirat(at, name, 0755) < 0)
		return err_sys(e, "make a work directory in the image store");
	target = openat(at, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (target < 0)
		return err_sys(e, "open a work directory in the image store");
	job.target = target;
	return layer_unpack(&job, out, e);
}

static bool has_layer(int at, const char *key)
{
	struct stat st;

	return fstatat(at, key, &st, AT_SYMLINK_NOFOLLOW) == 0;
}

static int open_layer(struct load *l, const char *key)
{
	int at = has_layer(l->layers_fd, key) ? l->layers_fd : l->s->layers_fd;

	return openat(at, key, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
}

/* 1: `path` is a directory there and its owner, mode and time were copied; 0: go on below. */
static int copy_from_lower(int layer, const char *path, int to, struct err *e)
{
	OWN(fd)
	int from = sys_openat2(layer, *path ? path : ".", O_PATH | O_CLOEXEC | O_NOFOLLOW, 0,
			       RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS);
	struct timespec times[2];
	struct stat st;

	if (from < 0) /* not here; a file or a link in the way ends the search */
		return errno == ENOENT ? 0 : 1;
	if (fstat(from, &st) < 0)
		return err_sys(e, "look at a directory of a lower layer");
	if (!S_ISDIR(st.st_mode))
		return 1;
	times[0] = st.st_atim;
	times[1] = st.st_mtim;
	if (fchown(to, st.st_uid, st.st_gid) < 0 || fchmod(to, st.st_mode & 07777) < 0 ||
	    futimens(to, times) < 0)
		return err_sys(e, "set the owner and mode of a directory");
	return 1;
}

/*
 * A directory that the layer names only as part of a path would otherwise hide the owner
 * and mode it has below (/tmp's sticky bit), since overlayfs takes them from the top.
 */
static int inherit_dirs(struct load *l, const struct strv *lower, const char *key,
			const struct strv *implied, struct err *e)
{
	OWN(fd) int mine = open_layer(l, key);

	for (size_t i = 0; i < implied->n; i++) {
		OWN(fd)
		int dir = sys_openat2(mine, *implied->v[i] ? implied->v[i] : ".",
				      O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0,
				      RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS);
		int rc = 0;

		if (dir < 0)
			continue;
		for (size_t n = lower->n; n-- > 0 && rc == 0;) {
			OWN(fd) int layer = open_layer(l, lower->v[n]);

			rc = layer < 0 ? err_sys(e, "open the layer '%s'", lower->v[n])
				       : copy_from_lower(layer, implied->v[i], dir, e);
		}
		if (rc < 0)
			return -1;
	}
	return 0;
}

static int write_size(struct load *l, const char *key, uint64_t bytes, struct err *e)
{
	OWN(free) char *name = str_printf("%s.size", key);
	char text[32];
	int n = snprintf(text, sizeof(text), "%llu\n", (unsigned long long)bytes);

	if (!name)
		return err_oom(e, "a layer");
	return file_replace(l->layers_fd, name, text, (size_t)n, 0600, false, e);
}

static int check_digest(const struct digest *want, const struct digest *got, const char *what,
			const char *kind, struct err *e)
{
	char w[DIGEST_TEXT_SIZE], g[DIGEST_TEXT_SIZE];

	if (digest_eq(want, got))
		return 0;
	digest_text(want, w);
	digest_text(got, g);
	return err_set(e, ERR_INVALID, 0,
		       "%s: the %s does not match: it is %s and should be %s", what, kind, g,
		       w);
}

/* Of a layer that is in the store already: a damaged archive is refused all the same. */
static int check_known(struct load *l, const struct found_layer *layer, const char *what,
		       struct err *e)
{
	OWN(hash) struct hash *h = NULL;
	OWN(free) char *block = mem_zalloc(HASH_BLOCK);
	OWN(fd) int fd = -1;
	struct digest got;
	uint64_t size;
	ssize_t n;

	if (!layer->blob)
		return 0;
	if (!block)
		return err_oom(e, "a layer's blob");
	if (load_open_file(l, layer->path, &fd, &size, e) < 0)
		return err_wrap(e, "%s", what);
	if (hash_new(&h, e) < 0)
		return -1;
	while ((n = read(fd, block, HASH_BLOCK)) > 0) {
		hash_update(h, block, (size_t)n);
		if (store_pause(l->s, 0, e) < 0)
			return -1;
	}
	if (n < 0)
		return err_sys(e, "%s", what);
	hash_final(h, &got);
	return check_digest(layer->blob, &got, what, "digest", e);
}

/* One layer of an image, unless it is in the store or the staging; `lower` are those below. */
static int stage_layer(struct load *l, const struct found_image *f, size_t i, const char *key,
		       const struct strv *lower, struct err *e)
{
	OWN(layer_result) struct layer_result r = { .bytes = 0 };
	const struct found_layer *layer = &f->layers[i];
	char what[300], image[100], path[160];
	OWN(fd) int fd = -1;
	uint64_t size = 0;

	if (store_pause(l->s, 0, e) < 0)
		return -1;
	(void)snprintf(what, sizeof(what), "%s: layer %zu of %zu (%s)",
		       str_quote(f->what, strlen(f->what), image, sizeof(image)), i + 1,
		       f->n_layers,
		       str_quote(layer->path, strlen(layer->path), path, sizeof(path)));
	if (has_layer(l->s->layers_fd, key) || has_layer(l->layers_fd, key)) {
		load_report(l, LOAD_LAYER, i + 1, f->n_layers, 1, 1);
		return check_known(l, layer, what, e);
	}
	if (load_open_file(l, layer->path, &fd, &size, e) < 0)
		return err_wrap(e, "%s", what);
	load_report(l, LOAD_LAYER, i + 1, f->n_layers, 0, size);
	if (unpack_into(l, l->layers_fd, key, fd, false, what, false, &r, e) < 0)
		return -1;
	if (layer->blob && check_digest(layer->blob, &r.blob, what, "digest", e) < 0)
		return -1;
	if (check_digest(&f->config.diff_ids[i], &r.diff, what, "digest of its contents", e) <
	    0)
		return -1;
	if (inherit_dirs(l, lower, key, &r.implied, e) < 0)
		return -1;
	return write_size(l, key, r.bytes, e);
}

static int write_record(struct load *l, const struct found_image *f, int dir, struct err *e)
{
	OWN(jval) struct jval *doc = jval_new_object();
	OWN(buf) struct buf text = BUF_INIT;

	if (!doc)
		return err_oom(e, "an image's record");
	if (f->manifest && jval_set_str(doc, "manifest", f->manifest, e) < 0)
		return -1;
	if (jval_set_int(doc, "loaded", time_wall_ns(), e) < 0 ||
	    jval_print(doc, true, &text, e) < 0)
		return -1;
	return file_replace(dir, "record.json", buf_head(&text), buf_len(&text), 0600, false,
			    e);
}

/* The image's own directory in the staging; an image met twice in an archive is one. */
static int stage_record(struct load *l, const struct found_image *f, const char *hex,
			struct err *e)
{
	OWN(fd) int dir = -1;

	if (mkdirat(l->images_fd, hex, 0700) < 0) {
		if (errno == EEXIST)
			return 0;
		return err_sys(e, "make the image's directory");
	}
	dir = openat(l->images_fd, hex, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (dir < 0)
		return err_sys(e, "open the image's directory");
	if (file_replace(dir, "config.json", f->config_text, f->config_len, 0600, false, e) < 0)
		return -1;
	return write_record(l, f, dir, e);
}

static int add_pending(struct load *l, const char *hex, struct found_image *f,
		       struct strv *keys, struct err *e)
{
	struct pending_image *grown = mem_resize(l->images, l->n_images + 1, sizeof(*grown));

	if (!grown)
		return err_oom(e, "the list of images");
	l->images = grown;
	grown[l->n_images] = (struct pending_image){ .refs = f->refs, .keys = *keys };
	memcpy(grown[l->n_images].hex, hex, DIGEST_HEX_SIZE);
	l->n_images++;
	f->refs = (struct strv){ .n = 0 };
	*keys = (struct strv){ .n = 0 };
	return 0;
}

int load_stage_image(struct load *l, struct found_image *f, struct err *e)
{
	OWN(strv) struct strv keys = { .n = 0 };
	char hex[DIGEST_HEX_SIZE];
	struct digest chain;

	l->progress.image = f->what;
	for (size_t i = 0; i < f->n_layers; i++) {
		char key[LAYER_KEY_LEN + 1];

		digest_chain(i ? &chain : NULL, &f->config.diff_ids[i], &chain);
		layer_key(&chain, key);
		if (stage_layer(l, f, i, key, &keys, e) < 0 || strv_add(&keys, key, e) < 0)
			return -1;
	}
	l->progress.image = "";
	digest_hex(&f->id, hex);
	if (stage_record(l, f, hex, e) < 0)
		return -1;
	return add_pending(l, hex, f, &keys, e);
}

/* The configuration of an image that is nothing but a tree; the same tree gives the same id. */
static int rootfs_config(const struct digest *diff, struct buf *out, struct err *e)
{
	OWN(jval) struct jval *doc = jval_new_object();
	struct jval *rootfs = jval_new_object(), *ids = jval_new_array();
	char text[DIGEST_TEXT_SIZE];

	digest_text(diff, text);
	if (!doc)
		return err_oom(e, "an image configuration");
	/* every member is handed over at once, so that none is lost when one fails */
	if (jval_set(doc, "rootfs", rootfs, e) < 0) {
		jval_free(ids);
		return -1;
	}
	if (jval_set(rootfs, "diff_ids", ids, e) < 0 ||
	    jval_set_str(rootfs, "type", "layers", e) < 0 ||
	    jval_push(ids, jval_new_str(text), e) < 0 ||
	    jval_set_str(doc, "architecture", manifest_host_arch(), e) < 0 ||
	    jval_set_str(doc, "os", "linux", e) < 0 ||
	    jval_set(doc, "config", jval_new_object(), e) < 0)
		return -1;
	return jval_print(doc, false, out, e);
}

/* File systems that are mounted below a directory; the packer does not see them. */
static uint64_t mounts_below(int dir)
{
	char link[32], path[PATH_MAX + 1];
	const struct mntent *m;
	uint64_t found = 0;
	FILE *mounts;
	ssize_t len;

	(void)snprintf(link, sizeof(link), "/proc/self/fd/%d", dir);
	len = readlink(link, path, sizeof(path) - 1);
	mounts = setmntent("/proc/self/mounts", "re");
	if (len > 0 && mounts) {
		path[len] = '\0';
		if (len == 1) /* "/" */
			len = 0;
		while ((m = getmntent(mounts)))
			found += strncmp(m->mnt_dir, path, (size_t)len) == 0 &&
				 m->mnt_dir[len] == '/' && m->mnt_dir[len + 1];
	}
	if (mounts)
		(void)endmntent(mounts);
	return found;
}

/* Moves what was unpacked, or copies the tree given, to its place as the only layer. */
static int stage_tree(struct load *l, struct digest *diff, char key[LAYER_KEY_LEN + 1],
		      struct err *e)
{
	OWN(layer_result)
	struct layer_result r = { .diff = l->src_diff, .bytes = l->src_bytes };
	const char *from = "archive";

	if (!l->src_is_spool) {
		load_report(l, LOAD_LAYER, 1, 1, 0, 0);
		if (unpack_into(l, l->st.fd, "tree", l->src, true, "the directory", true, &r,
				e) < 0)
			return -1;
		l->left_out = r.left_out;
		l->left_mounts = mounts_below(l->src);
		from = "tree";
	}
	*diff = r.diff;
	layer_key(&r.diff, key);
	if (has_layer(l->s->layers_fd, key))
		return 0;
	if (renameat(l->st.fd, from, l->layers_fd, key) < 0)
		return err_sys(e, "move the layer to its place");
	return write_size(l, key, r.bytes, e);
}

/* Such as a download that never came makes of a file: zeroes are the end of a tar. */
static bool is_empty_dir(int fd)
{
	int own = openat(fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *dir = own < 0 ? NULL : fdopendir(own);
	int n = 0;

	while (dir && n <= 2 && readdir(dir))
		n++;
	if (dir)
		(void)closedir(dir);
	else
		fd_close(&own);
	return dir && n <= 2;
}

int load_stage_rootfs(struct load *l, struct err *e)
{
	struct found_image f = { .what = l->name };
	OWN(buf) struct buf text = BUF_INIT;
	OWN(strv) struct strv keys = { .n = 0 };
	char key[LAYER_KEY_LEN + 1], hex[DIGEST_HEX_SIZE];
	struct digest diff;
	int rc = -1;

	if (is_empty_dir(l->src))
		return err_set(e, ERR_INVALID, 0, "there is no file in it");
	l->progress.image = l->name;
	if (stage_tree(l, &diff, key, e) < 0 || rootfs_config(&diff, &text, e) < 0 ||
	    strv_add(&keys, key, e) < 0)
		return -1;
	f.config_text = (const char *)buf_head(&text);
	f.config_len = buf_len(&text);
	digest_of(f.config_text, f.config_len, &f.id);
	digest_hex(&f.id, hex);
	if (strv_add(&f.refs, l->name, e) == 0 && stage_record(l, &f, hex, e) == 0)
		rc = add_pending(l, hex, &f, &keys, e);
	strv_fini(&f.refs);
	return rc;
}

/* No image archive has these; a root file system may well have a manifest.json. */
static bool looks_like_rootfs(struct load *l)
{
	static const char *const dirs[] = { "bin", "etc", "lib", "sbin", "usr" };
	struct stat st;

	for (size_t i = 0; i < ARRAY_LEN(dirs); i++) {
		if (fstatat(l->src, dirs[i], &st, AT_SYMLINK_NOFOLLOW) == 0)
			return true;
	}
	return false;
}

static bool is_docker(struct load *l)
{
	return load_has_file(l, "manifest.json") && !looks_like_rootfs(l);
}

static bool is_oci(struct load *l)
{
	return load_has_file(l, "oci-layout") && load_has_file(l, "index.json");
}

static bool is_rootfs(struct load *l)
{
	return l->name[0] != '\0';
}

/* In this order: what `docker save` writes today is both of the first two. */
static const struct archive_kind {
	bool (*detect)(struct load *l);
	int (*load)(struct load *l, struct err *e);
} kinds[] = {
	{ is_docker, load_docker },
	{ is_oci, load_oci },
	{ is_rootfs, load_stage_rootfs },
};

static bool is_same(const struct stat *a, const struct stat *b)
{
	return a->st_dev == b->st_dev && a->st_ino == b->st_ino;
}

/* Whether a directory is `dir`, or below it. -1: nobody knows. */
static int is_in(int fd, const struct stat *dir, struct err *e)
{
	OWN(fd) int at = openat(fd, ".", O_PATH | O_DIRECTORY | O_CLOEXEC);
	struct stat here = { 0 }, below;

	do {
		int up;

		below = here;
		if (at < 0 || fstat(at, &here) < 0)
			return err_sys(e, "look at the directories above it");
		if (is_same(&here, dir))
			return 1;
		up = openat(at, "..", O_PATH | O_DIRECTORY | O_CLOEXEC);
		fd_close(&at);
		at = up;
	} while (!is_same(&here, &below)); /* the root's parent is itself */
	return 0;
}

/* Where it is unpacked into is no source: that would go on for ever. */
static int check_source(struct load *l, const struct stat *src, struct err *e)
{
	struct stat root, tmp;
	int inside;

	if (fstat(l->s->root_fd, &root) < 0 || fstat(l->s->tmp_fd, &tmp) < 0)
		return err_sys(e, "stat the image store");
	inside = is_in(l->src, &tmp, e);
	if (inside < 0)
		return -1;
	return inside || is_same(src, &root)
		       ? err_set(e, ERR_INVALID, 0,
				 "this is the image store's own directory ('%s')", l->s->root)
		       : 0;
}

static int take_source(struct load *l, int fd, struct err *e)
{
	OWN(layer_result) struct layer_result r = { .bytes = 0 };
	struct stat st;

	if (fstat(fd, &st) < 0)
		return err_sys(e, "stat the archive");
	if (S_ISDIR(st.st_mode)) {
		l->src = fcntl(fd, F_DUPFD_CLOEXEC, 0);
		return l->src < 0 ? err_sys(e, "open the directory") : check_source(l, &st, e);
	}
	load_report(l, LOAD_READING, 0, 0, 0, S_ISREG(st.st_mode) ? (uint64_t)st.st_size : 0);
	if (unpack_into(l, l->st.fd, "archive", fd, false, "the archive", true, &r, e) < 0)
		return -1;
	l->src_is_spool = true;
	l->src_diff = r.diff;
	l->src_bytes = r.bytes;
	l->src = openat(l->st.fd, "archive", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return l->src < 0 ? err_sys(e, "open the archive's files") : 0;
}

static int load_images(struct load *l, struct err *e)
{
	for (size_t i = 0; i < ARRAY_LEN(kinds); i++) {
		if (kinds[i].detect(l))
			return kinds[i].load(l, e);
	}
	return err_set(
		e, ERR_INVALID, 0,
		"this is neither a docker-archive (manifest.json) nor an OCI layout "
		"(oci-layout "
		"and index.json); if it is a plain root file system, give it a name (--name)");
}

/*
 * What is there has the same digest and may be damaged all the same: it was named to be removed
 * and loaded again. A file system that cannot exchange two names keeps it.
 */
static int replace_image(struct load *l, struct pending_image *p, struct err *e)
{
	if (renameat2(l->images_fd, p->hex, l->s->images_fd, p->hex, RENAME_EXCHANGE) == 0)
		return 0;
	return errno == EINVAL ? 0 : err_sys(e, "replace the image '%s'", p->hex);
}

/* Layers first, then the image: what is visible is complete. */
static int commit_image(struct load *l, struct pending_image *p, struct err *e)
{
	for (size_t i = 0; i < p->keys.n; i++) {
		const char *key = p->keys.v[i];
		OWN(free) char *size = str_printf("%s.size", key);

		if (has_layer(l->s->layers_fd, key)) /* another load was faster */
			continue;
		if (!size)
			return err_oom(e, "a layer");
		if (renameat(l->layers_fd, size, l->s->layers_fd, size) < 0 ||
		    renameat(l->layers_fd, key, l->s->layers_fd, key) < 0)
			return err_sys(e, "move the layer '%s' to its place", key);
	}
	if (!has_layer(l->images_fd, p->hex)) /* twice in this archive */
		return 0;
	if (has_layer(l->s->images_fd, p->hex))
		return replace_image(l, p, e);
	if (renameat(l->images_fd, p->hex, l->s->images_fd, p->hex) < 0)
		return err_sys(e, "move the image '%s' to its place", p->hex);
	p->moved = true;
	return 0;
}

static int commit_all(struct load *l, struct err *e)
{
	OWN(ref_table) struct ref_table refs = { .n = 0 };

	for (size_t i = 0; i < l->n_images; i++) {
		if (commit_image(l, &l->images[i], e) < 0)
			return -1;
	}
	if (ref_table_read(l->s, &refs, e) < 0)
		return -1;
	for (size_t i = 0; i < l->n_images; i++) {
		for (size_t r = 0; r < l->images[i].refs.n; r++) {
			if (ref_table_set(&refs, l->images[i].refs.v[r], l->images[i].hex, e) <
			    0)
				return -1;
		}
	}
	return ref_table_write(l->s, &refs, e);
}

static int commit(struct load *l, struct err *e)
{
	OWN(fd) int lock = -1;

	load_report(l, LOAD_STORING, 0, 0, 0, 0);
	/* the contents are on disk before anything names them */
	if (syncfs(l->st.fd) < 0)
		return err_sys(e, "write the image store to disk");
	if (store_lock(l->s, &lock, e) < 0 || store_pause(l->s, 0, e) < 0)
		return -1;
	if (commit_all(l, e) == 0)
		return 0;
	for (size_t i = 0; i < l->n_images; i++) {
		if (l->images[i].moved)
			(void)renameat(l->s->images_fd, l->images[i].hex, l->images_fd,
				       l->images[i].hex);
	}
	return -1;
}

static int make_result(struct load *l, struct load_result *out, struct err *e)
{
	OWN(load_result)
	struct load_result r = {
		.left_mounts = l->left_mounts,
		.left_sockets = l->left_out.sockets,
		.left_store = l->left_out.skipped,
	};

	r.images = mem_calloc(l->n_images, sizeof(*r.images));
	if (!r.images)
		return err_oom(e, "the list of images");
	for (; r.n < l->n_images; r.n++) {
		struct pending_image *p = &l->images[r.n];

		(void)snprintf(r.images[r.n].id, sizeof(r.images[r.n].id), "sha256:%s", p->hex);
		r.images[r.n].refs = p->refs;
		p->refs = (struct strv){ .n = 0 };
	}
	*out = r;
	r = (struct load_result){ .n = 0 };
	return 0;
}

static int make_part(struct load *l, const char *name, int *out, struct err *e)
{
	if (mkdirat(l->st.fd, name, 0700) < 0)
		return err_sys(e, "make a work directory in the image store");
	*out = openat(l->st.fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	return *out < 0 ? err_sys(e, "open a work directory in the image store") : 0;
}

static int run(struct load *l, int fd, struct load_result *out, struct err *e)
{
	if (store_lock_loads(l->s, &l->loads_lock, e) < 0 ||
	    staging_open(l->s, &l->st, e) < 0 || make_part(l, "layers", &l->layers_fd, e) < 0 ||
	    make_part(l, "images", &l->images_fd, e) < 0 || take_source(l, fd, e) < 0 ||
	    load_images(l, e) < 0 || commit(l, e) < 0)
		return -1;
	return make_result(l, out, e);
}

static void finish(struct load *l)
{
	struct err ignored;

	fd_close(&l->src);
	fd_close(&l->layers_fd);
	fd_close(&l->images_fd);
	staging_close(&l->st);
	fd_close(&l->loads_lock);
	for (size_t i = 0; i < l->n_images; i++) {
		strv_fini(&l->images[i].refs);
		strv_fini(&l->images[i].keys);
	}
	free(l->images);
	/* what others removed meanwhile; it can wait for the next one if it fails now */
	(void)store_sweep_layers(l->s, &ignored);
}

int store_load(struct store *s, int fd, const struct load_options *options,
	       struct load_result *out, struct err *e)
{
	struct load l = {
		.s = s, .o = options, .st = { .fd = -1 }, .progress = { .image = "" }
	};
	int rc;

	if (!s->unpacker)
		return err_set(e, ERR_STATE, 0,
			       "the image store was opened without its unpacker");
	if (options->name && reference_tagged_text(options->name, l.name, e) < 0)
		return -1;
	l.stall_ms = options->stall_ms > 0 ? options->stall_ms : DEFAULT_STALL_MS;
	l.src = l.layers_fd = l.images_fd = l.loads_lock = -1;
	rc = run(&l, fd, out, e);
	if (rc < 0)
		(void)store_explain(s, e); /* before the room is given back */
	finish(&l);
	return rc;
}

int store_load_path(struct store *s, const char *path, const struct load_options *options,
		    struct load_result *out, struct err *e)
{
	OWN(fd) int fd = -1;

	if (strcmp(path, "-") == 0)
		return store_load(s, STDIN_FILENO, options, out, e);
	/* a fifo that nobody writes to: reading has a deadline, opening has none */
	fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
	if (fd < 0)
		return err_set(e, errno == ENOENT ? ERR_NOT_FOUND : ERR_SYS, errno, "open '%s'",
			       path);
	if (fd_set_nonblock(fd, false, e) < 0)
		return -1;
	if (store_load(s, fd, options, out, e) < 0)
		return err_wrap(e, "%s", path);
	return 0;
}

void load_result_fini(struct load_result *r)
{
	for (size_t i = 0; i < r->n; i++)
		strv_fini(&r->images[i].refs);
	free(r->images);
}
