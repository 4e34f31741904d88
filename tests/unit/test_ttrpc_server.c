/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A ttrpc server on a unix socket: clients that come, call, stall and go, and the limits they
 * meet. The clock is ours (the linker's --wrap): half a minute of silence takes no time.
 */
#include "unit.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "agent.pb-c.h"
#include "base/fd.h"
#include "base/mem.h"
#include "base/own.h"
#include "base/path.h"
#include "base/time.h"
#include "event/fiber.h"
#include "event/loop.h"
#include "wire/ttrpc.h"
#include "wire/unix_socket.h"

enum {
	CONNECTIONS_MAX = 512 /* of a server */
};

int __real_clock_gettime(clockid_t id, struct timespec *ts);
int __wrap_clock_gettime(clockid_t id, struct timespec *ts);

static time_t ahead_s;

int __wrap_clock_gettime(clockid_t id, struct timespec *ts)
{
	int rc = __real_clock_gettime(id, ts);

	ts->tv_sec += ahead_s;
	return rc;
}

struct fixture {
	struct loop *loop;
	struct ttrpc_server *server;
	char dir[64], path[80];
	struct cond go;
	int begun, ended; /* requests that came, and that were cancelled */
	int closed;
	struct err why;
};

static int run_echo(struct ttrpc_call *c, const void *request, void *response, struct err *e)
{
	const Grpc__WriteStreamRequest *req = request;
	Grpc__ReadStreamResponse *resp = response;
	struct fixture *f = c->context;

	assert_string_equal(c->service, "test.Echo");
	assert_string_equal(c->method, "Echo");
	f->begun++;
	if (strcmp(req->container_id, "large") == 0) {
		resp->data.len = TTRPC_MAX_DATA;
		resp->data.data = arena_alloc(c->arena, resp->data.len);
		return 0;
	}
	if (strcmp(req->container_id, "wait") == 0 &&
	    cond_wait(&f->go, deadline_in(600 * 1000), e) < 0) {
		f->ended++;
		return -1;
	}
	resp->data = req->data;
	return 0;
}

static const struct ttrpc_method methods[] = {
	{ "Echo", &grpc__write_stream_request__descriptor,
	  &grpc__read_stream_response__descriptor, run_echo },
	{ "Nothing", &grpc__write_stream_request__descriptor,
	  &grpc__read_stream_response__descriptor, NULL },
};

static void start_server(struct fixture *f, const struct ttrpc_service *service)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	struct err e;

	(void)snprintf(f->dir, sizeof(f->dir), "/tmp/kata-ttrpc.XXXXXX");
	assert_non_null(mkdtemp(f->dir));
	(void)snprintf(f->path, sizeof(f->path), "%s/s", f->dir);
	memcpy(addr.sun_path, f->path, strlen(f->path));
	assert_true(fd >= 0);
	assert_int_equal(bind(fd, (struct sockaddr *)&addr, sizeof(addr)), 0);
	assert_int_equal(listen(fd, 2 * CONNECTIONS_MAX), 0);
	assert_ok(ttrpc_server_new(f->loop, fd, service, 1, &f->server, &e), &e);
}

static void play(fiber_fn flow)
{
	struct fixture f = { .ended = 0 };
	const struct ttrpc_service service = { "test.Echo", methods, ARRAY_LEN(methods), &f };
	struct err e;

	ahead_s = 0;
	assert_ok(loop_new(&f.loop, &e), &e);
	cond_init(&f.go, f.loop);
	start_server(&f, &service);
	assert_ok(fiber_main(f.loop, flow, &f, &e), &e);
	ttrpc_server_free(f.server);
	loop_free(f.loop);
	assert_ok(path_remove_tree(AT_FDCWD, f.dir, &e), &e);
}

static void on_closed(struct ttrpc_conn *c, const struct err *why, void *arg)
{
	struct fixture *f = arg;

	(void)c;
	f->closed++;
	f->why = *why;
}

static struct ttrpc_conn *client_of(struct fixture *f, int fd)
{
	const struct ttrpc_options o = { .closed = on_closed, .arg = f };
	struct ttrpc_conn *c;
	struct err e;

	if (fd < 0)
		assert_ok(unix_connect(f->path, &fd, &e), &e);
	assert_ok(ttrpc_conn_new(f->loop, fd, &o, &c, &e), &e);
	return c;
}

static int echo(struct ttrpc_conn *c, const char *id, size_t size, int64_t timeout_ms,
		struct err *e)
{
	OWN(arena) struct arena a = { .limit = 16 << 20 };
	OWN(free) uint8_t *data = mem_zalloc(size);
	Grpc__WriteStreamRequest req = GRPC__WRITE_STREAM_REQUEST__INIT;
	Grpc__ReadStreamResponse *resp;

	req.container_id = (char *)(uintptr_t)id;
	req.data = (ProtobufCBinaryData){ .len = size, .data = data };
	if (ttrpc_call(c, "test.Echo", methods, &req, timeout_ms, &a, &resp, e) < 0)
		return -1;
	assert_int_equal(resp->data.len, size);
	return 0;
}

/* Lets the loop turn until the condition holds, at most two real seconds. */
#define TURN_UNTIL(f, condition)                                                               \
	for (int turn_ = 0; !(condition); turn_++) {                                           \
		struct err e_;                                                                 \
                                                                                               \
		if (turn_ > 1000)                                                              \
			fail_msg("never: %s", #condition);                                     \
		assert_ok(fiber_sleep((f)->loop, 2, &e_), &e_);                                \
	}

static void clients_flow(void *arg)
{
	struct fixture *f = arg;
	struct ttrpc_conn *a = client_of(f, -1), *b = client_of(f, -1);
	struct ttrpc_method nothing = methods[1];
	Grpc__WriteStreamRequest req = GRPC__WRITE_STREAM_REQUEST__INIT;
	struct err e;

	assert_ok(echo(a, "x", 5, 5000, &e), &e);
	assert_ok(echo(b, "x", 5, 5000, &e), &e);
	assert_int_equal(ttrpc_server_connections(f->server), 2);
	assert_int_equal(ttrpc_server_requests(f->server), 0);
	/* a row of a table that only a client uses, and an answer that fits no frame */
	assert_err(ttrpc_call(a, "test.Echo", &nothing, &req, 5000, NULL, NULL, &e), &e,
		   ERR_UNSUPPORTED);
	assert_err(echo(a, "large", 1, 5000, &e), &e, ERR_SYS);
	assert_non_null(strstr(e.msg, "is over ttrpc's 4194304"));
	assert_ok(echo(a, "x", 1, 5000, &e), &e);
	assert_err(echo(a, "wait", 1, 20, &e), &e, ERR_TIMEOUT);
	ttrpc_conn_free(b);
	TURN_UNTIL(f, ttrpc_server_connections(f->server) == 1);
	TURN_UNTIL(f, f->ended == 1);
	assert_int_equal(f->closed, 0); /* that is for ends that are the peer's */
	ttrpc_conn_free(a);
}

static void wait_call(void *arg)
{
	struct ttrpc_conn *c = arg;
	struct err e;

	assert_err(echo(c, "wait", 1, -1, &e), &e, ERR_PEER);
}

/* The server goes with a request under way: it is cancelled, the caller told. */
static void server_ends_flow(void *arg)
{
	struct fixture *f = arg;
	struct ttrpc_conn *c = client_of(f, -1);
	struct err e;

	assert_ok(fiber_spawn(f->loop, "call", wait_call, c, NULL, &e), &e);
	TURN_UNTIL(f, f->begun == 1 && ttrpc_server_requests(f->server) == 1);
	assert_true(ttrpc_conn_fd(c) >= 0);
	ttrpc_server_free(TAKE(f->server));
	TURN_UNTIL(f, f->ended == 1 && f->closed == 1);
	assert_int_equal(f->why.kind, ERR_PEER);
	ttrpc_conn_free(c);
}

static double cpu_seconds(void)
{
	struct timespec t;

	(void)__real_clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* Without a descriptor for a client the server rests, and takes him when there is one. */
static void no_descriptor_flow(void *arg)
{
	struct fixture *f = arg;
	struct rlimit before, now;
	struct ttrpc_conn *c;
	double began;
	int fd, last;
	struct err e;

	assert_ok(unix_connect(f->path, &fd, &e), &e);
	last = dup(fd);
	assert_true(last >= 0);
	(void)close(last);
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
	now = (struct rlimit){ .rlim_cur = (rlim_t)last, .rlim_max = before.rlim_max };
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &now), 0);
	began = cpu_seconds();
	assert_ok(fiber_sleep(f->loop, 300, &e), &e);
	assert_true(cpu_seconds() - began < 0.15);
	assert_int_equal(ttrpc_server_connections(f->server), 0);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
	c = client_of(f, fd);
	assert_ok(echo(c, "x", 5, 5000, &e), &e);
	ttrpc_conn_free(c);
}

static void test_no_descriptor(void **state)
{
	(void)state;
	play(no_descriptor_flow);
}

/* One more than there is room for waits until another goes. */
static void too_many_flow(void *arg)
{
	struct fixture *f = arg;
	int fds[CONNECTIONS_MAX];
	struct ttrpc_conn *c;
	struct rlimit files;
	struct err e;

	assert_int_equal(getrlimit(RLIMIT_NOFILE, &files), 0);
	files.rlim_cur = files.rlim_max;
	assert_true(files.rlim_max > 2 * CONNECTIONS_MAX + 32);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &files), 0);
	for (int i = 0; i < CONNECTIONS_MAX; i++) {
		assert_ok(unix_connect(f->path, &fds[i], &e), &e);
		TURN_UNTIL(f, ttrpc_server_connections(f->server) == (size_t)i + 1);
	}
	c = client_of(f, -1);
	assert_err(echo(c, "x", 1, 300, &e), &e, ERR_TIMEOUT);
	assert_int_equal(ttrpc_server_connections(f->server), CONNECTIONS_MAX);
	(void)close(fds[0]);
	assert_ok(echo(c, "x", 1, 5000, &e), &e);
	assert_int_equal(ttrpc_server_connections(f->server), CONNECTIONS_MAX);
	ttrpc_conn_free(c);
	for (int i = 1; i < CONNECTIONS_MAX; i++)
		(void)close(fds[i]);
}

/* A client that begins a frame and says no more holds its connection half a minute. */
static void stalls_flow(void *arg)
{
	struct fixture *f = arg;
	struct ttrpc_conn *other = client_of(f, -1);
	OWN(fd) int fd = -1;
	struct err e;
	char byte;

	assert_ok(unix_connect(f->path, &fd, &e), &e);
	assert_ok(fd_write_all(fd, "\0\0\0\5\0\0\0\1\1\0ab", 12, &e), &e);
	TURN_UNTIL(f, ttrpc_server_connections(f->server) == 2);
	ahead_s += 29;
	assert_ok(echo(other, "x", 1, -1, &e), &e);
	assert_int_equal(ttrpc_server_connections(f->server), 2);
	ahead_s += 2;
	TURN_UNTIL(f, ttrpc_server_connections(f->server) == 1);
	assert_int_equal(recv(fd, &byte, 1, MSG_DONTWAIT), 0);
	assert_ok(echo(other, "x", 1, -1, &e), &e); /* and nobody else's */
	ttrpc_conn_free(other);
}

static void flood_call(void *arg)
{
	struct ttrpc_conn *c = arg;
	struct err e;

	assert_err(echo(c, "x", 300 * 1024, -1, &e), &e, ERR_PEER);
	assert_non_null(strstr(e.msg, "the peer takes no more ttrpc data"));
}

/* A peer that reads nothing: senders wait, then the connection is given up. */
static void reads_nothing_flow(void *arg)
{
	struct fixture *f = arg;
	struct ttrpc_conn *c;
	OWN(fd) int peer = -1;
	struct err e;
	int pair[2];

	assert_ok(fd_socketpair(pair, &e), &e);
	peer = pair[1];
	c = client_of(f, pair[0]);
	for (int i = 0; i < 5; i++)
		assert_ok(fiber_spawn(f->loop, "flood", flood_call, c, NULL, &e), &e);
	assert_ok(fiber_sleep(f->loop, 5, &e), &e);
	/* the queue is full: what has a deadline gives up at it, before the connection does */
	assert_err(echo(c, "x", 1, 20, &e), &e, ERR_TIMEOUT);
	assert_true(ttrpc_conn_is_open(c));
	ahead_s += 31;
	TURN_UNTIL(f, f->closed == 1);
	assert_int_equal(f->why.kind, ERR_TIMEOUT);
	assert_false(ttrpc_conn_is_open(c));
	assert_ok(fiber_sleep(f->loop, 2, &e), &e);
	assert_err(echo(c, "x", 1, 20, &e), &e, ERR_PEER);
	ttrpc_conn_free(c);
}

/* Request{service: "test.Echo", method: "Echo", payload: {container_id: "wait"}} */
static void ask_to_wait(int fd, uint32_t stream)
{
	static const char body[] = "\x0a\x09test.Echo\x12\x04"
				   "Echo\x1a\x06\x0a\x04wait";
	struct ttrpc_frame h = { sizeof(body) - 1, stream, 1, 0 };
	uint8_t frame[64];

	ttrpc_frame_encode(&h, frame);
	memcpy(frame + TTRPC_HEADER, body, sizeof(body) - 1);
	if (send(fd, frame, TTRPC_HEADER + sizeof(body) - 1, MSG_NOSIGNAL) < 0)
		assert_int_equal(errno, EPIPE);
}

/* After the largest number of a stream they begin anew. */
static void wrap_flow(void *arg)
{
	static const uint32_t numbers[] = { 1, 0x7fffffff, 0xfffffffd, 0xffffffff, 1, 3 };
	struct fixture *f = arg;
	OWN(fd) int fd = -1;
	struct err e;

	assert_ok(unix_connect(f->path, &fd, &e), &e);
	for (size_t i = 0; i < ARRAY_LEN(numbers); i++) {
		ask_to_wait(fd, numbers[i]);
		TURN_UNTIL(f, ttrpc_server_requests(f->server) == i + 1);
	}
	ask_to_wait(fd, 3);
	TURN_UNTIL(f, ttrpc_server_connections(f->server) == 0);
	TURN_UNTIL(f, f->ended == (int)ARRAY_LEN(numbers));
}

/* A client that asks for more at once than anybody needs: what is too much is refused. */
static void greedy_flow(void *arg)
{
	struct fixture *f = arg;
	OWN(fd) int fd = -1;
	uint8_t answer[256];
	struct ttrpc_frame h;
	struct err e;
	ssize_t n;

	assert_ok(unix_connect(f->path, &fd, &e), &e);
	for (uint32_t i = 0; i < TTRPC_MAX_CALLS; i++) {
		ask_to_wait(fd, 2 * i + 1);
		if (i % 16 == 15)
			assert_ok(fiber_sleep(f->loop, 0, &e), &e);
	}
	TURN_UNTIL(f, ttrpc_server_requests(f->server) == TTRPC_MAX_CALLS);
	ask_to_wait(fd, 2 * TTRPC_MAX_CALLS + 1);
	TURN_UNTIL(f, (n = recv(fd, answer, sizeof(answer), MSG_DONTWAIT)) > 0);
	assert_true(n > TTRPC_HEADER);
	assert_ok(ttrpc_frame_decode(answer, &h, &e), &e);
	assert_int_equal(h.stream, 2 * TTRPC_MAX_CALLS + 1);
	assert_non_null(memmem(answer, (size_t)n, "which is the most", 17));
	assert_int_equal(ttrpc_server_requests(f->server), TTRPC_MAX_CALLS);
	assert_int_equal(f->ended, 0);
	fd_close(&fd);
	TURN_UNTIL(f, f->ended == TTRPC_MAX_CALLS);
}

/* One that asks on and on and reads no answer fails its connection. */
static void deaf_flow(void *arg)
{
	struct fixture *f = arg;
	OWN(fd) int fd = -1;
	struct err e;

	assert_ok(unix_connect(f->path, &fd, &e), &e);
	for (uint32_t i = 0;
	     i < 4 * TTRPC_MAX_CALLS && (i == 0 || ttrpc_server_connections(f->server)); i++) {
		ask_to_wait(fd, 2 * i + 1);
		assert_ok(fiber_sleep(f->loop, 0, &e), &e);
	}
	TURN_UNTIL(f, ttrpc_server_connections(f->server) == 0);
	TURN_UNTIL(f, f->ended == TTRPC_MAX_CALLS);
}

/* The peer goes away after every single byte of an exchange. */
static void dying_flow(void *arg)
{
	static const char body[] = "\x0a\x09test.Echo\x12\x04"
				   "Echo\x1a\x03\x0a\x01x";
	struct fixture *f = arg;
	uint8_t frame[64];
	struct ttrpc_frame h = { sizeof(body) - 1, 1, 1, 0 };
	size_t len = TTRPC_HEADER + sizeof(body) - 1;
	struct err e;

	ttrpc_frame_encode(&h, frame);
	memcpy(frame + TTRPC_HEADER, body, sizeof(body) - 1);
	for (size_t n = 0; n <= len; n++) {
		int fd;

		assert_ok(unix_connect(f->path, &fd, &e), &e);
		assert_ok(fd_write_all(fd, frame, n, &e), &e);
		TURN_UNTIL(f, ttrpc_server_connections(f->server) == 1);
		(void)close(fd);
		TURN_UNTIL(f, ttrpc_server_connections(f->server) == 0);
		assert_int_equal(ttrpc_server_requests(f->server), 0);
	}
}

/* The same from the other side: a server that dies after each byte of its answer. */
static void answer_cut_flow(void *arg)
{
	struct fixture *f = arg;
	struct err e;

	for (size_t n = 0; n < 16; n++) {
		static const uint8_t answer[16] = { 0, 0, 0, 6,    0, 0,    0,
						    1, 2, 0, 0x12, 4, 0x12, 2 };
		struct ttrpc_conn *client;
		int pair[2];

		assert_ok(fd_socketpair(pair, &e), &e);
		client = client_of(f, pair[0]);
		assert_ok(fd_write_all(pair[1], answer, n, &e), &e);
		assert_int_equal(shutdown(pair[1], SHUT_WR), 0);
		assert_err(echo(client, "x", 2, 5000, &e), &e, ERR_PEER);
		assert_string_equal(strrchr(e.msg, ':'),
				    n ? ": closed by the peer within a frame"
				      : ": closed by the peer");
		ttrpc_conn_free(client);
		(void)close(pair[1]);
	}
}

static void test_connect(void **state)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	char dir[] = "/tmp/kata-connect.XXXXXX", path[64], url[80], longest[200];
	OWN(fd) int listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	int fd = 77, waiting[8], n = 0;
	struct err e;

	assert_non_null(mkdtemp(dir));
	(void)snprintf(path, sizeof(path), "%s/s", dir);
	(void)snprintf(url, sizeof(url), "unix://%s", path);
	assert_err(unix_connect(path, &fd, &e), &e, ERR_NOT_FOUND);
	assert_non_null(strstr(e.msg, path));
	memcpy(addr.sun_path, path, strlen(path));
	assert_int_equal(bind(listener, (struct sockaddr *)&addr, sizeof(addr)), 0);
	assert_err(unix_connect(url, &fd, &e), &e, ERR_NOT_FOUND); /* nobody listens */
	assert_int_equal(e.sys, ECONNREFUSED);
	assert_int_equal(listen(listener, 1), 0);
	assert_ok(unix_connect(url, &fd, &e), &e);
	(void)close(fd);
	fd = 77;
	/* a queue that is full is an error, not a wait */
	while (n < 8 && unix_connect(path, &waiting[n], &e) == 0)
		n++;
	assert_in_range(n, 1, 7);
	assert_err(unix_connect(path, &fd, &e), &e, ERR_SYS);
	assert_int_equal(e.sys, EAGAIN);
	while (n > 0)
		(void)close(waiting[--n]);
	memset(longest, 'x', sizeof(longest) - 1);
	longest[sizeof(longest) - 1] = '\0';
	assert_err(unix_connect(longest, &fd, &e), &e, ERR_INVALID);
	longest[sizeof(addr.sun_path) - 1] = '\0'; /* as long as may be */
	assert_err(unix_connect(longest, &fd, &e), &e, ERR_NOT_FOUND);
	assert_int_equal(fd, 77);
	assert_ok(path_remove_tree(AT_FDCWD, dir, &e), &e);
}

static void test_codes(void **state)
{
	for (int kind = 0; kind < ERR_KIND_COUNT_; kind++) {
		struct err e = { .kind = (enum err_kind)kind };

		assert_in_range(ttrpc_code_of(&e), kind == ERR_NONE ? 0 : 1, 16);
	}
	assert_int_equal(ttrpc_code_of(&(struct err){ .kind = (enum err_kind)99 }), 2);
}

static void test_frame(void **state)
{
	struct ttrpc_frame f = {
		.length = TTRPC_MAX_DATA, .stream = 0x01020304, .type = 2, .flags = 9
	};
	struct ttrpc_frame back = { 0 };
	uint8_t raw[TTRPC_HEADER];
	struct err e;

	ttrpc_frame_encode(&f, raw);
	assert_memory_equal(raw, "\0\x40\0\0\1\2\3\4\2\x09", TTRPC_HEADER);
	assert_ok(ttrpc_frame_decode(raw, &back, &e), &e);
	assert_memory_equal(&back, &f, sizeof(f));
	raw[3] = 1;
	back.length = 5;
	assert_err(ttrpc_frame_decode(raw, &back, &e), &e, ERR_PEER);
	assert_int_equal(back.length, 5);
}

#define FLOW(name)                                                                             \
	static void test_##name(void **state)                                                  \
	{                                                                                      \
		(void)state;                                                                   \
		play(name##_flow);                                                             \
	}
FLOW(clients)
FLOW(server_ends)
FLOW(too_many)
FLOW(stalls)
FLOW(reads_nothing)
FLOW(greedy)
FLOW(deaf)
FLOW(wrap)
FLOW(dying)
FLOW(answer_cut)

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_clients),       cmocka_unit_test(test_server_ends),
		cmocka_unit_test(test_too_many),      cmocka_unit_test(test_stalls),
		cmocka_unit_test(test_reads_nothing), cmocka_unit_test(test_greedy),
		cmocka_unit_test(test_deaf),          cmocka_unit_test(test_wrap),
		cmocka_unit_test(test_dying),         cmocka_unit_test(test_answer_cut),
		cmocka_unit_test(test_connect),       cmocka_unit_test(test_codes),
		cmocka_unit_test(test_frame),         cmocka_unit_test(test_no_descriptor),
	};

	return cmocka_run_group_tests_name("ttrpc server", tests, NULL, NULL);
}
