/* SPDX-License-Identifier: Apache-2.0 */
/*
 * /run/kata/<sandbox id>/: what a living engine has on the host's tmpfs.
 *	lock		flock'ed by the engine as long as it lives: a free lock means stale
 *	shim.sock	the Task API (mode 0600)
 *	owner		"<namespace> <bundle>": who asked for it
 * A directory whose lock is free belongs to an engine that was killed; rundir_sweep() removes
 * it with the sandbox's shared directory and the cgroups its "cgroups" file lists (one path a
 * line). Mounts, processes and namespaces of an engine end with it by themselves.
 */
#pragma once

#include <sys/types.h>

struct err;

#define RUNDIR_BASE "/run/kata"

struct rundir {
	char *path;        /* /run/kata/<id>, owned */
	char *socket_path; /* owned */
	int lock_fd;
	int listen_fd;
};

#define RUNDIR_INIT                                                                            \
	{                                                                                      \
		.lock_fd = -1, .listen_fd = -1                                                 \
	}

/*
 * Makes the directory for `id`, takes its lock and binds its socket. ERR_EXISTS if an engine
 * with that id lives. On failure nothing is left.
 */
int rundir_create(const char *base, const char *id, const char *owner, struct rundir *out,
		  struct err *e);
/* Closes descriptors and frees; the directory stays (its new process owns it). */
void rundir_close(struct rundir *r);
/* Removes the directory: for the engine at its end, or a start that failed. */
void rundir_remove(struct rundir *r);
/* Adopts a directory in the process that serves it, with the descriptors it inherited. */
int rundir_adopt(const char *base, const char *id, int lock_fd, int listen_fd,
		 struct rundir *out, struct err *e);
/* Path of the socket of `id`: malloc'd, ERR_INVALID if it would not fit a socket address. */
int rundir_socket_path(const char *base, const char *id, char **out, struct err *e);
/* Removes what dead engines left; returns how many directories went, errors are logged. */
int rundir_sweep(const char *base);

static inline void own_rundir(struct rundir *r)
{
	rundir_close(r);
}
