/* SPDX-License-Identifier: Apache-2.0 */
/* Running host hooks. */
#include "sandbox/hooks.h"

#include <errno.h>
#include <fcntl.h>
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
#include "base/str.h"
#include "base/time.h"
#include "event/child.h"
#include "event/fiber.h"
#include "event/spawn.h"
#include "wire/json.h"

enum {
	DEFAULT_TIMEOUT_S = 600,
	STDERR_KEEP = 4096,
	KILL_MS = 2000
};

static int state_json(const struct hook_owner *o, const char *status, struct buf *out,
		      struct err *e)
{
	OWN(jval) struct jval *v = jval_new_object();
	struct jval *notes = jval_new_object();
	int rc = 0;

	for (size_t i = 0; rc == 0 && i < o->spec->n_annotations; i++)
		rc = jval_set_str(notes, o->spec->annotations[i]->key,
				  o->spec->annotations[i]->value, e);
	if (jval_set(v, "annotations", notes, e) < 0 || rc < 0 ||
	    jval_set_str(v, "ociVersion", o->spec->version, e) < 0 ||
	    jval_set_str(v, "id", o->id, e) < 0 || jval_set_str(v, "status", status, e) < 0 ||
	    jval_set_int(v, "pid", o->pid, e) < 0 ||
	    jval_set_str(v, "bundle", o->bundle, e) < 0)
		return -1;
	return jval_print(v, false, out, e);
}

struct hook_run {
	struct loop *loop;
	struct child child;
	int in_wr, err_rd;
	int64_t deadline;
	bool ended; /* by itself */
	char last[STDERR_KEEP];
	size_t len;
};

/* A list of the specification as exec takes it: with a NULL at its end. */
static char **null_ended(char *const *list, size_t n)
{
	char **out = mem_calloc(n + 1, sizeof(*out));

	if (out && n)
		memcpy(out, list, n * sizeof(*out));
	return out;
}

static int hook_spawn(const struct hook_owner *o, const Grpc__Hook *h, struct hook_run *r,
		      struct err *e)
{
	char *const plain[] = { h->path };
	OWN(free)
	char **argv = null_ended(h->n_args ? h->args : plain, h->n_args ? h->n_args : 1);
	OWN(free) char **envp = null_ended(h->env, h->n_env);
	struct spawn sp = SPAWN_INIT;
	OWN(fd) int in_rd = -1;
	OWN(fd) int err_wr = -1;
	pid_t pid;
	int p[2];

	if (!argv || !envp)
		return err_oom(e, "a hook");
	if (fd_pipe(p, e) < 0)
		return -1;
	in_rd = p[0];
	r->in_wr = p[1];
	if (fd_pipe(p, e) < 0)
		return -1;
	r->err_rd = p[0];
	err_wr = p[1];
	if (fd_set_nonblock(r->in_wr, true, e) < 0 || fd_set_nonblock(r->err_rd, true, e) < 0)
		return -1;
	sp.path = h->path;
	sp.argv = argv;
	sp.envp = h->n_env ? envp : NULL;
	sp.stdin_fd = in_rd;
	sp.stderr_fd = err_wr;
	sp.new_session = true;
	if (spawn_run(&sp, &pid, e) < 0)
		return -1;
	child_watch(o->reaper, &r->child, pid, NULL);
	return 0;
}

/* Reads what the hook says, keeping the end of it, until it has closed its stderr. */
static int hook_listen(struct hook_run *r, struct err *e)
{
	char block[1024];
	size_t got = 1;

	while (got) {
		if (fiber_read(r->loop, r->err_rd, block, sizeof(block), r->deadline, &got, e) <
		    0)
			return -1;
		if (r->len + got > sizeof(r->last)) {
			size_t drop = r->len + got - sizeof(r->last);

			memmove(r->last, r->last + drop, r->len - drop);
			r->len -= drop;
		}
		memcpy(r->last + r->len, block, got);
		r->len += got;
	}
	return 0;
}

static const char *hook_words(struct hook_run *r, char *out, size_t size)
{
	while (r->len && r->last[r->len - 1] == '\n')
		r->len--;
	return str_quote(r->last, r->len, out, size);
}

static int hook_follow(struct hook_run *r, const struct buf *state, struct err *e)
{
	char words[400];

	/* one that does not read its state has closed the pipe: that is its own affair */
	if (fiber_write_all(r->loop, r->in_wr, buf_head(state), buf_len(state), r->deadline,
			    e) < 0 &&
	    !(e->kind == ERR_SYS && e->sys == EPIPE))
		return -1;
	fd_close(&r->in_wr);
	if (hook_listen(r, e) < 0 || child_wait(&r->child, r->deadline, e) < 0)
		return -1;
	r->ended = true;
	if (r->child.status == 0)
		return 0;
	return err_set(e, ERR_SYS, 0, "ended with status %d%s%s",
		       child_exit_code(r->child.status), r->len ? ": " : "",
		       hook_words(r, words, sizeof(words)));
}

int64_t hooks_timeout_s(const Grpc__Hook *h)
{
	return h->timeout > 0 ? h->timeout : DEFAULT_TIMEOUT_S;
}

static int hook_overdue(struct hook_run *r, const Grpc__Hook *h, struct err *e)
{
	char words[400];

	return err_set(e, ERR_TIMEOUT, 0,
		       "did not end, with its stderr closed, in %lld s (%s)%s%s",
		       (long long)hooks_timeout_s(h),
		       h->timeout > 0 ? "its timeout" : "its timeout may be set",
		       r->len ? ": " : "", hook_words(r, words, sizeof(words)));
}

/* The hook's whole session, also what is left in it when the hook itself has ended. */
static void hook_kill(struct hook_run *r)
{
	struct err ignored;
	pid_t pid = r->child.pid;

	if (!r->child.exited)
		(void)child_kill_group(&r->child, SIGKILL, &ignored);
	else if (kill(pid, 0) < 0 && errno == ESRCH) /* no new process has that number */
		(void)kill(-pid, SIGKILL);
}

static int hook_one(const struct hook_owner *o, const Grpc__Hook *h, const struct buf *state,
		    struct err *e)
{
	struct hook_run r = { .loop = o->loop, .in_wr = -1, .err_rd = -1 };
	struct err ignored;
	int rc;

	r.deadline = deadline_in(hooks_timeout_s(h) * 1000);
	rc = hook_spawn(o, h, &r, e);
	if (rc == 0) {
		rc = hook_follow(&r, state, e);
		if (rc < 0 && e->kind == ERR_TIMEOUT)
			(void)hook_overdue(&r, h, e);
		if (!r.ended)
			hook_kill(&r);
	}
	/* it lives on this stack: nobody may know it afterwards, whatever has been cancelled */
	fiber_shield(r.loop, true);
	(void)child_end(&r.child, KILL_MS, &ignored);
	fiber_shield(r.loop, false);
	child_unwatch(&r.child);
	fd_close(&r.in_wr);
	fd_close(&r.err_rd);
	return rc;
}

int hooks_run(const struct hook_owner *o, Grpc__Hook *const *hooks, size_t count,
	      const char *status, const char *kind, struct err *e)
{
	OWN(buf) struct buf state = BUF_INIT;

	if (count == 0)
		return 0;
	if (state_json(o, status, &state, e) < 0)
		return -1;
	for (size_t i = 0; i < count; i++) {
		if (hook_one(o, hooks[i], &state, e) < 0)
			return err_wrap(e, "%s hook '%s'", kind, hooks[i]->path);
	}
	return 0;
}

/* ---- what is due when all is over ---- */

#define MARK "kata-poststop"

static int open_bundle(const char *bundle)
{
	return open(bundle, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
}

int hooks_mark_poststop(const struct hook_owner *o, struct err *e)
{
	OWN(fd) int dir = -1;

	if (!o->spec->hooks || !o->spec->hooks->n_poststop)
		return 0;
	dir = open_bundle(o->bundle);
	if (dir < 0)
		return err_sys(e, "bundle '%.200s'", o->bundle);
	if (file_replace(dir, MARK, "", 0, 0600, false, e) < 0)
		return err_wrap(e, "remember in '%.200s' that poststop hooks are due",
				o->bundle);
	return 0;
}

bool hooks_poststop_is_due(const char *bundle)
{
	OWN(fd) int dir = open_bundle(bundle);

	return dir >= 0 && faccessat(dir, MARK, F_OK, AT_SYMLINK_NOFOLLOW) == 0;
}

void hooks_run_poststop(const struct hook_owner *o)
{
	const Grpc__Hooks *h = o->spec->hooks;
	const struct log_ctx log = { .container = o->id };
	OWN(fd) int dir = open_bundle(o->bundle);
	struct err e;

	for (size_t i = 0; h && i < h->n_poststop; i++) {
		if (hooks_run(o, h->poststop + i, 1, "stopped", "poststop", &e) < 0)
			log_warn(&log, "%s", e.msg);
	}
	if (dir >= 0)
		(void)unlinkat(dir, MARK, 0);
}
