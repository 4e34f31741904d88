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
	CHUNK = 4096
};

struct direction {
	struct relay *relay;
	struct fiber *fiber; /* NULL: it has ended */
	int from, to;
};

struct relay {
	struct loop *loop;
	struct direction ways[2];
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

static int begin(struct direction *d, int from, int to, struct err *e)
{
	d->from = fcntl(from, F_DUPFD_CLOEXEC, 3);
	d->to = fcntl(to, F_DUPFD_CLOEXEC, 3);
	if (d->from < 0 || d->to < 0)
		return err_sys(e, "duplicate a descriptor");
	return fiber_spawn(d->relay->loop, "relay", carry, d, &d->fiber, e);
}

/* They have this stack's memory: neither may outlive it. */
static void end(struct relay *r)
{
	struct err ignored;

	fiber_shield(r->loop, true);
	for (int i = 0; i < 2; i++) {
		if (r->ways[i].fiber)
			fiber_cancel(r->ways[i].fiber);
	}
	while ((r->ways[0].fiber || r->ways[1].fiber) &&
	       cond_wait(&r->ended, DEADLINE_NONE, &ignored) == 0)
		;
	fiber_shield(r->loop, false);
	for (int i = 0; i < 2; i++) {
		fd_close(&r->ways[i].from);
		fd_close(&r->ways[i].to);
	}
}

int relay_run(struct loop *l, int a, int b, struct err *e)
{
	struct relay r = { .loop = l };
	int rc = 0;

	for (int i = 0; i < 2; i++)
		r.ways[i] = (struct direction){ .relay = &r, .from = -1, .to = -1 };
	cond_init(&r.ended, l);
	if (begin(&r.ways[0], a, b, e) < 0 || begin(&r.ways[1], b, a, e) < 0)
		rc = -1;
	while (rc == 0 && r.ways[0].fiber && r.ways[1].fiber)
		rc = cond_wait(&r.ended, DEADLINE_NONE, e);
	end(&r);
	return rc;
}
