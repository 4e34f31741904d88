/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Two directions, each a queue from one descriptor to the other. A full queue stops reading
 * from its source, so that a side that takes nothing costs QUEUE_HIGH bytes and no more.
 */
#include "net/frame_relay.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/fd.h"
#include "base/mem.h"
#include "event/loop.h"
#include "net/frame_filter.h"
#include "net/handshake.h"

enum {
	LENGTH = 4,
	READ_SIZE = 64 * 1024,
	QUEUE_HIGH = 256 * 1024,
	READS_A_TURN = 8
};

struct end {
	struct frame_relay *relay;
	struct source source;
	struct buf in;  /* the frame that is not complete yet */
	struct buf out; /* whole frames that wait for this descriptor to take them */
};

struct frame_relay {
	struct loop *loop;
	struct end guest, passt;
	bool completes_handshakes;
	void (*lost)(const struct err *why, void *arg);
	void *arg;
};

static struct end *other(struct end *a)
{
	return a == &a->relay->guest ? &a->relay->passt : &a->relay->guest;
}

/* Both descriptors go: whoever is behind them sees the end. */
static void shut(struct frame_relay *r)
{
	loop_remove(r->loop, &r->guest.source);
	loop_remove(r->loop, &r->passt.source);
	fd_close(&r->guest.source.fd);
	fd_close(&r->passt.source.fd);
}

static void fail(struct frame_relay *r, const struct err *why)
{
	shut(r);
	if (r->lost)
		r->lost(why, r->arg);
}

/* What an end is watched for depends on both queues. */
static int watch(struct end *a, struct err *e)
{
	uint32_t events = (buf_len(&other(a)->out) < QUEUE_HIGH ? EPOLLIN : 0) |
			  (buf_len(&a->out) ? EPOLLOUT : 0);

	return a->source.events == events ? 0
					  : loop_modify(a->relay->loop, &a->source, events, e);
}

static int flush(struct end *a, struct err *e)
{
	while (buf_len(&a->out)) {
		ssize_t n = send(a->source.fd, buf_head(&a->out), buf_len(&a->out),
				 MSG_NOSIGNAL | MSG_DONTWAIT);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EAGAIN)
			return 0;
		if (n < 0)
			return err_sys(e, "the guest's network");
		buf_consume(&a->out, (size_t)n);
	}
	return 0;
}

/* Puts an answer of our own between two frames for the guest. */
static int answer(struct frame_relay *r, const uint8_t *frame, size_t len, struct err *e)
{
	uint8_t out[LENGTH + HANDSHAKE_ANSWER_MAX] = { 0 };
	size_t out_len;

	/* a guest that takes no answers gets none: it will ask again */
	if (!r->completes_handshakes || buf_len(&r->guest.out) >= QUEUE_HIGH ||
	    !handshake_answer(frame, len, out + LENGTH, &out_len))
		return 0;
	out[LENGTH - 1] = (uint8_t)out_len;
	return buf_append(&r->guest.out, out, LENGTH + out_len, e);
}

static int pass_on(struct end *a, const uint8_t *whole, size_t len, struct err *e)
{
	struct frame_relay *r = a->relay;
	const uint8_t *frame = whole + LENGTH;

	if (a == &r->guest && !frame_filter_passes(frame, len))
		return 0;
	if (buf_append(&other(a)->out, whole, LENGTH + len, e) < 0)
		return -1;
	return a == &r->guest ? answer(r, frame, len, e) : 0;
}

/* Complete frames. */
static int take_frames(struct end *a, struct err *e)
{
	while (buf_len(&a->in) >= LENGTH) {
		const uint8_t *p = buf_head(&a->in);
		size_t len = (size_t)p[0] << 24 | (size_t)p[1] << 16 | (size_t)p[2] << 8 | p[3];

		if (len == 0 || len > FRAME_RELAY_MAX)
			return err_set(e, ERR_PEER, 0, "%s sends a frame of %zu bytes",
				       a == &a->relay->guest ? "the guest's network device"
							     : "passt",
				       len);
		if (buf_len(&a->in) < LENGTH + len)
			return 0;
		if (pass_on(a, p, len, e) < 0)
			return -1;
		buf_consume(&a->in, LENGTH + len);
	}
	return 0;
}

/* 1: the end of the stream. */
static int read_some(struct end *a, struct err *e)
{
	for (int i = 0; i < READS_A_TURN && buf_len(&other(a)->out) < QUEUE_HIGH; i++) {
		ssize_t n;

		if (buf_reserve(&a->in, READ_SIZE, e) < 0)
			return -1;
		n = recv(a->source.fd, buf_tail(&a->in), READ_SIZE, MSG_DONTWAIT);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EAGAIN)
			return 0;
		if (n <= 0)
			return 1;
		buf_produced(&a->in, (size_t)n);
		if (take_frames(a, e) < 0)
			return -1;
		if (n < READ_SIZE)
			return 0;
	}
	return 0;
}

static void on_ready(struct source *s, uint32_t events)
{
	struct end *a = container_of(s, struct end, source);
	struct frame_relay *r = a->relay;
	struct err e = ERR_INIT;
	int rc = 0;

	if (events & (EPOLLIN | EPOLLHUP | EPOLLERR))
		rc = read_some(a, &e);
	if (rc == 0 && (flush(&r->guest, &e) < 0 || flush(&r->passt, &e) < 0))
		rc = 1; /* the other side has gone */
	if (rc == 0 && (watch(&r->guest, &e) < 0 || watch(&r->passt, &e) < 0))
		rc = -1;
	if (rc < 0)
		fail(r, &e);
	else if (rc > 0)
		shut(r);
}

static int add_end(struct frame_relay *r, struct end *a, int fd, struct err *e)
{
	a->relay = r;
	a->source = (struct source){ .fd = fd, .events = EPOLLIN, .ready = on_ready };
	return loop_add(r->loop, &a->source, e);
}

int frame_relay_new(struct loop *l, const struct frame_relay_ends *ends,
		    void (*lost)(const struct err *why, void *arg), void *arg,
		    struct frame_relay **out, struct err *e)
{
	OWN(fd) int guest = ends->guest;
	OWN(fd) int passt = ends->passt;
	OWN(frame_relay) struct frame_relay *r = mem_new(struct frame_relay);

	if (!r)
		return err_oom(e, "the guest's network");
	r->loop = l;
	r->completes_handshakes = ends->completes_handshakes;
	r->lost = lost;
	r->arg = arg;
	r->guest.source.fd = r->passt.source.fd = -1;
	if (add_end(r, &r->guest, fd_take(&guest), e) < 0 ||
	    add_end(r, &r->passt, fd_take(&passt), e) < 0)
		return -1;
	*out = TAKE(r);
	return 0;
}

void frame_relay_free(struct frame_relay *r)
{
	if (!r)
		return;
	shut(r);
	buf_fini(&r->guest.in);
	buf_fini(&r->guest.out);
	buf_fini(&r->passt.in);
	buf_fini(&r->passt.out);
	free(r);
}
