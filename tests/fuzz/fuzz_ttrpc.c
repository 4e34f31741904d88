/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ttrpc: bytes of a hostile peer into a connection. The first byte chooses the side: a server
 * with a few methods, or a client that waits for answers. The connection must end when the
 * peer's bytes do, and leave nothing behind.
 */
#include "fuzz.h"

#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "agent.pb-c.h"
#include "base/err.h"
#include "base/fd.h"
#include "base/mem.h"
#include "base/time.h"
#include "event/fiber.h"
#include "event/loop.h"
#include "wire/ttrpc.h"

enum {
	INPUT_MAX = 64 * 1024,
	END_MS = 2000
};

struct peer {
	struct loop *loop;
	const uint8_t *data;
	size_t size;
	struct ttrpc_conn *conn;
	struct cond done;
	bool closed;
	int calls;
};

static int run_write(struct ttrpc_call *c, const void *request, void *response, struct err *e)
{
	const Grpc__WriteStreamRequest *req = request;
	Grpc__WriteStreamResponse *resp = response;

	FUZZ_CHECK(req->container_id && c->arena);
	if (req->data.len == 3)
		return err_set(e, ERR_NOT_FOUND, 0, "no '%.50s'", req->container_id);
	resp->len = (uint32_t)req->data.len;
	return 0;
}

static int run_create(struct ttrpc_call *c, const void *request, void *response, struct err *e)
{
	const Grpc__CreateContainerRequest *req = request;
	struct peer *p = c->context;

	(void)response;
	FUZZ_CHECK(req->container_id);
	return fiber_sleep(p->loop, 1, e); /* still under way when the peer ends */
}

static const struct ttrpc_method methods[] = {
	{ "WriteStdin", &grpc__write_stream_request__descriptor,
	  &grpc__write_stream_response__descriptor, run_write },
	{ "CreateContainer", &grpc__create_container_request__descriptor,
	  &grpc__stats_container_response__descriptor, run_create },
};

static void on_closed(struct ttrpc_conn *c, const struct err *why, void *arg)
{
	struct peer *p = arg;

	(void)c;
	FUZZ_CHECK(why->kind != ERR_NONE);
	p->closed = true;
	cond_wake_all(&p->done);
}

static void make_call(void *arg)
{
	OWN(arena) struct arena a = { .limit = 1 << 20 };
	Grpc__CreateContainerRequest req = GRPC__CREATE_CONTAINER_REQUEST__INIT;
	Grpc__StatsContainerResponse *resp;
	struct peer *p = arg;
	struct err e;

	(void)ttrpc_call(p->conn, "grpc.AgentService", &methods[1], &req, END_MS, &a, &resp,
			 &e);
	p->calls--;
	cond_wake_all(&p->done);
}

static void talk(void *arg)
{
	struct peer *p = arg;
	bool client = p->data[0] & 1;
	const struct ttrpc_service service = { "grpc.AgentService", methods, ARRAY_LEN(methods),
					       p };
	const struct ttrpc_options options = { .services = &service,
					       .service_count = client ? 0 : 1,
					       .closed = on_closed,
					       .arg = p };
	int64_t deadline;
	int fds[2];
	struct err e;

	FUZZ_CHECK(fd_socketpair(fds, &e) == 0);
	FUZZ_CHECK(ttrpc_conn_new(p->loop, fds[0], &options, &p->conn, &e) == 0);
	for (; client && p->calls < 3; p->calls++)
		FUZZ_CHECK(fiber_spawn(p->loop, "call", make_call, p, NULL, &e) == 0);
	if (client)
		FUZZ_CHECK(fiber_sleep(p->loop, 0, &e) == 0 || e.kind != ERR_CANCELLED);
	FUZZ_CHECK(fd_write_all(fds[1], p->data + 1, p->size - 1, &e) == 0);
	FUZZ_CHECK(shutdown(fds[1], SHUT_WR) == 0);
	deadline = deadline_in(END_MS);
	while (!p->closed || p->calls)
		FUZZ_CHECK(cond_wait(&p->done, deadline, &e) == 0);
	ttrpc_conn_free(p->conn);
	(void)close(fds[1]);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct peer p = { .data = data, .size = size };
	struct err e;

	if (size == 0 || size > INPUT_MAX)
		return 0;
	FUZZ_CHECK(loop_new(&p.loop, &e) == 0);
	cond_init(&p.done, p.loop);
	FUZZ_CHECK(fiber_main(p.loop, talk, &p, &e) == 0);
	loop_free(p.loop);
	return 0;
}
