/* SPDX-License-Identifier: Apache-2.0 */
/* The walk is nftw(3)'s, in a child: it has no argument for its visitor, and recurses. */
#include "agent/fsgroup.h"

#include <errno.h>
#include <ftw.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/aside.h"
#include "base/err.h"
#include "base/time.h"

enum {
	FILE_RIGHTS = 0660,
	DIR_RIGHTS = 02770,
	DEPTH_MAX = 400 /* of directories: musl's nftw(3) goes as deep as it may open files */
};

static gid_t walk_group; /* the walking process's alone */

static mode_t rights_of(const struct stat *st)
{
	return S_ISDIR(st->st_mode) ? DIR_RIGHTS : FILE_RIGHTS;
}

/* What goes away meanwhile needs no group. */
static int visit(const char *path, const struct stat *st, int kind, struct FTW *where)
{
	if (kind == FTW_NS || kind == FTW_DNR)
		return errno == ENOENT ? 0 : errno;
	if (S_ISDIR(st->st_mode) && where->level >= DEPTH_MAX - 1)
		return ELOOP;
	if (lchown(path, (uid_t)-1, walk_group) < 0)
		return errno == ENOENT ? 0 : errno;
	if (S_ISLNK(st->st_mode))
		return 0;
	/* after chown(2), which takes the set-ID bits away */
	if (chmod(path, (st->st_mode & 07777) | rights_of(st)) < 0)
		return errno == ENOENT ? 0 : errno;
	return 0;
}

struct walk {
	const char *path;
	gid_t group;
};

static int walk(const void *arg)
{
	const struct walk *w = arg;
	int rc;

	walk_group = w->group;
	/* the root last: what is cut off in the middle does not look done */
	rc = nftw(w->path, visit, DEPTH_MAX, FTW_PHYS | FTW_MOUNT | FTW_DEPTH);
	return rc < 0 ? errno : rc;
}

int fsgroup_apply(struct child_reaper *r, const char *path, gid_t group, bool on_root_mismatch,
		  struct err *e)
{
	const struct walk w = { path, group };
	struct stat st;

	if (stat(path, &st) < 0)
		return err_sys(e, "stat '%s'", path);
	if (on_root_mismatch && st.st_gid == group &&
	    (st.st_mode & rights_of(&st)) == rights_of(&st))
		return 0;
	if (aside_run(r, walk, &w, DEADLINE_NONE, e) < 0)
		return err_wrap(e, "give '%s' to group %u", path, group);
	return 0;
}
