/* SPDX-License-Identifier: Apache-2.0 */
/* A fiber that accepts, one for each session. */
#include "sandbox/debug_console.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/err.h"
#include "base/fd.h"
#include "base/own.h"
#include "base/time.h"
#include "event/relay.h"
#include "sandbox/internal.h"
#include "vmm/vmm.h"
#include "wire/unix_socket.h"

enum {
	SESSIONS_MAX = 8,
	BACKLOG = 64,
	DIAL_MS = 5000,
	WRITE_MS = 1000,
	TURN_MS = 500, /* for the one before to be seen to have gone */
	RETRY_MS = 100
};

struct session {
	struct list node;
	struct debug_console *console;
	struct fiber *fiber;
	int conn;
};

struct debug_console {
	struct sandbox *s;
	unsigned cid; /* 0: the serial port */
	char *path;   /* of the socket */
	int listener, port;
	bool port_taken;
	struct fiber *accepting;
	struct list sessions;
	unsigned count;
	struct cond gone; /* a fiber of ours */
};

static int join_vsock(struct session *x, struct err *e)
{
	struct sandbox *s = x->console->s;
	OWN(fd) int guest = -1;

	if (vmm_vsock_connect(s->loop, x->console->cid, DEBUG_CONSOLE_PORT,
			      deadline_in(DIAL_MS), &guest, e) < 0)
		return -1;
	return relay_run(s->loop, x->conn, guest, e);
}

static int join_port(struct session *x, struct err *e)
{
	struct debug_console *c = x->console;
	int64_t deadline = deadline_in(TURN_MS);
	int rc;

	/* who had it may have gone, and it is not known yet */
	while (c->port_taken) {
		if (cond_wait(&c->gone, deadline, e) == 0)
			continue;
		return e->kind == ERR_TIMEOUT
			       ? err_set(e, ERR_STATE, 0,
					 "somebody has the serial console already")
			       : -1;
	}
	c->port_taken = true;
	/* a guest that does not read any more may have left room for some bytes: a socket that
	 * is writable has most of its room */
	rc = fiber_wait_fd(c->s->loop, c->port, EPOLLOUT, deadline_in(WRITE_MS), e);
	/* the shell is started by the first byte; and one that is there prompts again */
	if (rc == 0)
		rc = fiber_write_all(c->s->loop, c->port, "\n", 1, deadline_in(WRITE_MS), e);
	if (rc == 0)
		rc = relay_run(c->s->loop, x->conn, c->port, e);
	c->port_taken = false;
	return rc;
}

/* The client has no other place for it: its terminal. */
static void say(struct debug_console *c, int conn, const struct err *why)
{
	char line[sizeof(why->msg) + 40];
	struct err ignored;
	int n = snprintf(line, sizeof(line), DEBUG_CONSOLE_REFUSAL "%s\r\n", why->msg);

	log_info(&c->s->log, "debug console: %s", why->msg);
	(void)fiber_write_all(c->s->loop, conn, line, (size_t)n, deadline_in(WRITE_MS),
			      &ignored);
}

static void session_run(void *arg)
{
	struct session *x = arg;
	struct debug_console *c = x->console;
	struct err e;

	if ((c->cid ? join_vsock(x, &e) : join_port(x, &e)) < 0 && e.kind != ERR_CANCELLED)
		say(c, x->conn, &e);
	fd_close(&x->conn);
	list_remove(&x->node);
	c->count--;
	cond_wake_all(&c->gone);
	free(x);
}

static void take(struct debug_console *c, int fd)
{
	OWN(fd) int own = fd;
	struct session *x;
	struct err e;

	if (c->count >= SESSIONS_MAX) {
		err_set(&e, ERR_STATE, 0, "%d sessions are the most", SESSIONS_MAX);
		say(c, fd, &e);
		return;
	}
	x = mem_new(struct session);
	if (!x)
		return;
	x->console = c;
	x->conn = fd;
	if (fiber_spawn(c->s->loop, "debug console", session_run, x, &x->fiber, &e) < 0) {
		free(x);
		return;
	}
	list_append(&c->sessions, &x->node);
	c->count++;
	(void)fd_take(&own);
}

static void accept_run(void *arg)
{
	struct debug_console *c = arg;
	struct loop *l = c->s->loop;
	struct err e;

	while (fiber_wait_fd(l, c->listener, EPOLLIN, DEADLINE_NONE, &e) == 0 &&
	       !fiber_is_cancelled(fiber_self(l))) {
		int fd = accept4(c->listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);

		if (fd >= 0)
			take(c, fd);
		else if (errno != EAGAIN && errno != EINTR && errno != ECONNABORTED &&
			 fiber_sleep(l, RETRY_MS, &e) < 0)
			break;
	}
	c->accepting = NULL;
	cond_wake_all(&c->gone);
}

int debug_console_open(struct sandbox *s, const char *path, unsigned cid,
		       struct debug_console **out, struct err *e)
{
	struct debug_console *c = mem_new(struct debug_console);

	if (!c)
		return err_oom(e, "the debug console");
	*c = (struct debug_console){ .s = s, .cid = cid, .listener = -1, .port = -1 };
	list_init(&c->sessions);
	cond_init(&c->gone, s->loop);
	c->path = strdup(path);
	if (!c->path) {
		debug_console_free(c);
		return err_oom(e, "the debug console");
	}
	(void)unlink(path); /* of a machine before, in this directory of ours */
	if ((cid == 0 && vmm_serial_take(s->vmm, DEBUG_CONSOLE_NAME, &c->port, e) < 0) ||
	    unix_listen(path, BACKLOG, &c->listener, e) < 0 ||
	    fd_set_nonblock(c->listener, true, e) < 0 ||
	    fiber_spawn(s->loop, "debug console", accept_run, c, &c->accepting, e) < 0) {
		debug_console_free(c);
		return -1;
	}
	*out = c;
	return 0;
}

static void end_sessions(struct debug_console *c)
{
	list_for_each(n, tmp, &c->sessions)
		fiber_cancel(list_entry(n, struct session, node)->fiber);
}

void debug_console_port_closed(struct debug_console *c)
{
	if (c->cid == 0)
		end_sessions(c);
}

void debug_console_free(struct debug_console *c)
{
	struct err ignored;

	if (!c)
		return;
	fiber_shield(c->s->loop, true);
	if (c->accepting)
		fiber_cancel(c->accepting);
	end_sessions(c);
	while ((c->accepting || c->count) && cond_wait(&c->gone, DEADLINE_NONE, &ignored) == 0)
		;
	fiber_shield(c->s->loop, false);
	if (c->listener >= 0)
		(void)unlink(c->path);
	fd_close(&c->listener);
	fd_close(&c->port);
	free(c->path);
	free(c);
}
