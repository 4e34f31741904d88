/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The machine of a sandbox: which acceleration, share, network and transport it gets on this
 * host, its start, and the agent in it reached and told what it needs. Each choice is logged
 * once, by whoever makes it. vm_stop() takes down whatever vm_start() has set up so far.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/err.h"
#include "base/rand.h"
#include "base/str.h"
#include "base/time.h"
#include "config/config.h"
#include "net/tap_net.h"
#include "net/user_net.h"
#include "sandbox/admission.h"
#include "sandbox/debug_console.h"
#include "sandbox/disks.h"
#include "sandbox/forward.h"
#include "sandbox/guest_assets.h"
#include "sandbox/guest_events.h"
#include "sandbox/guest_log.h"
#include "sandbox/guest_net.h"
#include "sandbox/internal.h"
#include "sandbox/links.h"
#include "sandbox/rundir.h"
#include "sandbox/transport.h"
#include "sandbox/trial_boot.h"
#include "share/share.h"
#include "vmm/vmm.h"
#include "wire/utf8.h"

#define HYPERVISOR "qemu"

#define PORT_LOG "kata.log"

enum {
	DEVICES_MAX = 13, /* SCAN_LINKS_MAX, a share, an image, transport, log and console */
	PORTS_FOR_LINKS = 4,
	DNS_LINES_MAX = 16,
	DNS_LINE_MAX = 1024,
	CONSOLE_LOGGED = 8 * 1024, /* of the console, when the machine was lost */
	DESTROY_MS = 3000,
	WRITE_BACK_MS = 60 * 1000, /* less than systemd gives a unit to stop */
	STOP_MS = 5000,
	ADMISSION_MS = 300 * 1000,
	EMULATED_FACTOR = 10,
	EMULATED_MS = 60 * 1000,
	PLACES_PER_CPU = 2,
	LAST_WORDS_MS = 2000 /* between the guest's last byte and the end of its machine */
};

/* The configuration's words in the terms of the modules they are for. */
static const enum accel accels[] = {
	[CONFIG_ACCEL_AUTO] = ACCEL_AUTO,
	[CONFIG_ACCEL_KVM] = ACCEL_KVM,
	[CONFIG_ACCEL_TCG] = ACCEL_TCG,
};
static const enum share_fs shares[] = {
	[CONFIG_SHARED_FS_AUTO] = SHARE_FS_AUTO,
	[CONFIG_SHARED_FS_VIRTIO_FS] = SHARE_FS_VIRTIO_FS,
	[CONFIG_SHARED_FS_9P] = SHARE_FS_9P,
	[CONFIG_SHARED_FS_NONE] = SHARE_FS_NONE,
};
static const char *const caches[] = {
	[CONFIG_FS_CACHE_NEVER] = "never",
	[CONFIG_FS_CACHE_METADATA] = "metadata",
	[CONFIG_FS_CACHE_AUTO] = "auto",
	[CONFIG_FS_CACHE_ALWAYS] = "always",
};

static const char *root_of(const struct guest_assets *g)
{
	if (!g->kernel)
		return "";
	return g->image ? g->image : g->initrd;
}

/* What is gathered on the way to vmm_start(). */
struct plan {
	struct sandbox *s;
	const struct kata_config *config;
	enum accel accel;
	bool by_trial; /* see accel_choice */
	struct accel_config probe;
	struct accel_kernel kernel;
	struct trial_boot trial;
	uint64_t caps;
	struct guest_assets assets;
	struct vmm_device devices[DEVICES_MAX];
	size_t device_count;
	struct vmm_config vm;
	const char *initrds[3];
	int64_t deadline;
};

/* What an agent that faults writes to its console (agent/fault.c); "" if none did. */
static void fault_of_agent(const struct sandbox *s, char *out, size_t size)
{
	static const char words[] = "kata-agent: signal ";
	OWN(free) char *tail = mem_zalloc(CONSOLE_LOGGED);
	const char *at = NULL;

	if (tail && s->vmm && vmm_console_tail(s->vmm, tail, CONSOLE_LOGGED))
		at = strstr(tail, words);
	(void)snprintf(out, size, "%.*s%s", at ? (int)strcspn(at, "\n") : 0, at ? at : "",
		       at ? "; " : "");
}

static void explain_exit(const struct sandbox *s, const struct vmm_exit *x, struct err *why)
{
	char fault[100] = "";

	if (x->reason == VMM_EXIT_PANIC)
		fault_of_agent(s, fault, sizeof(fault));
	err_set(why, ERR_PEER, 0, "the virtual machine ended (%s)%s%s%s",
		vmm_exit_reason_name(x->reason), *fault || *x->text ? ": " : "", fault,
		x->text);
}

static void on_vm_exit(const struct vmm_exit *x, void *arg)
{
	struct sandbox *s = arg;
	struct err why;

	explain_exit(s, x, &why);
	sandbox_vm_lost(s, &why);
}

void vm_explain_loss(struct sandbox *s)
{
	struct err ignored;

	if (!s->only_a_sign || !s->vmm || s->state == SANDBOX_STOPPING ||
	    s->state == SANDBOX_STOPPED) /* whoever stops it frees the machine */
		return;
	s->explaining = true;
	fiber_shield(s->loop, true);
	if (vmm_wait(s->vmm, deadline_in(LAST_WORDS_MS), &ignored) == 0 &&
	    vmm_exit_info(s->vmm)->reason != VMM_EXIT_NONE)
		explain_exit(s, vmm_exit_info(s->vmm), &s->lost_why);
	fiber_shield(s->loop, false);
	s->explaining = false;
	cond_wake_all(&s->changed);
}

/* passt ends with its only client: it may be the machine that ended first. */
static void on_helper_lost(const struct err *why, void *arg)
{
	struct sandbox *s = arg;

	if (!s->vm_lost)
		s->only_a_sign = true;
	sandbox_vm_lost(s, why);
}

static void on_agent_lost(const struct err *why, void *arg)
{
	struct sandbox *s = arg;
	struct err lost;

	err_set(&lost, ERR_PEER, 0, "the agent's connection ended: %s", why->msg);
	if (!s->vm_lost)
		s->only_a_sign = true;
	sandbox_vm_lost(s, &lost);
}

static void on_port_closed(const char *name, void *arg)
{
	struct sandbox *s = arg;

	if (s->debug_console && str_eq(name, DEBUG_CONSOLE_NAME))
		debug_console_port_closed(s->debug_console);
}

static struct vmm_device *add_device(struct plan *p, enum vmm_device_kind kind, const char *id)
{
	struct vmm_device *d = &p->devices[p->device_count++];

	BUG_ON(p->device_count > DEVICES_MAX);
	*d = (struct vmm_device){ .kind = kind, .id = id };
	return d;
}

/* ---- choices ---- */

/* What is in the configuration and does not reach the machine as it stands there. */
static int check_config(struct plan *p, struct err *e)
{
	const struct config_hypervisor *h = &p->config->hypervisor;
	const char *seccomp = h->seccomp_sandbox, *entropy = h->entropy_source;

	if (h->shared_fs == CONFIG_SHARED_FS_NONE)
		return err_set(e, ERR_UNSUPPORTED, 0,
			       "shared_fs = \"none\": root file systems come by a share only; "
			       "leave it out, or set it to \"auto\"");
	if (*entropy && !str_eq(entropy, "/dev/urandom"))
		return err_set(e, ERR_UNSUPPORTED, 0,
			       "entropy_source '%.80s': the guest's is /dev/urandom", entropy);
	p->vm.no_seccomp = str_eq(seccomp, "off");
	p->vm.seccomp = *seccomp && !p->vm.no_seccomp ? seccomp : NULL;
	return 0;
}

static int choose_accel(struct plan *p, struct err *e)
{
	const struct kata_config *c = p->config;
	struct accel_choice choice;

	p->trial = (struct trial_boot){
		.loop = p->s->loop,
		.reaper = p->s->reaper,
		.hypervisor = HYPERVISOR,
		.config = c,
		.assets = &p->assets,
		.machine = &p->vm,
		.log = &p->s->log,
		.arena = &p->s->arena,
	};
	if (trial_boot_describe(&p->trial, &p->kernel, &p->probe.kernel, e) < 0 ||
	    accel_choose(p->s->loop, p->s->reaper, &p->probe, accels[c->hypervisor.accel],
			 &p->s->log, &choice, e) < 0)
		return -1;
	p->accel = choice.accel;
	p->by_trial = choice.by_trial;
	return vmm_caps_of(HYPERVISOR, c->hypervisor.machine_type, p->accel, &p->caps, e);
}

/* What a trial has shown does not hold: the next start tries again. */
static void doubt_trial(const struct plan *p)
{
	if (p->by_trial && p->s->vmm && vmm_exit_info(p->s->vmm)->reason == VMM_EXIT_HALTED)
		accel_forget_kernel(&p->probe);
}

static int choose_share(struct plan *p, struct err *e)
{
	const struct kata_config *c = p->config;
	struct share_config sc = {
		.sandbox_id = p->s->c.host_name,
		.fs = shares[c->hypervisor.shared_fs],
		.virtiofsd = c->hypervisor.virtio_fs_daemon,
		.cache = caches[c->hypervisor.virtio_fs_cache],
		.extra_args = c->hypervisor.virtio_fs_extra_args,
		.vmm_caps = p->caps,
		.guest_fs = (p->assets.has_virtiofs ? SHARE_GUEST_VIRTIO_FS : 0) |
			    (p->assets.has_9p ? SHARE_GUEST_9P : 0),
		.log = &p->s->log,
		.lost = on_helper_lost,
		.arg = p->s,
	};

	if (share_new(p->s->loop, p->s->reaper, &sc, p->deadline, &p->s->share, e) < 0)
		return -1;
	p->vm.shared_memory = share_needs_shared_memory(p->s->share);
	if (share_device(p->s->share, &p->devices[p->device_count]))
		p->device_count++;
	return 0;
}

/* The network "user". */
static int start_user_net(struct plan *p, struct err *e)
{
	struct sandbox *s = p->s;
	struct user_net_config nc = {
		.ports = s->c.ports,
		.port_count = s->c.port_count,
		.log = &s->log,
		.lost = on_helper_lost,
		.arg = s,
	};

	if (!(p->caps & 1ULL << VMM_CAP_NET_STREAM))
		return err_set(e, ERR_UNSUPPORTED, 0, "network 'user': %s/%s has no %s",
			       HYPERVISOR, p->config->hypervisor.machine_type,
			       vmm_cap_name(VMM_CAP_NET_STREAM));
	if (user_net_start(s->loop, s->reaper, &nc, p->deadline, &s->net, e) < 0)
		return err_wrap(e, "network 'user'");
	user_net_device(s->net, &p->devices[p->device_count++]);
	return 0;
}

/* The links that the caller has put into the sandbox's network namespace. */
static int join_links(struct plan *p, struct err *e)
{
	struct vmm_device *first = &p->devices[p->device_count];
	size_t count;

	BUG_ON(p->device_count + SCAN_LINKS_MAX > DEVICES_MAX);
	if (links_join(p->s, p->s->c.netns, first, &count, e) < 0)
		return -1;
	if (count && !(p->caps & 1ULL << VMM_CAP_NET_TAP))
		return err_set(e, ERR_UNSUPPORTED, 0, "network '%s': %s/%s has no %s",
			       p->s->c.netns, HYPERVISOR, p->config->hypervisor.machine_type,
			       vmm_cap_name(VMM_CAP_NET_TAP));
	p->device_count += count;
	return 0;
}

static int choose_network(struct plan *p, struct err *e)
{
	/* it takes a machine whose doorbells reach the kernel: KVM's */
	p->s->vhost_net = p->accel == ACCEL_KVM && !p->config->hypervisor.disable_vhost_net;
	if (p->s->c.network == NETWORK_USER)
		return start_user_net(p, e);
	return p->s->c.network == NETWORK_LINKS && *p->s->c.netns ? join_links(p, e) : 0;
}

/* Each port costs an emulated boot 14 ms. */
static int choose_places(struct plan *p, struct err *e)
{
	const struct config_hypervisor *h = &p->config->hypervisor;
	const struct sandbox_config *c = &p->s->c;

	if (h->pcie_root_port && !(p->caps & 1ULL << VMM_CAP_HOTPLUG_BLK))
		return err_set(e, ERR_UNSUPPORTED, 0, "pcie_root_port: %s/%s: no %s",
			       HYPERVISOR, h->machine_type, vmm_cap_name(VMM_CAP_HOTPLUG_BLK));
	p->vm.hotplug_ports = (c->network == NETWORK_LINKS ? PORTS_FOR_LINKS : 0) +
			      c->disk_places + h->pcie_root_port;
	return 0;
}

static int choose_transport(struct plan *p, struct err *e)
{
	struct transport *t = &p->s->transport;

	if (transport_choose(p->config, HYPERVISOR, p->caps, &p->s->log, t, e) < 0)
		return -1;
	transport_device(t, add_device(p, VMM_DEV_SERIAL, "agent"));
	if (!t->vsock && p->config->agent.debug_console_enabled)
		add_device(p, VMM_DEV_SERIAL, "debugconsole")->serial.name = DEBUG_CONSOLE_NAME;
	/* the log goes by a port with either transport: it must be there before any network is
	 */
	add_device(p, VMM_DEV_SERIAL, "agentlog")->serial.name = PORT_LOG;
	return 0;
}

/* ---- the machine ---- */

static const char *debug_console_params(const struct plan *p)
{
	static_assert(DEBUG_CONSOLE_PORT == 1026, "the number below is the same");

	if (!p->config->agent.debug_console_enabled)
		return "";
	return p->s->transport.vsock ? " agent.debug_console agent.debug_console_vport=1026"
				     : " agent.debug_console";
}

static int kernel_params(struct plan *p, const char **out, struct err *e)
{
	const struct kata_config *c = p->config;
	const char *root, *s;

	if (guest_assets_root_words(&p->assets, &c->hypervisor, &p->s->arena, &root, e) < 0)
		return -1;
	s = arena_printf(
		&p->s->arena, "%s%s%s%s%s%s", root, transport_kernel_word(&p->s->transport),
		c->agent.enable_debug ? " agent.log=debug" : "", debug_console_params(p),
		*c->hypervisor.kernel_params ? " " : "", c->hypervisor.kernel_params);

	if (!s)
		return err_oom(e, "kernel parameters");
	*out = s;
	return 0;
}

/* The only disk at the boot, and so the first. */
static void add_image(struct plan *p)
{
	struct vmm_device *d = add_device(p, VMM_DEV_BLK, "image");

	d->blk.path = p->assets.image;
	d->blk.read_only = true;
}

/* What the configuration says of it, before this host has chosen. */
static void describe_machine(struct plan *p)
{
	const struct config_hypervisor *h = &p->config->hypervisor;
	struct sandbox *s = p->s;

	p->initrds[0] = p->assets.initrd; /* NULL: none */
	if (p->assets.initrd)
		p->initrds[1] = p->assets.extras;
	p->vm.name = s->c.id;
	p->vm.program = *h->path ? h->path : NULL;
	p->vm.machine = h->machine_type;
	p->vm.machine_options = *h->machine_accelerators ? h->machine_accelerators : NULL;
	p->vm.kernel = p->assets.kernel;
	p->vm.initrds = p->initrds;
	p->vm.cpu_features = *h->cpu_features ? h->cpu_features : NULL;
	p->vm.vcpus = s->c.vcpus;
	p->vm.memory_mib = s->c.memory_mib;
	p->vm.max_vcpus = s->c.max_vcpus;
	p->vm.max_memory_mib = s->c.max_memory_mib;
	p->vm.memory_slots = h->memory_slots;
	p->vm.huge_pages = h->enable_hugepages;
	p->vm.prealloc = h->enable_mem_prealloc;
	p->vm.debug = h->enable_debug;
	p->vm.log = &s->log;
}

static int start_machine(struct plan *p, struct err *e)
{
	struct sandbox *s = p->s;

	if (p->assets.image)
		add_image(p);
	p->vm.accel = p->accel;
	p->vm.devices = p->devices;
	p->vm.device_count = p->device_count;
	p->vm.serial_closed = on_port_closed;
	p->vm.serial_arg = s;
	if (p->config->hypervisor.enable_debug) {
		if (guest_console_new(s, &s->console, e) < 0)
			return -1;
		p->vm.console_text = guest_console_text;
		p->vm.console_arg = s->console;
	}
	if (!share_needs_root_vmm(s->share)) {
		p->vm.uid = UNPRIVILEGED_ID;
		p->vm.gid = UNPRIVILEGED_ID;
	}
	if (kernel_params(p, &p->vm.kernel_params, e) < 0)
		return -1;
	if (vmm_new(HYPERVISOR, s->loop, s->reaper, &p->vm, on_vm_exit, s, &s->vmm, e) < 0)
		return -1;
	s->oom_score = s->oom_score_refused = VMM_OOM_SCORE;
	if (vmm_start(s->vmm, p->deadline, e) < 0)
		return -1;
	if (s->net)
		user_net_release_fd(s->net);
	if (s->taps)
		tap_net_release_fds(s->taps);
	return 0;
}

/* ---- the agent ---- */

/* A guest that does not answer, with the last words of its kernel; -1. */
static int quote_console(struct sandbox *s, struct err *e)
{
	struct err why = *e;
	char tail[120];

	if (s->vm_lost || !vmm_console_tail(s->vmm, tail, sizeof(tail)))
		return -1;
	for (char *c = tail; *c; c++)
		*c = *c == '\n' ? (c[1] ? ';' : '\0') : *c;
	return err_set(e, why.kind, 0, "%.80s; its console ends: %s", why.msg, tail);
}

static int reach_agent(struct plan *p, struct err *e)
{
	struct sandbox *s = p->s;
	int fd;

	if (guest_log_follow(s, PORT_LOG, p->config->agent.enable_debug, e) < 0)
		return -1;
	if (transport_connect(&s->transport, s->loop, s->vmm, p->config->agent.dial_timeout_ms,
			      p->deadline, &s->vm_lost, &fd, e) < 0)
		return quote_console(s, e);
	if (agent_client_new(s->loop, fd, on_agent_lost, s, &s->agent, e) < 0)
		return -1;
	agent_client_set_timeout(s->agent,
				 (int64_t)p->config->agent.create_container_timeout_s * 1000);
	agent_client_set_deadline(s->agent, p->deadline);
	if (agent_client_ready(s->agent, p->deadline, e) < 0)
		return quote_console(s, e);
	s->agent_answers = true;
	return agent_client_details(s->agent, e);
}

static int seed_guest(struct sandbox *s, struct err *e)
{
	Grpc__ReseedRandomDevRequest seed = GRPC__RESEED_RANDOM_DEV_REQUEST__INIT;
	Grpc__SetGuestDateTimeRequest when = GRPC__SET_GUEST_DATE_TIME_REQUEST__INIT;
	int64_t now = time_wall_ns();
	uint8_t raw[64];

	if (rand_bytes(raw, sizeof(raw), e) < 0)
		return -1;
	seed.data = (ProtobufCBinaryData){ .len = sizeof(raw), .data = raw };
	if (agent_do(s->agent, AGENT_RESEED_RANDOM_DEV, &seed, e) < 0)
		return -1;
	when.sec = now / 1000000000;
	when.usec = now % 1000000000 / 1000;
	return agent_do(s->agent, AGENT_SET_GUEST_DATE_TIME, &when, e);
}

/* The memory that is every container's /dev/shm in a pod. */
static int fill_shm(struct sandbox *s, Grpc__Storage *st, struct err *e)
{
	static const char *const words[] = { "nosuid", "nodev", "noexec", "mode=1777" };
	const char **options = arena_calloc(&s->arena, ARRAY_LEN(words) + 1, sizeof(*options));

	if (!options)
		return err_oom(e, "a storage");
	memcpy(options, words, sizeof(words));
	options[ARRAY_LEN(words)] =
		arena_printf(&s->arena, "size=%llu", (unsigned long long)s->c.shm_bytes);
	if (!options[ARRAY_LEN(words)])
		return err_oom(e, "a storage");
	st->driver = (char *)(uintptr_t) "ephemeral";
	st->source = (char *)(uintptr_t) "shm";
	st->fstype = (char *)(uintptr_t) "tmpfs";
	st->mount_point = (char *)(uintptr_t)SANDBOX_SHM_DIR;
	st->options = (char **)(uintptr_t)options;
	st->n_options = ARRAY_LEN(words) + 1;
	return 0;
}

static void add_sysctl(Grpc__CreateSandboxRequest *req,
		       Grpc__CreateSandboxRequest__SysctlsEntry *entry, const char *key,
		       const char *value)
{
	grpc__create_sandbox_request__sysctls_entry__init(entry);
	entry->key = (char *)(uintptr_t)key;
	entry->value = (char *)(uintptr_t)value;
	req->sysctls[req->n_sysctls++] = entry;
}

/* The network namespace's: the pod's specification has the last word. */
static int add_network_sysctls(struct sandbox *s, Grpc__CreateSandboxRequest *req,
			       struct err *e)
{
	const char *key, *value;
	size_t at = 0;

	req->network_sysctls =
		arena_calloc(&s->arena, PARAMETERS_ALL, sizeof(*req->network_sysctls));
	if (!req->network_sysctls)
		return err_oom(e, "kernel parameters");
	while (s->taps && tap_net_parameter(s->taps, &at, &key, &value)) {
		char *text = arena_printf(&s->arena, "%s=%s", key, value);

		if (!text)
			return err_oom(e, "kernel parameters");
		req->network_sysctls[req->n_network_sysctls++] = text;
		if (!agent_has_feature(s->agent, AGENT_FEATURE_SYSCTLS))
			log_warn(&s->log, "network: the guest's agent cannot set %s", key);
	}
	return 0;
}

static int add_sysctls(struct sandbox *s, Grpc__CreateSandboxRequest *req, struct err *e)
{
	size_t count = s->c.sysctl_count;
	Grpc__CreateSandboxRequest__SysctlsEntry *entries;

	if (count && !agent_has_feature(s->agent, AGENT_FEATURE_SYSCTLS))
		return err_set(e, ERR_UNSUPPORTED, 0,
			       "linux.sysctls '%.80s': the guest's agent lacks %s, use our own",
			       s->c.sysctls[0].key, AGENT_FEATURE_SYSCTLS);
	entries = arena_calloc(&s->arena, count, sizeof(*entries));
	req->sysctls = arena_calloc(&s->arena, count, sizeof(*req->sysctls));
	if (!entries || !req->sysctls)
		return err_oom(e, "linux.sysctls");
	for (size_t i = 0; i < count; i++)
		add_sysctl(req, &entries[req->n_sysctls], s->c.sysctls[i].key,
			   s->c.sysctls[i].value);
	return 0;
}

/* What the guest's own programs resolve by: as much as is of use to them, never an error. */
static bool is_of_dns(const char *line)
{
	static const char *const words[] = { "nameserver", "search", "domain", "options" };

	for (size_t i = 0; i < ARRAY_LEN(words); i++) {
		size_t n = strlen(words[i]);

		if (strncmp(line, words[i], n) == 0 && (line[n] == ' ' || line[n] == '\t'))
			return strlen(line) < DNS_LINE_MAX && utf8_valid(line, strlen(line));
	}
	return false;
}

static int add_dns(struct sandbox *s, Grpc__CreateSandboxRequest *req, struct err *e)
{
	const char *text = s->c.resolv_conf ? s->c.resolv_conf : s->c.files.resolv_conf;
	const struct user_net_guest *user = s->net ? user_net_guest(s->net) : NULL;
	char *copy = arena_strdup(&s->arena, text ? text : ""), *line, *rest;

	req->dns = arena_calloc(&s->arena, DNS_LINES_MAX, sizeof(*req->dns));
	if (!copy || !req->dns)
		return err_oom(e, "name servers");
	for (line = strtok_r(copy, "\r\n", &rest); line && req->n_dns < DNS_LINES_MAX;
	     line = strtok_r(NULL, "\r\n", &rest)) {
		if (is_of_dns(line))
			req->dns[req->n_dns++] = line;
	}
	for (size_t i = 0; !text && user && i < user->dns_count && req->n_dns < DNS_LINES_MAX;
	     i++) {
		line = arena_printf(&s->arena, "nameserver %s", user->dns[i]);
		if (!line)
			return err_oom(e, "name servers");
		req->dns[req->n_dns++] = line;
	}
	return 0;
}

static int set_up_network(struct sandbox *s, struct err *e)
{
	return s->net ? guest_net_apply(s, user_net_guest(s->net), e) : links_apply(s, e);
}

static int prepare_guest(struct plan *p, struct err *e)
{
	struct sandbox *s = p->s;
	const struct share_storage *shared = share_storage(s->share);
	Grpc__CreateSandboxRequest req = GRPC__CREATE_SANDBOX_REQUEST__INIT;
	Grpc__Storage storage = GRPC__STORAGE__INIT, shm = GRPC__STORAGE__INIT;
	Grpc__Storage *storages[2];
	char *files;

	req.sandbox_id = (char *)(uintptr_t)s->c.id;
	req.hostname = (char *)(uintptr_t)s->c.hostname;
	if (shared) {
		storage.driver = (char *)(uintptr_t)shared->driver;
		storage.source = (char *)(uintptr_t)shared->source;
		storage.fstype = (char *)(uintptr_t)shared->fstype;
		storage.mount_point = (char *)(uintptr_t)shared->mount_point;
		storage.options = (char **)(uintptr_t)shared->options;
		storage.n_options = shared->option_count;
		files = (char *)(uintptr_t)shared->files;
		storage.driver_options = &files;
		storage.n_driver_options = *files != '\0';
		storages[req.n_storages++] = &storage;
	}
	if (s->c.shm_bytes) {
		if (fill_shm(s, &shm, e) < 0)
			return -1;
		storages[req.n_storages++] = &shm;
	}
	req.storages = storages;
	/* the network first: kernel parameters may be those of its links */
	if (seed_guest(s, e) < 0 || set_up_network(s, e) < 0 ||
	    add_network_sysctls(s, &req, e) < 0 || add_sysctls(s, &req, e) < 0 ||
	    add_dns(s, &req, e) < 0)
		return -1;
	return agent_do(s->agent, AGENT_CREATE_SANDBOX, &req, e);
}

#define MEMINFO "/proc/meminfo"

/* Rounded up: the kernel gives no part of a huge page. */
static int round_memory(struct plan *p, struct err *e)
{
	uint64_t most = p->config->hypervisor.default_maxmemory, page;
	struct sandbox_config *c = &p->s->c;

	if (!p->config->hypervisor.enable_hugepages)
		return 0;
	if (admission_huge_page(MEMINFO, &page, e) < 0)
		return -1;
	c->memory_mib = (c->memory_mib + page - 1) / page * page;
	c->max_memory_mib = c->max_memory_mib / page * page;
	if (most && c->memory_mib > most)
		return err_set(e, ERR_INVALID, 0,
			       "enable_hugepages: %llu MiB in pages of %llu MiB are more than "
			       "default_maxmemory = %llu",
			       (unsigned long long)c->memory_mib, (unsigned long long)page,
			       (unsigned long long)most);
	if (c->max_memory_mib && c->max_memory_mib < c->memory_mib)
		c->max_memory_mib = c->memory_mib;
	return 0;
}

/*
 * What a machine takes of the host until its agent has answered is measured per kernel, as its
 * overhead is: docs/decisions/0041-admission.md.
 */
static int be_admitted(struct plan *p, struct admission *out, struct err *e)
{
	const struct config_hypervisor *h = &p->config->hypervisor;
	uint64_t mib = p->s->c.memory_mib;
	long cpus = sysconf(_SC_NPROCESSORS_ONLN);
	uint64_t at_start = h->enable_mem_prealloc ? mib : p->assets.overhead_mib;
	struct admission_config c = {
		.base = RUNDIR_BASE,
		.meminfo = MEMINFO,
		.overcommit = "/proc/sys/vm/nr_overcommit_hugepages",
		.places = PLACES_PER_CPU * (cpus > 0 ? (unsigned)cpus : 1),
		.need_mib = SANDBOX_MONITOR_MIB + (h->enable_hugepages ? 0 : at_start),
		.huge_mib = h->enable_hugepages ? mib : 0,
		.deadline = deadline_in(ADMISSION_MS),
		.log = &p->s->log,
	};

	return admission_enter(p->s->loop, &c, out, e);
}

/*
 * In milliseconds. Upstream's template has 3 s, which is enough for a guest on KVM: what the
 * kernel of one without it needs is more than that.
 */
static int64_t guest_time(const struct plan *p)
{
	int64_t ms = p->config->agent.reconnect_timeout_ms, slow = EMULATED_FACTOR * ms;

	if (p->accel != ACCEL_TCG || ms >= EMULATED_MS)
		return ms;
	return slow < EMULATED_MS ? slow : EMULATED_MS;
}

/* The machine, then the guest in it: each gets the configured time. A trial boot has its own.
 */
static int bring_up(struct plan *p, struct err *e)
{
	OWN(admission) struct admission place = ADMISSION_INIT;

	if (guest_assets_find(p->config, &p->s->arena, &p->assets, e) < 0 ||
	    check_config(p, e) < 0 || round_memory(p, e) < 0 || be_admitted(p, &place, e) < 0)
		return -1;
	describe_machine(p);
	if (choose_accel(p, e) < 0)
		return -1;
	p->deadline = deadline_in(p->config->agent.reconnect_timeout_ms);
	if (choose_share(p, e) < 0 || choose_network(p, e) < 0 || choose_transport(p, e) < 0 ||
	    choose_places(p, e) < 0 || start_machine(p, e) < 0)
		return -1;
	p->deadline = deadline_in(guest_time(p));
	if (reach_agent(p, e) < 0 || prepare_guest(p, e) < 0)
		return err_wrap(e, "guest of '%.60s' and '%.60s'", p->assets.kernel,
				root_of(&p->assets));
	agent_client_set_deadline(p->s->agent, DEADLINE_NONE);
	return 0;
}

int vm_start(struct sandbox *s, struct err *e)
{
	struct plan p = { .s = s, .config = s->c.config, .vm = VMM_CONFIG_INIT };

	if (bring_up(&p, e) < 0) {
		vm_explain_loss(s);
		doubt_trial(&p);
		if (s->vm_lost) /* the cause; what failed is its consequence */
			return err_set(e, ERR_PEER, 0, "guest of '%.60s' and '%.60s': %s",
				       p.assets.kernel, root_of(&p.assets), s->lost_why.msg);
		return -1;
	}
	if (guest_events_follow(s, e) < 0 || links_follow(s, e) < 0)
		return -1;
	forward_begin(s);
	if (s->c.config->agent.debug_console_enabled &&
	    debug_console_open(s, s->c.console_socket, s->transport.cid, &s->debug_console, e) <
		    0)
		return err_wrap(e, "debug console");
	(void)snprintf(
		s->description, sizeof(s->description),
		"%s %s, %s, %u vCPU, %llu MiB, share %s, transport %s, guest seccomp %s, "
		"guest kernel %s",
		vmm_hypervisor(s->vmm), vmm_machine(s->vmm), accel_name(p.accel), s->c.vcpus,
		(unsigned long long)s->c.memory_mib, share_fs_name(share_fs(s->share)),
		s->transport.vsock ? "vsock" : "virtio-serial",
		p.config->runtime.disable_guest_seccomp ? "off" : "on",
		p.assets.kernel_version);
	return 0;
}

/* They have directories of the share as their roots. One at a time: waiting changes the list.
 */
static void end_stand_ins(struct sandbox *s)
{
	bool again = true;

	stand_in_end(&s->stand_in);
	while (again) {
		again = false;
		list_for_each(n, tmp, &s->containers) {
			struct container *c = list_entry(n, struct container, node);

			if (stand_in_pid(&c->stand_in)) {
				c->refs++; /* its Delete may wait for the same */
				stand_in_end(&c->stand_in);
				container_unref(c);
				again = true;
				break;
			}
		}
	}
}

/* What the guest's kernel said last: the cause of its end is there, or nowhere. */
static void log_console(struct sandbox *s)
{
	OWN(free) char *text = mem_zalloc(CONSOLE_LOGGED);
	char quoted[300], *rest, *line;

	if (!text || !s->vmm || vmm_console_tail(s->vmm, text, CONSOLE_LOGGED) == 0)
		return;
	for (line = strtok_r(text, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest))
		log_info(&s->log, "console: %s",
			 str_quote(line, strlen(line), quoted, sizeof(quoted)));
}

static bool has_disks(const struct sandbox *s)
{
	list_for_each(n, tmp, &s->containers) {
		if (list_entry(n, struct container, node)->disk_count)
			return true;
	}
	return false;
}

/* The guest writes back what it has cached, if it still answers: to a disk that may be much. */
static void destroy_in_guest(struct sandbox *s)
{
	Grpc__DestroySandboxRequest req = GRPC__DESTROY_SANDBOX_REQUEST__INIT;
	struct err e;

	if (!s->agent_answers || s->vm_lost)
		return;
	agent_client_set_timeout(s->agent, has_disks(s) ? WRITE_BACK_MS : DESTROY_MS);
	if (agent_do(s->agent, AGENT_DESTROY_SANDBOX, &req, &e) == 0)
		return;
	if (e.kind != ERR_TIMEOUT) {
		log_debug(&s->log, "%s", e.msg);
		return;
	}
	log_warn(&s->log, "the agent does not answer any more: %s", e.msg);
	log_console(s);
}

void vm_stop(struct sandbox *s)
{
	struct err e;

	if (s->vm_lost)
		log_console(s);
	destroy_in_guest(s);
	if (s->vmm && vmm_stop(s->vmm, deadline_in(STOP_MS), &e) < 0)
		log_error(&s->log, "%s", e.msg);
	/* fibers of streams and waits have it: it goes with the sandbox */
	agent_client_close(s->agent);
	forward_end(s);
	debug_console_free(TAKE(s->debug_console));
	end_stand_ins(s);
	user_net_free(TAKE(s->net));
	links_end(s);
	disks_end(s);
	share_free(TAKE(s->share));
	/* one that not even SIGKILL ends is left: whoever waits within it still wakes up there
	 */
	if (s->vmm && vmm_is_running(s->vmm)) {
		s->vmm = NULL;
		s->console = NULL; /* it may still be told */
	}
	vmm_free(TAKE(s->vmm));
	guest_console_free(TAKE(s->console));
	fd_close(&s->transport.fd);
}
