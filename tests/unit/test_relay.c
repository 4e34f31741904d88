/* SPDX-License-Identifier: Apache-2.0 */
/* Bytes between two descriptors, and how that ends. */
#include "unit.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/err.h"
#include "base/fd.h"
#include "base/own.h"
#include "base/time.h"
#include "event/fiber.h"
#include "event/loop.h"
#include "event/relay.h"

enum {
	LIMIT_MS = 20 * 1000,
	MUCH = 3 << 20
};

struct scene {
	struct loop *loop;
	int left, a, b, right; /* left <-> a, relayed to b <-> right */
	struct fiber *relay;
	struct cond over;
	int rc;
	enum err_kind kind;
	void (*play)(struct scene *s);
};

static void run_relay(void *arg)
{
	struct scene *s = arg;
	struct err e = ERR_INIT;

	s->rc = relay_run(s->loop, s->a, s->b, &e);
	s->kind = e.kind;
	s->relay = NULL;
	cond_wake_all(&s->over);
}

static void wait_over(struct scene *s)
{
	struct err e;

	while (s->relay)
		assert_ok(cond_wait(&s->over, deadline_in(LIMIT_MS), &e), &e);
}

static void run(void *arg)
{
	struct scene *s = arg;
	struct err e;

	assert_ok(fiber_spawn(s->loop, "relayed", run_relay, s, &s->relay, &e), &e);
	s->play(s);
	if (s->relay)
		fiber_cancel(s->relay);
	wait_over(s);
}

static void play(void (*fn)(struct scene *s))
{
	struct scene s = { .play = fn };
	int x[2], y[2];
	struct err e;

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, x),
			 0);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, y),
			 0);
	s.left = x[0];
	s.a = x[1];
	s.b = y[0];
	s.right = y[1];
	assert_ok(loop_new(&s.loop, &e), &e);
	cond_init(&s.over, s.loop);
	assert_ok(fiber_main(s.loop, run, &s, &e), &e);
	loop_free(s.loop);
	/* they are the caller's, and open */
	assert_true(fcntl(s.a, F_GETFD) >= 0 && fcntl(s.b, F_GETFD) >= 0);
	fd_close(&s.left);
	fd_close(&s.a);
	fd_close(&s.b);
	fd_close(&s.right);
}

static void expect(struct scene *s, int fd, const char *text)
{
	char got[64];
	size_t n;
	struct err e;

	assert_ok(fiber_read(s->loop, fd, got, sizeof(got), deadline_in(LIMIT_MS), &n, &e), &e);
	assert_int_equal(n, strlen(text));
	assert_memory_equal(got, text, n);
}

static void both_ways(struct scene *s)
{
	for (int i = 0; i < 3; i++) {
		assert_int_equal(write(s->left, "there", 5), 5);
		expect(s, s->right, "there");
		assert_int_equal(write(s->right, "back", 4), 4);
		expect(s, s->left, "back");
	}
	fd_close(&s->right);
	wait_over(s);
	assert_int_equal(s->rc, 0);
}

static void test_both_ways(void **state)
{
	(void)state;
	play(both_ways);
}

static void send_much(void *arg)
{
	struct scene *s = arg;
	char block[4096];
	struct err e;

	for (size_t i = 0; i < MUCH / sizeof(block); i++) {
		memset(block, (int)(i & 0x7f), sizeof(block));
		assert_ok(fiber_write_all(s->loop, s->left, block, sizeof(block),
					  deadline_in(LIMIT_MS), &e),
			  &e);
	}
}

static void much(struct scene *s)
{
	char block[4096];
	size_t got = 0, n;
	struct err e;

	assert_ok(fiber_spawn(s->loop, "sender", send_much, s, NULL, &e), &e);
	while (got < MUCH) {
		assert_ok(fiber_read(s->loop, s->right, block, sizeof(block),
				     deadline_in(LIMIT_MS), &n, &e),
			  &e);
		for (size_t i = 0; i < n; i++, got++)
			assert_int_equal(block[i], got / sizeof(block) & 0x7f);
	}
}

static void test_much(void **state)
{
	(void)state;
	play(much);
}

/* Until nothing more is taken. */
static void fill(struct scene *s)
{
	char block[4096] = { 0 };
	int64_t quiet = deadline_in(200);
	struct err e;

	while (deadline_left(quiet)) {
		if (write(s->left, block, sizeof(block)) > 0)
			quiet = deadline_in(200);
		assert_ok(fiber_sleep(s->loop, 1, &e), &e);
	}
}

/* That the other side takes nothing hides no hanging up. */
static void hang_up(struct scene *s)
{
	fill(s);
	assert_non_null(s->relay);
	fd_close(&s->left);
	wait_over(s);
	assert_int_equal(s->rc, 0);
}

static void test_hang_up(void **state)
{
	(void)state;
	play(hang_up);
}

static int epoll_of_this_process(void)
{
	DIR *dir = opendir("/proc/self/fd");
	struct dirent *ent;
	int found = -1;

	assert_non_null(dir);
	while ((ent = readdir(dir))) {
		char to[64];
		ssize_t n = readlinkat(dirfd(dir), ent->d_name, to, sizeof(to) - 1);

		if (n > 0 && strncmp(to, "anon_inode:[eventpoll]", 22) == 0)
			found = (int)strtol(ent->d_name, NULL, 10);
	}
	(void)closedir(dir);
	return found;
}

/* Two entries would be told apart by poll(2), which for a virtio-serial port has an effect. */
static void once(struct scene *s)
{
	char path[64];
	char *line = NULL;
	size_t size = 0;
	unsigned long seen[8], count = 0;
	FILE *f;

	fill(s); /* one way waits to write, the other one to read */
	(void)snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", epoll_of_this_process());
	f = fopen(path, "re");
	assert_non_null(f);
	while (getline(&line, &size, f) > 0) {
		const char *ino = strstr(line, " ino:");

		if (!ino || strncmp(line, "tfd:", 4) != 0)
			continue;
		assert_true(count < 8);
		seen[count] = strtoul(ino + 5, NULL, 16);
		for (unsigned long i = 0; i < count; i++)
			assert_true(seen[i] != seen[count]);
		count++;
	}
	assert_int_equal(count, 2);
	free(line);
	(void)fclose(f);
}

static void test_once(void **state)
{
	(void)state;
	play(once);
}

static void cancel(struct scene *s)
{
	struct err e;

	assert_ok(fiber_sleep(s->loop, 1, &e), &e);
	fiber_cancel(s->relay);
	wait_over(s);
	assert_int_equal(s->rc, -1);
	assert_int_equal(s->kind, ERR_CANCELLED);
}

static void test_cancel(void **state)
{
	(void)state;
	play(cancel);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_both_ways), cmocka_unit_test(test_much),
		cmocka_unit_test(test_hang_up),   cmocka_unit_test(test_once),
		cmocka_unit_test(test_cancel),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
