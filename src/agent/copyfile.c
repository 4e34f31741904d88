/* SPDX-License-Identifier: Apache-2.0 */
/* CopyFile and GetDiagnosticData. */
#include "agent/copyfile.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/sandbox.h"
#include "base/err.h"
#include "base/fd.h"
#include "base/mem.h"
#include "base/own.h"
#include "base/path.h"
#include "base/str.h"
#include "base/sys.h"
#include "wire/message.h"
#include "wire/ttrpc.h"

#define SHARED_DIR "/run/kata-containers/shared/containers"

enum {
	DIAGNOSTIC_MAX = 4096
};

/* The directory the entry goes into, made if missing, and the entry's name. */
static int open_parent(const Grpc__CopyFileRequest *r, struct arena *a, int *out,
		       const char **name, struct err *e)
{
	OWN(fd) int root = -1;
	char *below, *slash;
	mode_t mode = r->dir_mode ? r->dir_mode & 07777 : 0755;

	if (!str_starts(r->path, SHARED_DIR "/"))
		return err_set(e, ERR_INVALID, 0, "path '%.100s' is not below " SHARED_DIR,
			       r->path);
	below = arena_strdup(a, r->path + strlen(SHARED_DIR));
	if (!below)
		return err_oom(e, "a path");
	slash = strrchr(below, '/');
	*slash = '\0';
	if (!path_is_component(slash + 1))
		return err_set(e, ERR_INVALID, 0, "path '%.100s'", r->path);
	if (path_mkdirs(SHARED_DIR, 0755, e) < 0)
		return -1;
	root = open(SHARED_DIR, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (root < 0)
		return err_sys(e, "open " SHARED_DIR);
	if (path_mkdirs_beneath(root, below, mode, out, e) < 0)
		return -1;
	*name = slash + 1;
	return 0;
}

static int check_owner(const Grpc__CopyFileRequest *r, struct err *e)
{
	return r->uid < 0 || r->gid < 0
		       ? err_set(e, ERR_INVALID, 0, "owner %d:%d", r->uid, r->gid)
		       : 0;
}

/* Of what is open: a name may have come to mean something else. */
static int set_owner_and_mode(int fd, const Grpc__CopyFileRequest *r, struct err *e)
{
	if (check_owner(r, e) < 0)
		return -1;
	if (fchown(fd, (uid_t)r->uid, (gid_t)r->gid) < 0)
		return err_sys(e, "chown '%.100s'", r->path);
	if (fchmod(fd, r->file_mode & 07777) < 0)
		return err_sys(e, "chmod '%.100s'", r->path);
	return 0;
}

static int make_dir(int dir, const char *name, const Grpc__CopyFileRequest *r, struct err *e)
{
	OWN(fd) int fd = -1;

	if (mkdirat(dir, name, 0700) < 0 && errno != EEXIST)
		return err_sys(e, "mkdir '%.100s'", r->path);
	/* what was there may be a container's, and lead elsewhere */
	fd = openat(dir, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0)
		return err_sys(e, "mkdir '%.100s'", r->path);
	return set_owner_and_mode(fd, r, e);
}

static int make_link(int dir, const char *name, const Grpc__CopyFileRequest *r, struct arena *a,
		     struct err *e)
{
	char *target = arena_strndup(a, (const char *)r->data.data, r->data.len);

	if (!target)
		return err_oom(e, "a link");
	if (unlinkat(dir, name, 0) < 0 && errno != ENOENT)
		return err_sys(e, "replace '%.100s'", r->path);
	if (symlinkat(target, dir, name) < 0)
		return err_sys(e, "link '%.100s'", r->path);
	if (check_owner(r, e) < 0)
		return -1;
	if (fchownat(dir, name, (uid_t)r->uid, (gid_t)r->gid, AT_SYMLINK_NOFOLLOW) < 0)
		return err_sys(e, "chown '%.100s'", r->path);
	return 0;
}

static int finish_file(int dir, int fd, const char *tmp, const char *name,
		       const Grpc__CopyFileRequest *r, struct err *e)
{
	if (ftruncate(fd, r->file_size) < 0)
		return err_sys(e, "truncate '%.100s'", r->path);
	if (set_owner_and_mode(fd, r, e) < 0)
		return -1;
	if (renameat(dir, tmp, dir, name) < 0)
		return err_sys(e, "rename '%.100s'", r->path);
	return 0;
}

/* Of a file that comes in pieces, the first anew: what a container has put there goes. */
static int open_piece(int dir, const char *tmp, const Grpc__CopyFileRequest *r, int *out,
		      struct err *e)
{
	int flags = O_WRONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC;
	OWN(fd) int fd = -1;
	struct stat st;

	if (r->offset == 0 && unlinkat(dir, tmp, 0) < 0 && errno != ENOENT)
		return err_sys(e, "replace '%.100s'", r->path);
	fd = openat(dir, tmp, flags | (r->offset == 0 ? O_CREAT | O_EXCL : 0), 0600);
	if (fd < 0)
		return err_sys(e, "create '%.100s'", r->path);
	if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode) || st.st_nlink != 1)
		return err_set(e, ERR_INVALID, 0, "'%.100s' is not the file that was begun",
			       r->path);
	*out = fd_take(&fd);
	return 0;
}

static int write_piece(int dir, const char *name, const Grpc__CopyFileRequest *r,
		       struct arena *a, struct err *e)
{
	char *tmp = arena_printf(a, "%s.tmp", name);
	OWN(fd) int fd = -1;
	size_t done = 0;

	if (!tmp)
		return err_oom(e, "a path");
	if (r->offset < 0 || r->file_size < 0 || (int64_t)r->data.len > r->file_size ||
	    r->offset > r->file_size - (int64_t)r->data.len)
		return err_set(e, ERR_INVALID, 0, "%zu bytes at %lld of a file of %lld",
			       r->data.len, (long long)r->offset, (long long)r->file_size);
	if (open_piece(dir, tmp, r, &fd, e) < 0)
		return -1;
	while (done < r->data.len) {
		ssize_t n = pwrite(fd, r->data.data + done, r->data.len - done,
				   r->offset + (off_t)done);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return err_sys(e, "write '%.100s'", r->path);
		done += (size_t)n;
	}
	if (r->offset + (int64_t)r->data.len < r->file_size)
		return 0;
	return finish_file(dir, fd, tmp, name, r, e);
}

int copyfile(struct ttrpc_call *call, const void *request, void *response, struct err *e)
{
	const Grpc__CopyFileRequest *r = request;
	OWN(fd) int dir = -1;
	const char *name = NULL;

	(void)response;
	if (open_parent(r, call->arena, &dir, &name, e) < 0)
		return -1;
	switch (r->file_mode & S_IFMT) {
	case S_IFDIR:
		return make_dir(dir, name, r, e);
	case S_IFLNK:
		return make_link(dir, name, r, call->arena, e);
	case S_IFREG:
	case 0:
		return write_piece(dir, name, r, call->arena, e);
	default:
		return err_set(e, ERR_UNSUPPORTED, 0, "a file of mode %o", r->file_mode);
	}
}

/* ---- GetDiagnosticData ---- */

/* Where Kubernetes mounts it, unless the pod says otherwise by this annotation. */
#define LOG_ANNOTATION "io.kubernetes.container.terminationMessagePath"
#define LOG_DEFAULT    "/dev/termination-log"

static const char *log_path(const Grpc__Spec *s)
{
	for (size_t i = 0; i < s->n_annotations; i++) {
		if (str_eq(s->annotations[i]->key, LOG_ANNOTATION) && *s->annotations[i]->value)
			return s->annotations[i]->value;
	}
	return LOG_DEFAULT;
}

/* The file that was bound there, or the one in the container's root. */
static int open_log(const Grpc__Spec *s, int *out, struct err *e)
{
	const char *path = log_path(s);
	OWN(fd) int root = -1;

	for (size_t i = 0; i < s->n_mounts; i++) {
		if (!str_eq(s->mounts[i]->destination, path) || s->mounts[i]->source[0] != '/')
			continue;
		/* a volume it lies in is a container's: no link there leads us elsewhere */
		*out = sys_openat2(AT_FDCWD, s->mounts[i]->source,
				   O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY, 0,
				   RESOLVE_NO_SYMLINKS);
		return *out < 0 ? err_sys(e, "'%.100s'", s->mounts[i]->source) : 0;
	}
	root = open(s->root->path, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (root < 0)
		return err_sys(e, "'%.100s'", s->root->path);
	return path_open_beneath(root, path, O_RDONLY | O_NONBLOCK | O_NOCTTY, 0, out, e);
}

int diagnostic_data(struct ttrpc_call *call, const void *request, void *response, struct err *e)
{
	const Grpc__GetDiagnosticDataRequest *r = request;
	Grpc__GetDiagnosticDataResponse *out = response;
	struct container *c;
	ProtobufCMessage *m;
	OWN(fd) int fd = -1;
	struct stat st;
	ssize_t n;

	if (!str_eq(r->log_type, "termination_log"))
		return err_set(e, ERR_UNSUPPORTED, 0, "log_type '%.40s'", r->log_type);
	if (container_find(call->context, r->container_id, &c, e) < 0)
		return -1;
	if (!c->request)
		return err_set(e, ERR_STATE, 0, "container '%s' is being made", c->id);
	if (message_decode(&grpc__create_container_request__descriptor, c->request,
			   c->request_len, call->arena, &m, e) < 0 ||
	    open_log(((Grpc__CreateContainerRequest *)m)->oci, &fd, e) < 0)
		return -1;
	if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode))
		return err_set(e, ERR_INVALID, 0, "the termination log is no regular file");
	out->data.data = arena_alloc(call->arena, DIAGNOSTIC_MAX);
	if (!out->data.data)
		return err_oom(e, "the termination log");
	n = read(fd, out->data.data, DIAGNOSTIC_MAX);
	if (n < 0)
		return err_sys(e, "read the termination log");
	out->data.len = (size_t)n;
	return 0;
}
