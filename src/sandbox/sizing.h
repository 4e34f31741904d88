/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The size of a virtual machine: what the specification's limits ask for, plus what the
 * guest itself needs; without limits, the configuration's defaults.
 */
#pragma once

#include <stdint.h>

struct err;
struct kata_config;
struct sandbox_config;
typedef struct Grpc__Spec Grpc__Spec;
typedef struct Grpc__LinuxResources Grpc__LinuxResources;

struct sizing_limits {
	int64_t quota, period; /* of CPU time in us; 0 or less: none, 100000 */
	int64_t memory;        /* bytes; 0 or less: none */
	int64_t huge;          /* bytes of huge pages, which count as no other memory */
	/* of a pod, 1024 for a processor that it asks for: what counts without a quota */
	int64_t shares;
};

/*
 * A pod's limits are those of its sandbox's annotations (containerd's CRI plug-in puts the
 * sum of its containers' there), a single container's those of its specification.
 */
int sizing_limits_of(const Grpc__Spec *spec, struct sizing_limits *out, struct err *e);
/* Those of a container alone; what `r` does not name stays as it is in *out. */
void sizing_take_limits(const Grpc__LinuxResources *r, struct sizing_limits *out);
/* Adds a container's limits to a sum, whose period becomes 100000. */
void sizing_add(const struct sizing_limits *l, struct sizing_limits *sum);
/* sizing_of_spec() for limits that stand elsewhere. */
int sizing_of_limits(const struct sizing_limits *l, const struct kata_config *config,
		     uint64_t overhead_mib, struct sandbox_config *out, struct err *e);
/*
 * Fills in vcpus and memory_mib, and up to which they may grow. `overhead_mib` is what a small
 * guest takes of its memory (sandbox/guest_assets.h), which overhead_memory can only raise;
 * what grows with the memory is added here.
 */
int sizing_of_spec(const Grpc__Spec *spec, const struct kata_config *config,
		   uint64_t overhead_mib, struct sandbox_config *out, struct err *e);
