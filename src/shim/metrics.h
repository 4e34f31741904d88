/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The figures of a container as the Task API's Stats hands them over: the message that belongs
 * to the version of the host's control groups, whatever the guest has (it has version 2).
 */
#pragma once

#include <stdbool.h>

#include "google.pb-c.h"

struct arena;
struct err;
typedef struct Grpc__StatsContainerResponse Grpc__StatsContainerResponse;

/* Whether the host's control groups are version 2 (asked of /sys/fs/cgroup). */
bool metrics_host_is_v2(void);
/* *out and all below it are in `a`. */
int metrics_make(const Grpc__StatsContainerResponse *s, bool v2, struct arena *a,
		 Google__Protobuf__Any **out, struct err *e);
