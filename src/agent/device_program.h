/* SPDX-License-Identifier: Apache-2.0 */
/*
 * linux.resources.devices as a program of type cgroup_device (Linux 4.15, instruction set of
 * Documentation/bpf/instruction-set.rst). Rules count in their order, the later ones win; what
 * no rule allows is denied. The nodes every container has are allowed whatever the rules say.
 */
#pragma once

#include <stddef.h>

#include "oci.pb-c.h"

struct bpf_insn;
struct err;

enum {
	DEVICE_RULES_MAX = 1024
};

/* *out is malloc'd. ERR_INVALID naming the rule. */
int device_program(Grpc__LinuxDeviceCgroup *const *rules, size_t n, struct bpf_insn **out,
		   size_t *count_out, struct err *e);
