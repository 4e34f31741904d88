/* SPDX-License-Identifier: Apache-2.0 */
/* Directories below /sys/fs/cgroup (cgroups(7)), and systemd's scopes. */
#include "sandbox/host_cgroup.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/fd.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/own.h"
#include "base/path.h"
#include "base/str.h"
#include "base/time.h"
#include "event/fiber.h"
#include "oci/cgroups_path.h"
#include "sandbox/systemd_scope.h"

enum {
	PROC_FILE_MAX = 1 << 20,
	REMOVE_MS = 3000, /* of all leaves */
	REMOVE_POLL_MS = 10,
	GO_TRIES = 3
};

struct place {
	struct host_cgroup_root root;
	char dir[PATH_MAX];
	bool joined;
	bool systemds; /* systemd has made it, and removes it */
};

struct host_cgroup {
	struct loop *loop;
	const struct log_ctx *log;
	struct place places[HOST_CGROUP_ROOTS];
	size_t count;
};

/* ---- where the hierarchies are ---- */

/* The next field of a line whose fields are one space apart; NULL at its end. */
static char *field(char **line)
{
	return *line ? strsep(line, " ") : NULL;
}

/* "4:memory:/a/b" for a hierarchy with the controller `name`; "0::/a" for version 2. */
static const char *own_path(const char *own, const char *name, size_t len)
{
	for (const char *p = own; p && *p; p = strchr(p, '\n') ? strchr(p, '\n') + 1 : NULL) {
		const char *set = strchr(p, ':');
		const char *path = set ? strchr(set + 1, ':') : NULL;

		if (!path)
			return NULL;
		if (len == 0 && path == set + 1)
			return path + 1;
		for (const char *c = set + 1; len && c < path; c += strcspn(c, ",:") + 1) {
			if (strcspn(c, ",:") == len && memcmp(c, name, len) == 0)
				return path + 1;
		}
	}
	return NULL;
}

/* The first word of a version 1 mount's options that is a controller; *len 0: none. */
static const char *first_controller(const char *options, size_t *len)
{
	static const char *const known[] = { "cpu",     "cpuacct", "cpuset",   "memory",
					     "pids",    "blkio",   "devices",  "freezer",
					     "hugetlb", "net_cls", "net_prio", "perf_event",
					     "rdma",    "misc" };

	for (const char *p = options;; p += *len + 1) {
		*len = strcspn(p, ",");
		for (size_t i = 0; i < ARRAY_LEN(known); i++) {
			if (strlen(known[i]) == *len && memcmp(known[i], p, *len) == 0)
				return p;
		}
		if (!p[*len])
			break;
	}
	*len = 0;
	return NULL;
}

/* mount + (path below root): where we are, as seen through this mount. */
static void set_home(struct host_cgroup_root *r, const char *root, const char *path)
{
	size_t n = strcmp(root, "/") == 0 ? 0 : strlen(root);
	int len = path ? (int)strcspn(path, "\n") : 0;

	(void)snprintf(r->home, sizeof(r->home), "%s", r->mount);
	if (path && strncmp(path, root, n) == 0 && (path[n] == '/' || path[n] == '\n'))
		(void)snprintf(r->home, sizeof(r->home), "%s%.*s", r->mount, len - (int)n,
			       path + n);
}

static bool is_known(const struct host_cgroup_root *list, size_t n, const char *device)
{
	for (size_t i = 0; i < n; i++) {
		if (str_eq(list[i].device, device))
			return true;
	}
	return false;
}

/* One line of mountinfo (proc(5)); 1 if it is a hierarchy. */
static int read_mount(char *line, const char *own, struct host_cgroup_root *out)
{
	char *at[6], *type = NULL, *options;
	const char *controller;
	size_t len = 0;

	for (size_t i = 0; i < ARRAY_LEN(at); i++)
		at[i] = field(&line);
	while (line && (type = field(&line)) && strcmp(type, "-") != 0)
		;
	type = field(&line);
	(void)field(&line);
	options = field(&line);
	if (!type || !options || !at[4] || strlen(at[4]) >= sizeof(out->mount) ||
	    strchr(at[4], '\\'))
		return 0;
	out->unified = str_eq(type, "cgroup2");
	controller = out->unified ? "" : first_controller(options, &len);
	if (!out->unified && (!str_eq(type, "cgroup") || !controller))
		return 0;
	(void)snprintf(out->mount, sizeof(out->mount), "%s", at[4]);
	(void)snprintf(out->device, sizeof(out->device), "%s", at[2]);
	set_home(out, at[3], own_path(own, controller, len));
	return 1;
}

size_t host_cgroup_roots(char *mountinfo, const char *own,
			 struct host_cgroup_root out[HOST_CGROUP_ROOTS])
{
	struct host_cgroup_root unified = { .mount = "" }, r;
	char *line, *rest;
	size_t n = 0;

	for (line = strtok_r(mountinfo, "\n", &rest); line;
	     line = strtok_r(NULL, "\n", &rest)) {
		if (!read_mount(line, own, &r))
			continue;
		if (r.unified && !*unified.mount)
			unified = r;
		else if (!r.unified && n < HOST_CGROUP_ROOTS && !is_known(out, n, r.device))
			out[n++] = r;
	}
	/* beside version 1 it has no controllers of ours */
	if (n == 0 && *unified.mount)
		out[n++] = unified;
	return n;
}

static int find_roots(struct host_cgroup *c, struct err *e)
{
	struct host_cgroup_root roots[HOST_CGROUP_ROOTS];
	OWN(free) char *mountinfo = NULL;
	OWN(free) char *own = NULL;

	if (file_read(AT_FDCWD, "/proc/self/mountinfo", PROC_FILE_MAX, &mountinfo, NULL, e) <
		    0 ||
	    file_read(AT_FDCWD, "/proc/self/cgroup", PROC_FILE_MAX, &own, NULL, e) < 0)
		return -1;
	c->count = host_cgroup_roots(mountinfo, own, roots);
	for (size_t i = 0; i < c->count; i++)
		c->places[i].root = roots[i];
	return 0;
}

/* ---- making ---- */

/* A new cpuset has no processors: it gets its parent's. */
static int fill_cpuset(const char *dir, const char *name, struct err *e)
{
	OWN(free) char *file = str_printf("%s/%s", dir, name);
	OWN(free) char *above = str_printf("%s/../%s", dir, name);
	char value[256];

	if (!file || !above)
		return err_oom(e, "a path");
	if (access(file, F_OK) < 0 ||
	    file_read_line(AT_FDCWD, file, value, sizeof(value), e) < 0)
		return 0;
	if (*value)
		return 0;
	if (file_read_line(AT_FDCWD, above, value, sizeof(value), e) < 0)
		return -1;
	return file_write_value(AT_FDCWD, file, value, e);
}

/* Version 2 hands controllers down one by one; one that is not there is not needed. */
static void hand_down(const char *dir)
{
	static const char *const wanted[] = { "+cpu", "+cpuset", "+memory", "+pids", "+io" };
	OWN(free) char *file = str_printf("%s/cgroup.subtree_control", dir);
	struct err ignored;

	for (size_t i = 0; file && i < ARRAY_LEN(wanted); i++)
		(void)file_write_value(AT_FDCWD, file, wanted[i], &ignored);
}

/* The parents, then the leaf. */
static int make_dir(struct place *p, struct err *e)
{
	size_t mount = strlen(p->root.mount);

	for (char *slash = p->dir + mount; slash; slash = strchr(slash + 1, '/')) {
		char *end = strchr(slash + 1, '/');
		int rc;

		if (p->root.unified) {
			*slash = '\0';
			hand_down(p->dir);
			*slash = '/';
		}
		if (end)
			*end = '\0';
		rc = mkdir(p->dir, 0755);
		rc = rc < 0 && errno != EEXIST ? err_sys(e, "make cgroup '%s'", p->dir) : 0;
		if (rc == 0 && !p->root.unified)
			rc = fill_cpuset(p->dir, "cpuset.cpus", e) < 0 ||
					     fill_cpuset(p->dir, "cpuset.mems", e) < 0
				     ? -1
				     : 0;
		if (end)
			*end = '/';
		if (rc < 0)
			return -1;
	}
	return 0;
}

static int move_to(const char *dir, struct err *e)
{
	OWN(free) char *file = str_printf("%s/cgroup.procs", dir);
	char pid[16];

	if (!file)
		return err_oom(e, "a path");
	(void)snprintf(pid, sizeof(pid), "%d", (int)getpid());
	if (file_write_value(AT_FDCWD, file, pid, e) < 0)
		return err_wrap(e, "go to cgroup '%s'", dir);
	return 0;
}

static int write_record(const struct host_cgroup *c, const char *record, struct err *e)
{
	OWN(buf) struct buf b = BUF_INIT;

	for (size_t i = 0; i < c->count; i++) {
		if (!c->places[i].systemds && buf_printf(&b, e, "%s\n", c->places[i].dir) < 0)
			return -1;
	}
	return file_replace(AT_FDCWD, record, buf_len(&b) ? buf_head(&b) : (const void *)"",
			    buf_len(&b), 0600, false, e);
}

static int set_dirs(struct host_cgroup *c, const char *path, struct err *e)
{
	for (size_t i = 0; i < c->count; i++) {
		struct place *p = &c->places[i];
		int n = snprintf(p->dir, sizeof(p->dir), "%s%s%s", p->root.mount,
				 *path == '/' ? "" : "/", path);

		if (n < 0 || (size_t)n >= sizeof(p->dir))
			return err_set(e, ERR_INVALID, 0, "linux.cgroupsPath is too long");
		for (size_t end = (size_t)n; end > 0 && p->dir[end - 1] == '/'; end--)
			p->dir[end - 1] = '\0';
	}
	return 0;
}

/* Another start may be removing what an earlier sandbox of that path has left. */
static int make_and_go(struct place *p, struct err *e)
{
	for (int i = 0; i < GO_TRIES; i++) {
		if (make_dir(p, e) == 0 && move_to(p->dir, e) == 0)
			return 0;
		if (e->sys != ENOENT && e->sys != ENODEV)
			return -1;
	}
	return -1;
}

/* The leaves that nobody has made for us. */
static int enter(struct host_cgroup *c, const char *record, struct err *e)
{
	if (write_record(c, record, e) < 0)
		return -1;
	for (size_t i = 0; i < c->count; i++) {
		struct place *p = &c->places[i];

		if (p->systemds)
			continue;
		if (make_and_go(p, e) < 0)
			return -1;
		p->joined = true;
	}
	return 0;
}

/* ---- systemd ---- */

/*
 * After systemd has moved us. What is version 2 is its own alone; of version 1 it leaves some
 * controllers (cpuset, freezer) to others.
 */
static int mark_systemds(struct host_cgroup *c, struct err *e)
{
	OWN(free) struct host_cgroup *now = mem_new(struct host_cgroup);

	if (!now)
		return err_oom(e, "a cgroup");
	if (find_roots(now, e) < 0)
		return -1;
	for (size_t i = 0; i < c->count; i++) {
		struct place *p = &c->places[i];

		p->systemds = p->root.unified;
		for (size_t k = 0; k < now->count; k++)
			p->systemds |= str_eq(now->places[k].root.device, p->root.device) &&
				       str_eq(now->places[k].root.home, p->dir);
		p->joined = p->systemds;
	}
	return 0;
}

static int enter_scope(struct host_cgroup *c, struct loop *l, struct child_reaper *r,
		       const char *path, struct err *e)
{
	struct systemd_cgroup s;
	OWN(free) char *full = NULL;
	char slice[PATH_MAX];

	if (cgroups_path_systemd(path, &s, e) < 0)
		return -1;
	if (!*s.slice)
		(void)snprintf(s.slice, sizeof(s.slice), "system.slice");
	if (systemd_slice_path(s.slice, slice, sizeof(slice), e) < 0)
		return -1;
	full = str_printf("%s/%s", slice, s.unit);
	if (!full)
		return err_oom(e, "a path");
	if (set_dirs(c, full, e) < 0 || systemd_scope_enter(l, r, &s, e) < 0)
		return -1;
	return mark_systemds(c, e);
}

/* ---- life ---- */

/* Components of a path only, and no way up. */
static int check_path(const char *path, struct err *e)
{
	for (const char *p = path; *p;) {
		size_t n = strcspn(p, "/");

		if ((n == 2 && memcmp(p, "..", 2) == 0) || (n == 1 && *p == '.') ||
		    (n == 0 && p > path))
			return err_set(e, ERR_INVALID, 0,
				       "linux.cgroupsPath '%.200s': must be a plain path",
				       path);
		p += n + (p[n] == '/');
	}
	return path[strspn(path, "/")]
		       ? 0
		       : err_set(e, ERR_INVALID, 0,
				 "linux.cgroupsPath '%.200s': names no cgroup", path);
}

int host_cgroup_enter(struct loop *l, struct child_reaper *r, const char *path,
		      const char *record, const struct log_ctx *log, struct host_cgroup **out,
		      struct err *e)
{
	struct host_cgroup *c;
	int rc;

	*out = NULL;
	if (!cgroups_path_is_systemd(path) && check_path(path, e) < 0)
		return -1;
	c = mem_new(struct host_cgroup);
	if (!c)
		return err_oom(e, "a cgroup");
	c->loop = l;
	c->log = log;
	rc = find_roots(c, e);
	if (rc == 0 && cgroups_path_is_systemd(path))
		rc = enter_scope(c, l, r, path, e) < 0 ? err_wrap(e, "linux.cgroupsPath") : 0;
	else if (rc == 0)
		rc = set_dirs(c, path, e);
	if (rc < 0 || enter(c, record, e) < 0) {
		host_cgroup_leave(c);
		return -1;
	}
	*out = c;
	return 0;
}

/* Of one cgroup; a hierarchy without the controller, or without a limit, has none. */
static uint64_t memory_limit_of(const char *dir)
{
	static const char *const names[] = { "memory.max", "memory.limit_in_bytes" };
	char path[PATH_MAX + 32], text[32];
	struct err ignored;
	uint64_t bytes;

	for (size_t i = 0; i < ARRAY_LEN(names); i++) {
		(void)snprintf(path, sizeof(path), "%s/%s", dir, names[i]);
		if (file_read_line(AT_FDCWD, path, text, sizeof(text), &ignored) == 0 &&
		    str_to_u64(text, 0, UINT64_MAX, "a limit", &bytes, &ignored) == 0)
			return bytes;
	}
	return UINT64_MAX;
}

uint64_t host_cgroup_memory_limit(const struct host_cgroup *c)
{
	uint64_t least = UINT64_MAX;

	for (size_t i = 0; c && i < c->count; i++) {
		const struct place *p = &c->places[i];
		OWN(free) char *dir = strdup(p->dir);
		char *slash;

		while (dir && strlen(dir) > strlen(p->root.mount)) {
			uint64_t limit = memory_limit_of(dir);

			least = limit < least ? limit : least;
			slash = strrchr(dir, '/');
			*slash = '\0';
		}
	}
	return least;
}

/* What ran in it has ended, but the kernel may take a moment to forget it. */
static int remove_leaf(struct loop *l, const char *dir, int64_t deadline)
{
	struct err e;

	while (rmdir(dir) < 0) {
		int why = errno;

		if (why == ENOENT)
			return 0;
		if (why != EBUSY || deadline_left(deadline) == 0 ||
		    fiber_sleep(l, REMOVE_POLL_MS, &e) < 0) {
			errno = why;
			return -1;
		}
	}
	return 0;
}

void host_cgroup_leave(struct host_cgroup *c)
{
	int64_t deadline = deadline_in(REMOVE_MS);
	struct err e;

	if (!c)
		return;
	for (size_t i = 0; i < c->count; i++) {
		struct place *p = &c->places[i];

		if (p->joined && move_to(p->root.home, &e) < 0 &&
		    move_to(p->root.mount, &e) < 0)
			log_warn(c->log, "%s", e.msg);
	}
	for (size_t i = 0; i < c->count; i++) {
		struct place *p = &c->places[i];

		/* it is the sandbox's, whoever made it; another may be there by mistake */
		if (p->joined && !p->systemds && remove_leaf(c->loop, p->dir, deadline) < 0)
			log_warn(c->log, "cgroup '%s' stays: %s", p->dir, strerror(errno));
	}
	free(c);
}
