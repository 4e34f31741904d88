/* SPDX-License-Identifier: Apache-2.0 */
/*
 * passwd(5) and group(5) out of an image's layers: the file of the topmost layer that has it.
 * The layers are untrusted: read beneath their own root, bounded, malformed lines skipped.
 */
#include "cli/user_lookup.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/fd.h"
#include "base/mem.h"
#include "base/own.h"
#include "base/path.h"
#include "base/str.h"
#include "image/store.h"

enum {
	FILE_MAX_BYTES = 4 << 20,
	GROUPS_MAX = 256
};

/* How overlayfs hides what lower layers have: a device 0:0, or a mark on the directory. */
static bool is_whiteout(const struct stat *st)
{
	return S_ISCHR(st->st_mode) && st->st_rdev == makedev(0, 0);
}

static bool is_opaque(int dir)
{
	char name[PATH_FD_LEN], value;

	return getxattr(path_of_fd(dir, name), "trusted.overlay.opaque", &value, 1) == 1 &&
	       value == 'y';
}

enum found {
	FOUND_FILE,
	FOUND_NOTHING, /* a lower layer may have it */
	FOUND_HIDDEN,  /* it is gone, whatever lower layers have */
};

/* Looks for etc/<name> in one layer; *out is opened where there is a regular file. */
static enum found look_in_layer(int root, const char *name, int *out)
{
	OWN(fd) int etc = -1;
	OWN(fd) int at = -1;
	char path[32], seen[PATH_FD_LEN];
	struct stat st;
	struct err e;

	if (path_open_beneath(root, "etc", O_PATH | O_NOFOLLOW, 0, &etc, &e) < 0)
		return FOUND_NOTHING;
	if (fstat(etc, &st) < 0 || (!S_ISDIR(st.st_mode) && !S_ISLNK(st.st_mode)))
		return FOUND_HIDDEN;
	(void)snprintf(path, sizeof(path), "etc/%s", name);
	/* what was looked at is opened, not its name: the guest may put a device there
	 * meanwhile */
	if (path_open_beneath(root, path, O_PATH, 0, &at, &e) < 0)
		return S_ISDIR(st.st_mode) && is_opaque(etc) ? FOUND_HIDDEN : FOUND_NOTHING;
	if (fstat(at, &st) < 0 || is_whiteout(&st) || !S_ISREG(st.st_mode))
		return FOUND_HIDDEN;
	*out = open(path_of_fd(at, seen), O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
	return *out < 0 ? FOUND_HIDDEN : FOUND_FILE;
}

/* etc/<name> of the image; 1 if no layer has it, or the topmost one that says so removes it. */
static int read_in_layers(const struct image *image, const char *name, char **out,
			  struct err *e)
{
	for (size_t i = image ? image->layers.n : 0; i > 0; i--) {
		OWN(fd)
		int root = open(image->layers.v[i - 1], O_PATH | O_DIRECTORY | O_CLOEXEC);
		OWN(buf) struct buf b = { .limit = FILE_MAX_BYTES };
		OWN(fd) int fd = -1;

		if (root < 0)
			return err_sys(e, "open layer '%s'", image->layers.v[i - 1]);
		switch (look_in_layer(root, name, &fd)) {
		case FOUND_NOTHING:
			continue;
		case FOUND_HIDDEN:
			return 1;
		case FOUND_FILE:
			break;
		}
		if (fd_read_to_end(fd, &b, e) < 0)
			return err_wrap(e, "/etc/%s of the image", name);
		*out = buf_take_str(&b);
		return *out ? 0 : err_oom(e, name);
	}
	return 1;
}

/* One line of passwd(5) or group(5). */
struct user_entry {
	const char *name, *field[7];
	size_t fields;
	uint32_t id, gid; /* the third field, and passwd's fourth */
};

static void split_line(char *line, struct user_entry *out)
{
	out->fields = 0;
	while (line && out->fields < ARRAY_LEN(out->field)) {
		out->field[out->fields++] = line;
		line = strchr(line, ':');
		if (line)
			*line++ = '\0';
	}
	out->name = out->field[0];
}

static int parse_id(const char *s, const char *what, uint32_t *out, struct err *e)
{
	uint64_t n;

	if (str_to_u64(s, 0, UINT32_MAX - 1, what, &n, e) < 0)
		return -1;
	*out = (uint32_t)n;
	return 0;
}

static bool is_number(const char *s)
{
	return *s && s[strspn(s, "0123456789")] == '\0';
}

static bool has_ids(struct user_entry *en, bool passwd)
{
	struct err ignored;

	return en->fields >= 3 && *en->name &&
	       parse_id(en->field[2], "id", &en->id, &ignored) == 0 &&
	       (!passwd || en->fields == 3 ||
		parse_id(en->field[3], "gid", &en->gid, &ignored) == 0);
}

/*
 * Finds a line by the number in its third field, or by name if `key` is no number: an image
 * that names a user "1000" makes nobody another one. 1 if there is none. Cuts `text` into
 * pieces.
 */
static int find_entry(char *text, const char *key, bool passwd, struct user_entry *out)
{
	bool number = is_number(key);
	char *rest = text;
	struct err ignored;
	uint32_t id = 0;

	if (number && parse_id(key, "id", &id, &ignored) < 0)
		return 1;
	while (rest) {
		char *line = rest;

		rest = strchr(line, '\n');
		if (rest)
			*rest++ = '\0';
		split_line(line, out);
		if (has_ids(out, passwd) && (number ? out->id == id : str_eq(out->name, key)))
			return 0;
	}
	return 1;
}

/* user part: uid and its group from passwd. */
static int resolve_user(const struct image *image, const char *user, struct arena *a,
			struct user_ids *ids, const char **name, struct err *e)
{
	OWN(free) char *text = NULL;
	struct user_entry en;
	int rc = read_in_layers(image, "passwd", &text, e);

	/* a number needs no name; lack of memory is no property of the file */
	if (rc < 0 && (!is_number(user) || e->kind == ERR_NO_MEMORY))
		return -1;
	if (rc == 0 && find_entry(text, user, true, &en) == 0) {
		ids->uid = en.id;
		if (en.fields > 3)
			ids->gid = en.gid;
		*name = arena_strdup(a, en.name);
		return *name ? 0 : err_oom(e, "a user");
	}
	if (!is_number(user))
		return err_set(e, ERR_NOT_FOUND, 0,
			       "user '%.64s' is not in the image's /etc/passwd", user);
	*name = NULL;
	return parse_id(user, "user", &ids->uid, e);
}

static int resolve_group(const struct image *image, const char *group, struct user_ids *ids,
			 struct err *e)
{
	OWN(free) char *text = NULL;
	struct user_entry en;
	int rc = read_in_layers(image, "group", &text, e);

	if (rc < 0 && (!is_number(group) || e->kind == ERR_NO_MEMORY))
		return -1;
	if (rc == 0 && find_entry(text, group, false, &en) == 0) {
		ids->gid = en.id;
		return 0;
	}
	if (!is_number(group))
		return err_set(e, ERR_NOT_FOUND, 0,
			       "group '%.64s' is not in the image's /etc/group", group);
	return parse_id(group, "group", &ids->gid, e);
}

static bool lists_member(const char *members, const char *name)
{
	size_t n = strlen(name);

	while (members && *members) {
		if (strncmp(members, name, n) == 0 && (members[n] == ',' || members[n] == '\0'))
			return true;
		members = strchr(members, ',');
		members = members ? members + 1 : NULL;
	}
	return false;
}

/* Every group that lists the user as a member. */
static int add_groups(const struct image *image, const char *name, struct arena *a,
		      struct user_ids *ids, struct err *e)
{
	OWN(free) char *text = NULL;
	int rc = read_in_layers(image, "group", &text, e);
	char *rest = text;

	if (rc != 0)
		return rc < 0 ? -1 : 0;
	ids->groups = arena_calloc(a, GROUPS_MAX, sizeof(*ids->groups));
	if (!ids->groups)
		return err_oom(e, "groups");
	while (rest && ids->group_count < GROUPS_MAX) {
		struct user_entry en;
		char *line = rest;

		rest = strchr(line, '\n');
		if (rest)
			*rest++ = '\0';
		split_line(line, &en);
		if (has_ids(&en, false) && en.fields > 3 && lists_member(en.field[3], name))
			ids->groups[ids->group_count++] = en.id;
	}
	return 0;
}

int user_lookup(const struct image *image, const char *text, struct arena *a,
		struct user_ids *out, struct err *e)
{
	const char *colon = text ? strchr(text, ':') : NULL, *user, *name = NULL;
	struct user_ids ids = { 0 };

	user = arena_strndup(a, text ? text : "",
			     colon ? (size_t)(colon - text) : strlen(text ? text : ""));
	if (!user)
		return err_oom(e, "a user");
	if (resolve_user(image, *user ? user : "0", a, &ids, &name, e) < 0)
		return -1;
	if (colon && colon[1] && resolve_group(image, colon + 1, &ids, e) < 0)
		return -1;
	if (name && !(colon && colon[1]) && add_groups(image, name, a, &ids, e) < 0)
		return -1;
	*out = ids;
	return 0;
}
