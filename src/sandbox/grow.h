/* SPDX-License-Identifier: Apache-2.0 */
/* A machine that grows with its containers' limits (static_sandbox_resource_mgmt = false). */
#pragma once

struct container;
struct err;
typedef struct Grpc__LinuxResources Grpc__LinuxResources;

/*
 * Before the container gets the limits `r` (all of its own at its creation, what changes at an
 * update): makes the machine large enough for those of all containers together, up to its
 * maximum. It never shrinks. A machine of a fixed size stays as it is; a limit above that is
 * logged, because it will not be reached.
 */
int grow_for(struct container *c, const Grpc__LinuxResources *r, struct err *e);
