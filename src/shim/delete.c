/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `delete`, which is called when the engine cannot be reached: it takes away
 * what is left, and the engine itself if it lives on. What it is about may be one container of
 * a living pod: then only that one goes.
 */
#include <limits.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/fd.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/own.h"
#include "base/path.h"
#include "base/str.h"
#include "base/time.h"
#include "event/child.h"
#include "event/fiber.h"
#include "event/loop.h"
#include "oci/spec.h"
#include "sandbox/hooks.h"
#include "sandbox/rundir.h"
#include "shim/actions.h"
#include "shim/engine_log.h"
#include "shim/options.h"
#include "task.pb-c.h"
#include "wire/message.h"
#include "wire/ttrpc.h"
#include "wire/unix_socket.h"

enum {
	STATUS_KILLED = 137,
	KILL_MS = 5000,
	CALL_MS = 10 * 1000
};

int shim_print_message(const ProtobufCMessage *m, struct err *e)
{
	OWN(buf) struct buf out = BUF_INIT;

	if (message_encode(m, &out, e) < 0)
		return -1;
	return fd_write_all(STDOUT_FILENO, buf_head(&out), buf_len(&out), e);
}

/* ---- one container of a living pod ---- */

struct removal {
	struct loop *loop;
	const char *container_id;
	char *socket_path;
	bool failed;
};

static int remove_calls(struct ttrpc_conn *c, const struct removal *r, struct err *e)
{
	static const struct ttrpc_method kill_method = {
		"Kill", &containerd__task__kill_request__descriptor,
		&google__protobuf__empty__descriptor, NULL
	};
	static const struct ttrpc_method wait_method = {
		"Wait", &containerd__task__wait_request__descriptor,
		&containerd__task__wait_response__descriptor, NULL
	};
	static const struct ttrpc_method delete_method = {
		"Delete", &containerd__task__delete_request__descriptor,
		&containerd__task__delete_response__descriptor, NULL
	};
	Containerd__Task__KillRequest k = CONTAINERD__TASK__KILL_REQUEST__INIT;
	Containerd__Task__WaitRequest w = CONTAINERD__TASK__WAIT_REQUEST__INIT;
	Containerd__Task__DeleteRequest d = CONTAINERD__TASK__DELETE_REQUEST__INIT;
	const char *service = "containerd.task.v2.Task";

	k.id = w.id = d.id = (char *)(uintptr_t)r->container_id;
	k.signal = SIGKILL;
	k.all = true;
	if (ttrpc_call(c, service, &kill_method, &k, CALL_MS, NULL, NULL, e) == 0 &&
	    ttrpc_call(c, service, &wait_method, &w, CALL_MS, NULL, NULL, e) < 0)
		return -1;
	if (ttrpc_call(c, service, &delete_method, &d, CALL_MS, NULL, NULL, e) < 0 &&
	    e->kind != ERR_NOT_FOUND)
		return -1;
	return 0;
}

static void remove_run(void *arg)
{
	OWN(ttrpc_conn) struct ttrpc_conn *c = NULL;
	struct ttrpc_options o = { 0 };
	struct removal *r = arg;
	struct err e;
	int fd;

	if (unix_connect(r->socket_path, &fd, &e) < 0 ||
	    ttrpc_conn_new(r->loop, fd, &o, &c, &e) < 0 || remove_calls(c, r, &e) < 0) {
		log_warn(NULL, "removing container '%s' from its pod: %s", r->container_id,
			 e.msg);
		r->failed = true;
	}
}

static int remove_from_pod(const struct shim_options *o, const char *name, bool *lives,
			   struct err *e)
{
	OWN(free) char *path = NULL;
	struct removal r = { .container_id = o->id };
	int rc;

	if (rundir_socket_path(RUNDIR_BASE, name, &path, e) < 0 || loop_new(&r.loop, e) < 0)
		return -1;
	r.socket_path = path;
	rc = fiber_main(r.loop, remove_run, &r, e);
	loop_free(r.loop);
	*lives = r.failed;
	return rc;
}

/* ---- what its hooks are to undo ---- */

struct undoing {
	struct hook_owner owner;
	struct child_reaper reaper;
};

static void undo_run(void *arg)
{
	struct undoing *u = arg;

	hooks_run_poststop(&u->owner);
}

/* The engine was killed before it could run them. */
static void undo_hooks(const struct shim_options *o, const char *bundle)
{
	OWN(arena) struct arena a = { .limit = SPEC_ARENA_BYTES };
	struct undoing u = { .owner = { .id = o->id, .bundle = bundle } };
	Grpc__Spec *spec;
	struct err e;
	int rc;

	if (!hooks_poststop_is_due(bundle))
		return;
	if (spec_load(bundle, &a, NULL, &spec, &e) < 0 || loop_new(&u.owner.loop, &e) < 0) {
		log_warn(NULL, "poststop hooks: %s", e.msg);
		return;
	}
	u.owner.spec = spec;
	u.owner.reaper = &u.reaper;
	rc = child_reaper_init(&u.reaper, u.owner.loop, &e);
	if (rc == 0) {
		rc = fiber_main(u.owner.loop, undo_run, &u, &e);
		child_reaper_fini(&u.reaper);
	}
	loop_free(u.owner.loop);
	if (rc < 0)
		log_warn(NULL, "poststop hooks: %s", e.msg);
}

/* ---- the whole ---- */

/*
 * What is not there needs no removing: only what is there and stays is an error. *lives: its
 * pod does, and did not let it go.
 */
static int clean_up(const struct shim_options *o, const char *cwd, bool *lives, struct err *e)
{
	struct rundir_owner owner = { .namespace = o->namespace, .address = o->address };
	OWN(free) char *id = NULL;
	OWN(free) char *name = NULL;
	struct err none;
	bool joins = false;

	if (shim_sandbox_of(o, &id, &joins, &none) < 0) {
		log_warn(NULL, "bundle of '%s': %s", o->id, none.msg);
		id = strdup(o->id);
	}
	if (!id)
		return err_oom(e, "an id");
	if (joins)
		engine_log_name(id, o->id);
	(void)rundir_sweep(RUNDIR_BASE);
	if (rundir_find(RUNDIR_BASE, id, &owner, &name, &none) < 0)
		return 0;
	if (joins)
		return remove_from_pod(o, name, lives, e);
	if (rundir_kill(RUNDIR_BASE, name, cwd, KILL_MS, e) < 0)
		return -1;
	(void)rundir_sweep(RUNDIR_BASE);
	return 0;
}

int shim_delete(const struct shim_options *o, struct err *e)
{
	Containerd__Task__DeleteResponse resp = CONTAINERD__TASK__DELETE_RESPONSE__INIT;
	Google__Protobuf__Timestamp at = GOOGLE__PROTOBUF__TIMESTAMP__INIT;
	OWN(free) char *cwd = NULL;
	bool lives = false;
	int64_t now = time_wall_ns();

	if (shim_check_ids(o, e) < 0)
		return -1;
	if (*o->bundle && chdir(o->bundle) < 0)
		return err_sys(e, "bundle '%s'", o->bundle);
	engine_log_open(o->debug, o->id);
	cwd = getcwd(NULL, 0);
	if (!cwd)
		return err_sys(e, "current directory");
	if (clean_up(o, cwd, &lives, e) < 0)
		return -1;
	if (!lives)
		undo_hooks(o, cwd);
	at.seconds = now / 1000000000;
	at.nanos = (int32_t)(now % 1000000000);
	resp.exit_status = STATUS_KILLED;
	resp.exited_at = &at;
	return shim_print_message(&resp.base, e);
}
