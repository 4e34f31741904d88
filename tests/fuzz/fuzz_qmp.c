/* SPDX-License-Identifier: Apache-2.0 */
/*
 * QMP: bytes of a monitor that a guest may have taken over. Each line is decoded alone; then
 * all of them come over a connection with commands in flight. The connection ends when the
 * monitor's bytes do, every command with it, and nothing is left behind.
 */
#include "fuzz.h"

#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/err.h"
#include "base/fd.h"
#include "base/own.h"
#include "base/time.h"
#include "event/fiber.h"
#include "event/loop.h"
#include "wire/json.h"
#include "wire/qmp.h"

enum {
	INPUT_MAX = 64 * 1024,
	CALLS = 3,
	END_MS = 2000
};

struct monitor {
	struct loop *loop;
	const uint8_t *data;
	size_t size;
	struct qmp *qmp;
	struct cond done;
	int lost, calls;
};

static void on_event(const char *name, const struct jval *data, void *arg)
{
	struct monitor *m = arg;

	FUZZ_CHECK(name && m->lost == 0);
	FUZZ_CHECK(!data || jval_type(data) == JVAL_OBJECT);
}

static void on_lost(const struct err *why, void *arg)
{
	struct monitor *m = arg;

	FUZZ_CHECK(why->kind == ERR_PEER && why->msg[0]);
	m->lost++;
	cond_wake_all(&m->done);
}

static void command(void *arg)
{
	OWN(jval) struct jval *ret = NULL;
	struct monitor *m = arg;
	struct err e = ERR_INIT;

	if (qmp_handshake(m->qmp, deadline_in(END_MS), &e) == 0 &&
	    qmp_execute(m->qmp, "query-status", NULL, deadline_in(END_MS), &ret, &e) == 0)
		FUZZ_CHECK(ret);
	else
		FUZZ_CHECK(e.kind != ERR_NONE && e.kind != ERR_TIMEOUT);
	m->calls--;
	cond_wake_all(&m->done);
}

static void talk(void *arg)
{
	struct qmp_callbacks cb = { .event = on_event, .lost = on_lost, .arg = arg };
	struct monitor *m = arg;
	int64_t deadline;
	int fds[2];
	struct err e;

	FUZZ_CHECK(fd_socketpair(fds, &e) == 0);
	FUZZ_CHECK(qmp_new(m->loop, fds[0], &cb, &m->qmp, &e) == 0);
	for (; m->calls < CALLS; m->calls++)
		FUZZ_CHECK(fiber_spawn(m->loop, "command", command, m, NULL, &e) == 0);
	/* two pieces: a line may be cut anywhere */
	FUZZ_CHECK(fd_write_all(fds[1], m->data, m->size / 2, &e) == 0);
	FUZZ_CHECK(fiber_sleep(m->loop, 0, &e) == 0);
	if (send(fds[1], m->data + m->size / 2, m->size - m->size / 2, MSG_NOSIGNAL) < 0)
		FUZZ_CHECK(errno == EPIPE || errno == ECONNRESET);
	FUZZ_CHECK(shutdown(fds[1], SHUT_WR) == 0);
	deadline = deadline_in(END_MS);
	while (!m->lost || m->calls)
		FUZZ_CHECK(cond_wait(&m->done, deadline, &e) == 0);
	FUZZ_CHECK(m->lost == 1);
	qmp_free(m->qmp);
	(void)close(fds[1]);
}

static void decode_lines(const uint8_t *data, size_t size)
{
	const uint8_t *end = data + size;

	for (const uint8_t *p = data; p < end;) {
		const uint8_t *nl = memchr(p, '\n', (size_t)(end - p));
		size_t len = (size_t)((nl ? nl : end) - p);
		struct qmp_message m = { 0 };
		struct err e;

		if (qmp_decode((const char *)p, len, &m, &e) == 0) {
			FUZZ_CHECK(m.tree && (m.kind != QMP_RETURN || m.value));
			FUZZ_CHECK(m.kind != QMP_EVENT || m.name);
			FUZZ_CHECK(m.kind != QMP_ERROR || (m.name && m.text));
		} else {
			FUZZ_CHECK(!m.tree && e.kind == ERR_PEER);
		}
		jval_free(m.tree);
		p += len + 1;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct monitor m = { .data = data, .size = size };
	struct err e;

	if (size > INPUT_MAX)
		return 0;
	decode_lines(data, size);
	FUZZ_CHECK(loop_new(&m.loop, &e) == 0);
	cond_init(&m.done, m.loop);
	FUZZ_CHECK(fiber_main(m.loop, talk, &m, &e) == 0);
	loop_free(m.loop);
	return 0;
}
