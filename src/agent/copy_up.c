/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Copies a directory's contents into a fresh tmpfs ("tmpcopyup"): directories, files, links,
 * nodes, with owner, mode and times. The source is hostile: nothing is followed, depth and
 * the tmpfs' own size bound the work.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/stage_steps.h"
#include "base/own.h"

enum {
	DEPTH_MAX = 64
};

static int copy_dir(int from, int to, unsigned depth, struct err *e);

static int copy_file(int from, int to, const char *name, const struct stat *st, struct err *e)
{
	OWN(fd) int in = openat(from, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK);
	OWN(fd) int out = -1;

	if (in < 0)
		return err_sys(e, "open '%s'", name);
	out = openat(to, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (out < 0)
		return err_sys(e, "create '%s'", name);
	for (off_t left = st->st_size; left > 0;) {
		ssize_t n = sendfile(out, in, NULL, left > INT_MAX ? INT_MAX : (size_t)left);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return err_sys(e, "copy '%s'", name);
		if (n == 0)
			break;
		left -= n;
	}
	return 0;
}

static int copy_link(int from, int to, const char *name, struct err *e)
{
	char text[PATH_MAX];
	ssize_t n = readlinkat(from, name, text, sizeof(text) - 1);

	if (n < 0)
		return err_sys(e, "read link '%s'", name);
	text[n] = '\0';
	if (symlinkat(text, to, name) < 0)
		return err_sys(e, "link '%s'", name);
	return 0;
}

static int copy_subdir(int from, int to, const char *name, unsigned depth, struct err *e)
{
	OWN(fd) int in = openat(from, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	OWN(fd) int out = -1;

	if (in < 0)
		return err_sys(e, "open '%s'", name);
	if (mkdirat(to, name, 0700) < 0)
		return err_sys(e, "mkdir '%s'", name);
	out = openat(to, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (out < 0)
		return err_sys(e, "open '%s'", name);
	return copy_dir(in, out, depth + 1, e);
}

static int copy_entry(int from, int to, const char *name, unsigned depth, struct err *e)
{
	struct timespec times[2];
	struct stat st;
	int rc;

	if (fstatat(from, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return err_sys(e, "stat '%s'", name);
	if (S_ISDIR(st.st_mode))
		rc = copy_subdir(from, to, name, depth, e);
	else if (S_ISREG(st.st_mode))
		rc = copy_file(from, to, name, &st, e);
	else if (S_ISLNK(st.st_mode))
		rc = copy_link(from, to, name, e);
	else
		rc = mknodat(to, name, st.st_mode, st.st_rdev) < 0
			     ? err_sys(e, "node '%s'", name)
			     : 0;
	if (rc < 0)
		return -1;
	if (fchownat(to, name, st.st_uid, st.st_gid, AT_SYMLINK_NOFOLLOW) < 0)
		return err_sys(e, "chown '%s'", name);
	if (!S_ISLNK(st.st_mode) && fchmodat(to, name, st.st_mode & 07777, 0) < 0)
		return err_sys(e, "chmod '%s'", name);
	times[0] = st.st_atim;
	times[1] = st.st_mtim;
	(void)utimensat(to, name, times, AT_SYMLINK_NOFOLLOW);
	return 0;
}

static int copy_dir(int from, int to, unsigned depth, struct err *e)
{
	OWN(fd) int own = fcntl(from, F_DUPFD_CLOEXEC, 0);
	struct dirent *ent;
	DIR *dir;
	int rc = 0;

	if (depth > DEPTH_MAX)
		return err_set(e, ERR_INVALID, ELOOP, "nested too deeply");
	dir = own < 0 ? NULL : fdopendir(own);
	if (!dir)
		return err_sys(e, "read directory");
	fd_take(&own);
	while (rc == 0 && (errno = 0, ent = readdir(dir))) {
		if (strcmp(ent->d_name, ".") == 0 || strcmp(ent->d_name, "..") == 0)
			continue;
		rc = copy_entry(from, to, ent->d_name, depth, e);
	}
	(void)closedir(dir);
	return rc;
}

int copy_up(int from, int to, struct err *e)
{
	struct stat st;

	if (copy_dir(from, to, 0, e) < 0)
		return err_wrap(e, "tmpcopyup");
	if (fstat(from, &st) < 0 || fchown(to, st.st_uid, st.st_gid) < 0 ||
	    fchmod(to, st.st_mode & 07777) < 0)
		return err_sys(e, "tmpcopyup: owner and mode");
	return 0;
}
