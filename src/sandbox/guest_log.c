/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From streams of a guest's bytes to lines of our log. A guest that writes without end costs a
 * bounded part of each second: what comes too fast stays in the port, whose writer then waits,
 * or drops it, as our agent does.
 */
#include "sandbox/guest_log.h"

#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/fd.h"
#include "base/str.h"
#include "base/time.h"
#include "sandbox/internal.h"
#include "sandbox/lines.h"
#include "vmm/vmm.h"

enum {
	SECOND_MS = 1000,
	HOUR_MS = 3600 * 1000,
	BLOCK = 4096,
	BYTES_PER_SECOND = 256 * 1024,
	BURST = 2000, /* a boot's messages */
	LINES_PER_SECOND = 200,
	SHOWN_PER_HOUR = 100
};

/* All lines, and those that are shown though nobody asked for them. */
#define BUDGET_DEBUG                                                                           \
	{                                                                                      \
		.burst = BURST, .each = LINES_PER_SECOND, .period_ms = SECOND_MS               \
	}
#define BUDGET_SHOWN                                                                           \
	{                                                                                      \
		.burst = SHOWN_PER_HOUR, .each = SHOWN_PER_HOUR, .period_ms = HOUR_MS          \
	}

bool line_budget_take(struct line_budget *b, int64_t now)
{
	int64_t periods = b->filled_at ? (now - b->filled_at) / b->period_ms : 1;

	if (!b->filled_at) {
		b->left = b->burst;
		b->filled_at = now;
	} else if (periods > 0) {
		uint64_t left = b->left + (uint64_t)periods * b->each;

		b->left = left < b->burst ? (unsigned)left : b->burst;
		b->filled_at += periods * b->period_ms;
	}
	if (b->left == 0) {
		b->missed++;
		return false;
	}
	b->left--;
	return true;
}

unsigned line_budget_missed(struct line_budget *b)
{
	unsigned n = b->missed;

	b->missed = 0;
	return n;
}

/* The sandbox's log, a source's name in front. */
static void show(const struct sandbox *s, enum log_level level, struct line_budget *b,
		 const char *source, const char *line, size_t len)
{
	char quoted[LINES_MAX_BYTES + 128];
	unsigned missed;

	if (!log_enabled(level) || !line_budget_take(b, time_mono_ms()))
		return;
	missed = line_budget_missed(b);
	if (missed)
		log_emit(level, &s->log, "%s: %u lines were too many and are lost", source,
			 missed);
	log_emit(level, &s->log, "%s: %s", source,
		 str_quote(line, len, quoted, sizeof(quoted)));
}

/* ---- the agent ---- */

struct follower {
	struct sandbox *s;
	int fd;
	bool debug;
	struct lines lines;
	struct line_budget all, shown;
};

/* By the level that logrus-like lines have: the first word that could be it. */
static bool is_warning(const char *line, size_t len)
{
	static const char *const words[] = { "level=\"warning\"", "level=\"error\"" };

	for (size_t i = 0; i < ARRAY_LEN(words); i++) {
		if (memmem(line, len, words[i], strlen(words[i])))
			return true;
	}
	return false;
}

static void agent_line(const char *line, size_t len, void *arg)
{
	struct follower *f = arg;

	if (f->debug)
		show(f->s, LOG_INFO, &f->all, "agent", line, len);
	else if (is_warning(line, len))
		show(f->s, LOG_INFO, &f->shown, "agent", line, len);
	else
		show(f->s, LOG_DEBUG, &f->all, "agent", line, len);
}

static void log_run(void *arg)
{
	struct follower *f = arg;
	int64_t second = 0;
	size_t got = 1, sum = 0;
	char block[BLOCK];
	struct err e;

	while (got && fiber_read(f->s->loop, f->fd, block, sizeof(block), DEADLINE_NONE, &got,
				 &e) == 0) {
		int64_t now = time_mono_ms() / SECOND_MS;

		lines_take(&f->lines, block, got);
		sum = now == second ? sum + got : got;
		second = now;
		/* others have their turn after each block */
		if (fiber_sleep(f->s->loop, sum < BYTES_PER_SECOND ? 0 : SECOND_MS, &e) < 0)
			break;
	}
	lines_end(&f->lines);
	fd_close(&f->fd);
	free(f);
}

int guest_log_follow(struct sandbox *s, const char *port, bool debug, struct err *e)
{
	OWN(free) struct follower *f = mem_new(struct follower);
	OWN(fd) int fd = -1;

	if (!f)
		return err_oom(e, "the agent's log");
	if (vmm_serial_take(s->vmm, port, &fd, e) < 0)
		return -1;
	*f = (struct follower){
		.s = s,
		.fd = fd,
		.debug = debug,
		.lines = { .each = agent_line, .arg = f },
		.all = BUDGET_DEBUG,
		.shown = BUDGET_SHOWN,
	};
	if (fiber_spawn(s->loop, "guest log", log_run, f, NULL, e) < 0)
		return -1;
	fd_take(&fd);
	f = NULL;
	return 0;
}

/* ---- the console ---- */

struct guest_console {
	struct sandbox *s;
	struct lines lines;
	struct line_budget budget;
};

static void console_line(const char *line, size_t len, void *arg)
{
	struct guest_console *c = arg;

	show(c->s, LOG_INFO, &c->budget, "console", line, len);
}

int guest_console_new(struct sandbox *s, struct guest_console **out, struct err *e)
{
	struct guest_console *c = mem_new(struct guest_console);

	if (!c)
		return err_oom(e, "the guest's console");
	c->s = s;
	c->lines = (struct lines){ .each = console_line, .arg = c };
	c->budget = (struct line_budget)BUDGET_DEBUG;
	*out = c;
	return 0;
}

void guest_console_free(struct guest_console *c)
{
	if (!c)
		return;
	lines_end(&c->lines);
	free(c);
}

void guest_console_text(const char *p, size_t n, void *arg)
{
	struct guest_console *c = arg;

	lines_take(&c->lines, p, n);
}
