/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Starts a helper program (VMM, file server, network) confined: only the descriptors named,
 * its own namespaces and user, and killed by the kernel when the starter dies. Not for the
 * agent's containers, which have their own set-up.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct err;

struct spawn_fd {
	int from; /* the caller's descriptor */
	int to;   /* its number in the child, at least 3; each used once */
};

struct spawn_ns {
	int fd;   /* borrowed */
	int kind; /* CLONE_NEW*: one of another kind is refused */
};

/* One thing in a helper's own root directory. */
struct spawn_mount {
	enum {
		SPAWN_BIND, /* source with all its submounts; later ones appear too */
		SPAWN_NODE, /* a device node like source, owned by the helper's user */
		SPAWN_PROC, /* a procfs that shows its own processes only (Linux 5.8) */
	} kind;
	const char *source; /* a symbolic link is copied as such */
	const char *target; /* absolute, at most 1,023 bytes; its parents are made */
	bool read_only;
	bool optional; /* a missing source is left out */
};

struct spawn {
	const char *path;  /* of the program, absolute; NULL: argv[0] */
	char *const *argv; /* NULL-ended */
	char *const *envp; /* NULL: PATH only */
	const struct spawn_fd *fds;
	size_t fd_count;
	int stdin_fd, stdout_fd, stderr_fd; /* -1: /dev/null */
	/*
	 * CLONE_NEW*. With CLONE_NEWNS propagation becomes slave; with CLONE_NEWPID it is the
	 * first of its PID namespace: it sees no process but its own, and ends none.
	 */
	int unshare_flags;
	const struct spawn_ns *ns; /* namespaces that are joined first; at most 4 */
	size_t ns_count;
	bool drop_ids; /* switch to uid/gid below and drop all groups and capabilities */
	uid_t uid;
	gid_t gid;
	/* without drop_ids: bounding, permitted and effective become this */
	uint64_t keep_caps;
	bool limit_caps; /* apply keep_caps */
	bool no_new_privs;
	bool new_session;
	uint64_t max_files; /* RLIMIT_NOFILE if not 0; else what it was before
			       spawn_raise_files() */
	bool no_core;       /* never dumps core */
	int oom_score_adj;  /* 0: the caller's */
	/* With CLONE_NEWNS: its root holds these alone, in this order, and takes no more. At
	 * most 32. */
	const struct spawn_mount *root;
	size_t root_count;
	const char *cgroup_procs; /* path of a cgroup.procs (or tasks) file to join, or NULL */
	/* Last step before exec, in the child; 0, or -1 with errno set. May be NULL. */
	int (*setup)(void *arg);
	void *setup_arg;
};

/*
 * As many open files as this process may have, at most `max`; programs that are started get the
 * limit it had before: who uses select(2) may not know more than 1024.
 */
void spawn_raise_files(uint64_t max);

#define SPAWN_INIT                                                                             \
	{                                                                                      \
		.stdin_fd = -1, .stdout_fd = -1, .stderr_fd = -1                               \
	}

/*
 * Forks, sets up, execs; returns once exec has succeeded or names the step that failed.
 * The child gets SIGKILL when the calling thread's process dies (PR_SET_PDEATHSIG set after
 * all changes of credentials, and the parent checked again, by the pipe that it reads).
 */
int spawn_run(const struct spawn *s, pid_t *pid_out, struct err *e);
