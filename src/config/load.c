/* SPDX-License-Identifier: Apache-2.0 */
/* Which files make up the configuration. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/fd.h"
#include "base/path.h"
#include "base/str.h"
#include "config/config.h"
#include "config/paths.h"
#include "config/reader.h"
#include "wire/toml.h"

#define CONFIG_FILE "share/defaults/kata-containers/configuration.toml"

enum {
	DROP_INS_MAX = 256
};

/* A leading '/' is absolute, anything else relative to the running program's directory. */
static const char *const search[] = {
	"/etc/kata-containers/configuration.toml",
	"/etc/kata-containers/runtime-rs/configuration.toml",
	"../" CONFIG_FILE,
	"/usr/" CONFIG_FILE,
	"/opt/kata/" CONFIG_FILE,
};

static int search_path(size_t i, struct arena *a, const char **out, struct err *e)
{
	const char *bindir;
	char *path;

	if (search[i][0] == '/') {
		*out = search[i];
		return 0;
	}
	if (paths_program_dir(a, &bindir, e) < 0)
		return -1;
	path = arena_printf(a, "%s/%s", bindir, search[i]);
	if (!path)
		return err_oom(e, "a path");
	path_clean(path);
	*out = path;
	return 0;
}

/* *out is NULL when there is no file at all. */
static int find_main(const char *explicit, struct arena *a, const char **out, struct err *e)
{
	const char *named = explicit && *explicit ? explicit : secure_getenv("KATA_CONF_FILE");
	struct stat st;

	if (named && *named) {
		*out = arena_strdup(a, named);
		return *out ? 0 : err_oom(e, "a path");
	}
	for (size_t i = 0; i < ARRAY_LEN(search); i++) {
		const char *path;

		if (search_path(i, a, &path, e) < 0)
			return -1;
		if (lstat(path, &st) == 0) { /* a link that leads nowhere is no absence */
			*out = path;
			return 0;
		}
	}
	*out = NULL;
	return 0;
}

/* Lays a file upon `root`. What it says is judged once all are there: one may mend another. */
static int read_file(struct kata_config *c, const char *path, struct toml_value *root,
		     struct err *e)
{
	OWN(free) char *text = NULL;
	struct toml_value *tree;
	size_t len;

	if (file_read(AT_FDCWD, path, TOML_MAX_BYTES, &text, &len, e) < 0 ||
	    toml_parse(text, len, path, &c->arena, &tree, e) < 0)
		return -1;
	config_merge(root, tree);
	return 0;
}

static int is_drop_in(const struct dirent *d)
{
	return d->d_name[0] != '.' && str_ends(d->d_name, ".toml");
}

static int read_names(struct kata_config *c, const char *dir, struct dirent **names, int n,
		      struct toml_value *root, struct err *e)
{
	if (n > DROP_INS_MAX)
		return err_set(e, ERR_INVALID, 0, "%s: more than %d files", dir, DROP_INS_MAX);
	for (int i = 0; i < n; i++) {
		char *path = arena_printf(&c->arena, "%s/%s", dir, names[i]->d_name);

		if (!path)
			return err_oom(e, "a path");
		if (read_file(c, path, root, e) < 0)
			return -1;
		c->drop_ins++;
	}
	return 0;
}

static int read_directory(struct kata_config *c, const char *dir, struct toml_value *root,
			  struct err *e)
{
	struct dirent **names = NULL;
	int n, rc;

	n = scandir(dir, &names, is_drop_in, alphasort);
	if (n < 0) {
		if (errno == ENOENT || errno == ENOTDIR)
			return 0;
		return err_sys(e, "configuration directory '%s'", dir);
	}
	rc = read_names(c, dir, names, n, root, e);
	for (int i = 0; i < n; i++)
		free(names[i]);
	free(names);
	return rc;
}

static int find_beside(const char *file, struct arena *a, const char **out, struct err *e)
{
	const char *slash = strrchr(file, '/');

	*out = slash ? arena_printf(a, "%.*s/config.d", (int)(slash - file), file) : "config.d";
	return *out ? 0 : err_oom(e, "a path");
}

static bool is_same(const char *path, const char *other)
{
	struct stat a, b;

	return stat(path, &a) == 0 && stat(other, &b) == 0 && a.st_dev == b.st_dev &&
	       a.st_ino == b.st_ino;
}

/* Those of the file that a link leads to, as upstream, and over them those beside the link. */
static int read_drop_ins(struct kata_config *c, struct toml_value *root, struct err *e)
{
	OWN(free) char *real = realpath(c->file, NULL);
	const char *named, *resolved;

	if (!real)
		return err_sys(e, "configuration '%s'", c->file);
	if (find_beside(c->file, &c->arena, &named, e) < 0 ||
	    find_beside(real, &c->arena, &resolved, e) < 0)
		return -1;
	if (!is_same(resolved, named) && read_directory(c, resolved, root, e) < 0)
		return -1;
	return read_directory(c, named, root, e);
}

static int read_all(struct kata_config *c, struct err *e)
{
	struct toml_value root = { .type = TOML_TABLE };

	if (read_file(c, c->file, &root, e) < 0 || read_drop_ins(c, &root, e) < 0)
		return -1;
	return config_read_tree(c, &root, e);
}

int config_load(const char *path, struct kata_config **out, struct err *e)
{
	OWN(config) struct kata_config *c = NULL;

	if (config_new(&c, e) < 0)
		return -1;
	if (find_main(path, &c->arena, &c->file, e) < 0)
		return -1;
	if (c->file && read_all(c, e) < 0)
		return err_wrap(e, "load TOML config failed");
	*out = TAKE(c);
	return 0;
}

int config_write_search(const char *prefix, struct buf *out, struct err *e)
{
	OWN(arena) struct arena a = { .limit = 1 << 16 };

	for (size_t i = 0; i < ARRAY_LEN(search); i++) {
		const char *path;
		int rc = 0;

		if (*search[i] != '/' && prefix)
			rc = buf_printf(out, e, "%s/" CONFIG_FILE "\n", prefix);
		else if (search_path(i, &a, &path, e) < 0)
			return -1;
		else if (!prefix || !str_starts(path, prefix) || path[strlen(prefix)] != '/')
			rc = buf_printf(out, e, "%s\n", path);
		if (rc < 0)
			return -1;
	}
	return 0;
}
