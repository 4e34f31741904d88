/* SPDX-License-Identifier: Apache-2.0 */
/*
 * IPC and UTS namespaces. The guest has one of each for all its containers
 * (docs/decisions/0032-pods.md), and so has the host for their stand-ins: what the first one
 * has made, or what the caller pinned for the pod before it.
 */
#include "sandbox/internal.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/nsfs.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/err.h"
#include "base/fd.h"
#include "base/log.h"
#include "base/own.h"
#include "base/str.h"

static const struct {
	const char *type;
	int flag;
	const char *of_host; /* what is not to be had by joining the host's */
} kinds[SHARED_NS_COUNT] = {
	[SHARED_NS_IPC] = { "ipc", CLONE_NEWIPC, "System V IPC cannot be reached" },
	[SHARED_NS_UTS] = { "uts", CLONE_NEWUTS, "name cannot be changed" },
};

static const char *path_of(const Grpc__Spec *spec, const char *type)
{
	const Grpc__Linux *l = spec ? spec->linux : NULL;

	for (size_t i = 0; l && i < l->n_namespaces; i++) {
		if (str_eq(l->namespaces[i]->type, type))
			return l->namespaces[i]->path;
	}
	return "";
}

static int open_of_process(const char *pid, const char *type)
{
	char path[48];

	(void)snprintf(path, sizeof(path), "/proc/%s/ns/%s", pid, type);
	return open(path, O_RDONLY | O_CLOEXEC);
}

static bool are_the_same(int a, int b)
{
	struct stat sa, sb;

	return a >= 0 && b >= 0 && fstat(a, &sa) == 0 && fstat(b, &sb) == 0 &&
	       sa.st_dev == sb.st_dev && sa.st_ino == sb.st_ino;
}

static int join(struct sandbox *s, size_t k, const char *path, struct err *e)
{
	/* a fifo must not keep us */
	OWN(fd) int fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	OWN(fd) int host = open_of_process("self", kinds[k].type);
	int type = fd < 0 ? -1 : ioctl(fd, NS_GET_NSTYPE);

	if (fd < 0)
		return err_set(e, errno == ENOENT ? ERR_NOT_FOUND : ERR_SYS, errno,
			       "linux.namespaces: %s '%.200s'", kinds[k].type, path);
	if (type != kinds[k].flag)
		return err_set(e, ERR_INVALID, 0,
			       "linux.namespaces: '%.200s' is no namespace of type '%s'", path,
			       kinds[k].type);
	if (are_the_same(fd, s->shared_ns[k]))
		return 0;
	if (are_the_same(fd, host)) {
		log_info(&s->log, "config.json: without effect: the host's %s from a guest",
			 kinds[k].of_host);
		return 0;
	}
	/* one that is pinned belongs to a pod that is being made, a process's to who is there
	 */
	if (s->shared_ns[k] >= 0 || str_starts(path, "/proc/"))
		return err_set(
			e, ERR_UNSUPPORTED, 0,
			"linux.namespaces: %s '%.200s': only the namespace of the same pod "
			"can be joined, others are not in its machine",
			kinds[k].type, path);
	s->shared_ns[k] = fd_take(&fd);
	return 0;
}

int shared_ns_join(struct sandbox *s, const Grpc__Spec *spec, struct err *e)
{
	for (size_t k = 0; k < SHARED_NS_COUNT; k++) {
		const char *path = path_of(spec, kinds[k].type);

		if (*path && join(s, k, path, e) < 0)
			return -1;
	}
	return 0;
}

int shared_ns_keep(struct sandbox *s, pid_t pid, struct err *e)
{
	char text[16];

	(void)snprintf(text, sizeof(text), "%d", (int)pid);
	for (size_t k = 0; k < SHARED_NS_COUNT; k++) {
		int fd = open_of_process(text, kinds[k].type);

		if (fd < 0)
			return err_sys(e, "the %s namespace of process %s", kinds[k].type,
				       text);
		fd_close(&s->shared_ns[k]); /* a pinned one's would keep its mount busy */
		s->shared_ns[k] = fd;
	}
	return 0;
}

void shared_ns_end(struct sandbox *s)
{
	for (size_t k = 0; k < SHARED_NS_COUNT; k++)
		fd_close(&s->shared_ns[k]);
}
