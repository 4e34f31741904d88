/* SPDX-License-Identifier: Apache-2.0 */
/*
 * containerd's Task API on top of the domain in src/sandbox: one row per method, served
 * under the names of v2 and v3, whose messages are the same. Every handler runs in a fiber
 * of its own. A process is looked up anew after each wait.
 */
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/fd.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/own.h"
#include "base/str.h"
#include "base/time.h"
#include "engine.pb-c.h"
#include "events.pb-c.h"
#include "oci/notes.h"
#include "oci/spec.h"
#include "sandbox/sandbox.h"
#include "shim/engine.h"
#include "shim/events.h"
#include "shim/first_create.h"
#include "shim/metrics.h"
#include "shim/self_end.h"
#include "task.pb-c.h"
#include "wire/message.h"
#include "wire/ttrpc.h"

#define VERSION_STRING "2"

enum {
	WAITS_MAX = 4096
};

static_assert(WAITS_MAX < (int)TTRPC_MAX_CALLS, "the others need room, too");

#define NEW(type, name, a) ((type *)message_new(&name##__descriptor, (a)))

typedef Containerd__Task__CreateTaskRequest CreateTaskRequest;

/* ---- helpers ---- */

static struct engine *engine_of(struct ttrpc_call *c)
{
	return c->context;
}

static int find_container(struct engine *en, const char *id, struct container **out,
			  struct err *e)
{
	struct container *ct = en->sandbox ? container_find(en->sandbox, id) : NULL;

	if (!ct)
		return err_set(e, ERR_NOT_FOUND, 0, "container '%.80s' does not exist here",
			       id);
	*out = ct;
	return 0;
}

static int find_process(struct engine *en, const char *id, const char *exec_id,
			struct process **out, struct err *e)
{
	struct container *ct;

	if (find_container(en, id, &ct, e) < 0)
		return -1;
	return process_find(ct, exec_id, out, e);
}

static Google__Protobuf__Timestamp *timestamp(struct arena *a, int64_t ns)
{
	Google__Protobuf__Timestamp *t = arena_alloc(a, sizeof(*t));

	if (t) {
		google__protobuf__timestamp__init(t);
		t->seconds = ns / 1000000000;
		t->nanos = (int32_t)(ns % 1000000000);
	}
	return t;
}

/* Fields whose default is protobuf's shared empty string must never be NULL. */
static char *text(const char *s)
{
	return (char *)(uintptr_t)(s ? s : "");
}

static uint32_t host_pid(const struct process *p)
{
	return (uint32_t)container_pid(process_container(p));
}

/* What events and answers about an end say; State says 0, since others may have the number. */
static uint32_t last_pid(const struct process *p)
{
	return (uint32_t)container_last_pid(process_container(p));
}

/* ---- events ---- */

static void send_exit(struct engine *en, struct process *p)
{
	Containerd__Events__TaskExit m = CONTAINERD__EVENTS__TASK_EXIT__INIT;
	Google__Protobuf__Timestamp at = GOOGLE__PROTOBUF__TIMESTAMP__INIT;
	const char *exec_id = process_exec_id(p);

	m.container_id = text(container_id(process_container(p)));
	m.id = *exec_id ? text(exec_id) : m.container_id;
	m.pid = last_pid(p);
	m.exit_status = process_exit_status(p);
	at.seconds = process_exited_at(p) / 1000000000;
	at.nanos = (int32_t)(process_exited_at(p) % 1000000000);
	m.exited_at = &at;
	events_send(en->events, EVENT_EXIT, &m.base);
}

/* The process whose end is the sandbox's. */
static bool is_main(struct engine *en, struct process *p)
{
	return !*process_exec_id(p) &&
	       str_eq(container_id(process_container(p)), en->main_container);
}

static void observed_exit(void *arg, struct process *p)
{
	struct engine *en = arg;

	send_exit(en, p);
	if (is_main(en, p))
		self_end_begin(en, p);
}

/* CRI-O takes no events; it looks for a file in the bundle, as upstream's shim writes it. */
static void leave_oom_file(struct engine *en, const char *id)
{
	const struct container *ct = container_find(en->sandbox, id);
	OWN(free) char *path = NULL;
	struct err e;

	if (!ct || !str_eq(container_manager(ct), "cri-o"))
		return;
	path = str_printf("%s/oom", container_bundle(ct));
	if (!path || file_replace(AT_FDCWD, path, "", 0, 0644, false, &e) < 0)
		log_warn(NULL, "container '%s': its OOM kill is not on record: %s", id,
			 path ? e.msg : "out of memory");
}

static void observed_oom(void *arg, const char *container_id)
{
	struct engine *en = arg;
	Containerd__Events__TaskOOM m = CONTAINERD__EVENTS__TASK_OOM__INIT;

	leave_oom_file(en, container_id);
	m.container_id = text(container_id);
	events_send(en->events, EVENT_OOM, &m.base);
}

static void observed_lost(void *arg, const struct err *why)
{
	struct engine *en = arg;

	log_error(NULL, "sandbox '%s' was lost: %s", en->id, why->msg);
}

struct sandbox_observer task_observer(struct engine *en)
{
	return (struct sandbox_observer){
		.exited = observed_exit,
		.oom = observed_oom,
		.lost = observed_lost,
		.arg = en,
	};
}

static void send_create(struct engine *en, const CreateTaskRequest *r, uint32_t pid)
{
	Containerd__Events__TaskCreate m = CONTAINERD__EVENTS__TASK_CREATE__INIT;
	Containerd__Events__TaskIO io = CONTAINERD__EVENTS__TASK_IO__INIT;

	io.stdin = r->stdin;
	io.stdout = r->stdout;
	io.stderr = r->stderr;
	io.terminal = r->terminal;
	m.container_id = r->id;
	m.bundle = r->bundle;
	m.n_rootfs = r->n_rootfs;
	m.rootfs = r->rootfs;
	m.io = &io;
	m.checkpoint = r->checkpoint;
	m.pid = pid;
	events_send(en->events, EVENT_CREATE, &m.base);
}

static void send_start(struct engine *en, const Containerd__Task__StartRequest *r, uint32_t pid)
{
	Containerd__Events__TaskStart m = CONTAINERD__EVENTS__TASK_START__INIT;
	Containerd__Events__TaskExecStarted x = CONTAINERD__EVENTS__TASK_EXEC_STARTED__INIT;

	if (*r->exec_id) {
		x.container_id = r->id;
		x.exec_id = r->exec_id;
		x.pid = pid;
		events_send(en->events, EVENT_EXEC_STARTED, &x.base);
		return;
	}
	m.container_id = r->id;
	m.pid = pid;
	events_send(en->events, EVENT_START, &m.base);
}

/* ---- methods ---- */

int task_rootfs(const CreateTaskRequest *r, struct arena *a, struct rootfs_mount **out,
		struct err *e)
{
	struct rootfs_mount *m = arena_calloc(a, r->n_rootfs, sizeof(*m));

	if (!m)
		return err_oom(e, "root file system mounts");
	for (size_t i = 0; i < r->n_rootfs; i++) {
		m[i].type = r->rootfs[i]->type;
		m[i].source = r->rootfs[i]->source;
		m[i].target = r->rootfs[i]->target;
		m[i].options = (const char *const *)r->rootfs[i]->options;
		m[i].option_count = r->rootfs[i]->n_options;
	}
	*out = m;
	return 0;
}

static int task_create(struct ttrpc_call *c, const void *request, void *response, struct err *e)
{
	const CreateTaskRequest *r = request;
	Containerd__Task__CreateTaskResponse *resp = response;
	struct engine *en = engine_of(c);
	const Katac__Options *options;
	struct rootfs_mount *rootfs;
	struct container *ct;

	if (*r->checkpoint || *r->parent_checkpoint)
		return err_set(e, ERR_UNSUPPORTED, 0,
			       "restoring from a checkpoint is not supported");
	if (task_rootfs(r, c->arena, &rootfs, e) < 0 ||
	    create_own_options(r->options, c->arena, &options, e) < 0)
		return -1;
	if (first_create(en, r, e) < 0) {
		container_not_program(e);
		return -1;
	}
	struct container_config cc = {
		.id = r->id,
		.bundle = r->bundle,
		.rootfs = rootfs,
		.rootfs_count = r->n_rootfs,
		.directories = (const char *const *)options->directories,
		.directory_count = options->n_directories,
		.terminal = r->terminal,
		.stdin_name = r->stdin,
		.stdout_name = r->stdout,
		.stderr_name = r->stderr,
	};
	if (container_create(en->sandbox, &cc, &ct, e) < 0) {
		first_create_undo(en, r->id);
		return -1;
	}
	resp->pid = (uint32_t)container_pid(ct);
	send_create(en, r, resp->pid);
	return 0;
}

static int task_start(struct ttrpc_call *c, const void *request, void *response, struct err *e)
{
	const Containerd__Task__StartRequest *r = request;
	Containerd__Task__StartResponse *resp = response;
	struct engine *en = engine_of(c);
	struct process *p;
	int rc;

	if (find_process(en, r->id, r->exec_id, &p, e) < 0)
		return -1;
	process_ref(p);
	rc = process_start(p, e);
	if (rc == 0) {
		resp->pid = last_pid(p);
		send_start(en, r, resp->pid);
	} else if (is_main(en, p)) {
		self_end_begin(en, p);
	}
	process_unref(p);
	return rc;
}

static int delete_exec(struct process *p, Containerd__Task__DeleteResponse *resp,
		       struct arena *a, struct err *e)
{
	uint32_t status = process_exit_status(p);
	int64_t at = process_exited_at(p);

	resp->pid = last_pid(p);
	if (process_delete(p, e) < 0)
		return -1;
	resp->exit_status = status;
	resp->exited_at = timestamp(a, at);
	return 0;
}

static int delete_container(struct engine *en, struct container *ct,
			    Containerd__Task__DeleteResponse *resp, struct arena *a,
			    struct err *e)
{
	Containerd__Events__TaskDelete m = CONTAINERD__EVENTS__TASK_DELETE__INIT;
	OWN(free) char *id = strdup(container_id(ct));
	struct process *p;
	int rc;

	if (!id)
		return err_oom(e, "an id");
	if (process_find(ct, "", &p, e) < 0)
		return -1;
	resp->pid = last_pid(p);
	process_ref(p);
	rc = container_delete(ct, e);
	/* one that was never started ends by being deleted */
	resp->exit_status = process_exit_status(p);
	resp->exited_at = timestamp(a, process_exited_at(p));
	process_unref(p);
	if (rc < 0)
		return -1;
	m.container_id = id;
	m.pid = resp->pid;
	m.exit_status = resp->exit_status;
	m.exited_at = resp->exited_at;
	m.id = id;
	events_send(en->events, EVENT_DELETE, &m.base);
	if (str_eq(id, en->main_container))
		sandbox_stop(en->sandbox);
	return 0;
}

static int task_delete(struct ttrpc_call *c, const void *request, void *response, struct err *e)
{
	const Containerd__Task__DeleteRequest *r = request;
	struct engine *en = engine_of(c);
	struct container *ct;
	struct process *p;

	if (find_container(en, r->id, &ct, e) < 0)
		return -1;
	if (!*r->exec_id)
		return delete_container(en, ct, response, c->arena, e);
	if (process_find(ct, r->exec_id, &p, e) < 0)
		return -1;
	return delete_exec(p, response, c->arena, e);
}

static int task_exec(struct ttrpc_call *c, const void *request, void *response, struct err *e)
{
	const Containerd__Task__ExecProcessRequest *r = request;
	Containerd__Events__TaskExecAdded m = CONTAINERD__EVENTS__TASK_EXEC_ADDED__INIT;
	struct exec_config x = {
		.exec_id = r->exec_id,
		.terminal = r->terminal,
		.stdin_name = r->stdin,
		.stdout_name = r->stdout,
		.stderr_name = r->stderr,
	};
	struct engine *en = engine_of(c);
	struct container *ct;
	struct process *p;

	(void)response;
	if (!r->spec)
		return err_set(e, ERR_INVALID, 0, "exec '%.80s' has no process specification",
			       r->exec_id);
	x.process_json = (const char *)r->spec->value.data;
	x.process_len = r->spec->value.len;
	if (find_container(en, r->id, &ct, e) < 0 || exec_create(ct, &x, &p, e) < 0)
		return -1;
	m.container_id = r->id;
	m.exec_id = r->exec_id;
	events_send(en->events, EVENT_EXEC_ADDED, &m.base);
	return 0;
}

static Containerd__Task__Status status_of(enum process_state s)
{
	static const Containerd__Task__Status by_state[PROCESS_STATE_COUNT_] = {
		[PROCESS_NEW] = CONTAINERD__TASK__STATUS__CREATED,
		[PROCESS_CREATED] = CONTAINERD__TASK__STATUS__CREATED,
		[PROCESS_STARTING] = CONTAINERD__TASK__STATUS__CREATED,
		[PROCESS_RUNNING] = CONTAINERD__TASK__STATUS__RUNNING,
		[PROCESS_PAUSED] = CONTAINERD__TASK__STATUS__PAUSED,
		[PROCESS_STOPPED] = CONTAINERD__TASK__STATUS__STOPPED,
		[PROCESS_DELETED] = CONTAINERD__TASK__STATUS__STOPPED,
	};

	return by_state[s];
}

static int task_state(struct ttrpc_call *c, const void *request, void *response, struct err *e)
{
	const Containerd__Task__StateRequest *r = request;
	Containerd__Task__StateResponse *resp = response;
	const char *in, *out, *err_name;
	struct process *p;
	bool terminal;

	if (find_process(engine_of(c), r->id, r->exec_id, &p, e) < 0)
		return -1;
	process_stdio(p, &in, &out, &err_name, &terminal);
	resp->id = r->id;
	resp->bundle = text(container_bundle(process_container(p)));
	resp->pid = host_pid(p);
	resp->status = status_of(process_state(p));
	resp->stdin = arena_strdup(c->arena, in);
	resp->stdout = arena_strdup(c->arena, out);
	resp->stderr = arena_strdup(c->arena, err_name);
	resp->terminal = terminal;
	resp->exit_status = process_exit_status(p);
	resp->exited_at =
		process_exited_at(p) ? timestamp(c->arena, process_exited_at(p)) : NULL;
	resp->exec_id = r->exec_id;
	return 0;
}

/*
 * Who gives up a Wait does not say so: it stays for as long as the process lives. There are
 * never so many that no other request could be made (TTRPC_MAX_CALLS).
 */
static int task_wait(struct ttrpc_call *c, const void *request, void *response, struct err *e)
{
	const Containerd__Task__WaitRequest *r = request;
	Containerd__Task__WaitResponse *resp = response;
	struct engine *en = engine_of(c);
	struct process *p;
	int rc;

	if (find_process(en, r->id, r->exec_id, &p, e) < 0)
		return -1;
	if (en->waits >= WAITS_MAX && process_exited_at(p) == 0)
		return err_set(e, ERR_NO_MEMORY, 0,
			       "%d requests wait already, which is the most", WAITS_MAX);
	process_ref(p);
	en->waits++;
	rc = process_wait(p, e);
	en->waits--;
	if (rc == 0) {
		resp->exit_status = process_exit_status(p);
		resp->exited_at = timestamp(c->arena, process_exited_at(p));
	}
	process_unref(p);
	return rc;
}

static int task_kill(struct ttrpc_call *c, const void *request, void *response, struct err *e)
{
	const Containerd__Task__KillRequest *r = request;
	struct process *p;

	(void)response;
	if (find_process(engine_of(c), r->id, r->exec_id, &p, e) < 0)
		return -1;
	return process_kill(p, r->signal, r->all, e);
}

static int task_resize_pty(struct ttrpc_call *c, const void *request, void *response,
			   struct err *e)
{
	const Containerd__Task__ResizePtyRequest *r = request;
	struct process *p;

	(void)response;
	if (find_process(engine_of(c), r->id, r->exec_id, &p, e) < 0)
		return -1;
	return process_resize(p, r->width, r->height, e);
}

static int task_close_io(struct ttrpc_call *c, const void *request, void *response,
			 struct err *e)
{
	const Containerd__Task__CloseIORequest *r = request;
	struct process *p;

	(void)response;
	if (find_process(engine_of(c), r->id, r->exec_id, &p, e) < 0)
		return -1;
	return r->stdin ? process_close_stdin(p, e) : 0;
}

/*
 * The guest's process ids, as a list of processes of containerd's own API: a client that does
 * not know the type of an Any fails, and this one every client of containerd knows.
 */
static int pids_info(const uint32_t *pids, size_t n, struct arena *a,
		     Google__Protobuf__Any **out, struct err *e)
{
	Google__Protobuf__Any *any = NEW(Google__Protobuf__Any, google__protobuf__any, a);
	Containerd__Task__PidsResponse list = CONTAINERD__TASK__PIDS_RESPONSE__INIT;
	OWN(buf) struct buf bytes = BUF_INIT;

	list.processes = arena_calloc(a, n, sizeof(*list.processes));
	if (!any || !list.processes)
		return err_oom(e, "a process list");
	for (size_t i = 0; i < n; i++) {
		Containerd__Task__ProcessInfo *p =
			NEW(Containerd__Task__ProcessInfo, containerd__task__process_info, a);

		if (!p)
			return err_oom(e, "a process list");
		p->pid = pids[i];
		list.processes[list.n_processes++] = p;
	}
	if (message_encode(&list.base, &bytes, e) < 0)
		return -1;
	any->type_url = text("containerd.services.tasks.v1.ListPidsResponse");
	any->value.len = buf_len(&bytes);
	any->value.data = arena_alloc(a, buf_len(&bytes));
	if (!any->value.data)
		return err_oom(e, "a process list");
	memcpy(any->value.data, buf_head(&bytes), buf_len(&bytes));
	*out = any;
	return 0;
}

/* One process of the host stands for all of the container's. */
static int task_pids(struct ttrpc_call *c, const void *request, void *response, struct err *e)
{
	const Containerd__Task__PidsRequest *r = request;
	Containerd__Task__PidsResponse *resp = response;
	Containerd__Task__ProcessInfo *p;
	struct container *ct;
	const uint32_t *pids;
	uint32_t pid;
	size_t n;

	if (find_container(engine_of(c), r->id, &ct, e) < 0)
		return -1;
	pid = (uint32_t)container_pid(ct);
	if (pid == 0)
		return 0;
	/* a caller without an answer takes the container for lost, whose number is known */
	if (container_processes(ct, c->arena, &pids, &n, e) < 0) {
		log_warn(NULL, "container '%s': its guest's process ids: %s", r->id, e->msg);
		err_clear(e);
		n = 0;
	}
	resp->processes = arena_alloc(c->arena, sizeof(*resp->processes));
	p = NEW(Containerd__Task__ProcessInfo, containerd__task__process_info, c->arena);
	if (!resp->processes || !p)
		return err_oom(e, "a process list");
	p->pid = pid;
	if (n && pids_info(pids, n, c->arena, &p->info, e) < 0)
		return -1;
	resp->processes[0] = p;
	resp->n_processes = 1;
	return 0;
}

static int task_pause(struct ttrpc_call *c, const void *request, void *response, struct err *e)
{
	const Containerd__Task__PauseRequest *r = request;
	Containerd__Events__TaskPaused m = CONTAINERD__EVENTS__TASK_PAUSED__INIT;
	struct engine *en = engine_of(c);
	struct container *ct;

	(void)response;
	if (find_container(en, r->id, &ct, e) < 0 || container_pause(ct, e) < 0)
		return -1;
	m.container_id = r->id;
	events_send(en->events, EVENT_PAUSED, &m.base);
	return 0;
}

static int task_resume(struct ttrpc_call *c, const void *request, void *response, struct err *e)
{
	const Containerd__Task__ResumeRequest *r = request;
	Containerd__Events__TaskResumed m = CONTAINERD__EVENTS__TASK_RESUMED__INIT;
	struct engine *en = engine_of(c);
	struct container *ct;

	(void)response;
	if (find_container(en, r->id, &ct, e) < 0 || container_resume(ct, e) < 0)
		return -1;
	m.container_id = r->id;
	events_send(en->events, EVENT_RESUMED, &m.base);
	return 0;
}

static int task_update(struct ttrpc_call *c, const void *request, void *response, struct err *e)
{
	const Containerd__Task__UpdateTaskRequest *r = request;
	OWN(oci_notes) struct oci_notes notes = { 0 };
	Grpc__LinuxResources *resources;
	struct container *ct;

	(void)response;
	if (!r->resources)
		return err_set(e, ERR_INVALID, 0, "update of '%.80s' names no resources",
			       r->id);
	if (find_container(engine_of(c), r->id, &ct, e) < 0)
		return -1;
	if (resources_parse((const char *)r->resources->value.data, r->resources->value.len,
			    c->arena, &notes, &resources, e) < 0)
		return -1;
	return container_update(ct, resources, &notes, e);
}

static int task_stats(struct ttrpc_call *c, const void *request, void *response, struct err *e)
{
	const Containerd__Task__StatsRequest *r = request;
	Containerd__Task__StatsResponse *resp = response;
	Grpc__StatsContainerResponse *figures;
	struct container *ct;

	if (find_container(engine_of(c), r->id, &ct, e) < 0 ||
	    container_stats(ct, c->arena, &figures, e) < 0)
		return -1;
	return metrics_make(figures, metrics_host_is_v2(), c->arena, &resp->stats, e);
}

static int task_connect(struct ttrpc_call *c, const void *request, void *response,
			struct err *e)
{
	const Containerd__Task__ConnectRequest *r = request;
	Containerd__Task__ConnectResponse *resp = response;
	struct engine *en = engine_of(c);
	struct container *ct = en->sandbox ? container_find(en->sandbox, r->id) : NULL;

	(void)e;
	resp->shim_pid = (uint32_t)getpid();
	resp->task_pid = ct ? (uint32_t)container_pid(ct) : 0;
	resp->version = text(VERSION_STRING);
	return 0;
}

static int task_shutdown(struct ttrpc_call *c, const void *request, void *response,
			 struct err *e)
{
	const Containerd__Task__ShutdownRequest *r = request;
	struct engine *en = engine_of(c);

	(void)response;
	(void)e;
	/* containerd asks after each container of a pod; the last one's request counts */
	if (en->is_pod && en->sandbox)
		return 0; /* until ShutdownSandbox */
	if (r->now || !en->sandbox || container_count(en->sandbox) == 0)
		engine_end(en);
	return 0;
}

static int task_checkpoint(struct ttrpc_call *c, const void *request, void *response,
			   struct err *e)
{
	(void)c;
	(void)request;
	(void)response;
	return err_set(e, ERR_UNSUPPORTED, 0,
		       "checkpointing a container in a VM is not supported");
}

#define EMPTY      &google__protobuf__empty__descriptor
#define REQ(type)  &containerd__task__##type##_request__descriptor
#define RESP(type) &containerd__task__##type##_response__descriptor

static const struct ttrpc_method task_methods[] = {
	{ "State", REQ(state), RESP(state), task_state },
	{ "Create", REQ(create_task), RESP(create_task), task_create },
	{ "Start", REQ(start), RESP(start), task_start },
	{ "Delete", REQ(delete), RESP(delete), task_delete },
	{ "Pids", REQ(pids), RESP(pids), task_pids },
	{ "Pause", REQ(pause), EMPTY, task_pause },
	{ "Resume", REQ(resume), EMPTY, task_resume },
	{ "Checkpoint", REQ(checkpoint_task), EMPTY, task_checkpoint },
	{ "Kill", REQ(kill), EMPTY, task_kill },
	{ "Exec", REQ(exec_process), EMPTY, task_exec },
	{ "ResizePty", REQ(resize_pty), EMPTY, task_resize_pty },
	{ "CloseIO", &containerd__task__close_iorequest__descriptor, EMPTY, task_close_io },
	{ "Update", REQ(update_task), EMPTY, task_update },
	{ "Stats", REQ(stats), RESP(stats), task_stats },
	{ "Wait", REQ(wait), RESP(wait), task_wait },
	{ "Connect", REQ(connect), RESP(connect), task_connect },
	{ "Shutdown", REQ(shutdown), EMPTY, task_shutdown },
};

static const char *const service_names[] = {
	"containerd.task.v2.Task",
	"containerd.task.v3.Task",
};

void task_services(struct engine *en, struct ttrpc_service out[2])
{
	for (size_t i = 0; i < ARRAY_LEN(service_names); i++)
		out[i] = (struct ttrpc_service){
			.name = service_names[i],
			.methods = task_methods,
			.method_count = ARRAY_LEN(task_methods),
			.context = en,
		};
}
