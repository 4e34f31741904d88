/* SPDX-License-Identifier: Apache-2.0 */
/* The first Create of an engine: configuration, size and network of the sandbox, its boot. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "sandbox/sandbox.h"
#include "sandbox/sizing.h"

struct arena;
struct engine;
struct err;
typedef struct Google__Protobuf__Any Google__Protobuf__Any;
typedef struct Katac__Options Katac__Options;
typedef struct Containerd__Task__CreateTaskRequest Containerd__Task__CreateTaskRequest;

/*
 * What our own front ends ask of the engine besides, in `a`. Options of another type
 * (containerd sends runc's by default) are none.
 */
int create_own_options(const Google__Protobuf__Any *any, struct arena *a,
		       const Katac__Options **out, struct err *e);
/*
 * Makes sure that the sandbox runs: the first caller boots it, others at the same time wait
 * for him. After a failure the next Create may try again.
 */
int first_create(struct engine *en, const Containerd__Task__CreateTaskRequest *r,
		 struct err *e);
enum {
	/* each costs an emulated boot 14 ms */
	PLACES_FOR_ROOTS =
		8, /* containers whose root file systems are disks, or unknown ones */
	PLACES_FOR_VOLUMES = 4 /* of a pod's later containers */
};

struct annotation {
	const char *name, *value;
};

/* What is known of a sandbox that is to be, whichever way it is asked for. */
struct sandbox_wish {
	const Katac__Options *options;
	const char *hostname;
	const char *netns; /* "" for none */
	struct sizing_limits limits;
	bool is_pod;
	unsigned disk_places; /* that its containers may need */
	uint64_t shm_bytes;
	const char *shm_source;
	struct pod_files files;
	const char *resolv_conf; /* its text, NULL where `files` has it or there is none */
	const struct sandbox_sysctl *sysctls;
	size_t sysctl_count;
	const char *cgroup; /* of the host, "" for none: see sandbox/host_cgroup.h */
	const struct annotation *annotations;
	size_t annotation_count;
};

/* Reads the configuration and makes en->sandbox, which is not booted yet. */
int make_wished(struct engine *en, const struct sandbox_wish *w, struct arena *a,
		struct err *e);
/* Stops and forgets a sandbox that could not be brought up. */
void drop_sandbox(struct engine *en);
/* The container could not be created: if it was to be the sandbox's main one, stop that. */
void first_create_undo(struct engine *en, const char *container_id);
