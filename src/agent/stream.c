/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Streams. One reader (or writer) at a time, others queue: `busy`. The descriptor is in the
 * loop only while somebody waits for it, so an idle stream costs no wake-ups.
 */
#include "agent/stream.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <unistd.h>

#include "base/err.h"
#include "base/fd.h"
#include "base/mem.h"
#include "base/own.h"
#include "base/time.h"

enum {
	BULK = 32 * 1024,
	GATHER_ENOUGH = 512 * 1024,
	GATHER_ROUNDS = 8, /* milliseconds at most */
	TERMINAL_HOLDS =
		16 * 1024 /* more than a terminal's two buffers do (Linux 6.12: 12 KiB) */
};

static void on_ready(struct source *src, uint32_t events)
{
	struct stream *s = container_of(src, struct stream, source);

	(void)events;
	loop_remove(s->loop, src);
	s->ready = true;
	cond_wake_all(&s->changed);
}

int stream_init(struct stream *s, struct loop *l, int fd, bool output, bool terminal,
		struct err *e)
{
	OWN(fd) int own = fd;

	if (fd_set_nonblock(own, true, e) < 0)
		return -1;
	*s = (struct stream){
		.loop = l,
		.source = { .events = output ? EPOLLIN : EPOLLOUT, .ready = on_ready },
		.terminal = terminal,
		.peer = -1,
		.grace_until = DEADLINE_NONE,
		.left = -1,
	};
	s->source.fd = fd_take(&own);
	cond_init(&s->changed, l);
	return 0;
}

void stream_close(struct stream *s)
{
	if (!s->loop || s->source.fd < 0)
		return;
	loop_remove(s->loop, &s->source);
	fd_close(&s->source.fd);
	fd_close(&s->peer);
	cond_wake_all(&s->changed);
}

void stream_fini(struct stream *s)
{
	stream_close(s);
	s->loop = NULL;
}

void stream_process_exited(struct stream *s)
{
	if (!s->loop || s->grace_until != DEADLINE_NONE)
		return;
	s->grace_until = deadline_in(STREAM_GRACE_MS);
	fd_close(&s->peer);
	cond_wake_all(&s->changed);
}

static int take_turn(struct stream *s, struct err *e)
{
	while (s->busy) {
		if (cond_wait(&s->changed, DEADLINE_NONE, e) < 0)
			return -1;
	}
	s->busy = true;
	return 0;
}

static void end_turn(struct stream *s)
{
	s->busy = false;
	cond_wake_all(&s->changed);
}

/* Waits until the descriptor may be ready, the stream is closed or `deadline` has passed. */
static int wait_ready(struct stream *s, int64_t deadline, struct err *e)
{
	int rc;

	s->ready = false;
	if (!s->source.added && loop_add(s->loop, &s->source, e) < 0)
		return -1;
	rc = cond_wait(&s->changed, deadline, e);
	if (s->source.added)
		loop_remove(s->loop, &s->source);
	return rc;
}

/* How much to ask for: what is there, so that no buffer waits empty; 0 at the end. */
static size_t available(const struct stream *s, size_t max)
{
	int n = 0;

	if (ioctl(s->source.fd, FIONREAD, &n) < 0 || n <= 0)
		n = s->terminal ? 4096
				: 1; /* a terminal's count may lag: read tells the truth */
	if ((size_t)n > max)
		n = (int)max;
	return (size_t)n;
}

/*
 * Past the grace only what was in the pipe then is delivered. Says how much may be read: a
 * terminal's count leaves out what its line discipline has not taken yet.
 */
static size_t within_grace(struct stream *s, size_t max)
{
	int n = 0;

	if (s->grace_until == DEADLINE_NONE || deadline_left(s->grace_until) != 0)
		return max;
	if (s->left < 0 && s->terminal)
		s->left = TERMINAL_HOLDS;
	else if (s->left < 0)
		s->left = ioctl(s->source.fd, FIONREAD, &n) < 0 || n < 0 ? 0 : n;
	return (uint64_t)s->left < max ? (size_t)s->left : max;
}

/*
 * Nobody has the terminal open. Its process, which runs, or another may open it again, and
 * until then its master is ready all the time: we hold the other end ourselves. Again after
 * each vhangup(2). Once the process has exited it is the end. As try_read().
 */
static int without_peer(struct stream *s, struct err *e)
{
	if (s->grace_until != DEADLINE_NONE)
		return 0;
	fd_close(&s->peer);
	s->peer = ioctl(s->source.fd, TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC);
	return s->peer < 0 ? err_sys(e, "open a terminal that nobody has open") : 2;
}

/* Room for a read; one that finds nothing leaves it to the next. */
struct room {
	uint8_t *p;
	size_t size;
};

static int make_room(struct room *r, size_t size, struct arena *a, struct err *e)
{
	if (size <= r->size)
		return 0;
	r->p = arena_alloc(a, size);
	r->size = r->p ? size : 0;
	return r->p ? 0 : err_oom(e, "a stream's data");
}

/* One attempt: 1 with data, 0 at the end, 2 if it would block. */
static int try_read(struct stream *s, size_t max, struct arena *a, struct room *r,
		    size_t *len_out, struct err *e)
{
	size_t size = within_grace(s, max);
	ssize_t n;

	if (s->source.fd < 0 || size == 0)
		return 0;
	size = available(s, size);
	if (make_room(r, size, a, e) < 0)
		return -1;
	do
		n = read(s->source.fd, r->p, size);
	while (n < 0 && errno == EINTR);
	if (n < 0 && errno == EAGAIN)
		return 2;
	if (n < 0 && errno == EIO && s->terminal)
		return without_peer(s, e);
	if (n < 0)
		return err_sys(e, "read stream");
	if (n == 0)
		return 0;
	if (s->left > 0)
		s->left -= n;
	*len_out = (size_t)n;
	return 1;
}

/*
 * A process that writes much is let write on for a moment: one answer of half a MiB costs
 * hardly more than one of a pipe's page, and under emulation the answers are what is slow.
 * Ends as soon as the process pauses.
 */
static void gather(struct stream *s)
{
	int before = 0, now = 0;
	struct err ignored;

	if (!s->bulk || s->terminal || s->grace_until != DEADLINE_NONE)
		return;
	for (int i = 0; i < GATHER_ROUNDS && s->source.fd >= 0; i++) {
		if (ioctl(s->source.fd, FIONREAD, &now) < 0 || now >= GATHER_ENOUGH ||
		    (i > 0 && now == before))
			return;
		before = now;
		if (fiber_sleep(s->loop, 1, &ignored) < 0)
			return;
	}
}

static int read_turn(struct stream *s, size_t max, struct arena *a, uint8_t **out,
		     size_t *len_out, struct err *e)
{
	struct room room = { 0 };

	for (;;) {
		int rc = s->ended ? 0 : try_read(s, max, a, &room, len_out, e);

		if (rc == 1) {
			*out = room.p;
			s->bulk = *len_out >= BULK;
			return 0;
		}
		if (rc == 0) {
			s->ended = true;
			*len_out = 0;
			return 0;
		}
		if (rc < 0)
			return -1;
		if (s->grace_until != DEADLINE_NONE && deadline_left(s->grace_until) == 0) {
			s->left = 0;
			continue;
		}
		if (wait_ready(s, s->grace_until, e) < 0) {
			if (e->kind != ERR_TIMEOUT)
				return -1;
			err_clear(e);
		}
	}
}

int stream_read(struct stream *s, size_t max, struct arena *a, uint8_t **out, size_t *len_out,
		struct err *e)
{
	int rc;

	*out = NULL;
	if (max == 0 || max > STREAM_READ_MAX)
		max = STREAM_READ_MAX;
	if (take_turn(s, e) < 0)
		return -1;
	gather(s);
	rc = read_turn(s, max, a, out, len_out, e);
	end_turn(s);
	return rc;
}

static int write_turn(struct stream *s, const uint8_t *p, size_t len, struct err *e)
{
	while (len) {
		ssize_t n = s->source.fd < 0 ? -1 : write(s->source.fd, p, len);

		if (n >= 0) {
			p += n;
			len -= (size_t)n;
			continue;
		}
		if (s->source.fd < 0 || errno == EPIPE || errno == EIO)
			return err_set(e, ERR_STATE, 0, "standard input is closed");
		if (errno == EINTR)
			continue;
		if (errno != EAGAIN)
			return err_sys(e, "write to standard input");
		if (s->grace_until != DEADLINE_NONE && deadline_left(s->grace_until) == 0)
			return err_set(e, ERR_STATE, 0, "the process has exited");
		if (wait_ready(s, s->grace_until, e) < 0 && e->kind != ERR_TIMEOUT)
			return -1;
	}
	return 0;
}

int stream_write(struct stream *s, const uint8_t *p, size_t len, struct err *e)
{
	int rc;

	if (s->closing)
		return err_set(e, ERR_STATE, 0, "standard input is closed");
	if (take_turn(s, e) < 0)
		return -1;
	rc = write_turn(s, p, len, e);
	end_turn(s);
	return rc;
}

/*
 * On a terminal the end of input is a character. At the start of a line the reader sees the
 * end; within a line it is handed what it holds. In raw mode there is no such thing.
 */
static int send_eof(struct stream *s, struct err *e)
{
	struct termios t;
	uint8_t eof;

	if (s->source.fd < 0 || tcgetattr(s->source.fd, &t) < 0 || !(t.c_lflag & ICANON))
		return 0;
	eof = t.c_cc[VEOF];
	return write_turn(s, &eof, 1, e);
}

int stream_close_input(struct stream *s, struct err *e)
{
	int rc = 0;

	if (s->closing)
		return 0;
	s->closing = true;
	if (take_turn(s, e) < 0)
		return -1;
	if (s->terminal)
		rc = send_eof(s, e);
	else
		stream_close(s);
	end_turn(s);
	return rc;
}
