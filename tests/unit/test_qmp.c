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
		cmocka_unit_test(test_silent),
	};

	return cmocka_run_group_tests_name("qmp", tests, NULL, NULL);
}
