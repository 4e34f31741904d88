/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ttrpc connections.
 *
 * A connection is alive while it is open or a fiber of a served request has not left yet;
 * `uses` counts the fibers, the owner's pointer and the callers that wait. Closing sets
 * `closed` with the reason, cancels the serving fibers and wakes the callers; the last use
 * frees. Nothing is written after the close. tests/unit/test_ttrpc.c.
 */
#include "wire/ttrpc.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/fd.h"
#include "base/mem.h"
#include "base/str.h"
#include "base/time.h"
#include "event/fiber.h"
#include "event/loop.h"
#include "ttrpc.pb-c.h"
#include "wire/message.h"

enum {
	FRAME_REQUEST = 1,
	FRAME_RESPONSE = 2,
	READS_A_TURN = 64,
	OUT_HIGH = 256 * 1024,         /* senders wait while more than this is unsent */
	CALL_ARENA = 32 * 1024 * 1024, /* what one request may make us allocate */
};

struct ttrpc_conn {
	struct loop *loop;
	struct source source;
	struct buf in, out;
	struct timer in_stall, out_stall;
	struct cond writable;
	struct list calls;    /* struct pending: ours, waiting for a response */
	struct list requests; /* struct request: the peer's, being served */
	unsigned request_count, uses;
	uint32_t next_stream, last_seen;
	bool wrapped; /* next_stream has begun anew */
	bool closed;
	struct err why;
	struct ttrpc_options options;
	struct list server_node;
	struct ttrpc_server *server;
};

struct pending {
	struct list node;
	uint32_t stream;
	struct cond done;
	bool answered;
	uint8_t *data; /* the response frame's data, owned */
	size_t len;
};

struct request {
	struct list node;
	struct ttrpc_conn *conn;
	struct fiber *fiber;
	struct timer deadline;
	bool timed_out;
	int64_t timeout_ns; /* as the client asked; 0: none */
	uint32_t stream;
	uint8_t *data;
	size_t len;
};

static const struct {
	enum err_kind kind;
	int code;
} codes[] = {
	{ ERR_NONE, 0 },         { ERR_CANCELLED, 1 }, { ERR_INVALID, 3 },   { ERR_TIMEOUT, 4 },
	{ ERR_NOT_FOUND, 5 },    { ERR_EXISTS, 6 },    { ERR_NO_MEMORY, 8 }, { ERR_STATE, 9 },
	{ ERR_UNSUPPORTED, 12 }, { ERR_DENIED, 7 },    { ERR_SYS, 13 },      { ERR_PEER, 14 },
};
static_assert(ARRAY_LEN(codes) == ERR_KIND_COUNT_, "every error kind needs a gRPC code");

int ttrpc_code_of(const struct err *e)
{
	for (size_t i = 0; i < ARRAY_LEN(codes); i++) {
		if (codes[i].kind == e->kind)
			return codes[i].code;
	}
	return 2; /* UNKNOWN */
}

static enum err_kind kind_of_code(int code)
{
	for (size_t i = 0; i < ARRAY_LEN(codes); i++) {
		if (codes[i].code == code)
			return codes[i].kind;
	}
	return ERR_PEER;
}

void ttrpc_frame_encode(const struct ttrpc_frame *f, uint8_t out[TTRPC_HEADER])
{
	for (int i = 0; i < 4; i++) {
		out[i] = (uint8_t)(f->length >> (24 - 8 * i));
		out[4 + i] = (uint8_t)(f->stream >> (24 - 8 * i));
	}
	out[8] = f->type;
	out[9] = f->flags;
}

int ttrpc_frame_decode(const uint8_t in[TTRPC_HEADER], struct ttrpc_frame *out, struct err *e)
{
	struct ttrpc_frame f = { .type = in[8], .flags = in[9] };

	for (int i = 0; i < 4; i++) {
		f.length = f.length << 8 | in[i];
		f.stream = f.stream << 8 | in[4 + i];
	}
	if (f.length > TTRPC_MAX_DATA)
		return err_set(e, ERR_PEER, 0,
			       "ttrpc frame of %u bytes, at most %d are allowed", f.length,
			       TTRPC_MAX_DATA);
	*out = f;
	return 0;
}

static void conn_unuse(struct ttrpc_conn *c)
{
	BUG_ON(c->uses == 0);
	if (--c->uses)
		return;
	buf_fini(&c->in);
	buf_fini(&c->out);
	free(c);
}

/* Ends the connection; callers and served requests find out by themselves. */
static void conn_shut(struct ttrpc_conn *c, const struct err *why)
{
	if (c->closed)
		return;
	c->closed = true;
	c->why = *why;
	loop_remove(c->loop, &c->source);
	timer_clear(&c->in_stall);
	timer_clear(&c->out_stall);
	fd_close(&c->source.fd);
	buf_fini(&c->in);
	buf_fini(&c->out);
	list_for_each(n, tmp, &c->calls) {
		cond_wake_all(&list_entry(n, struct pending, node)->done);
	}
	list_for_each(m, tmp2, &c->requests) {
		fiber_cancel(list_entry(m, struct request, node)->fiber);
	}
	cond_wake_all(&c->writable);
}

static void conn_fail(struct ttrpc_conn *c, const struct err *why)
{
	void (*closed)(struct ttrpc_conn *, const struct err *, void *) = c->options.closed;

	if (c->closed)
		return;
	c->uses++; /* `closed` may free the connection */
	conn_shut(c, why);
	if (closed)
		closed(c, why, c->options.arg);
	conn_unuse(c);
}

static int conn_fail_set(struct ttrpc_conn *c, enum err_kind kind, int sys, const char *msg)
{
	struct err why;

	err_set(&why, kind, sys, "%s", msg);
	conn_fail(c, &why);
	return -1;
}

/* Sends what the descriptor takes now and asks to be told when it takes more. */
static int conn_flush(struct ttrpc_conn *c, struct err *e)
{
	bool moved = false;

	while (buf_len(&c->out)) {
		ssize_t n = write(c->source.fd, buf_head(&c->out), buf_len(&c->out));

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EAGAIN)
			break;
		if (n < 0)
			return err_set(e, ERR_PEER, errno, "ttrpc write");
		buf_consume(&c->out, (size_t)n);
		moved = true;
	}
	if (buf_len(&c->out) < OUT_HIGH)
		cond_wake_all(&c->writable);
	if (!buf_len(&c->out))
		timer_clear(&c->out_stall);
	else if (moved || !c->out_stall.armed)
		timer_set(c->loop, &c->out_stall, deadline_in(TTRPC_STALL_MS));
	return loop_modify(c->loop, &c->source, buf_len(&c->out) ? EPOLLIN | EPOLLOUT : EPOLLIN,
			   e);
}

static int conn_queue(struct ttrpc_conn *c, uint8_t type, uint32_t stream,
		      const ProtobufCMessage *envelope, size_t size, struct err *e)
{
	struct ttrpc_frame f = { .length = (uint32_t)size, .stream = stream, .type = type };

	if (buf_reserve(&c->out, TTRPC_HEADER + size, e) < 0)
		return -1;
	ttrpc_frame_encode(&f, buf_tail(&c->out));
	buf_produced(&c->out, TTRPC_HEADER);
	buf_produced(&c->out, protobuf_c_message_pack(envelope, buf_tail(&c->out)));
	if (conn_flush(c, e) < 0) {
		conn_fail(c, e);
		return -1;
	}
	return 0;
}

/* Until there is room for a frame of `size`, while the peer is slow. Call in a fiber. */
static int conn_wait_room(struct ttrpc_conn *c, size_t size, int64_t deadline, struct err *e)
{
	if (size > TTRPC_MAX_DATA)
		return err_set(e, ERR_INVALID, 0, "message of %zu bytes is over ttrpc's %d",
			       size, TTRPC_MAX_DATA);
	while (!c->closed && buf_len(&c->out) >= OUT_HIGH) {
		if (cond_wait(&c->writable, deadline, e) < 0)
			return -1;
	}
	if (c->closed)
		return err_set(e, ERR_PEER, 0, "connection ended: %s", c->why.msg);
	return 0;
}

/* ---- serving ---- */

static const struct ttrpc_method *find_method(struct ttrpc_conn *c, const char *service,
					      const char *method,
					      const struct ttrpc_service **service_out)
{
	for (size_t i = 0; i < c->options.service_count; i++) {
		const struct ttrpc_service *s = &c->options.services[i];

		if (!str_eq(s->name, service))
			continue;
		for (size_t j = 0; j < s->method_count; j++) {
			if (str_eq(s->methods[j].name, method)) {
				*service_out = s;
				return &s->methods[j];
			}
		}
	}
	return NULL;
}

static int run_method(struct request *r, const Ttrpc__Request *envelope, struct arena *a,
		      struct buf *payload, struct err *e)
{
	const struct ttrpc_service *s = NULL;
	const struct ttrpc_method *m;
	ProtobufCMessage *req, *resp;
	struct ttrpc_call call;
	char quoted[128];

	m = find_method(r->conn, envelope->service, envelope->method, &s);
	if (!m || !m->run)
		return err_set(e, ERR_UNSUPPORTED, 0, "method %s is not implemented",
			       str_quote(envelope->method, strlen(envelope->method), quoted,
					 sizeof(quoted)));
	if (message_decode(m->request, envelope->payload.data, envelope->payload.len, a, &req,
			   e) < 0) {
		if (e->kind == ERR_PEER)
			e->kind = ERR_INVALID;
		return -1;
	}
	resp = message_new(m->response, a);
	if (!resp)
		return err_oom(e, "a response");
	call = (struct ttrpc_call){
		.conn = r->conn,
		.arena = a,
		.context = s->context,
		.service = s->name,
		.method = m->name,
	};
	if (m->run(&call, req, resp, e) < 0)
		return -1;
	return message_encode(resp, payload, e);
}

static void request_timed_out(struct timer *t)
{
	struct request *r = container_of(t, struct request, deadline);

	r->timed_out = true;
	fiber_cancel(r->fiber);
}

static int request_envelope(struct request *r, struct arena *a, Ttrpc__Request **out,
			    struct err *e)
{
	ProtobufCMessage *m;

	if (message_decode(&ttrpc__request__descriptor, r->data, r->len, a, &m, e) < 0)
		return -1;
	*out = (Ttrpc__Request *)m;
	r->timeout_ns = (*out)->timeout_nano;
	if (r->timeout_ns > 0)
		timer_set(r->conn->loop, &r->deadline,
			  deadline_in(r->timeout_ns / 1000000 + 1));
	return 0;
}

static int send_response(struct ttrpc_conn *c, uint32_t stream, const Ttrpc__Response *resp,
			 struct err *e)
{
	size_t size = protobuf_c_message_get_packed_size(&resp->base);

	/* a peer that takes nothing ends its connection; one that is slow is owed its answers
	 */
	if (conn_wait_room(c, size, DEADLINE_NONE, e) < 0)
		return -1;
	return conn_queue(c, FRAME_RESPONSE, stream, &resp->base, size, e);
}

static void request_answer(struct request *r, struct buf *payload, const struct err *failed)
{
	Ttrpc__Response resp = TTRPC__RESPONSE__INIT;
	Ttrpc__Status status = TTRPC__STATUS__INIT;
	struct err said = *failed, e = ERR_INIT;

	if (failed->kind != ERR_NONE) {
		status.code = r->timed_out ? 4 : ttrpc_code_of(failed);
		if (r->timed_out)
			(void)err_wrap(&said, "no result within %" PRId64 " ms",
				       r->timeout_ns / 1000000);
		status.message = said.msg;
	} else {
		resp.payload.data = buf_head(payload);
		resp.payload.len = buf_len(payload);
	}
	resp.status = &status;
	/* the answer must go out although the request's own time may be over */
	fiber_shield(r->conn->loop, true);
	if (send_response(r->conn, r->stream, &resp, &e) < 0 && !r->conn->closed &&
	    e.kind == ERR_INVALID) { /* too large: say so instead */
		status.code = 13;
		status.message = e.msg;
		resp.payload = (ProtobufCBinaryData){ 0 };
		(void)send_response(r->conn, r->stream, &resp, &(struct err)ERR_INIT);
	}
	fiber_shield(r->conn->loop, false);
}

static void serve_request(void *arg)
{
	struct request *r = arg;
	OWN(arena) struct arena a;
	OWN(buf) struct buf payload = BUF_INIT;
	struct err e = ERR_INIT;
	Ttrpc__Request *envelope;

	arena_init(&a, CALL_ARENA);
	/* what was tried on the way and failed may stand in `e`: the result alone counts */
	if (request_envelope(r, &a, &envelope, &e) == 0 &&
	    run_method(r, envelope, &a, &payload, &e) == 0)
		err_clear(&e);
	timer_clear(&r->deadline);
	if (!r->conn->closed)
		request_answer(r, &payload, &e);
	list_remove(&r->node);
	r->conn->request_count--;
	conn_unuse(r->conn);
	free(r->data);
	free(r);
}

/* One too many is answered, unless the peer does not read what it is answered. */
static int refuse_request(struct ttrpc_conn *c, uint32_t stream)
{
	Ttrpc__Response resp = TTRPC__RESPONSE__INIT;
	Ttrpc__Status status = TTRPC__STATUS__INIT;
	struct err e;

	(void)err_set(&e, ERR_NO_MEMORY, 0, "%d requests are under way, which is the most",
		      TTRPC_MAX_CALLS);
	if (buf_len(&c->out) >= OUT_HIGH)
		return conn_fail_set(c, ERR_PEER, 0, "too many ttrpc requests at once");
	status.code = ttrpc_code_of(&e);
	status.message = e.msg;
	resp.status = &status;
	return conn_queue(c, FRAME_RESPONSE, stream, &resp.base,
			  protobuf_c_message_get_packed_size(&resp.base), &e);
}

static int take_request(struct ttrpc_conn *c, uint32_t stream, const uint8_t *p, size_t len)
{
	struct request *r;
	struct err e;

	/* numbers grow, and after the largest begin anew: half of all are ahead */
	if (stream % 2 == 0 || (int32_t)(stream - c->last_seen) <= 0)
		return conn_fail_set(c, ERR_PEER, 0, "ttrpc stream number out of order");
	c->last_seen = stream;
	if (c->request_count >= TTRPC_MAX_CALLS)
		return refuse_request(c, stream);
	r = mem_new(struct request);
	if (!r)
		return conn_fail_set(c, ERR_NO_MEMORY, 0, "out of memory for a ttrpc request");
	r->conn = c;
	r->stream = stream;
	r->len = len;
	r->deadline.fire = request_timed_out;
	r->data = mem_dup(p, len);
	if (!r->data ||
	    fiber_spawn(c->loop, "ttrpc request", serve_request, r, &r->fiber, &e) < 0) {
		free(r->data);
		free(r);
		return conn_fail_set(c, ERR_NO_MEMORY, 0, "out of memory for a ttrpc request");
	}
	list_append(&c->requests, &r->node);
	c->request_count++;
	c->uses++;
	return 0;
}

/* ---- calling ---- */

static int take_response(struct ttrpc_conn *c, uint32_t stream, const uint8_t *p, size_t len)
{
	list_for_each(n, tmp, &c->calls) {
		struct pending *call = list_entry(n, struct pending, node);

		if (call->stream != stream || call->answered)
			continue;
		call->data = mem_dup(p, len);
		call->len = len;
		call->answered = true;
		cond_wake_all(&call->done);
		return call->data ? 0
				  : conn_fail_set(c, ERR_NO_MEMORY, 0,
						  "out of memory for a response");
	}
	/* an answer to a call that was given up; to one never made is a lie */
	if (stream % 2 == 0 || (int32_t)(stream - c->next_stream) >= 0)
		return conn_fail_set(c, ERR_PEER, 0,
				     "ttrpc response to a call that was not made");
	return 0;
}

static int decode_response(const struct ttrpc_method *m, const uint8_t *p, size_t len,
			   struct arena *a, void *response_out, struct err *e)
{
	ProtobufCMessage *envelope, *resp;
	Ttrpc__Response *r;
	char quoted[400];

	if (message_decode(&ttrpc__response__descriptor, p, len, a, &envelope, e) < 0)
		return -1;
	r = (Ttrpc__Response *)envelope;
	if (r->status && r->status->code)
		return err_set(e, kind_of_code(r->status->code), 0, "%s",
			       str_quote(r->status->message, strlen(r->status->message), quoted,
					 sizeof(quoted)));
	if (!response_out)
		return 0;
	if (message_decode(m->response, r->payload.data, r->payload.len, a, &resp, e) < 0)
		return -1;
	*(ProtobufCMessage **)response_out = resp;
	return 0;
}

static int call_wait(struct ttrpc_conn *c, struct pending *p, int64_t deadline, struct err *e)
{
	while (!p->answered) {
		if (c->closed)
			return err_set(e, ERR_PEER, 0, "connection ended: %s", c->why.msg);
		if (cond_wait(&p->done, deadline, e) < 0)
			return -1;
	}
	return p->data ? 0 : err_oom(e, "a response");
}

static bool is_pending(const struct ttrpc_conn *c, uint32_t stream)
{
	list_for_each(n, tmp, &c->calls) {
		if (list_entry(n, struct pending, node)->stream == stream)
			return true;
	}
	return false;
}

/* After 2^31 calls the numbers begin anew, while some of the first may still wait. */
static uint32_t take_stream(struct ttrpc_conn *c)
{
	uint32_t stream;

	do {
		stream = c->next_stream;
		c->next_stream += 2;
		c->wrapped = c->wrapped || c->next_stream < stream;
	} while (c->wrapped && is_pending(c, stream));
	return stream;
}

/*
 * Only what is queued has a number: the peer wants them in order, and who waits for room may be
 * overtaken.
 */
static int call_send(struct ttrpc_conn *c, const char *service, const struct ttrpc_method *m,
		     const ProtobufCMessage *request, int64_t timeout_ms, int64_t deadline,
		     struct pending *p, struct err *e)
{
	OWN(buf) struct buf payload = BUF_INIT;
	Ttrpc__Request envelope = TTRPC__REQUEST__INIT;
	size_t size;

	if (message_encode(request, &payload, e) < 0)
		return -1;
	envelope.service = (char *)(uintptr_t)service;
	envelope.method = (char *)(uintptr_t)m->name;
	envelope.payload.data = buf_head(&payload);
	envelope.payload.len = buf_len(&payload);
	envelope.timeout_nano = timeout_ms > 0 ? timeout_ms * 1000000 : 0;
	size = protobuf_c_message_get_packed_size(&envelope.base);
	if (conn_wait_room(c, size, deadline, e) < 0)
		return -1;
	p->stream = take_stream(c);
	list_append(&c->calls, &p->node);
	return conn_queue(c, FRAME_REQUEST, p->stream, &envelope.base, size, e);
}

int ttrpc_call(struct ttrpc_conn *c, const char *service, const struct ttrpc_method *m,
	       const void *request, int64_t timeout_ms, struct arena *a, void *response_out,
	       struct err *e)
{
	struct pending p = { 0 };
	int64_t deadline = deadline_in(timeout_ms);
	OWN(arena) struct arena own = { .limit = CALL_ARENA };
	int rc;

	if (c->closed)
		return err_set(e, ERR_PEER, 0, "%s: connection ended: %s", m->name, c->why.msg);
	BUG_ON(response_out && !a);
	c->uses++;
	cond_init(&p.done, c->loop);
	list_init(&p.node);
	rc = call_send(c, service, m, request, timeout_ms, deadline, &p, e);
	if (rc == 0)
		rc = call_wait(c, &p, deadline, e);
	if (rc == 0)
		rc = decode_response(m, p.data, p.len, a ? a : &own, response_out, e);
	list_remove(&p.node);
	free(p.data);
	conn_unuse(c);
	return rc < 0 ? err_wrap(e, "%s", m->name) : 0;
}

/* ---- the connection ---- */

/* Handles the frames that are complete; -1 when the connection has failed. */
static int take_frames(struct ttrpc_conn *c)
{
	struct ttrpc_frame f;
	const uint8_t *p;
	struct err e;

	while (!c->closed && buf_len(&c->in) >= TTRPC_HEADER) {
		p = buf_head(&c->in);
		if (ttrpc_frame_decode(p, &f, &e) < 0) {
			conn_fail(c, &e);
			return -1;
		}
		if (buf_len(&c->in) < TTRPC_HEADER + f.length)
			break;
		p += TTRPC_HEADER;
		if (f.type == FRAME_REQUEST && c->options.service_count) {
			if (take_request(c, f.stream, p, f.length) < 0)
				return -1;
		} else if (f.type == FRAME_RESPONSE) {
			if (take_response(c, f.stream, p, f.length) < 0)
				return -1;
		} else {
			return conn_fail_set(c, ERR_PEER, 0, "ttrpc frame of an unknown type");
		}
		buf_consume(&c->in, TTRPC_HEADER + f.length);
		timer_clear(&c->in_stall);
	}
	if (!c->closed && buf_len(&c->in) && !c->in_stall.armed)
		timer_set(c->loop, &c->in_stall, deadline_in(TTRPC_STALL_MS));
	return c->closed ? -1 : 0;
}

/* How much to read next: the rest of a large frame in one go, else a page or so. */
static size_t read_size(struct ttrpc_conn *c)
{
	struct ttrpc_frame f;
	struct err e;

	if (buf_len(&c->in) >= TTRPC_HEADER &&
	    ttrpc_frame_decode(buf_head(&c->in), &f, &e) == 0 &&
	    TTRPC_HEADER + (size_t)f.length > buf_len(&c->in) + 4096)
		return TTRPC_HEADER + (size_t)f.length - buf_len(&c->in);
	return 4096;
}

static int conn_read(struct ttrpc_conn *c)
{
	/* at most so often in a turn: a peer that never pauses must not starve the others */
	for (int i = 0; i < READS_A_TURN; i++) {
		size_t size = read_size(c);
		struct err e;
		ssize_t n;

		if (buf_reserve(&c->in, size, &e) < 0) {
			conn_fail(c, &e);
			return -1;
		}
		n = read(c->source.fd, buf_tail(&c->in), size);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EAGAIN)
			return 0;
		if (n < 0)
			return conn_fail_set(c, ERR_PEER, errno, "ttrpc read");
		if (n == 0)
			return conn_fail_set(c, ERR_PEER, 0,
					     buf_len(&c->in)
						     ? "closed by the peer within a frame"
						     : "closed by the peer");
		buf_produced(&c->in, (size_t)n);
		if (take_frames(c) < 0)
			return -1;
		if ((size_t)n < size)
			return 0;
	}
	return 0;
}

static void conn_ready(struct source *s, uint32_t events)
{
	struct ttrpc_conn *c = container_of(s, struct ttrpc_conn, source);
	struct err e;

	c->uses++;
	if (events & EPOLLOUT) {
		if (!c->closed && conn_flush(c, &e) < 0)
			conn_fail(c, &e);
	}
	if (!c->closed && (events & (EPOLLIN | EPOLLHUP | EPOLLERR)))
		(void)conn_read(c);
	conn_unuse(c);
}

static void in_stalled(struct timer *t)
{
	(void)conn_fail_set(container_of(t, struct ttrpc_conn, in_stall), ERR_TIMEOUT, 0,
			    "the peer stopped within a ttrpc frame");
}

static void out_stalled(struct timer *t)
{
	(void)conn_fail_set(container_of(t, struct ttrpc_conn, out_stall), ERR_TIMEOUT, 0,
			    "the peer takes no more ttrpc data");
}

int ttrpc_conn_new(struct loop *l, int fd, const struct ttrpc_options *o,
		   struct ttrpc_conn **out, struct err *e)
{
	OWN(fd) int own = fd;
	OWN(free) struct ttrpc_conn *c = mem_new(struct ttrpc_conn);

	if (!c)
		return err_oom(e, "a ttrpc connection");
	if (fd_set_nonblock(fd, true, e) < 0)
		return -1;
	c->loop = l;
	c->options = *o;
	c->next_stream = 1;
	c->uses = 1;
	c->source = (struct source){ .fd = fd, .events = EPOLLIN, .ready = conn_ready };
	c->in_stall.fire = in_stalled;
	c->out_stall.fire = out_stalled;
	cond_init(&c->writable, l);
	list_init(&c->calls);
	list_init(&c->requests);
	list_init(&c->server_node);
	if (loop_add(l, &c->source, e) < 0)
		return -1;
	fd_take(&own);
	*out = TAKE(c);
	return 0;
}

void ttrpc_conn_free(struct ttrpc_conn *c)
{
	struct err why;

	if (!c)
		return;
	err_set(&why, ERR_PEER, 0, "closed");
	conn_shut(c, &why);
	conn_unuse(c);
}

bool ttrpc_conn_is_open(const struct ttrpc_conn *c)
{
	return !c->closed;
}

int ttrpc_conn_fd(const struct ttrpc_conn *c)
{
	return c->source.fd;
}

/* ---- the server ---- */

enum {
	SERVER_MAX_CONNECTIONS = 512,
	ACCEPT_PAUSE_MS = 100
};

struct ttrpc_server {
	struct loop *loop;
	struct source source;
	struct timer
		pause; /* no descriptor or place was free: who waits is asked in a moment */
	const struct ttrpc_service *services;
	size_t service_count;
	bool (*is_welcome)(int fd); /* NULL: everybody is */
	struct list connections;
	size_t count;
};

static void server_conn_closed(struct ttrpc_conn *c, const struct err *why, void *arg)
{
	struct ttrpc_server *s = arg;

	(void)why;
	list_remove(&c->server_node);
	s->count--;
	ttrpc_conn_free(c);
}

static void server_resume(struct timer *t)
{
	struct ttrpc_server *s = container_of(t, struct ttrpc_server, pause);
	struct err e;

	if (loop_modify(s->loop, &s->source, EPOLLIN, &e) < 0)
		timer_set(s->loop, &s->pause, deadline_in(ACCEPT_PAUSE_MS));
}

/* The connection still waits in the socket, which would call again at once, and again. */
static void server_pause(struct ttrpc_server *s)
{
	struct err ignored;

	if (loop_modify(s->loop, &s->source, 0, &ignored) == 0)
		timer_set(s->loop, &s->pause, deadline_in(ACCEPT_PAUSE_MS));
}

static void server_ready(struct source *src, uint32_t events)
{
	struct ttrpc_server *s = container_of(src, struct ttrpc_server, source);
	struct ttrpc_options o = {
		.services = s->services,
		.service_count = s->service_count,
		.closed = server_conn_closed,
		.arg = s,
	};
	struct ttrpc_conn *c;
	struct err e;
	int fd;

	(void)events;
	if (s->count >= SERVER_MAX_CONNECTIONS) {
		server_pause(s); /* until one of them ends */
		return;
	}
	fd = accept4(src->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	if (fd < 0) {
		if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM)
			server_pause(s);
		return;
	}
	if (s->is_welcome && !s->is_welcome(fd)) {
		(void)close(fd);
		return;
	}
	if (ttrpc_conn_new(s->loop, fd, &o, &c, &e) < 0)
		return;
	list_append(&s->connections, &c->server_node);
	s->count++;
}

int ttrpc_server_new(struct loop *l, int listen_fd, const struct ttrpc_service *services,
		     size_t service_count, struct ttrpc_server **out, struct err *e)
{
	OWN(fd) int own = listen_fd;
	OWN(free) struct ttrpc_server *s = mem_new(struct ttrpc_server);

	if (!s)
		return err_oom(e, "a ttrpc server");
	if (fd_set_nonblock(listen_fd, true, e) < 0)
		return -1;
	s->loop = l;
	s->services = services;
	s->service_count = service_count;
	s->source =
		(struct source){ .fd = listen_fd, .events = EPOLLIN, .ready = server_ready };
	s->pause.fire = server_resume;
	list_init(&s->connections);
	if (loop_add(l, &s->source, e) < 0)
		return -1;
	fd_take(&own);
	*out = TAKE(s);
	return 0;
}

void ttrpc_server_admit(struct ttrpc_server *s, bool (*is_welcome)(int fd))
{
	s->is_welcome = is_welcome;
}

void ttrpc_server_free(struct ttrpc_server *s)
{
	if (!s)
		return;
	timer_clear(&s->pause);
	loop_remove(s->loop, &s->source);
	fd_close(&s->source.fd);
	list_for_each(n, tmp, &s->connections) {
		list_remove(n);
		ttrpc_conn_free(list_entry(n, struct ttrpc_conn, server_node));
	}
	free(s);
}

size_t ttrpc_server_requests(const struct ttrpc_server *s)
{
	size_t n = 0;

	list_for_each(i, tmp, &s->connections) {
		n += list_entry(i, struct ttrpc_conn, server_node)->request_count;
	}
	return n;
}

size_t ttrpc_server_connections(const struct ttrpc_server *s)
{
	return s->count;
}
