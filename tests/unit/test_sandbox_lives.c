/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Containers and processes that end while somebody waits for the guest about them. The agent is
 * ours: it holds an answer back until what it is about has gone. Under ASan each of these ends
 * the program where an object is touched that nobody holds.
 */
#include "unit.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent.pb-c.h"
#include "base/fd.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/own.h"
#include "base/path.h"
#include "base/time.h"
#include "event/child.h"
#include "event/fiber.h"
#include "event/loop.h"
#include "event/loop_internal.h"
#include "config/config.h"
#include "google.pb-c.h"
#include "sandbox/grow.h"
#include "sandbox/hooks.h"
#include "sandbox/internal.h"
#include "sandbox/stdio.h"
#include "wire/ttrpc.h"

enum {
	PATIENCE_MS = 10 * 1000
};

struct scene {
	struct loop *loop;
	struct child_reaper reaper;
	struct sandbox *s;
	struct container *c;
	struct ttrpc_conn *agent; /* the guest's end */
	struct cond turn;
	const char *held; /* the method whose answers are kept back; NULL: none */
	bool fails;       /* what was kept back becomes an error */
	unsigned waiting; /* answers kept back */
	size_t output;    /* what ReadStdout still has to give, */
	size_t chunk;     /* so much at a time, */
	int64_t chunk_ms; /* each after so long */
	bool settled;
	unsigned exits, losses;
	bool flow_done;
	int rc;
	struct err e;
	struct process *exec;
};

/* ---- the guest ---- */

static int answer(struct ttrpc_call *call, const void *request, void *response, struct err *e)
{
	struct scene *sc = call->context;

	(void)request;
	(void)response;
	if (!sc->held || strcmp(sc->held, call->method) != 0)
		return 0;
	sc->waiting++;
	cond_wake_all(&sc->turn);
	while (sc->held) {
		if (cond_wait(&sc->turn, deadline_in(PATIENCE_MS), e) < 0)
			return -1;
	}
	return sc->fails ? err_set(e, ERR_INVALID, 0, "refused") : 0;
}

static int give_output(struct ttrpc_call *call, const void *request, void *response,
		       struct err *e)
{
	static uint8_t zeroes[64 * 1024];
	struct scene *sc = call->context;
	Grpc__ReadStreamResponse *out = response;

	if (!sc->output)
		return answer(call, request, response, e);
	if (fiber_sleep(sc->loop, sc->chunk_ms, e) < 0)
		return -1;
	out->data.data = zeroes;
	out->data.len = sc->output < sc->chunk ? sc->output : sc->chunk;
	sc->output -= out->data.len;
	return 0;
}

#define EMPTY &google__protobuf__empty__descriptor

static const struct ttrpc_method methods[] = {
	{ "PauseContainer", &grpc__pause_container_request__descriptor, EMPTY, answer },
	{ "RemoveContainer", &grpc__remove_container_request__descriptor, EMPTY, answer },
	{ "ExecProcess", &grpc__exec_process_request__descriptor, EMPTY, answer },
	{ "StartContainer", &grpc__start_container_request__descriptor, EMPTY, answer },
	{ "WaitProcess", &grpc__wait_process_request__descriptor,
	  &grpc__wait_process_response__descriptor, answer },
	{ "OnlineCPUMem", &grpc__online_cpumem_request__descriptor, EMPTY, answer },
	{ "CloseStdin", &grpc__close_stdin_request__descriptor, EMPTY, answer },
	{ "ReadStdout", &grpc__read_stream_request__descriptor,
	  &grpc__read_stream_response__descriptor, give_output },
	{ "ReadStderr", &grpc__read_stream_request__descriptor,
	  &grpc__read_stream_response__descriptor, answer },
	{ "WriteStdin", &grpc__write_stream_request__descriptor,
	  &grpc__write_stream_response__descriptor, answer },
};

static void wait_held(struct scene *sc)
{
	struct err e;

	while (!sc->waiting)
		assert_ok(cond_wait(&sc->turn, deadline_in(PATIENCE_MS), &e), &e);
}

static void let_go(struct scene *sc)
{
	sc->held = NULL;
	cond_wake_all(&sc->turn);
}

static void wait_flow(struct scene *sc)
{
	struct err e;

	while (!sc->flow_done)
		assert_ok(cond_wait(&sc->turn, deadline_in(PATIENCE_MS), &e), &e);
}

static void flow_ended(struct scene *sc)
{
	sc->flow_done = true;
	cond_wake_all(&sc->turn);
}

/* ---- the host ---- */

static void exited(void *arg, struct process *p)
{
	struct scene *sc = arg;

	(void)p;
	sc->exits++;
}

static void lost(void *arg, const struct err *why)
{
	struct scene *sc = arg;

	(void)why;
	sc->losses++;
}

/* A sandbox that is ready, with a container that runs, and no machine. */
static void set_up(struct scene *sc)
{
	static struct ttrpc_service service = { "grpc.AgentService", methods,
						ARRAY_LEN(methods), NULL };
	struct ttrpc_options o = { .services = &service, .service_count = 1 };
	struct sandbox_config c = { .id = "box" };
	const struct container_config cc = { .id = "c", .bundle = "/nowhere" };
	struct err e;
	int pair[2];

	service.context = sc;
	c.observer = (struct sandbox_observer){ .exited = exited, .lost = lost, .arg = sc };
	cond_init(&sc->turn, sc->loop);
	assert_ok(child_reaper_init(&sc->reaper, sc->loop, &e), &e);
	assert_ok(sandbox_new(sc->loop, &sc->reaper, &c, &sc->s, &e), &e);
	assert_ok(fd_socketpair(pair, &e), &e);
	assert_ok(agent_client_new(sc->loop, pair[0], NULL, NULL, &sc->s->agent, &e), &e);
	assert_ok(ttrpc_conn_new(sc->loop, pair[1], &o, &sc->agent, &e), &e);
	sc->s->state = SANDBOX_READY;
	assert_ok(container_new(sc->s, &cc, &sc->c, &e), &e);
	sc->c->in_guest = true;
}

/* What a flow has left, without a machine or a guest. */
static void let_containers_go(struct sandbox *s)
{
	list_for_each(n, tmp, &s->containers) {
		struct container *c = list_entry(n, struct container, node);

		list_remove(n);
		process_unref(c->init);
		container_unref(c);
	}
}

static void play(fiber_fn flow, enum process_state state)
{
	struct scene sc = { .rc = 1 };
	struct err e;

	assert_ok(loop_new(&sc.loop, &e), &e);
	set_up(&sc);
	sc.c->init->state = state;
	assert_ok(fiber_main(sc.loop, flow, &sc, &e), &e);
	ttrpc_conn_free(sc.agent);
	let_containers_go(sc.s);
	sandbox_free(sc.s);
	child_reaper_fini(&sc.reaper);
	loop_free(sc.loop);
}

/* ---- Pause ---- */

static void pause_run(void *arg)
{
	struct scene *sc = arg;

	sc->rc = container_pause(sc->c, &sc->e);
	flow_ended(sc);
}

static void deleted_while_paused(void *arg)
{
	struct scene *sc = arg;
	struct err e;

	sc->held = "PauseContainer";
	assert_ok(fiber_spawn(sc->loop, "pause", pause_run, sc, NULL, &e), &e);
	wait_held(sc);
	process_ended(sc->c->init, 0);
	assert_ok(container_delete(sc->c, &e), &e);
	assert_int_equal(container_count(sc->s), 0);
	let_go(sc);
	wait_flow(sc);
	assert_int_equal(sc->rc, -1);
	assert_int_equal(sc->e.kind, ERR_STATE);
}

static void test_pause(void **state)
{
	(void)state;
	play(deleted_while_paused, PROCESS_RUNNING);
}

/* The guest does it whether the caller waits or not: so does the call. */
static void caller_goes_from(struct scene *sc, const char *method, fiber_fn call)
{
	struct fiber *caller;
	struct err e;

	sc->held = method;
	assert_ok(fiber_spawn(sc->loop, "call", call, sc, &caller, &e), &e);
	wait_held(sc);
	fiber_cancel(caller);
	assert_ok(fiber_sleep(sc->loop, 20, &e), &e);
	let_go(sc);
	wait_flow(sc);
	assert_ok(sc->rc, &sc->e);
}

static void caller_of_pause_goes(void *arg)
{
	struct scene *sc = arg;

	caller_goes_from(sc, "PauseContainer", pause_run);
	assert_int_equal(sc->c->init->state, PROCESS_PAUSED);
}

static void test_pause_without_its_caller(void **state)
{
	(void)state;
	play(caller_of_pause_goes, PROCESS_RUNNING);
}

/* ---- an exec's Delete waits for its output ---- */

static void add_exec(struct scene *sc)
{
	const struct stdio_names none = { .in = "" };
	struct err e;

	assert_ok(process_new(sc->c, "e", &sc->exec, &e), &e);
	assert_ok(stdio_open(sc->loop, &none, &sc->c->log, &sc->exec->stdio, &e), &e);
	assert_ok(stdio_start(sc->exec->stdio, sc->s->agent, "e", &e), &e);
	list_append(&sc->c->execs, &sc->exec->node);
	sc->c->exec_count++;
	sc->exec->state = PROCESS_STOPPED;
}

static void delete_exec_run(void *arg)
{
	struct scene *sc = arg;

	sc->rc = process_delete(sc->exec, &sc->e);
	flow_ended(sc);
}

static void container_goes_first(void *arg)
{
	struct scene *sc = arg;
	struct err e;

	sc->held = "ReadStdout";
	add_exec(sc);
	assert_ok(fiber_spawn(sc->loop, "delete", delete_exec_run, sc, NULL, &e), &e);
	wait_held(sc);
	process_ended(sc->c->init, 0);
	assert_ok(container_delete(sc->c, &e), &e);
	let_go(sc);
	wait_flow(sc);
	assert_int_equal(sc->rc, 0);
}

static void test_delete_of_an_exec(void **state)
{
	(void)state;
	play(container_goes_first, PROCESS_RUNNING);
}

/* ---- an exec whose caller goes, or that nobody ever starts ---- */

static void add_created_exec(struct scene *sc)
{
	const struct stdio_names none = { .in = "" };
	struct err e;

	assert_ok(process_new(sc->c, "e", &sc->exec, &e), &e);
	assert_ok(stdio_open(sc->loop, &none, &sc->c->log, &sc->exec->stdio, &e), &e);
	list_append(&sc->c->execs, &sc->exec->node);
	sc->c->exec_count++;
	sc->exec->state = PROCESS_CREATED;
	process_ref(sc->exec);
}

static void start_exec_run(void *arg)
{
	struct scene *sc = arg;

	sc->rc = process_start(sc->exec, &sc->e);
	flow_ended(sc);
}

static void caller_of_exec_goes(void *arg)
{
	struct scene *sc = arg;
	struct err e;

	add_created_exec(sc);
	caller_goes_from(sc, "ExecProcess", start_exec_run);
	assert_ok(process_wait(sc->exec, &e), &e);
	assert_int_equal(process_exit_status(sc->exec), 0);
	assert_ok(process_delete(sc->exec, &e), &e);
	process_unref(sc->exec);
}

static void test_exec_without_its_caller(void **state)
{
	(void)state;
	play(caller_of_exec_goes, PROCESS_RUNNING);
}

static void wait_exec_run(void *arg)
{
	struct scene *sc = arg;

	sc->rc = process_wait(sc->exec, &sc->e);
	assert_int_equal(process_exit_status(sc->exec), 255);
	process_unref(sc->exec);
	flow_ended(sc);
}

static void never_started_exec_is_deleted(void *arg)
{
	struct scene *sc = arg;
	struct err e;

	add_created_exec(sc);
	assert_ok(fiber_spawn(sc->loop, "wait", wait_exec_run, sc, NULL, &e), &e);
	assert_ok(fiber_sleep(sc->loop, 10, &e), &e);
	assert_ok(process_delete(sc->exec, &e), &e);
	wait_flow(sc);
	assert_ok(sc->rc, &sc->e);
}

static void never_started_exec_and_its_container(void *arg)
{
	struct scene *sc = arg;
	struct err e;

	add_created_exec(sc);
	assert_ok(fiber_spawn(sc->loop, "wait", wait_exec_run, sc, NULL, &e), &e);
	assert_ok(fiber_sleep(sc->loop, 10, &e), &e);
	process_ended(sc->c->init, 0);
	assert_ok(container_delete(sc->c, &e), &e);
	wait_flow(sc);
	assert_ok(sc->rc, &sc->e);
}

static void test_never_started_exec(void **state)
{
	(void)state;
	play(never_started_exec_is_deleted, PROCESS_RUNNING);
	play(never_started_exec_and_its_container, PROCESS_RUNNING);
}

/* ---- the machine goes while poststart hooks run ---- */

static void start_run(void *arg)
{
	struct scene *sc = arg;

	sc->rc = process_start(sc->c->init, &sc->e);
	flow_ended(sc);
}

static void lost_in_a_hook(void *arg)
{
	static char *args[] = { (char *)(uintptr_t) "sh", (char *)(uintptr_t) "-c",
				(char *)(uintptr_t) "cat >/dev/null; sleep 0.3" };
	static Grpc__Hook hook = GRPC__HOOK__INIT, *list[] = { &hook };
	static Grpc__Hooks hooks = GRPC__HOOKS__INIT;
	static Grpc__Spec spec = GRPC__SPEC__INIT;
	const struct stdio_names none = { .in = "" };
	struct scene *sc = arg;
	struct process *init = sc->c->init;
	struct err why, e;

	hook.path = (char *)(uintptr_t) "/bin/sh";
	hook.args = args;
	hook.n_args = ARRAY_LEN(args);
	hooks.poststart = list;
	hooks.n_poststart = 1;
	spec.hooks = &hooks;
	sc->c->spec = &spec;
	sc->held = "WaitProcess";
	assert_ok(stdio_open(sc->loop, &none, &sc->c->log, &init->stdio, &e), &e);
	assert_ok(fiber_spawn(sc->loop, "start", start_run, sc, NULL, &e), &e);
	wait_held(sc); /* it runs in the guest, and its hook here */
	assert_int_equal(init->state, PROCESS_RUNNING);
	err_set(&why, ERR_PEER, 0, "gone");
	sandbox_vm_lost(sc->s, &why);
	wait_flow(sc);
	assert_int_equal(sc->rc, -1);
	assert_non_null(strstr(sc->e.msg, "gone"));
	assert_int_equal(sc->exits, 1);
	let_go(sc);
	assert_ok(fiber_sleep(sc->loop, 20, &e), &e);
	sc->c->spec = NULL;
}

static void test_loss_in_a_hook(void **state)
{
	(void)state;
	play(lost_in_a_hook, PROCESS_CREATED);
}

/* ---- two that wait for a stand-in ---- */

static void delete_run(void *arg)
{
	struct scene *sc = arg;

	sc->rc = container_delete(sc->c, &sc->e);
	flow_ended(sc);
}

static void stopped_while_deleted(void *arg)
{
	struct scene *sc = arg;
	struct err e;
	pid_t pid = fork();

	assert_true(pid >= 0);
	if (pid == 0) {
		(void)alarm(60);
		(void)pause();
		_exit(0);
	}
	child_watch(&sc->reaper, &sc->c->stand_in.child, pid, NULL);
	sc->c->in_guest = false;
	assert_ok(fiber_spawn(sc->loop, "delete", delete_run, sc, NULL, &e), &e);
	assert_ok(fiber_sleep(sc->loop, 0, &e), &e); /* it waits for the stand-in's end */
	sandbox_stop(sc->s);
	wait_flow(sc);
	assert_ok(sc->rc, &sc->e);
}

static void test_stop_while_deleted(void **state)
{
	(void)state;
	play(stopped_while_deleted, PROCESS_CREATED);
}

/* ---- a stop while it boots ---- */

/* As sandbox_boot() does, with a machine of which nobody may take anything away. */
static void boot_run(void *arg)
{
	struct scene *sc = arg;
	struct err e;

	sc->s->booting = fiber_self(sc->loop);
	assert_err(fiber_sleep(sc->loop, PATIENCE_MS, &e), &e, ERR_CANCELLED);
	fiber_shield(sc->loop, true);
	assert_ok(fiber_sleep(sc->loop, 20, &e), &e);
	fiber_shield(sc->loop, false);
	assert_int_equal(sc->s->state, SANDBOX_STARTING);
	sandbox_stop(sc->s);
	sc->s->booting = NULL;
	cond_wake_all(&sc->s->changed);
	flow_ended(sc);
}

static void stopped_while_booting(void *arg)
{
	struct scene *sc = arg;
	struct err e;

	sc->s->state = SANDBOX_STARTING;
	assert_ok(fiber_spawn(sc->loop, "boot", boot_run, sc, NULL, &e), &e);
	assert_ok(fiber_sleep(sc->loop, 10, &e), &e);
	sandbox_stop(sc->s);
	assert_true(sc->flow_done);
	assert_int_equal(sc->s->state, SANDBOX_STOPPED);
}

static void test_stop_while_booting(void **state)
{
	(void)state;
	play(stopped_while_booting, PROCESS_NEW);
}

/* ---- what has been plugged in, and the guest did not take ---- */

static void grow_run(void *arg)
{
	struct scene *sc = arg;
	Grpc__LinuxResources r = GRPC__LINUX_RESOURCES__INIT;

	sc->rc = grow_for(sc->c, &r, &sc->e);
	flow_ended(sc);
}

static void asked_again(void *arg)
{
	static struct kata_config config = {
		.hypervisor = { .default_vcpus = 1, .default_memory = 64 },
	};
	struct scene *sc = arg;
	struct err e;

	sc->s->c.config = &config;
	sc->s->c.vcpus = sc->s->c.max_vcpus = 4;
	sc->s->c.memory_mib = sc->s->c.max_memory_mib = 512;
	sc->s->unsettled = true; /* of a growth before */
	for (int fails = 1; fails >= 0; fails--) {
		sc->held = "OnlineCPUMem";
		sc->fails = fails;
		sc->flow_done = false;
		sc->waiting = 0;
		assert_ok(fiber_spawn(sc->loop, "grow", grow_run, sc, NULL, &e), &e);
		wait_held(sc);
		let_go(sc);
		wait_flow(sc);
		assert_int_equal(sc->rc, fails ? -1 : 0);
		assert_int_equal(sc->s->unsettled, fails);
	}
}

static void test_growth_is_asked_for_again(void **state)
{
	(void)state;
	play(asked_again, PROCESS_RUNNING);
}

/* ---- a guest that never answers a read ---- */

static size_t count_fibers(const struct loop *l)
{
	size_t n = 0;

	list_for_each(node, tmp, &l->fibers)
		n++;
	return n;
}

static void never_answered(void *arg)
{
	struct scene *sc = arg;
	size_t before = count_fibers(sc->loop);
	struct err e;

	sc->held = "ReadStdout";
	add_exec(sc);
	wait_held(sc);
	/* its end is given up; while the other stream has come to one */
	stdio_expect_end(sc->exec->stdio, 20);
	assert_ok(stdio_drain(sc->exec->stdio, deadline_in(PATIENCE_MS), &e), &e);
	sc->exec->state = PROCESS_STOPPED;
	assert_ok(process_delete(sc->exec, &e), &e);
	/* nobody is left who waits, but for the guest's own fiber */
	sc->waiting = 0;
	add_exec(sc);
	wait_held(sc);
	list_remove(&sc->exec->node);
	sc->c->exec_count--;
	process_unref(sc->exec);
	assert_ok(fiber_sleep(sc->loop, 20, &e), &e);
	assert_int_equal(count_fibers(sc->loop), before + 2);
	let_go(sc);
	assert_ok(fiber_sleep(sc->loop, 20, &e), &e);
}

static void test_reads_without_answer(void **state)
{
	(void)state;
	play(never_answered, PROCESS_RUNNING);
}

/* ---- input that the guest takes, or refuses, when all is over ---- */

static void refused_too_late(void *arg)
{
	struct scene *sc = arg;
	char dir[] = "/tmp/kata-lives.XXXXXX", path[64];
	struct stdio_names names = { .in = path };
	struct err e;
	int fd;

	assert_non_null(mkdtemp(dir));
	(void)snprintf(path, sizeof(path), "%s/in", dir);
	assert_int_equal(mkfifo(path, 0600), 0);
	fd = open(path, O_RDWR | O_CLOEXEC | O_NONBLOCK);
	assert_int_equal(write(fd, "x", 1), 1);
	sc->held = "WriteStdin";
	sc->fails = true;
	assert_ok(stdio_open(sc->loop, &names, &sc->c->log, &sc->c->init->stdio, &e), &e);
	assert_ok(stdio_start(sc->c->init->stdio, sc->s->agent, "c", &e), &e);
	wait_held(sc);
	process_ended(sc->c->init, 0);
	assert_ok(container_delete(sc->c, &e), &e);
	let_go(sc);
	assert_ok(fiber_sleep(sc->loop, 50, &e), &e);
	(void)close(fd);
	(void)unlink(path);
	(void)rmdir(dir);
}

static void test_input(void **state)
{
	enum log_level before = LOG_INFO;

	(void)state;
	log_set_level(LOG_DEBUG); /* what is logged is read */
	play(refused_too_late, PROCESS_RUNNING);
	log_set_level(before);
}

/* ---- a reader on the host that does not read ---- */

static void settle_run(void *arg)
{
	struct scene *sc = arg;

	stdio_settle(sc->c->init->stdio, true);
	sc->settled = true;
	flow_ended(sc);
}

static size_t read_all(struct scene *sc, int fd)
{
	static uint8_t into[64 * 1024];
	size_t total = 0;
	struct err e;

	while (!stdio_is_drained(sc->c->init->stdio)) {
		ssize_t n = read(fd, into, sizeof(into));

		if (n > 0)
			total += (size_t)n;
		assert_ok(fiber_sleep(sc->loop, 1, &e), &e);
	}
	return total;
}

/* A fifo that the first process writes to in the guest, and one who waits for its end. */
struct unread {
	char dir[32], path[64];
	int fd;
};

static void unread_begin(struct scene *sc, struct unread *u, size_t output, size_t chunk,
			 int64_t chunk_ms)
{
	struct stdio_names names = { .in = "", .out = u->path };
	struct stdio **stdio = &sc->c->init->stdio;
	struct err e;

	(void)snprintf(u->dir, sizeof(u->dir), "/tmp/kata-lives.XXXXXX");
	assert_non_null(mkdtemp(u->dir));
	(void)snprintf(u->path, sizeof(u->path), "%s/out", u->dir);
	assert_int_equal(mkfifo(u->path, 0600), 0);
	u->fd = open(u->path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	sc->output = output;
	sc->chunk = chunk;
	sc->chunk_ms = chunk_ms;
	assert_ok(stdio_open(sc->loop, &names, &sc->c->log, stdio, &e), &e);
	assert_ok(stdio_start(*stdio, sc->s->agent, "c", &e), &e);
	assert_ok(fiber_spawn(sc->loop, "settle", settle_run, sc, NULL, &e), &e);
}

static void unread_end(struct unread *u)
{
	(void)close(u->fd);
	(void)unlink(u->path);
	(void)rmdir(u->dir);
}

static void unread(struct scene *sc, size_t output, size_t chunk, int64_t chunk_ms)
{
	struct unread u = { .fd = -1 };
	struct err e;

	unread_begin(sc, &u, output, chunk, chunk_ms);
	assert_ok(fiber_sleep(sc->loop, 600, &e), &e);
	assert_false(sc->settled);
	assert_int_equal(read_all(sc, u.fd), output);
	wait_flow(sc);
	unread_end(&u);
}

/* Small pieces fill what is read ahead with few bytes, while the guest's pipe has the rest. */
static void unread_in_pieces(void *arg)
{
	unread(arg, 1000 * 1000, 8 * 1024, 0);
}

static void unread_of_a_slow_guest(void *arg)
{
	unread(arg, 256 * 1024, 64 * 1024, 150);
}

/* More than a pipe can have held: others write on, or the guest makes it up. */
static void endless(void *arg)
{
	static uint8_t into[256 * 1024];
	struct scene *sc = arg;
	int64_t deadline = deadline_in(PATIENCE_MS);
	struct unread u = { .fd = -1 };
	struct err e;

	unread_begin(sc, &u, SIZE_MAX, 64 * 1024, 0);
	while (!sc->settled && deadline_left(deadline) != 0) {
		(void)!read(u.fd, into, sizeof(into));
		assert_ok(fiber_sleep(sc->loop, 0, &e), &e);
	}
	assert_true(sc->settled);
	sc->output = 0;
	(void)read_all(sc, u.fd);
	unread_end(&u);
}

static void test_unread_output(void **state)
{
	(void)state;
	play(unread_in_pieces, PROCESS_RUNNING);
	play(unread_of_a_slow_guest, PROCESS_RUNNING);
	play(endless, PROCESS_RUNNING);
}

/* ---- the machine goes while a container is being made ---- */

static void lost_while_made(void *arg)
{
	struct scene *sc = arg;
	Grpc__PauseContainerRequest req = GRPC__PAUSE_CONTAINER_REQUEST__INIT;
	struct err why, e;

	err_set(&why, ERR_PEER, 0, "gone");
	sandbox_vm_lost(sc->s, &why);
	assert_ok(sandbox_wait(sc->s, &e), &e);
	assert_int_equal(sc->losses, 1);
	/* its creator says how it ended, and he alone takes it away */
	assert_int_equal(sc->exits, 0);
	assert_int_equal(sc->c->init->state, PROCESS_NEW);
	assert_err(container_delete(sc->c, &e), &e, ERR_STATE);
	assert_int_equal(container_count(sc->s), 1);
	/* who asks the agent now is told so */
	assert_err(agent_do(sc->s->agent, AGENT_PAUSE_CONTAINER, &req, &e), &e, ERR_PEER);
	assert_err(container_pause(sc->c, &e), &e, ERR_STATE);
}

static void test_loss(void **state)
{
	(void)state;
	play(lost_while_made, PROCESS_NEW);
}

/* ---- the machine goes in a hook of a second container's creation ---- */

/* A share, a stand-in and a hook that waits: the loss comes while it does. */
static void write_bundle(char dir[64])
{
	static const char json[] =
		"{\"ociVersion\":\"1.1.0\",\"root\":{\"path\":\"/\"},\"process\":{\"cwd\":\"/\","
		"\"args\":[\"x\"],\"user\":{\"uid\":0,\"gid\":0}},\"linux\":{\"namespaces\":"
		"[{\"type\":\"network\"}]}}";
	char path[96];
	struct err e;

	(void)snprintf(dir, 64, "/tmp/kata-lives.XXXXXX");
	assert_non_null(mkdtemp(dir));
	(void)snprintf(path, sizeof(path), "%s/config.json", dir);
	assert_ok(file_replace(AT_FDCWD, path, json, strlen(json), 0600, false, &e), &e);
}

/*
 * The logger's readiness is the first thing that creation waits for. Nothing of the machine is
 * there afterwards: no share, no stand-in's network.
 */
struct late {
	struct scene *sc;
	struct container_config cc;
	char dir[64], logger[160];
};

static void create_run(void *arg)
{
	struct late *l = arg;
	struct container *c;

	l->sc->rc = container_create(l->sc->s, &l->cc, &c, &l->sc->e);
	flow_ended(l->sc);
}

static void lost_in_creation(void *arg)
{
	struct scene *sc = arg;
	struct late l = { .sc = sc };
	struct process *init;
	struct err why, e;
	char path[96];
	int fd;

	write_bundle(l.dir);
	(void)snprintf(path, sizeof(path), "%s/logger", l.dir);
	assert_ok(file_replace(AT_FDCWD, path,
			       "#!/bin/sh\nsleep 0.3\nexec 5>&-\ncat <&3 >/dev/null\n", 44,
			       0700, false, &e),
		  &e);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	assert_int_equal(fchmod(fd, 0700), 0);
	(void)close(fd);
	(void)snprintf(l.logger, sizeof(l.logger), "binary://%s", path);
	l.cc = (struct container_config){ .id = "late",
					  .bundle = l.dir,
					  .stdin_name = "",
					  .stdout_name = l.logger,
					  .stderr_name = l.logger };
	assert_ok(fiber_spawn(sc->loop, "create", create_run, &l, NULL, &e), &e);
	assert_ok(fiber_sleep(sc->loop, 100, &e), &e);
	assert_int_equal(container_count(sc->s), 2);
	init = container_find(sc->s, "late")->init;
	process_ref(init);
	err_set(&why, ERR_PEER, 0, "gone");
	sandbox_vm_lost(sc->s, &why);
	wait_flow(sc);
	assert_int_equal(sc->rc, -1);
	assert_non_null(strstr(sc->e.msg, "gone"));
	assert_int_equal(container_count(sc->s), 1);
	/* whoever waits for it is told */
	assert_ok(process_wait(init, &e), &e);
	assert_int_equal(process_exit_status(init), 255);
	process_unref(init);
	assert_ok(fiber_sleep(sc->loop, 500, &e), &e); /* the logger ends by itself */
	assert_ok(path_remove_tree(AT_FDCWD, l.dir, &e), &e);
}

static void test_loss_in_creation(void **state)
{
	(void)state;
	play(lost_in_creation, PROCESS_RUNNING);
}

/* A hook's own timeout, or one that a slow network does not reach. */
static void test_time_of_hooks(void **state)
{
	Grpc__Hook h = GRPC__HOOK__INIT;

	(void)state;
	assert_int_equal(hooks_timeout_s(&h), 600);
	h.timeout = 1;
	assert_int_equal(hooks_timeout_s(&h), 1);
	h.timeout = -1;
	assert_int_equal(hooks_timeout_s(&h), 600);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_time_of_hooks),
		cmocka_unit_test(test_loss_in_creation),
		cmocka_unit_test(test_pause),
		cmocka_unit_test(test_delete_of_an_exec),
		cmocka_unit_test(test_reads_without_answer),
		cmocka_unit_test(test_input),
		cmocka_unit_test(test_unread_output),
		cmocka_unit_test(test_loss),
		cmocka_unit_test(test_pause_without_its_caller),
		cmocka_unit_test(test_exec_without_its_caller),
		cmocka_unit_test(test_never_started_exec),
		cmocka_unit_test(test_stop_while_deleted),
		cmocka_unit_test(test_loss_in_a_hook),
		cmocka_unit_test(test_stop_while_booting),
		cmocka_unit_test(test_growth_is_asked_for_again),
	};

	return cmocka_run_group_tests_name("sandbox_lives", tests, NULL, NULL);
}
