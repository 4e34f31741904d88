/* SPDX-License-Identifier: Apache-2.0 */
/* The parts of src/share towards each other. */
#pragma once

#include "base/str.h"
#include "event/child.h"
#include "share/share.h"
#include "vmm/console.h"

/*
 * Mounts the tree at `source` (a directory with its submounts, or a file) on `target`, which
 * must be of the same kind, as `how` (SHARE_*) says. It goes on to receive what is mounted
 * below it on the host, but with SHARE_PRIVATE.
 */
int mounts_bind(const char *source, const char *target, unsigned how, struct err *e);
/* One mount in containerd's terms. ERR_INVALID names an option that is not known. */
int mounts_one(const struct share_mount *m, const char *target, struct err *e);
enum {
	LOOP_NODE_SIZE = 32
};
/* A file as a block device `node`, as long as *out, its descriptor, or a mount of it lives. */
int loop_device_attach(const char *path, bool read_only, char node[LOOP_NODE_SIZE], int *out,
		       struct err *e);
/* Whether anything is mounted within a directory; true as well where that is not known. */
bool mounts_are_below(const char *dir);
int mounts_set_read_only(const char *target, struct err *e);
/* Unmounts whatever is stacked there, with all below; nothing mounted is success. */
void mounts_clear(const char *target);

/* A running virtiofsd. */
struct virtiofsd {
	struct child child;
	struct console messages;
	struct loop *loop;
	char program[128]; /* for messages */
	int socket_fd;     /* connected to it */
	void (*lost)(const struct err *why, void *arg);
	void *arg;
};

/* Finds the program; ERR_NOT_FOUND says where it was looked for. *out is a static or given
 * string. */
int virtiofsd_find(const char *configured, const char **out, struct err *e);
/*
 * Its command line; `help` is what `program --help` says, which tells its form, `max_files` how
 * many it will be able to open.
 */
int virtiofsd_argv(const struct share_config *c, const char *program, const char *help,
		   const char *dir, uint64_t max_files, struct strv *argv, struct err *e);
/* Starts it on `dir` and waits until it takes the connection. `socket_dir` is private to us. */
int virtiofsd_start(struct virtiofsd *v, struct loop *l, struct child_reaper *r,
		    const struct share_config *c, const char *program, const char *dir,
		    const char *socket_dir, int64_t deadline, struct err *e);
/* How many files one that we start will be able to open, which raises its limit if it may. */
int virtiofsd_max_files(uint64_t *out, struct err *e);
/* How many files it may have open. */
int virtiofsd_files(const struct virtiofsd *v, uint64_t *out, struct err *e);
/* Kills it; the zero value is accepted. */
void virtiofsd_stop(struct virtiofsd *v);
