/* SPDX-License-Identifier: Apache-2.0 */
/*
 * hooks.startContainer: programs of the container, run in its namespaces as its user between
 * the start and the container's own program, with the runtime specification's state on
 * standard input. The other hooks are the host's and are refused (spec_check.c).
 */
#include "agent/hooks.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "agent/stage_steps.h"
#include "base/buf.h"
#include "base/fd.h"
#include "base/own.h"
#include "base/mem.h"
#include "base/sys.h"

enum {
	DEFAULT_SECONDS = 20,
	MAX_SECONDS = 3600
};

static int put_json(struct buf *b, const char *s, struct err *e)
{
	if (buf_puts(b, "\"", e) < 0)
		return -1;
	for (; *s; s++) {
		unsigned char c = (unsigned char)*s;

		if ((c < 0x20 || c == '"' || c == '\\' ? buf_printf(b, e, "\\u%04x", c)
						       : buf_append(b, s, 1, e)) < 0)
			return -1;
	}
	return buf_puts(b, "\"", e);
}

static int make_state(const struct stage *s, struct buf *b, struct err *e)
{
	if (buf_puts(b, "{\"ociVersion\":\"1.0.2\",\"id\":", e) < 0 ||
	    put_json(b, s->req->container_id, e) < 0 ||
	    buf_printf(b, e,
		       ",\"status\":\"created\",\"pid\":%d,\"bundle\":\"/\",\"annotations\":{",
		       (int)getpid()) < 0)
		return -1;
	for (size_t i = 0; i < s->spec->n_annotations; i++) {
		if ((i && buf_puts(b, ",", e) < 0) ||
		    put_json(b, s->spec->annotations[i]->key, e) < 0 ||
		    buf_puts(b, ":", e) < 0 ||
		    put_json(b, s->spec->annotations[i]->value, e) < 0)
			return -1;
	}
	return buf_puts(b, "}}", e);
}

static _Noreturn void run_hook(const struct stage *s, const Grpc__Hook *h, int state)
{
	char **argv = arena_calloc(s->arena, h->n_args + 2, sizeof(char *));
	char **envp = arena_calloc(s->arena, h->n_env + 1, sizeof(char *));

	if (!argv || !envp || dup2(state, STDIN_FILENO) < 0)
		_exit(125);
	argv[0] = h->path;
	if (h->n_args)
		memcpy(argv, h->args, h->n_args * sizeof(char *));
	if (h->n_env)
		memcpy(envp, h->env, h->n_env * sizeof(char *));
	(void)sys_close_range(3, ~0U, CLOSE_RANGE_CLOEXEC);
	(void)signal(SIGPIPE, SIG_DFL);
	(void)execve(h->path, argv, envp);
	_exit(errno == ENOENT ? 127 : 126);
}

static int64_t seconds_of(const Grpc__Hook *h)
{
	if (h->timeout <= 0)
		return DEFAULT_SECONDS;
	return h->timeout < MAX_SECONDS ? h->timeout : MAX_SECONDS;
}

int64_t hooks_start_ms(const Grpc__Spec *spec)
{
	const Grpc__Hooks *h = spec->hooks;
	int64_t seconds = 0;

	for (size_t i = 0; h && i < h->n_startcontainer; i++)
		seconds += seconds_of(h->startcontainer[i]);
	return seconds * 1000;
}

/* Its exit status; past the time it is killed. */
static int wait_hook(pid_t pid, int64_t seconds, struct err *e)
{
	OWN(fd) int pidfd = sys_pidfd_open(pid);
	struct pollfd p = { .fd = pidfd, .events = POLLIN };
	int status, rc;

	do
		rc = pidfd < 0 ? 0 : poll(&p, 1, (int)seconds * 1000);
	while (rc < 0 && errno == EINTR);
	if (rc <= 0)
		(void)kill(pid, SIGKILL);
	if (waitpid(pid, &status, 0) < 0)
		return err_sys(e, "wait");
	if (rc <= 0)
		return err_set(e, ERR_TIMEOUT, 0, "not done after %lld s", (long long)seconds);
	if (status)
		return err_set(e, ERR_STATE, 0, "ended with status %d",
			       WIFSIGNALED(status) ? 128 + WTERMSIG(status)
						   : WEXITSTATUS(status));
	return 0;
}

static int one_hook(const struct stage *s, const Grpc__Hook *h, struct buf *state,
		    struct err *e)
{
	int ends[2];
	pid_t pid;

	if (h->path[0] != '/')
		return err_set(e, ERR_INVALID, 0, "the path is not absolute");
	if (fd_pipe(ends, e) < 0)
		return -1;
	pid = fork();
	if (pid == 0)
		run_hook(s, h, ends[0]);
	(void)close(ends[0]);
	/* a hook need not read it: what it leaves is no error, and a pipe holds a state's size
	 */
	if (pid > 0)
		(void)!write(ends[1], buf_head(state), buf_len(state));
	(void)close(ends[1]);
	return pid < 0 ? err_sys(e, "fork") : wait_hook(pid, seconds_of(h), e);
}

int hooks_start(struct stage *s, struct err *e)
{
	const Grpc__Hooks *h = s->spec->hooks;
	OWN(buf) struct buf state = { .limit = 60 * 1024 };
	int rc = 0;

	if (!h || !h->n_startcontainer || s->order.kind != STAGE_CREATE)
		return 0;
	if (make_state(s, &state, e) < 0)
		return err_wrap(e, "hooks.startContainer: state");
	(void)signal(SIGPIPE, SIG_IGN);
	for (size_t i = 0; rc == 0 && i < h->n_startcontainer; i++) {
		rc = one_hook(s, h->startcontainer[i], &state, e);
		if (rc < 0)
			(void)err_wrap(e, "hooks.startContainer[%zu] '%.100s'", i,
				       h->startcontainer[i]->path);
	}
	(void)signal(SIGPIPE, SIG_DFL);
	return rc;
}
