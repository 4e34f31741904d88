/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The engine: what one shim process owns. It is the context of every Task API call; its life
 * is that of its sandbox.
 */
#pragma once

#include <stdbool.h>

#include "event/child.h"
#include "event/fiber.h"
#include "event/loop.h"
#include "sandbox/sandbox.h"
#include "sandbox/rundir.h"
#include "wire/ttrpc.h"

struct events;
struct host_cgroup;
struct kata_config;
typedef struct Containerd__Task__CreateTaskRequest Containerd__Task__CreateTaskRequest;

enum {
	ENGINE_SERVICES = 3
};

struct engine {
	struct loop *loop;
	struct child_reaper reaper;
	struct rundir run;
	const char *id; /* of the sandbox */
	const char *namespace;
	struct events *events;
	struct ttrpc_service services[ENGINE_SERVICES];
	struct ttrpc_server *server;
	struct kata_config *config; /* owned; NULL before the first Create */
	struct sandbox *sandbox;    /* NULL before the first Create */
	struct host_cgroup *cgroup; /* where we are; NULL: where we were started */
	char *main_container;       /* the one whose end is the sandbox's; owned */
	char *status_path;          /* see proto/engine.proto; owned */
	bool no_manager;            /* no containerd has started it: `kata` */
	bool self_ending;
	bool is_pod; /* made by the Sandbox API: it ends by that, not with its containers */
	char *pod_netns, *pod_bundle; /* of such a pod; owned */
	bool creating;                /* a first Create, or CreateSandbox, is under way */
	struct cond created;          /* woken when it is over */
	bool ending;
	struct signal_watch signals;
	unsigned waits; /* requests that wait for the end of a process */
	struct timer idle;
	int64_t idle_since; /* monotonic ms; 0: there is a container or a client */
};

/* Begins the end: takes the sandbox down in a fiber, then stops the loop. Idempotent. */
void engine_end(struct engine *en);

/* The services of the engine's socket, with `en` as their context. */
void task_services(struct engine *en, struct ttrpc_service out[2]);
struct ttrpc_service sandbox_service(struct engine *en);

/* What the sandbox reports to the engine (task.c), with `arg` the engine. */
struct sandbox_observer task_observer(struct engine *en);
/* Looks now and then whether it is of use to anybody, more often as long as `kata` makes it. */
void engine_watch_idle(struct engine *en);
/* The mounts of a request's root file system, in `a`; texts are the request's. */
int task_rootfs(const Containerd__Task__CreateTaskRequest *r, struct arena *a,
		struct rootfs_mount **out, struct err *e);
