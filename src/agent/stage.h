/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The stage: a second life of the agent's own program (`kata-agent init`) that turns into a
 * container's process. It is started with nothing but standard streams, a socket and perhaps
 * a pidfd, so no memory and no descriptor of the agent gets near a container.
 *
 * Talk over the socket: the agent sends one struct stage_order and `body_len` bytes, a packed
 * grpc.CreateContainerRequest whose OCI member says everything. The stage answers with one
 * struct stage_answer: STAGE_READY (with a terminal's master as SCM_RIGHTS) when all is
 * prepared up to exec, or STAGE_FAILED. The agent then sends one byte; the stage executes the
 * program, which closes the socket (success), or answers STAGE_FAILED.
 *
 * A program that is not there is ERR_NOT_FOUND, `exec "FILE": not found`; one that may not be
 * executed (mode, directory, format) is ERR_DENIED, `exec "FILE": permission denied` and the
 * like. No other step of the stage uses these two kinds.
 */
#pragma once

#include <stdint.h>

#include "base/err.h"

enum stage_kind {
	STAGE_CREATE,
	STAGE_JOIN
};
enum stage_result {
	STAGE_READY = 1,
	STAGE_FAILED
};

enum {
	STAGE_SOCKET_FD = 3,
	STAGE_PIDFD_FD = 4, /* STAGE_JOIN: the container's first process */
	STAGE_BODY_MAX = 8 << 20,
	STAGE_CGROUP_MAX = 1024,
};

struct stage_order {
	uint32_t kind; /* enum stage_kind */
	uint32_t body_len;
	uint32_t in_new_user_ns; /* the agent made a user namespace with the process */
	uint32_t joins_user_ns;  /* STAGE_JOIN: the container has one of its own */
	char cgroup_dir[STAGE_CGROUP_MAX]; /* the container's cgroup, for mounts without a
					      cgroupns */
};

struct stage_answer {
	uint32_t result; /* enum stage_result */
	struct err why;  /* of a failure */
};

/* argv of the stage. */
#define STAGE_ARGV0 "kata-agent"
#define STAGE_ARGV1 "init"

/* main() of the stage; returns only as an exit code after a failure was reported. */
int stage_main(void);
