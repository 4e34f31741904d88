/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The engine's side of the agent protocol: a connection to the guest and one row per call.
 * Everything that comes back is hostile: bounded by the connection, decoded into an arena.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "agent.pb-c.h"
#include "base/own.h"

struct arena;
struct err;
struct loop;

enum agent_method {
	AGENT_CREATE_SANDBOX,
	AGENT_DESTROY_SANDBOX,
	AGENT_CREATE_CONTAINER,
	AGENT_START_CONTAINER,
	AGENT_REMOVE_CONTAINER,
	AGENT_EXEC_PROCESS,
	AGENT_SIGNAL_PROCESS,
	AGENT_WAIT_PROCESS,
	AGENT_UPDATE_CONTAINER,
	AGENT_STATS_CONTAINER,
	AGENT_PAUSE_CONTAINER,
	AGENT_RESUME_CONTAINER,
	AGENT_WRITE_STDIN,
	AGENT_READ_STDOUT,
	AGENT_READ_STDERR,
	AGENT_CLOSE_STDIN,
	AGENT_TTY_WIN_RESIZE,
	AGENT_UPDATE_INTERFACE,
	AGENT_UPDATE_ROUTES,
	AGENT_ADD_ARP_NEIGHBORS,
	AGENT_GET_GUEST_DETAILS,
	AGENT_RESEED_RANDOM_DEV,
	AGENT_SET_GUEST_DATE_TIME,
	AGENT_ONLINE_CPU_MEM,
	AGENT_GET_OOM_EVENT,
	AGENT_HEALTH_CHECK,
	/* with AGENT_FEATURE_FORWARD */
	AGENT_FORWARD_CONNECT,
	AGENT_FORWARD_READ,
	AGENT_FORWARD_WRITE,
	AGENT_FORWARD_END,
	AGENT_METHOD_COUNT_
};

struct agent_client;

/* Our fields (from 1000) of proto/oci.proto are honoured. */
#define AGENT_FEATURE_SPEC "kata-c.spec.1"
/* The same of proto/agent.proto. */
#define AGENT_FEATURE_PROCESSES "kata-c.processes.1"
/* driver_options "part" and "device" of the storage driver "blk": see agent/storage.c. */
#define AGENT_FEATURE_PARTS "kata-c.parts.1"
/* Kernel parameters in CreateSandbox. */
#define AGENT_FEATURE_SYSCTLS "kata-c.sysctls.1"
/* Process namespaces of containers that are named, and one of the sandbox that none began. */
#define AGENT_FEATURE_PIDNS "kata-c.pidns.1"
/* The service of proto/forward.proto. */
#define AGENT_FEATURE_FORWARD "kata-c.forward.1"

/*
 * Speaks ttrpc on `fd` (taken over). `lost` is called once, from the loop, when the
 * connection ends without agent_client_free(); the client stays valid, calls fail.
 */
int agent_client_new(struct loop *l, int fd, void (*lost)(const struct err *why, void *arg),
		     void *arg, struct agent_client **out, struct err *e);
/*
 * Ends the connection for good: calls under way and all later ones fail, `lost` is not called
 * any more. Whoever still has the client may go on asking it. NULL is accepted.
 */
void agent_client_close(struct agent_client *a);
/* Only once nobody has it any more. */
void agent_client_free(struct agent_client *a);
OWN_DEFINE(agent_client, struct agent_client *, agent_client_free)

/* Repeats Health.Check until the agent answers or `deadline` passes. */
int agent_client_ready(struct agent_client *a, int64_t deadline, struct err *e);

/*
 * Call with the method's usual deadline (30 s; 5 s for StatsContainer; none for calls that wait
 * for events).
 */
int agent_call(struct agent_client *a, enum agent_method m, const void *request,
	       struct arena *arena, void *response_out, struct err *e);
/* For methods whose response is empty or of no interest. */
int agent_do(struct agent_client *a, enum agent_method m, const void *request, struct err *e);
/* The same for a method that has a deadline, with `ms` for it if that is more than it has. */
int agent_do_within(struct agent_client *a, enum agent_method m, const void *request,
		    int64_t ms, struct err *e);

/* Sets the deadline of ordinary calls, in milliseconds (create_container_timeout). */
void agent_client_set_timeout(struct agent_client *a, int64_t ms);
/* None of them lasts beyond `deadline` either; DEADLINE_NONE takes that back. */
void agent_client_set_deadline(struct agent_client *a, int64_t deadline);
/* Ends the connection from our side: calls under way fail, `lost` is called. */
void agent_client_hang_up(struct agent_client *a);

/* Asks what the agent can do, once; names that the next two then look for. */
int agent_client_details(struct agent_client *a, struct err *e);
/* Whether AgentDetails.extra_features names it. */
bool agent_has_feature(const struct agent_client *a, const char *feature);
/* Whether AgentDetails.storage_handlers names it. */
bool agent_has_driver(const struct agent_client *a, const char *driver);
