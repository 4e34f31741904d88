/* SPDX-License-Identifier: Apache-2.0 */
/* The QMP client against a monitor that behaves, stalls, lies or goes away. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/own.h"
#include "base/time.h"
#include "event/fiber.h"
#include "event/loop.h"
#include "unit.h"
#include "wire/json.h"
#include "wire/qmp.h"

#define GREETING "{\"QMP\": {\"version\": {}, \"capabilities\": []}}\r\n"

struct scene {
	struct loop *loop;
	struct qmp *qmp;
	int peer;
	int events, lost;
	char last_event[32];
	void (*body)(struct scene *s);
	struct err second;
	int second_result;
	bool second_done;
};

static void on_event(const char *name, const struct jval *data, void *arg)
{
	struct scene *s = arg;

	(void)data;
	s->events++;
	(void)snprintf(s->last_event, sizeof(s->last_event), "%s", name);
}

static void on_lost(const struct err *why, void *arg)
{
	struct scene *s = arg;

	assert_int_equal(why->kind, ERR_PEER);
	s->lost++;
}

static void say(struct scene *s, const char *text)
{
	assert_int_equal(send(s->peer, text, strlen(text), MSG_NOSIGNAL),
			 (ssize_t)strlen(text));
}

/* Reads one line of the client. */
static void hear(struct scene *s, char *out, size_t size)
{
	size_t n = 0, got;
	struct err e;

	do {
		assert_ok(fiber_read(s->loop, s->peer, out + n, 1, deadline_in(2000), &got, &e),
			  &e);
		assert_int_equal(got, 1);
	} while (out[n++] != '\n' && n < size - 1);
	out[n] = '\0';
}

/* The monitor's side of the handshake. */
static void greet(void *arg)
{
	struct scene *s = arg;
	char line[200];

	say(s, "{\"QMP\": {\"version\"");
	say(s, ": {}, \"capabilities\": []}}\r\n");
	hear(s, line, sizeof(line));
	assert_string_equal(line, "{\"execute\":\"qmp_capabilities\",\"id\":1}\n");
	say(s, "{\"return\": {}, \"id\": 1}\r\n");
}

static void connect_up(struct scene *s)
{
	struct err e;

	assert_ok(fiber_spawn(s->loop, "monitor", greet, s, NULL, &e), &e);
	assert_ok(qmp_handshake(s->qmp, deadline_in(2000), &e), &e);
}

static void in_fiber(void *arg)
{
	struct scene *s = arg;

	s->body(s);
	qmp_free(TAKE(s->qmp));
	fd_close(&s->peer);
}

static void play(void (*body)(struct scene *s))
{
	struct scene s = { .body = body };
	struct qmp_callbacks cb = { .event = on_event, .lost = on_lost, .arg = &s };
	struct err e;
	int pair[2];

	assert_ok(loop_new(&s.loop, &e), &e);
	assert_ok(fd_socketpair(pair, &e), &e);
	s.peer = pair[1];
	assert_ok(fd_set_nonblock(s.peer, true, &e), &e);
	assert_ok(qmp_new(s.loop, pair[0], &cb, &s.qmp, &e), &e);
	assert_ok(fiber_main(s.loop, in_fiber, &s, &e), &e);
	loop_free(s.loop);
}

static void second_call(void *arg)
{
	struct scene *s = arg;

	s->second_result =
		qmp_execute(s->qmp, "second", NULL, deadline_in(2000), NULL, &s->second);
	s->second_done = true;
}

static void answer_reversed(void *arg)
{
	struct scene *s = arg;
	char line[200];

	hear(s, line, sizeof(line));
	hear(s, line, sizeof(line));
	say(s, "{\"event\": \"STOP\", \"timestamp\": {}}\r\n{\"error\": {\"class\": "
	       "\"DeviceNotFound\", \"desc\": \"no \\u0007 x\"}, \"id\": 2}\r\n");
	say(s, "{\"return\": {\"n\": 5}, \"id\": 3}\r\n");
}

static void conversation(struct scene *s)
{
	OWN(jval) struct jval *ret = NULL;
	int64_t n;
	struct err e;

	connect_up(s);
	assert_ok(fiber_spawn(s->loop, "monitor", answer_reversed, s, NULL, &e), &e);
	assert_ok(fiber_spawn(s->loop, "second", second_call, s, NULL, &e), &e);
	assert_ok(fiber_sleep(s->loop, 20, &e), &e); /* "second" has id 2 */
	assert_ok(qmp_execute(s->qmp, "first", NULL, deadline_in(2000), &ret, &e), &e);
	assert_true(jval_int(jval_get(ret, "n"), &n) && n == 5);
	assert_int_equal(s->events, 1);
	assert_string_equal(s->last_event, "STOP");
	assert_true(s->second_done);
	assert_err(s->second_result, &s->second, ERR_NOT_FOUND);
	assert_non_null(strstr(s->second.msg, "QMP second: no \\x07 x"));
}

static void timeouts(struct scene *s)
{
	struct err e;

	connect_up(s);
	assert_err(qmp_execute(s->qmp, "slow", NULL, deadline_in(30), NULL, &e), &e,
		   ERR_TIMEOUT);
	say(s, "{\"return\": {}, \"id\": 2}\r\n"); /* too late: dropped */
	assert_ok(fiber_sleep(s->loop, 20, &e), &e);
	assert_int_equal(s->lost, 0);
	fd_close(&s->peer);
	assert_err(qmp_execute(s->qmp, "gone", NULL, deadline_in(2000), NULL, &e), &e,
		   ERR_PEER);
	assert_int_equal(s->lost, 1);
	assert_err(qmp_execute(s->qmp, "again", NULL, deadline_in(2000), NULL, &e), &e,
		   ERR_PEER);
	assert_int_equal(s->lost, 1);
}

static const char *hostile;

static void attacked(struct scene *s)
{
	struct err e;

	connect_up(s);
	say(s, hostile);
	assert_ok(fiber_sleep(s->loop, 20, &e), &e);
	if (s->lost != 1)
		fail_msg("not refused: %s", hostile);
	assert_err(qmp_execute(s->qmp, "x", NULL, deadline_in(2000), NULL, &e), &e, ERR_PEER);
}

static void test_hostile(void **state)
{
	static const char *const lines[] = {
		"rubbish\n",
		"[]\n",
		"{}\n",
		"5\n",
		"{\"return\": 1}\n",
		"{\"return\": 1, \"id\": \"1\"}\n",
		"{\"return\": 1, \"id\": -1}\n",
		"{\"return\": 1, \"id\": 99}\n",
		"{\"error\": {}, \"id\": 1}\n",
		"{\"error\": {\"class\": 1, \"desc\": \"x\"}, \"id\": 1}\n",
		"{\"event\": 7}\n",
		"{\"event\": \"X\", \"data\": []}\n",
		"{\"return\": {}, \"id\": 1, \"id\": 1}\n",
		GREETING,
		"{\"return\": \"\xff\", \"id\": 1}\n",
	};
	char *deep = calloc(1, 400);

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(lines); i++) {
		hostile = lines[i];
		play(attacked);
	}
	assert_non_null(deep);
	memset(deep, '[', 300);
	deep[300] = '\n';
	hostile = deep;
	play(attacked);
	free(deep);
}

static void flood(struct scene *s)
{
	static char chunk[64 * 1024];
	size_t sent = 0;
	struct err e;

	connect_up(s);
	memset(chunk, 'x', sizeof(chunk));
	while (!s->lost && sent < 4 * (size_t)QMP_MAX_LINE) {
		ssize_t n = send(s->peer, chunk, sizeof(chunk), MSG_NOSIGNAL);

		if (n > 0)
			sent += (size_t)n;
		assert_ok(fiber_sleep(s->loop, 0, &e), &e);
	}
	assert_int_equal(s->lost, 1);
	assert_true(sent < 2 * (size_t)QMP_MAX_LINE);
}

static void silent(struct scene *s)
{
	struct err e;

	assert_err(qmp_handshake(s->qmp, deadline_in(30), &e), &e, ERR_TIMEOUT);
	assert_err(qmp_execute(s->qmp, "x", NULL, deadline_in(30), NULL, &e), &e, ERR_STATE);
}

static void early(struct scene *s)
{
	struct err e;

	say(s, "{\"event\": \"X\"}\n" GREETING);
	assert_err(qmp_handshake(s->qmp, deadline_in(2000), &e), &e, ERR_PEER);
}

/* A descriptor goes along with the first byte of its command. */
static void take_fd(void *arg)
{
	union {
		struct cmsghdr align;
		char space[CMSG_SPACE(sizeof(int))];
	} control = { 0 };
	char text[200] = "";
	struct iovec iov = { .iov_base = text, .iov_len = sizeof(text) - 1 };
	struct msghdr msg = {
		.msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = control.space,
		.msg_controllen = sizeof(control.space),
	};
	struct scene *s = arg;
	struct cmsghdr *c;
	struct err e;
	int fd;

	assert_ok(fiber_wait_fd(s->loop, s->peer, EPOLLIN, deadline_in(2000), &e), &e);
	assert_true(recvmsg(s->peer, &msg, MSG_CMSG_CLOEXEC) > 0);
	assert_string_equal(text, "{\"execute\":\"getfd\",\"arguments\":{\"fdname\":\"x\"},"
				  "\"id\":2}\n");
	c = CMSG_FIRSTHDR(&msg);
	if (!c || c->cmsg_type != SCM_RIGHTS)
		abort();
	memcpy(&fd, CMSG_DATA(c), sizeof(fd));
	assert_int_equal(write(fd, "y", 1), 1);
	(void)close(fd);
	say(s, "{\"return\": {}, \"id\": 2}\n");
}

static void passes_fd(struct scene *s)
{
	struct jval *args = jval_new_object();
	char byte = 0;
	struct err e;
	int p[2];

	connect_up(s);
	assert_ok(fd_pipe(p, &e), &e);
	assert_ok(jval_set_str(args, "fdname", "x", &e), &e);
	assert_ok(fiber_spawn(s->loop, "monitor", take_fd, s, NULL, &e), &e);
	assert_ok(qmp_execute_fd(s->qmp, "getfd", args, p[1], deadline_in(2000), NULL, &e), &e);
	(void)close(p[1]);
	assert_int_equal(read(p[0], &byte, 1), 1);
	assert_int_equal(byte, 'y');
	(void)close(p[0]);
	assert_err(qmp_execute_fd(s->qmp, "getfd", NULL, 99999, deadline_in(2000), NULL, &e),
		   &e, ERR_PEER);
	assert_non_null(strstr(e.msg, "QMP getfd: QMP: pass a descriptor: Bad file"));
}

static void one_of_many(void *arg)
{
	struct scene *s = arg;
	struct err e;

	assert_err(qmp_execute(s->qmp, "stuck", NULL, deadline_in(5000), NULL, &e), &e,
		   ERR_CANCELLED);
	assert_non_null(strstr(e.msg, "QMP stuck: QMP: the connection was given up"));
	s->events++;
}

/* As many commands as may be, one more, and the end of all of them by qmp_free(). */
static void many_in_flight(struct scene *s)
{
	struct err e;

	connect_up(s);
	for (int i = 0; i < QMP_MAX_IN_FLIGHT; i++)
		assert_ok(fiber_spawn(s->loop, "many", one_of_many, s, NULL, &e), &e);
	assert_ok(fiber_sleep(s->loop, 5, &e), &e);
	assert_err(qmp_execute(s->qmp, "more", NULL, deadline_in(2000), NULL, &e), &e,
		   ERR_STATE);
	assert_non_null(strstr(e.msg, "QMP more: too many commands in flight"));
	qmp_free(TAKE(s->qmp));
	while (s->events < QMP_MAX_IN_FLIGHT)
		assert_ok(fiber_sleep(s->loop, 1, &e), &e);
	assert_int_equal(s->lost, 0); /* who gives up needs no telling */
}

/* A monitor that does not read: commands wait in a queue that has an end. */
static void reads_nothing(struct scene *s)
{
	static char text[300 * 1024];
	struct err e = ERR_INIT;
	int tries = 0;

	connect_up(s);
	memset(text, 'x', sizeof(text) - 1);
	do {
		struct jval *args = jval_new_object();

		assert_ok(jval_set_str(args, "a", text, &e), &e);
		assert_int_equal(qmp_execute(s->qmp, "big", args, deadline_in(1), NULL, &e),
				 -1);
	} while (e.kind == ERR_TIMEOUT && ++tries < 20);
	assert_int_equal(e.kind, ERR_NO_MEMORY);
	assert_in_range(tries, 3, 6);
	assert_err(qmp_execute_fd(s->qmp, "getfd", NULL, 0, deadline_in(100), NULL, &e), &e,
		   ERR_STATE);
	assert_non_null(strstr(e.msg, "the monitor does not read"));
	assert_int_equal(s->lost, 0);
}

/* What the monitor said last is heard although it has just gone. */
static void polled(struct scene *s)
{
	connect_up(s);
	for (int i = 0; i < 100; i++)
		say(s,
		    "{\"event\": \"GUEST_PANICKED\", \"data\": {\"action\": \"poweroff\"}}\r\n");
	say(s, "{\"event\": \"SHUTDOWN\"}\r\n");
	fd_close(&s->peer);
	qmp_poll(s->qmp);
	assert_int_equal(s->events, 101);
	assert_string_equal(s->last_event, "SHUTDOWN");
	assert_int_equal(s->lost, 1);
	qmp_poll(s->qmp);
	assert_int_equal(s->lost, 1);
}

/* ---- a monitor that dies after every byte of a conversation ---- */

static const char script[] = GREETING "{\"return\": {}, \"id\": 1}\r\n"
				      "{\"event\": \"RESUME\"}\r\n"
				      "{\"return\": {\"running\": true}, \"id\": 2}\r\n";
static size_t script_end;

static void dies(struct scene *s)
{
	OWN(jval) struct jval *ret = NULL;
	struct err e = ERR_INIT;
	bool running = false;

	if (script_end)
		assert_int_equal(send(s->peer, script, script_end, MSG_NOSIGNAL), script_end);
	assert_int_equal(shutdown(s->peer, SHUT_WR), 0);
	if (qmp_handshake(s->qmp, deadline_in(2000), &e) == 0 &&
	    qmp_execute(s->qmp, "query-status", NULL, deadline_in(2000), &ret, &e) == 0) {
		assert_true(jval_bool(jval_get(ret, "running"), &running) && running);
	} else {
		assert_int_equal(e.kind, ERR_PEER);
		assert_int_equal(s->lost, 1);
	}
}

static void test_dies(void **state)
{
	(void)state;
	for (script_end = 0; script_end < sizeof(script); script_end++)
		play(dies);
}

static void test_conversation(void **state)
{
	(void)state;
	play(conversation);
}

static void test_timeouts(void **state)
{
	(void)state;
	play(timeouts);
}

static void test_limits(void **state)
{
	(void)state;
	play(many_in_flight);
	play(reads_nothing);
}

static void test_descriptors(void **state)
{
	(void)state;
	play(passes_fd);
}

static void test_poll(void **state)
{
	(void)state;
	play(polled);
}

static void test_flood(void **state)
{
	(void)state;
	play(flood);
}

static void test_silent(void **state)
{
	(void)state;
	play(silent);
	play(early);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_conversation), cmocka_unit_test(test_timeouts),
		cmocka_unit_test(test_hostile),      cmocka_unit_test(test_flood),
		cmocka_unit_test(test_silent),       cmocka_unit_test(test_limits),
		cmocka_unit_test(test_descriptors),  cmocka_unit_test(test_poll),
		cmocka_unit_test(test_dies),
	};

	return cmocka_run_group_tests_name("qmp", tests, NULL, NULL);
}
