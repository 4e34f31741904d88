/* SPDX-License-Identifier: Apache-2.0 */
/* Two descriptors and a terminal: poll(2) is all it takes. */
#include "runtime/exec.h"

#include <dirent.h>
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <termios.h>
#include <unistd.h>

#include "base/err.h"
#include "base/fd.h"
#include "base/own.h"
#include "base/path.h"
#include "base/str.h"
#include "sandbox/debug_console.h"
#include "sandbox/rundir.h"
#include "wire/unix_socket.h"

enum {
	CHUNK = 4096,
	END_STEP_MS = 1000,
	WRITE_MS = 10 * 1000, /* that the guest may leave our input lying */
	SILENT_STEPS = 600,   /* that a command may take after our input has ended */
	CTRL_D = 4,
	CTRL_P = 16,
	CTRL_Q = 17,
	REFUSAL_LEN = sizeof(DEBUG_CONSOLE_REFUSAL) - 1
};

/* `id`@digits, where a sandbox of another owner has that name. */
static bool names(const char *entry, const char *id)
{
	size_t n = strlen(id);

	return strncmp(entry, id, n) == 0 && entry[n] == '@';
}

static int find_other(const char *id, char **out, struct err *e)
{
	OWN(free) char *found = NULL;
	DIR *dir = opendir(RUNDIR_BASE);
	struct dirent *ent;
	int rc = 0;

	while (rc == 0 && dir && (ent = readdir(dir))) {
		if (ent->d_name[0] == '.' || !names(ent->d_name, id))
			continue;
		if (found)
			rc = err_set(e, ERR_INVALID, 0,
				     "'%.80s' names several sandboxes: give the name of a "
				     "directory in " RUNDIR_BASE,
				     id);
		else if (!(found = str_printf(RUNDIR_BASE "/%s/" RUNDIR_CONSOLE, ent->d_name)))
			rc = err_oom(e, "a path");
	}
	if (dir)
		(void)closedir(dir);
	if (rc < 0)
		return -1;
	if (!found)
		return err_set(e, ERR_NOT_FOUND, 0, "sandbox '%.80s' does not run", id);
	*out = TAKE(found);
	return 0;
}

/* The directory of that name before all others. */
static int find_socket(const char *id, char **out, struct err *e)
{
	OWN(free) char *plain = str_printf(RUNDIR_BASE "/%s", id);

	if (!plain)
		return err_oom(e, "a path");
	if (access(plain, F_OK) < 0)
		return find_other(id, out, e);
	*out = str_printf("%s/" RUNDIR_CONSOLE, plain);
	return *out ? 0 : err_oom(e, "a path");
}

struct terminal {
	struct termios before;
	bool is_raw;
};

static void terminal_raw(struct terminal *t)
{
	struct termios raw;

	if (tcgetattr(STDIN_FILENO, &t->before) < 0)
		return;
	raw = t->before;
	cfmakeraw(&raw);
	t->is_raw = tcsetattr(STDIN_FILENO, TCSANOW, &raw) == 0;
}

static void own_terminal(struct terminal *t)
{
	if (t->is_raw)
		(void)tcsetattr(STDIN_FILENO, TCSANOW, &t->before);
}

/*
 * A terminal that stays raw is of no use to anybody: who ends us waits until it is not. These
 * signals come while ppoll(2) waits and at no other time, so none comes just before it unseen.
 */
static volatile sig_atomic_t ended_by;

static void on_end(int sig)
{
	ended_by = sig;
}

static void hear_ends(sigset_t *awake)
{
	static const int signals[] = { SIGTERM, SIGINT, SIGHUP, SIGQUIT };
	struct sigaction sa = { .sa_handler = on_end }, before;
	sigset_t blocked;

	sigemptyset(&blocked);
	for (size_t i = 0; i < ARRAY_LEN(signals); i++) {
		if (sigaction(signals[i], NULL, &before) == 0 && before.sa_handler == SIG_IGN)
			continue; /* nohup(1) */
		(void)sigaction(signals[i], &sa, NULL);
		sigaddset(&blocked, signals[i]);
	}
	(void)sigprocmask(SIG_BLOCK, &blocked, awake);
	(void)signal(SIGPIPE, SIG_IGN); /* an error of write(2), after which we tidy up */
}

struct session {
	int console;
	bool terminal, saw_ctrl_p, input_over;
	bool began;    /* something has come */
	bool mid_line; /* the last byte we sent was no newline */
	int silent;    /* steps without output since then */
	sigset_t awake;
};

/* How many of them are ready, 0 when the time (-1: none) is over. */
static int wait_ready(const struct session *s, struct pollfd *p, nfds_t n, int ms,
		      struct err *e)
{
	struct timespec limit = { .tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000L };
	int ready;

	do
		ready = ppoll(p, n, ms < 0 ? NULL : &limit, &s->awake);
	while (ready < 0 && errno == EINTR && !ended_by);
	if (ended_by)
		return err_set(e, ERR_STATE, 0, "ended by signal %d", ended_by);
	return ready < 0 ? err_sys(e, "poll") : ready;
}

/* What the guest does not take in time is an error: it may be beyond reading. */
static int send_all(const struct session *s, const char *p, size_t len, struct err *e)
{
	while (len) {
		struct pollfd room = { .fd = s->console, .events = POLLOUT };
		ssize_t n = send(s->console, p, len, MSG_NOSIGNAL);
		int ready;

		if (n >= 0) {
			p += n;
			len -= (size_t)n;
			continue;
		}
		if (errno == EPIPE || errno == ECONNRESET)
			return 0; /* what it said before its end is still to be read */
		if (errno != EAGAIN && errno != EINTR)
			return err_sys(e, "write to the console");
		ready = wait_ready(s, &room, 1, WRITE_MS, e);
		if (ready < 0)
			return -1;
		if (ready == 0)
			return err_set(e, ERR_TIMEOUT, 0,
				       "the guest has not taken any input for %d s",
				       WRITE_MS / 1000);
	}
	return 0;
}

/* A pipe that is ready takes a CHUNK at once: who does not read it keeps no signal from us. */
static int put_all(const struct session *s, const char *p, size_t len, struct err *e)
{
	while (len) {
		struct pollfd room = { .fd = STDOUT_FILENO, .events = POLLOUT };
		ssize_t n;

		if (wait_ready(s, &room, 1, -1, e) < 0)
			return -1;
		n = write(STDOUT_FILENO, p, len);
		if (n < 0 && errno != EAGAIN && errno != EINTR)
			return err_sys(e, "write the output");
		if (n > 0) {
			p += n;
			len -= (size_t)n;
		}
	}
	return 0;
}

/* Without Ctrl-P Ctrl-Q, which leaves; a Ctrl-P before anything else is the shell's. */
static int type(struct session *s, const char *p, size_t n, bool *left, struct err *e)
{
	char out[CHUNK + 1]; /* one that was held comes before the block */
	size_t len = 0;

	for (size_t i = 0; i < n && !*left; i++) {
		bool held = s->saw_ctrl_p;

		s->saw_ctrl_p = s->terminal && !held && p[i] == CTRL_P;
		*left = held && p[i] == CTRL_Q;
		if (s->saw_ctrl_p || *left)
			continue;
		if (held)
			out[len++] = CTRL_P;
		out[len++] = p[i];
	}
	if (len)
		s->mid_line = out[len - 1] != '\n';
	return send_all(s, out, len, e);
}

/*
 * What a terminal says at the end of input. Said again until it is heard: a shell that has just
 * changed its terminal's mode takes what came before as an ordinary byte.
 */
static int say_end(struct session *s, struct err *e)
{
	static const char end = CTRL_D;

	if (s->silent++ == SILENT_STEPS)
		return err_set(e, ERR_TIMEOUT, 0,
			       "the shell has not ended %d s after the end of its input",
			       SILENT_STEPS * END_STEP_MS / 1000);
	return send_all(s, &end, 1, e) < 0 ? -1 : 1;
}

/* 1: go on, 0: over. */
static int take_input(struct session *s, struct err *e)
{
	char block[CHUNK];
	ssize_t n = read(STDIN_FILENO, block, sizeof(block));
	bool left = false;

	if (n < 0 && errno == EINTR)
		return 1;
	if (n < 0)
		return err_sys(e, "read the input");
	if (n == 0) {
		s->input_over = true;
		/* a shell ends at the begin of a line only; a last command need not have an end
		 */
		if (s->mid_line && send_all(s, "\n", 1, e) < 0)
			return -1;
		return say_end(s, e);
	}
	if (type(s, block, (size_t)n, &left, e) < 0)
		return -1;
	return !left;
}

/* The engine's own words; they come in one write. */
static bool is_refusal(const char *p, size_t n)
{
	return n >= REFUSAL_LEN && memcmp(p, DEBUG_CONSOLE_REFUSAL, REFUSAL_LEN) == 0;
}

static int take_output(struct session *s, struct err *e)
{
	char block[CHUNK];
	ssize_t n = read(s->console, block, sizeof(block));

	if (n < 0 && (errno == EINTR || errno == EAGAIN))
		return 1;
	if (n < 0 && errno != ECONNRESET)
		return err_sys(e, "read the console");
	if (n <= 0)
		return 0;
	if (!s->began && is_refusal(block, (size_t)n)) {
		block[n < CHUNK ? n : CHUNK - 1] = '\0';
		return err_set(e, ERR_STATE, 0, "%.*s",
			       (int)strcspn(block + REFUSAL_LEN, "\r\n"), block + REFUSAL_LEN);
	}
	s->began = true;
	s->silent = 0;
	return put_all(s, block, (size_t)n, e) < 0 ? -1 : 1;
}

static int attach(struct session *s, struct err *e)
{
	int go_on = 1;

	while (go_on == 1) {
		struct pollfd p[] = { { .fd = s->console, .events = POLLIN },
				      { .fd = s->input_over ? -1 : STDIN_FILENO,
					.events = POLLIN } };
		int n = wait_ready(s, p, 2, s->input_over ? END_STEP_MS : -1, e);

		if (n < 0)
			return -1;
		if (n == 0)
			go_on = say_end(s, e);
		if (n > 0 && p[0].revents)
			go_on = take_output(s, e);
		if (n > 0 && go_on == 1 && p[1].revents)
			go_on = take_input(s, e);
	}
	return go_on;
}

int debug_console_attach(const char *id, struct err *e)
{
	OWN(terminal) struct terminal t = { .is_raw = false };
	OWN(free) char *path = NULL;
	OWN(fd) int fd = -1;
	struct session s = { 0 };

	if (!path_is_component(id))
		return err_set(e, ERR_INVALID, 0, "'%.80s' is no id of a sandbox", id);
	if (find_socket(id, &path, e) < 0)
		return -1;
	if (unix_connect(path, &fd, e) < 0)
		return e->kind == ERR_NOT_FOUND
			       ? err_set(e, ERR_NOT_FOUND, 0,
					 "sandbox '%.80s' has no debug console: [agent.kata] "
					 "debug_console_enabled gives the next one that starts a "
					 "console",
					 id)
			       : -1;
	s.console = fd;
	hear_ends(&s.awake);
	terminal_raw(&t);
	s.terminal = t.is_raw;
	return attach(&s, e);
}
