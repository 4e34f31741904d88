/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A fiber for each direction. A descriptor is in the epoll set once, for whatever its fibers
 * wait for: poll(2) of a virtio-serial port takes what has come out of the ring (Linux,
 * drivers/char/virtio_console.c), and the interrupt that follows finds nothing to tell of. A
 * second entry, woken because there is room to write, would swallow what the first waits for.
 */
#include "event/relay.h"

#include <errno.h>
#include <unistd.h>

#include "base/err.h"
#include "base/fd.h"
#include "base/own.h"
#include "base/time.h"
#include "event/fiber.h"
#include "event/loop.h"

enum {
	CHUNK = 4096,
	WAYS = 2
};

struct end {
	struct relay *relay;
	struct source source;
	struct cond ready;
	uint32_t wanted; /* EPOLLIN, EPOLLOUT */
	bool watched;    /* also while nobody waits: its hanging up ends the relay */
};

struct direction {
	struct relay *relay;
	struct fiber *fiber; /* NULL: it has ended */
	struct end *from, *to;
};

struct relay {
	struct loop *loop;
	struct end ends[2];
	struct direction ways[WAYS];
	struct cond ended;
	bool hung_up;
};

static void on_ready(struct source *s, uint32_t events)
{
	struct end *x = container_of(s, struct end, source);

	if (x->watched && events & (EPOLLHUP | EPOLLERR)) {
		x->relay->hung_up = true;
		loop_remove(x->relay->loop, s);
		cond_wake_all(&x->relay->ended);
	}
	cond_wake_all(&x->ready);
}

static int watch(struct end *x, struct err *e)
{
	struct loop *l = x->relay->loop;

	if (x->relay->hung_up || (!x->wanted && !x->watched)) {
		loop_remove(l, &x->source);
		return 0;
	}
	if (x->source.added)
		return loop_modify(l, &x->source, x->wanted, e);
	x->source.events = x->wanted;
	return loop_add(l, &x->source, e);
}

static int wait_for(struct end *x, uint32_t event, struct err *e)
{
	struct err ignored;
	int rc;

	x->wanted |= event;
	rc = watch(x, e);
	if (rc == 0)
		rc = cond_wait(&x->ready, DEADLINE_NONE, e);
	x->wanted &= ~event;
	(void)watch(x, &ignored);
	return rc;
}

/* 0 at its end, and when it cannot be read. */
static size_t take(struct end *x, char *p, size_t size)
{
	struct err e;

	for (;;) {
		ssize_t n = read(x->source.fd, p, size);

		if (n >= 0)
			return (size_t)n;
		if (errno != EINTR && (errno != EAGAIN || wait_for(x, EPOLLIN, &e) < 0))
			return 0;
	}
}

static bool give(struct end *x, const char *p, size_t len)
{
	struct err e;

	while (len) {
		ssize_t n = write(x->source.fd, p, len);

		if (n >= 0) {
			p += n;
			len -= (size_t)n;
		} else if (errno != EINTR &&
			   (errno != EAGAIN || wait_for(x, EPOLLOUT, &e) < 0)) {
			return false;
		}
	}
	return true;
}

/* Until the source ends or the destination takes no more. */
static void carry(void *arg)
{
	struct direction *d = arg;
	char buf[CHUNK];
	struct err e;
	size_t n;

	while ((n = take(d->from, buf, sizeof(buf))) > 0 && give(d->to, buf, n) &&
	       fiber_sleep(d->relay->loop, 0, &e) ==
		       0) /* who sends without end starves nobody */
		;
	d->fiber = NULL;
	cond_wake_all(&d->relay->ended);
}

static void end_init(struct end *x, struct relay *r, int fd, bool watched)
{
	*x = (struct end){ .relay = r, .watched = watched };
	x->source = (struct source){ .fd = fd, .ready = on_ready };
	cond_init(&x->ready, r->loop);
}

static int begin(struct relay *r, struct err *e)
{
	if (watch(&r->ends[0], e) < 0)
		return -1;
	for (int i = 0; i < WAYS; i++) {
		struct direction *d = &r->ways[i];

		d->from = &r->ends[i];
		d->to = &r->ends[!i];
		if (fiber_spawn(r->loop, "relay", carry, d, &d->fiber, e) < 0)
			return -1;
	}
	return 0;
}

static int alive(const struct relay *r)
{
	int n = 0;

	for (int i = 0; i < WAYS; i++)
		n += r->ways[i].fiber != NULL;
	return n;
}

/* They have this stack's memory: neither may outlive it. */
static void finish(struct relay *r)
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
	for (int i = 0; i < 2; i++)
		loop_remove(r->loop, &r->ends[i].source);
}

int relay_run(struct loop *l, int a, int b, struct err *e)
{
	struct relay r = { .loop = l };
	int rc;

	end_init(&r.ends[0], &r, a, true);
	end_init(&r.ends[1], &r, b, false);
	for (int i = 0; i < WAYS; i++)
		r.ways[i] = (struct direction){ .relay = &r };
	cond_init(&r.ended, l);
	rc = begin(&r, e);
	while (rc == 0 && alive(&r) == WAYS && !r.hung_up)
		rc = cond_wait(&r.ended, DEADLINE_NONE, e);
	finish(&r);
	return rc;
}
