/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Streams of a process in the foreground. Our own standard streams stay blocking, because
 * they are shared with whoever started us: each is polled before a read or a write of at
 * most PIPE_BUF bytes, which a pipe that polls writable takes at once (pipe(7)).
 */
#include "cli/console.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <termios.h>
#include <unistd.h>

#include "base/err.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/own.h"
#include "base/str.h"
#include "base/time.h"
#include "cli/cli.h"
#include "cli/engine_client.h"
#include "cli/signals.h"
#include "event/fiber.h"
#include "event/loop.h"
#include "task.pb-c.h"

enum {
	FIFO_SIZE = 1 << 20,
	IN_BLOCK = 32 * 1024,
	OUT_BLOCK = 64 * 1024,
	UNREAD_MS = 1000, /* between SIGPIPE and SIGKILL */
	KILLED_MS = 5000,
	ENOUGH_ASKING = 3, /* times SIGINT or SIGTERM, as docker's client has it */
	KEY_DETACH_1 = 0x10,
	KEY_DETACH_2 = 0x11
};

enum {
	STREAM_IN,
	STREAM_OUT,
	STREAM_ERR,
	STREAM_COUNT
};

struct stream {
	struct console *owner;
	char *path; /* of the fifo; NULL if there is none */
	char *name; /* as given to the engine */
	int fd;     /* our end of the fifo */
	int to;     /* our own stream */
	struct fiber *fiber;
};

struct console {
	struct loop *loop;
	struct console_config c;
	struct stream streams[STREAM_COUNT];
	struct termios saved;
	bool raw, detached;
	int broken;  /* errno of our output */
	int left_by; /* the signal that says that nobody is there any more */
	unsigned asked_to_end;
	bool key_1; /* Ctrl-P has been typed */
	struct cond changed;
	struct engine_client *engine;
	const char *id, *exec_id;
	unsigned running; /* fibers */
	uint32_t status;
	struct err wait_err;
	bool waited;
};

/* ---- fifos ---- */

static int make_stream(struct console *c, int i, const char *what, int flags, struct err *e)
{
	struct stream *s = &c->streams[i];

	s->path = str_printf("%s/%s%s%s", c->c.dir, c->c.tag, *c->c.tag ? "." : "", what);
	if (!s->path)
		return err_oom(e, "a stream");
	if (i == STREAM_IN)
		s->name = str_printf("kata://%s", s->path);
	else
		s->name = str_printf("kata://%s%s%s", s->path, c->c.log ? "?log=" : "",
				     c->c.log ? c->c.log : "");
	if (!s->name)
		return err_oom(e, "a stream");
	(void)unlink(s->path);
	if (mkfifo(s->path, 0600) < 0)
		return err_sys(e, "make fifo '%s'", s->path);
	/* O_RDWR on the input: there must be a writer before the engine opens it */
	s->fd = open(s->path, flags | O_NONBLOCK | O_CLOEXEC);
	if (s->fd < 0)
		return err_sys(e, "open fifo '%s'", s->path);
	(void)fcntl(s->fd, F_SETPIPE_SZ,
		    FIFO_SIZE); /* refused past the user's share: smaller */
	return 0;
}

int console_open(struct loop *l, const struct console_config *cc, struct console **out,
		 struct err *e)
{
	OWN(console) struct console *c = mem_new(struct console);

	if (!c)
		return err_oom(e, "a console");
	c->loop = l;
	c->c = *cc;
	cond_init(&c->changed, l);
	for (int i = 0; i < STREAM_COUNT; i++)
		c->streams[i] = (struct stream){ .owner = c, .fd = -1, .to = i };
	if ((cc->interactive && make_stream(c, STREAM_IN, "stdin", O_RDWR, e) < 0) ||
	    make_stream(c, STREAM_OUT, "stdout", O_RDONLY, e) < 0 ||
	    (!cc->terminal && make_stream(c, STREAM_ERR, "stderr", O_RDONLY, e) < 0))
		return -1;
	*out = TAKE(c);
	return 0;
}

static const char *name_of(const struct console *c, int i)
{
	return c->streams[i].name ? c->streams[i].name : "";
}

const char *console_stdin_name(const struct console *c)
{
	return name_of(c, STREAM_IN);
}

const char *console_stdout_name(const struct console *c)
{
	return name_of(c, STREAM_OUT);
}

const char *console_stderr_name(const struct console *c)
{
	return name_of(c, STREAM_ERR);
}

/* ---- copying ---- */

/* Waits for one of our own streams; files, which epoll refuses, are always ready. */
static int wait_own(struct console *c, int fd, uint32_t events, struct err *e)
{
	if (fiber_wait_fd(c->loop, fd, events, DEADLINE_NONE, e) == 0)
		return 0;
	if (e->kind == ERR_SYS && (e->sys == EPERM || e->sys == EEXIST)) {
		err_clear(e);
		return 0;
	}
	return -1;
}

/* Our own output failed: the first reason counts. */
static int own_broken(struct console *c, int error, struct err *e)
{
	if (!c->broken)
		c->broken = error;
	cond_wake_all(&c->changed);
	return err_set(e, ERR_SYS, error, "write");
}

static int write_own(struct console *c, int fd, const char *p, size_t len, struct err *e)
{
	while (len) {
		size_t part = len < PIPE_BUF ? len : PIPE_BUF;
		ssize_t n;

		if (wait_own(c, fd, EPOLLOUT, e) < 0)
			return -1;
		n = write(fd, p, part);
		if (n < 0 && errno != EINTR && errno != EAGAIN)
			return own_broken(c, errno, e);
		if (n > 0) {
			p += n;
			len -= (size_t)n;
		}
	}
	return 0;
}

static void stream_ended(struct stream *s)
{
	struct console *c = s->owner;

	fd_close(&s->fd);
	s->fiber = NULL;
	c->running--;
	cond_wake_all(&c->changed);
}

/*
 * The engine may not have opened its end yet: a fifo without a writer reads as ended until
 * there has been one, so readiness is awaited first.
 */
static void out_run(void *arg)
{
	struct stream *s = arg;
	struct console *c = s->owner;
	OWN(free) char *block = mem_zalloc(OUT_BLOCK);
	struct err e = ERR_INIT;
	size_t got = 1;

	while (block && got) {
		if (fiber_wait_fd(c->loop, s->fd, EPOLLIN, DEADLINE_NONE, &e) < 0 ||
		    fiber_read(c->loop, s->fd, block, OUT_BLOCK, DEADLINE_NONE, &got, &e) < 0)
			break;
		/* nobody reads our output any more: as with any program, a write says so */
		if (write_own(c, s->to, block, got, &e) < 0)
			break;
	}
	stream_ended(s);
}

/* Looks for Ctrl-P Ctrl-Q; moves what is to be sent to the front and returns its length. */
static size_t filter_keys(struct console *c, char *p, size_t len)
{
	char out[IN_BLOCK + 1];
	size_t n = 0;

	for (size_t i = 0; i < len && !c->detached; i++) {
		if (c->key_1 && p[i] == KEY_DETACH_2) {
			c->detached = true;
			break;
		}
		if (c->key_1)
			out[n++] = KEY_DETACH_1;
		c->key_1 = p[i] == KEY_DETACH_1;
		if (!c->key_1)
			out[n++] = p[i];
	}
	if (n)
		memcpy(p, out, n);
	return n;
}

static int in_step(struct console *c, struct stream *s, char *block, struct err *e)
{
	ssize_t n;
	size_t len;

	if (wait_own(c, STDIN_FILENO, EPOLLIN, e) < 0)
		return -1;
	n = read(STDIN_FILENO, block, IN_BLOCK);
	if (n < 0 && (errno == EINTR || errno == EAGAIN))
		return 0;
	if (n <= 0)
		return 1;
	len = c->raw ? filter_keys(c, block, (size_t)n) : (size_t)n;
	if (fiber_write_all(c->loop, s->fd, block, len, DEADLINE_NONE, e) < 0)
		return -1;
	return c->detached;
}

static void in_run(void *arg)
{
	struct stream *s = arg;
	struct console *c = s->owner;
	OWN(free) char *block = mem_zalloc(IN_BLOCK * 2 + 2);
	struct err e = ERR_INIT;
	int rc = block ? 0 : -1;

	while (rc == 0)
		rc = in_step(c, s, block, &e);
	stream_ended(s); /* what is still in the fifo stays readable for the engine */
}

/* ---- terminal and signals ---- */

static void send_size(struct console *c)
{
	Containerd__Task__ResizePtyRequest req = CONTAINERD__TASK__RESIZE_PTY_REQUEST__INIT;
	struct winsize ws;
	struct err e;

	if (ioctl(STDIN_FILENO, TIOCGWINSZ, &ws) < 0 &&
	    ioctl(STDOUT_FILENO, TIOCGWINSZ, &ws) < 0)
		return;
	if (ws.ws_row == 0 || ws.ws_col == 0)
		return;
	req.id = (char *)(uintptr_t)c->id;
	req.exec_id = (char *)(uintptr_t)c->exec_id;
	req.width = ws.ws_col;
	req.height = ws.ws_row;
	if (engine_call(c->engine, TASK_RESIZE_PTY, &req, NULL, NULL, &e) < 0)
		log_debug(NULL, "%s", e.msg);
}

static int send_signal(struct console *c, int sig)
{
	Containerd__Task__KillRequest req = CONTAINERD__TASK__KILL_REQUEST__INIT;
	struct err e;
	int rc;

	req.id = (char *)(uintptr_t)c->id;
	req.exec_id = (char *)(uintptr_t)c->exec_id;
	req.signal = (uint32_t)sig;
	rc = engine_call(c->engine, TASK_KILL, &req, NULL, NULL, &e);
	if (rc < 0)
		log_debug(NULL, "%s", e.msg);
	return rc;
}

struct signal_job {
	struct console *c;
	int sig;
};

static void signal_run(void *arg)
{
	OWN(free) struct signal_job *j = arg;
	struct console *c = j->c;

	if (j->sig == SIGWINCH && c->c.terminal)
		send_size(c);
	else
		(void)send_signal(c, j->sig);
	c->running--;
	cond_wake_all(&c->changed);
}

/* A first process that handles no signal ignores them: who asks three times is let go. */
static void note_end(struct console *c, int sig)
{
	struct pollfd terminal = { .fd = STDIN_FILENO };

	if (sig == SIGINT || sig == SIGTERM)
		c->asked_to_end++;
	if (c->asked_to_end == ENOUGH_ASKING ||
	    (sig == SIGHUP && c->c.terminal && poll(&terminal, 1, 0) == 1 &&
	     terminal.revents & (POLLHUP | POLLERR)))
		c->left_by = sig;
	if (c->left_by)
		cond_wake_all(&c->changed);
}

static void on_signal(int sig, void *arg)
{
	struct console *c = arg;
	struct signal_job *j = mem_new(struct signal_job);
	struct err e;

	if (!j)
		return;
	note_end(c, sig);
	*j = (struct signal_job){ .c = c, .sig = sig };
	if (fiber_spawn(c->loop, "signal", signal_run, j, NULL, &e) < 0) {
		free(j);
		return;
	}
	c->running++;
}

static void set_raw(struct console *c)
{
	struct termios t;

	if (!c->c.terminal || !c->c.interactive || tcgetattr(STDIN_FILENO, &c->saved) < 0)
		return;
	t = c->saved;
	cfmakeraw(&t);
	c->raw = tcsetattr(STDIN_FILENO, TCSANOW, &t) == 0;
}

static void restore_terminal(struct console *c)
{
	if (c->raw)
		(void)tcsetattr(STDIN_FILENO, TCSANOW, &c->saved);
	c->raw = false;
}

/* ---- the run ---- */

static void wait_run(void *arg)
{
	struct console *c = arg;

	if (engine_wait(c->engine, c->id, c->exec_id, &c->status, &c->wait_err) == 0)
		c->wait_err = (struct err)ERR_INIT;
	c->waited = true;
	c->running--;
	cond_wake_all(&c->changed);
}

static int start_fibers(struct console *c, struct err *e)
{
	static const fiber_fn run[STREAM_COUNT] = { in_run, out_run, out_run };

	for (int i = 0; i < STREAM_COUNT; i++) {
		struct stream *s = &c->streams[i];

		if (s->fd < 0)
			continue;
		if (fiber_spawn(c->loop, "stream", run[i], s, &s->fiber, e) < 0)
			return -1;
		c->running++;
	}
	if (fiber_spawn(c->loop, "wait", wait_run, c, NULL, e) < 0)
		return -1;
	c->running++;
	return 0;
}

static bool output_done(const struct console *c)
{
	return !c->streams[STREAM_OUT].fiber && !c->streams[STREAM_ERR].fiber;
}

/* Everything that still runs is called off; ends when the last fiber has left. */
static void finish(struct console *c)
{
	struct err e;

	for (int i = 0; i < STREAM_COUNT; i++) {
		if (c->streams[i].fiber)
			fiber_cancel(c->streams[i].fiber);
	}
	while (c->running > (c->waited ? 0u : 1u) &&
	       cond_wait(&c->changed, deadline_in(2000), &e) == 0)
		;
}

/* Who it works for has gone: as in a shell's pipe or on a terminal, it is told so. */
static void end_unread(struct console *c)
{
	int64_t deadline = deadline_in(UNREAD_MS);
	struct err e;

	(void)send_signal(c, c->left_by ? c->left_by : SIGPIPE);
	while (!c->waited && cond_wait(&c->changed, deadline, &e) == 0)
		;
	deadline = deadline_in(KILLED_MS);
	if (!c->waited && send_signal(c, SIGKILL) == 0) {
		while (!c->waited && cond_wait(&c->changed, deadline, &e) == 0)
			;
	}
}

static enum console_end how_it_ended(struct console *c, uint32_t *status)
{
	if (c->detached)
		return CONSOLE_DETACHED;
	*status = c->status;
	if (!c->broken && !c->left_by)
		return CONSOLE_ENDED;
	if (!c->c.outlives)
		end_unread(c);
	*status = 128u + (unsigned)(c->left_by ? c->left_by : SIGPIPE);
	if (!c->left_by && c->broken != EPIPE) {
		(void)fprintf(stderr, "kata: write the output: %s\n", strerror(c->broken));
		*status = EXIT_OURS;
	}
	return CONSOLE_BROKEN;
}

/* With all output; an engine that does not answer gives none. */
static bool is_over(const struct console *c)
{
	return c->waited && (output_done(c) || c->wait_err.kind == ERR_TIMEOUT);
}

int console_run(struct console *c, struct engine_client *en, const char *id,
		const char *exec_id, uint32_t *status, enum console_end *end, struct err *e)
{
	c->engine = en;
	c->id = id;
	c->exec_id = exec_id;
	set_raw(c);
	if (start_fibers(c, e) < 0)
		return -1;
	signals_take(c->c.signals, on_signal, c);
	if (c->c.terminal)
		send_size(c);
	while (!c->detached && !c->broken && !c->left_by && !is_over(c)) {
		if (cond_wait(&c->changed, DEADLINE_NONE, e) < 0)
			break;
	}
	*end = how_it_ended(c, status);
	signals_fini(c->c.signals);
	finish(c);
	restore_terminal(c);
	if (*end == CONSOLE_ENDED && c->wait_err.kind != ERR_NONE) {
		*e = c->wait_err;
		return -1;
	}
	return 0;
}

void console_free(struct console *c)
{
	if (!c)
		return;
	restore_terminal(c);
	for (int i = 0; i < STREAM_COUNT; i++) {
		struct stream *s = &c->streams[i];

		fd_close(&s->fd);
		if (s->path)
			(void)unlink(s->path);
		free(s->path);
		free(s->name);
	}
	if (c->waited || c->running == 0)
		free(c); /* else the waiting fiber still has it: we are about to exit */
}
