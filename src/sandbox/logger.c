/* SPDX-License-Identifier: Apache-2.0 */
/* Starting and ending loggers. */
#include "sandbox/logger.h"

#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

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

enum {
	READY_MS = 10 * 1000,
	END_MS = 12 * 1000,
	STREAMS = 2,
	ARGS_MAX = 64,
	FIRST_FD = 3
};

struct logger {
	struct loop *loop;
	struct child child;
	int fds[STREAMS];
};

static int add_arg(struct strv *argv, char *word, bool is_query, struct err *e)
{
	for (char *p = word; is_query && *p; p++) {
		if (*p == '+')
			*p = ' ';
	}
	if (argv->n >= ARGS_MAX)
		return err_set(e, ERR_INVALID, 0, "more than %d words", ARGS_MAX);
	return str_unescape_uri(word, e) < 0 ? -1 : strv_add(argv, word, e);
}

/* binary:///path?key=value&key as { path, key, value, key } */
static int parse_uri(const char *uri, struct strv *argv, struct err *e)
{
	OWN(free) char *copy = strdup(uri + strlen("binary://"));
	char *query, *pair, *rest = NULL;

	if (!copy)
		return err_oom(e, "a logger");
	query = strchr(copy, '?');
	if (query)
		*query++ = '\0';
	if (copy[0] != '/')
		return err_set(e, ERR_INVALID, 0, "the program's path is not absolute");
	if (add_arg(argv, copy, false, e) < 0)
		return -1;
	for (pair = query ? strtok_r(query, "&", &rest) : NULL; pair;
	     pair = strtok_r(NULL, "&", &rest)) {
		char *value = strchr(pair, '=');

		if (value)
			*value++ = '\0';
		if (add_arg(argv, pair, true, e) < 0 ||
		    (value && *value && add_arg(argv, value, true, e) < 0))
			return -1;
	}
	return 0;
}

static int set_environment(struct strv *envp, const struct logger_owner *o, struct err *e)
{
	const char *path = getenv("PATH");

	return strv_addf(envp, e, "CONTAINER_ID=%s", o->container_id) < 0 ||
			       strv_addf(envp, e, "CONTAINER_NAMESPACE=%s", o->namespace) < 0 ||
			       strv_addf(envp, e, "PATH=%s", path ? path : "/usr/bin:/bin") < 0
		       ? -1
		       : 0;
}

static int run(struct logger *g, const struct logger_owner *o, const struct strv *argv,
	       const int reads[STREAMS], int ready_wr, struct err *e)
{
	struct spawn_fd fds[] = {
		{ .from = reads[0], .to = FIRST_FD },
		{ .from = reads[1], .to = FIRST_FD + 1 },
		{ .from = ready_wr, .to = FIRST_FD + 2 },
	};
	OWN(strv) struct strv envp = { 0 };
	struct spawn sp = SPAWN_INIT;
	pid_t pid;

	if (set_environment(&envp, o, e) < 0)
		return -1;
	sp.argv = argv->v;
	sp.envp = envp.v;
	sp.fds = fds;
	sp.fd_count = ARRAY_LEN(fds);
	if (spawn_run(&sp, &pid, e) < 0)
		return -1;
	child_watch(o->reaper, &g->child, pid, NULL);
	return 0;
}

/* Its word that it is ready, or its end. */
static int wait_ready(struct logger *g, int fd, struct err *e)
{
	int64_t deadline = deadline_in(READY_MS);
	size_t got;
	char c;

	if (fd_set_nonblock(fd, true, e) < 0 ||
	    fiber_read(g->loop, fd, &c, 1, deadline, &got, e) < 0)
		return err_wrap(e, "waiting for it to be ready");
	return 0;
}

static int start(struct logger *g, const struct logger_owner *o, const struct strv *argv,
		 struct err *e)
{
	OWN(fd) int out_rd = -1;
	OWN(fd) int err_rd = -1;
	OWN(fd) int ready_rd = -1;
	OWN(fd) int ready_wr = -1;
	int p[2];

	if (fd_pipe(p, e) < 0)
		return -1;
	out_rd = p[0];
	g->fds[0] = p[1];
	if (fd_pipe(p, e) < 0)
		return -1;
	err_rd = p[0];
	g->fds[1] = p[1];
	if (fd_pipe(p, e) < 0)
		return -1;
	ready_rd = p[0];
	ready_wr = p[1];
	if (fd_set_nonblock(g->fds[0], true, e) < 0 ||
	    fd_set_nonblock(g->fds[1], true, e) < 0 ||
	    run(g, o, argv, (const int[]){ out_rd, err_rd }, ready_wr, e) < 0)
		return -1;
	fd_close(&ready_wr);
	return wait_ready(g, ready_rd, e);
}

int logger_start(struct loop *l, const struct logger_owner *owner, const char *uri,
		 struct logger **out, struct err *e)
{
	OWN(strv) struct strv argv = { 0 };
	struct logger *g;

	if (parse_uri(uri, &argv, e) < 0)
		return err_wrap(e, "stream '%.200s'", uri);
	g = mem_new(struct logger);
	if (!g)
		return err_oom(e, "a logger");
	*g = (struct logger){ .loop = l, .fds = { -1, -1 } };
	if (start(g, owner, &argv, e) < 0) {
		logger_free(g);
		return err_wrap(e, "logger '%.200s'", argv.v[0]);
	}
	*out = g;
	return 0;
}

int logger_take(struct logger *g, int stream)
{
	return fd_take(&g->fds[stream]);
}

void logger_seal(struct logger *g)
{
	fd_close(&g->fds[0]);
	fd_close(&g->fds[1]);
}

int logger_wait(struct logger *g, int64_t deadline, struct err *e)
{
	return child_wait(&g->child, deadline, e);
}

static void end_run(void *arg)
{
	struct logger *g = arg;
	struct err e;

	fiber_shield(g->loop, true);
	if (child_wait(&g->child, deadline_in(END_MS), &e) < 0 &&
	    child_kill(&g->child, SIGTERM, &e) == 0 &&
	    child_wait(&g->child, deadline_in(END_MS), &e) < 0) {
		log_warn(NULL, "a logger does not end: it is killed");
		(void)child_end(&g->child, END_MS, &e);
	}
	fiber_shield(g->loop, false);
	child_unwatch(&g->child);
	free(g);
}

void logger_free(struct logger *g)
{
	struct err e;

	if (!g)
		return;
	logger_seal(g);
	if (!g->child.reaper) {
		free(g);
		return;
	}
	if (fiber_spawn(g->loop, "logger end", end_run, g, NULL, &e) == 0)
		return;
	(void)child_kill(&g->child, SIGKILL, &e);
	child_unwatch(&g->child);
	free(g);
}
