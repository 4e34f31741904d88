/* SPDX-License-Identifier: Apache-2.0 */
/* kata exec: a further process in a running container. */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/mem.h"
#include "base/own.h"
#include "base/rand.h"
#include "base/time.h"
#include "cli/cli.h"
#include "cli/console.h"
#include "cli/container_dir.h"
#include "cli/engine_client.h"
#include "cli/signals.h"
#include "cli/spec_build.h"
#include "event/fiber.h"
#include "image/store.h"
#include "oci/spec.h"
#include "task.pb-c.h"
#include "wire/json.h"

enum {
	STATUS_LOST = 255,
	LOST_MS = 5000
};

#define PROCESS_URL "types.containerd.io/opencontainers/runtime-spec/1/Process"

struct options {
	bool interactive, tty, detach;
	const char *workdir, *user;
	struct strv env;
};

#define OPT(n, letter, type, member, value, help)                                              \
	{                                                                                      \
		n, letter, type, offsetof(struct options, member), value, help                 \
	}
static const struct arg_option options[] = {
	OPT("detach", 'd', ARG_FLAG, detach, NULL, "do not wait for it"),
	OPT("interactive", 'i', ARG_FLAG, interactive, NULL, "pass standard input on"),
	OPT("tty", 't', ARG_FLAG, tty, NULL, "give it a terminal"),
	OPT("env", 'e', ARG_LIST, env, "NAME[=VALUE]", "set a variable, or pass ours on"),
	OPT("workdir", 'w', ARG_STRING, workdir, "DIR", "working directory"),
	OPT("user", 'u', ARG_STRING, user, "USER[:GROUP]", "user, by name or number"),
};

struct exec {
	struct cli *cli;
	struct options o;
	struct arena arena;
	struct container_dir dir;
	char id[RAND_HEX_LEN(16)];
	char *const *command;
};

/*
 * For names of users: the image's layers, and above them what the container has written, which
 * may have users of its own.
 */
static int find_image(struct exec *x, struct image **out, struct err *e)
{
	OWN(jval) struct jval *record = NULL;
	OWN(store) struct store *st = NULL;
	const char **layers;
	const char *id;
	size_t n;

	if (!x->o.user)
		return 0;
	if (container_dir_record(&x->dir, &record, e) < 0 ||
	    jval_need_str(record, "image_id", "container.json", &id, e) < 0 ||
	    cli_open_store(x->cli, &st, e) < 0)
		return -1;
	if (store_find(st, id, out, e) < 0)
		return -1;
	n = (*out)->layers.n;
	layers = arena_calloc(&x->arena, n + 1, sizeof(*layers));
	if (!layers)
		return err_oom(e, "a list of layers");
	memcpy(layers, (*out)->layers.v, n * sizeof(*layers));
	layers[n] = arena_printf(&x->arena, "%s/upper", x->dir.path);
	(*out)->layers = (struct string_list){ layers, n + 1 };
	return layers[n] ? 0 : err_oom(e, "a path");
}

static int process_json(struct exec *x, struct buf *out, struct err *e)
{
	struct exec_request q = {
		.terminal = x->o.tty,
		.env = &x->o.env,
		.workdir = x->o.workdir,
		.user = x->o.user,
		.command = x->command,
	};
	OWN(image) struct image *image = NULL;
	Grpc__Process *p;
	Grpc__Spec *spec;

	if (spec_load(x->dir.path, &x->arena, NULL, &spec, e) < 0 ||
	    find_image(x, &image, e) < 0)
		return -1;
	q.spec = spec;
	q.image = image;
	if (exec_build(&q, &x->arena, &p, e) < 0 || process_validate(p, e) < 0)
		return -1;
	return process_print(p, out, e);
}

/* Says of the container what an error of a call for its process means. */
static int explain(struct exec *x, struct err *e)
{
	struct container_state st;
	struct err ignored;

	if ((e->kind == ERR_NOT_FOUND || e->kind == ERR_STATE || e->kind == ERR_PEER) &&
	    container_dir_state(x->cli->loop, &x->dir, &st, &ignored) == 0 &&
	    (st.status == CONTAINER_EXITED || st.status == CONTAINER_DEAD))
		return err_set(e, ERR_STATE, 0, "container '%.12s' is not running", x->dir.id);
	return e->kind == ERR_TIMEOUT ? container_dir_deaf(&x->dir, e) : -1;
}

static int add_exec(struct exec *x, struct engine_client *en, const char *in, const char *out,
		    const char *err_name, struct err *e)
{
	Containerd__Task__ExecProcessRequest req = CONTAINERD__TASK__EXEC_PROCESS_REQUEST__INIT;
	Google__Protobuf__Any any = GOOGLE__PROTOBUF__ANY__INIT;
	OWN(buf) struct buf json = BUF_INIT;

	if (process_json(x, &json, e) < 0)
		return -1;
	any.type_url = (char *)(uintptr_t)PROCESS_URL;
	any.value.data = buf_head(&json);
	any.value.len = buf_len(&json);
	req.id = x->dir.id;
	req.exec_id = x->id;
	req.terminal = x->o.tty;
	req.stdin = (char *)(uintptr_t)in;
	req.stdout = (char *)(uintptr_t)out;
	req.stderr = (char *)(uintptr_t)err_name;
	req.spec = &any;
	return engine_call(en, TASK_EXEC, &req, NULL, NULL, e) < 0 ? explain(x, e) : 0;
}

static int start_exec(struct exec *x, struct engine_client *en, struct err *e)
{
	Containerd__Task__StartRequest req = CONTAINERD__TASK__START_REQUEST__INIT;

	req.id = x->dir.id;
	req.exec_id = x->id;
	return engine_call(en, TASK_START, &req, NULL, NULL, e) < 0 ? explain(x, e) : 0;
}

static void delete_exec(struct exec *x, struct engine_client *en)
{
	Containerd__Task__DeleteRequest req = CONTAINERD__TASK__DELETE_REQUEST__INIT;
	struct err e;

	req.id = x->dir.id;
	req.exec_id = x->id;
	(void)engine_call(en, TASK_DELETE, &req, NULL, NULL, &e);
}

static void kill_exec(struct exec *x, struct engine_client *en)
{
	Containerd__Task__KillRequest req = CONTAINERD__TASK__KILL_REQUEST__INIT;
	struct err e;

	req.id = x->dir.id;
	req.exec_id = x->id;
	req.signal = SIGKILL;
	(void)engine_call(en, TASK_KILL, &req, NULL, NULL, &e);
}

static int start_failed(struct exec *x, struct engine_client *en, int ended_by, struct err *e)
{
	int code = e->kind == ERR_NOT_FOUND
			   ? EXIT_NO_PROGRAM
			   : (e->kind == ERR_DENIED ? EXIT_CANNOT_EXECUTE : EXIT_OURS);

	fiber_shield(x->cli->loop, true);
	if (ended_by)
		kill_exec(x, en); /* it may run by now */
	else
		(void)fprintf(stderr, "kata: %s\n", e->msg);
	delete_exec(x, en);
	fiber_shield(x->cli->loop, false);
	return ended_by ? 128 + ended_by : code;
}

/* 255 may be the program's own; where the machine was lost the engine says so at its end. */
static int lost_or_own(struct exec *x)
{
	int64_t deadline = deadline_in(LOST_MS);
	struct container_state st;
	char why[CONTAINER_WHY_MAX];
	struct err e;

	while (container_dir_state(x->cli->loop, &x->dir, &st, &e) == 0 &&
	       st.status != CONTAINER_RUNNING && st.status != CONTAINER_PAUSED) {
		if (container_dir_why_lost(x->cli->loop, &x->dir, why, sizeof(why))) {
			(void)fprintf(stderr, "kata: %s\n", why);
			return EXIT_OURS;
		}
		if (deadline_left(deadline) == 0 || fiber_sleep(x->cli->loop, 20, &e) < 0)
			break;
	}
	return STATUS_LOST;
}

static int run_in(struct exec *x, struct engine_client *en, struct err *e)
{
	OWN(signals) struct signals signals = { .ended_by = 0 };
	struct console_config cc = {
		.interactive = x->o.interactive,
		.terminal = x->o.tty,
		.dir = x->dir.path,
		.tag = x->id,
		.signals = &signals,
	};
	OWN(console) struct console *c = NULL;
	enum console_end end = CONSOLE_ENDED;
	uint32_t status = 0;

	if (x->o.detach) {
		if (add_exec(x, en, "", "", "", e) < 0)
			return -1;
		return start_exec(x, en, e) < 0 ? start_failed(x, en, 0, e) : 0;
	}
	if (signals_watch(&signals, x->cli->loop, e) < 0 ||
	    console_open(x->cli->loop, &cc, &c, e) < 0 ||
	    add_exec(x, en, console_stdin_name(c), console_stdout_name(c),
		     console_stderr_name(c), e) < 0)
		return -1;
	if (start_exec(x, en, e) < 0)
		return start_failed(x, en, signals.ended_by, e);
	if (console_run(c, en, x->dir.id, x->id, &status, &end, e) < 0)
		return container_dir_blame(x->cli->loop, &x->dir, e);
	if (end != CONSOLE_DETACHED)
		delete_exec(x, en);
	if (end == CONSOLE_ENDED && status == STATUS_LOST)
		return lost_or_own(x);
	return end == CONSOLE_DETACHED ? 0 : (int)status;
}

static int exec_flow(struct exec *x, struct err *e)
{
	OWN(engine_client) struct engine_client *en = NULL;

	if (x->o.detach && x->o.interactive && !x->o.tty)
		return err_set(
			e, ERR_INVALID, 0,
			"--detach and --interactive exclude each other: nobody would write");
	if (x->o.tty && !x->o.detach && x->o.interactive && !isatty(STDIN_FILENO))
		return err_set(e, ERR_INVALID, 0, "--tty: standard input is no terminal");
	if (rand_hex(x->id, 16, e) < 0)
		return -1;
	if (engine_connect(x->cli->loop, x->dir.id, &en, e) < 0)
		return e->kind == ERR_NOT_FOUND
			       ? err_set(e, ERR_STATE, 0, "container '%.12s' is not running",
					 x->dir.id)
			       : -1;
	return run_in(x, en, e);
}

static int run(struct cli *cli, int argc, char **argv, struct err *e)
{
	struct exec x = { .cli = cli };
	int first, rc = -1;

	arena_init(&x.arena, 128 << 20);
	if (verb_parse(&verb_exec, argc, argv, &x.o, &first, 2, -1, e) == 0 &&
	    args_check_text(argc, argv, e) == 0 && env_check(&x.o.env, e) == 0 &&
	    container_dir_find(cli->root, argv[first], &x.dir, e) == 0) {
		x.command = argv + first + 1;
		rc = exec_flow(&x, e);
	}
	container_dir_fini(&x.dir);
	strv_fini(&x.o.env);
	arena_fini(&x.arena);
	return rc;
}

const struct verb verb_exec = {
	.name = "exec",
	.usage = "[options] CONTAINER COMMAND [ARGUMENT …]",
	.help = "run a command in a running container",
	.options = options,
	.option_count = ARRAY_LEN(options),
	.takes_command = true,
	.run = run,
};
