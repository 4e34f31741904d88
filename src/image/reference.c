/* SPDX-License-Identifier: Apache-2.0 */
/* Image references: one hand-written scanner per rule of the grammar. */
#include "image/reference.h"

#include <stdio.h>
#include <string.h>

#include "base/err.h"
#include "base/str.h"

#define DEFAULT_HOST   "docker.io"
#define DEFAULT_HOST_2 "index.docker.io"
#define DEFAULT_PATH   "library/"
#define DEFAULT_TAG    "latest"

enum {
	QUOTED = 160
};

static bool is_lower_alnum(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
}

static bool is_alnum(char c)
{
	return is_lower_alnum(c) || (c >= 'A' && c <= 'Z');
}

static bool is_lower_hex(char c)
{
	return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f');
}

static int refuse(struct err *e, const char *s, const char *why)
{
	char quoted[QUOTED];

	return err_set(e, ERR_INVALID, 0, "image reference '%s': %s",
		       str_quote(s, strlen(s), quoted, sizeof(quoted)), why);
}

/* alnum ((. | _ | __ | -+) alnum)*, lower case */
static bool is_path_component(const char *p, size_t len)
{
	size_t i = 0;

	for (;;) {
		size_t start = i, sep;

		while (i < len && is_lower_alnum(p[i]))
			i++;
		if (i == start)
			return false;
		if (i == len)
			return true;
		sep = i;
		if (p[i] == '.') {
			i++;
		} else if (p[i] == '_') {
			i += i + 1 < len && p[i + 1] == '_' ? 2 : 1;
		} else {
			while (i < len && p[i] == '-')
				i++;
		}
		if (i == sep)
			return false;
	}
}

static bool is_path(const char *p, size_t len)
{
	const char *end = p + len;

	for (;;) {
		const char *slash = memchr(p, '/', (size_t)(end - p));

		if (!is_path_component(p, (size_t)((slash ? slash : end) - p)))
			return false;
		if (!slash)
			return true;
		p = slash + 1;
	}
}

static bool is_host_name(const char *p, size_t len)
{
	size_t start = 0;

	for (size_t i = 0; i <= len; i++) {
		if (i < len && p[i] != '.') {
			if (!is_alnum(p[i]) && p[i] != '-')
				return false;
			continue;
		}
		if (i == start || p[start] == '-' || p[i - 1] == '-')
			return false;
		start = i + 1;
	}
	return true;
}

/* A host name, or an IPv6 address in brackets, and an optional port. */
static bool is_host(const char *p, size_t len)
{
	size_t name = 0;

	if (len > 0 && p[0] == '[') {
		for (name = 1; name < len && p[name] != ']'; name++) {
			if (!is_lower_hex(p[name]) && !(p[name] >= 'A' && p[name] <= 'F') &&
			    p[name] != ':')
				return false;
		}
		if (name < 3 || name == len)
			return false;
		name++;
	} else {
		const char *colon = memchr(p, ':', len);

		name = colon ? (size_t)(colon - p) : len;
		if (!is_host_name(p, name))
			return false;
	}
	if (name == len)
		return true;
	if (p[name] != ':' || name + 1 == len)
		return false;
	for (size_t i = name + 1; i < len; i++) {
		if (p[i] < '0' || p[i] > '9')
			return false;
	}
	return true;
}

/* Whether the part before the first slash is a host: what Docker takes for one. */
static bool looks_like_host(const char *p, size_t len)
{
	if (len == 9 && memcmp(p, "localhost", 9) == 0)
		return true;
	for (size_t i = 0; i < len; i++) {
		if (p[i] == '.' || p[i] == ':' || p[i] == '[' || (p[i] >= 'A' && p[i] <= 'Z'))
			return true;
	}
	return false;
}

static bool is_hex64(const char *p, size_t len)
{
	if (len != 64)
		return false;
	for (size_t i = 0; i < len; i++) {
		if (!is_lower_hex(p[i]))
			return false;
	}
	return true;
}

static int take_digest(const char *whole, const char *at, struct reference *r, struct err *e)
{
	const char *digest = at + 1;

	if (!str_starts(digest, "sha256:"))
		return refuse(e, whole,
			      "the digest is not of the form sha256:<64 hexadecimal digits>");
	if (!is_hex64(digest + 7, strlen(digest + 7)))
		return refuse(e, whole, "a sha256 digest has 64 lower-case hexadecimal digits");
	memcpy(r->digest, digest, REF_DIGEST_LEN + 1);
	return 0;
}

static int take_tag(const char *whole, const char *tag, size_t len, struct reference *r,
		    struct err *e)
{
	if (len == 0)
		return refuse(e, whole, "the tag is empty");
	if (len > REF_TAG_MAX)
		return refuse(e, whole, "the tag is longer than 128 characters");
	for (size_t i = 0; i < len; i++) {
		bool word = is_alnum(tag[i]) || tag[i] == '_';

		if (!word && (i == 0 || (tag[i] != '.' && tag[i] != '-')))
			return refuse(e, whole,
				      "the tag may hold letters, digits, '_', '.' and '-'");
	}
	memcpy(r->tag, tag, len);
	r->tag[len] = '\0';
	return 0;
}

static int take_repository(const char *whole, const char *p, size_t len, struct reference *r,
			   struct err *e)
{
	const char *slash = memchr(p, '/', len);
	const char *host = DEFAULT_HOST, *path = p, *insert = "";
	size_t host_len = strlen(host), path_len = len, total;

	if (slash && looks_like_host(p, (size_t)(slash - p))) {
		host_len = (size_t)(slash - p);
		path = slash + 1;
		path_len = len - host_len - 1;
		if (!is_host(p, host_len))
			return refuse(e, whole, "the registry's host name is not valid");
		/* Docker's old name for its registry is the same registry */
		if (host_len != strlen(DEFAULT_HOST_2) ||
		    memcmp(p, DEFAULT_HOST_2, host_len) != 0)
			host = p;
		else
			host_len = strlen(DEFAULT_HOST);
	}
	if (!is_path(path, path_len))
		return refuse(
			e, whole,
			"a name consists of lower-case letters and digits, joined by single "
			"'.', '_', '__' or '-', its parts by '/'");
	if (host_len == strlen(DEFAULT_HOST) && memcmp(host, DEFAULT_HOST, host_len) == 0) {
		if (!slash && is_hex64(path, path_len))
			return refuse(e, whole,
				      "64 hexadecimal digits are an image id, not a name");
		if (!memchr(path, '/', path_len))
			insert = DEFAULT_PATH;
	}
	total = host_len + 1 + strlen(insert) + path_len;
	if (total > REF_REPOSITORY_MAX)
		return refuse(e, whole, "the name is longer than 255 characters");
	(void)snprintf(r->repository, sizeof(r->repository), "%.*s/%s%.*s", (int)host_len, host,
		       insert, (int)path_len, path);
	return 0;
}

int reference_parse(const char *s, struct reference *out, struct err *e)
{
	struct reference r = { .tag = "" };
	const char *at = strchr(s, '@'), *end = at ? at : s + strlen(s), *colon = NULL;

	if (*s == '\0')
		return err_set(e, ERR_INVALID, 0, "image reference '': it is empty");
	if (strlen(s) > 4 * REF_TEXT_SIZE)
		return refuse(e, s, "the name is longer than 255 characters");
	if (at && take_digest(s, at, &r, e) < 0)
		return -1;
	/* the tag's colon is behind the last slash; one before it belongs to a port */
	for (const char *p = end; p > s && p[-1] != '/'; p--) {
		if (p[-1] == ':')
			colon = p - 1;
	}
	if (colon && take_tag(s, colon + 1, (size_t)(end - colon - 1), &r, e) < 0)
		return -1;
	if (take_repository(s, s, (size_t)((colon ? colon : end) - s), &r, e) < 0)
		return -1;
	if (!at && !colon)
		memcpy(r.tag, DEFAULT_TAG, sizeof(DEFAULT_TAG));
	*out = r;
	return 0;
}

void reference_text(const struct reference *r, char out[REF_TEXT_SIZE])
{
	if (r->digest[0])
		(void)snprintf(out, REF_TEXT_SIZE, "%s@%s", r->repository, r->digest);
	else
		(void)snprintf(out, REF_TEXT_SIZE, "%s:%s", r->repository, r->tag);
}

int reference_tagged_text(const char *s, char out[REF_TEXT_SIZE], struct err *e)
{
	struct reference r;

	if (reference_parse(s, &r, e) < 0)
		return -1;
	if (r.digest[0])
		return refuse(e, s,
			      "a name with a digest cannot be given to an image; use a tag");
	reference_text(&r, out);
	return 0;
}

/* Some names cannot be shortened: "docker.io/a.b/c" would become one of the host a.b. */
static bool means_the_same(const char *familiar, const char *canonical)
{
	char text[REF_TEXT_SIZE];
	struct reference r;
	struct err ignored;

	if (reference_parse(familiar, &r, &ignored) < 0)
		return false;
	reference_text(&r, text);
	return strcmp(text, canonical) == 0;
}

const char *reference_familiar(const char *canonical)
{
	static const char host[] = DEFAULT_HOST "/", library[] = DEFAULT_PATH;
	const char *path;

	if (!str_starts(canonical, host))
		return canonical;
	path = canonical + sizeof(host) - 1;
	if (str_starts(path, library) && means_the_same(path + sizeof(library) - 1, canonical))
		return path + sizeof(library) - 1;
	return means_the_same(path, canonical) ? path : canonical;
}

bool reference_is_id_prefix(const char *s, const char **hex)
{
	const char *p = str_starts(s, "sha256:") ? s + 7 : s;
	size_t n = 0;

	while (is_lower_hex(p[n]))
		n++;
	if (n == 0 || n > 64 || p[n])
		return false;
	if (hex)
		*hex = p;
	return true;
}
