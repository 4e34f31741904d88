/* SPDX-License-Identifier: Apache-2.0 */
/* A fiber for each direction, with descriptors of its own: epoll wants them apart. */
#include "event/relay.h"

#include <errno.h>
#include <fcntl.h>

#include "base/err.h"
#include "base/fd.h"
#include "base/own.h"
#include "base/time.h"
#include "event/fiber.h"
#include "event/loop.h"

enum {
	CHUNK = 4096,
	WAYS = 3
};

struct direction {
	struct relay *relay;
	struct fiber *fiber; /* NULL: it has ended */
	int from, to;
};

struct relay {
	struct loop *loop;
	struct direction ways[WAYS]; /* there, back, and one that only looks at `a` */
	struct cond ended;
};

/* Until the source ends or the destination takes no more. */
static void carry(void *arg)
{
	struct direction *d = arg;
	struct loop *l = d->relay->loop;
	char buf[CHUNK];
	struct err e;
	size_t n;

	while (fiber_read(l, d->from, buf, sizeof(buf), DEADLINE_NONE, &n, &e) == 0 && n > 0 &&
	       fiber_write_all(l, d->to, buf, n, DEADLINE_NONE, &e) == 0 &&
	       fiber_sleep(l, 0, &e) == 0) /* who sends without end starves nobody */
		;
	d->fiber = NULL;
	cond_wake_all(&d->relay->ended);
}

/* Who waits for the other side to take something does not see that his own has gone. */
static void watch(void *arg)
{
	struct direction *d = arg;
	struct err ignored;

	(void)fiber_wait_fd(d->relay->loop, d->from, 0, DEADLINE_NONE, &ignored);
	d->fiber = NULL;
	cond_wake_all(&d->relay->ended);
}

static int begin(struct direction *d, fiber_fn fn, int from, int to, struct err *e)
{
	d->from = fcntl(from, F_DUPFD_CLOEXEC, 3);
	d->to = fcntl(to, F_DUPFD_CLOEXEC, 3);
	if (d->from < 0 || d->to < 0)
		return err_sys(e, "duplicate a descriptor");
	return fiber_spawn(d->relay->loop, "relay", fn, d, &d->fiber, e);
}

static int alive(const struct relay *r)
{
	int n = 0;

	for (int i = 0; i < WAYS; i++)
		n += r->ways[i].fiber != NULL;
	return n;
}

/* They have this stack's memory: neither may outlive it. */
static void end(struct relay *r)
{
	struct err ignored;

	fiber_shield(r->loop, true);
	for (int i = 0; i < WAYS; i++) {
		if (r->ways[i].fiber)
			fiber_cancel(r->ways[i].fiber);
	}
	while (alive(r) && cond_wait(&r->ended, DEADLINE_NONE, &ignored) == 0)
		;
	fiber_shield(r->loop, false);
	for (int i = 0; i < WAYS; i++) {
		fd_close(&r->ways[i].from);
		fd_close(&r->ways[i].to);
	}
}

int relay_run(struct loop *l, int a, int b, struct err *e)
{
	struct relay r = { .loop = l };
	int rc = 0;

	for (int i = 0; i < WAYS; i++)
		r.ways[i] = (struct direction){ .relay = &r, .from = -1, .to = -1 };
	cond_init(&r.ended, l);
	if (begin(&r.ways[0], carry, a, b, e) < 0 || begin(&r.ways[1], carry, b, a, e) < 0 ||
	    begin(&r.ways[2], watch, a, a, e) < 0)
		rc = -1;
	while (rc == 0 && alive(&r) == WAYS)
		rc = cond_wait(&r.ended, DEADLINE_NONE, e);
	end(&r);
	return rc;
}
