/* SPDX-License-Identifier: Apache-2.0 */
/* Fibers that follow the guest; each ends with the machine. */
#include "sandbox/guest_log.h"

#include <string.h>

#include "base/err.h"
#include "base/str.h"
#include "base/time.h"
#include "config/config.h"
#include "sandbox/internal.h"
#include "sandbox/lines.h"
#include "vmm/vmm.h"

enum {
	OOM_PAUSE_MS = 1000,
	HEALTH_PAUSE_MS = 30 * 1000,
	LINES_PER_SECOND = 200, /* a guest that logs more loses the rest of that second */
};

struct follower {
	struct sandbox *s;
	int fd;
	struct lines lines;
	int64_t second;
	unsigned count, dropped;
};

static void emit_line(const char *line, size_t len, void *arg)
{
	char quoted[LINES_MAX_BYTES + 128];
	struct follower *f = arg;
	int64_t now = time_mono_ms() / 1000;

	if (now != f->second) {
		if (f->dropped)
			log_warn(&f->s->log, "agent: %u further lines were dropped",
				 f->dropped);
		f->second = now;
		f->count = f->dropped = 0;
	}
	if (f->count++ >= LINES_PER_SECOND)
		f->dropped++;
	else
		log_debug(&f->s->log, "agent: %s",
			  str_quote(line, len, quoted, sizeof(quoted)));
}

static void log_run(void *arg)
{
	struct follower *f = arg;
	char block[4096];
	size_t got = 1;
	struct err e;

	while (got && fiber_read(f->s->loop, f->fd, block, sizeof(block), DEADLINE_NONE, &got,
				 &e) == 0)
		lines_take(&f->lines, block, got);
	lines_end(&f->lines);
	fd_close(&f->fd);
	free(f);
}

int guest_log_follow(struct sandbox *s, const char *port, struct err *e)
{
	OWN(free) struct follower *f = mem_new(struct follower);
	OWN(fd) int fd = -1;

	if (!f)
		return err_oom(e, "the agent's log");
	if (vmm_serial_take(s->vmm, port, &fd, e) < 0)
		return -1;
	f->s = s;
	f->lines.each = emit_line;
	f->lines.arg = f;
	f->fd = fd;
	if (fiber_spawn(s->loop, "guest log", log_run, f, NULL, e) < 0)
		return -1;
	fd_take(&fd);
	f = NULL;
	return 0;
}

/* The guest may name anything, and that for ever: one a second, of containers that exist. */
static void report_oom(struct sandbox *s, const char *id)
{
	struct container *c = container_find(s, id);
	int64_t now = time_mono_ms();

	if (!c || (c->oom_at && now - c->oom_at < OOM_PAUSE_MS))
		return;
	c->oom_at = now;
	if (s->c.observer.oom)
		s->c.observer.oom(s->c.observer.arg, c->id);
}

static void oom_run(void *arg)
{
	struct sandbox *s = arg;
	Grpc__GetOOMEventRequest req = GRPC__GET_OOMEVENT_REQUEST__INIT;
	struct err e;

	for (;;) {
		OWN(arena) struct arena a = { .limit = 64 * 1024 };
		Grpc__OOMEvent *ev;

		if (!s->agent ||
		    agent_call(s->agent, AGENT_GET_OOM_EVENT, &req, &a, &ev, &e) < 0)
			break;
		report_oom(s, ev->container_id);
		if (fiber_sleep(s->loop, 10, &e) < 0)
			break;
	}
}

/*
 * A guest whose kernel hangs neither closes a connection nor ends: it is asked now and then,
 * and given up when it does not answer.
 */
static void health_run(void *arg)
{
	struct sandbox *s = arg;
	int64_t timeout = s->c.config->agent.health_check_request_timeout_ms;
	struct err e, why;

	while (fiber_sleep(s->loop, HEALTH_PAUSE_MS, &e) == 0) {
		if (!s->agent || s->vm_lost)
			return;
		if (agent_client_ready(s->agent, deadline_in(timeout), &e) == 0)
			continue;
		if (e.kind == ERR_TIMEOUT) {
			err_set(&why, ERR_TIMEOUT, 0, "the guest has not answered for %lld s",
				(long long)timeout / 1000);
			sandbox_vm_lost(s, &why);
		}
		return;
	}
}

int guest_events_follow(struct sandbox *s, struct err *e)
{
	if (fiber_spawn(s->loop, "guest events", oom_run, s, NULL, e) < 0)
		return -1;
	return fiber_spawn(s->loop, "guest health", health_run, s, NULL, e);
}
