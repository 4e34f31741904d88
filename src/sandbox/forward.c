/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A fiber for each socket that listens, three for each connection: one for what goes into the
 * guest, which made it and ends it, one for what comes out, one that sees the caller go.
 */
#include "sandbox/forward.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/err.h"
#include "base/fd.h"
#include "base/own.h"
#include "base/time.h"
#include "forward.pb-c.h"
#include "net/loopback.h"
#include "net/tap_net.h"
#include "sandbox/internal.h"

enum {
	CONNECTIONS_MAX = 64,
	CHUNK = 64 * 1024,
	RETRY_MS = 100
};

struct forwarder {
	struct sandbox *s;
	struct loopback loopback;
	struct fiber *accepting[2];
	struct list connections;
	size_t count, running; /* connections; fibers that are not over */
	bool ending;
	struct cond idle; /* woken as fibers end */
};

struct connection {
	struct list node;
	struct forwarder *f;
	uint64_t id;
	int in, out, watched;           /* one socket */
	struct fiber *watcher, *writer; /* NULL: it is over */
	bool broken;   /* it ends with a reset: what has come through is not all */
	bool finished; /* the guest has said all */
	unsigned refs;
};

static void leave(struct forwarder *f)
{
	f->running--;
	cond_wake_all(&f->idle);
}

static void connection_unref(struct connection *c)
{
	if (--c->refs)
		return;
	list_remove(&c->node);
	c->f->count--;
	fd_close(&c->in);
	fd_close(&c->out);
	fd_close(&c->watched);
	free(c);
}

/* Its last descriptor's end is a reset then, as if nobody had listened, or the wire were cut.
 */
static void reset(struct connection *c)
{
	const struct linger now = { .l_onoff = 1 };

	c->broken = true;
	(void)setsockopt(c->in, SOL_SOCKET, SO_LINGER, &now, sizeof(now));
	(void)shutdown(c->in, SHUT_RD); /* who reads it is told, and nothing is sent */
	/* who writes may wait for a caller that never reads */
	if (c->writer && c->writer != fiber_self(c->f->s->loop))
		fiber_cancel(c->writer);
}

/* What the guest sends, to its end. */
static void pump_out(void *arg)
{
	Katac__Forward__ReadRequest req = KATAC__FORWARD__READ_REQUEST__INIT;
	struct connection *c = arg;
	struct forwarder *f = c->f;
	struct err e;
	int more = 1;

	req.id = c->id;
	req.len = CHUNK;
	while (more > 0) {
		OWN(arena) struct arena a = { .limit = 4 * CHUNK };
		Katac__Forward__ReadResponse *resp;

		if (agent_call(f->s->agent, AGENT_FORWARD_READ, &req, &a, &resp, &e) < 0 ||
		    fiber_write_all(f->s->loop, c->out, resp->data.data, resp->data.len,
				    DEADLINE_NONE, &e) < 0)
			more = -1;
		else if (resp->data.len == 0)
			more = 0;
	}
	if (more < 0)
		reset(c);
	c->finished = more == 0;
	if (c->finished && !c->broken)
		(void)shutdown(c->out, SHUT_WR);
	c->writer = NULL;
	connection_unref(c);
	leave(f);
}

static int tell_end(struct connection *c, bool both)
{
	Katac__Forward__EndRequest req = KATAC__FORWARD__END_REQUEST__INIT;
	struct err ignored;

	req.id = c->id;
	req.both = both;
	return agent_do(c->f->s->agent, AGENT_FORWARD_END, &req, &ignored);
}

/* A caller that is gone, while the guest does not take what he sent, or has nothing to say. */
static void watch(void *arg)
{
	struct connection *c = arg;
	struct forwarder *f = c->f;
	struct err e;

	if (fiber_wait_fd(f->s->loop, c->watched, 0, DEADLINE_NONE, &e) == 0) {
		if (!c->finished) /* else both have ended it, one after the other */
			reset(c);
		(void)tell_end(c, true);
	}
	c->watcher = NULL;
	connection_unref(c);
	leave(f);
}

/* 1: the caller has sent all; -1: he or the guest is gone. */
static int pump_in(struct connection *c)
{
	Katac__Forward__WriteRequest req = KATAC__FORWARD__WRITE_REQUEST__INIT;
	struct sandbox *s = c->f->s;
	OWN(free) uint8_t *chunk = malloc(CHUNK);
	struct err e;
	size_t n;

	req.id = c->id;
	req.data.data = chunk;
	while (chunk && fiber_read(s->loop, c->in, chunk, CHUNK, DEADLINE_NONE, &n, &e) == 0) {
		if (n == 0)
			return c->broken ? -1 : 1;
		req.data.len = n;
		if (agent_do(s->agent, AGENT_FORWARD_WRITE, &req, &e) < 0)
			break;
	}
	return -1;
}

static int spawn_for(struct connection *c, fiber_fn fn, struct fiber **out)
{
	struct err e;

	c->refs++;
	c->f->running++;
	if (fiber_spawn(c->f->s->loop, "forward", fn, c, out, &e) == 0)
		return 0;
	c->refs--;
	c->f->running--;
	return -1;
}

/* Both directions, until both are over. */
static void pump(struct connection *c)
{
	struct forwarder *f = c->f;
	unsigned alone = c->refs;
	struct err e;

	if (spawn_for(c, pump_out, &c->writer) == 0) {
		if (spawn_for(c, watch, &c->watcher) < 0 || pump_in(c) < 0) {
			reset(c);
			(void)tell_end(c, true);
		} else {
			/* an answer may still be on its way to who has said all he wants */
			(void)tell_end(c, false);
		}
		/* the watcher waits for the end, and may have seen it */
		while (c->refs > alone + (c->watcher ? 1 : 0) &&
		       cond_wait(&f->idle, DEADLINE_NONE, &e) == 0)
			;
	}
	if (c->watcher)
		fiber_cancel(c->watcher);
	(void)tell_end(c, true);
}

/* The port that was asked for is the connection's own name. */
static int port_of(int fd, Katac__Forward__ConnectRequest *req, struct err *e)
{
	/* family and port lie where those of IPv4 do */
	struct sockaddr_in6 name = { .sin6_family = AF_UNSPEC };
	socklen_t len = sizeof(name);

	if (getsockname(fd, (void *)&name, &len) < 0)
		return err_sys(e, "a connection's port");
	req->ipv6 = name.sin6_family == AF_INET6;
	req->port = ntohs(name.sin6_port);
	return 0;
}

static int connect_guest(struct connection *c, struct err *e)
{
	Katac__Forward__ConnectRequest req = KATAC__FORWARD__CONNECT_REQUEST__INIT;
	OWN(arena) struct arena a = { .limit = 4096 };
	Katac__Forward__ConnectResponse *resp;

	if (port_of(c->in, &req, e) < 0)
		return -1;
	if (agent_call(c->f->s->agent, AGENT_FORWARD_CONNECT, &req, &a, &resp, e) < 0) {
		/* who asks "localhost" for one family would have tried the other after a
		 * refusal, and we have taken his connection */
		req.ipv6 = !req.ipv6;
		if (agent_call(c->f->s->agent, AGENT_FORWARD_CONNECT, &req, &a, &resp, e) < 0)
			return -1;
	}
	c->id = resp->id;
	return 0;
}

/* A descriptor for each fiber that waits; and callers that vanish are noticed in a minute. */
static int prepare(struct connection *c, struct err *e)
{
	const int on = 1, idle_s = 30, step_s = 10, steps = 3;

	c->out = fcntl(c->in, F_DUPFD_CLOEXEC, 3);
	c->watched = fcntl(c->in, F_DUPFD_CLOEXEC, 3);
	if (c->out < 0 || c->watched < 0 ||
	    setsockopt(c->in, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof(on)) < 0 ||
	    setsockopt(c->in, IPPROTO_TCP, TCP_KEEPIDLE, &idle_s, sizeof(idle_s)) < 0 ||
	    setsockopt(c->in, IPPROTO_TCP, TCP_KEEPINTVL, &step_s, sizeof(step_s)) < 0 ||
	    setsockopt(c->in, IPPROTO_TCP, TCP_KEEPCNT, &steps, sizeof(steps)) < 0)
		return err_sys(e, "a connection");
	return 0;
}

static void serve(void *arg)
{
	struct connection *c = arg;
	struct forwarder *f = c->f;
	struct err e;

	if (prepare(c, &e) < 0 || connect_guest(c, &e) < 0) {
		log_debug(&f->s->log, "a connection to the pod's loopback: %s", e.msg);
		reset(c);
	} else {
		pump(c);
	}
	connection_unref(c);
	leave(f);
}

static void take(struct forwarder *f, int fd)
{
	OWN(fd) int own = fd;
	struct connection *c;
	struct err e;

	c = mem_new(struct connection);
	if (!c)
		return;
	c->f = f;
	c->refs = 1;
	c->in = fd_take(&own);
	c->out = c->watched = -1;
	list_append(&f->connections, &c->node);
	f->count++;
	f->running++;
	if (fiber_spawn(f->s->loop, "forward", serve, c, NULL, &e) == 0)
		return;
	connection_unref(c);
	leave(f);
}

/* Those that are too many wait in the socket's queue. */
static int wait_place(struct forwarder *f, struct err *e)
{
	while (f->count >= CONNECTIONS_MAX) {
		if (cond_wait(&f->idle, DEADLINE_NONE, e) < 0)
			return -1;
	}
	return 0;
}

static void accept_on(struct forwarder *f, int fd)
{
	struct err e;

	while (!f->ending && wait_place(f, &e) == 0 &&
	       fiber_wait_fd(f->s->loop, fd, EPOLLIN, DEADLINE_NONE, &e) == 0) {
		int got = accept4(fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);

		if (got >= 0)
			take(f, got);
		else if (errno != EAGAIN && errno != EINTR && errno != ECONNABORTED &&
			 fiber_sleep(f->s->loop, RETRY_MS, &e) < 0)
			break;
	}
	if (f->ending)
		return;
	/* a connection that nobody takes is worse than one that is refused */
	log_warn(&f->s->log, "ports of the pod are not forwarded any more: %s", e.msg);
	fd_close(&f->loopback.link);
}

static void accept_v4(void *arg)
{
	struct forwarder *f = arg;

	accept_on(f, f->loopback.sockets[0]);
	f->accepting[0] = NULL;
	leave(f);
}

static void accept_v6(void *arg)
{
	struct forwarder *f = arg;

	accept_on(f, f->loopback.sockets[1]);
	f->accepting[1] = NULL;
	leave(f);
}

static int begin(struct forwarder *f, struct err *e)
{
	static void (*const accept_fns[2])(void *) = { accept_v4, accept_v6 };

	if (loopback_open(tap_net_namespace(f->s->taps), &f->loopback, e) < 0)
		return -1;
	for (size_t i = 0; i < 2; i++) {
		if (f->loopback.sockets[i] < 0)
			continue;
		f->running++;
		if (fiber_spawn(f->s->loop, "accept", accept_fns[i], f, &f->accepting[i], e) <
		    0) {
			f->running--;
			return -1;
		}
	}
	return 0;
}

void forward_begin(struct sandbox *s)
{
	struct err e;

	if (!s->c.forwards_loopback || !s->taps || s->forwarder ||
	    !agent_has_feature(s->agent, AGENT_FEATURE_FORWARD))
		return;
	s->forwarder = mem_new(struct forwarder);
	if (!s->forwarder)
		return;
	*s->forwarder = (struct forwarder){ .s = s, .loopback = LOOPBACK_INIT };
	list_init(&s->forwarder->connections);
	cond_init(&s->forwarder->idle, s->loop);
	if (begin(s->forwarder, &e) < 0) {
		log_info(&s->log, "ports of the pod cannot be forwarded: %s", e.msg);
		forward_end(s);
	}
}

void forward_end(struct sandbox *s)
{
	struct forwarder *f = s->forwarder;
	struct err e;

	if (!f)
		return;
	f->ending = true;
	s->forwarder = NULL;
	for (size_t i = 0; i < 2; i++) {
		if (f->accepting[i])
			fiber_cancel(f->accepting[i]);
	}
	list_for_each(n, tmp, &f->connections) {
		struct connection *c = list_entry(n, struct connection, node);

		if (c->watcher)
			fiber_cancel(c->watcher);
		reset(c);
	}
	while (f->running && cond_wait(&f->idle, DEADLINE_NONE, &e) == 0)
		;
	loopback_close(&f->loopback);
	if (f->running == 0)
		free(f);
}
