/* SPDX-License-Identifier: Apache-2.0 */
/* What the shim's program can be asked to do; each prints its result to stdout. */
#pragma once

#include <stdbool.h>

#include <protobuf-c/protobuf-c.h>

struct err;
struct shim_options;

/* An answer, to standard output. */
int shim_print_message(const ProtobufCMessage *m, struct err *e);

/* -id and -namespace are there and are identifiers. */
int shim_check_ids(const struct shim_options *o, struct err *e);
/*
 * The sandbox (malloc'd) that the container of the bundle in the current directory belongs
 * to; *joins: it is a pod's that another call has started.
 */
int shim_sandbox_of(const struct shim_options *o, char **out, bool *joins, struct err *e);

/*
 * Starts the engine for the bundle in the current directory, or finds the one that serves its
 * pod, and prints the address of its socket.
 */
int shim_start(const struct shim_options *o, struct err *e);
/* Cleans up after an engine that has died; prints a DeleteResponse. */
int shim_delete(const struct shim_options *o, struct err *e);
/* Serves until the sandbox has ended. */
int shim_serve(const struct shim_options *o, struct err *e);
/* Prints containerd.types.RuntimeInfo. */
int shim_info(const struct shim_options *o, struct err *e);

/* How `start` tells the process it execs which descriptors it inherits. */
#define SHIM_ENV_LISTEN_FD "KATA_SHIM_LISTEN_FD"
#define SHIM_ENV_LOCK_FD   "KATA_SHIM_LOCK_FD"
/* Where the engine writes SHIM_READY, or why it cannot begin. */
#define SHIM_ENV_READY_FD "KATA_SHIM_READY_FD"
#define SHIM_READY        '\1'
/* The name of its run-time directory, which is not always the sandbox's id. */
#define SHIM_ENV_NAME "KATA_SHIM_NAME"
/* The configuration file that its caller named, if any; options of Create come first. */
#define SHIM_ENV_CONFIG "KATA_SHIM_CONFIG"
