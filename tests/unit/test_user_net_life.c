/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The network "user" with a passt that goes wrong at every step of its life. passt is this
 * program once more, under a name that says what it does. Without a default route on the host
 * there is no such network: the tests then say so.
 */
#include "unit.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/own.h"
#include "base/path.h"
#include "base/time.h"
#include "event/child.h"
#include "event/fiber.h"
#include "event/loop.h"
#include "net/user_net.h"
#include "vmm/vmm.h"

enum {
	PASST_FD = 3,
	FRAME = 46 /* a length of 32 bits, and an ARP packet */
};

static char dir[] = "/tmp/kata-passt.XXXXXX";

/* ---- passt ---- */

static bool is_called(const char *argv0, const char *name)
{
	const char *slash = strrchr(argv0, '/');

	return strcmp(slash ? slash + 1 : argv0, name) == 0;
}

static int passt(const char *argv0, bool version)
{
	uint8_t frame[FRAME] = { 0 };
	size_t len = sizeof(frame);
	struct err e;

	if (version) {
		while (is_called(argv0, "hangs-at-version"))
			(void)pause();
		(void)printf("passt %s\n",
			     is_called(argv0, "old") ? "2023_01_01" : "2025_01_01");
		return 0;
	}
	if (is_called(argv0, "dies")) {
		(void)fprintf(stderr,
			      "Failed to send 5 bytes to syslog\nno port for \033you\n\n");
		return 7;
	}
	if (fd_read_exact(PASST_FD, frame, sizeof(frame), &e) < 0)
		return 1;
	while (is_called(argv0, "mute"))
		(void)pause();
	frame[4 + 21] = 2; /* the answer to what was asked */
	if (is_called(argv0, "rubbish"))
		frame[0] = 1;
	if (is_called(argv0, "half"))
		len = 20;
	if (is_called(argv0, "other-frames-first")) /* not an answer: it is passed over */
		(void)fd_write_all(PASST_FD, "\0\0\0\4abcd", 8, &e);
	if (!is_called(argv0, "silent") && fd_write_all(PASST_FD, frame, len, &e) < 0)
		return 1;
	if (is_called(argv0, "half") || is_called(argv0, "silent"))
		return 3;
	if (is_called(argv0, "leaves")) {
		(void)fprintf(stderr, "enough\n");
		return 9;
	}
	return fd_read_exact(PASST_FD, frame, 1, &e) < 0 ? 0 : 1;
}

/* ---- the tests ---- */

struct scene {
	struct loop *loop;
	struct child_reaper reaper;
	const char *name;
	int64_t limit_ms;
	struct user_net *net;
	struct err e, why;
	int rc, lost;
	int children; /* watched when the start is over */
	struct fiber *starter;
	bool done;
	void (*body)(struct scene *s);
};

static void on_lost(const struct err *why, void *arg)
{
	struct scene *s = arg;

	s->lost++;
	s->why = *why;
}

static void start(void *arg)
{
	static const struct user_net_port port = { .host_port = 8080, .guest_port = 80 };
	struct scene *s = arg;
	struct user_net_config c = {
		.ports = &port, .port_count = 1, .lost = on_lost, .arg = s
	};
	char path[80];

	(void)snprintf(path, sizeof(path), "%s/%s", dir, s->name);
	c.program = path;
	s->rc = user_net_start(s->loop, &s->reaper, &c, deadline_in(s->limit_ms), &s->net,
			       &s->e);
	list_for_each(n, tmp, &s->reaper.children) {
		s->children++;
	}
	s->done = true;
}

static void scene_fiber(void *arg)
{
	struct scene *s = arg;

	s->body(s);
	user_net_free(s->net);
}

static bool has_route(void)
{
	char line[256] = "";
	FILE *f = fopen("/proc/self/net/route", "re");
	bool found = false;

	while (f && fgets(line, sizeof(line), f))
		found |= strstr(line, "\t00000000\t") != NULL;
	if (f)
		(void)fclose(f);
	return found;
}

static void play(const char *name, void (*body)(struct scene *s))
{
	struct scene s = { .name = name, .body = body, .limit_ms = 5000 };
	char self[256] = "", path[80];
	struct err e;

	if (!has_route()) {
		skip_because("the host has no default IPv4 route");
	}
	(void)snprintf(path, sizeof(path), "%s/%s", dir, name);
	assert_true(readlink("/proc/self/exe", self, sizeof(self) - 1) > 0);
	assert_int_equal(symlink(self, path), 0);
	assert_ok(loop_new(&s.loop, &e), &e);
	assert_ok(child_reaper_init(&s.reaper, s.loop, &e), &e);
	assert_ok(fiber_main(s.loop, scene_fiber, &s, &e), &e);
	assert_true(list_empty(&s.reaper.children));
	child_reaper_fini(&s.reaper);
	loop_free(s.loop);
	assert_int_equal(waitpid(-1, NULL, WNOHANG), -1); /* no helper is left */
}

static void works(struct scene *s)
{
	struct vmm_device d;

	start(s);
	assert_ok(s->rc, &s->e);
	assert_true(user_net_pid(s->net) > 0);
	assert_string_equal(user_net_guest(s->net)->ipv4, "10.0.2.15");
	user_net_device(s->net, &d);
	assert_true(d.net.stream_fd >= 0);
	assert_int_equal(s->lost, 0);
}

static void test_works(void **state)
{
	play("good", works);
	play("old", works);
	play("other-frames-first", works);
}

static const char *wanted;

static void refused(struct scene *s)
{
	start(s);
	assert_int_equal(s->rc, -1);
	assert_null(s->net);
	if (!strstr(s->e.msg, wanted))
		fail_msg("%s: '%s' lacks '%s'", s->name, s->e.msg, wanted);
	assert_int_equal(s->lost, 0); /* it never was there */
}

static void test_refused(void **state)
{
	static const struct {
		const char *name, *text;
	} rows[] = {
		{ "dies", "passt: no port for ?you" },
		{ "silent", "passt: it said nothing" },
		{ "half", "passt: it said nothing" },
	};

	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		wanted = rows[i].text;
		play(rows[i].name, refused);
	}
}

static void stalls(struct scene *s)
{
	int64_t before = time_mono_ms();

	s->limit_ms = 100;
	start(s);
	assert_int_equal(s->rc, -1);
	assert_int_equal(s->e.kind, ERR_TIMEOUT);
	assert_non_null(strstr(s->e.msg, "passt does not answer"));
	assert_true(time_mono_ms() - before < 3000);
}

/* One that says nothing, and one that says what no passt says and then waits. */
static void test_stalls(void **state)
{
	play("mute", stalls);
}

static void talks_rubbish(struct scene *s)
{
	s->limit_ms = 300;
	start(s);
	assert_int_equal(s->rc, -1);
	assert_int_equal(s->lost, 0);
}

static void test_rubbish(void **state)
{
	play("rubbish", talks_rubbish);
}

static void leaves(struct scene *s)
{
	struct err e;

	start(s);
	/* it may be gone before it was looked at: either is an end that is noticed */
	if (s->rc == 0) {
		for (int i = 0; !s->lost && user_net_pid(s->net) > 0 && i < 1000; i++)
			assert_ok(fiber_sleep(s->loop, 2, &e), &e);
		assert_int_equal(user_net_pid(s->net), 0);
		assert_true(s->lost <= 1);
		assert_true(!s->lost ||
			    strstr(s->why.msg, "passt ended with status 9: enough"));
	}
}

static void test_leaves(void **state)
{
	play("leaves", leaves);
}

/*
 * Called off while passt is asked for its version: the child that was asked is on the stack of
 * a fiber that ends, and must not be watched any more.
 */
static void cancelled(struct scene *s)
{
	struct err e;

	assert_ok(fiber_spawn(s->loop, "start", start, s, &s->starter, &e), &e);
	assert_ok(fiber_sleep(s->loop, 300, &e), &e); /* it answers, and hangs at its version */
	assert_false(s->done);
	fiber_cancel(s->starter);
	for (int i = 0; !s->done && i < 1000; i++)
		assert_ok(fiber_sleep(s->loop, 2, &e), &e);
	assert_true(s->done);
	assert_int_equal(s->children, s->rc == 0 ? 1 : 0);
}

static void test_cancelled(void **state)
{
	play("hangs-at-version", cancelled);
}

static int make_dir(void **state)
{
	return mkdtemp(dir) ? 0 : -1;
}

static int remove_dir(void **state)
{
	struct err e;

	return path_remove_tree(AT_FDCWD, dir, &e);
}

int main(int argc, char **argv)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_works),  cmocka_unit_test(test_refused),
		cmocka_unit_test(test_stalls), cmocka_unit_test(test_rubbish),
		cmocka_unit_test(test_leaves), cmocka_unit_test(test_cancelled),
	};

	if (argc > 1)
		return passt(argv[0], strcmp(argv[1], "--version") == 0);
	(void)signal(SIGPIPE, SIG_IGN); /* as in the engine */
	return cmocka_run_group_tests_name("user net's life", tests, make_dir, remove_dir);
}
