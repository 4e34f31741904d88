/* SPDX-License-Identifier: Apache-2.0 */
/* passwd and group of a container. */
#include "agent/user.h"

#include <fcntl.h>
#include <stdint.h>
#include <string.h>
#include <sys/stat.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/fd.h"
#include "base/own.h"
#include "base/path.h"

enum {
	FILE_MAX = 4 << 20,
	FIELDS = 7
};

struct field {
	const char *p;
	size_t len;
};

bool id_parse(const char *s, size_t len, unsigned *out)
{
	uint64_t v = 0;

	if (len == 0 || len > 10)
		return false;
	for (size_t i = 0; i < len; i++) {
		if (s[i] < '0' || s[i] > '9')
			return false;
		v = v * 10 + (unsigned)(s[i] - '0');
	}
	if (v >= UINT32_MAX)
		return false;
	*out = (unsigned)v;
	return true;
}

/* Splits the next line at colons; returns the number of fields, 0 at the end of the text. */
static size_t next_line(const char **p, const char *end, struct field f[FIELDS])
{
	const char *line = *p, *stop;
	size_t n = 0;

	if (line >= end)
		return 0;
	stop = memchr(line, '\n', (size_t)(end - line));
	if (!stop)
		stop = end;
	*p = stop + 1;
	while (n < FIELDS) {
		const char *colon = memchr(line, ':', (size_t)(stop - line));

		f[n].p = line;
		f[n++].len = (size_t)((colon ? colon : stop) - line);
		if (!colon)
			break;
		line = colon + 1;
	}
	for (size_t i = n; i < FIELDS; i++)
		f[i] = (struct field){ "", 0 };
	return n;
}

static bool field_is(const struct field *f, const char *s, size_t len)
{
	return f->len == len && memcmp(f->p, s, len) == 0;
}

static bool passwd_parse(const struct field f[FIELDS], struct passwd_line *out)
{
	unsigned uid, gid;

	if (f[0].len == 0 || !id_parse(f[2].p, f[2].len, &uid) ||
	    !id_parse(f[3].p, f[3].len, &gid))
		return false;
	*out = (struct passwd_line){
		.name = f[0].p,
		.name_len = f[0].len,
		.uid = uid,
		.gid = gid,
		.home = f[5].p,
		.home_len = f[5].len,
	};
	return true;
}

bool passwd_find_uid(const char *text, size_t len, uid_t uid, struct passwd_line *out)
{
	const char *p = text;
	struct field f[FIELDS];
	struct passwd_line l;

	while (next_line(&p, text + len, f)) {
		if (passwd_parse(f, &l) && l.uid == uid) {
			*out = l;
			return true;
		}
	}
	return false;
}

bool passwd_find(const char *text, size_t len, const char *name, struct passwd_line *out)
{
	const char *p = text;
	struct field f[FIELDS];
	struct passwd_line l;
	unsigned uid;

	while (next_line(&p, text + len, f)) {
		if (field_is(&f[0], name, strlen(name)) && passwd_parse(f, &l)) {
			*out = l;
			return true;
		}
	}
	return id_parse(name, strlen(name), &uid) && passwd_find_uid(text, len, uid, out);
}

bool group_find(const char *text, size_t len, const char *name, gid_t *out)
{
	const char *p = text;
	struct field f[FIELDS];
	unsigned gid;

	while (next_line(&p, text + len, f)) {
		if (field_is(&f[0], name, strlen(name)) && id_parse(f[2].p, f[2].len, &gid)) {
			*out = gid;
			return true;
		}
	}
	if (!id_parse(name, strlen(name), &gid))
		return false;
	*out = gid;
	return true;
}

static bool is_member(const struct field *members, const char *user, size_t user_len)
{
	const char *p = members->p, *end = p + members->len;

	while (p < end) {
		const char *comma = memchr(p, ',', (size_t)(end - p));
		struct field one = { p, (size_t)((comma ? comma : end) - p) };

		if (field_is(&one, user, user_len))
			return true;
		if (!comma)
			break;
		p = comma + 1;
	}
	return false;
}

static int add_group(struct identity *id, gid_t gid, struct err *e)
{
	for (size_t i = 0; i < id->group_count; i++) {
		if (id->groups[i] == gid)
			return 0;
	}
	if (id->group_count >= IDENTITY_GROUPS_MAX)
		return err_set(e, ERR_INVALID, 0, "more than %d groups", IDENTITY_GROUPS_MAX);
	id->groups[id->group_count++] = gid;
	return 0;
}

int group_add_memberships(const char *text, size_t len, const char *user, size_t user_len,
			  struct identity *id, struct err *e)
{
	const char *p = text;
	struct field f[FIELDS];
	unsigned gid;

	while (next_line(&p, text + len, f)) {
		if (!id_parse(f[2].p, f[2].len, &gid) || !is_member(&f[3], user, user_len))
			continue;
		if (add_group(id, gid, e) < 0)
			return -1;
	}
	return 0;
}

/* A missing file is an empty one. */
static int read_table(int rootfd, const char *path, struct buf *b, struct err *e)
{
	OWN(fd) int fd = -1;
	struct stat st;

	b->limit = FILE_MAX;
	if (path_open_beneath(rootfd, path, O_RDONLY | O_NONBLOCK | O_NOCTTY, 0, &fd, e) < 0) {
		if (e->kind != ERR_NOT_FOUND)
			return -1;
		err_clear(e);
		return 0;
	}
	if (fstat(fd, &st) < 0)
		return err_sys(e, "stat '%s'", path);
	if (!S_ISREG(st.st_mode))
		return err_set(e, ERR_INVALID, 0, "'%s' of the container is no regular file",
			       path);
	if (fd_read_to_end(fd, b, e) < 0)
		return err_wrap(e, "'%s' of the container", path);
	return 0;
}

static const char *text_of(const struct buf *b)
{
	return b->data ? (const char *)buf_head(b) : "";
}

static void set_home(struct identity *id, const struct passwd_line *l)
{
	if (l->home_len >= sizeof(id->home) || memchr(l->home, '\0', l->home_len))
		return;
	memcpy(id->home, l->home, l->home_len);
	id->home[l->home_len] = '\0';
}

static int find_groups(const struct buf *groups, const char *group, char *const *more,
		       size_t more_count, struct identity *id, struct err *e)
{
	gid_t gid;

	if (*group && !group_find(text_of(groups), buf_len(groups), group, &id->gid))
		return err_set(e, ERR_INVALID, 0, "the container has no group '%.64s'", group);
	for (size_t i = 0; i < more_count; i++) {
		if (!group_find(text_of(groups), buf_len(groups), more[i], &gid))
			return err_set(e, ERR_INVALID, 0, "the container has no group '%.64s'",
				       more[i]);
		if (add_group(id, gid, e) < 0)
			return -1;
	}
	return 0;
}

int identity_by_name(int rootfd, const char *user, const char *group, char *const *more,
		     size_t more_count, struct identity *out, struct err *e)
{
	OWN(buf) struct buf users = BUF_INIT;
	OWN(buf) struct buf groups = BUF_INIT;
	struct passwd_line l;
	unsigned uid;

	if (read_table(rootfd, "etc/passwd", &users, e) < 0 ||
	    read_table(rootfd, "etc/group", &groups, e) < 0)
		return -1;
	memset(out, 0, sizeof(*out));
	if (passwd_find(text_of(&users), buf_len(&users), user, &l)) {
		out->uid = l.uid;
		out->gid = l.gid;
		set_home(out, &l);
		if (group_add_memberships(text_of(&groups), buf_len(&groups), l.name,
					  l.name_len, out, e) < 0)
			return -1;
	} else if (id_parse(user, strlen(user), &uid)) {
		out->uid = uid;
	} else if (*user) {
		return err_set(e, ERR_INVALID, 0, "the container has no user '%.64s'", user);
	}
	return find_groups(&groups, group, more, more_count, out, e);
}

void identity_find_home(int rootfd, struct identity *id)
{
	OWN(buf) struct buf users = BUF_INIT;
	struct passwd_line l;
	struct err ignored;

	if (read_table(rootfd, "etc/passwd", &users, &ignored) == 0 &&
	    passwd_find_uid(text_of(&users), buf_len(&users), id->uid, &l))
		set_home(id, &l);
}
