/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A sandbox's life: the states of sandbox/state.h, and what happens to its processes when
 * the machine goes. Who asks for the end (Delete, Shutdown, a dead VM) makes no difference:
 * all of it is sandbox_stop().
 */
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/time.h"
#include "config/config.h"
#include "net/user_net.h"
#include "sandbox/internal.h"
#include "sandbox/stdio.h"

enum {
	BLAME_MS = 2000,
	LEAST_PATIENCE_MS = 10 * 1000,
	STATUS_KILLED = 137,
	STATUS_LOST = 255
};

static int copy_text(struct arena *a, const char *from, const char **to, struct err *e)
{
	*to = from ? arena_strdup(a, from) : NULL;
	return from && !*to ? err_oom(e, "a sandbox") : 0;
}

static int copy_files(struct sandbox *s, const struct pod_files *f, struct err *e)
{
	struct pod_files *to = &s->c.files;

	if (copy_text(&s->arena, f->hostname, &to->hostname, e) < 0 ||
	    copy_text(&s->arena, f->hosts, &to->hosts, e) < 0)
		return -1;
	return copy_text(&s->arena, f->resolv_conf, &to->resolv_conf, e);
}

static int copy_sysctls(struct sandbox *s, const struct sandbox_config *c, struct err *e)
{
	struct sandbox_sysctl *list =
		arena_calloc(&s->arena, c->sysctl_count + 1, sizeof(*list));

	if (!list)
		return err_oom(e, "a sandbox");
	for (size_t i = 0; i < c->sysctl_count; i++) {
		if (copy_text(&s->arena, c->sysctls[i].key, &list[i].key, e) < 0 ||
		    copy_text(&s->arena, c->sysctls[i].value, &list[i].value, e) < 0)
			return -1;
	}
	s->c.sysctls = list;
	return 0;
}

static int copy_config(struct sandbox *s, const struct sandbox_config *c, struct err *e)
{
	struct user_net_port *ports;

	s->c = *c;
	s->c.id = arena_strdup(&s->arena, c->id);
	s->c.host_name = arena_strdup(&s->arena, c->host_name ? c->host_name : c->id);
	s->c.namespace = arena_strdup(&s->arena, c->namespace ? c->namespace : "");
	s->c.shm_source = arena_strdup(&s->arena, c->shm_source ? c->shm_source : "");
	/* a specification may name no host: "(none)", the kernel's own, is a name for nobody */
	s->c.hostname = c->hostname && *c->hostname
				? arena_strdup(&s->arena, c->hostname)
				: arena_printf(&s->arena, "%.*s", HOST_NAME_MAX, c->id);
	s->c.netns = arena_strdup(&s->arena, c->netns ? c->netns : "");
	s->c.link_record = arena_strdup(&s->arena, c->link_record ? c->link_record : "");
	s->c.console_socket =
		arena_strdup(&s->arena, c->console_socket ? c->console_socket : "");
	s->c.mark_record = arena_strdup(&s->arena, c->mark_record ? c->mark_record : "");
	ports = arena_calloc(&s->arena, c->port_count + 1, sizeof(*ports));
	if (!s->c.id || !s->c.host_name || !s->c.shm_source || !s->c.namespace ||
	    !s->c.hostname || !s->c.netns || !s->c.link_record || !s->c.mark_record ||
	    !s->c.console_socket || !ports)
		return err_oom(e, "a sandbox");
	for (size_t i = 0; i < c->port_count; i++) {
		ports[i] = c->ports[i];
		if (ports[i].host_addr) {
			ports[i].host_addr = arena_strdup(&s->arena, ports[i].host_addr);
			if (!ports[i].host_addr)
				return err_oom(e, "a sandbox");
		}
	}
	s->c.ports = ports;
	if (c->resolv_conf && copy_text(&s->arena, c->resolv_conf, &s->c.resolv_conf, e) < 0)
		return -1;
	return copy_files(s, &c->files, e) < 0 ? -1 : copy_sysctls(s, c, e);
}

int sandbox_new(struct loop *l, struct child_reaper *r, const struct sandbox_config *c,
		struct sandbox **out, struct err *e)
{
	struct sandbox *s = mem_new(struct sandbox);

	if (!s)
		return err_oom(e, "a sandbox");
	s->loop = l;
	s->reaper = r;
	s->transport = (struct transport)TRANSPORT_INIT;
	for (size_t i = 0; i < SHARED_NS_COUNT; i++)
		s->shared_ns[i] = -1;
	arena_init(&s->arena, 1 << 20);
	list_init(&s->containers);
	list_init(&s->disks);
	cond_init(&s->changed, l);
	if (copy_config(s, c, e) < 0) {
		sandbox_free(s);
		return -1;
	}
	s->log.sandbox = s->c.id;
	*out = s;
	return 0;
}

void sandbox_free(struct sandbox *s)
{
	if (!s)
		return;
	agent_client_free(s->agent);
	shared_ns_end(s);
	arena_fini(&s->arena);
	free(s);
}

static void boot_over(struct sandbox *s)
{
	s->booting = NULL;
	cond_wake_all(&s->changed);
}

int sandbox_boot(struct sandbox *s, struct err *e)
{
	int64_t began = time_mono_ms();

	if (sandbox_step(&s->state, SANDBOX_BOOT, e) < 0)
		return -1;
	s->booting = fiber_self(s->loop);
	if (vm_start(s, e) < 0 || sandbox_step(&s->state, SANDBOX_BOOTED, e) < 0) {
		sandbox_stop(s);
		boot_over(s);
		return err_wrap(e, "start the sandbox"); /* whose id the caller knows */
	}
	boot_over(s);
	s->ready_at = time_wall_ns();
	log_info(&s->log, "sandbox ready after %lld ms: %s",
		 (long long)(time_mono_ms() - began), s->description);
	return 0;
}

static void end_process(struct process *p, uint32_t status)
{
	if (p->stdio)
		stdio_hurry(p->stdio);
	process_ended(p, status);
}

static void end_processes(struct sandbox *s, uint32_t status)
{
	list_for_each(n, tmp, &s->containers) {
		struct container *c = list_entry(n, struct container, node);

		list_for_each(m, tmp2, &c->execs)
			end_process(list_entry(m, struct process, node), status);
		end_process(c->init, status);
	}
}

/* It has the machine in its hands, and takes it down itself. */
static void end_boot(struct sandbox *s)
{
	struct err ignored;

	if (!s->booting || s->booting == fiber_self(s->loop))
		return;
	fiber_cancel(s->booting);
	while (s->booting && cond_wait(&s->changed, DEADLINE_NONE, &ignored) == 0)
		;
}

void sandbox_stop(struct sandbox *s)
{
	struct err ignored;

	fiber_shield(s->loop, true); /* the machine is being asked for its last words */
	end_boot(s);
	while (s->explaining && cond_wait(&s->changed, DEADLINE_NONE, &ignored) == 0)
		;
	fiber_shield(s->loop, false);
	if (s->state == SANDBOX_STOPPED)
		return;
	if (s->state == SANDBOX_STOPPING) { /* somebody else is at it: wait for him */
		while (s->state == SANDBOX_STOPPING &&
		       cond_wait(&s->changed, DEADLINE_NONE, &ignored) == 0)
			;
		return;
	}
	if (s->state != SANDBOX_NEW)
		(void)sandbox_step(&s->state, SANDBOX_STOP, &ignored);
	fiber_shield(s->loop, true);
	vm_stop(s);
	end_processes(s, s->vm_lost ? STATUS_LOST : STATUS_KILLED);
	(void)sandbox_step(&s->state, SANDBOX_GONE, &ignored);
	s->stopped_at = time_wall_ns();
	fiber_shield(s->loop, false);
	cond_wake_all(&s->changed);
}

/* In a fiber of its own: a guest that does not answer holds up nobody's deadline. */
static void ask_to_end(void *arg)
{
	struct process *p = arg;
	struct err e;

	if (process_kill(p, SIGTERM, false, &e) < 0)
		log_info(&p->container->log, "SIGTERM before the stop: %s", e.msg);
	process_unref(p);
}

void sandbox_ask_to_end(struct sandbox *s, int64_t deadline)
{
	struct process *asked[CONTAINERS_MAX];
	size_t count = 0;
	struct err e;

	list_for_each(n, tmp, &s->containers) {
		struct process *p = list_entry(n, struct container, node)->init;

		if (p->state != PROCESS_RUNNING)
			continue;
		process_ref(p); /* containers may be deleted while we wait */
		asked[count++] = p;
	}
	for (size_t i = 0; i < count; i++) {
		process_ref(asked[i]);
		if (fiber_spawn(s->loop, "SIGTERM", ask_to_end, asked[i], NULL, &e) < 0) {
			log_info(&s->log, "SIGTERM before the stop: %s", e.msg);
			process_unref(asked[i]);
		}
	}
	for (size_t i = 0; i < count; i++) {
		while (asked[i]->state == PROCESS_RUNNING &&
		       cond_wait(&asked[i]->changed, deadline, &e) == 0)
			;
		process_unref(asked[i]);
	}
}

static void stop_lost(void *arg)
{
	struct sandbox *s = arg;

	vm_explain_loss(s); /* first: who is told of an end may ask for its reason */
	s->loss_known = true;
	cond_wake_all(&s->changed);
	end_processes(s, STATUS_LOST);
	if (s->c.observer.lost)
		s->c.observer.lost(s->c.observer.arg, &s->lost_why);
	sandbox_stop(s);
}

void sandbox_vm_lost(struct sandbox *s, const struct err *why)
{
	struct err e;

	if (s->vm_lost || s->state == SANDBOX_STOPPING || s->state == SANDBOX_STOPPED)
		return;
	s->vm_lost = true;
	s->lost_why = *why;
	if (s->state != SANDBOX_READY) { /* sandbox_boot() is under way: its calls end now */
		if (s->agent)
			agent_client_hang_up(s->agent);
		return;
	}
	if (fiber_spawn(s->loop, "sandbox lost", stop_lost, s, NULL, &e) < 0)
		log_error(&s->log, "%s", e.msg);
}

int sandbox_blame(struct sandbox *s, struct err *e)
{
	int64_t deadline = deadline_in(BLAME_MS);
	struct err ignored;

	while (s->vm_lost && !s->loss_known && cond_wait(&s->changed, deadline, &ignored) == 0)
		;
	return s->vm_lost ? err_set(e, ERR_PEER, 0, "%s", s->lost_why.msg) : -1;
}

int sandbox_need_ready(const struct sandbox *s, struct err *e)
{
	if (s->vm_lost)
		return err_set(e, ERR_STATE, 0, "sandbox '%s' was lost: %s", s->c.id,
			       s->lost_why.msg);
	if (s->state != SANDBOX_READY)
		return err_set(e, ERR_STATE, 0, "sandbox '%s' is %s", s->c.id,
			       sandbox_state_name(s->state));
	return 0;
}

int64_t sandbox_patience_ms(const struct sandbox *s)
{
	int64_t ms = s->c.config->agent.health_check_request_timeout_ms;

	return ms > LEAST_PATIENCE_MS ? ms : LEAST_PATIENCE_MS;
}

int sandbox_wait(struct sandbox *s, struct err *e)
{
	while (s->state != SANDBOX_STOPPED) {
		if (cond_wait(&s->changed, DEADLINE_NONE, e) < 0)
			return -1;
	}
	return 0;
}

int64_t sandbox_ready_at(const struct sandbox *s)
{
	return s->ready_at;
}

int64_t sandbox_stopped_at(const struct sandbox *s)
{
	return s->stopped_at;
}

int sandbox_add_stand_in(struct sandbox *s, const char *netns, const char *root, struct err *e)
{
	if (sandbox_need_ready(s, e) < 0)
		return -1;
	return start_stand_in(s, &s->stand_in, NULL, netns, root, e);
}

pid_t sandbox_pid(const struct sandbox *s)
{
	return stand_in_pid(&s->stand_in);
}

const char *sandbox_lost_why(const struct sandbox *s)
{
	return s->vm_lost ? s->lost_why.msg : NULL;
}

enum sandbox_state sandbox_state(const struct sandbox *s)
{
	return s->state;
}

const char *sandbox_id(const struct sandbox *s)
{
	return s->c.id;
}

const char *sandbox_description(const struct sandbox *s)
{
	return s->description;
}
