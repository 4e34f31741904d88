/* SPDX-License-Identifier: Apache-2.0 */
/* The first Create of an engine: configuration, size and network of the sandbox, its boot. */
#pragma once

struct engine;
struct err;
typedef struct Containerd__Task__CreateTaskRequest Containerd__Task__CreateTaskRequest;

/*
 * Makes sure that the sandbox runs: the first caller boots it, others at the same time wait
 * for him. After a failure the next Create may try again.
 */
int first_create(struct engine *en, const Containerd__Task__CreateTaskRequest *r,
		 struct err *e);
/* The container could not be created: if it was to be the sandbox's main one, stop that. */
void first_create_undo(struct engine *en, const char *container_id);
