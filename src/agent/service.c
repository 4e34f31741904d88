/* SPDX-License-Identifier: Apache-2.0 */
/* grpc.AgentService, grpc.Health, and ours. */
#include "agent/service.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "agent.pb-c.h"
#include "agent/copyfile.h"
#include "agent/forward.h"
#include "agent/guest.h"
#include "agent/network.h"
#include "agent/sandbox.h"
#include "agent/stats.h"
#include "base/err.h"
#include "base/fd.h"
#include "base/mem.h"
#include "base/own.h"
#include "base/time.h"
#include "google.pb-c.h"
#include "version.h"
#include "build_config.h"
#include "wire/ttrpc.h"

enum {
	FREEZE_MS = 10 * 1000,
	FREEZE_STEP_MS = 5,
	END_MS = 300
};

#define HANDLER(name)                                                                          \
	static int name(struct ttrpc_call *call, const void *request, void *response,          \
			struct err *e)

/* The container a request names, referenced: it stays valid over waits. */
static int find(struct ttrpc_call *call, const char *id, struct container **out, struct err *e)
{
	struct container *c;

	if (container_find(call->context, id, &c, e) < 0)
		return -1;
	container_ref(c);
	*out = c;
	return 0;
}

static int find_process(struct ttrpc_call *call, const char *id, const char *exec_id,
			struct process **out, struct err *e)
{
	struct container *c;
	struct process *p;

	if (container_find(call->context, id, &c, e) < 0 || process_find(c, exec_id, &p, e) < 0)
		return -1;
	process_ref(p);
	*out = p;
	return 0;
}

/* ---- sandbox ---- */

HANDLER(create_sandbox)
{
	return sandbox_create(call->context, request, e);
}

static void stop_soon(void *arg)
{
	struct sandbox *s = arg;
	struct err ignored;

	(void)fiber_sleep(s->loop, END_MS, &ignored); /* the answer goes out first */
	loop_stop(s->loop);
}

HANDLER(destroy_sandbox)
{
	struct sandbox *s = call->context;
	int rc = sandbox_destroy(s, e);

	if (fiber_spawn(s->loop, "stop", stop_soon, s, NULL, e) < 0)
		loop_stop(s->loop);
	return rc;
}

/* ---- containers ---- */

HANDLER(create_container)
{
	return container_create(call->context, request, call->arena, e);
}

HANDLER(start_container)
{
	const Grpc__StartContainerRequest *r = request;
	OWN(container_ref) struct container *c = NULL;

	return find(call, r->container_id, &c, e) < 0 ? -1 : container_start(c, e);
}

HANDLER(remove_container)
{
	const Grpc__RemoveContainerRequest *r = request;
	OWN(container_ref) struct container *c = NULL;

	if (find(call, r->container_id, &c, e) < 0)
		return -1;
	return container_remove(
		c, r->timeout ? deadline_in((int64_t)r->timeout * 1000) : DEADLINE_NONE, e);
}

HANDLER(exec_process)
{
	const Grpc__ExecProcessRequest *r = request;
	OWN(container_ref) struct container *c = NULL;

	return find(call, r->container_id, &c, e) < 0 ? -1
						      : container_exec(c, r, call->arena, e);
}

HANDLER(signal_process)
{
	const Grpc__SignalProcessRequest *r = request;
	OWN(process_ref) struct process *p = NULL;

	if (find_process(call, r->container_id, r->exec_id, &p, e) < 0)
		return -1;
	return r->all ? process_signal_all(p, r->signal, e) : process_signal(p, r->signal, e);
}

HANDLER(wait_process)
{
	const Grpc__WaitProcessRequest *r = request;
	Grpc__WaitProcessResponse *out = response;
	OWN(process_ref) struct process *p = NULL;

	if (find_process(call, r->container_id, r->exec_id, &p, e) < 0 ||
	    process_wait(p, DEADLINE_NONE, e) < 0)
		return -1;
	out->status = child_exit_code(p->child.status);
	p->waited = true;
	process_maybe_forget(p);
	return 0;
}

HANDLER(update_container)
{
	const Grpc__UpdateContainerRequest *r = request;
	struct container *c;

	if (container_find(call->context, r->container_id, &c, e) < 0)
		return -1;
	if (!c->has_cgroup || c->removing)
		return err_set(e, ERR_STATE, 0, "container '%s' is being made or removed",
			       c->id);
	if (!r->resources)
		return 0;
	return cgroup_update(&c->cgroup, r->resources, e);
}

static int set_frozen(struct ttrpc_call *call, const char *id, bool frozen, struct err *e)
{
	struct sandbox *s = call->context;
	int64_t deadline = deadline_in(FREEZE_MS);
	OWN(container_ref) struct container *c = NULL;

	if (find(call, id, &c, e) < 0)
		return -1;
	if (!c->has_cgroup || c->removing || (c->init && c->init->child.exited))
		return err_set(e, ERR_STATE, 0, "container '%s' is not running", c->id);
	if (cgroup_freeze(&c->cgroup, frozen, e) < 0)
		return -1;
	while (c->cgroup.fd >= 0 && cgroup_is_frozen(&c->cgroup) != frozen) {
		if (deadline_left(deadline) == 0) {
			(void)cgroup_freeze(&c->cgroup, false, e);
			return err_set(e, ERR_TIMEOUT, 0, "container '%s' does not %s", c->id,
				       frozen ? "freeze" : "thaw");
		}
		if (fiber_sleep(s->loop, FREEZE_STEP_MS, e) < 0)
			return -1;
	}
	return 0;
}

HANDLER(pause_container)
{
	return set_frozen(call, ((const Grpc__PauseContainerRequest *)request)->container_id,
			  true, e);
}

HANDLER(resume_container)
{
	return set_frozen(call, ((const Grpc__ResumeContainerRequest *)request)->container_id,
			  false, e);
}

/* ---- streams ---- */

HANDLER(write_stdin)
{
	const Grpc__WriteStreamRequest *r = request;
	Grpc__WriteStreamResponse *out = response;
	OWN(process_ref) struct process *p = NULL;

	if (find_process(call, r->container_id, r->exec_id, &p, e) < 0)
		return -1;
	if (!p->in.loop)
		return err_set(e, ERR_STATE, 0, "the process has no standard input");
	if (r->data.len == 0)
		return stream_close_input(&p->in, e);
	if (stream_write(&p->in, r->data.data, r->data.len, e) < 0)
		return -1;
	out->len = (uint32_t)r->data.len;
	return 0;
}

HANDLER(close_stdin)
{
	const Grpc__CloseStdinRequest *r = request;
	OWN(process_ref) struct process *p = NULL;

	if (find_process(call, r->container_id, r->exec_id, &p, e) < 0)
		return -1;
	return p->in.loop ? stream_close_input(&p->in, e) : 0;
}

static int read_stream(struct ttrpc_call *call, const Grpc__ReadStreamRequest *r, bool is_err,
		       Grpc__ReadStreamResponse *out, struct err *e)
{
	OWN(process_ref) struct process *p = NULL;
	struct stream *s;

	if (find_process(call, r->container_id, r->exec_id, &p, e) < 0)
		return -1;
	s = is_err ? &p->err_out : &p->out;
	if (!s->loop) { /* a terminal has no second output; a process not launched has none */
		if (p->child.pid)
			return 0;
		return err_set(e, ERR_STATE, 0, "the process was never started");
	}
	if (stream_read(s, r->len, call->arena, &out->data.data, &out->data.len, e) < 0)
		return -1;
	if (out->data.len == 0)
		process_maybe_forget(p);
	return 0;
}

HANDLER(read_stdout)
{
	return read_stream(call, request, false, response, e);
}

HANDLER(read_stderr)
{
	return read_stream(call, request, true, response, e);
}

HANDLER(tty_win_resize)
{
	const Grpc__TtyWinResizeRequest *r = request;
	OWN(process_ref) struct process *p = NULL;

	if (find_process(call, r->container_id, r->exec_id, &p, e) < 0)
		return -1;
	return process_resize(p, r->row, r->column, e);
}

/* ---- events ---- */

HANDLER(get_oom_event)
{
	Grpc__OOMEvent *out = response;
	char id[ID_MAX + 1];

	if (oom_next(call->context, id, e) < 0)
		return -1;
	out->container_id = arena_strdup(call->arena, id);
	return out->container_id ? 0 : err_oom(e, "an event");
}

HANDLER(update_ephemeral_mounts)
{
	const Grpc__UpdateEphemeralMountsRequest *r = request;

	for (size_t i = 0; i < r->n_storages; i++) {
		if (storage_resize(call->context, r->storages[i], e) < 0)
			return err_wrap(e, "storages[%zu]", i);
	}
	return 0;
}

/* ---- health ---- */

HANDLER(health_check)
{
	Grpc__HealthCheckResponse *out = response;

	out->status = GRPC__SERVING_STATUS__SERVING;
	return 0;
}

HANDLER(health_version)
{
	Grpc__VersionCheckResponse *out = response;

	out->grpc_version = arena_strdup(call->arena, "0.0.1");
	out->agent_version = arena_strdup(call->arena, KATA_VERSION);
	return out->grpc_version && out->agent_version ? 0 : err_oom(e, "the version");
}

#define EMPTY google__protobuf__empty__descriptor
#define ROW(method, req, resp, fn)                                                             \
	{                                                                                      \
		.name = (method), .request = &(req), .response = &(resp), .run = (fn)          \
	}

static const struct ttrpc_method agent_methods[] = {
	/* clang-format off */
	ROW("CreateSandbox", grpc__create_sandbox_request__descriptor, EMPTY, create_sandbox),
	ROW("DestroySandbox", grpc__destroy_sandbox_request__descriptor, EMPTY, destroy_sandbox),
	ROW("CreateContainer", grpc__create_container_request__descriptor, EMPTY, create_container),
	ROW("StartContainer", grpc__start_container_request__descriptor, EMPTY, start_container),
	ROW("RemoveContainer", grpc__remove_container_request__descriptor, EMPTY, remove_container),
	ROW("ExecProcess", grpc__exec_process_request__descriptor, EMPTY, exec_process),
	ROW("SignalProcess", grpc__signal_process_request__descriptor, EMPTY, signal_process),
	ROW("WaitProcess", grpc__wait_process_request__descriptor, grpc__wait_process_response__descriptor, wait_process),
	ROW("UpdateContainer", grpc__update_container_request__descriptor, EMPTY, update_container),
	ROW("PauseContainer", grpc__pause_container_request__descriptor, EMPTY, pause_container),
	ROW("ResumeContainer", grpc__resume_container_request__descriptor, EMPTY, resume_container),
	ROW("WriteStdin", grpc__write_stream_request__descriptor, grpc__write_stream_response__descriptor, write_stdin),
	ROW("ReadStdout", grpc__read_stream_request__descriptor, grpc__read_stream_response__descriptor, read_stdout),
	ROW("ReadStderr", grpc__read_stream_request__descriptor, grpc__read_stream_response__descriptor, read_stderr),
	ROW("CloseStdin", grpc__close_stdin_request__descriptor, EMPTY, close_stdin),
	ROW("TtyWinResize", grpc__tty_win_resize_request__descriptor, EMPTY, tty_win_resize),
	ROW("UpdateInterface", grpc__update_interface_request__descriptor, types__interface__descriptor, network_update_interface),
	ROW("UpdateRoutes", grpc__update_routes_request__descriptor, grpc__routes__descriptor, network_update_routes),
	ROW("ListInterfaces", grpc__list_interfaces_request__descriptor, grpc__interfaces__descriptor, network_list_interfaces),
	ROW("ListRoutes", grpc__list_routes_request__descriptor, grpc__routes__descriptor, network_list_routes),
	ROW("AddARPNeighbors", grpc__add_arpneighbors_request__descriptor, EMPTY, network_add_neighbors),
	ROW("ReseedRandomDev", grpc__reseed_random_dev_request__descriptor, EMPTY, guest_reseed),
	ROW("SetGuestDateTime", grpc__set_guest_date_time_request__descriptor, EMPTY, guest_set_time),
	ROW("OnlineCPUMem", grpc__online_cpumem_request__descriptor, EMPTY, guest_online),
	ROW("GetVolumeStats", grpc__volume_stats_request__descriptor, grpc__volume_stats_response__descriptor, guest_volume_stats),
	ROW("RemoveStaleVirtiofsShareMounts", grpc__remove_stale_virtiofs_share_mounts_request__descriptor, EMPTY, guest_remove_stale_mounts),
	ROW("UpdateEphemeralMounts", grpc__update_ephemeral_mounts_request__descriptor, EMPTY, update_ephemeral_mounts),
	ROW("StatsContainer", grpc__stats_container_request__descriptor, grpc__stats_container_response__descriptor, stats_container),
	ROW("CopyFile", grpc__copy_file_request__descriptor, EMPTY, copyfile),
	ROW("GetDiagnosticData", grpc__get_diagnostic_data_request__descriptor, grpc__get_diagnostic_data_response__descriptor, diagnostic_data),
	ROW("GetOOMEvent", grpc__get_oomevent_request__descriptor, grpc__oomevent__descriptor, get_oom_event),
	ROW("GetGuestDetails", grpc__guest_details_request__descriptor, grpc__guest_details_response__descriptor, guest_details),
	/* clang-format on */
};

static const struct ttrpc_method health_methods[] = {
	ROW("Check", grpc__check_request__descriptor, grpc__health_check_response__descriptor,
	    health_check),
	ROW("Version", grpc__check_request__descriptor,
	    grpc__version_check_response__descriptor, health_version),
};

void service_table(struct sandbox *s, struct ttrpc_service out[SERVICE_COUNT])
{
	out[0] = (struct ttrpc_service){
		.name = "grpc.AgentService",
		.methods = agent_methods,
		.method_count = ARRAY_LEN(agent_methods),
		.context = s,
	};
	out[1] = (struct ttrpc_service){
		.name = "grpc.Health",
		.methods = health_methods,
		.method_count = ARRAY_LEN(health_methods),
		.context = s,
	};
	out[2] = (struct ttrpc_service){
		.name = "katac.forward.Forward",
		.methods = forward_methods,
		.method_count = forward_method_count,
		.context = s,
	};
}
