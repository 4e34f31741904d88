/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The directory of a container that `kata` made: <root>/containers/<id>/, its bundle at the
 * same time. It outlives the engine until `kata rm`.
 *	container.json	what `kata` knows: name, image, command, options
 *	config.json	the OCI specification
 *	upper work	the container's writable layer
 *	output.log	its output, CRI format; shim.log is the engine's
 *	status.json	written by the engine when the container has ended
 *	attached	locked by its `kata run` until that leaves it to itself
 * <root>/names/<name> is a link to the id, made exclusively: names are unique.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/mem.h"

struct err;
struct jval;
struct loop;

enum {
	CONTAINER_ID_LEN = 64
};

struct container_dir {
	char id[CONTAINER_ID_LEN + 1];
	char *path;  /* owned */
	char *names; /* <root>/names, owned */
};

void container_dir_fini(struct container_dir *d);
static inline void own_container_dir(struct container_dir *d)
{
	container_dir_fini(d);
}

/*
 * Makes a directory with a fresh id and takes `name` (NULL: the id's first 12 digits). Until
 * *lock_fd is closed a `kata run` makes the container, or waits for it and removes it.
 */
int container_dir_create(const char *root, const char *name, struct container_dir *out,
			 int *lock_fd, struct err *e);
/*
 * Removes what killed `kata run`s and removals have left in the middle, each after `gone`. Best
 * effort: what stays is said in the log.
 */
void container_dir_sweep(const char *root, void (*gone)(const char *id, void *arg), void *arg);
/*
 * By id, name, or an unambiguous beginning of an id, in this order. ERR_NOT_FOUND names it;
 * ERR_UNSUPPORTED: another version wrote what is there (store_check()).
 */
int container_dir_find(const char *root, const char *ref, struct container_dir *out,
		       struct err *e);
/* Calls `each` for every container, newest first; stops when it returns non-zero. */
int container_dir_each(const char *root, int (*each)(struct container_dir *d, void *arg),
		       void *arg, struct err *e);
/* Removes the directory and the name. */
int container_dir_remove(struct container_dir *d, struct err *e);

/* <path>/<file>, malloc'd; NULL when out of memory. */
char *container_dir_file(const struct container_dir *d, const char *file);
/* container.json; ERR_NOT_FOUND while the container is being made. */
int container_dir_record(const struct container_dir *d, struct jval **out, struct err *e);
int container_dir_write_record(const struct container_dir *d, const struct jval *v,
			       struct err *e);

/* Whether somebody has it from container_dir_create() or container_dir_claim(). */
bool container_dir_is_attached(const struct container_dir *d);
/* Attaches to one that nobody is attached to any more. */
bool container_dir_claim(const struct container_dir *d, int *lock_fd);
/* Who attached says that the container has been started: from now on it is not being made. */
void container_dir_mark_started(int lock_fd);

enum container_status {
	CONTAINER_MAKING, /* `kata run` has not got further yet */
	CONTAINER_CREATED,
	CONTAINER_RUNNING,
	CONTAINER_PAUSED,
	CONTAINER_EXITED,
	CONTAINER_DEAD,         /* its engine was killed, or the host restarted */
	CONTAINER_UNRESPONSIVE, /* its engine lives and does not answer: it may well run */
};

struct container_state {
	enum container_status status;
	int exit_status;    /* once exited; 255 when dead */
	char exited_at[40]; /* RFC 3339, or "" */
	uint32_t pid;       /* of the stand-in while it runs */
	char error[240];    /* why its machine ended, or "" */
};

const char *container_status_name(enum container_status s);
/* Asks the engine, or reads what it left; ERR_NOT_FOUND: it has gone. Call in a fiber. */
int container_dir_state(struct loop *l, const struct container_dir *d,
			struct container_state *out, struct err *e);

enum {
	CONTAINER_WHY_MAX = 320
};

/*
 * Whether its machine or engine ended unasked rather than its program: fills `out` with why
 * (at most CONTAINER_WHY_MAX bytes). Call in a fiber, once it has ended.
 */
bool container_dir_why_lost(struct loop *l, const struct container_dir *d, char *out,
			    size_t size);
/* After a call without an answer in time, the engine's or the guest's: *e says so. Returns -1.
 */
int container_dir_deaf(const struct container_dir *d, struct err *e);
/* After a call that ended with the connection: *e is what became of the engine. Returns -1. */
int container_dir_blame(struct loop *l, const struct container_dir *d, struct err *e);
