/* SPDX-License-Identifier: Apache-2.0 */
/* The JSON documents of image archives. */
#include "image/manifest.h"

#include <stdio.h>
#include <string.h>
#include <sys/utsname.h>

#include "base/err.h"
#include "base/mem.h"
#include "base/str.h"
#include "wire/json.h"

/* What all readers of one document share. */
struct reader {
	struct arena *arena;
	const char *what;
	struct err *e;
};

static int bad(const struct reader *r, const char *key, const char *why)
{
	return err_set(r->e, ERR_INVALID, 0, "%s: \"%s\" %s", r->what, key, why);
}

/* A string of the document, copied; NULL and null give "". */
static int read_string(const struct reader *r, const struct jval *v, const char *key,
		       const char **out)
{
	const char *s = jval_str(v);

	if (jval_type(v) == JVAL_NULL) {
		*out = "";
		return 0;
	}
	if (!s)
		return bad(r, key, "is not a string");
	if (strlen(s) != jval_str_len(v))
		return bad(r, key, "holds a NUL byte");
	if (strlen(s) > MANIFEST_MAX_STRING)
		return bad(r, key, "is too long");
	s = arena_strdup(r->arena, s);
	if (!s)
		return err_oom(r->e, r->what);
	*out = s;
	return 0;
}

static int read_member(const struct reader *r, const struct jval *obj, const char *key,
		       const char **out)
{
	return read_string(r, jval_get(obj, key), key, out);
}

static int list_alloc(const struct reader *r, size_t n, const char *key, size_t max,
		      struct string_list *out)
{
	char why[64];

	(void)snprintf(why, sizeof(why), "has %zu entries, more than %zu", n, max);
	if (n > max)
		return bad(r, key, why);
	out->n = 0;
	out->v = arena_calloc(r->arena, n + 1, sizeof(*out->v));
	return out->v ? 0 : err_oom(r->e, r->what);
}

/* An array of strings; absent or null is empty. */
static int read_list(const struct reader *r, const struct jval *obj, const char *key,
		     size_t max, struct string_list *out)
{
	const struct jval *array = jval_get(obj, key);
	struct string_list list;

	if (jval_type(array) != JVAL_NULL && jval_type(array) != JVAL_ARRAY)
		return bad(r, key, "is not a list");
	if (list_alloc(r, jval_count(array), key, max, &list) < 0)
		return -1;
	for (size_t i = 0; i < jval_count(array); i++) {
		const struct jval *v = jval_at(array, i);

		if (jval_type(v) != JVAL_STRING)
			return bad(r, key, "holds something that is not a string");
		if (read_string(r, v, key, &list.v[list.n++]) < 0)
			return -1;
	}
	*out = list;
	return 0;
}

struct key_visit {
	const struct reader *r;
	struct string_list *keys;
};

static int visit_key(const char *key, struct jval *v, void *arg)
{
	struct key_visit *k = arg;

	k->keys->v[k->keys->n] = arena_strdup(k->r->arena, key);
	return k->keys->v[k->keys->n++] ? 0 : err_oom(k->r->e, k->r->what);
}

/* The keys of an object that serves as a set. */
static int read_keys(const struct reader *r, const struct jval *obj, const char *key,
		     struct string_list *out)
{
	const struct jval *set = jval_get(obj, key);
	struct string_list list;
	struct key_visit k = { .r = r, .keys = &list };

	if (jval_type(set) != JVAL_NULL && jval_type(set) != JVAL_OBJECT)
		return bad(r, key, "is not an object");
	if (list_alloc(r, jval_count(set), key, MANIFEST_MAX_STRINGS, &list) < 0 ||
	    jval_each(set, visit_key, &k) != 0)
		return -1;
	*out = list;
	return 0;
}

static int open_document(struct reader *r, const char *p, size_t len, enum jval_type want,
			 struct jval **out)
{
	OWN(jval) struct jval *doc = NULL;

	if (len > MANIFEST_MAX_BYTES)
		return err_set(r->e, ERR_INVALID, 0, "%s: %zu bytes are more than %d", r->what,
			       len, MANIFEST_MAX_BYTES);
	if (jval_parse(p, len, &doc, r->e) < 0)
		return err_wrap(r->e, "%s", r->what);
	if (jval_type(doc) != want)
		return err_set(r->e, ERR_INVALID, 0, "%s: it is not %s", r->what,
			       want == JVAL_ARRAY ? "a list" : "an object");
	*out = TAKE(doc);
	return 0;
}

/* A file named by manifest.json; only its length matters here, the opener confines it. */
static int check_path(const struct reader *r, const char *key, const char *path)
{
	if (*path == '\0')
		return bad(r, key, "is missing or empty");
	if (strlen(path) > MANIFEST_MAX_PATH)
		return bad(r, key, "is a path that is too long");
	return 0;
}

static int read_docker_image(const struct reader *r, const struct jval *v,
			     struct docker_image *out)
{
	if (jval_type(v) != JVAL_OBJECT)
		return err_set(r->e, ERR_INVALID, 0, "%s: an element is not an object",
			       r->what);
	if (read_member(r, v, "Config", &out->config) < 0 ||
	    check_path(r, "Config", out->config) < 0 ||
	    read_list(r, v, "RepoTags", MANIFEST_MAX_TAGS, &out->tags) < 0 ||
	    read_list(r, v, "Layers", MANIFEST_MAX_LAYERS, &out->layers) < 0)
		return -1;
	for (size_t i = 0; i < out->layers.n; i++) {
		if (check_path(r, "Layers", out->layers.v[i]) < 0)
			return -1;
	}
	return 0;
}

int manifest_parse_docker(struct arena *a, const char *p, size_t len, struct docker_image **out,
			  size_t *n_out, struct err *e)
{
	struct reader r = { .arena = a, .what = "manifest.json", .e = e };
	OWN(jval) struct jval *doc = NULL;
	struct docker_image *images;
	size_t n;

	if (open_document(&r, p, len, JVAL_ARRAY, &doc) < 0)
		return -1;
	n = jval_count(doc);
	if (n == 0 || n > MANIFEST_MAX_IMAGES)
		return err_set(e, ERR_INVALID, 0,
			       "manifest.json: it lists %zu images, not 1 to %d", n,
			       MANIFEST_MAX_IMAGES);
	images = arena_calloc(a, n, sizeof(*images));
	if (!images)
		return err_oom(e, "manifest.json");
	for (size_t i = 0; i < n; i++) {
		if (read_docker_image(&r, jval_at(doc, i), &images[i]) < 0)
			return -1;
	}
	*out = images;
	*n_out = n;
	return 0;
}

static enum descriptor_kind kind_of(const char *media_type)
{
	static const struct {
		const char *type;
		enum descriptor_kind kind;
	} kinds[] = {
		{ "application/vnd.oci.image.index.v1+json", DESCRIPTOR_INDEX },
		{ "application/vnd.oci.image.manifest.v1+json", DESCRIPTOR_MANIFEST },
		{ "application/vnd.docker.distribution.manifest.list.v2+json",
		  DESCRIPTOR_INDEX },
		{ "application/vnd.docker.distribution.manifest.v2+json", DESCRIPTOR_MANIFEST },
	};

	for (size_t i = 0; i < ARRAY_LEN(kinds); i++) {
		if (str_eq(kinds[i].type, media_type))
			return kinds[i].kind;
	}
	return DESCRIPTOR_OTHER;
}

/* What images say, and what the kernel, and some tools, say for it. */
static const struct arch {
	const char *machine, *arch;
} archs[] = {
	{ "x86_64", "amd64" },    { "x86-64", "amd64" }, { "aarch64", "arm64" },
	{ "riscv64", "riscv64" }, { "s390x", "s390x" },  { "ppc64le", "ppc64le" },
};

/* The name an architecture has in images; one that is not known as it is. */
static const char *normal_arch(const char *name)
{
	for (size_t i = 0; i < ARRAY_LEN(archs); i++) {
		if (str_eq(archs[i].machine, name))
			return archs[i].arch;
	}
	return name;
}

const char *manifest_host_arch(void)
{
	static struct utsname u;

	return uname(&u) < 0 ? "" : normal_arch(u.machine);
}

static int read_descriptor(const struct reader *r, const struct jval *v, const char *key,
			   struct descriptor *out)
{
	const struct jval *platform = jval_get(v, "platform"),
			  *notes = jval_get(v, "annotations");
	struct descriptor d = { .kind = DESCRIPTOR_OTHER };
	const char *digest, *reference_type;

	if (jval_type(v) != JVAL_OBJECT)
		return bad(r, key, "is not an object");
	if (read_member(r, v, "mediaType", &d.media_type) < 0 ||
	    read_member(r, v, "digest", &digest) < 0 ||
	    digest_parse(digest, r->what, &d.digest, r->e) < 0)
		return -1;
	if (!jval_uint(jval_get(v, "size"), &d.size))
		return bad(r, key, "has no valid \"size\"");
	if (read_member(r, platform, "os", &d.os) < 0 ||
	    read_member(r, platform, "architecture", &d.arch) < 0 ||
	    read_member(r, platform, "variant", &d.variant) < 0 ||
	    read_member(r, notes, "io.containerd.image.name", &d.image_name) < 0 ||
	    read_member(r, notes, "org.opencontainers.image.ref.name", &d.ref_name) < 0 ||
	    read_member(r, notes, "vnd.docker.reference.type", &reference_type) < 0)
		return -1;
	d.arch = normal_arch(d.arch);
	d.attestation = *reference_type != '\0' || str_eq(d.arch, "unknown");
	d.kind = kind_of(d.media_type);
	*out = d;
	return 0;
}

static int read_descriptors(const struct reader *r, const struct jval *obj, const char *key,
			    size_t max, struct descriptor_list *out)
{
	const struct jval *array = jval_get(obj, key);
	struct descriptor_list list = { .n = jval_count(array) };
	char why[64];

	if (jval_type(array) != JVAL_ARRAY)
		return bad(r, key, "is missing or not a list");
	(void)snprintf(why, sizeof(why), "has %zu entries, more than %zu", list.n, max);
	if (list.n > max)
		return bad(r, key, why);
	list.v = arena_calloc(r->arena, list.n + 1, sizeof(*list.v));
	if (!list.v)
		return err_oom(r->e, r->what);
	for (size_t i = 0; i < list.n; i++) {
		if (read_descriptor(r, jval_at(array, i), key, &list.v[i]) < 0)
			return -1;
	}
	*out = list;
	return 0;
}

static int check_schema(const struct reader *r, const struct jval *doc)
{
	int64_t version;

	if (!jval_int(jval_get(doc, "schemaVersion"), &version) || version != 2)
		return bad(r, "schemaVersion", "is not 2");
	return 0;
}

int manifest_parse_index(struct arena *a, const char *p, size_t len, const char *what,
			 struct descriptor_list *out, struct err *e)
{
	struct reader r = { .arena = a, .what = what, .e = e };
	OWN(jval) struct jval *doc = NULL;

	if (open_document(&r, p, len, JVAL_OBJECT, &doc) < 0 || check_schema(&r, doc) < 0)
		return -1;
	return read_descriptors(&r, doc, "manifests", MANIFEST_MAX_IMAGES, out);
}

/* Of which type the layers are if none is an image's: cosign's signatures have an image's
 * configuration. */
static const char *foreign_layers(const struct descriptor_list *layers)
{
	for (size_t i = 0; i < layers->n; i++) {
		const char *type = layers->v[i].media_type;

		if (!*type || str_starts(type, "application/vnd.oci.image.layer.") ||
		    str_starts(type, "application/vnd.docker.image.rootfs."))
			return NULL;
	}
	return layers->n ? layers->v[0].media_type : NULL;
}

int manifest_parse_oci(struct arena *a, const char *p, size_t len, const char *what,
		       struct oci_manifest *out, struct err *e)
{
	struct reader r = { .arena = a, .what = what, .e = e };
	OWN(jval) struct jval *doc = NULL;
	struct oci_manifest m = { 0 };

	if (open_document(&r, p, len, JVAL_OBJECT, &doc) < 0 || check_schema(&r, doc) < 0 ||
	    read_descriptor(&r, jval_get(doc, "config"), "config", &m.config) < 0)
		return -1;
	if (!str_eq(m.config.media_type, "application/vnd.oci.image.config.v1+json") &&
	    !str_eq(m.config.media_type, "application/vnd.docker.container.image.v1+json"))
		m.artifact = m.config.media_type;
	else if (read_descriptors(&r, doc, "layers", MANIFEST_MAX_LAYERS, &m.layers) < 0)
		return -1;
	else
		m.artifact = foreign_layers(&m.layers);
	*out = m;
	return 0;
}

struct label_visit {
	const struct reader *r;
	struct image_config *config;
};

static int visit_label(const char *key, struct jval *v, void *arg)
{
	struct label_visit *l = arg;
	struct image_label *label = &l->config->labels[l->config->n_labels];
	char quoted[80], name[100];

	label->key = arena_strdup(l->r->arena, key);
	if (!label->key)
		return err_oom(l->r->e, l->r->what);
	l->config->n_labels++;
	(void)str_quote(key, strlen(key), quoted, sizeof(quoted));
	(void)snprintf(name, sizeof(name), "Labels '%s'", quoted);
	return read_string(l->r, v, name, &label->value);
}

static int read_labels(const struct reader *r, const struct jval *obj, struct image_config *c)
{
	const struct jval *labels = jval_get(obj, "Labels");
	struct label_visit l = { .r = r, .config = c };
	size_t n = jval_count(labels);

	if (jval_type(labels) != JVAL_NULL && jval_type(labels) != JVAL_OBJECT)
		return bad(r, "Labels", "is not an object");
	if (n > MANIFEST_MAX_STRINGS)
		return bad(r, "Labels", "has too many entries");
	c->labels = arena_calloc(r->arena, n + 1, sizeof(*c->labels));
	if (!c->labels)
		return err_oom(r->e, r->what);
	return jval_each(labels, visit_label, &l) == 0 ? 0 : -1;
}

static int read_diff_ids(const struct reader *r, const struct jval *doc, struct image_config *c)
{
	struct string_list ids;

	if (jval_type(jval_get(doc, "rootfs")) != JVAL_OBJECT)
		return bad(r, "rootfs", "is missing");
	if (read_list(r, jval_get(doc, "rootfs"), "diff_ids", MANIFEST_MAX_LAYERS, &ids) < 0)
		return -1;
	c->diff_ids = arena_calloc(r->arena, ids.n + 1, sizeof(*c->diff_ids));
	if (!c->diff_ids)
		return err_oom(r->e, r->what);
	for (; c->n_diff_ids < ids.n; c->n_diff_ids++) {
		if (digest_parse(ids.v[c->n_diff_ids], r->what, &c->diff_ids[c->n_diff_ids],
				 r->e) < 0)
			return -1;
	}
	return 0;
}

int manifest_parse_config(struct arena *a, const char *p, size_t len, const char *what,
			  struct image_config *out, struct err *e)
{
	struct reader r = { .arena = a, .what = what, .e = e };
	OWN(jval) struct jval *doc = NULL;
	struct image_config c = { .n_labels = 0 };
	const struct jval *run;

	if (open_document(&r, p, len, JVAL_OBJECT, &doc) < 0)
		return -1;
	run = jval_get(doc, "config");
	if (jval_type(run) != JVAL_NULL && jval_type(run) != JVAL_OBJECT)
		return bad(&r, "config", "is not an object");
	if (read_member(&r, doc, "os", &c.os) < 0 ||
	    read_member(&r, doc, "architecture", &c.arch) < 0 ||
	    read_member(&r, doc, "variant", &c.variant) < 0 ||
	    read_member(&r, doc, "created", &c.created) < 0 ||
	    read_member(&r, run, "User", &c.user) < 0 ||
	    read_member(&r, run, "WorkingDir", &c.working_dir) < 0 ||
	    read_member(&r, run, "StopSignal", &c.stop_signal) < 0 ||
	    read_list(&r, run, "Env", MANIFEST_MAX_STRINGS, &c.env) < 0 ||
	    read_list(&r, run, "Entrypoint", MANIFEST_MAX_STRINGS, &c.entrypoint) < 0 ||
	    read_list(&r, run, "Cmd", MANIFEST_MAX_STRINGS, &c.cmd) < 0 ||
	    read_keys(&r, run, "ExposedPorts", &c.exposed_ports) < 0 ||
	    read_keys(&r, run, "Volumes", &c.volumes) < 0 || read_labels(&r, run, &c) < 0 ||
	    read_diff_ids(&r, doc, &c) < 0)
		return -1;
	c.arch = normal_arch(c.arch);
	*out = c;
	return 0;
}
