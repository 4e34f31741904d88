/* SPDX-License-Identifier: Apache-2.0 */
/* mountInfo.json of storage drivers, and the disk it speaks of. */
#include "sandbox/direct_volume.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/err.h"
#include "base/fd.h"
#include "base/log.h"
#include "base/own.h"
#include "sandbox/disks.h"
#include "sandbox/internal.h"
#include "wire/json.h"

#define DIRECT_VOLUMES "/run/kata-containers/shared/direct-volumes"

enum {
	INFO_MAX = 64 << 10,
	RECORD_MAX = 1 << 20,
	NAME_LIMIT = 255 /* of a file's name, Linux's NAME_MAX */
};

void direct_volume_fini(struct direct_volume *v)
{
	free(v->device);
	free(v->fstype);
	strv_fini(&v->options);
	*v = (struct direct_volume){ 0 };
}

/* ---- the file ---- */

/* Upstream's two programs write two spellings. */
static const struct jval *member(const struct jval *o, const char *key, const char *other)
{
	const struct jval *v = jval_get(o, key);

	return v ? v : jval_get(o, other);
}

static int take_string(const struct jval *o, const char *key, const char *other, char **out,
		       struct err *e)
{
	const struct jval *v = member(o, key, other);
	const char *s = jval_str(v);

	if (!s || !*s || strlen(s) != jval_str_len(v))
		return err_set(e, ERR_INVALID, 0, "%s: must be a text", key);
	*out = strdup(s);
	return *out ? 0 : err_oom(e, "a volume");
}

/* Only disks: what else upstream knows needs devices of another kind. */
static int check_type(const struct jval *o, struct err *e)
{
	OWN(free) char *type = NULL;

	if (take_string(o, "volume-type", "volume_type", &type, e) < 0)
		return -1;
	if (str_eq(type, "block") || str_eq(type, "directvol"))
		return 0;
	return err_set(e, ERR_UNSUPPORTED, 0,
		       "volume-type '%.40s': only block (directvol) is supported", type);
}

static int take_options(const struct jval *list, struct direct_volume *v, struct err *e)
{
	if (jval_type(list) != JVAL_NULL && jval_type(list) != JVAL_ARRAY)
		return err_set(e, ERR_INVALID, 0, "options: must be a list of texts");
	for (size_t i = 0; i < jval_count(list); i++) {
		const char *s = jval_str(jval_at(list, i));

		if (!s)
			return err_set(e, ERR_INVALID, 0, "options[%zu]: must be a text", i);
		if (strv_add(&v->options, s, e) < 0)
			return -1;
	}
	return 0;
}

static int take_group(const struct jval *metadata, struct direct_volume *v, struct err *e)
{
	const char *group = jval_str(jval_get(metadata, "fsGroup"));
	const struct jval *given = jval_get(metadata, "fsGroup");
	const char *policy = jval_str(jval_get(metadata, "fsGroupChangePolicy"));
	uint64_t id;

	if (jval_type(metadata) != JVAL_NULL && jval_type(metadata) != JVAL_OBJECT)
		return err_set(e, ERR_INVALID, 0, "metadata: must be an object");
	/* left out silently, the files would be another's */
	if (jval_type(given) != JVAL_NULL && !group)
		return err_set(e, ERR_INVALID, 0, "metadata.fsGroup: must be a text");
	if (policy && !str_eq(policy, "Always") && !str_eq(policy, "OnRootMismatch"))
		return err_set(e, ERR_INVALID, 0,
			       "metadata.fsGroupChangePolicy '%.40s': Always or OnRootMismatch",
			       policy);
	v->on_root_mismatch = policy && str_eq(policy, "OnRootMismatch");
	if (!group)
		return 0;
	if (str_to_u64(group, 0, UINT32_MAX - 1, "metadata.fsGroup", &id, e) < 0)
		return -1;
	v->has_group = true;
	v->group = (uint32_t)id;
	return 0;
}

int direct_volume_parse(const char *text, size_t len, struct direct_volume *out, struct err *e)
{
	OWN(direct_volume) struct direct_volume v = { 0 };
	OWN(jval) struct jval *o = NULL;

	if (jval_parse(text, len, &o, e) < 0)
		return -1;
	if (check_type(o, e) < 0 || take_string(o, "device", "device", &v.device, e) < 0 ||
	    take_string(o, "fstype", "fs_type", &v.fstype, e) < 0 ||
	    take_options(jval_get(o, "options"), &v, e) < 0 ||
	    take_group(jval_get(o, "metadata"), &v, e) < 0)
		return -1;
	if (v.device[0] != '/')
		return err_set(e, ERR_INVALID, 0, "device '%.200s': must be an absolute path",
			       v.device);
	*out = v;
	v = (struct direct_volume){ 0 };
	return 0;
}

/* Its directory; 0 if there can be none. */
static int directory_of(const char *source, char *out, size_t size)
{
	char name[NAME_LIMIT + 8];

	if (strlen(source) > NAME_LIMIT / 4 * 3)
		return 0;
	str_base64(source, strlen(source), true, name, sizeof(name));
	return snprintf(out, size, DIRECT_VOLUMES "/%s", name) < (int)size;
}

/* 1: read, 0: the source is none. */
static int find(const char *source, char *dir, size_t size, struct direct_volume *out,
		struct err *e)
{
	OWN(free) char *text = NULL;
	char path[PATH_MAX];
	size_t len;

	if (!directory_of(source, dir, size))
		return 0;
	(void)snprintf(path, sizeof(path), "%s/mountInfo.json", dir);
	if (access(path, F_OK) < 0 && (errno == ENOENT || errno == ENOTDIR))
		return 0;
	if (file_read(AT_FDCWD, path, INFO_MAX, &text, &len, e) < 0)
		return -1;
	return direct_volume_parse(text, len, out, e) < 0 ? err_wrap(e, "%s", path) : 1;
}

/* ---- its use ---- */

/* A container that comes again has its volumes listed once. */
static int record(struct container *c, const char *path, struct err *e)
{
	const char *name = c->sandbox->c.mark_record;
	OWN(free) char *text = NULL, *line = str_printf("%s\n", path);
	OWN(fd) int fd = -1;

	if (!line)
		return err_oom(e, "a path");
	if (!*name)
		return 0;
	if (file_read(AT_FDCWD, name, RECORD_MAX, &text, NULL, e) < 0 && e->sys != ENOENT)
		return -1;
	err_clear(e);
	if (str_has_line(text, path))
		return 0;
	fd = open(name, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd < 0)
		return err_sys(e, "open '%s'", name);
	return fd_write_all(fd, line, strlen(line), e) < 0 ? err_wrap(e, "'%s'", name) : 0;
}

static int mark(struct container *c, struct disk *d, const char *dir, struct err *e)
{
	OWN(free) char *path = str_printf("%s/%s", dir, c->sandbox->c.id);
	OWN(fd) int fd = -1;

	if (d->marker)
		return 0;
	if (!path)
		return err_oom(e, "a path");
	if (record(c, path, e) < 0)
		return -1;
	fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd < 0)
		return err_sys(e, "make '%s'", path);
	d->marker = TAKE(path);
	return 0;
}

static int fill(struct container *c, Grpc__Storage *st, const struct direct_volume *v,
		struct err *e)
{
	Grpc__FSGroup *group;

	if (storage_options_room(c, st, v->options.n, e) < 0)
		return -1;
	for (size_t i = 0; i < v->options.n; i++) {
		if (storage_add_option(c, st, v->options.v[i], e) < 0)
			return -1;
	}
	if (!v->has_group)
		return 0;
	group = arena_alloc(&c->arena, sizeof(*group));
	if (!group)
		return err_oom(e, "a storage");
	grpc__fsgroup__init(group);
	group->group_id = v->group;
	group->group_change_policy = v->on_root_mismatch
					     ? GRPC__FSGROUP_CHANGE_POLICY__OnRootMismatch
					     : GRPC__FSGROUP_CHANGE_POLICY__Always;
	st->fs_group = group;
	return 0;
}

static bool is_read_only(const struct direct_volume *v)
{
	for (size_t i = 0; i < v->options.n; i++) {
		if (str_eq(v->options.v[i], "ro"))
			return true;
	}
	return false;
}

static int plug(struct container *c, Grpc__Mount *m, const struct direct_volume *v,
		const char *dir, struct err *e)
{
	char where[sizeof(SANDBOX_STORAGE_DIR) + DISK_ID_SIZE + 1];
	Grpc__Storage *st;
	struct disk *d;

	/* a container that only reads it may be followed by one that writes */
	if (disk_plug(c, v->device, is_read_only(v), &d, e) < 0 || mark(c, d, dir, e) < 0)
		return -1;
	(void)snprintf(where, sizeof(where), SANDBOX_STORAGE_DIR "/%s", d->id);
	if (container_add_storage(c, "blk", d->at.pci_path, v->fstype, where, &st, e) < 0 ||
	    fill(c, st, v, e) < 0)
		return -1;
	log_info(&c->log, "volume on '%s': '%s' (%s) plugged in as a disk in place of '%s'",
		 m->destination, v->device, v->fstype, m->source);
	m->type = arena_strdup(&c->arena, "bind");
	m->source = st->mount_point;
	return m->type ? 0 : err_oom(e, "a mount");
}

int direct_volume_use(struct container *c, Grpc__Mount *m, struct err *e)
{
	OWN(direct_volume) struct direct_volume v = { 0 };
	char dir[sizeof(DIRECT_VOLUMES) + NAME_LIMIT + 8];
	int rc = find(m->source, dir, sizeof(dir), &v, e);

	if (rc == 1 && plug(c, m, &v, dir, e) < 0)
		rc = err_wrap(e, "direct volume '%s'", m->source);
	return rc < 0 ? err_wrap(e, "mount on '%s'", m->destination) : rc;
}

void direct_volume_sweep(int dirfd, const char *record)
{
	OWN(free) char *list = NULL;
	char *line, *rest;
	struct err e;

	if (file_read(dirfd, record, RECORD_MAX, &list, NULL, &e) < 0) {
		if (e.sys != ENOENT)
			log_warn(NULL, "files beside direct volumes: %s", e.msg);
		return;
	}
	for (line = strtok_r(list, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest)) {
		if (str_starts(line, DIRECT_VOLUMES "/") && !strstr(line, "/../") &&
		    unlink(line) < 0 && errno != ENOENT && errno != ENOTDIR)
			log_warn(NULL, "'%s' of an engine that died cannot be removed: %s",
				 line, strerror(errno));
	}
}
