/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The engine's main: loop, children, socket, events, until the sandbox has ended. Its log goes
 * to the bundle's `log` fifo, which containerd reads, or else to the bundle's shim.log.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/err.h"
#include "base/fd.h"
#include "base/log.h"
#include "base/own.h"
#include "base/str.h"
#include "base/time.h"
#include "build_config.h"
#include "event/fiber.h"
#include "event/spawn.h"
#include "sandbox/host_cgroup.h"
#include "share/share.h"
#include "shim/actions.h"
#include "shim/engine.h"
#include "shim/engine_log.h"
#include "shim/events.h"
#include "shim/options.h"
#include "version.h"

enum {
	CREATION_MS = 40 * 1000, /* systemd_scope.c has 15 s for a call, twice, and 5 */
	ANSWERS_MS = 2000,
	ANSWERS_POLL_MS = 5,
	LINGER_MS = 100,
	EVENTS_DRAIN_MS = 5000,
	FILES_MAX = 1 << 20,
	IDLE_MS = 60 * 1000,
	IDLE_ALONE_MS = 10 * 1000,
	IDLE_KATA_MS = 1000
};

static int fd_from_env(const char *name, int *out, struct err *e)
{
	const char *s = getenv(name);
	uint64_t n;

	if (!s)
		return err_set(e, ERR_INVALID, 0,
			       "the engine is started by `start` (%s is not set)", name);
	if (str_to_u64(s, 3, 1 << 20, name, &n, e) < 0)
		return -1;
	if (fcntl((int)n, F_SETFD, FD_CLOEXEC) < 0)
		return err_sys(e, "%s", name);
	(void)unsetenv(name);
	*out = (int)n;
	return 0;
}

/* Who waits for something here is told how it ended before the process goes. */
static void wait_answers(struct engine *en)
{
	int64_t deadline = deadline_in(ANSWERS_MS);
	struct err e;

	while (ttrpc_server_requests(en->server) > 0 && deadline_left(deadline) > 0) {
		if (fiber_sleep(en->loop, ANSWERS_POLL_MS, &e) < 0)
			return;
	}
}

static void end_run(void *arg)
{
	struct engine *en = arg;
	int64_t deadline = deadline_in(CREATION_MS);
	struct err e;

	if (en->sandbox)
		sandbox_stop(en->sandbox);
	/* a Create that had no sandbox yet sees that it is the end, and undoes what it has made
	 */
	while (en->creating) {
		if (cond_wait(&en->created, deadline, &e) < 0)
			break;
	}
	wait_answers(en);
	/*
	 * Who finds an answer and the end of the connection at once may take the end for the
	 * answer (containerd's client of the Sandbox API; of the Task API's Shutdown it
	 * expects the end).
	 */
	if (en->is_pod)
		(void)fiber_sleep(en->loop, LINGER_MS, &e);
	events_drain(en->events, deadline_in(EVENTS_DRAIN_MS));
	host_cgroup_leave(TAKE(en->cgroup));
	loop_stop(en->loop);
}

void engine_end(struct engine *en)
{
	struct err e;

	if (en->ending)
		return;
	en->ending = true;
	if (fiber_spawn(en->loop, "end", end_run, en, NULL, &e) < 0) {
		log_error(NULL, "%s", e.msg);
		loop_stop(en->loop); /* the machine dies with this process */
	}
}

static void on_signal(struct signal_watch *w, const struct signalfd_siginfo *info)
{
	struct engine *en = container_of(w, struct engine, signals);

	log_info(NULL, "signal %u: taking the sandbox down", info->ssi_signo);
	engine_end(en);
}

/* A pod without a pause container lives although nothing runs in it. */
static bool is_kept(const struct engine *en)
{
	return en->is_pod && en->sandbox && sandbox_state(en->sandbox) != SANDBOX_STOPPED;
}

/* What `kata` makes, or has made and not started: nobody else will. */
static bool is_never_started(const struct engine *en)
{
	struct container *ct =
		en->self_ending ? container_find(en->sandbox, en->main_container) : NULL;
	struct process *p;
	struct err ignored;

	return ct && process_find(ct, "", &p, &ignored) == 0 &&
	       (process_state(p) == PROCESS_NEW || process_state(p) == PROCESS_CREATED);
}

static bool is_empty(const struct engine *en)
{
	return !en->sandbox || container_count(en->sandbox) == 0 || is_never_started(en);
}

static bool is_idle(const struct engine *en)
{
	return !en->creating && !is_kept(en) && is_empty(en) &&
	       ttrpc_server_connections(en->server) == 0;
}

/*
 * Nobody created anything, or everything has been deleted, and nobody says Shutdown. `kata`
 * that was killed while it made its container does not come back; other callers may.
 */
static void on_idle(struct timer *t)
{
	struct engine *en = container_of(t, struct engine, idle);
	int64_t now = time_mono_ms();

	if (!is_idle(en))
		en->idle_since = 0;
	else if (!en->idle_since)
		en->idle_since = now;
	/* one look may fall between two calls of `kata` */
	if (en->idle_since && (!en->self_ending || now - en->idle_since >= IDLE_KATA_MS)) {
		log_info(NULL, "no client, and nothing runs: ending");
		engine_end(en);
	}
	engine_watch_idle(en);
}

void engine_watch_idle(struct engine *en)
{
	int64_t ms = IDLE_MS;

	if (is_empty(en))
		ms = en->self_ending ? IDLE_KATA_MS : en->no_manager ? IDLE_ALONE_MS : IDLE_MS;
	timer_set(en->loop, &en->idle, deadline_in(ms));
}

static int set_up(struct engine *en, const struct shim_options *o, struct err *e)
{
	sigset_t set;

	/* helpers of helpers (virtiofsd's second process) are reaped here, not by the host's
	 * init */
	if (prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) < 0)
		return err_sys(e, "become a subreaper");
	if (share_enter_namespace(e) < 0 || loop_new(&en->loop, e) < 0 ||
	    child_reaper_init(&en->reaper, en->loop, e) < 0)
		return -1;
	cond_init(&en->created, en->loop);
	(void)sigemptyset(&set);
	(void)sigaddset(&set, SIGTERM);
	(void)sigaddset(&set, SIGINT);
	if (signal_watch_init(&en->signals, en->loop, &set, on_signal, e) < 0)
		return -1;
	if (events_new(en->loop, getenv("TTRPC_ADDRESS") ? getenv("TTRPC_ADDRESS") : "",
		       o->namespace, &en->events, e) < 0)
		return -1;
	task_services(en, en->services);
	en->services[ENGINE_SERVICES - 1] = sandbox_service(en);
	if (ttrpc_server_new(en->loop, fd_take(&en->run.listen_fd), en->services,
			     ENGINE_SERVICES, &en->server, e) < 0)
		return -1;
	en->idle.fire = on_idle;
	engine_watch_idle(en);
	return 0;
}

/* Takes over what `start` has made. */
static int adopt(struct engine *en, const struct shim_options *o, struct err *e)
{
	const char *name = getenv(SHIM_ENV_NAME);
	int listen_fd, lock_fd;

	if (fd_from_env(SHIM_ENV_LISTEN_FD, &listen_fd, e) < 0 ||
	    fd_from_env(SHIM_ENV_LOCK_FD, &lock_fd, e) < 0)
		return -1;
	return rundir_adopt(RUNDIR_BASE, name ? name : o->id, lock_fd, listen_fd, &en->run, e);
}

/* `start` waits for it. */
static void report(int ready_fd, const char *text, size_t len)
{
	struct err ignored;

	(void)fd_write_all(ready_fd, text, len, &ignored);
	(void)close(ready_fd);
}

static int serve(struct engine *en, const struct shim_options *o, int ready_fd, struct err *e)
{
	static const char ready = SHIM_READY;

	if (adopt(en, o, e) < 0 || set_up(en, o, e) < 0) {
		report(ready_fd, e->msg, strlen(e->msg));
		return -1;
	}
	report(ready_fd, &ready, 1);
	return loop_run(en->loop, e);
}

int shim_serve(const struct shim_options *o, struct err *e)
{
	struct engine en = { .id = o->id,
			     .namespace = o->namespace,
			     .run = RUNDIR_INIT,
			     .no_manager = !*o->address };
	int ready_fd, rc;

	if (fd_from_env(SHIM_ENV_READY_FD, &ready_fd, e) < 0)
		return -1;
	engine_log_open(o->debug, o->id);
	(void)umask(0022);
	/* containerd 2 leaves 1024 to its children: four for each process, and more */
	spawn_raise_files(FILES_MAX);
	(void)prctl(PR_SET_NAME, "containerd-shim"); /* as from PATH, not "exe" */
	log_info(NULL, "engine %s (%s) for sandbox '%s' of '%s'", KATA_VERSION, KATA_COMMIT,
		 o->id, o->namespace);
	rc = serve(&en, o, ready_fd, e);
	if (rc < 0)
		log_error(NULL, "%s", e->msg);
	rundir_remove(&en.run);
	log_info(NULL, "engine of sandbox '%s' ends", o->id);
	return rc; /* fibers of clients that still wait end with the process */
}
