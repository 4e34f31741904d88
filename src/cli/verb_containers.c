/* SPDX-License-Identifier: Apache-2.0 */
/* kata ps, inspect, stop, kill, wait, rm: containers that exist. */
#include <ctype.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/mem.h"
#include "base/own.h"
#include "base/time.h"
#include "cli/cli.h"
#include "cli/container_dir.h"
#include "cli/engine_client.h"
#include "cli/signal_name.h"
#include "cli/table.h"
#include "event/fiber.h"
#include "image/store.h"
#include "oci/spec.h"
#include "sandbox/rundir.h"
#include "task.pb-c.h"
#include "wire/json.h"

enum {
	SHORT_ID = 12,
	STOP_DEFAULT_S = 10,
	KILLED_MS = 10 * 1000,
	MADE_MS = 600 * 1000, /* more than the calls of a `kata run` may take */
	TAIL_MS = 2 * 1000,   /* what is left of the output is read within it, if at all */
	ENGINE_END_MS = 20 * 1000,
	STATUS_LOST = 255
};

/* Runs `each` for every container named, those behind one that fails too. */
static int for_named(struct cli *cli, int argc, char **argv,
		     int (*each)(struct cli *cli, struct container_dir *d, void *arg,
				 struct err *e),
		     void *arg, struct err *e)
{
	struct err kept = ERR_INIT;

	for (int i = 0; i < argc; i++) {
		OWN(container_dir) struct container_dir d = { .path = NULL };

		if (container_dir_find(cli->root, argv[i], &d, e) < 0 ||
		    each(cli, &d, arg, e) < 0)
			cli_keep_failure(&kept, e);
	}
	return cli_kept(&kept, e);
}

/* ---- ps ---- */

struct ps_opts {
	bool all, quiet;
};

static const struct arg_option ps_options[] = {
	{ "all", 'a', ARG_FLAG, offsetof(struct ps_opts, all), NULL,
	  "also those that have ended" },
	{ "quiet", 'q', ARG_FLAG, offsetof(struct ps_opts, quiet), NULL, "ids only" },
};

struct ps {
	struct cli *cli;
	struct ps_opts o;
	struct err *e;
	unsigned failed;
	struct table table;
	int rc;
};

/* One damaged container must not hide the others. */
static int ps_damaged(struct ps *p, const struct container_dir *d)
{
	(void)fprintf(stderr, "kata: container '%.12s': %s\n", d->id, p->e->msg);
	p->failed++;
	return 0;
}

static const char *member(const struct jval *v, const char *key)
{
	const char *s = jval_str(jval_get(v, key));

	return s ? s : "";
}

/* The command as one quoted, shortened text. */
static void command_text(const struct jval *record, char *out, size_t size)
{
	const struct jval *args = jval_get(record, "args");
	char all[256];
	size_t n = 0;

	all[0] = '\0';
	for (size_t i = 0; i < jval_count(args) && n < sizeof(all) - 1; i++) {
		const char *s = jval_str(jval_at(args, i));
		int k = snprintf(all + n, sizeof(all) - n, "%s%s", i ? " " : "", s ? s : "");

		n = k < 0 || (size_t)k >= sizeof(all) - n ? sizeof(all) - 1 : n + (size_t)k;
	}
	(void)str_quote(all, strlen(all), out, size);
}

static void status_text(const struct container_state *st, char *out, size_t size)
{
	if (st->status == CONTAINER_EXITED)
		(void)snprintf(out, size, "exited (%d)", st->exit_status);
	else
		(void)snprintf(out, size, "%s", container_status_name(st->status));
}

static int ps_row(struct container_dir *d, void *arg)
{
	struct ps *p = arg;
	OWN(jval) struct jval *record = NULL;
	struct container_state st;
	char id[SHORT_ID + 1], command[31], created[20], status[24];

	if (container_dir_state(p->cli->loop, d, &st, p->e) < 0)
		return p->e->kind == ERR_NOT_FOUND ? 0 : ps_damaged(p, d);
	if (!p->o.all && st.status != CONTAINER_RUNNING && st.status != CONTAINER_PAUSED &&
	    st.status != CONTAINER_CREATED && st.status != CONTAINER_UNRESPONSIVE)
		return 0;
	if (p->o.quiet) {
		(void)printf("%.*s\n", SHORT_ID, d->id);
		return 0;
	}
	if (container_dir_record(d, &record, p->e) < 0 && st.status != CONTAINER_MAKING)
		return ps_damaged(p, d);
	command_text(record, command, sizeof(command));
	status_text(&st, status, sizeof(status));
	(void)snprintf(id, sizeof(id), "%.*s", SHORT_ID, d->id);
	(void)snprintf(created, sizeof(created), "%s", member(record, "created"));
	p->rc = table_add(&p->table,
			  (const char *const[]){ id, member(record, "image"), command, created,
						 status, member(record, "name") },
			  p->e);
	return p->rc;
}

static int run_ps(struct cli *cli, int argc, char **argv, struct err *e)
{
	static const char *const head[] = { "ID",      "IMAGE",  "COMMAND",
					    "CREATED", "STATUS", "NAME" };
	struct ps p = { .cli = cli, .e = e, .table = { .columns = ARRAY_LEN(head) } };
	int first, rc;

	if (verb_parse(&verb_ps, argc, argv, &p.o, &first, 0, 0, e) < 0)
		return -1;
	rc = p.o.quiet ? 0 : table_add(&p.table, head, e);
	if (rc == 0)
		rc = container_dir_each(cli->root, ps_row, &p, e);
	if (rc == 0 && p.rc == 0)
		table_print(&p.table, stdout);
	table_fini(&p.table);
	if (rc < 0 || p.rc < 0)
		return -1;
	if (p.failed)
		return err_set(e, ERR_INVALID, 0,
			       "%u damaged: `kata rm CONTAINER` removes what is left",
			       p.failed);
	return 0;
}

const struct verb verb_ps = {
	.name = "ps",
	.usage = "[-a] [-q]",
	.help = "list containers",
	.options = ps_options,
	.option_count = ARRAY_LEN(ps_options),
	.run = run_ps,
};

/* ---- inspect ---- */

static int add_spec(const struct container_dir *d, struct jval *v, struct err *e)
{
	OWN(free) char *path = container_dir_file(d, "config.json");
	OWN(jval) struct jval *spec = NULL;

	if (!path)
		return err_oom(e, "a path");
	if (jval_read_file(-1, path, SPEC_MAX_BYTES, &spec, e) < 0)
		return e->kind == ERR_NOT_FOUND ? 0 : -1;
	return jval_set(v, "spec", jval_ref(spec), e);
}

static int inspect_one(struct cli *cli, struct container_dir *d, void *arg, struct err *e)
{
	OWN(jval) struct jval *v = NULL;
	struct jval *state = jval_new_object(), *list = arg;
	struct container_state st;

	if (container_dir_state(cli->loop, d, &st, e) < 0 ||
	    container_dir_record(d, &v, e) < 0) {
		jval_free(state);
		return -1;
	}
	if (jval_set_str(state, "status", container_status_name(st.status), e) < 0 ||
	    jval_set_int(state, "exit_status", st.exit_status, e) < 0 ||
	    jval_set_str(state, "exited_at", st.exited_at, e) < 0 ||
	    jval_set_str(state, "error", st.error, e) < 0 ||
	    jval_set_int(state, "pid", st.pid, e) < 0) {
		jval_free(state);
		return -1;
	}
	if (jval_set(v, "state", state, e) < 0 ||
	    jval_set_str(v, "directory", d->path, e) < 0 || add_spec(d, v, e) < 0)
		return -1;
	return jval_push(list, jval_ref(v), e);
}

static int run_inspect(struct cli *cli, int argc, char **argv, struct err *e)
{
	OWN(jval) struct jval *list = jval_new_array();
	OWN(buf) struct buf text = BUF_INIT;
	int first, unused = 0;

	struct err failed = ERR_INIT;

	if (verb_parse(&verb_inspect, argc, argv, &unused, &first, 1, -1, e) < 0)
		return -1;
	/* those that were found are shown, as docker does */
	if (for_named(cli, argc - first, argv + first, inspect_one, list, &failed) == 0)
		failed = (struct err)ERR_INIT;
	if (jval_print(list, true, &text, e) < 0 || !buf_cstr(&text))
		return -1;
	(void)printf("%s\n", buf_cstr(&text));
	return cli_kept(&failed, e);
}

const struct verb verb_inspect = {
	.name = "inspect",
	.usage = "CONTAINER …",
	.help = "print everything known about containers, as JSON",
	.run = run_inspect,
};

/* ---- signals ---- */

static int not_running(const struct container_dir *d, struct err *e)
{
	return err_set(e, ERR_STATE, 0, "container '%.12s' is not running", d->id);
}

/* ERR_STATE by name if there is no engine. */
static int connect_running(struct cli *cli, struct container_dir *d, struct engine_client **out,
			   struct err *e)
{
	if (engine_connect(cli->loop, d->id, out, e) == 0)
		return 0;
	return e->kind == ERR_NOT_FOUND ? not_running(d, e) : -1;
}

static int send_signal(struct engine_client *en, struct container_dir *d, int sig,
		       struct err *e)
{
	Containerd__Task__KillRequest req = CONTAINERD__TASK__KILL_REQUEST__INIT;

	req.id = d->id;
	req.signal = (uint32_t)sig;
	if (engine_call(en, TASK_KILL, &req, NULL, NULL, e) == 0)
		return 0;
	if (e->kind == ERR_NOT_FOUND) /* its engine is about to end */
		return not_running(d, e);
	return e->kind == ERR_TIMEOUT || e->kind == ERR_CANCELLED ? container_dir_deaf(d, e)
								  : -1;
}

struct kill_opts {
	const char *signal;
};

static const struct arg_option kill_options[] = {
	{ "signal", 's', ARG_STRING, offsetof(struct kill_opts, signal), "SIGNAL",
	  "name or number (KILL)" },
};

static int kill_one(struct cli *cli, struct container_dir *d, void *arg, struct err *e)
{
	OWN(engine_client) struct engine_client *en = NULL;

	if (connect_running(cli, d, &en, e) < 0 || send_signal(en, d, *(int *)arg, e) < 0)
		return -1;
	(void)printf("%.*s\n", SHORT_ID, d->id);
	return 0;
}

static int run_kill(struct cli *cli, int argc, char **argv, struct err *e)
{
	struct kill_opts o = { .signal = "KILL" };
	int first, sig;

	if (verb_parse(&verb_kill, argc, argv, &o, &first, 1, -1, e) < 0 ||
	    signal_parse(o.signal, &sig, e) < 0)
		return -1;
	return for_named(cli, argc - first, argv + first, kill_one, &sig, e);
}

const struct verb verb_kill = {
	.name = "kill",
	.usage = "[-s SIGNAL] CONTAINER …",
	.help = "send a signal to a container's first process",
	.options = kill_options,
	.option_count = ARRAY_LEN(kill_options),
	.run = run_kill,
};

/* ---- the end of a container ---- */

/* Waits until the engine has taken everything down. */
static int wait_engine_end(struct cli *cli, struct container_dir *d, int64_t timeout_ms,
			   struct err *e)
{
	int64_t deadline = deadline_in(timeout_ms);

	for (;;) {
		OWN(engine_client) struct engine_client *en = NULL;

		if (engine_connect(cli->loop, d->id, &en, e) < 0) {
			if (e->kind != ERR_NOT_FOUND)
				return -1;
			return 0;
		}
		if (deadline_left(deadline) == 0)
			return err_set(e, ERR_TIMEOUT, 0, "container '%.12s' does not end",
				       d->id);
		if (fiber_sleep(cli->loop, 10, e) < 0)
			return -1;
	}
}

/*
 * Kills it; where the guest does not take even that, the engine takes the machine down. What
 * has ended, or did not answer a signal before, gets none (`no_signal`).
 */
static int end_by_force(struct cli *cli, struct container_dir *d, struct engine_client *en,
			bool no_signal, struct err *e)
{
	Containerd__Task__ShutdownRequest req = CONTAINERD__TASK__SHUTDOWN_REQUEST__INIT;
	bool killed = false;

	if (!no_signal && (send_signal(en, d, SIGKILL, e) == 0 || e->kind == ERR_STATE ||
			   e->kind == ERR_PEER)) {
		if (wait_engine_end(cli, d, KILLED_MS, e) == 0)
			return 0;
	}
	req.id = d->id;
	req.now = true;
	if (engine_call(en, TASK_SHUTDOWN, &req, NULL, NULL, e) < 0 && e->kind != ERR_PEER) {
		/* its machine and helpers go with it */
		if (e->kind != ERR_TIMEOUT || engine_kill(d->path, d->id, e) < 0)
			return err_wrap(e, "container '%.12s'", d->id);
		(void)fprintf(stderr,
			      "kata: container '%.12s': its engine did not answer and was "
			      "killed\n",
			      d->id);
		killed = true;
	}
	if (wait_engine_end(cli, d, ENGINE_END_MS, e) < 0)
		return -1;
	if (killed)
		(void)rundir_sweep(RUNDIR_BASE);
	return 0;
}

struct stop_opts {
	const char *time;
};

static const struct arg_option stop_options[] = {
	{ "time", 't', ARG_STRING, offsetof(struct stop_opts, time), "SECONDS",
	  "how long to wait before SIGKILL (10)" },
};

/* While its `kata run` is at it, a container can be neither stopped nor waited for. */
static int wait_made(struct cli *cli, struct container_dir *d, struct err *e)
{
	int64_t deadline = deadline_in(MADE_MS);
	struct container_state st;

	for (;;) {
		if (container_dir_state(cli->loop, d, &st, e) < 0)
			return -1;
		if (st.status != CONTAINER_MAKING || !container_dir_is_attached(d))
			return 0;
		if (deadline_left(deadline) == 0)
			return err_set(e, ERR_TIMEOUT, 0,
				       "container '%.12s' is still being made: end its `kata "
				       "run` first",
				       d->id);
		if (fiber_sleep(cli->loop, 20, e) < 0)
			return -1;
	}
}

/* What its image says is to be sent; SIGTERM unless that is a signal. */
static int stop_signal_of(const struct container_dir *d)
{
	OWN(jval) struct jval *v = NULL;
	struct err ignored;
	const char *name;
	int sig;

	if (container_dir_record(d, &v, &ignored) < 0)
		return SIGTERM;
	name = jval_str(jval_get(v, "stop_signal"));
	return name && *name && signal_parse(name, &sig, &ignored) == 0 ? sig : SIGTERM;
}

static int stop_one(struct cli *cli, struct container_dir *d, void *arg, struct err *e)
{
	OWN(engine_client) struct engine_client *en = NULL;
	int64_t seconds = *(int64_t *)arg;
	bool is_deaf = false;

	if (wait_made(cli, d, e) < 0)
		return -1;
	if (engine_connect(cli->loop, d->id, &en, e) < 0) {
		if (e->kind != ERR_NOT_FOUND)
			return -1;
		(void)printf("%.*s\n", SHORT_ID, d->id); /* it has ended, as was asked */
		return 0;
	}
	if (send_signal(en, d, stop_signal_of(d), e) < 0 && e->kind != ERR_STATE &&
	    e->kind != ERR_PEER) {
		is_deaf = e->kind == ERR_TIMEOUT || e->kind == ERR_CANCELLED;
		if (!is_deaf)
			return -1;
	}
	if (wait_engine_end(cli, d, seconds * 1000, e) < 0 &&
	    (e->kind != ERR_TIMEOUT || end_by_force(cli, d, en, is_deaf, e) < 0))
		return -1;
	(void)printf("%.*s\n", SHORT_ID, d->id);
	return 0;
}

static int run_stop(struct cli *cli, int argc, char **argv, struct err *e)
{
	struct stop_opts o = { 0 };
	int64_t seconds = STOP_DEFAULT_S;
	int first;

	if (verb_parse(&verb_stop, argc, argv, &o, &first, 1, -1, e) < 0)
		return -1;
	if (o.time && str_to_i64(o.time, 0, 86400, "--time", &seconds, e) < 0)
		return -1;
	return for_named(cli, argc - first, argv + first, stop_one, &seconds, e);
}

const struct verb verb_stop = {
	.name = "stop",
	.usage = "[-t SECONDS] CONTAINER …",
	.help = "stop containers: the image's stop signal or SIGTERM, later SIGKILL",
	.options = stop_options,
	.option_count = ARRAY_LEN(stop_options),
	.run = run_stop,
};

/* The exit status from a living engine, or recorded. */
static int wait_status(struct cli *cli, struct container_dir *d, int *status, struct err *e)
{
	OWN(engine_client) struct engine_client *en = NULL;
	struct container_state st;
	uint32_t told;

	if (engine_connect(cli->loop, d->id, &en, e) < 0 && e->kind != ERR_NOT_FOUND)
		return -1;
	if (en) {
		if (engine_wait(en, d->id, "", &told, e) == 0) {
			*status = (int)told;
			return 0;
		}
		if (e->kind != ERR_PEER && e->kind != ERR_NOT_FOUND)
			return -1;
	}
	if (container_dir_state(cli->loop, d, &st, e) < 0)
		return -1;
	*status = st.exit_status;
	return 0;
}

/* A status may be the workload's own; where its machine was lost, the reason is recorded. */
static void say_why(struct cli *cli, struct container_dir *d)
{
	char why[CONTAINER_WHY_MAX];
	struct err ignored;

	(void)wait_engine_end(cli, d, KILLED_MS, &ignored);
	if (container_dir_why_lost(cli->loop, d, why, sizeof(why)))
		(void)fprintf(stderr, "kata: %s\n", why);
}

static int wait_one(struct cli *cli, struct container_dir *d, void *arg, struct err *e)
{
	int status;

	(void)arg;
	if (wait_made(cli, d, e) < 0 || wait_status(cli, d, &status, e) < 0)
		return -1;
	if (status == STATUS_LOST)
		say_why(cli, d);
	(void)printf("%d\n", status);
	return 0;
}

static int run_wait(struct cli *cli, int argc, char **argv, struct err *e)
{
	int first, unused = 0;

	if (verb_parse(&verb_wait, argc, argv, &unused, &first, 1, -1, e) < 0)
		return -1;
	return for_named(cli, argc - first, argv + first, wait_one, NULL, e);
}

const struct verb verb_wait = {
	.name = "wait",
	.usage = "CONTAINER …",
	.help = "wait until containers have ended and print their exit status",
	.run = run_wait,
};

/* ---- rm ---- */

struct rm_opts {
	bool force, ended;
};

static const struct arg_option rm_options[] = {
	{ "force", 'f', ARG_FLAG, offsetof(struct rm_opts, force), NULL,
	  "kill it first if it runs" },
	{ "ended", 0, ARG_FLAG, offsetof(struct rm_opts, ended), NULL,
	  "it has ended, its engine is about to (for the engine's own use)" },
};

static int end_first(struct cli *cli, struct container_dir *d, const struct rm_opts *o,
		     struct err *e)
{
	OWN(engine_client) struct engine_client *en = NULL;
	struct container_state st;

	if (container_dir_state(cli->loop, d, &st, e) < 0) {
		/* what is damaged or a mere name can be removed, unless an engine has it */
		if (o->ended || (e->kind != ERR_INVALID && e->kind != ERR_NOT_FOUND))
			return -1;
		st.status = CONTAINER_DEAD;
	}
	if (o->ended) /* the engine has recorded that before it runs its hooks */
		return st.status == CONTAINER_EXITED
			       ? 0
			       : err_set(e, ERR_STATE, 0,
					 "container '%.12s' is %s: --ended is "
					 "for the engine's own use",
					 d->id, container_status_name(st.status));
	if (st.status == CONTAINER_MAKING && container_dir_is_attached(d))
		return err_set(e, ERR_STATE, 0,
			       "container '%.12s' is being made: end its `kata run` first",
			       d->id);
	/*
	 * `kata wait` answers before the engine has put everything away. It does not do so
	 * while somebody is slow to take the output, which --force does not wait for.
	 */
	if (st.status == CONTAINER_EXITED &&
	    wait_engine_end(cli, d, o->force ? TAIL_MS : ENGINE_END_MS, e) == 0)
		return 0;
	if (st.status == CONTAINER_EXITED && (e->kind != ERR_TIMEOUT || !o->force))
		return -1;
	if (engine_connect(cli->loop, d->id, &en, e) < 0)
		return e->kind == ERR_NOT_FOUND ? 0 : -1;
	if (!o->force)
		return err_set(e, ERR_STATE, 0,
			       "container '%.12s' is running: stop it first, or use --force",
			       d->id);
	return end_by_force(cli, d, en, st.status == CONTAINER_EXITED, e);
}

static int rm_one(struct cli *cli, struct container_dir *d, void *arg, struct err *e)
{
	OWN(store) struct store *st = NULL;
	const struct rm_opts *o = arg;

	if (o->ended && container_dir_is_attached(d))
		return 0; /* whoever waits for it removes it */
	if (end_first(cli, d, o, e) < 0 || cli_open_store(cli, &st, e) < 0)
		return -1;
	/* in this order: of a lease without its container nobody would know */
	if (store_unlease(st, d->id, e) < 0 || container_dir_remove(d, e) < 0)
		return -1;
	(void)printf("%.*s\n", SHORT_ID, d->id);
	return 0;
}

static int run_rm(struct cli *cli, int argc, char **argv, struct err *e)
{
	struct rm_opts o = { 0 };
	int first;

	if (verb_parse(&verb_rm, argc, argv, &o, &first, 1, -1, e) < 0)
		return -1;
	return for_named(cli, argc - first, argv + first, rm_one, &o, e);
}

const struct verb verb_rm = {
	.name = "rm",
	.usage = "[-f] CONTAINER …",
	.help = "remove containers that have ended",
	.options = rm_options,
	.option_count = ARRAY_LEN(rm_options),
	.run = run_rm,
};
