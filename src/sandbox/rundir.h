/* SPDX-License-Identifier: Apache-2.0 */
/*
 * /run/kata/<name>/: what a living engine has on the host's tmpfs.
 *	lock		flock'ed by the engine as long as it lives: a free lock means stale;
 *			holds the engine's process id
 *	shim.sock	the Task API (mode 0600)
 *	owner		three lines, namespace, address and bundle: who asked for it
 *	cgroups		those it has made, one path a line; what of them stays in use when
 *			it has ended goes to /run/kata/.cgroups (sandbox/cgroup_remains.h)
 *	links		what it has done to the caller's links (net/link_record.h)
 *	marks		its files beside direct volumes (sandbox/direct_volume.h)
 *	console.sock	the guest's debug console, where that is asked for (mode 0600)
 * The name is the sandbox's id, or <id>@<eight digits of a hash of the owner> where a sandbox
 * of another owner has that (docs/decisions/0030-one-id-two-namespaces.md). A directory whose
 * lock is free belongs to an engine that was killed; rundir_sweep() removes it with the
 * sandbox's shared directory, those cgroups and files, and what was done to those links.
 *Mounts, processes and namespaces of an engine end with it by themselves.
 */
#pragma once

#include <stdint.h>
#include <sys/types.h>

struct err;

#define RUNDIR_BASE "/run/kata"
/* The file in a sandbox's directory that net/link_record.h is about. */
#define RUNDIR_LINKS "links"
/* ... sandbox/direct_volume.h ... */
#define RUNDIR_MARKS "marks"
/* ... sandbox/debug_console.h ... */
#define RUNDIR_CONSOLE "console.sock"
/* ... and sandbox/host_cgroup.h. */
#define RUNDIR_CGROUPS "cgroups"

/* Whose sandbox it is: ids are unique within an address and a namespace only. */
struct rundir_owner {
	const char *namespace;
	const char *address; /* the caller's socket; may be "" */
	const char *bundle;  /* of the sandbox; not looked at when searching */
};

struct rundir {
	char *name;        /* of the directory, owned */
	char *path;        /* /run/kata/<name>, owned */
	char *socket_path; /* owned */
	int lock_fd;
	int listen_fd;
};

#define RUNDIR_INIT                                                                            \
	{                                                                                      \
		.lock_fd = -1, .listen_fd = -1                                                 \
	}

/*
 * Makes the directory for the owner's sandbox `id`, takes its lock and binds its socket.
 * ERR_EXISTS if an engine with that id lives for the same owner. On failure nothing is left.
 */
int rundir_create(const char *base, const char *id, const struct rundir_owner *owner,
		  struct rundir *out, struct err *e);
/* The name of the directory of the owner's sandbox `id` (malloc'd): ERR_NOT_FOUND. */
int rundir_find(const char *base, const char *id, const struct rundir_owner *owner, char **name,
		struct err *e);
/*
 * Kills the engine that lives in the directory `name` if it was started for `bundle`, and
 * waits at most `timeout_ms` until its lock is free. Nothing to kill is success.
 */
int rundir_kill(const char *base, const char *name, const char *bundle, int64_t timeout_ms,
		struct err *e);
/* Closes descriptors and frees; the directory stays (its new process owns it). */
void rundir_close(struct rundir *r);
/* Removes the directory: for the engine at its end, or a start that failed. */
void rundir_remove(struct rundir *r);
/*
 * Adopts a directory in the process that serves it, with the descriptors it inherited, and
 * writes its process id into the lock.
 */
int rundir_adopt(const char *base, const char *name, int lock_fd, int listen_fd,
		 struct rundir *out, struct err *e);
/* Path of the socket in `name`: malloc'd, ERR_INVALID if it would not fit a socket address. */
int rundir_socket_path(const char *base, const char *name, char **out, struct err *e);
/* Removes what dead engines left; returns how many directories went, errors are logged. */
int rundir_sweep(const char *base);

static inline void own_rundir(struct rundir *r)
{
	rundir_close(r);
}
