/* SPDX-License-Identifier: Apache-2.0 */
/* Fibers that follow the guest; each ends with the machine. */
#include "sandbox/guest_events.h"

#include "base/err.h"
#include "base/time.h"
#include "config/config.h"
#include "sandbox/internal.h"

enum {
	OOM_PAUSE_MS = 1000,
	HEALTH_PAUSE_MS = 30 * 1000
};

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
		if (!s->agent || s->vm_lost || s->state != SANDBOX_READY)
			return;
		/* an error is an answer: one that refuses once is asked again */
		if (agent_client_ready(s->agent, deadline_in(timeout), &e) == 0 ||
		    (e.kind != ERR_TIMEOUT && e.kind != ERR_CANCELLED))
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
