/* SPDX-License-Identifier: Apache-2.0 */
/* ttrpc: calls in flight at once, errors, deadlines, and peers that break the rules. */
#include "unit.h"

#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "agent.pb-c.h"
#include "base/buf.h"
#include "base/fd.h"
#include "base/mem.h"
#include "base/own.h"
#include "base/time.h"
#include "event/fiber.h"
#include "event/loop.h"
#include "wire/ttrpc.h"

struct fixture {
	struct loop *loop;
	struct ttrpc_conn *client, *server;
	int raw; /* the peer's end when a test speaks for itself */
	struct err closed;
	int done, cancelled;
};

static int run_echo(struct ttrpc_call *c, const void *request, void *response, struct err *e)
{
	const Grpc__WriteStreamRequest *req = request;
	Grpc__ReadStreamResponse *resp = response;
	struct fixture *f = c->context;

	if (strcmp(req->container_id, "missing") == 0)
		return err_set(e, ERR_NOT_FOUND, 0, "container 'missing' does not exist");
	if (strcmp(req->container_id, "slow") == 0 && fiber_sleep(f->loop, 2000, e) < 0) {
		f->cancelled++;
		return -1;
	}
	/* something on the way failed and was dealt with: the call succeeds all the same */
	(void)err_set(e, ERR_UNSUPPORTED, 0, "left behind");
	resp->data = req->data;
	return 0;
}

static const struct ttrpc_method methods[] = {
	{ "Echo", &grpc__write_stream_request__descriptor,
	  &grpc__read_stream_response__descriptor, run_echo },
};

static void on_closed(struct ttrpc_conn *c, const struct err *why, void *arg)
{
	struct fixture *f = arg;

	(void)c;
	f->closed = *why;
}

static int echo(struct fixture *f, const char *id, size_t size, int64_t timeout, struct err *e)
{
	OWN(arena) struct arena a = { .limit = 16 << 20 };
	Grpc__WriteStreamRequest req = GRPC__WRITE_STREAM_REQUEST__INIT;
	Grpc__ReadStreamResponse *resp;
	OWN(free) uint8_t *data = mem_zalloc(size);

	memset(data, 'd', size);
	req.container_id = (char *)(uintptr_t)id;
	req.data = (ProtobufCBinaryData){ .len = size, .data = data };
	if (ttrpc_call(f->client, "test.Echo", methods, &req, timeout, &a, &resp, e) < 0)
		return -1;
	assert_int_equal(resp->data.len, size);
	if (size)
		assert_memory_equal(resp->data.data, data, size);
	return 0;
}

static void one_call(void *arg)
{
	struct fixture *f = arg;
	struct err e;

	assert_ok(echo(f, "x", 300000, 5000, &e), &e);
	f->done++;
}

static void calls_flow(void *arg)
{
	struct fixture *f = arg;
	struct err e;

	assert_ok(echo(f, "x", 0, 1000, &e), &e);
	assert_ok(echo(f, "x", (4 << 20) - 100, 5000, &e), &e);
	assert_err(echo(f, "x", 4 << 20, 5000, &e), &e, ERR_INVALID);
	assert_err(echo(f, "missing", 1, 1000, &e), &e, ERR_NOT_FOUND);
	assert_non_null(strstr(e.msg, "'missing' does not exist"));
	for (int i = 0; i < 20; i++)
		assert_ok(fiber_spawn(f->loop, "call", one_call, f, NULL, &e), &e);
	while (f->done < 20)
		assert_ok(fiber_sleep(f->loop, 2, &e), &e);
	assert_err(echo(f, "slow", 1, 20, &e), &e, ERR_TIMEOUT);
	assert_ok(echo(f, "x", 10, 1000, &e), &e); /* a late answer does no harm */
	assert_ok(fiber_sleep(f->loop, 20, &e), &e);
	assert_int_equal(f->cancelled, 1);
}

struct caller {
	struct fixture *f;
	size_t size;
	int when; /* asks when this is readable, or -1 */
};

static void call_nobody(void *arg)
{
	struct caller *c = arg;
	struct err e;

	if (c->when >= 0)
		assert_ok(fiber_wait_fd(c->f->loop, c->when, EPOLLIN, deadline_in(5000), &e),
			  &e);
	assert_err(echo(c->f, "x", c->size, 10000, &e), &e, ERR_PEER);
	c->f->done++;
}

/* What has come by now. */
static void drain(struct fixture *f, struct buf *in)
{
	struct err e;
	ssize_t n;

	do {
		assert_ok(buf_reserve(in, 65536, &e), &e);
		n = recv(f->raw, buf_tail(in), 65536, MSG_DONTWAIT);
		buf_produced(in, n > 0 ? (size_t)n : 0);
	} while (n > 0);
}

/*
 * A caller waits for room; another one is woken in the turn in which there is some, before it:
 * it may go first, but the peer wants the numbers in order.
 */
static void overtaken_flow(void *arg)
{
	enum {
		CALLERS = 3
	};
	struct fixture *f = arg;
	OWN(fd) int now = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	OWN(buf) struct buf in = BUF_INIT;
	struct caller callers[CALLERS] = { { f, 500000, -1 }, { f, 1, -1 }, { f, 2, now } };
	struct ttrpc_frame frame;
	uint32_t last = 0;
	struct err e;

	for (int i = 0; i < CALLERS; i++)
		assert_ok(fiber_spawn(f->loop, "call", call_nobody, &callers[i], NULL, &e), &e);
	assert_ok(fiber_sleep(f->loop, 20, &e), &e);
	assert_int_equal(eventfd_write(now, 1), 0);
	for (int i = 0; i < 20; i++) {
		drain(f, &in);
		assert_ok(fiber_sleep(f->loop, 2, &e), &e);
	}
	for (int i = 0; i < CALLERS; i++) {
		assert_true(buf_len(&in) >= TTRPC_HEADER);
		assert_ok(ttrpc_frame_decode(buf_head(&in), &frame, &e), &e);
		assert_true(frame.stream > last);
		last = frame.stream;
		buf_consume(&in, TTRPC_HEADER + frame.length);
	}
	assert_int_equal(buf_len(&in), 0);
	fd_close(&f->raw);
	while (f->done < CALLERS)
		assert_ok(fiber_sleep(f->loop, 2, &e), &e);
}

static void test_overtaken(void **state)
{
	struct fixture f = { .raw = -1 };
	struct ttrpc_options client = { .closed = on_closed, .arg = &f };
	struct err e;
	int p[2];

	(void)state;
	assert_ok(loop_new(&f.loop, &e), &e);
	assert_ok(fd_socketpair(p, &e), &e);
	f.raw = p[1];
	assert_ok(ttrpc_conn_new(f.loop, p[0], &client, &f.client, &e), &e);
	assert_ok(fiber_main(f.loop, overtaken_flow, &f, &e), &e);
	ttrpc_conn_free(f.client);
	loop_free(f.loop);
}

static void unknown_flow(void *arg)
{
	struct fixture *f = arg;
	struct ttrpc_method other = methods[0];
	Grpc__WriteStreamRequest req = GRPC__WRITE_STREAM_REQUEST__INIT;
	struct err e;

	other.name = "Nothing";
	assert_err(ttrpc_call(f->client, "test.Echo", &other, &req, 1000, NULL, NULL, &e), &e,
		   ERR_UNSUPPORTED);
}

static void slow_call(void *arg)
{
	struct fixture *f = arg;
	struct err e;

	assert_err(echo(f, "slow", 1, 5000, &e), &e, ERR_PEER);
	f->done++;
}

static void closing_flow(void *arg)
{
	struct fixture *f = arg;
	struct err e;

	assert_ok(fiber_spawn(f->loop, "call", slow_call, f, NULL, &e), &e);
	assert_ok(fiber_sleep(f->loop, 10, &e), &e);
	ttrpc_conn_free(TAKE(f->server));
	while (!f->done)
		assert_ok(fiber_sleep(f->loop, 2, &e), &e);
	assert_int_equal(f->cancelled, 1);
	assert_false(ttrpc_conn_is_open(f->client));
}

static void run(fiber_fn flow)
{
	struct fixture f = { .raw = -1 };
	struct ttrpc_service service = {
		.name = "test.Echo",
		.methods = methods,
		.method_count = 1,
		.context = &f,
	};
	struct ttrpc_options server = { .services = &service, .service_count = 1 };
	struct ttrpc_options client = { .closed = on_closed, .arg = &f };
	struct err e;
	int p[2];

	assert_ok(loop_new(&f.loop, &e), &e);
	assert_ok(fd_socketpair(p, &e), &e);
	assert_ok(ttrpc_conn_new(f.loop, p[0], &client, &f.client, &e), &e);
	assert_ok(ttrpc_conn_new(f.loop, p[1], &server, &f.server, &e), &e);
	assert_ok(fiber_main(f.loop, flow, &f, &e), &e);
	ttrpc_conn_free(f.client);
	ttrpc_conn_free(f.server);
	loop_free(f.loop);
}

/* What a hostile peer writes, and the reason the connection must fail with. */
static const struct {
	const char *bytes;
	size_t len;
	const char *reason;
} hostile[] = {
	{ "\xff\xff\xff\xff\0\0\0\1\2\0", 10, "at most" },
	{ "\0\0\0\0\0\0\0\1\7\0", 10, "unknown type" },
	{ "\0\0\0\0\0\0\0\1\2\0", 10, "not made" },
	{ "\0\0\0\0\0\0\0\2\1\0", 10, "out of order" },
	{ "\0\0\0\5\0\0\0\1\1\0", 10, "within a frame" },
};

static void hostile_flow(void *arg)
{
	struct fixture *f = arg;
	struct err e;

	while (f->closed.kind == ERR_NONE)
		assert_ok(fiber_sleep(f->loop, 1, &e), &e);
}

static bool nobody(int fd)
{
	(void)fd;
	return false;
}

struct door {
	struct loop *loop;
	struct ttrpc_server *server;
	struct sockaddr_un at;
};

/* One who is not welcome sees the end at once, and is no connection. */
static void door_flow(void *arg)
{
	struct door *d = arg;
	OWN(fd) int in = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	OWN(fd) int out = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	int64_t deadline = deadline_in(5000);
	struct err e;
	size_t got;
	char c;

	assert_int_equal(connect(in, (struct sockaddr *)&d->at, sizeof(d->at)), 0);
	while (ttrpc_server_connections(d->server) == 0 && deadline_left(deadline) > 0)
		assert_ok(fiber_sleep(d->loop, 1, &e), &e);
	assert_int_equal(ttrpc_server_connections(d->server), 1);
	ttrpc_server_admit(d->server, nobody);
	assert_int_equal(connect(out, (struct sockaddr *)&d->at, sizeof(d->at)), 0);
	assert_ok(fd_set_nonblock(out, true, &e), &e);
	assert_ok(fiber_read(d->loop, out, &c, 1, deadline, &got, &e), &e);
	assert_int_equal(got, 0);
	assert_int_equal(ttrpc_server_connections(d->server), 1);
}

static void test_door(void **state)
{
	struct door d = { .at = { .sun_family = AF_UNIX } };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	struct err e;

	(void)state;
	/* an abstract name: no file */
	(void)snprintf(d.at.sun_path + 1, sizeof(d.at.sun_path) - 1, "test_ttrpc.%d",
		       (int)getpid());
	assert_int_equal(bind(fd, (struct sockaddr *)&d.at, sizeof(d.at)), 0);
	assert_int_equal(listen(fd, 4), 0);
	assert_ok(loop_new(&d.loop, &e), &e);
	assert_ok(ttrpc_server_new(d.loop, fd, NULL, 0, &d.server, &e), &e);
	assert_ok(fiber_main(d.loop, door_flow, &d, &e), &e);
	ttrpc_server_free(d.server);
	loop_free(d.loop);
}

static void test_hostile(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(hostile); i++) {
		struct fixture f = { .raw = -1 };
		struct ttrpc_service service = {
			.name = "test.Echo",
			.methods = methods,
			.method_count = 1,
			.context = &f,
		};
		struct ttrpc_options o = {
			.services = &service,
			.service_count = 1,
			.closed = on_closed,
			.arg = &f,
		};
		struct err e;
		int p[2];

		assert_ok(loop_new(&f.loop, &e), &e);
		assert_ok(fd_socketpair(p, &e), &e);
		assert_ok(ttrpc_conn_new(f.loop, p[0], &o, &f.server, &e), &e);
		assert_ok(fd_write_all(p[1], hostile[i].bytes, hostile[i].len, &e), &e);
		(void)close(p[1]);
		assert_ok(fiber_main(f.loop, hostile_flow, &f, &e), &e);
		if (!strstr(f.closed.msg, hostile[i].reason))
			fail_msg("'%s' lacks '%s'", f.closed.msg, hostile[i].reason);
		ttrpc_conn_free(f.server);
		loop_free(f.loop);
	}
}

#define FLOW(name)                                                                             \
	static void test_##name(void **state)                                                  \
	{                                                                                      \
		(void)state;                                                                   \
		run(name##_flow);                                                              \
	}
FLOW(calls)
FLOW(unknown)
FLOW(closing)

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_calls),   cmocka_unit_test(test_unknown),
		cmocka_unit_test(test_closing), cmocka_unit_test(test_hostile),
		cmocka_unit_test(test_door),    cmocka_unit_test(test_overtaken),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
