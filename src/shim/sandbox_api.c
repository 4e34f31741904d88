/* SPDX-License-Identifier: Apache-2.0 */
/*
 * containerd's Sandbox API: a pod without a pause container. CreateSandbox says what the pod
 * is to be, StartSandbox boots it, containers follow through the Task API on the same socket,
 * StopSandbox takes the machine down and ShutdownSandbox ends the engine. The sandbox itself
 * is the same as one that a first container brings with it (first_create.c).
 */
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/utsname.h>

#include "base/err.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/own.h"
#include "base/str.h"
#include "base/time.h"
#include "config/config.h"
#include "engine.pb-c.h"
#include "sandbox.pb-c.h"
#include "sandbox/sandbox.h"
#include "shim/engine.h"
#include "shim/any.h"
#include "shim/first_create.h"
#include "shim/metrics.h"
#include "shim/pod_files.h"
#include "wire/message.h"
#include "wire/ttrpc.h"

#define POD_CONFIG_URL "runtime.v1.PodSandboxConfig"

enum {
	SHM_BYTES = 64 << 20, /* what containerd's CRI plug-in makes /dev/shm of */
	STATUS_LOST = 255,
	SYSCTLS_MAX = 1024
};

#define NEW(type, name, a)                                                                     \
	((Containerd__Sandbox__##type *)message_new(                                           \
		&containerd__sandbox__##name##__descriptor, (a)))

static char *text(const char *s)
{
	return (char *)(uintptr_t)s;
}

static Google__Protobuf__Timestamp *timestamp(struct arena *a, int64_t ns)
{
	Google__Protobuf__Timestamp *t = (Google__Protobuf__Timestamp *)message_new(
		&google__protobuf__timestamp__descriptor, a);

	if (t) {
		t->seconds = ns / 1000000000;
		t->nanos = (int32_t)(ns % 1000000000);
	}
	return t;
}

/* The engine serves one sandbox: any other is not here. */
static int find_sandbox(struct ttrpc_call *c, const char *id, struct engine **out,
			struct err *e)
{
	struct engine *en = c->context;

	if (!str_eq(id, en->id) || !en->is_pod || !en->sandbox)
		return err_set(e, ERR_NOT_FOUND, 0, "sandbox '%.80s' does not exist here", id);
	*out = en;
	return 0;
}

/* ---- making it ---- */

static int decode_config(const Google__Protobuf__Any *any, struct arena *a,
			 const Containerd__Sandbox__PodSandboxConfig **out, struct err *e)
{
	ProtobufCMessage *m;

	if (any && *any->type_url && !any_is(any, POD_CONFIG_URL))
		return err_set(e, ERR_UNSUPPORTED, 0, "options of type '%.80s': %s is known",
			       any->type_url, POD_CONFIG_URL);
	if (message_decode(&containerd__sandbox__pod_sandbox_config__descriptor,
			   any && any->value.data ? any->value.data : (const uint8_t *)"",
			   any ? any->value.len : 0, a, &m, e) < 0)
		return -1;
	*out = (const Containerd__Sandbox__PodSandboxConfig *)(const void *)m;
	return 0;
}

static int keep(struct engine *en, const Containerd__Sandbox__CreateSandboxRequest *r,
		struct err *e)
{
	free(en->pod_netns); /* of one that could not be made */
	free(en->pod_bundle);
	en->pod_netns = strdup(r->netns_path);
	en->pod_bundle = strdup(r->bundle_path);
	return en->pod_netns && en->pod_bundle ? 0 : err_oom(e, "a sandbox");
}

/* The caller's own, and those of the pod, which come last and count. */
static int list_annotations(const Containerd__Sandbox__CreateSandboxRequest *r,
			    const Containerd__Sandbox__PodSandboxConfig *p,
			    struct sandbox_wish *w, struct arena *a, struct err *e)
{
	struct annotation *list =
		arena_calloc(a, r->n_annotations + p->n_annotations + 1, sizeof(*list));
	size_t n = 0;

	if (!list)
		return err_oom(e, "annotations");
	for (size_t i = 0; i < r->n_annotations; i++)
		list[n++] =
			(struct annotation){ r->annotations[i]->key, r->annotations[i]->value };
	for (size_t i = 0; i < p->n_annotations; i++)
		list[n++] =
			(struct annotation){ p->annotations[i]->key, p->annotations[i]->value };
	w->annotations = list;
	w->annotation_count = n;
	return 0;
}

/* With a pause container they are in its specification. */
static int list_sysctls(const Containerd__Sandbox__LinuxPodSandboxConfig *l,
			struct sandbox_wish *w, struct arena *a, struct err *e)
{
	struct sandbox_sysctl *list = arena_calloc(a, l->n_sysctls, sizeof(*list));

	if (l->n_sysctls > SYSCTLS_MAX)
		return err_set(e, ERR_INVALID, 0, "linux.sysctls: %zu are more than %d",
			       l->n_sysctls, SYSCTLS_MAX);
	if (!list)
		return err_oom(e, "linux.sysctls");
	for (size_t i = 0; i < l->n_sysctls; i++)
		list[i] = (struct sandbox_sysctl){ l->sysctls[i]->key, l->sysctls[i]->value };
	w->sysctls = list;
	w->sysctl_count = l->n_sysctls;
	return 0;
}

/* The cgroup of a sandbox whose pod has the parent: as containerd names a pause container's. */
static const char *place_below(const char *parent, const char *id, struct arena *a)
{
	const char *last = strrchr(parent, '/');

	if (str_ends(parent, ".slice"))
		return arena_printf(a, "%s:kata:%s", last ? last + 1 : parent, id);
	return arena_printf(a, "%s/%s", parent, id);
}

/* Its name is the guest's, which has no more room (Linux: __NEW_UTS_LEN). */
static int name_pod(const struct engine *en, const Containerd__Sandbox__PodSandboxConfig *p,
		    struct sandbox_wish *w, struct arena *a, struct err *e)
{
	OWN(fd) int etc = open("/etc", O_PATH | O_DIRECTORY | O_CLOEXEC);

	if (etc < 0)
		return err_sys(e, "open '/etc'");
	w->hostname = *p->hostname ? p->hostname : arena_printf(a, "%.64s", en->id);
	if (!w->hostname)
		return err_oom(e, "hostname");
	return pod_files_make(p, w->hostname, etc, a, &w->files, e);
}

static int take_linux(const struct engine *en,
		      const Containerd__Sandbox__LinuxPodSandboxConfig *l,
		      struct sandbox_wish *w, struct arena *a, struct err *e)
{
	if (*l->cgroup_parent) {
		w->cgroup = place_below(l->cgroup_parent, en->id, a);
		if (!w->cgroup)
			return err_oom(e, "a path");
	}
	if (l->resources)
		w->limits = (struct sizing_limits){
			.quota = l->resources->cpu_quota,
			.period = l->resources->cpu_period,
			.shares = l->resources->cpu_shares,
			.memory = l->resources->memory_limit_in_bytes,
		};
	return list_sysctls(l, w, a, e);
}

/* It may wait: a container's Create waits for it, and has no machine of its own after it. */
static int make_pod(struct engine *en, const struct sandbox_wish *w, struct arena *a,
		    struct err *e)
{
	int rc;

	en->creating = en->is_pod = true;
	rc = make_wished(en, w, a, e);
	if (rc < 0)
		config_free(TAKE(en->config));
	en->creating = false;
	cond_wake_all(&en->created);
	return rc;
}

static int api_create(struct ttrpc_call *c, const void *request, void *response, struct err *e)
{
	static const Katac__Options no_options = KATAC__OPTIONS__INIT;
	const Containerd__Sandbox__CreateSandboxRequest *r = request;
	const Containerd__Sandbox__PodSandboxConfig *p;
	struct sandbox_wish w = { .options = &no_options,
				  .is_pod = true,
				  .shm_bytes = SHM_BYTES,
				  .disk_places = PLACES_FOR_ROOTS };
	struct engine *en = c->context;

	(void)response;
	if (!str_eq(r->sandbox_id, en->id))
		return err_set(e, ERR_INVALID, 0,
			       "this engine is for sandbox '%s', not '%.80s'", en->id,
			       r->sandbox_id);
	if (en->sandbox || en->creating || en->ending)
		return err_set(e, ERR_EXISTS, 0, "sandbox '%s' exists already", en->id);
	if (r->n_rootfs)
		return err_set(e, ERR_UNSUPPORTED, 0, "a sandbox with a root file system");
	if (!*r->netns_path)
		return err_set(e, ERR_UNSUPPORTED, 0,
			       "no network namespace, which asks for the host's network: a pod "
			       "in a VM cannot have that (hostNetwork)");
	if (decode_config(r->options, c->arena, &p, e) < 0 ||
	    list_annotations(r, p, &w, c->arena, e) < 0 ||
	    name_pod(en, p, &w, c->arena, e) < 0 ||
	    (p->linux && take_linux(en, p->linux, &w, c->arena, e) < 0) || keep(en, r, e) < 0)
		return -1;
	w.netns = en->pod_netns;
	return make_pod(en, &w, c->arena, e);
}

/* The pod's process on the host has an empty directory as its root. */
static int add_stand_in(struct engine *en, struct err *e)
{
	OWN(free) char *root = str_printf("%s/empty", en->run.path);

	if (!root)
		return err_oom(e, "a path");
	if (mkdir(root, 0500) < 0 && errno != EEXIST)
		return err_sys(e, "mkdir '%s'", root);
	return sandbox_add_stand_in(en->sandbox, en->pod_netns, root, e);
}

static int api_start(struct ttrpc_call *c, const void *request, void *response, struct err *e)
{
	const Containerd__Sandbox__StartSandboxRequest *r = request;
	Containerd__Sandbox__StartSandboxResponse *resp = response;
	struct engine *en;

	if (find_sandbox(c, r->sandbox_id, &en, e) < 0 || sandbox_boot(en->sandbox, e) < 0)
		return -1;
	if (add_stand_in(en, e) < 0) {
		sandbox_stop(en->sandbox);
		return -1;
	}
	resp->pid = (uint32_t)sandbox_pid(en->sandbox);
	resp->created_at = timestamp(c->arena, sandbox_ready_at(en->sandbox));
	return resp->created_at ? 0 : err_oom(e, "an answer");
}

/* ---- asking ---- */

static int api_platform(struct ttrpc_call *c, const void *request, void *response,
			struct err *e)
{
	/* Go's names, which image indexes use */
	static const struct {
		const char *machine, *name;
	} names[] = { { "x86_64", "amd64" }, { "aarch64", "arm64" } };
	Containerd__Sandbox__PlatformResponse *resp = response;
	struct utsname u;

	(void)request;
	resp->platform = NEW(Platform, platform, c->arena);
	if (!resp->platform || uname(&u) < 0)
		return err_oom(e, "an answer");
	resp->platform->os = text("linux");
	resp->platform->architecture = arena_strdup(c->arena, u.machine);
	for (size_t i = 0; i < ARRAY_LEN(names); i++) {
		if (str_eq(names[i].machine, u.machine))
			resp->platform->architecture = text(names[i].name);
	}
	return resp->platform->architecture ? 0 : err_oom(e, "an answer");
}

static int add_info(Containerd__Sandbox__SandboxStatusResponse *resp, struct engine *en,
		    struct arena *a, struct err *e)
{
	Containerd__Sandbox__SandboxStatusResponse__InfoEntry *entry =
		NEW(SandboxStatusResponse__InfoEntry, sandbox_status_response__info_entry, a);

	resp->info = arena_calloc(a, 1, sizeof(*resp->info));
	if (!entry || !resp->info)
		return err_oom(e, "an answer");
	entry->key = text("machine");
	entry->value = text(sandbox_description(en->sandbox));
	resp->info[resp->n_info++] = entry;
	return 0;
}

static int api_status(struct ttrpc_call *c, const void *request, void *response, struct err *e)
{
	const Containerd__Sandbox__SandboxStatusRequest *r = request;
	Containerd__Sandbox__SandboxStatusResponse *resp = response;
	struct engine *en;

	if (find_sandbox(c, r->sandbox_id, &en, e) < 0)
		return -1;
	resp->sandbox_id = r->sandbox_id;
	resp->pid = (uint32_t)sandbox_pid(en->sandbox);
	resp->state = text(sandbox_state(en->sandbox) == SANDBOX_READY ? "SANDBOX_READY"
								       : "SANDBOX_NOTREADY");
	resp->created_at = timestamp(c->arena, sandbox_ready_at(en->sandbox));
	resp->exited_at = timestamp(c->arena, sandbox_stopped_at(en->sandbox));
	if (!resp->created_at || !resp->exited_at)
		return err_oom(e, "an answer");
	return r->verbose ? add_info(resp, en, c->arena, e) : 0;
}

static int api_ping(struct ttrpc_call *c, const void *request, void *response, struct err *e)
{
	const Containerd__Sandbox__PingRequest *r = request;
	struct engine *en;

	(void)response;
	if (find_sandbox(c, r->sandbox_id, &en, e) < 0)
		return -1;
	if (sandbox_state(en->sandbox) != SANDBOX_READY)
		return err_set(e, ERR_STATE, 0, "sandbox '%s' is %s", en->id,
			       sandbox_state_name(sandbox_state(en->sandbox)));
	return 0;
}

static int api_metrics(struct ttrpc_call *c, const void *request, void *response, struct err *e)
{
	const Containerd__Sandbox__SandboxMetricsRequest *r = request;
	Containerd__Sandbox__SandboxMetricsResponse *resp = response;
	Grpc__StatsContainerResponse *figures;
	struct engine *en;

	if (find_sandbox(c, r->sandbox_id, &en, e) < 0)
		return -1;
	resp->metrics = NEW(Metric, metric, c->arena);
	if (!resp->metrics || !(resp->metrics->timestamp = timestamp(c->arena, time_wall_ns())))
		return err_oom(e, "an answer");
	resp->metrics->id = r->sandbox_id;
	if (sandbox_stats(en->sandbox, c->arena, &figures, e) < 0)
		return -1;
	return metrics_make(figures, metrics_host_is_v2(), c->arena, &resp->metrics->data, e);
}

/* ---- its end ---- */

static int api_wait(struct ttrpc_call *c, const void *request, void *response, struct err *e)
{
	const Containerd__Sandbox__WaitSandboxRequest *r = request;
	Containerd__Sandbox__WaitSandboxResponse *resp = response;
	struct engine *en;

	if (find_sandbox(c, r->sandbox_id, &en, e) < 0 || sandbox_wait(en->sandbox, e) < 0)
		return -1;
	resp->exit_status = sandbox_lost_why(en->sandbox) ? STATUS_LOST : 0;
	resp->exited_at = timestamp(c->arena, sandbox_stopped_at(en->sandbox));
	return resp->exited_at ? 0 : err_oom(e, "an answer");
}

static int api_stop(struct ttrpc_call *c, const void *request, void *response, struct err *e)
{
	const Containerd__Sandbox__StopSandboxRequest *r = request;
	struct engine *en;

	(void)response;
	if (find_sandbox(c, r->sandbox_id, &en, e) < 0)
		return -1;
	if (r->timeout_secs)
		sandbox_ask_to_end(en->sandbox, deadline_in(r->timeout_secs * INT64_C(1000)));
	sandbox_stop(en->sandbox);
	return 0;
}

static int api_shutdown(struct ttrpc_call *c, const void *request, void *response,
			struct err *e)
{
	const Containerd__Sandbox__ShutdownSandboxRequest *r = request;
	struct engine *en = c->context;

	(void)response;
	if (!str_eq(r->sandbox_id, en->id))
		return err_set(e, ERR_NOT_FOUND, 0, "sandbox '%.80s' does not exist here",
			       r->sandbox_id);
	engine_end(en);
	return 0;
}

#define REQ(type)  &containerd__sandbox__##type##_request__descriptor
#define RESP(type) &containerd__sandbox__##type##_response__descriptor

static const struct ttrpc_method methods[] = {
	{ "CreateSandbox", REQ(create_sandbox), RESP(create_sandbox), api_create },
	{ "StartSandbox", REQ(start_sandbox), RESP(start_sandbox), api_start },
	{ "Platform", REQ(platform), RESP(platform), api_platform },
	{ "StopSandbox", REQ(stop_sandbox), RESP(stop_sandbox), api_stop },
	{ "WaitSandbox", REQ(wait_sandbox), RESP(wait_sandbox), api_wait },
	{ "SandboxStatus", REQ(sandbox_status), RESP(sandbox_status), api_status },
	{ "PingSandbox", REQ(ping), RESP(ping), api_ping },
	{ "ShutdownSandbox", REQ(shutdown_sandbox), RESP(shutdown_sandbox), api_shutdown },
	{ "SandboxMetrics", REQ(sandbox_metrics), RESP(sandbox_metrics), api_metrics },
};

struct ttrpc_service sandbox_service(struct engine *en)
{
	return (struct ttrpc_service){
		.name = "containerd.runtime.sandbox.v1.Sandbox",
		.methods = methods,
		.method_count = ARRAY_LEN(methods),
		.context = en,
	};
}
