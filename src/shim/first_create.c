/* SPDX-License-Identifier: Apache-2.0 */
/* Reading what a sandbox is to be, and booting it. */
#include "shim/first_create.h"

#include <fcntl.h>
#include <linux/magic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/vfs.h>

#include "base/err.h"
#include "base/fd.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/own.h"
#include "base/str.h"
#include "base/time.h"
#include "config/config.h"
#include "engine.pb-c.h"
#include "event/fiber.h"
#include "net/user_net.h"
#include "oci/annotations.h"
#include "oci/guest_spec.h"
#include "oci/spec.h"
#include "options.pb-c.h"
#include "sandbox/device_mounts.h"
#include "sandbox/disks.h"
#include "sandbox/guest_assets.h"
#include "sandbox/host_cgroup.h"
#include "sandbox/layout.h"
#include "sandbox/mount_chain.h"
#include "sandbox/sizing.h"
#include "shim/actions.h"
#include "shim/any.h"
#include "shim/engine.h"
#include "shim/pod_files.h"
#include "task.pb-c.h"
#include "wire/message.h"

#define OPTIONS_URL "io.katacontainers.engine.v1.Options"

/* containerd's own way to name a configuration file. */
static int decode_runtime_options(const Google__Protobuf__Any *any, struct arena *a,
				  const Katac__Options **out, struct err *e)
{
	const Runtimeoptions__V1__Options *r;
	Katac__Options *o;
	ProtobufCMessage *m;

	if (message_decode(&runtimeoptions__v1__options__descriptor, any->value.data,
			   any->value.len, a, &m, e) < 0)
		return -1;
	r = (const Runtimeoptions__V1__Options *)(const void *)m;
	if (r->config_body.len && !*r->config_path)
		return err_set(e, ERR_UNSUPPORTED, 0,
			       "options of the runtime as a table: name a file by ConfigPath");
	m = message_new(&katac__options__descriptor, a);
	if (!m)
		return err_oom(e, "options");
	o = (Katac__Options *)(void *)m;
	o->config_path = r->config_path;
	*out = o;
	return 0;
}

int create_own_options(const Google__Protobuf__Any *any, struct arena *a,
		       const Katac__Options **out, struct err *e)
{
	static const Katac__Options none = KATAC__OPTIONS__INIT;
	ProtobufCMessage *m;

	*out = &none;
	if (!any || !*any->type_url)
		return 0;
	if (!any_is(any, OPTIONS_URL)) {
		log_debug(NULL, "options of type '%s' are not used", any->type_url);
		return 0;
	}
	if (message_decode(&katac__options__descriptor, any->value.data, any->value.len, a, &m,
			   e) < 0)
		return -1;
	*out = (const Katac__Options *)m;
	return 0;
}

static int decode_options(const Google__Protobuf__Any *any, struct arena *a,
			  const Katac__Options **out, struct err *e)
{
	if (any_is_runtime_options(any))
		return decode_runtime_options(any, a, out, e);
	return create_own_options(any, a, out, e);
}

static int convert_ports(const Katac__Options *o, struct arena *a, struct user_net_port **out,
			 struct err *e)
{
	struct user_net_port *p = arena_calloc(a, o->n_ports + 1, sizeof(*p));

	if (!p)
		return err_oom(e, "ports");
	for (size_t i = 0; i < o->n_ports; i++) {
		const Katac__PortMapping *m = o->ports[i];

		if (m->host_port == 0 || m->host_port > 65535 || m->guest_port == 0 ||
		    m->guest_port > 65535)
			return err_set(e, ERR_INVALID, 0, "port %u:%u is out of range",
				       m->host_port, m->guest_port);
		p[i] = (struct user_net_port){
			.proto = str_eq(m->protocol, "udp") ? USER_NET_UDP : USER_NET_TCP,
			.host_addr = m->host_ip,
			.host_port = (uint16_t)m->host_port,
			.guest_port = (uint16_t)m->guest_port,
		};
	}
	*out = p;
	return 0;
}

static int choose_network(const Katac__Options *o, struct sandbox_config *sc, struct arena *a,
			  struct err *e)
{
	struct user_net_port *ports;

	if (str_eq(o->network, "user"))
		sc->network = NETWORK_USER;
	else if (*o->network == '\0')
		sc->network = str_eq(sc->config->runtime.internetworking_model, "none")
				      ? NETWORK_NONE
				      : NETWORK_LINKS;
	else if (str_eq(o->network, "none"))
		sc->network = NETWORK_NONE;
	else
		return err_set(e, ERR_INVALID, 0, "network '%.64s': none or user", o->network);
	if (o->n_ports && sc->network != NETWORK_USER)
		return err_set(e, ERR_INVALID, 0,
			       "ports can be published with the network 'user' only");
	if (convert_ports(o, a, &ports, e) < 0)
		return -1;
	sc->ports = ports;
	sc->port_count = o->n_ports;
	return 0;
}

static void log_config(const struct kata_config *c, const struct oci_notes *paths)
{
	enum log_level level;

	if (c->file)
		log_info(NULL, "configuration from '%s' and %u drop-ins", c->file, c->drop_ins);
	else
		log_info(NULL, "no configuration file: built-in defaults");
	oci_notes_log(&c->warnings, LOG_WARN, NULL, "configuration");
	oci_notes_log(paths, LOG_WARN, NULL, "configuration");
	if (c->runtime.enable_debug)
		log_set_level(LOG_DEBUG);
	else if (!log_enabled(LOG_DEBUG) && log_level_parse(c->runtime.log_level, &level))
		log_set_level(level); /* unless the caller has asked for more */
}

/*
 * A pod's callers make a tmpfs on the host that is every container's /dev/shm. In the guest it
 * is memory of the guest, of the same size.
 */
static void find_shm(const Grpc__Spec *spec, struct sandbox_wish *w)
{
	struct statfs fs;

	for (size_t i = 0; i < spec->n_mounts; i++) {
		const Grpc__Mount *m = spec->mounts[i];

		if (str_eq(m->destination, "/dev/shm") && m->source && m->source[0] == '/' &&
		    statfs(m->source, &fs) == 0 && fs.f_type == TMPFS_MAGIC) {
			w->shm_bytes = (uint64_t)fs.f_blocks * (uint64_t)fs.f_bsize;
			w->shm_source = m->source;
		}
	}
}

/* The name servers that the first container is given are its sandbox's. */
static int find_resolv_conf(const Grpc__Spec *spec, struct sandbox_wish *w, struct arena *a,
			    struct err *e)
{
	for (size_t i = 0; i < spec->n_mounts; i++) {
		const Grpc__Mount *m = spec->mounts[i];
		OWN(free) char *text = NULL;
		struct err ignored;

		/* what cannot be read is refused as a mount */
		if (!str_eq(m->destination, "/etc/resolv.conf") || m->source[0] != '/' ||
		    file_read(AT_FDCWD, m->source, POD_FILE_MAX, &text, NULL, &ignored) < 0)
			continue;
		w->resolv_conf = arena_strdup(a, text);
		return w->resolv_conf ? 0 : err_oom(e, "resolv.conf");
	}
	return 0;
}

/* What the pod itself asks for, as far as the configuration lets it. */
static int apply_annotations(struct engine *en, const struct sandbox_wish *w, struct err *e)
{
	for (size_t i = 0; i < w->annotation_count; i++) {
		if (config_annotate(en->config, w->annotations[i].name, w->annotations[i].value,
				    e) < 0)
			return -1;
	}
	return 0;
}

static int read_config(struct engine *en, const struct sandbox_wish *w, struct err *e)
{
	const char *named =
		*w->options->config_path ? w->options->config_path : getenv(SHIM_ENV_CONFIG);
	OWN(oci_notes) struct oci_notes paths = { .count = 0 };

	if (config_load(named, &en->config, e) < 0 || apply_annotations(en, w, e) < 0 ||
	    layout_settle(en->config, &paths, e) < 0)
		return -1;
	log_config(en->config, &paths);
	return 0;
}

/* Before anything is started that is to be there as well. */
static int enter_cgroup(struct engine *en, const struct sandbox_wish *w, struct arena *a,
			struct err *e)
{
	const char *record;

	if (!en->config->runtime.sandbox_cgroup_only || !w->cgroup || !*w->cgroup || en->cgroup)
		return 0;
	record = arena_printf(a, "%s/" RUNDIR_CGROUPS, en->run.path);
	if (!record)
		return err_oom(e, "a path");
	return host_cgroup_enter(en->loop, &en->reaper, w->cgroup, record, NULL, &en->cgroup,
				 e);
}

/* Nobody has to fill the machine: so it is no error. */
static void look_at_limit(const struct engine *en, const struct sandbox_config *sc)
{
	bool huge = sc->config->hypervisor.enable_hugepages; /* which this limit is not about */
	uint64_t mib = host_cgroup_memory_limit(en->cgroup) >> 20;
	uint64_t needed = SANDBOX_MONITOR_MIB + (huge ? 0 : sc->memory_mib);

	if (mib < needed)
		log_warn(
			NULL,
			"the sandbox's cgroup may use %llu MiB of the host's memory, its machine "
			"with its monitor up to %llu: the host may end it as a whole; the "
			"RuntimeClass's overhead should be %llu MiB more",
			(unsigned long long)mib, (unsigned long long)needed,
			(unsigned long long)(needed - mib));
}

int make_wished(struct engine *en, const struct sandbox_wish *w, struct arena *a, struct err *e)
{
	struct sandbox_config sc = { .id = en->id,
				     .host_name = en->run.name,
				     .namespace = en->namespace,
				     .hostname = w->hostname,
				     .netns = w->netns,
				     .forwards_loopback = w->is_pod,
				     .disk_places = w->disk_places,
				     .shm_bytes = w->shm_bytes,
				     .shm_source = w->shm_source,
				     .files = w->files,
				     .resolv_conf = w->resolv_conf,
				     .sysctls = w->sysctls,
				     .sysctl_count = w->sysctl_count,
				     .observer = task_observer(en) };
	struct guest_assets assets;

	sc.link_record = arena_printf(a, "%s/" RUNDIR_LINKS, en->run.path);
	sc.mark_record = arena_printf(a, "%s/" RUNDIR_MARKS, en->run.path);
	sc.console_socket = arena_printf(a, "%s/" RUNDIR_CONSOLE, en->run.path);
	if (!sc.link_record || !sc.mark_record || !sc.console_socket)
		return err_oom(e, "a path");
	if (read_config(en, w, e) < 0)
		return -1;
	sc.config = en->config;
	if (guest_assets_find(en->config, a, &assets, e) < 0 ||
	    choose_network(w->options, &sc, a, e) < 0 ||
	    sizing_of_limits(&w->limits, en->config, assets.overhead_mib, &sc, e) < 0 ||
	    enter_cgroup(en, w, a, e) < 0)
		return -1;
	look_at_limit(en, &sc);
	return sandbox_new(en->loop, &en->reaper, &sc, &en->sandbox, e);
}

static int list_annotations(const Grpc__Spec *spec, struct sandbox_wish *w, struct arena *a,
			    struct err *e)
{
	struct annotation *list = arena_calloc(a, spec->n_annotations + 1, sizeof(*list));

	if (!list)
		return err_oom(e, "annotations");
	for (size_t i = 0; i < spec->n_annotations; i++)
		list[i] = (struct annotation){ spec->annotations[i]->key,
					       spec->annotations[i]->value };
	w->annotations = list;
	w->annotation_count = spec->n_annotations;
	return 0;
}

/* Those of the containers to come will be as the first one's is. */
static int root_is_disk(const Containerd__Task__CreateTaskRequest *r, struct arena *a,
			bool *out, struct err *e)
{
	struct rootfs_mount *m;

	if (task_rootfs(r, a, &m, e) < 0)
		return -1;
	*out = mount_chain_has_disks(m, r->n_rootfs);
	return 0;
}

static int make_sandbox(struct engine *en, const Containerd__Task__CreateTaskRequest *r,
			struct err *e)
{
	OWN(arena) struct arena a = { .limit = SPEC_ARENA_BYTES + (1 << 20) };
	struct oci_identity identity;
	struct sandbox_wish w = { 0 };
	const Katac__Options *o;
	Grpc__Spec *spec;
	bool has_disk;

	if (decode_options(r->options, &a, &o, e) < 0 ||
	    spec_load(r->bundle, &a, NULL, &spec, e) < 0 || guest_spec_check(spec, e) < 0 ||
	    spec_identity(spec, &identity, e) < 0 || sizing_limits_of(spec, &w.limits, e) < 0 ||
	    list_annotations(spec, &w, &a, e) < 0 || find_resolv_conf(spec, &w, &a, e) < 0 ||
	    root_is_disk(r, &a, &has_disk, e) < 0)
		return -1;
	w.options = o;
	w.hostname = spec->hostname;
	w.is_pod = identity.kind == OCI_POD_SANDBOX;
	w.netns = spec_network_namespace(spec);
	if (has_disk || disks_are_named(spec) || device_mounts_want_disks(spec))
		w.disk_places = PLACES_FOR_ROOTS;
	else if (w.is_pod)
		w.disk_places = PLACES_FOR_VOLUMES;
	w.cgroup = spec->linux ? spec->linux->cgroupspath : NULL;
	if (w.is_pod)
		find_shm(spec, &w);
	free(en->main_container);
	free(en->status_path);
	en->main_container = strdup(r->id);
	en->status_path = *o->status_path ? strdup(o->status_path) : NULL;
	if (!en->main_container || (*o->status_path && !en->status_path))
		return err_oom(e, "a sandbox");
	/* the workload may fill the disk, and its exit status must not be lost by that */
	if (en->status_path && file_reserve(AT_FDCWD, en->status_path, e) < 0)
		return -1;
	en->self_ending = o->self_ending;
	engine_watch_idle(en);
	return make_wished(en, &w, &a, e);
}

void drop_sandbox(struct engine *en)
{
	struct sandbox *s = en->sandbox;

	sandbox_stop(s);
	if (en->sandbox != s)
		return; /* dropped meanwhile, and perhaps there is another one */
	/* waiting calls and helpers may still name both: the end of the process frees them */
	en->sandbox = NULL;
	en->config = NULL;
}

static int wait_for_other(struct engine *en, struct err *e)
{
	while (en->creating) {
		if (cond_wait(&en->created, DEADLINE_NONE, e) < 0)
			return -1;
	}
	return 0;
}

static int is_ending(const struct engine *en, struct err *e)
{
	return err_set(e, ERR_STATE, 0, "the engine of sandbox '%s' is ending", en->id);
}

int first_create(struct engine *en, const Containerd__Task__CreateTaskRequest *r, struct err *e)
{
	int rc;

	if (wait_for_other(en, e) < 0)
		return -1;
	if (en->sandbox)
		return 0; /* container_create() says so if it is not ready */
	if (en->is_pod)
		return err_set(e, ERR_STATE, 0, "the pod '%s' has not been created", en->id);
	if (en->ending)
		return is_ending(en, e);
	en->creating = true;
	rc = make_sandbox(en, r, e);
	if (rc == 0) {
		rc = en->ending ? is_ending(en, e) : sandbox_boot(en->sandbox, e);
		if (rc < 0)
			drop_sandbox(en);
	} else {
		config_free(TAKE(en->config));
	}
	en->creating = false;
	cond_wake_all(&en->created);
	if (rc < 0)
		log_error(NULL, "%s", e->msg);
	return rc;
}

void first_create_undo(struct engine *en, const char *container_id)
{
	if (!en->sandbox || !str_eq(en->main_container, container_id) ||
	    container_find(en->sandbox, container_id))
		return;
	drop_sandbox(en);
}
