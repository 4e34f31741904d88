/* SPDX-License-Identifier: Apache-2.0 */
/* The loop's sources and timers, signals, children and confined helpers. */
#include "unit.h"

#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/fd.h"
#include "base/own.h"
#include "base/time.h"
#include "event/child.h"
#include "event/loop.h"
#include "event/signal.h"
#include "event/spawn.h"

enum {
	PIPES = 8
};

struct one_pipe {
	struct source source;
	struct fixture *f;
	int write_fd;
};

struct fixture {
	struct loop *loop;
	struct one_pipe pipes[PIPES];
	struct timer timers[4], guard;
	int fired[8], fired_count;
	int ready;
	struct child_reaper reaper;
	struct err e;
};

static struct fixture *fixture_of_guard(struct timer *t)
{
	return container_of(t, struct fixture, guard);
}

static void guard_fires(struct timer *t)
{
	loop_stop(fixture_of_guard(t)->loop);
}

static int make_loop(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	if (!f || loop_new(&f->loop, &f->e) < 0)
		return -1;
	f->guard.fire = guard_fires;
	timer_set(f->loop, &f->guard, deadline_in(10000));
	*state = f;
	return 0;
}

static int free_loop(void **state)
{
	struct fixture *f = *state;

	timer_clear(&f->guard);
	loop_free(f->loop);
	free(f);
	return 0;
}

static void run(struct fixture *f)
{
	assert_ok(loop_run(f->loop, &f->e), &f->e);
	assert_true(f->guard.armed); /* not ended by the guard */
}

/* The first that is served removes all others: they must not be called any more. */
static void remove_all(struct source *s, uint32_t events)
{
	struct fixture *f = container_of(s, struct one_pipe, source)->f;

	f->ready++;
	for (int i = 0; i < PIPES; i++)
		loop_remove(f->loop, &f->pipes[i].source);
	loop_stop(f->loop);
}

static void test_remove_within_batch(void **state)
{
	struct fixture *f = *state;
	int p[2];

	for (int i = 0; i < PIPES; i++) {
		assert_ok(fd_pipe(p, &f->e), &f->e);
		f->pipes[i] = (struct one_pipe){
			.source = { .fd = p[0], .events = EPOLLIN, .ready = remove_all },
			.f = f,
			.write_fd = p[1],
		};
		assert_ok(loop_add(f->loop, &f->pipes[i].source, &f->e), &f->e);
		assert_ok(fd_write_all(p[1], "x", 1, &f->e), &f->e);
	}
	run(f);
	assert_int_equal(f->ready, 1);
	for (int i = 0; i < PIPES; i++) {
		(void)close(f->pipes[i].source.fd);
		(void)close(f->pipes[i].write_fd);
	}
}

static void count_ready(struct source *s, uint32_t events)
{
	struct fixture *f = container_of(s, struct one_pipe, source)->f;

	f->fired[0] = (int)events;
	if (++f->ready == 3)
		loop_stop(f->loop);
}

static void test_level_triggered(void **state)
{
	struct fixture *f = *state;
	struct one_pipe *o = &f->pipes[0];
	int p[2];

	assert_ok(fd_pipe(p, &f->e), &f->e);
	*o = (struct one_pipe){ .source = { .fd = p[0], .events = 0, .ready = count_ready },
				.f = f };
	assert_ok(loop_add(f->loop, &o->source, &f->e), &f->e);
	assert_ok(fd_write_all(p[1], "x", 1, &f->e), &f->e);
	assert_ok(loop_modify(f->loop, &o->source, EPOLLIN, &f->e), &f->e);
	run(f); /* unread data is reported every turn */
	assert_int_equal(f->fired[0], EPOLLIN);
	(void)close(p[1]);
	f->ready = 2;
	run(f);
	assert_true(f->fired[0] & EPOLLHUP);
	loop_remove(f->loop, &o->source);
	loop_remove(f->loop, &o->source);
	o->source.fd = 9999;
	assert_err(loop_add(f->loop, &o->source, &f->e), &f->e, ERR_SYS);
	assert_false(o->source.added);
	(void)close(p[0]);
}

static struct fixture *timers_owner;

static void note_timer(struct timer *t)
{
	struct fixture *f = timers_owner;

	f->fired[f->fired_count++] = (int)(t - f->timers);
	if (t == &f->timers[1])
		timer_clear(&f->timers[2]); /* due in the same turn */
	if (f->fired_count == 3)
		loop_stop(f->loop);
}

static void test_timers(void **state)
{
	struct fixture *f = *state;
	int64_t now = time_mono_ms();

	timers_owner = f;
	for (int i = 0; i < 4; i++)
		f->timers[i].fire = note_timer;
	timer_set(f->loop, &f->timers[0], now + 20);
	timer_set(f->loop, &f->timers[1], now - 2);
	timer_set(f->loop, &f->timers[2], now - 1);
	timer_set(f->loop, &f->timers[3], now + 500000);
	timer_set(f->loop, &f->timers[3], now + 5); /* moved */
	run(f);
	assert_int_equal(f->fired_count, 3);
	assert_int_equal(f->fired[0], 1);
	assert_int_equal(f->fired[1], 3);
	assert_int_equal(f->fired[2], 0);
	assert_true(time_mono_ms() >= now + 20);
	timer_set(f->loop, &f->timers[0], DEADLINE_NONE);
	assert_false(f->timers[0].armed);
	timer_clear(&f->timers[0]);
}

static void on_usr1(struct signal_watch *w, const struct signalfd_siginfo *info)
{
	assert_int_equal(info->ssi_signo, SIGUSR1);
	loop_stop(w->loop);
}

static void test_signal(void **state)
{
	struct fixture *f = *state;
	struct signal_watch w = { .loop = NULL };
	sigset_t set;

	signal_watch_fini(&w);
	(void)sigemptyset(&set);
	(void)sigaddset(&set, SIGUSR1);
	assert_ok(signal_watch_init(&w, f->loop, &set, on_usr1, &f->e), &f->e);
	(void)kill(getpid(), SIGUSR1);
	run(f);
	signal_watch_fini(&w);
}

/* A mask that no signal fits, and what a child gets back before its exec. */
static void test_signal_reset(void **state)
{
	struct fixture *f = *state;
	struct signal_watch w = { .loop = NULL };
	sigset_t set, old;
	int status;
	pid_t pid;

	(void)sigemptyset(&set);
	(void)sigaddset(&set, SIGUSR2);
	assert_ok(signal_watch_init(&w, f->loop, &set, on_usr1, &f->e), &f->e);
	(void)signal(SIGHUP, SIG_IGN);
	pid = fork();
	if (pid == 0) {
		struct sigaction a;

		signal_reset_all();
		(void)sigaction(SIGHUP, NULL, &a);
		(void)sigprocmask(SIG_SETMASK, NULL, &old);
		_exit(a.sa_handler == SIG_DFL && !sigismember(&old, SIGUSR2) ? 0 : 1);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
	(void)signal(SIGHUP, SIG_DFL);
	signal_watch_fini(&w);
	assert_int_equal(sigprocmask(SIG_SETMASK, NULL, &old), 0);
	assert_true(sigismember(&old, SIGUSR2)); /* they stay blocked */
}

static struct child children[20];
static int ended;

static void on_end(struct child *c)
{
	if (++ended == 20)
		loop_stop(c->reaper->loop);
}

static void test_children(void **state)
{
	struct fixture *f = *state;

	ended = 0;
	assert_ok(child_reaper_init(&f->reaper, f->loop, &f->e), &f->e);
	for (int i = 0; i < 20; i++) {
		pid_t pid = fork();

		assert_true(pid >= 0);
		if (pid == 0)
			_exit(i);
		child_watch(&f->reaper, &children[i], pid, on_end);
	}
	run(f);
	for (int i = 0; i < 20; i++) {
		assert_true(children[i].exited);
		assert_int_equal(child_exit_code(children[i].status), i);
		assert_ok(child_kill(&children[i], SIGKILL, &f->e), &f->e);
	}
	assert_int_equal(child_exit_code(SIGKILL), 128 + SIGKILL);
	child_reaper_fini(&f->reaper);
}

/* Starts a program with its output in a pipe, and returns what it wrote. */
static char *output_of(struct spawn *s, int *status)
{
	OWN(buf) struct buf b = { .limit = 4096 };
	OWN(fd) int rd = -1;
	struct err e;
	pid_t pid;
	int p[2];

	assert_ok(fd_pipe(p, &e), &e);
	rd = p[0];
	s->stdout_fd = p[1];
	assert_ok(spawn_run(s, &pid, &e), &e);
	(void)close(p[1]);
	assert_ok(fd_read_to_end(rd, &b, &e), &e);
	assert_int_equal(waitpid(pid, status, 0), pid);
	return buf_take_str(&b);
}

static char *shell(const char *script)
{
	return (char *)(uintptr_t)script;
}

static void test_spawn(void **state)
{
	static char ignored[] = "unit=1";
	char *argv[] = { shell("/bin/sh"), shell("-c"),
			 shell("read a; echo \"$a $unit $(ls /proc/self/fd | wc -l)\"; exit 3"),
			 NULL };
	char *env[] = { ignored, shell("PATH=/usr/bin:/bin"), NULL };
	struct spawn s = SPAWN_INIT;
	OWN(fd) int leak = dup(0); /* not close-on-exec */
	OWN(fd) int in = -1;
	OWN(free) char *text = NULL;
	struct err e;
	int status, p[2];

	assert_ok(fd_pipe(p, &e), &e);
	in = p[0];
	assert_ok(fd_write_all(p[1], "line\n", 5, &e), &e);
	(void)close(p[1]);
	s.argv = argv;
	s.envp = env;
	s.stdin_fd = in;
	text = output_of(&s, &status);
	/* 0, 1, 2 and the directory that ls reads */
	assert_string_equal(text, "line 1 4\n");
	assert_int_equal(child_exit_code(status), 3);
}

/* Descriptors that sit on each other's target numbers, and on the standard ones. */
static void test_spawn_fds(void **state)
{
	char *argv[] = { shell("/bin/sh"), shell("-c"), shell("cat <&5; cat <&4; cat <&3"),
			 NULL };
	struct spawn_fd fds[3];
	struct spawn s = SPAWN_INIT;
	OWN(free) char *text = NULL;
	OWN(fd) int saved = dup(0);
	int from[3], status;
	struct err e;

	for (int i = 0; i < 3; i++) {
		char digit = (char)('a' + i);
		int p[2];

		assert_ok(fd_pipe(p, &e), &e);
		assert_ok(fd_write_all(p[1], &digit, 1, &e), &e);
		(void)close(p[1]);
		from[i] = fcntl(p[0], F_DUPFD_CLOEXEC, 20);
		(void)close(p[0]);
	}
	assert_int_equal(dup2(from[0], 0), 0); /* number 0 is handed over as number 5 */
	assert_int_equal(dup2(from[1], 5), 5);
	assert_int_equal(dup2(from[2], 4), 4);
	fds[0] = (struct spawn_fd){ .from = 0, .to = 5 };
	fds[1] = (struct spawn_fd){ .from = 5, .to = 4 };
	fds[2] = (struct spawn_fd){ .from = 4, .to = 3 };
	s.argv = argv;
	s.fds = fds;
	s.fd_count = 3;
	text = output_of(&s, &status);
	assert_string_equal(text, "abc");
	assert_int_equal(status, 0);
	assert_int_equal(dup2(saved, 0), 0);
	(void)close(4);
	(void)close(5);
	for (int i = 0; i < 3; i++)
		(void)close(from[i]);
}

static int refuse(void *arg)
{
	errno = *(int *)arg;
	return -1;
}

static void test_spawn_errors(void **state)
{
	char *none[] = { shell("/no/such/program"), NULL };
	char *sh[] = { shell("/bin/sh"), NULL };
	struct spawn s = SPAWN_INIT;
	int code = EXDEV;
	struct err e;
	pid_t pid = 7;

	s.argv = none;
	assert_err(spawn_run(&s, &pid, &e), &e, ERR_NOT_FOUND);
	assert_non_null(strstr(e.msg, "/no/such/program"));
	s.argv = sh;
	s.setup = refuse;
	s.setup_arg = &code;
	assert_err(spawn_run(&s, &pid, &e), &e, ERR_SYS);
	assert_int_equal(e.sys, EXDEV);
	s.setup = NULL;
	s.cgroup_procs = "/no/such/cgroup.procs";
	assert_err(spawn_run(&s, &pid, &e), &e, ERR_NOT_FOUND);
	assert_non_null(strstr(e.msg, "cgroup"));
	assert_int_equal(pid, 7);
	assert_int_equal(waitpid(-1, NULL, WNOHANG), -1); /* none is left */
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_remove_within_batch, make_loop, free_loop),
		cmocka_unit_test_setup_teardown(test_level_triggered, make_loop, free_loop),
		cmocka_unit_test_setup_teardown(test_timers, make_loop, free_loop),
		cmocka_unit_test_setup_teardown(test_signal, make_loop, free_loop),
		cmocka_unit_test_setup_teardown(test_signal_reset, make_loop, free_loop),
		cmocka_unit_test_setup_teardown(test_children, make_loop, free_loop),
		cmocka_unit_test(test_spawn),
		cmocka_unit_test(test_spawn_fds),
		cmocka_unit_test(test_spawn_errors),
	};

	return cmocka_run_group_tests_name("event", tests, NULL, NULL);
}
