/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The trial: a machine with the kernel, its root and two processors, until the agent in it
 * answers. A kernel that cannot run there may look busy for good, so it is limited by
 * processor time first, as the page of guest code is, and only then by the clock. Nothing of
 * it is a pod's own but what a verdict depends on: it decides for others, too.
 */
#include "sandbox/trial_boot.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <time.h>

#include "base/err.h"
#include "base/fd.h"
#include "base/log.h"
#include "base/str.h"
#include "base/time.h"
#include "config/config.h"
#include "sandbox/agent_client.h"
#include "sandbox/guest_assets.h"
#include "sandbox/internal.h"
#include "sandbox/transport.h"
#include "vmm/vmm.h"

enum {
	CPU_MS = 20 * 1000, /* 1,400,000 instructions a second do not boot in any time */
	WALL_MS = ACCEL_BOOT_MS - 10 * 1000, /* the rest is for its end */
	MEMORY_MIB = 512,
	LOOK_MS = 200,
	DIAL_MS = 20,
	LAST_WORDS_MS = 2000,
	STOP_MS = 2000,
	VCPUS = 2, /* the second one is brought up another way */
	STAMP_LEN = 100,
	STAMPS = 4
};

#define NO_STAMP "-"

/* A boot under way, and the fiber that looks after it. */
struct trial {
	const struct trial_boot *boot;
	struct transport transport;
	int64_t deadline;
	struct vmm *vmm;
	struct agent_client *agent;
	bool ended;   /* the machine, by itself */
	bool used_up; /* its processor time */
	bool over;    /* one of these, or it is not asked any more */
	bool watched;
	struct cond changed;
};

static int64_t processor_ms(pid_t pid)
{
	struct timespec used;
	clockid_t clock;

	if (pid == 0 || clock_getcpuclockid(pid, &clock) != 0 ||
	    clock_gettime(clock, &used) < 0)
		return 0;
	return (int64_t)used.tv_sec * 1000 + used.tv_nsec / 1000000;
}

/* Whoever waits for its agent need not any more. */
static void give_up(struct trial *t)
{
	t->over = true;
	cond_wake_all(&t->changed);
	if (t->agent)
		agent_client_hang_up(t->agent);
}

static void on_end(const struct vmm_exit *x, void *arg)
{
	struct trial *t = arg;

	(void)x;
	t->ended = true;
	give_up(t);
}

static void watch_fiber(void *arg)
{
	struct trial *t = arg;
	struct err e = ERR_INIT;

	while (!t->over) {
		if (cond_wait(&t->changed, deadline_in(LOOK_MS), &e) < 0 &&
		    e.kind != ERR_TIMEOUT)
			break;
		t->used_up = !t->over && processor_ms(vmm_pid(t->vmm)) > CPU_MS;
		if (t->used_up)
			give_up(t);
	}
	t->watched = false;
	cond_wake_all(&t->changed);
}

static void on_agent_lost(const struct err *why, void *arg)
{
	(void)why; /* the call that waits fails by it */
	(void)arg;
}

/* Whether the machine would end like that again. A busy host can make a kernel panic. */
static enum accel_certainty certainty_of(enum vmm_exit_reason r)
{
	if (r == VMM_EXIT_HALTED || r == VMM_EXIT_SHUTDOWN)
		return ACCEL_SURE;
	return r == VMM_EXIT_RESET || r == VMM_EXIT_PANIC ? ACCEL_FOR_A_WHILE : ACCEL_UNSURE;
}

/* Why there was no answer. -1: the wait for the machine's last words was cancelled. */
static int explain(struct trial *t, const struct err *why, struct accel_verdict *out,
		   enum accel_certainty *sure, struct err *e)
{
	const struct vmm_exit *x = vmm_exit_info(t->vmm);
	char text[600];

	/* a guest that dies closes its port first */
	if (!t->used_up && why->kind != ERR_TIMEOUT &&
	    vmm_wait(t->vmm, deadline_in(LAST_WORDS_MS), e) < 0 && e->kind == ERR_CANCELLED)
		return -1;
	if (t->ended) {
		*sure = certainty_of(x->reason);
		(void)snprintf(text, sizeof(text), "%s: %s", vmm_exit_reason_name(x->reason),
			       x->text);
	} else if (t->used_up) {
		*sure = ACCEL_SURE;
		(void)snprintf(text, sizeof(text),
			       "its agent did not answer in %d s of processor time",
			       CPU_MS / 1000);
	} else {
		*sure = why->kind == ERR_TIMEOUT ? ACCEL_FOR_A_WHILE : ACCEL_UNSURE;
		(void)snprintf(text, sizeof(text), "%s", why->msg);
	}
	(void)str_quote(text, strlen(text), out->why, sizeof(out->why));
	return 0;
}

/* Until the agent has answered, or cannot any more. */
static int ask_agent(struct trial *t, struct accel_verdict *out, enum accel_certainty *sure,
		     struct err *e)
{
	int64_t began = time_mono_ms();
	struct err why = ERR_INIT;
	int fd;

	if (transport_connect(&t->transport, t->boot->loop, t->vmm, DIAL_MS, t->deadline,
			      &t->over, &fd, &why) == 0 &&
	    agent_client_new(t->boot->loop, fd, on_agent_lost, t, &t->agent, &why) == 0 &&
	    !t->over && agent_client_ready(t->agent, t->deadline, &why) == 0) {
		out->kvm_works = true;
		*sure = ACCEL_SURE;
		(void)snprintf(out->why, sizeof(out->why), "its agent answered after %lld ms",
			       (long long)(time_mono_ms() - began));
		return 0;
	}
	if (why.kind == ERR_CANCELLED) {
		*e = why;
		return -1;
	}
	return explain(t, &why, out, sure, e);
}

static int ask_watched(struct trial *t, struct accel_verdict *out, enum accel_certainty *sure,
		       struct err *e)
{
	struct loop *l = t->boot->loop;
	struct err ignored;
	int rc;

	t->watched = true;
	if (fiber_spawn(l, "trial boot", watch_fiber, t, NULL, e) < 0) {
		t->watched = false;
		return -1;
	}
	rc = ask_agent(t, out, sure, e);
	t->over = true;
	cond_wake_all(&t->changed);
	fiber_shield(l, true);
	while (t->watched)
		(void)cond_wait(&t->changed, DEADLINE_NONE, &ignored);
	fiber_shield(l, false);
	return rc;
}

/* The sandbox's machine without its share, its network and what it may grow by. */
static int plan(struct trial *t, struct vmm_device devices[2], struct vmm_config *out,
		struct err *e)
{
	const struct trial_boot *b = t->boot;
	const struct config_hypervisor *h = &b->config->hypervisor;
	const char *root;

	*out = *b->machine;
	out->accel = ACCEL_KVM;
	out->vcpus = VCPUS;
	out->memory_mib = MEMORY_MIB;
	out->max_vcpus = 0;
	out->max_memory_mib = 0;
	out->shared_memory = out->huge_pages = out->prealloc = out->debug = false;
	out->hotplug_ports = 0;
	out->console_text = NULL;
	out->serial_closed = NULL;
	out->uid = out->gid = UNPRIVILEGED_ID;
	out->devices = devices;
	out->device_count = 1;
	transport_device(&t->transport, &devices[0]);
	if (b->assets->image) {
		devices[1] = (struct vmm_device){ .kind = VMM_DEV_BLK, .id = "image" };
		devices[1].blk.path = b->assets->image;
		devices[1].blk.read_only = true;
		out->device_count = 2;
	}
	if (guest_assets_root_words(b->assets, h, b->arena, &root, e) < 0)
		return -1;
	out->kernel_params =
		arena_printf(b->arena, "%s%s%s%s", root, transport_kernel_word(&t->transport),
			     *h->kernel_params ? " " : "", h->kernel_params);
	return out->kernel_params ? 0 : err_oom(e, "kernel parameters");
}

static int start(struct trial *t, struct err *e)
{
	const struct trial_boot *b = t->boot;
	struct vmm_device devices[2];
	struct vmm_config c;
	uint64_t caps;

	return vmm_caps_of(b->hypervisor, b->machine->machine, ACCEL_KVM, &caps, e) < 0 ||
			       transport_choose(b->config, b->hypervisor, caps, NULL,
						&t->transport, e) < 0 ||
			       plan(t, devices, &c, e) < 0 ||
			       vmm_new(b->hypervisor, b->loop, b->reaper, &c, on_end, t,
				       &t->vmm, e) < 0 ||
			       vmm_start(t->vmm, t->deadline, e) < 0
		       ? -1
		       : 0;
}

static void end(struct trial *t)
{
	struct err e;

	fiber_shield(t->boot->loop, true);
	agent_client_free(TAKE(t->agent));
	if (t->vmm && vmm_stop(t->vmm, deadline_in(STOP_MS), &e) < 0)
		log_warn(t->boot->log, "trial boot: %s", e.msg);
	vmm_free(TAKE(t->vmm));
	fd_close(&t->transport.fd);
	fiber_shield(t->boot->loop, false);
}

/* What it says last, for those who look why their kernel does not boot. */
static void log_console(const struct trial *t)
{
	char tail[400], quoted[400];
	size_t n = t->vmm ? vmm_console_tail(t->vmm, tail, sizeof(tail)) : 0;

	if (n)
		log_info(t->boot->log, "trial boot: its console ends: %s",
			 str_quote(tail, n, quoted, sizeof(quoted)));
}

static int boot(void *arg, struct accel_verdict *out, enum accel_certainty *sure, struct err *e)
{
	const struct trial_boot *b = arg;
	struct trial t = {
		.boot = b,
		.transport = TRANSPORT_INIT,
		.deadline = deadline_in(WALL_MS),
	};
	int rc;

	cond_init(&t.changed, b->loop);
	*out = (struct accel_verdict){ 0 };
	*sure = ACCEL_UNSURE;
	log_info(b->log,
		 "acceleration: guest code does not run under KVM: trying kernel '%.200s'",
		 b->assets->kernel);
	rc = start(&t, e) < 0 ? -1 : ask_watched(&t, out, sure, e);
	if (rc < 0 && e->kind != ERR_CANCELLED) {
		(void)str_quote(e->msg, strlen(e->msg), out->why, sizeof(out->why));
		rc = 0;
	}
	if (rc == 0 && !out->kvm_works)
		log_console(&t);
	end(&t);
	return rc;
}

/* A file as it is now. */
static const char *stamp(const char *path, char out[STAMP_LEN])
{
	struct stat st;

	if (!path || stat(path, &st) < 0)
		return NO_STAMP;
	(void)snprintf(out, STAMP_LEN, "%x.%x.%llu.%lld.%lld.%ld", major(st.st_dev),
		       minor(st.st_dev), (unsigned long long)st.st_ino, (long long)st.st_size,
		       (long long)st.st_ctim.tv_sec, st.st_ctim.tv_nsec);
	return out;
}

/* All that is not the trial's own: some of it a pod may choose, and then for itself alone. */
static const char *depends_on(const struct trial_boot *b)
{
	const struct config_hypervisor *h = &b->config->hypervisor;
	const struct guest_assets *g = b->assets;
	char stamps[STAMPS][STAMP_LEN];
	OWN(free) char *program = NULL;
	struct err ignored;
	const char *words;
	size_t size;
	char *quoted;

	(void)vmm_program(b->hypervisor, *h->path ? h->path : NULL, &program, &ignored);
	words = arena_printf(b->arena, "%s|%s|%s|%s|%s|%s|%d", h->machine_type,
			     h->machine_accelerators, h->cpu_features, h->seccomp_sandbox,
			     h->rootfs_type, h->kernel_params, h->transport);
	if (!words)
		return NULL;
	size = 4 * strlen(words) + 1;
	quoted = arena_calloc(b->arena, size, 1);
	if (!quoted)
		return NULL;
	return arena_printf(b->arena, "kernel=%s root=%s extras=%s monitor=%s %s",
			    stamp(g->kernel, stamps[0]),
			    stamp(g->image ? g->image : g->initrd, stamps[1]),
			    stamp(g->extras, stamps[2]), stamp(program, stamps[3]),
			    str_quote(words, strlen(words), quoted, size));
}

int trial_boot_describe(struct trial_boot *t, struct accel_kernel *storage,
			const struct accel_kernel **out, struct err *e)
{
	struct stat st;

	*out = NULL;
	if (!*t->config->hypervisor.kernel || t->assets->is_installed)
		return 0;
	if (stat(t->assets->kernel, &st) < 0)
		return err_sys(e, "[hypervisor.qemu] kernel '%s'", t->assets->kernel);
	*storage = (struct accel_kernel){
		.path = t->assets->kernel,
		.key = arena_printf(t->arena, "%x.%x.%llu", major(st.st_dev), minor(st.st_dev),
				    (unsigned long long)st.st_ino),
		.depends = depends_on(t),
		.boot = boot,
		.arg = t,
	};
	if (!storage->key || !storage->depends)
		return err_oom(e, "the kernel's verdict");
	*out = storage;
	return 0;
}
