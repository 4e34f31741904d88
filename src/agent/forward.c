/* SPDX-License-Identifier: Apache-2.0 */
/* Each call finds its connection, holds it, and waits; the last that leaves closes it. */
#include "agent/forward.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "agent/sandbox.h"
#include "base/err.h"
#include "base/fd.h"
#include "base/mem.h"
#include "base/own.h"
#include "base/time.h"
#include "forward.pb-c.h"
#include "google.pb-c.h"
#include "wire/ttrpc.h"

enum {
	FORWARDS_MAX = 128,
	CONNECT_MS = 10 * 1000,
	READ_MAX = 64 * 1024
};

struct forward {
	struct list node; /* in sandbox->forwards, until it is over */
	uint64_t id;
	int in, out; /* one socket */
	unsigned refs;
};

static void forward_unref(struct forward *f)
{
	if (!f || --f->refs)
		return;
	fd_close(&f->in);
	fd_close(&f->out);
	free(f);
}
OWN_DEFINE(forward, struct forward *, forward_unref)

static int find(struct sandbox *s, uint64_t id, struct forward **out, struct err *e)
{
	list_for_each(n, tmp, &s->forwards) {
		struct forward *f = list_entry(n, struct forward, node);

		if (f->id == id) {
			f->refs++;
			*out = f;
			return 0;
		}
	}
	return err_set(e, ERR_NOT_FOUND, 0, "there is no forwarded connection %llu",
		       (unsigned long long)id);
}

static int dial(struct sandbox *s, const Katac__Forward__ConnectRequest *r, int *out,
		struct err *e)
{
	struct sockaddr_in v4 = { .sin_family = AF_INET,
				  .sin_port = htons((uint16_t)r->port),
				  .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	struct sockaddr_in6 v6 = { .sin6_family = AF_INET6,
				   .sin6_port = htons((uint16_t)r->port),
				   .sin6_addr = IN6ADDR_LOOPBACK_INIT };
	OWN(fd)
	int fd = socket(r->ipv6 ? AF_INET6 : AF_INET,
			SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	int failed = 0;
	socklen_t len = sizeof(failed);

	if (fd < 0)
		return err_sys(e, "a socket");
	if (connect(fd, r->ipv6 ? (void *)&v6 : (void *)&v4,
		    r->ipv6 ? sizeof(v6) : sizeof(v4)) < 0) {
		if (errno != EINPROGRESS)
			return err_sys(e, "port %u", r->port);
		if (fiber_wait_fd(s->loop, fd, EPOLLOUT, deadline_in(CONNECT_MS), e) < 0)
			return err_wrap(e, "port %u", r->port);
		if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &failed, &len) < 0)
			return err_sys(e, "port %u", r->port);
		if (failed)
			return err_set(e, ERR_SYS, failed, "port %u", r->port);
	}
	*out = fd_take(&fd);
	return 0;
}

static int forward_connect(struct ttrpc_call *call, const void *request, void *response,
			   struct err *e)
{
	const Katac__Forward__ConnectRequest *r = request;
	Katac__Forward__ConnectResponse *resp = response;
	struct sandbox *s = call->context;
	OWN(fd) int fd = -1;
	struct forward *f;

	if (r->port == 0 || r->port > 65535)
		return err_set(e, ERR_INVALID, 0, "port %u", r->port);
	if (s->forward_count >= FORWARDS_MAX)
		return err_set(e, ERR_NO_MEMORY, 0, "%d forwarded connections are the most",
			       FORWARDS_MAX);
	s->forward_count++; /* while it is made, too */
	if (dial(s, r, &fd, e) < 0) {
		s->forward_count--;
		return -1;
	}
	f = mem_new(struct forward);
	if (!f) {
		s->forward_count--;
		return err_oom(e, "a connection");
	}
	f->refs = 1;
	f->id = ++s->forward_last;
	f->out = fcntl(fd, F_DUPFD_CLOEXEC, 3);
	f->in = fd_take(&fd);
	list_init(&f->node);
	if (f->out < 0) {
		(void)err_sys(e, "a connection");
		s->forward_count--;
		forward_unref(f);
		return -1;
	}
	list_append(&s->forwards, &f->node);
	resp->id = f->id;
	return 0;
}

static int forward_read(struct ttrpc_call *call, const void *request, void *response,
			struct err *e)
{
	const Katac__Forward__ReadRequest *r = request;
	Katac__Forward__ReadResponse *resp = response;
	size_t max = r->len && r->len < READ_MAX ? r->len : READ_MAX;
	struct sandbox *s = call->context;
	OWN(forward) struct forward *f = NULL;

	if (find(s, r->id, &f, e) < 0)
		return -1;
	resp->data.data = arena_alloc(call->arena, max);
	if (!resp->data.data)
		return err_oom(e, "a read");
	return fiber_read(s->loop, f->in, resp->data.data, max, DEADLINE_NONE, &resp->data.len,
			  e);
}

static int forward_write(struct ttrpc_call *call, const void *request, void *response,
			 struct err *e)
{
	const Katac__Forward__WriteRequest *r = request;
	struct sandbox *s = call->context;
	OWN(forward) struct forward *f = NULL;

	(void)response;
	if (find(s, r->id, &f, e) < 0)
		return -1;
	return fiber_write_all(s->loop, f->out, r->data.data, r->data.len, DEADLINE_NONE, e);
}

static int forward_end(struct ttrpc_call *call, const void *request, void *response,
		       struct err *e)
{
	const Katac__Forward__EndRequest *r = request;
	struct sandbox *s = call->context;
	OWN(forward) struct forward *f = NULL;

	(void)response;
	if (find(s, r->id, &f, e) < 0)
		return -1;
	(void)shutdown(f->out, r->both ? SHUT_RDWR : SHUT_WR);
	if (!r->both)
		return 0;
	list_remove(&f->node);
	s->forward_count--;
	forward_unref(f); /* the list's */
	return 0;
}

#define EMPTY google__protobuf__empty__descriptor

const struct ttrpc_method forward_methods[] = {
	{ "Connect", &katac__forward__connect_request__descriptor,
	  &katac__forward__connect_response__descriptor, forward_connect },
	{ "Read", &katac__forward__read_request__descriptor,
	  &katac__forward__read_response__descriptor, forward_read },
	{ "Write", &katac__forward__write_request__descriptor, &EMPTY, forward_write },
	{ "End", &katac__forward__end_request__descriptor, &EMPTY, forward_end },
};
const size_t forward_method_count = ARRAY_LEN(forward_methods);
