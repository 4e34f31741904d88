/* SPDX-License-Identifier: Apache-2.0 */
/* Task API client. */
#include "cli/engine_client.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/fd.h"
#include "base/mem.h"
#include "base/str.h"
#include "base/sys.h"
#include "base/time.h"
#include "config/paths.h"
#include "event/fiber.h"
#include "event/signal.h"
#include "sandbox/rundir.h"
#include "task.pb-c.h"
#include "wire/ttrpc.h"
#include "wire/unix_socket.h"

enum {
	START_MS = 60 * 1000,
	CONNECT_MS = 5 * 1000,
	CONNECT_PAUSE_MS = 20,
	CALL_MS = 30 * 1000,
	STATE_MS =
		5 * 1000, /* known without the guest: who is slow with that is asked by many */
	LOOK_MS = 60 * 1000, /* between two looks whether the engine lives, in a wait */
	KILL_MS = 8 * 1000, /* a guest that takes no signal is ended otherwise; Shutdown answers
			       at once */
	/* with the wait for other machines to start, a kernel's trial, which another start may
	   be at before, and its own */
	CREATE_MS = 620 * 1000,
	OUTPUT_MAX = 16 * 1024
};

#define SERVICE "containerd.task.v2.Task"

#define EMPTY      &google__protobuf__empty__descriptor
#define REQ(type)  &containerd__task__##type##_request__descriptor
#define RESP(type) &containerd__task__##type##_response__descriptor

static const struct {
	struct ttrpc_method method;
	int64_t timeout_ms;
} rows[] = {
	[TASK_STATE] = { { "State", REQ(state), RESP(state), NULL }, STATE_MS },
	[TASK_CREATE] = { { "Create", REQ(create_task), RESP(create_task), NULL }, CREATE_MS },
	[TASK_START] = { { "Start", REQ(start), RESP(start), NULL }, CALL_MS },
	[TASK_DELETE] = { { "Delete", REQ(delete), RESP(delete), NULL }, CALL_MS },
	[TASK_KILL] = { { "Kill", REQ(kill), EMPTY, NULL }, KILL_MS },
	[TASK_EXEC] = { { "Exec", REQ(exec_process), EMPTY, NULL }, CALL_MS },
	[TASK_RESIZE_PTY] = { { "ResizePty", REQ(resize_pty), EMPTY, NULL }, CALL_MS },
	[TASK_CLOSE_IO] = { { "CloseIO", &containerd__task__close_iorequest__descriptor, EMPTY,
			      NULL },
			    CALL_MS },
	[TASK_WAIT] = { { "Wait", REQ(wait), RESP(wait), NULL }, LOOK_MS },
	[TASK_CONNECT] = { { "Connect", REQ(connect), RESP(connect), NULL }, CALL_MS },
	[TASK_SHUTDOWN] = { { "Shutdown", REQ(shutdown), EMPTY, NULL }, KILL_MS },
};
static_assert(ARRAY_LEN(rows) == TASK_METHOD_COUNT_, "every method needs a row");

struct engine_client {
	struct ttrpc_conn *conn;
};

static int client_new(struct loop *l, const char *address, struct engine_client **out,
		      struct err *e)
{
	OWN(free) struct engine_client *c = mem_new(struct engine_client);
	struct ttrpc_options o = { 0 };
	int fd;

	if (!c)
		return err_oom(e, "an engine's client");
	if (unix_connect(address, &fd, e) < 0 || ttrpc_conn_new(l, fd, &o, &c->conn, e) < 0)
		return -1;
	*out = TAKE(c);
	return 0;
}

/* An engine that has been busy finds a queue of callers: whoever finds it full waits a little.
 */
static int connect_patiently(struct loop *l, const char *path, struct engine_client **out,
			     struct err *e)
{
	int64_t deadline = deadline_in(CONNECT_MS);

	while (client_new(l, path, out, e) < 0) {
		if (e->kind != ERR_SYS || e->sys != EAGAIN)
			return -1;
		if (deadline_left(deadline) == 0)
			return err_set(e, ERR_TIMEOUT, 0, "the engine at '%s' does not answer",
				       path);
		if (fiber_sleep(l, CONNECT_PAUSE_MS, e) < 0)
			return -1;
	}
	return 0;
}

int engine_connect(struct loop *l, const char *id, struct engine_client **out, struct err *e)
{
	OWN(free) char *path = NULL;

	if (rundir_socket_path(RUNDIR_BASE, id, &path, e) < 0)
		return -1;
	return connect_patiently(l, path, out, e);
}

void engine_client_free(struct engine_client *c)
{
	if (!c)
		return;
	ttrpc_conn_free(c->conn);
	free(c);
}

bool engine_is_gone(const struct engine_client *c)
{
	return !ttrpc_conn_is_open(c->conn);
}

int engine_call(struct engine_client *c, enum task_method m, const void *request,
		struct arena *a, void *response_out, struct err *e)
{
	return ttrpc_call(c->conn, SERVICE, &rows[m].method, request, rows[m].timeout_ms, a,
			  response_out, e);
}

/* Whether the engine answers anything. It may be slow: who takes it for dead leaves it. */
static int look(struct engine_client *c, const char *id, struct err *e)
{
	Containerd__Task__StateRequest req = CONTAINERD__TASK__STATE_REQUEST__INIT;
	OWN(arena) struct arena a = { .limit = 64 * 1024 };
	Containerd__Task__StateResponse *resp;

	req.id = (char *)(uintptr_t)id;
	if (ttrpc_call(c->conn, SERVICE, &rows[TASK_STATE].method, &req, CALL_MS, &a, &resp,
		       e) == 0 ||
	    e->kind != ERR_TIMEOUT)
		return 0; /* what is wrong, the next Wait says */
	return err_set(e, ERR_TIMEOUT, 0,
		       "container '%.12s': its engine does not answer, `kata rm -f` ends it",
		       id);
}

int engine_wait(struct engine_client *c, const char *id, const char *exec_id, uint32_t *status,
		struct err *e)
{
	Containerd__Task__WaitRequest req = CONTAINERD__TASK__WAIT_REQUEST__INIT;

	req.id = (char *)(uintptr_t)id;
	req.exec_id = (char *)(uintptr_t)exec_id;
	for (;;) {
		OWN(arena) struct arena a = { .limit = 64 * 1024 };
		Containerd__Task__WaitResponse *resp;

		err_clear(e); /* of the round before: who waits looks at it, too */
		if (engine_call(c, TASK_WAIT, &req, &a, &resp, e) == 0) {
			*status = resp->exit_status;
			return 0;
		}
		if (e->kind != ERR_TIMEOUT || look(c, id, e) < 0)
			return -1;
	}
}

/* Whether the process is the engine of that id: the number may be another's by now. */
static bool is_engine(pid_t pid, const char *id)
{
	OWN(free) char *args = NULL;
	char path[32];
	struct err ignored;
	size_t len;

	(void)snprintf(path, sizeof(path), "/proc/%d/cmdline", (int)pid);
	if (file_read(AT_FDCWD, path, OUTPUT_MAX, &args, &len, &ignored) < 0)
		return false;
	return memmem(args, len, "containerd-shim-kata-v2", 23) &&
	       memmem(args, len, id, strlen(id));
}

int engine_kill(const char *dir, const char *id, struct err *e)
{
	OWN(free) char *path = str_printf("%s/shim.pid", dir);
	OWN(free) char *text = NULL;
	OWN(fd) int pidfd = -1;
	uint64_t pid;

	if (!path)
		return err_oom(e, "a path");
	if (file_read(AT_FDCWD, path, 32, &text, NULL, e) < 0)
		return -1;
	text[strcspn(text, "\n")] = '\0';
	if (str_to_u64(text, 1, INT32_MAX, path, &pid, e) < 0)
		return -1;
	pidfd = sys_pidfd_open((pid_t)pid);
	/* looked at behind the descriptor: the number cannot change hands from here on */
	if (pidfd < 0 || !is_engine((pid_t)pid, id))
		return err_set(e, ERR_NOT_FOUND, 0, "its engine (process %s) is gone", text);
	return sys_pidfd_send_signal(pidfd, SIGKILL) < 0 ? err_sys(e, "kill process %s", text)
							 : 0;
}

/* ---- starting ---- */

static _Noreturn void exec_shim(const char *program, const char *dir, const char *id,
				bool debug, int out, int err)
{
	const char *argv[] = { program, "-namespace", "kata", "-id", id, "start", NULL, NULL };

	if (debug) {
		argv[5] = "-debug";
		argv[6] = "start";
	}
	signal_reset_all();
	if (chdir(dir) == 0 && dup2(out, STDOUT_FILENO) >= 0 && dup2(err, STDERR_FILENO) >= 0)
		(void)execv(program, (char *const *)(uintptr_t)argv);
	_exit(127);
}

struct shim_run {
	int out_rd, err_rd;
	pid_t pid;
};

static int run_shim(const char *program, const char *dir, const char *id, bool debug,
		    struct shim_run *out, struct err *e)
{
	int o[2], x[2];

	if (fd_pipe(o, e) < 0)
		return -1;
	if (fd_pipe(x, e) < 0) {
		(void)close(o[0]);
		(void)close(o[1]);
		return -1;
	}
	out->pid = fork();
	if (out->pid == 0)
		exec_shim(program, dir, id, debug, o[1], x[1]);
	(void)close(o[1]);
	(void)close(x[1]);
	out->out_rd = o[0];
	out->err_rd = x[0];
	return out->pid < 0 ? err_sys(e, "fork") : 0;
}

/* Reads a pipe to its end, bounded in size and time. */
static int read_pipe(struct loop *l, int fd, int64_t deadline, struct buf *b, struct err *e)
{
	size_t got = 1;

	if (fd_set_nonblock(fd, true, e) < 0)
		return -1;
	while (got) {
		if (buf_reserve(b, 1024, e) < 0 ||
		    fiber_read(l, fd, buf_tail(b), 1024, deadline, &got, e) < 0)
			return -1;
		buf_produced(b, got);
	}
	return 0;
}

int engine_start(struct loop *l, const char *dir, const char *id, bool debug,
		 struct engine_client **out, struct err *e)
{
	OWN(buf) struct buf address = { .limit = OUTPUT_MAX };
	OWN(buf) struct buf words = { .limit = OUTPUT_MAX };
	int64_t deadline = deadline_in(START_MS);
	OWN(free) char *program = NULL;
	struct shim_run run;
	int status = 0, rc;

	if (paths_bin("containerd-shim-kata-v2", &program, e) < 0 ||
	    run_shim(program, dir, id, debug, &run, e) < 0)
		return -1;
	rc = read_pipe(l, run.out_rd, deadline, &address, e);
	if (rc == 0)
		rc = read_pipe(l, run.err_rd, deadline, &words, e);
	(void)close(run.out_rd);
	(void)close(run.err_rd);
	if (rc < 0)
		(void)kill(run.pid, SIGKILL);
	(void)waitpid(run.pid, &status,
		      0); /* both pipes are closed: it has ended or will at once */
	if (rc < 0)
		return err_wrap(e, "start the engine");
	if (status != 0) {
		const char *why = buf_cstr(&words);
		int len = why ? (int)strcspn(why, "\n") : 0;

		if (len)
			return err_set(e, ERR_SYS, 0, "%.*s", len, why);
		return err_set(e, ERR_SYS, 0, "'%s' ended %s %d without a word", program,
			       WIFSIGNALED(status) ? "by signal" : "with status",
			       WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status));
	}
	if (!buf_cstr(&address))
		return err_oom(e, "an address");
	return client_new(l, buf_cstr(&address), out, e);
}
