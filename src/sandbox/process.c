/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Processes. An object lives as long as somebody holds a reference: its container's list, a
 * waiting call, the fiber that waits for its end in the guest. It keeps its container's
 * object alive, too, so that what has ended can still be asked.
 */
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/path.h"
#include "base/str.h"
#include "base/time.h"
#include "oci/guest_spec.h"
#include "oci/notes.h"
#include "oci/spec.h"
#include "sandbox/internal.h"
#include "sandbox/links.h"
#include "sandbox/stdio.h"

enum {
	STATUS_LOST = 255,
	STATUS_NEVER = 255,
	STATUS_NOT_FOUND = 127,
	STATUS_DENIED = 126,
	EXEC_ID_MAX = 128,
	EXECS_END_MS = 5000
};

int process_new(struct container *c, const char *exec_id, struct process **out, struct err *e)
{
	struct process *p = mem_new(struct process);

	if (!p)
		return err_oom(e, "a process");
	arena_init(&p->arena, SPEC_ARENA_BYTES);
	list_init(&p->node);
	cond_init(&p->changed, c->sandbox->loop);
	p->refs = 1;
	p->container = c;
	c->refs++;
	p->exec_id = strdup(exec_id);
	if (!p->exec_id) {
		process_unref(p);
		return err_oom(e, "a process");
	}
	*out = p;
	return 0;
}

void process_ref(struct process *p)
{
	p->refs++;
}

void process_unref(struct process *p)
{
	if (!p || --p->refs)
		return;
	stdio_free(p->stdio);
	arena_fini(&p->arena);
	free(p->exec_id);
	container_unref(p->container);
	free(p);
}

int process_find(struct container *c, const char *exec_id, struct process **out, struct err *e)
{
	if (!exec_id || !*exec_id) {
		*out = c->init;
		return 0;
	}
	list_for_each(n, tmp, &c->execs) {
		struct process *p = list_entry(n, struct process, node);

		if (str_eq(p->exec_id, exec_id)) {
			*out = p;
			return 0;
		}
	}
	return err_set(e, ERR_NOT_FOUND, 0, "container '%s' has no exec '%.80s'", c->id,
		       exec_id);
}

static struct agent_client *agent_of(const struct process *p)
{
	return p->container->sandbox->agent;
}

/* ---- the end ---- */

void process_ended(struct process *p, uint32_t status)
{
	struct sandbox *s = p->container->sandbox;
	struct err ignored;

	if (process_step(&p->state, PROCESS_EXIT, &ignored) < 0)
		return;
	p->exit_status = p->gone_at ? p->gone_status : status;
	p->exited_at = p->gone_at ? p->gone_at : time_wall_ns();
	cond_wake_all(&p->changed);
	cond_wake_all(&p->container->exec_ended);
	if (p == p->container->init)
		stand_in_kill(&p->container->stand_in);
	if (s->c.observer.exited)
		s->c.observer.exited(s->c.observer.arg, p);
}

static bool has_running_exec(const struct container *c)
{
	list_for_each(n, tmp, &c->execs) {
		enum process_state s = list_entry(n, struct process, node)->state;

		if (s == PROCESS_RUNNING || s == PROCESS_STARTING || s == PROCESS_PAUSED)
			return true;
	}
	return false;
}

/*
 * A container ends with its first process: what else runs in it is killed (the kernel has
 * done so unless it shares the pod's process namespace) and reported before.
 */
static void end_execs(struct container *c)
{
	Grpc__SignalProcessRequest req = GRPC__SIGNAL_PROCESS_REQUEST__INIT;
	int64_t deadline = deadline_in(EXECS_END_MS);
	struct err e;

	if (!c->sandbox->agent || (!has_running_exec(c) && pidns_ends_with(c->init)))
		return;
	req.container_id = c->id;
	req.signal = SIGKILL;
	req.all = agent_has_feature(c->sandbox->agent, AGENT_FEATURE_PROCESSES);
	if (agent_do(c->sandbox->agent, AGENT_SIGNAL_PROCESS, &req, &e) < 0)
		log_debug(&c->log, "ending execs: %s", e.msg);
	list_for_each(n, tmp, &c->execs) {
		struct process *p = list_entry(n, struct process, node);

		if (p->stdio)
			stdio_hurry(p->stdio);
	}
	while (has_running_exec(c)) {
		if (cond_wait(&c->exec_ended, deadline, &e) < 0) {
			log_warn(&c->log, "an exec outlives its container: %s", e.msg);
			return;
		}
	}
}

static void wait_in_guest(void *arg)
{
	struct process *p = arg;
	Grpc__WaitProcessRequest req = GRPC__WAIT_PROCESS_REQUEST__INIT;
	OWN(arena) struct arena a = { .limit = 64 * 1024 };
	Grpc__WaitProcessResponse *resp;
	struct err e = ERR_INIT;

	req.container_id = p->container->id;
	req.exec_id = p->exec_id;
	if (agent_call(agent_of(p), AGENT_WAIT_PROCESS, &req, &a, &resp, &e) < 0) {
		(void)sandbox_blame(p->container->sandbox, &e);
		log_debug(&p->container->log, "wait: %s", e.msg);
		process_ended(p, STATUS_LOST);
	} else {
		p->gone_at = time_wall_ns();
		p->gone_status = (uint32_t)resp->status & 0xff;
		cond_wake_all(&p->changed);
		while (p->starting && cond_wait(&p->changed, DEADLINE_NONE, &e) == 0)
			;
		if (p == p->container->init)
			end_execs(p->container);
		if (p->stdio && (p->forced || p->gone_status == 128 + SIGKILL))
			stdio_hurry(p->stdio);
		if (p->stdio)
			stdio_settle(p->stdio, pidns_ends_with(p));
		/* an exec may leave something behind that still writes, a container nothing */
		if (p->stdio && p == p->container->init)
			stdio_expect_end(p->stdio, sandbox_patience_ms(p->container->sandbox));
		process_ended(p, p->gone_status);
	}
	process_unref(p);
}

int process_wait(struct process *p, struct err *e)
{
	while (p->state != PROCESS_STOPPED && p->state != PROCESS_DELETED) {
		if (cond_wait(&p->changed, DEADLINE_NONE, e) < 0)
			return -1;
	}
	return 0;
}

int process_drain(struct process *p, int64_t deadline, struct err *e)
{
	return p->stdio ? stdio_drain(p->stdio, deadline, e) : 0;
}

/* ---- the start ---- */

static int ask_start(struct process *p, struct err *e)
{
	Grpc__StartContainerRequest start = GRPC__START_CONTAINER_REQUEST__INIT;
	Grpc__ExecProcessRequest exec = GRPC__EXEC_PROCESS_REQUEST__INIT;

	if (p == p->container->init) {
		start.container_id = p->container->id;
		return agent_do(agent_of(p), AGENT_START_CONTAINER, &start, e);
	}
	exec.container_id = p->container->id;
	exec.exec_id = p->exec_id;
	exec.process = p->spec;
	return agent_do(agent_of(p), AGENT_EXEC_PROCESS, &exec, e);
}

/* The guest starts it whether we wait or not: its timeout ends this, not our caller. */
static int start_in_guest(struct process *p, struct err *e)
{
	struct loop *l = p->container->sandbox->loop;
	int rc;

	fiber_shield(l, true);
	rc = ask_start(p, e);
	fiber_shield(l, false);
	return rc;
}

static uint32_t status_of_failure(const struct err *e)
{
	if (e->kind == ERR_NOT_FOUND)
		return STATUS_NOT_FOUND;
	return e->kind == ERR_DENIED ? STATUS_DENIED : STATUS_LOST;
}

/* The fibers of a process that runs now: its streams, and the wait for its end. */
static int follow(struct process *p, struct err *e)
{
	if (stdio_start(p->stdio, agent_of(p), p->exec_id, e) < 0)
		return -1;
	process_ref(p);
	if (fiber_spawn(p->container->sandbox->loop, "process wait", wait_in_guest, p, NULL,
			e) < 0) {
		process_unref(p);
		return -1;
	}
	return 0;
}

/* Readers wait for the end of the streams before they delete it. */
static int start_failed(struct process *p, const struct err *e)
{
	struct err ignored;

	stdio_free(TAKE(p->stdio));
	if (process_step(&p->state, PROCESS_EXIT, &ignored) == 0) {
		p->exit_status = status_of_failure(e);
		p->exited_at = time_wall_ns();
		cond_wake_all(&p->changed);
		cond_wake_all(&p->container->exec_ended);
	}
	return -1;
}

static int need_running(const struct container *c, struct err *e)
{
	if (c->init->state == PROCESS_RUNNING)
		return 0;
	return err_set(e, ERR_STATE, 0, "cannot exec in container '%s', which %s%s", c->id,
		       c->init->state >= PROCESS_STOPPED ? "has ended" : "is ",
		       c->init->state >= PROCESS_STOPPED ? ""
							 : process_state_name(c->init->state));
}

/* What a caller has put into the network namespace until now is there for its program. */
static int prepare_network(struct process *p, struct err *e)
{
	if (p != p->container->init || links_refresh(p->container->sandbox, e) == 0)
		return 0;
	container_not_program(e);
	return -1;
}

int process_start(struct process *p, struct err *e)
{
	if (sandbox_need_ready(p->container->sandbox, e) < 0 ||
	    process_step(&p->state, PROCESS_START, e) < 0)
		return -1;
	if (p != p->container->init && need_running(p->container, e) < 0)
		return start_failed(p, e);
	if (prepare_network(p, e) < 0 || start_in_guest(p, e) < 0) {
		(void)sandbox_blame(p->container->sandbox, e);
		return start_failed(p, e);
	}
	if (process_step(&p->state, PROCESS_STARTED, e) < 0)
		return -1; /* its VM died meanwhile: reported as its end */
	if (follow(p, e) < 0) {
		process_ended(p, STATUS_LOST);
		return -1;
	}
	p->starting = true;
	if (p == p->container->init)
		container_run_poststart(p->container);
	p->starting = false;
	cond_wake_all(&p->changed);
	if (p->state != PROCESS_RUNNING && p->state != PROCESS_PAUSED) {
		(void)err_set(e, ERR_STATE, 0, "it ended while its poststart hooks ran");
		return sandbox_blame(p->container->sandbox, e);
	}
	return 0;
}

/* ---- while it runs ---- */

static bool is_alive(const struct process *p)
{
	return p->state == PROCESS_RUNNING || p->state == PROCESS_PAUSED ||
	       p->state == PROCESS_CREATED || p->state == PROCESS_STARTING;
}

/* Not the signals that clients forward without being asked, as of a resized window. */
static bool asks_to_end(uint32_t signal)
{
	return signal == SIGKILL || signal == SIGTERM || signal == SIGINT ||
	       signal == SIGQUIT || signal == SIGHUP;
}

/*
 * A first process that has not been started is only prepared in the guest, and nobody waits
 * for its end there: what would end a program that handles no signal ends it.
 */
static bool ends_created(const struct process *p, uint32_t signal)
{
	return p->state == PROCESS_CREATED && p == p->container->init && asks_to_end(signal);
}

/*
 * A kernel ends what gets SIGKILL unless it is frozen, or waits for a disk or a share that does
 * not answer. Whoever waits for this end would do so for ever, and nobody can tell a guest that
 * cannot from one that does not want to (docs/decisions/0053-killed-and-alive.md).
 */
static void kill_run(void *arg)
{
	struct process *p = arg;
	struct sandbox *s = p->container->sandbox;
	int64_t patience = sandbox_patience_ms(s), deadline = deadline_in(patience);
	struct err e = ERR_INIT, why;

	while (is_alive(p) && !p->gone_at && cond_wait(&p->changed, deadline, &e) == 0)
		;
	if (e.kind == ERR_TIMEOUT && p->state == PROCESS_RUNNING && !p->gone_at) {
		err_set(&why, ERR_TIMEOUT, 0,
			"container '%s' has not ended %lld s after SIGKILL: its guest obeys no "
			"more",
			p->container->id, (long long)patience / 1000);
		sandbox_vm_lost(s, &why);
	}
	p->killed = false;
	process_unref(p);
}

static void expect_end(struct process *p)
{
	struct err e;

	if (p->killed || p != p->container->init || p->state != PROCESS_RUNNING)
		return;
	process_ref(p);
	p->killed = true;
	if (fiber_spawn(p->container->sandbox->loop, "kill", kill_run, p, NULL, &e) == 0)
		return;
	log_warn(&p->container->log, "%s", e.msg);
	p->killed = false;
	process_unref(p);
}

static void force_one(struct process *p)
{
	p->forced = true;
	if (p->gone_at && p->stdio) /* it ended while it was being killed */
		stdio_hurry(p->stdio);
}

/*
 * After SIGKILL, which reaches all of a container with its first process: nobody waits for
 * readers any more.
 */
static void force_end(struct process *p, bool all)
{
	force_one(p);
	if (!all)
		return;
	list_for_each(n, tmp, &p->container->execs)
		force_one(list_entry(n, struct process, node));
}

int process_kill(struct process *p, uint32_t signal, bool all, struct err *e)
{
	Grpc__SignalProcessRequest req = GRPC__SIGNAL_PROCESS_REQUEST__INIT;
	int rc;

	if (signal >= NSIG)
		return err_set(e, ERR_INVALID, 0, "signal %u does not exist", signal);
	if (!is_alive(p))
		return err_set(e, ERR_NOT_FOUND, 0, "process already finished");
	if (signal == 0) /* kill(2): only whether it is there, as CRI-O asks */
		return 0;
	if (p->container->sandbox->state == SANDBOX_STOPPING)
		return 0; /* it is about to end with its machine */
	if (sandbox_need_ready(p->container->sandbox, e) < 0)
		return -1;
	if (p->gone_at) { /* only its output holds it up */
		if (asks_to_end(signal))
			stdio_hurry(p->stdio);
		return 0;
	}
	/* upstream's agent signals all of a container whenever it is its first process */
	req.all = all && p == p->container->init &&
		  agent_has_feature(agent_of(p), AGENT_FEATURE_PROCESSES);
	req.container_id = p->container->id;
	req.exec_id = p->exec_id;
	req.signal = signal;
	if (!ends_created(p, signal)) {
		process_ref(p);
		rc = agent_do(agent_of(p), AGENT_SIGNAL_PROCESS, &req, e);
		if (rc == 0 && signal == SIGKILL) {
			force_end(p, p == p->container->init);
			expect_end(p);
		}
		process_unref(p);
		return rc;
	}
	req.signal = SIGKILL;
	process_ref(p);
	rc = agent_do(agent_of(p), AGENT_SIGNAL_PROCESS, &req, e);
	if (rc == 0 && p->state == PROCESS_CREATED)
		process_ended(p, 128 + signal);
	process_unref(p);
	return rc;
}

/* Of an exec, which the guest does not know before its start. */
static int remember_size(struct process *p, uint32_t width, uint32_t height, struct err *e)
{
	Grpc__Box *size = arena_alloc(&p->arena, sizeof(*size));

	if (!size)
		return err_oom(e, "the size of a terminal");
	grpc__box__init(size);
	size->width = width;
	size->height = height;
	p->spec->consolesize = size;
	return 0;
}

int process_resize(struct process *p, uint32_t width, uint32_t height, struct err *e)
{
	Grpc__TtyWinResizeRequest req = GRPC__TTY_WIN_RESIZE_REQUEST__INIT;

	/* sent around start and end by every client, and without a terminal by some */
	if (!p->terminal || !is_alive(p))
		return 0;
	if (width > UINT16_MAX || height > UINT16_MAX)
		return err_set(e, ERR_INVALID, 0, "a terminal of %u by %u", width, height);
	if (p->state == PROCESS_CREATED && p != p->container->init)
		return remember_size(p, width, height, e);
	req.container_id = p->container->id;
	req.exec_id = p->exec_id;
	req.row = height;
	req.column = width;
	return agent_do(agent_of(p), AGENT_TTY_WIN_RESIZE, &req, e);
}

int process_close_stdin(struct process *p, struct err *e)
{
	(void)e;
	if (p->stdio)
		stdio_close_in(p->stdio);
	return 0;
}

/* ---- execs ---- */

static int fill_exec(struct process *p, const struct exec_config *x, struct err *e)
{
	struct container *c = p->container;
	OWN(oci_notes) struct oci_notes notes = { 0 };
	struct stdio_names names = {
		.in = x->stdin_name,
		.out = x->stdout_name,
		.err = x->stderr_name,
		.terminal = x->terminal,
		.owner = { c->sandbox->reaper, c->id, c->sandbox->c.namespace },
	};

	p->terminal = x->terminal;
	p->in = arena_strdup(&p->arena, x->stdin_name);
	p->out = arena_strdup(&p->arena, x->stdout_name);
	p->err_name = arena_strdup(&p->arena, x->stderr_name);
	if (!p->in || !p->out || !p->err_name)
		return err_oom(e, "an exec");
	if (process_parse(x->process_json, x->process_len, &p->arena, &notes, &p->spec, e) < 0)
		return err_wrap(e, "exec '%s'", x->exec_id);
	guest_process_edit(p->spec, &notes);
	oci_notes_log(&notes, LOG_INFO, &c->log, "exec '%.100s': without effect", x->exec_id);
	p->spec->terminal = x->terminal;
	return stdio_open(c->sandbox->loop, &names, &c->log, &p->stdio, e);
}

static bool has_ended(const struct process *p)
{
	return p->state == PROCESS_STOPPED || p->state == PROCESS_DELETED;
}

static size_t living(const struct sandbox *s)
{
	size_t count = 0;

	list_for_each(n, tmp, &s->containers) {
		const struct container *c = list_entry(n, struct container, node);

		count += c->init && !has_ended(c->init) ? 1 : 0;
		list_for_each(m, tmp2, &c->execs)
			count += has_ended(list_entry(m, struct process, node)) ? 0 : 1;
	}
	return count;
}

/* A detached exec is deleted by nobody: its caller has gone, and does not ask for its status.
 */
static void forget_old_execs(struct container *c)
{
	size_t ended = 0;

	list_for_each(n, tmp, &c->execs)
		ended += has_ended(list_entry(n, struct process, node)) ? 1 : 0;
	list_for_each(n, tmp, &c->execs) {
		struct process *p = list_entry(n, struct process, node);

		if (ended <= ENDED_EXECS_MAX)
			return;
		if (p->state != PROCESS_STOPPED || p->refs > 1 || !stdio_is_drained(p->stdio))
			continue;
		p->state = PROCESS_DELETED;
		list_remove(n);
		c->exec_count--;
		process_unref(p);
		ended--;
	}
}

int exec_create(struct container *c, const struct exec_config *x, struct process **out,
		struct err *e)
{
	struct process *p;
	struct err none;
	int rc;

	if (path_check_id(x->exec_id, EXEC_ID_MAX, "exec id", e) < 0 ||
	    sandbox_need_ready(c->sandbox, e) < 0)
		return -1;
	if (process_find(c, x->exec_id, &p, &none) == 0 || str_eq(x->exec_id, c->id))
		return err_set(e, ERR_EXISTS, 0, "container '%s' has an exec '%s' already",
			       c->id, x->exec_id);
	if (living(c->sandbox) >= PROCESSES_MAX)
		return err_set(e, ERR_NO_MEMORY, 0,
			       "sandbox '%s' runs %d processes of its callers, which is the "
			       "most",
			       c->sandbox->c.id, PROCESSES_MAX);
	if (c->init && c->init->state == PROCESS_PAUSED)
		return err_set(e, ERR_STATE, 0, "container '%s' is paused: resume it first",
			       c->id);
	if (c->init && (c->init->state >= PROCESS_STOPPED || c->init->state == PROCESS_NEW))
		return err_set(e, ERR_STATE, 0, "container '%s' is %s: nothing can be executed",
			       c->id, process_state_name(c->init->state));
	forget_old_execs(c);
	if (process_new(c, x->exec_id, &p, e) < 0)
		return -1;
	/* in the list from now on: a second one of the same id must see it */
	list_append(&c->execs, &p->node);
	c->exec_count++;
	process_ref(p);
	rc = fill_exec(p, x, e);
	if (rc == 0 && !c->init) /* it may have waited for a logger */
		rc = err_set(e, ERR_NOT_FOUND, 0, "container '%s' is gone", c->id);
	if (rc == 0)
		rc = process_step(&p->state, PROCESS_MAKE, e);
	if (rc < 0 && c->init) { /* else its container has taken it out of the list */
		list_remove(&p->node);
		c->exec_count--;
		process_unref(p);
	}
	process_unref(p);
	if (rc == 0)
		*out = p;
	return rc;
}

void process_forget(struct process *p)
{
	if (!p->exited_at) { /* it never ran */
		p->exit_status = STATUS_NEVER;
		p->exited_at = time_wall_ns();
	}
	p->state = PROCESS_DELETED;
	cond_wake_all(&p->changed);
}

int process_delete(struct process *p, struct err *e)
{
	if (p == p->container->init)
		return err_set(e, ERR_INVALID, 0, "the first process goes with its container");
	if (process_step(&p->state, PROCESS_DELETE, e) < 0)
		return -1;
	/* first: the container's own end, which may come meanwhile, takes what is in the list
	 */
	list_remove(&p->node);
	p->container->exec_count--;
	process_forget(p);
	(void)process_drain(p, deadline_in(10 * 1000), e); /* as runc's shim: output first */
	process_unref(p);
	return 0;
}

/* ---- questions ---- */

enum process_state process_state(const struct process *p)
{
	return p->state;
}

uint32_t process_exit_status(const struct process *p)
{
	return p->exit_status;
}

int64_t process_exited_at(const struct process *p)
{
	return p->exited_at;
}

const char *process_exec_id(const struct process *p)
{
	return p->exec_id;
}

struct container *process_container(const struct process *p)
{
	return p->container;
}

void process_stdio(const struct process *p, const char **in, const char **out,
		   const char **err_out, bool *terminal)
{
	*in = p->in ? p->in : "";
	*out = p->out ? p->out : "";
	*err_out = p->err_name ? p->err_name : "";
	*terminal = p->terminal;
}
