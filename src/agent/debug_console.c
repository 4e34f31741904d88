/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The debug console: each session is a shell on a terminal pair, and a fiber that relays its
 * bytes. A session ends with its shell or its connection, whichever goes first.
 */
#include "agent/debug_console.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "agent/sandbox.h"
#include "agent/transport.h"
#include "base/err.h"
#include "base/fd.h"
#include "base/mem.h"
#include "base/str.h"
#include "base/sys.h"
#include "base/time.h"
#include "event/relay.h"
#include "event/signal.h"

#define CONSOLE_PORT "kata.console"

#ifndef TIOCGPTPEER
#define TIOCGPTPEER _IO('T', 0x41) /* Linux 4.13 */
#endif

enum {
	REOPEN_MS = 1200, /* QEMU tells of one change of a port a second, the last */
	END_MS = 5000,
	SESSIONS_MAX = 8
};

static const char *const shells[] = { "/bin/bash", "/bin/sh" };

struct console {
	struct sandbox *sandbox;
	struct source source; /* vsock listener */
	const char *shell;
	unsigned sessions;
};

struct session {
	struct console *console;
	struct child child;
	int conn;
	int master; /* of the shell's terminal */
};

static _Noreturn void run_shell(const char *shell, int slave)
{
	char *const argv[] = { (char *)(uintptr_t)shell, NULL };
	static char path[] =
		"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
	static char home[] = "HOME=/root", term[] = "TERM=linux";
	static char *const envp[] = { path, home, term, NULL };

	signal_reset_all();
	(void)setsid();
	for (int i = 0; i < 3; i++)
		(void)dup2(slave, i);
	(void)ioctl(0, TIOCSCTTY, 0);
	(void)sys_close_range(3, ~0U, 0);
	(void)execve(shell, argv, envp);
	_exit(127);
}

static int start_shell(struct session *x, struct err *e)
{
	struct sys_clone_args args = { .exit_signal = SIGCHLD };
	OWN(fd) int master = open("/dev/ptmx", O_RDWR | O_NOCTTY | O_CLOEXEC | O_NONBLOCK);
	OWN(fd) int slave = -1;
	int unlock = 0;
	pid_t pid;

	if (master < 0 || ioctl(master, TIOCSPTLCK, &unlock) < 0)
		return err_sys(e, "terminal");
	slave = ioctl(master, TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC);
	if (slave < 0)
		return err_sys(e, "terminal");
	pid = sys_clone3(&args);
	if (pid == 0)
		run_shell(x->console->shell, slave);
	if (pid < 0)
		return err_sys(e, "clone");
	child_watch(&x->console->sandbox->reaper, &x->child, pid, NULL);
	x->master = fd_take(&master);
	return 0;
}

static void session_run(struct session *x)
{
	struct sandbox *s = x->console->sandbox;
	struct err e = ERR_INIT;

	x->master = -1;
	if (start_shell(x, &e) < 0 || relay_run(s->loop, x->conn, x->master, &e) < 0)
		log_warn(&s->log, "debug console: %s", e.msg);
	if (x->child.pid && child_end(&x->child, END_MS, &e) < 0)
		log_warn(&s->log, "debug console: %s", e.msg);
	child_unwatch(&x->child);
	fd_close(&x->master);
}

/* ---- vsock: a session per connection ---- */

static void serve_connection(void *arg)
{
	struct session *x = arg;

	session_run(x);
	x->console->sessions--;
	fd_close(&x->conn);
	free(x);
}

static void on_connect(struct source *src, uint32_t events)
{
	struct console *c = container_of(src, struct console, source);
	OWN(fd) int fd = accept4(src->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	struct session *x;
	struct err e;

	(void)events;
	if (fd < 0 || c->sessions >= SESSIONS_MAX || !transport_is_host(fd))
		return;
	x = mem_new(struct session);
	if (!x)
		return;
	x->console = c;
	x->conn = fd;
	if (fiber_spawn(c->sandbox->loop, "debug console", serve_connection, x, NULL, &e) < 0) {
		free(x);
		return;
	}
	c->sessions++;
	fd_take(&fd);
}

/* ---- virtio-serial: one session after the other ---- */

static void serve_port(void *arg)
{
	struct console *c = arg;
	struct loop *l = c->sandbox->loop;
	struct err e;

	for (;;) {
		struct session x = { .console = c, .conn = -1 };

		if (transport_open_port(CONSOLE_PORT, &x.conn, &e) < 0) {
			log_warn(&c->sandbox->log, "debug console: %s", e.msg);
			return;
		}
		/* once somebody is there and types: no shell need run before */
		if (transport_wait_host(l, x.conn, DEADLINE_NONE, &e) == 0 &&
		    fiber_wait_fd(l, x.conn, EPOLLIN, DEADLINE_NONE, &e) == 0)
			session_run(&x);
		fd_close(&x.conn);
		if (fiber_sleep(l, REOPEN_MS, &e) < 0)
			return;
	}
}

static int listen_vsock(struct console *c, struct err *e)
{
	int fd;

	if (!c->sandbox->config.debug_console_vport)
		return err_set(e, ERR_UNSUPPORTED, 0,
			       "on the serial console; give "
			       "agent.debug_console_vport");
	if (transport_listen_vsock(~0U, c->sandbox->config.debug_console_vport, &fd, e) < 0)
		return -1;
	c->source = (struct source){ .fd = fd, .events = EPOLLIN, .ready = on_connect };
	return loop_add(c->sandbox->loop, &c->source, e);
}

static const char *find_shell(void)
{
	for (size_t i = 0; i < ARRAY_LEN(shells); i++) {
		if (access(shells[i], X_OK) == 0)
			return shells[i];
	}
	return NULL;
}

void debug_console_start(struct sandbox *s)
{
	struct console *c;
	struct err e = ERR_INIT;
	int rc;

	if (!s->config.debug_console)
		return;
	c = mem_new(struct console);
	if (!c) {
		log_warn(&s->log, "agent.debug_console: out of memory");
		return;
	}
	c->sandbox = s;
	c->shell = find_shell();
	if (!c->shell)
		rc = err_set(&e, ERR_UNSUPPORTED, 0, "the guest has no %s and no %s", shells[0],
			     shells[1]);
	else if (str_starts(s->config.server_addr, "virtio-serial://"))
		rc = fiber_spawn(s->loop, "debug console", serve_port, c, NULL, &e);
	else
		rc = listen_vsock(c, &e);
	if (rc < 0) {
		log_warn(&s->log, "agent.debug_console: %s", e.msg);
		free(c);
	}
}
