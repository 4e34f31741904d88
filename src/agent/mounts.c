/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One mount of a specification, below the container's root. The root file system is hostile:
 * every target is reached by path_open_beneath() and named by its descriptor from then on.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/stage_steps.h"
#include "base/mem.h"
#include "base/own.h"
#include "base/path.h"
#include "base/str.h"
#include "base/sys.h"
#include "oci/mount_options.h"

/* One mount(2)-able thing, with everything parsed. */
struct plan {
	const Grpc__Mount *m;
	struct mount_options o;
	const char *type, *source;
	bool bind;
};

static bool is_bind(const struct plan *p)
{
	return (p->o.flags & MS_BIND) || str_eq(p->m->type, "bind") ||
	       str_eq(p->m->type, "rbind");
}

static int check_plan(const struct plan *p, struct err *e)
{
	if (p->o.idmap || p->m->n_uidmappings || p->m->n_gidmappings)
		return err_set(
			e, ERR_UNSUPPORTED, 0,
			"id-mapped mounts (uidMappings, gidMappings, idmap) are not supported in "
			"the guest");
	if (p->o.flags & MS_REMOUNT)
		return err_set(e, ERR_UNSUPPORTED, 0, "option 'remount'");
	if (p->bind && p->o.super_only)
		return err_set(e, ERR_UNSUPPORTED, 0, "option '%s' of a bind mount",
			       p->o.super_only);
	if (p->bind && p->o.data)
		return err_set(e, ERR_INVALID, 0,
			       "option '%.100s' has no meaning for a bind mount", p->o.data);
	if (p->o.copy_up && !str_eq(p->m->type, "tmpfs"))
		return err_set(e, ERR_INVALID, 0, "option 'tmpcopyup' is for tmpfs only");
	return 0;
}

/* The target, made if it is missing: a directory, or a file where the source is none. */
static int open_target(struct stage *s, const char *destination, bool is_dir, int *out,
		       struct err *e)
{
	int rc = is_dir ? path_mkdirs_beneath(s->root_fd, destination, 0755, out, e)
			: path_mkfile_beneath(s->root_fd, destination, 0644, out, e);

	return rc < 0 ? err_wrap(e, "mount point") : 0;
}

static int set_attributes(int fd, const struct mount_options *o, struct err *e)
{
	if ((o->attr_set || o->attr_clear) &&
	    sys_mount_setattr(fd, "", AT_EMPTY_PATH, o->attr_set, o->attr_clear, 0) < 0)
		return err_sys(e, "set the mount's attributes");
	if ((o->rec_set || o->rec_clear) &&
	    sys_mount_setattr(fd, "", AT_EMPTY_PATH | AT_RECURSIVE, o->rec_set, o->rec_clear,
			      0) < 0)
		return err_sys(e, "set attributes of the mounts below");
	return 0;
}

static int set_propagation(int fd, unsigned long propagation, struct err *e)
{
	unsigned recursive = propagation & MS_REC ? AT_RECURSIVE : 0;

	if (propagation && sys_mount_setattr(fd, "", AT_EMPTY_PATH | recursive, 0, 0,
					     propagation & ~(unsigned long)MS_REC) < 0)
		return err_sys(e, "set the mount's propagation");
	return 0;
}

/* The target, of the same kind as the source: the kernel says only EINVAL otherwise. */
static int open_same_kind(struct stage *s, const char *destination, bool is_dir, int *out,
			  struct err *e)
{
	struct stat st;
	int fd;

	if (open_target(s, destination, is_dir, &fd, e) < 0) {
		if (is_dir && e->sys == ENOTDIR)
			return err_wrap(e, "the source is a directory, the destination not");
		return -1;
	}
	if (!is_dir && fstat(fd, &st) == 0 && S_ISDIR(st.st_mode)) {
		fd_close(&fd);
		return err_set(e, ERR_INVALID, EISDIR,
			       "the source is a file, the destination a directory");
	}
	*out = fd;
	return 0;
}

/*
 * A copy of the mount at `source_fd` with its attributes, attached at the target: at no moment
 * is a writable mount visible that is to be read-only. Attributes not named stay as they are.
 */
static int attach_copy(struct stage *s, int source_fd, const struct plan *p, struct err *e)
{
	unsigned recursive =
		p->o.flags & MS_REC || str_eq(p->m->type, "rbind") ? AT_RECURSIVE : 0;
	OWN(fd) int tree = -1;
	OWN(fd) int target = -1;
	struct stat st;

	if (fstat(source_fd, &st) < 0)
		return err_sys(e, "stat the source");
	if (open_same_kind(s, p->m->destination, S_ISDIR(st.st_mode), &target, e) < 0)
		return -1;
	tree = sys_open_tree(source_fd, "",
			     OPEN_TREE_CLONE | O_CLOEXEC | AT_EMPTY_PATH | recursive);
	if (tree < 0)
		return err_sys(e, "copy the mount of '%s'", p->source);
	if (set_attributes(tree, &p->o, e) < 0)
		return -1;
	if (sys_move_mount(tree, "", target, "",
			   MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH) < 0)
		return err_sys(e, "attach");
	return set_propagation(tree, p->o.propagation, e);
}

static int mount_bind(struct stage *s, const struct plan *p, struct err *e)
{
	OWN(fd) int source = -1;

	if (p->source[0] != '/')
		return err_set(e, ERR_INVALID, 0,
			       "the source of a bind mount must be absolute");
	source = open(p->source, O_PATH | O_CLOEXEC);
	if (source < 0)
		return err_sys(e, "source '%s'", p->source);
	return attach_copy(s, source, p, e);
}

static int set_recursive(int mounted, const struct plan *p, struct err *e)
{
	if ((p->o.rec_set || p->o.rec_clear) &&
	    sys_mount_setattr(mounted, "", AT_EMPTY_PATH | AT_RECURSIVE, p->o.rec_set,
			      p->o.rec_clear, 0) < 0)
		return err_sys(e, "set attributes");
	return set_propagation(mounted, p->o.propagation, e);
}

/* ---- tmpfs ---- */

static bool has_option(const char *data, const char *key)
{
	size_t n = strlen(key);

	for (const char *at = data; at && *at; at = strchr(at, ','), at += at != NULL)
		if (strncmp(at, key, n) == 0)
			return true;
	return false;
}

/* Without a mode of its own it has that of the directory it covers, not /tmp's. */
static int tmpfs_data(const struct plan *p, int covered, char **out, struct err *e)
{
	struct stat st;

	if (fstat(covered, &st) < 0)
		return err_sys(e, "look at what the tmpfs covers");
	*out = str_printf("mode=%04o%s%s", st.st_mode & 07777, p->o.data ? "," : "",
			  p->o.data ? p->o.data : "");
	return *out ? 0 : err_oom(e, "a mount");
}

/* With what it covers, but the owner and mode that it was given. */
static int fill_tmpfs(const struct plan *p, int covered, int mounted, struct err *e)
{
	OWN(fd) int from = openat(covered, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	struct stat given;

	if (from < 0 || fstat(mounted, &given) < 0)
		return err_sys(e, "read what the tmpfs covers");
	if (copy_up(from, mounted, e) < 0)
		return -1;
	if (fchown(mounted, has_option(p->o.data, "uid=") ? given.st_uid : (uid_t)-1,
		   has_option(p->o.data, "gid=") ? given.st_gid : (gid_t)-1) < 0 ||
	    (has_option(p->o.data, "mode=") && fchmod(mounted, given.st_mode & 07777) < 0))
		return err_sys(e, "owner and mode of the tmpfs");
	return 0;
}

/* When everything below it is there. */
static int make_readonly_later(struct stage *s, int *mounted, struct err *e)
{
	if (!s->late_readonly)
		s->late_readonly = arena_calloc(s->arena, s->spec->n_mounts, sizeof(int));
	if (!s->late_readonly)
		return err_oom(e, "a mount");
	s->late_readonly[s->late_count++] = fd_take(mounted);
	return 0;
}

int mounts_finish(struct stage *s, struct err *e)
{
	for (size_t i = 0; i < s->late_count; i++) {
		if (sys_mount_setattr(s->late_readonly[i], "", AT_EMPTY_PATH, MOUNT_ATTR_RDONLY,
				      0, 0) < 0)
			return err_sys(e, "make a tmpfs read-only");
		fd_close(&s->late_readonly[i]);
	}
	s->late_count = 0;
	return 0;
}

static int mount_tmpfs(struct stage *s, const struct plan *p, struct err *e)
{
	const unsigned long later = MS_BIND | MS_REC | MS_REMOUNT | MS_RDONLY;
	OWN(free) char *data = NULL;
	OWN(fd) int target = -1;
	OWN(fd) int mounted = -1;
	struct err ignored;
	char name[PATH_FD_LEN];
	bool existed = path_open_beneath(s->root_fd, p->m->destination, O_PATH | O_DIRECTORY, 0,
					 &target, &ignored) == 0;

	if (existed ? tmpfs_data(p, target, &data, e) < 0
		    : open_target(s, p->m->destination, true, &target, e) < 0)
		return -1;
	if (mount(p->source, path_of_fd(target, name), p->type, p->o.flags & ~later,
		  data ? data : p->o.data) < 0)
		return err_sys(e, "mount");
	/* the descriptor is still that of the covered directory */
	if (path_open_beneath(s->root_fd, p->m->destination, O_RDONLY | O_DIRECTORY, 0,
			      &mounted, e) < 0)
		return err_wrap(e, "the new tmpfs");
	if ((p->o.copy_up && fill_tmpfs(p, target, mounted, e) < 0) ||
	    set_recursive(mounted, p, e) < 0)
		return -1;
	return p->o.flags & MS_RDONLY ? make_readonly_later(s, &mounted, e) : 0;
}

/* ---- others ---- */

static int mount_new(struct stage *s, const struct plan *p, struct err *e)
{
	const unsigned long ours = MS_BIND | MS_REC | MS_REMOUNT;
	OWN(fd) int target = -1;
	OWN(fd) int mounted = -1;
	char name[PATH_FD_LEN];

	if (open_target(s, p->m->destination, true, &target, e) < 0)
		return -1;
	if (mount(p->source, path_of_fd(target, name), p->type, p->o.flags & ~ours, p->o.data) <
	    0)
		return err_sys(e, "mount");
	if (!p->o.propagation && !p->o.rec_set && !p->o.rec_clear)
		return 0;
	if (path_open_beneath(s->root_fd, p->m->destination, O_PATH, 0, &mounted, e) < 0)
		return -1;
	return set_recursive(mounted, p, e);
}

/*
 * sysfs shows the network namespace's devices, so only that namespace's owner may mount it: in
 * a user namespace that shares the guest's network the guest's own mount is shown instead.
 */
static int mount_sysfs(struct stage *s, struct plan *p, struct err *e)
{
	OWN(fd) int source = -1;

	if (mount_new(s, p, e) == 0)
		return 0;
	if (e->sys != EPERM || !s->order.in_new_user_ns)
		return -1;
	err_clear(e);
	source = open("/sys", O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (source < 0)
		return err_sys(e, "/sys of the guest");
	p->o.flags |= MS_REC; /* mounts of another user namespace come as one piece */
	return attach_copy(s, source, p, e);
}

/* The kernel refuses a file system on top of itself: an empty one goes between. */
static int cover(struct stage *s, const char *destination, struct err *e)
{
	OWN(fd) int target = -1;
	char name[PATH_FD_LEN];

	if (open_target(s, destination, true, &target, e) < 0)
		return -1;
	if (mount("tmpfs", path_of_fd(target, name), "tmpfs",
		  MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOEXEC, "size=0k") < 0)
		return err_sys(e, "cover what is mounted there");
	return 0;
}

/* The guest has cgroup v2 only; "cgroup" is what every runtime's default specification asks. */
static int mount_cgroup(struct stage *s, struct plan *p, struct err *e)
{
	OWN(fd) int source = -1;

	if (stage_has_ns(s, "cgroup", NULL)) {
		p->type = "cgroup2";
		p->source = "cgroup";
		if (mount_new(s, p, e) == 0)
			return 0;
		if (e->sys != EBUSY || cover(s, p->m->destination, e) < 0)
			return -1;
		err_clear(e);
		return mount_new(s, p, e);
	}
	p->source = s->order.cgroup_dir;
	source = open(p->source, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (source < 0)
		return err_sys(e, "the container's cgroup '%s'", p->source);
	return attach_copy(s, source, p, e);
}

static int mount_plan(struct stage *s, struct plan *p, struct err *e)
{
	if (p->m->destination[0] == '\0')
		return err_set(e, ERR_INVALID, 0, "the destination is missing");
	if (mount_options_parse(p->m->options, p->m->n_options, &p->o, e) < 0)
		return -1;
	p->bind = is_bind(p);
	if (check_plan(p, e) < 0)
		return -1;
	if (p->bind)
		return mount_bind(s, p, e);
	if (str_eq(p->type, "cgroup") || str_eq(p->type, "cgroup2"))
		return mount_cgroup(s, p, e);
	if (str_eq(p->type, "sysfs"))
		return mount_sysfs(s, p, e);
	if (str_eq(p->type, "tmpfs"))
		return mount_tmpfs(s, p, e);
	if (!*p->type)
		return err_set(e, ERR_INVALID, 0, "the type is missing");
	return mount_new(s, p, e);
}

int mount_one(struct stage *s, size_t index, struct err *e)
{
	const Grpc__Mount *m = s->spec->mounts[index];
	struct plan p = { .m = m, .type = m->type, .source = m->source };
	int rc = mount_plan(s, &p, e);

	mount_options_fini(&p.o);
	if (rc == 0)
		return 0;
	if (e->kind == ERR_NOT_FOUND || e->kind == ERR_DENIED)
		e->kind = ERR_SYS; /* these two are the program's, see stage.h */
	return err_wrap(e, "mounts[%zu]: '%.100s' on '%.100s'", index,
			m->source && *m->source ? m->source : m->type, m->destination);
}

int mount_readonly_over(const char *path, struct err *e)
{
	OWN(fd) int at = open(path, O_PATH | O_CLOEXEC);
	OWN(fd) int tree = -1;

	if (at < 0)
		return errno == ENOENT || errno == ENOTDIR ? 0 : err_sys(e, "open '%s'", path);
	tree = sys_open_tree(at, "",
			     OPEN_TREE_CLONE | O_CLOEXEC | AT_EMPTY_PATH | AT_RECURSIVE);
	if (tree < 0)
		return err_sys(e, "copy the mount of '%s'", path);
	if (sys_mount_setattr(tree, "", AT_EMPTY_PATH, MOUNT_ATTR_RDONLY, 0, 0) < 0)
		return err_sys(e, "make '%s' read-only", path);
	if (sys_move_mount(tree, "", at, "",
			   MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH) < 0)
		return err_sys(e, "attach '%s'", path);
	return 0;
}
