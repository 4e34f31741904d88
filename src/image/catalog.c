/* SPDX-License-Identifier: Apache-2.0 */
/* The images of the store: reading, finding, listing, removing. Loading is elsewhere. */
#include "image/store_internal.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/fd.h"
#include "base/path.h"
#include "image/reference.h"
#include "wire/json.h"

#define REFS_FILE "refs.json"
#define REFS_DAMAGED                                                                           \
	"images/" REFS_FILE " is damaged; remove it, and load the images whose names it had"
enum {
	REFS_MAX_BYTES = 16 << 20,
	RECORD_MAX_BYTES = 64 << 10,
	IMAGE_ARENA = 32 << 20
};

void ref_table_fini(struct ref_table *t)
{
	for (size_t i = 0; i < t->n; i++)
		free(t->v[i].text);
	free(t->v);
	*t = (struct ref_table){ .n = 0 };
}

void ref_table_drop(struct ref_table *t, size_t i)
{
	free(t->v[i].text);
	memmove(&t->v[i], &t->v[i + 1], (t->n - i - 1) * sizeof(*t->v));
	t->n--;
}

int ref_table_set(struct ref_table *t, const char *text, const char *id, struct err *e)
{
	struct ref_entry *grown;
	size_t at = 0;
	char *copy;

	while (at < t->n && strcmp(t->v[at].text, text) < 0)
		at++;
	if (at == t->n || strcmp(t->v[at].text, text) != 0) {
		grown = mem_resize(t->v, t->n + 1, sizeof(*grown));
		if (!grown)
			return err_oom(e, "the list of references");
		t->v = grown;
		copy = strdup(text);
		if (!copy)
			return err_oom(e, "the list of references");
		memmove(&t->v[at + 1], &t->v[at], (t->n - at) * sizeof(*t->v));
		t->v[at].text = copy;
		t->n++;
	}
	memcpy(t->v[at].id, id, DIGEST_HEX_SIZE);
	return 0;
}

struct ref_visit {
	struct store *s;
	struct ref_table *t;
	struct err *e;
};

static int refs_damaged(const struct store *s, struct err *e)
{
	return err_set(e, ERR_INVALID, 0, "image store '%s': " REFS_DAMAGED, s->root);
}

static int visit_ref(const char *text, struct jval *v, void *arg)
{
	struct ref_visit *r = arg;
	const char *id = jval_str(v);
	struct digest d;
	struct stat st;

	if (!id || !digest_from_hex(id, strlen(id), &d))
		return refs_damaged(r->s, r->e);
	/* an image is removed before its references would be: those point nowhere then */
	if (fstatat(r->s->images_fd, id, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return 0;
	return ref_table_set(r->t, text, id, r->e);
}

int ref_table_read(struct store *s, struct ref_table *out, struct err *e)
{
	OWN(ref_table) struct ref_table t = { .n = 0 };
	OWN(jval) struct jval *doc = NULL;
	struct ref_visit r = { .s = s, .t = &t, .e = e };

	if (faccessat(s->images_fd, REFS_FILE, F_OK, 0) < 0 && errno == ENOENT) {
		*out = t;
		return 0;
	}
	if (jval_read_file(s->images_fd, REFS_FILE, REFS_MAX_BYTES, &doc, e) < 0)
		return e->kind == ERR_INVALID
			       ? err_wrap(e, "image store '%s': " REFS_DAMAGED, s->root)
			       : err_wrap(e, "image store '%s'", s->root);
	if (jval_type(doc) != JVAL_OBJECT)
		return refs_damaged(s, e);
	if (jval_each(doc, visit_ref, &r) != 0)
		return -1;
	*out = t;
	t = (struct ref_table){ .n = 0 };
	return 0;
}

int ref_table_write(struct store *s, const struct ref_table *t, struct err *e)
{
	OWN(jval) struct jval *doc = jval_new_object();
	OWN(buf) struct buf text = BUF_INIT;

	if (!doc)
		return err_oom(e, "the list of references");
	for (size_t i = 0; i < t->n; i++) {
		if (jval_set_str(doc, t->v[i].text, t->v[i].id, e) < 0)
			return -1;
	}
	if (jval_print(doc, true, &text, e) < 0)
		return -1;
	if (buf_len(&text) > REFS_MAX_BYTES)
		return err_set(e, ERR_NO_MEMORY, 0, "image store '%s': too many references",
			       s->root);
	if (file_replace(s->images_fd, REFS_FILE, buf_head(&text), buf_len(&text), 0600, true,
			 e) < 0)
		return store_explain(s, e);
	return 0;
}

int catalog_ids(struct store *s, struct strv *out, struct err *e)
{
	OWN(strv) struct strv ids = { .n = 0 };
	OWN(fd) int fd = openat(s->images_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *dir = fd < 0 ? NULL : fdopendir(fd);
	struct dirent *ent;
	struct digest d;
	int rc = 0;

	if (!dir)
		return err_sys(e, "read the list of images");
	fd = -1;
	while (rc == 0 && (ent = readdir(dir))) {
		if (digest_from_hex(ent->d_name, strlen(ent->d_name), &d))
			rc = strv_add(&ids, ent->d_name, e);
	}
	(void)closedir(dir);
	if (rc < 0)
		return -1;
	*out = ids;
	ids = (struct strv){ .n = 0 };
	return 0;
}

void layer_key(const struct digest *chain, char out[LAYER_KEY_LEN + 1])
{
	char hex[DIGEST_HEX_SIZE];

	digest_hex(chain, hex);
	memcpy(out, hex, LAYER_KEY_LEN);
	out[LAYER_KEY_LEN] = '\0';
}

static int read_layers(struct store *s, struct image *image, struct err *e)
{
	const struct image_config *c = &image->config;
	struct digest chain;

	image->layers.v =
		arena_calloc(&image->arena, c->n_diff_ids + 1, sizeof(*image->layers.v));
	if (!image->layers.v)
		return err_oom(e, "an image");
	for (size_t i = 0; i < c->n_diff_ids; i++) {
		char key[LAYER_KEY_LEN + 1];

		digest_chain(i ? &chain : NULL, &c->diff_ids[i], &chain);
		layer_key(&chain, key);
		image->layers.v[i] = arena_printf(&image->arena, "%s/layers/%s", s->root, key);
		if (!image->layers.v[i])
			return err_oom(e, "an image");
	}
	image->layers.n = c->n_diff_ids;
	return 0;
}

/* Sums the sizes of the layers; one of them missing is damage that must not go unnoticed. */
static int read_sizes(struct store *s, struct image *image, struct err *e)
{
	for (size_t i = 0; i < image->layers.n; i++) {
		const char *key = strrchr(image->layers.v[i], '/') + 1;
		OWN(free) char *name = str_printf("%s.size", key);
		struct err ignored;
		char text[32];
		struct stat st;
		uint64_t size;

		if (!name)
			return err_oom(e, "an image");
		if (fstatat(s->layers_fd, key, &st, AT_SYMLINK_NOFOLLOW) < 0)
			return err_set(e, ERR_NOT_FOUND, 0,
				       "image '%s': its layer '%s' is missing; remove and load "
				       "it again",
				       image->id, image->layers.v[i]);
		/* only a number for people: without it the image is still good */
		if (file_read_line(s->layers_fd, name, text, sizeof(text), &ignored) == 0 &&
		    str_to_u64(text, 0, UINT64_MAX / MANIFEST_MAX_LAYERS, "size", &size,
			       &ignored) == 0)
			image->size += size;
	}
	return 0;
}

static int read_record(struct store *s, int dir, struct image *image, struct err *e)
{
	OWN(jval) struct jval *doc = NULL;
	const char *manifest;

	if (jval_read_file(dir, "record.json", RECORD_MAX_BYTES, &doc, e) < 0)
		return -1;
	manifest = jval_str(jval_get(doc, "manifest"));
	if (!jval_int(jval_get(doc, "loaded"), &image->loaded_ns) ||
	    (manifest && strlen(manifest) >= sizeof(image->manifest)))
		return err_set(e, ERR_INVALID, 0, "record.json is damaged");
	if (manifest)
		memcpy(image->manifest, manifest, strlen(manifest) + 1);
	return 0;
}

static int read_refs(const char *hex, const struct ref_table *refs, struct image *image,
		     struct err *e)
{
	image->refs.v = arena_calloc(&image->arena, refs->n + 1, sizeof(*image->refs.v));
	if (!image->refs.v)
		return err_oom(e, "an image");
	for (size_t i = 0; i < refs->n; i++) {
		if (strcmp(refs->v[i].id, hex) != 0)
			continue;
		image->refs.v[image->refs.n] = arena_strdup(&image->arena, refs->v[i].text);
		if (!image->refs.v[image->refs.n++])
			return err_oom(e, "an image");
	}
	return 0;
}

int catalog_read(struct store *s, const char *hex, const struct ref_table *refs,
		 struct image **out, struct err *e)
{
	OWN(image) struct image *image = mem_new(struct image);
	OWN(free) char *text = NULL;
	OWN(fd) int dir = -1;
	struct digest want, got;
	size_t len;

	if (!image || !digest_from_hex(hex, strlen(hex), &want))
		return err_oom(e, "an image");
	arena_init(&image->arena, IMAGE_ARENA);
	digest_text(&want, image->id);
	dir = openat(s->images_fd, hex, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (dir < 0)
		return err_set(e, errno == ENOENT ? ERR_NOT_FOUND : ERR_SYS, errno,
			       "image '%s'", image->id);
	if (file_read(dir, "config.json", MANIFEST_MAX_BYTES, &text, &len, e) < 0)
		return err_wrap(e, "image '%s'", image->id);
	digest_of(text, len, &got);
	if (!digest_eq(&got, &want))
		return err_set(e, ERR_INVALID, 0,
			       "image '%s': its configuration in the store is damaged; remove "
			       "and load "
			       "it again",
			       image->id);
	if (manifest_parse_config(&image->arena, text, len, image->id, &image->config, e) < 0)
		return -1;
	if (read_record(s, dir, image, e) < 0)
		return err_wrap(e, "image '%s'", image->id);
	if (read_layers(s, image, e) < 0 || read_refs(hex, refs, image, e) < 0)
		return -1;
	*out = TAKE(image);
	return 0;
}

void image_free(struct image *image)
{
	if (!image)
		return;
	arena_fini(&image->arena);
	free(image);
}

static int not_found(const char *name, struct err *e)
{
	char quoted[160];

	return err_set(
		e, ERR_NOT_FOUND, 0,
		"image '%s' is not in the store: `kata images` lists what is, `kata load` adds to it",
		str_quote(name, strlen(name), quoted, sizeof(quoted)));
}

/* "name@sha256:…": the image that came with this manifest and has a tag of this name. */
static int resolve_digest(struct store *s, const struct reference *r,
			  const struct ref_table *refs, char hex[DIGEST_HEX_SIZE],
			  struct err *e)
{
	size_t len = strlen(r->repository);

	for (size_t i = 0; i < refs->n; i++) {
		OWN(image) struct image *image = NULL;

		if (strncmp(refs->v[i].text, r->repository, len) != 0 ||
		    (refs->v[i].text[len] != ':' && refs->v[i].text[len] != '@'))
			continue;
		if (catalog_read(s, refs->v[i].id, refs, &image, e) < 0)
			return -1;
		if (strcmp(image->manifest, r->digest) == 0) {
			memcpy(hex, refs->v[i].id, DIGEST_HEX_SIZE);
			return 1;
		}
	}
	return 0;
}

static int resolve_prefix(struct store *s, const char *name, const char *prefix,
			  char hex[DIGEST_HEX_SIZE], struct err *e)
{
	OWN(strv) struct strv ids = { .n = 0 };
	const char *found = NULL;

	if (catalog_ids(s, &ids, e) < 0)
		return -1;
	for (size_t i = 0; i < ids.n; i++) {
		if (!str_starts(ids.v[i], prefix))
			continue;
		if (found)
			return err_set(
				e, ERR_INVALID, 0,
				"image id '%s' is ambiguous (%.12s…, %.12s…): give more of it",
				name, found, ids.v[i]);
		found = ids.v[i];
	}
	if (!found)
		return not_found(name, e);
	memcpy(hex, found, DIGEST_HEX_SIZE);
	return 0;
}

int catalog_resolve(struct store *s, const char *name, const struct ref_table *refs,
		    char hex[DIGEST_HEX_SIZE], bool *by_ref, struct err *e)
{
	const char *prefix = NULL;
	bool is_id = reference_is_id_prefix(name, &prefix);
	char text[REF_TEXT_SIZE];
	struct reference r;

	*by_ref = false;
	if (is_id && (prefix != name || strlen(prefix) == 64))
		return resolve_prefix(s, name, prefix, hex, e);
	if (reference_parse(name, &r, e) < 0)
		return -1;
	reference_text(&r, text);
	for (size_t i = 0; i < refs->n; i++) {
		if (strcmp(refs->v[i].text, text) == 0) {
			memcpy(hex, refs->v[i].id, DIGEST_HEX_SIZE);
			*by_ref = true;
			return 0;
		}
	}
	if (r.digest[0]) {
		int rc = resolve_digest(s, &r, refs, hex, e);

		if (rc != 0)
			return rc < 0 ? -1 : 0;
	}
	return is_id ? resolve_prefix(s, name, prefix, hex, e) : not_found(name, e);
}

int store_find(struct store *s, const char *name, struct image **out, struct err *e)
{
	OWN(ref_table) struct ref_table refs = { .n = 0 };
	OWN(image) struct image *image = NULL;
	OWN(fd) int lock = -1;
	char hex[DIGEST_HEX_SIZE];
	bool by_ref;

	if (store_lock(s, &lock, e) < 0 || ref_table_read(s, &refs, e) < 0 ||
	    catalog_resolve(s, name, &refs, hex, &by_ref, e) < 0 ||
	    catalog_read(s, hex, &refs, &image, e) < 0 || read_sizes(s, image, e) < 0)
		return -1;
	*out = TAKE(image);
	return 0;
}

static int newer_first(const void *a, const void *b)
{
	const struct image *const *x = a, *const *y = b;

	if ((*x)->loaded_ns != (*y)->loaded_ns)
		return (*x)->loaded_ns < (*y)->loaded_ns ? 1 : -1;
	return strcmp((*x)->id, (*y)->id);
}

static int read_all(struct store *s, struct image ***out, size_t *n_out, struct err *e)
{
	OWN(ref_table) struct ref_table refs = { .n = 0 };
	OWN(strv) struct strv ids = { .n = 0 };
	OWN(fd) int lock = -1;
	struct image **images;
	int rc = 0;

	if (store_lock(s, &lock, e) < 0 || ref_table_read(s, &refs, e) < 0 ||
	    catalog_ids(s, &ids, e) < 0)
		return -1;
	images = mem_calloc(ids.n + 1, sizeof(struct image *));
	if (!images)
		return err_oom(e, "the list of images");
	*out = images; /* owned by the caller from here on, filled as far as *n_out says */
	*n_out = 0;
	for (size_t i = 0; i < ids.n; i++) {
		struct image *image = NULL;

		/* one that is damaged hides no other; the last of them is told */
		if (catalog_read(s, ids.v[i], &refs, &image, e) < 0 ||
		    read_sizes(s, image, e) < 0) {
			image_free(image);
			rc = err_wrap(e, "image '%.12s'", ids.v[i]);
			continue;
		}
		images[(*n_out)++] = image;
	}
	return rc;
}

int store_list(struct store *s, int (*each)(void *arg, const struct image *image), void *arg,
	       struct err *e)
{
	struct image **images = NULL;
	size_t n = 0;
	int stop = 0, rc = read_all(s, &images, &n, e);

	if (n)
		qsort(images, n, sizeof(struct image *), newer_first);
	for (size_t i = 0; i < n && stop == 0; i++)
		stop = each(arg, images[i]);
	for (size_t i = 0; i < n; i++)
		image_free(images[i]);
	free(images);
	return stop ? stop : rc;
}

/* The name of a container that leases the image, or "" in `out`. */
static int find_lease(struct store *s, const char *hex, char out[NAME_MAX + 1], struct err *e)
{
	OWN(fd) int fd = openat(s->leases_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *dir = fd < 0 ? NULL : fdopendir(fd);
	char text[DIGEST_HEX_SIZE + 1];
	struct dirent *ent;
	struct err ignored;

	if (!dir)
		return err_sys(e, "read the leases of the image store");
	fd = -1;
	out[0] = '\0';
	while (!out[0] && (ent = readdir(dir))) {
		if (ent->d_name[0] == '.' || str_ends(ent->d_name, ".tmp") ||
		    file_read_line(s->leases_fd, ent->d_name, text, sizeof(text), &ignored) < 0)
			continue;
		if (strcmp(text, hex) == 0)
			(void)snprintf(out, NAME_MAX + 1, "%s", ent->d_name);
	}
	(void)closedir(dir);
	return 0;
}

/* Drops the references in question from the table; returns how many others the image has. */
static int drop_refs(struct ref_table *refs, const char *hex, const char *only,
		     struct strv *untagged, size_t *left, struct err *e)
{
	*left = 0;
	for (size_t i = refs->n; i-- > 0;) {
		if (strcmp(refs->v[i].id, hex) != 0)
			continue;
		if (only && strcmp(refs->v[i].text, only) != 0) {
			(*left)++;
			continue;
		}
		if (strv_add(untagged, refs->v[i].text, e) < 0)
			return -1;
		ref_table_drop(refs, i);
	}
	return 0;
}

static int remove_locked(struct store *s, const char *name, bool force, struct staging *st,
			 struct remove_result *r, struct err *e)
{
	OWN(ref_table) struct ref_table refs = { .n = 0 };
	char hex[DIGEST_HEX_SIZE], holder[NAME_MAX + 1], canonical[REF_TEXT_SIZE] = "";
	struct reference ref;
	bool by_ref;
	size_t left;

	if (ref_table_read(s, &refs, e) < 0 ||
	    catalog_resolve(s, name, &refs, hex, &by_ref, e) < 0)
		return -1;
	(void)snprintf(r->id, sizeof(r->id), "sha256:%s", hex);
	if (by_ref) {
		if (reference_parse(name, &ref, e) < 0)
			return -1;
		reference_text(&ref, canonical);
	}
	if (drop_refs(&refs, hex, by_ref ? canonical : NULL, &r->untagged, &left, e) < 0 ||
	    find_lease(s, hex, holder, e) < 0)
		return -1;
	if (!by_ref && r->untagged.n > 1 && !force)
		return err_set(e, ERR_STATE, 0,
			       "image '%s' has %zu names: remove them one by one, or force it",
			       name, r->untagged.n);
	if (left == 0 && holder[0] && (!force || r->untagged.n == 0))
		return err_set(
			e, ERR_STATE, 0,
			"image '%s' is in use by container '%s': remove the container first%s",
			name, holder,
			r->untagged.n ? ", or force it to lose its name only" : "");
	if (left == 0 && !holder[0]) {
		if (staging_adopt(s, s->images_fd, hex, st, e) < 0)
			return err_wrap(e, "remove image '%s'", hex);
		r->deleted = true;
	}
	if (r->untagged.n == 0 || ref_table_write(s, &refs, e) == 0)
		return 0;
	if (!r->deleted)
		return -1;
	/* on a full disk the little that the image itself held may be the room that is missing
	 */
	staging_close(st);
	return ref_table_write(s, &refs, e);
}

int store_remove(struct store *s, const char *name, bool force, struct remove_result *out,
		 struct err *e)
{
	OWN(remove_result) struct remove_result r = { .deleted = false };
	OWN(staging) struct staging st = { .fd = -1 };
	OWN(fd) int lock = -1;

	if (store_lock(s, &lock, e) < 0 || remove_locked(s, name, force, &st, &r, e) < 0)
		return -1;
	fd_close(&lock);
	staging_close(&st); /* its room is what the sweep may need */
	if (r.deleted && store_sweep_layers(s, e) < 0)
		return -1;
	*out = r;
	r = (struct remove_result){ .deleted = false };
	return 0;
}

void remove_result_fini(struct remove_result *r)
{
	strv_fini(&r->untagged);
}
