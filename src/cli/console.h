/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The caller's side of a process's streams: fifos in the container's directory are joined to
 * our own standard streams, a terminal is put into raw mode and its size kept, signals are
 * passed on, and Ctrl-P Ctrl-Q leaves the process to itself.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

struct engine_client;
struct err;
struct loop;
struct console;
struct signals;

struct console_config {
	bool interactive; /* our stdin goes to the process */
	bool terminal;
	const char *dir; /* where the fifos are made */
	const char *tag; /* their names' beginning: "" or an exec id */
	const char *log; /* also log output there (path), or NULL */
	/* of who started us, watched already */
	struct signals *signals;
	bool outlives; /* the process goes on when nobody is there for it any more */
};

enum console_end {
	CONSOLE_ENDED,    /* the process has, and its output is through */
	CONSOLE_DETACHED, /* Ctrl-P Ctrl-Q */
	CONSOLE_BROKEN    /* nobody is there: see `outlives` */
};

/* Makes the fifos and opens our ends. */
int console_open(struct loop *l, const struct console_config *c, struct console **out,
		 struct err *e);
/* The names for Create or Exec; valid as long as the console. */
const char *console_stdin_name(const struct console *c);
const char *console_stdout_name(const struct console *c);
const char *console_stderr_name(const struct console *c);

/*
 * Copies until the process has ended and its output is through, or it is left. *status gets
 * its exit status. CONSOLE_BROKEN: our output has no reader (status 128 and SIGPIPE) or cannot
 * be written (printed; EXIT_OURS), the terminal was closed (128 and SIGHUP), or we were asked
 * to end three times (128 and that signal). A process that does not outlive that gets the
 * signal, and a second later SIGKILL. `exec_id` "" is the
 * first process. Start it between console_open() and this.
 */
int console_run(struct console *c, struct engine_client *en, const char *id,
		const char *exec_id, uint32_t *status, enum console_end *end, struct err *e);
/* Restores the terminal, removes the fifos. NULL is accepted. */
void console_free(struct console *c);

static inline void own_console(struct console **c)
{
	console_free(*c);
}
