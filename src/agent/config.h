/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the agent is told: the kernel's command line (Kata's "agent.*" words), the environment
 * (KATA_AGENT_*) and, outside of a VM, its own command line. Words not meant for it are
 * ignored.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/log.h"

struct err;

struct agent_config {
	enum log_level log_level;
	uint32_t log_vport; /* vsock port of the log; 0: the console */
	bool debug_console;
	uint32_t debug_console_vport; /* 0: /dev/console */
	char server_addr[128];
	char cgroup_root[256];      /* where container cgroups go; cgroup v2 */
	int64_t hotplug_timeout_ms; /* upstream's 3 s are too few where the host is busy */
	int64_t launch_timeout_ms;
	uint32_t container_pipe_size; /* bytes of a stream's pipe; 0: our own choice */
	bool boot;                    /* this is a VM: mount, load, power off */
};

void agent_config_init(struct agent_config *c);
/* The text of /proc/cmdline, any bytes. A word of ours with a bad value is ERR_INVALID. */
int agent_config_cmdline(struct agent_config *c, const char *text, size_t len, struct err *e);
int agent_config_env(struct agent_config *c, struct err *e);
/* --server-addr, --cgroup-root, --log-level, --no-boot. */
int agent_config_args(struct agent_config *c, int argc, char **argv, struct err *e);
