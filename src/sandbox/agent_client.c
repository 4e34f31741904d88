/* SPDX-License-Identifier: Apache-2.0 */
/* The agent's methods and a connection to them. */
#include "sandbox/agent_client.h"

#include <assert.h>
#include <stdlib.h>
#include <sys/socket.h>

#include "base/err.h"
#include "base/mem.h"
#include "base/str.h"
#include "base/time.h"
#include "event/fiber.h"
#include "forward.pb-c.h"
#include "google.pb-c.h"
#include "wire/ttrpc.h"

#define SERVICE_AGENT   "grpc.AgentService"
#define SERVICE_HEALTH  "grpc.Health"
#define SERVICE_FORWARD "katac.forward.Forward"

enum {
	NAMES_MAX = 64,
	DEFAULT_TIMEOUT_MS = 30 * 1000,
	ASK_MS = 5 * 1000,
	READY_MS = 60 * 1000
};

#define EMPTY &google__protobuf__empty__descriptor
#define ROW(id, svc, name_, req, resp, waits_)                                                 \
	[AGENT_##id] = { .service = (svc),                                                     \
			 .method = { .name = (name_), .request = &(req), .response = (resp) }, \
			 .waits = (waits_) }
#define ROW_ASKS(id, svc, name_, req, resp)                                                    \
	[AGENT_##id] = { .service = (svc),                                                     \
			 .method = { .name = (name_), .request = &(req), .response = (resp) }, \
			 .asks = true }

static const struct row {
	const char *service;
	struct ttrpc_method method;
	bool waits; /* for an event in the guest: no deadline of its own */
	bool asks;  /* for what is there: a guest that is well says it at once */
} rows[] = {
	/* clang-format off */
	ROW(CREATE_SANDBOX, SERVICE_AGENT, "CreateSandbox", grpc__create_sandbox_request__descriptor, EMPTY, false),
	ROW(DESTROY_SANDBOX, SERVICE_AGENT, "DestroySandbox", grpc__destroy_sandbox_request__descriptor, EMPTY, false),
	ROW(CREATE_CONTAINER, SERVICE_AGENT, "CreateContainer", grpc__create_container_request__descriptor, EMPTY, false),
	ROW(START_CONTAINER, SERVICE_AGENT, "StartContainer", grpc__start_container_request__descriptor, EMPTY, false),
	ROW(REMOVE_CONTAINER, SERVICE_AGENT, "RemoveContainer", grpc__remove_container_request__descriptor, EMPTY, false),
	ROW(EXEC_PROCESS, SERVICE_AGENT, "ExecProcess", grpc__exec_process_request__descriptor, EMPTY, false),
	ROW(SIGNAL_PROCESS, SERVICE_AGENT, "SignalProcess", grpc__signal_process_request__descriptor, EMPTY, false),
	ROW(WAIT_PROCESS, SERVICE_AGENT, "WaitProcess", grpc__wait_process_request__descriptor, &grpc__wait_process_response__descriptor, true),
	ROW(UPDATE_CONTAINER, SERVICE_AGENT, "UpdateContainer", grpc__update_container_request__descriptor, EMPTY, false),
	ROW_ASKS(STATS_CONTAINER, SERVICE_AGENT, "StatsContainer", grpc__stats_container_request__descriptor, &grpc__stats_container_response__descriptor),
	ROW(PAUSE_CONTAINER, SERVICE_AGENT, "PauseContainer", grpc__pause_container_request__descriptor, EMPTY, false),
	ROW(RESUME_CONTAINER, SERVICE_AGENT, "ResumeContainer", grpc__resume_container_request__descriptor, EMPTY, false),
	ROW(WRITE_STDIN, SERVICE_AGENT, "WriteStdin", grpc__write_stream_request__descriptor, &grpc__write_stream_response__descriptor, true),
	ROW(READ_STDOUT, SERVICE_AGENT, "ReadStdout", grpc__read_stream_request__descriptor, &grpc__read_stream_response__descriptor, true),
	ROW(READ_STDERR, SERVICE_AGENT, "ReadStderr", grpc__read_stream_request__descriptor, &grpc__read_stream_response__descriptor, true),
	ROW(CLOSE_STDIN, SERVICE_AGENT, "CloseStdin", grpc__close_stdin_request__descriptor, EMPTY, false),
	ROW(TTY_WIN_RESIZE, SERVICE_AGENT, "TtyWinResize", grpc__tty_win_resize_request__descriptor, EMPTY, false),
	ROW(UPDATE_INTERFACE, SERVICE_AGENT, "UpdateInterface", grpc__update_interface_request__descriptor, &types__interface__descriptor, false),
	ROW(UPDATE_ROUTES, SERVICE_AGENT, "UpdateRoutes", grpc__update_routes_request__descriptor, &grpc__routes__descriptor, false),
	ROW(ADD_ARP_NEIGHBORS, SERVICE_AGENT, "AddARPNeighbors", grpc__add_arpneighbors_request__descriptor, EMPTY, false),
	ROW(GET_GUEST_DETAILS, SERVICE_AGENT, "GetGuestDetails", grpc__guest_details_request__descriptor, &grpc__guest_details_response__descriptor, false),
	ROW(RESEED_RANDOM_DEV, SERVICE_AGENT, "ReseedRandomDev", grpc__reseed_random_dev_request__descriptor, EMPTY, false),
	ROW(SET_GUEST_DATE_TIME, SERVICE_AGENT, "SetGuestDateTime", grpc__set_guest_date_time_request__descriptor, EMPTY, false),
	ROW(ONLINE_CPU_MEM, SERVICE_AGENT, "OnlineCPUMem", grpc__online_cpumem_request__descriptor, EMPTY, false),
	ROW(GET_OOM_EVENT, SERVICE_AGENT, "GetOOMEvent", grpc__get_oomevent_request__descriptor, &grpc__oomevent__descriptor, true),
	ROW(FORWARD_CONNECT, SERVICE_FORWARD, "Connect", katac__forward__connect_request__descriptor, &katac__forward__connect_response__descriptor, false),
	ROW(FORWARD_READ, SERVICE_FORWARD, "Read", katac__forward__read_request__descriptor, &katac__forward__read_response__descriptor, true),
	ROW(FORWARD_WRITE, SERVICE_FORWARD, "Write", katac__forward__write_request__descriptor, EMPTY, true),
	ROW(FORWARD_END, SERVICE_FORWARD, "End", katac__forward__end_request__descriptor, EMPTY, false),
	ROW(HEALTH_CHECK, SERVICE_HEALTH, "Check", grpc__check_request__descriptor, &grpc__health_check_response__descriptor, false),
	/* clang-format on */
};
static_assert(ARRAY_LEN(rows) == AGENT_METHOD_COUNT_, "every method needs a row");

struct agent_client {
	struct loop *loop;
	struct ttrpc_conn *conn;
	void (*lost)(const struct err *why, void *arg);
	void *arg;
	int64_t timeout_ms, deadline;
	struct strv features;
	struct strv drivers; /* of storages */
};

static void conn_closed(struct ttrpc_conn *c, const struct err *why, void *arg)
{
	struct agent_client *a = arg;

	(void)c;
	if (a->lost)
		a->lost(why, a->arg);
}

int agent_client_new(struct loop *l, int fd, void (*lost)(const struct err *why, void *arg),
		     void *arg, struct agent_client **out, struct err *e)
{
	OWN(fd) int own = fd;
	OWN(free) struct agent_client *a = mem_new(struct agent_client);
	struct ttrpc_options o = { .closed = conn_closed };

	if (!a)
		return err_oom(e, "the agent's client");
	a->loop = l;
	a->lost = lost;
	a->arg = arg;
	a->timeout_ms = DEFAULT_TIMEOUT_MS;
	a->deadline = DEADLINE_NONE;
	o.arg = a;
	if (ttrpc_conn_new(l, fd_take(&own), &o, &a->conn, e) < 0)
		return -1;
	*out = TAKE(a);
	return 0;
}

void agent_client_close(struct agent_client *a)
{
	if (!a)
		return;
	a->lost = NULL;
	ttrpc_conn_free(TAKE(a->conn));
}

void agent_client_free(struct agent_client *a)
{
	if (!a)
		return;
	agent_client_close(a);
	strv_fini(&a->features);
	strv_fini(&a->drivers);
	free(a);
}

void agent_client_set_timeout(struct agent_client *a, int64_t ms)
{
	a->timeout_ms = ms;
}

void agent_client_set_deadline(struct agent_client *a, int64_t deadline)
{
	a->deadline = deadline;
}

void agent_client_hang_up(struct agent_client *a)
{
	if (a->conn && ttrpc_conn_is_open(a->conn))
		(void)shutdown(ttrpc_conn_fd(a->conn), SHUT_RDWR);
}

/* -1: none */
static int64_t timeout_of(const struct agent_client *a, const struct row *r)
{
	int64_t left = deadline_left(a->deadline);
	int64_t ms = r->asks && a->timeout_ms > ASK_MS ? ASK_MS : a->timeout_ms;

	if (r->waits)
		return -1;
	return left >= 0 && left < ms ? left : ms;
}

static int closed(struct err *e)
{
	return err_set(e, ERR_PEER, 0, "the agent's connection is closed");
}

static int call_for(struct agent_client *a, const struct row *r, const void *request,
		    int64_t ms, struct arena *arena, void *response_out, struct err *e)
{
	if (!a->conn)
		return closed(e);
	return ttrpc_call(a->conn, r->service, &r->method, request, ms, arena, response_out, e);
}

int agent_call(struct agent_client *a, enum agent_method m, const void *request,
	       struct arena *arena, void *response_out, struct err *e)
{
	const struct row *r = &rows[m];

	return call_for(a, r, request, timeout_of(a, r), arena, response_out, e);
}

int agent_do_within(struct agent_client *a, enum agent_method m, const void *request,
		    int64_t ms, struct err *e)
{
	const struct row *r = &rows[m];
	int64_t usual = timeout_of(a, r);

	return call_for(a, r, request, usual > ms ? usual : ms, NULL, NULL, e);
}

int agent_do(struct agent_client *a, enum agent_method m, const void *request, struct err *e)
{
	return agent_call(a, m, request, NULL, NULL, e);
}

int agent_client_ready(struct agent_client *a, int64_t deadline, struct err *e)
{
	Grpc__CheckRequest req = GRPC__CHECK_REQUEST__INIT;
	const struct row *r = &rows[AGENT_HEALTH_CHECK];
	int left;

	/*
	 * Over a virtio-serial port the first request waits in the port until the agent reads
	 * it; over vsock the connection exists only once the agent listens. Either way one
	 * request with the whole time is right, and a lost connection ends the wait.
	 */
	if (!a->conn)
		return closed(e);
	left = deadline_left(deadline);
	if (ttrpc_call(a->conn, r->service, &r->method, &req, left < 0 ? READY_MS : left, NULL,
		       NULL, e) < 0)
		return err_wrap(e, "the agent in the guest does not answer");
	return 0;
}

/* So many at most: they are the guest's. */
static int keep_names(struct strv *out, char **names, size_t n, struct err *e)
{
	for (size_t i = 0; i < n && i < NAMES_MAX; i++) {
		if (strv_add(out, names[i], e) < 0)
			return -1;
	}
	return 0;
}

int agent_client_details(struct agent_client *a, struct err *e)
{
	OWN(arena) struct arena arena = { .limit = 1 << 20 };
	Grpc__GuestDetailsRequest req = GRPC__GUEST_DETAILS_REQUEST__INIT;
	Grpc__GuestDetailsResponse *resp;
	const Grpc__AgentDetails *d;

	if (agent_call(a, AGENT_GET_GUEST_DETAILS, &req, &arena, &resp, e) < 0)
		return -1;
	strv_fini(&a->features);
	strv_fini(&a->drivers);
	if (!resp->agent_details)
		return 0;
	d = resp->agent_details;
	return keep_names(&a->features, d->extra_features, d->n_extra_features, e) < 0
		       ? -1
		       : keep_names(&a->drivers, d->storage_handlers, d->n_storage_handlers, e);
}

static bool has_name(const struct strv *v, const char *name)
{
	for (size_t i = 0; i < v->n; i++) {
		if (str_eq(v->v[i], name))
			return true;
	}
	return false;
}

bool agent_has_feature(const struct agent_client *a, const char *feature)
{
	return has_name(&a->features, feature);
}

bool agent_has_driver(const struct agent_client *a, const char *driver)
{
	return has_name(&a->drivers, driver);
}
