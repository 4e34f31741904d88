/* SPDX-License-Identifier: Apache-2.0 */
/* What the two kinds of image archives say: which images, which files are their layers. */
#include "image/load.h"

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

enum {
	MAX_NESTING = 4,
	WHAT_SIZE = 200,
	BLOB_PATH_SIZE = 13 + DIGEST_HEX_SIZE
};

int load_open_file(struct load *l, const char *path, int *out, uint64_t *size_out,
		   struct err *e)
{
	char name[PATH_FD_LEN], quoted[200];
	OWN(fd) int at = -1;
	OWN(fd) int fd = -1;
	struct stat st;

	(void)str_quote(path, strlen(path), quoted, sizeof(quoted));
	/* looked at before it is opened: opening a device or a fifo would have effects */
	if (path_open_beneath(l->src, path, O_PATH, 0, &at, e) < 0) {
		if (e->kind == ERR_NOT_FOUND)
			return err_set(e, ERR_INVALID, ENOENT,
				       "the archive is incomplete: it has no file '%s'",
				       quoted);
		return -1;
	}
	if (fstat(at, &st) < 0)
		return err_sys(e, "stat '%s'", quoted);
	if (!S_ISREG(st.st_mode))
		return err_set(e, ERR_INVALID, 0, "'%s' in the archive is not a regular file",
			       quoted);
	fd = open(path_of_fd(at, name), O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return err_sys(e, "open '%s'", quoted);
	*out = fd_take(&fd);
	*size_out = (uint64_t)st.st_size;
	return 0;
}

int load_read_file(struct load *l, const char *path, char **out, size_t *len_out, struct err *e)
{
	OWN(buf) struct buf b = BUF_INIT;
	OWN(fd) int fd = -1;
	char shown[WHAT_SIZE];
	uint64_t size;

	if (load_open_file(l, path, &fd, &size, e) < 0)
		return -1;
	if (size > MANIFEST_MAX_BYTES)
		return err_set(e, ERR_INVALID, 0, "'%s' in the archive has more than %d bytes",
			       str_quote(path, strlen(path), shown, sizeof(shown)),
			       MANIFEST_MAX_BYTES);
	buf_init(&b, MANIFEST_MAX_BYTES + 4096);
	if (fd_read_to_end(fd, &b, e) < 0)
		return err_wrap(e, "'%s' in the archive",
				str_quote(path, strlen(path), shown, sizeof(shown)));
	*len_out = buf_len(&b);
	*out = buf_take_str(&b);
	return *out ? 0 : err_oom(e, path);
}

bool load_has_file(struct load *l, const char *path)
{
	struct stat st;

	return fstatat(l->src, path, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISREG(st.st_mode);
}

static int check_platform(const struct found_image *f, struct err *e)
{
	const char *host = manifest_host_arch();
	char os[64], arch[64];

	/* images older than the field: whoever loads them must know */
	if ((*f->config.os && !str_eq(f->config.os, "linux")) ||
	    (*f->config.arch && !str_eq(f->config.arch, host)))
		return err_set(
			e, ERR_UNSUPPORTED, 0, "%s: it is for %s/%s, this host runs linux/%s",
			f->what, str_quote(f->config.os, strlen(f->config.os), os, sizeof(os)),
			str_quote(f->config.arch, strlen(f->config.arch), arch, sizeof(arch)),
			host);
	return 0;
}

static int read_config(struct arena *a, const char *text, size_t len, struct found_image *f,
		       struct err *e)
{
	f->config_text = text;
	f->config_len = len;
	digest_of(text, len, &f->id);
	if (manifest_parse_config(a, text, len, f->what, &f->config, e) < 0)
		return -1;
	if (f->config.n_diff_ids != f->n_layers)
		return err_set(e, ERR_INVALID, 0,
			       "%s: it has %zu layers, but its configuration lists %zu",
			       f->what, f->n_layers, f->config.n_diff_ids);
	return check_platform(f, e);
}

/* A file name that says its own digest: "<hex>", "<hex>.json", "sha256:<hex>". */
static bool digest_in_name(const char *path, struct digest *out)
{
	const char *base = strrchr(path, '/');
	size_t len;

	base = base ? base + 1 : path;
	if (str_starts(base, "sha256:"))
		base += strlen("sha256:");
	len = strlen(base);
	if (str_ends(base, ".json"))
		len -= strlen(".json");
	return digest_from_hex(base, len, out);
}

static int docker_refs(struct load *l, const struct docker_image *d, struct found_image *f,
		       struct err *e)
{
	if (l->name[0])
		return strv_add(&f->refs, l->name, e);
	for (size_t i = 0; i < d->tags.n; i++) {
		char text[REF_TEXT_SIZE];

		if (reference_tagged_text(d->tags.v[i], text, e) < 0)
			return err_wrap(e, "manifest.json");
		if (strv_add(&f->refs, text, e) < 0)
			return -1;
	}
	return 0;
}

static int docker_layers(struct arena *a, const struct docker_image *d, struct found_image *f,
			 struct err *e)
{
	f->n_layers = d->layers.n;
	f->layers = arena_calloc(a, d->layers.n + 1, sizeof(*f->layers));
	if (!f->layers)
		return err_oom(e, "manifest.json");
	for (size_t i = 0; i < d->layers.n; i++) {
		struct digest blob, *copy;

		f->layers[i].path = d->layers.v[i];
		if (!str_starts(d->layers.v[i], "blobs/sha256/") ||
		    !digest_in_name(d->layers.v[i], &blob))
			continue;
		copy = arena_alloc(a, sizeof(*copy));
		if (!copy)
			return err_oom(e, "manifest.json");
		*copy = blob;
		f->layers[i].blob = copy;
	}
	return 0;
}

static int load_docker_image(struct load *l, struct arena *a, const struct docker_image *d,
			     struct err *e)
{
	const char *name = d->tags.n ? d->tags.v[0] : d->config;
	char what[WHAT_SIZE], config[WHAT_SIZE];
	/* a stranger's text, which is printed */
	struct found_image f = { .what = str_quote(name, strlen(name), what, sizeof(what)) };
	OWN(free) char *text = NULL;
	struct digest named;
	size_t len;
	int rc;

	if (load_read_file(l, d->config, &text, &len, e) < 0 ||
	    docker_layers(a, d, &f, e) < 0 || read_config(a, text, len, &f, e) < 0)
		return -1;
	if (digest_in_name(d->config, &named) && !digest_eq(&named, &f.id))
		return err_set(
			e, ERR_INVALID, 0,
			"%s: the digest of its configuration does not match the file's name "
			"'%.120s'",
			f.what,
			str_quote(d->config, strlen(d->config), config, sizeof(config)));
	rc = docker_refs(l, d, &f, e);
	if (rc == 0)
		rc = load_stage_image(l, &f, e);
	strv_fini(&f.refs);
	return rc;
}

int load_docker(struct load *l, struct err *e)
{
	OWN(arena) struct arena a = { 0 };
	OWN(free) char *text = NULL;
	struct docker_image *images;
	size_t len, n;

	arena_init(&a, MANIFEST_ARENA);
	if (load_read_file(l, "manifest.json", &text, &len, e) < 0 ||
	    manifest_parse_docker(&a, text, len, &images, &n, e) < 0)
		return -1;
	if (l->name[0] && n > 1)
		return err_set(e, ERR_INVALID, 0,
			       "the archive holds %zu images: one name cannot be given to all",
			       n);
	for (size_t i = 0; i < n; i++) {
		OWN(arena) struct arena own = { 0 };

		arena_init(&own, MANIFEST_ARENA);
		if (load_docker_image(l, &own, &images[i], e) < 0)
			return -1;
	}
	return 0;
}

static void blob_path(const struct digest *d, char out[BLOB_PATH_SIZE])
{
	char hex[DIGEST_HEX_SIZE];

	digest_hex(d, hex);
	(void)snprintf(out, BLOB_PATH_SIZE, "blobs/sha256/%s", hex);
}

/* A JSON blob, checked against its descriptor. */
static int read_blob(struct load *l, const struct descriptor *d, char **out, size_t *len_out,
		     struct err *e)
{
	char path[BLOB_PATH_SIZE];
	OWN(free) char *text = NULL;
	struct digest got;
	size_t len;

	blob_path(&d->digest, path);
	if (load_read_file(l, path, &text, &len, e) < 0)
		return -1;
	digest_of(text, len, &got);
	if (len != d->size)
		return err_set(e, ERR_INVALID, 0,
			       "'%s': it has %zu bytes, its descriptor says %llu", path, len,
			       (unsigned long long)d->size);
	if (!digest_eq(&got, &d->digest))
		return err_set(e, ERR_INVALID, 0, "'%s': its digest does not match", path);
	*out = TAKE(text);
	*len_out = len;
	return 0;
}

static int oci_layers(struct load *l, struct arena *a, const struct oci_manifest *m,
		      struct found_image *f, struct err *e)
{
	f->n_layers = m->layers.n;
	f->layers = arena_calloc(a, m->layers.n + 1, sizeof(*f->layers));
	if (!f->layers)
		return err_oom(e, "an image manifest");
	for (size_t i = 0; i < m->layers.n; i++) {
		char path[BLOB_PATH_SIZE];
		OWN(fd) int fd = -1;
		uint64_t size;

		blob_path(&m->layers.v[i].digest, path);
		f->layers[i].path = arena_strdup(a, path);
		f->layers[i].blob = &m->layers.v[i].digest;
		if (!f->layers[i].path)
			return err_oom(e, "an image manifest");
		if (load_open_file(l, path, &fd, &size, e) < 0)
			return -1;
		if (size != m->layers.v[i].size)
			return err_set(e, ERR_INVALID, 0,
				       "'%s': it has %llu bytes, its descriptor says %llu",
				       path, (unsigned long long)size,
				       (unsigned long long)m->layers.v[i].size);
	}
	return 0;
}

/* A choice among descriptors of one image for several platforms. */
struct choice {
	struct load *l;
	struct arena *a;
	const char *name;  /* annotation that names the image, or "" */
	struct buf *there; /* what was seen and does not fit, for the message */
	bool other_platforms;
};

static int note(struct choice *c, const char *text, struct err *e)
{
	char quoted[128];

	(void)str_quote(text, strlen(text), quoted, sizeof(quoted));
	if (buf_len(c->there) > 200)
		return 0;
	return buf_printf(c->there, e, "%s%s", buf_len(c->there) ? ", " : "", quoted);
}

static int note_platform(struct choice *c, const char *os, const char *arch, struct err *e)
{
	char text[128];

	c->other_platforms = true;
	(void)snprintf(text, sizeof(text), "%.40s/%.40s", os, arch);
	return note(c, text, e);
}

/* The reference an annotation gives; a mere tag ("latest") names nothing and gives none. */
static int oci_refs(struct choice *c, struct found_image *f, struct err *e)
{
	char text[REF_TEXT_SIZE];

	if (c->l->name[0])
		return strv_add(&f->refs, c->l->name, e);
	if (!strpbrk(c->name, "/:@"))
		return 0;
	if (reference_tagged_text(c->name, text, e) < 0)
		return err_wrap(e, "index.json");
	return strv_add(&f->refs, text, e);
}

static int stage_oci(struct choice *c, struct found_image *f, struct err *e)
{
	int rc;

	if (c->l->name[0] && c->l->n_images > 0)
		return err_set(
			e, ERR_INVALID, 0,
			"the archive holds several images: one name cannot be given to all");
	rc = oci_refs(c, f, e);
	if (rc == 0)
		rc = load_stage_image(c->l, f, e);
	strv_fini(&f->refs);
	return rc;
}

/* 1: loaded, 0: for another platform or no image at all, -1. */
static int try_manifest(struct choice *c, const struct descriptor *d, struct err *e)
{
	OWN(free) char *manifest = NULL;
	OWN(free) char *config = NULL;
	char path[BLOB_PATH_SIZE], digest[DIGEST_TEXT_SIZE], what[WHAT_SIZE];
	struct found_image f = { .what = *c->name ? str_quote(c->name, strlen(c->name), what,
							      sizeof(what))
						  : path,
				 .manifest = digest };
	struct oci_manifest m;
	size_t len;

	if (*d->arch && (!str_eq(d->os, "linux") || !str_eq(d->arch, manifest_host_arch())))
		return note_platform(c, d->os, d->arch, e);
	blob_path(&d->digest, path);
	digest_text(&d->digest, digest);
	if (read_blob(c->l, d, &manifest, &len, e) < 0 ||
	    manifest_parse_oci(c->a, manifest, len, path, &m, e) < 0)
		return -1;
	if (m.artifact)
		return note(c, m.artifact, e);
	if (read_blob(c->l, &m.config, &config, &len, e) < 0 ||
	    oci_layers(c->l, c->a, &m, &f, e) < 0)
		return -1;
	if (read_config(c->a, config, len, &f, e) < 0) {
		if (*d->arch || e->kind != ERR_UNSUPPORTED || !*f.config.arch)
			return -1;
		return note_platform(c, f.config.os, f.config.arch, e);
	}
	return stage_oci(c, &f, e) < 0 ? -1 : 1;
}

static int try_list(struct choice *c, const struct descriptor_list *list, unsigned depth,
		    struct err *e);

static int try_index(struct choice *c, const struct descriptor *d, unsigned depth,
		     struct err *e)
{
	OWN(free) char *text = NULL;
	struct descriptor_list inner;
	char path[BLOB_PATH_SIZE];
	size_t len;

	if (depth == MAX_NESTING)
		return err_set(e, ERR_INVALID, 0,
			       "index.json: indexes are nested more than %d deep", MAX_NESTING);
	blob_path(&d->digest, path);
	if (read_blob(c->l, d, &text, &len, e) < 0 ||
	    manifest_parse_index(c->a, text, len, path, &inner, e) < 0)
		return -1;
	return try_list(c, &inner, depth + 1, e);
}

/* The first descriptor that leads to an image for this host. */
static int try_list(struct choice *c, const struct descriptor_list *list, unsigned depth,
		    struct err *e)
{
	for (size_t i = 0; i < list->n; i++) {
		const struct descriptor *d = &list->v[i];
		int rc;

		if (d->attestation)
			continue;
		if (d->kind == DESCRIPTOR_INDEX)
			rc = try_index(c, d, depth, e);
		else if (d->kind == DESCRIPTOR_MANIFEST)
			rc = try_manifest(c, d, e);
		else
			rc = note(c, d->media_type, e);
		if (rc != 0)
			return rc;
	}
	return 0;
}

static const char *name_of(const struct descriptor *d)
{
	return *d->image_name ? d->image_name : d->ref_name;
}

/* Descriptors of one image: they have the same name, or none but different platforms. */
static bool same_image(const struct descriptor *a, const struct descriptor *b)
{
	if (*name_of(a) || *name_of(b))
		return str_eq(name_of(a), name_of(b));
	return *a->arch && *b->arch &&
	       (!str_eq(a->arch, b->arch) || !str_eq(a->os, b->os) ||
		!str_eq(a->variant, b->variant));
}

/* Takes the group of list->v[0] out of the list, to its front; returns its size. */
static size_t next_group(struct descriptor_list *list)
{
	size_t n = 1;

	for (size_t i = 1; i < list->n; i++) {
		if (same_image(&list->v[0], &list->v[i])) {
			struct descriptor d = list->v[n];

			list->v[n++] = list->v[i];
			list->v[i] = d;
		}
	}
	return n;
}

/* What is no image (a signature, an SBOM beside it) is passed over, and noted in `there`. */
static int load_group(struct load *l, const struct descriptor_list *group, struct buf *there,
		      struct err *e)
{
	OWN(arena) struct arena a = { 0 };
	struct choice c = { .l = l, .a = &a, .name = name_of(&group->v[0]), .there = there };
	int rc;

	arena_init(&a, 2 * (size_t)MANIFEST_ARENA);
	rc = try_list(&c, group, 0, e);
	if (rc != 0 || !c.other_platforms)
		return rc < 0 ? -1 : 0;
	return err_set(e, ERR_UNSUPPORTED, 0,
		       "%s%sno image for linux/%s in it; there is: %.250s", c.name,
		       *c.name ? ": " : "", manifest_host_arch(), buf_cstr(there));
}

int load_oci(struct load *l, struct err *e)
{
	OWN(arena) struct arena a = { 0 };
	OWN(buf) struct buf all = BUF_INIT;
	OWN(free) char *text = NULL;
	struct descriptor_list list;
	size_t len;

	arena_init(&a, MANIFEST_ARENA);
	if (load_read_file(l, "index.json", &text, &len, e) < 0 ||
	    manifest_parse_index(&a, text, len, "index.json", &list, e) < 0)
		return -1;
	if (list.n == 0)
		return err_set(e, ERR_INVALID, 0, "index.json: it lists no image");
	while (list.n > 0) {
		OWN(buf) struct buf there = BUF_INIT;
		struct descriptor_list group = { .v = list.v };

		if (list.v[0].attestation) {
			list.v++;
			list.n--;
			continue;
		}
		group.n = next_group(&list);
		if (load_group(l, &group, &there, e) < 0)
			return -1;
		if (buf_len(&there) && buf_len(&all) < 200 &&
		    buf_printf(&all, e, "%s%s", buf_len(&all) ? ", " : "", buf_cstr(&there)) <
			    0)
			return -1;
		list.v += group.n;
		list.n -= group.n;
	}
	if (!l->n_images)
		return err_set(e, ERR_UNSUPPORTED, 0, "there is no image in it, but: %.250s",
			       buf_len(&all) ? buf_cstr(&all) : "nothing");
	return 0;
}
