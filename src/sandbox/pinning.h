/* SPDX-License-Identifier: Apache-2.0 */
/*
 * On which of the host's processors a sandbox's virtual ones run: those that its containers
 * name (linux.resources.cpu.cpus, as kubelet's CPU manager gives them), if each of them names
 * some. With enable_vcpus_pinning and as many virtual processors as those, each has its own.
 */
#pragma once

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <sched.h>

struct container;
struct err;
struct sandbox;
typedef struct Grpc__LinuxResources Grpc__LinuxResources;

/* "0-3,7" as in cpuset(7), "List format". ERR_INVALID, also for more than CPU_SETSIZE. */
int cpu_list_parse(const char *text, cpu_set_t *out, struct err *e);

/* Notes which processors `r` names for the container; none: what it had stays. */
int pinning_take(struct container *c, const Grpc__LinuxResources *r, struct err *e);
/*
 * After a change of containers, of their processors or of the machine: places the virtual
 * processors. ERR_INVALID if there is no such processor for the machine.
 */
int pinning_apply(struct sandbox *s, struct err *e);
