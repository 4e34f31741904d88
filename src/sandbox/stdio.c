/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Copying of standard streams. Each stream is a fiber; `uses` counts the owner and the
 * fibers, the last one frees. Cancelling a fiber that writes into the guest interrupts its
 * waiting for the host's side only: a cancelled call could have been taken or not. Those that
 * read are cancelled when nobody wants the data any more, or none comes.
 */
#include "sandbox/stdio.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/own.h"
#include "base/path.h"
#include "base/str.h"
#include "base/time.h"
#include "event/fiber.h"
#include "event/loop.h"
#include "sandbox/agent_client.h"
#include "sandbox/stream_log.h"

enum {
	OUT_CHUNK = 1 << 20,
	OUT_SLICE = 16 * 1024,
	PIPE_BYTES = 64 * 1024, /* what a pipe holds (pipe(7)) */
	CALM_MS = 100,
	END_MS = 1000,       /* in which a guest tells that nobody writes any more */
	REST_MS = 30 * 1000, /* in which it has told all of a pipe's content */
	REST_BYTES =
		4 << 20, /* of both: two pipes of a MiB in the guest, and as much on the way */
	LOOK_MS = 2,
	TAKEN_MS = 500,
	IN_CHUNK = 128 * 1024,
	OUT_COUNT = 2
};

/* One answer of the guest, on its way from the fiber that reads to the one that writes. */
struct chunk {
	struct arena arena;
	ProtobufCBinaryData data;
};

struct sink {
	struct stdio *owner;
	struct fiber *fiber;  /* writes to the host's side */
	struct chunk next;    /* read ahead; no data: nothing there */
	size_t after_next;    /* bytes of one that is fetched and has no place there yet */
	struct fiber *reader; /* fetches it; NULL: it is over */
	uint64_t fetched;     /* bytes */
	struct cond moved;    /* `next` was filled or taken, or an end came */
	const char *name;     /* "stdout", "stderr" */
	enum agent_method read;
	int fd; /* fifo or file; -1: none, or its reader has left */
	bool is_fifo;
	size_t writing; /* bytes of the present chunk that are not written yet */
	bool may_leave; /* the reader's going is not an error */
	struct stream_log log;
	bool done;
};

struct stdio {
	struct loop *loop;
	struct log_ctx log;
	struct agent_client *agent;
	char *container_id, *exec_id; /* copies: fibers outlive the process */
	int in_fd;
	int in_held;   /* the fifo's other end, so that its last writer is no end; or -1 */
	bool in_lasts; /* until it is closed by a call, whoever goes */
	bool in_ends;  /* what is in the fifo now is the last */
	bool terminal;
	struct logger *logger;
	struct fiber *in_fiber, *end_fiber;
	struct sink out[OUT_COUNT];
	struct cond drained;
	int64_t end_ms; /* see stdio_expect_end() */
	bool hurried;   /* nobody waits for readers any more */
	unsigned uses;
	bool freed;
};

static void stdio_unuse(struct stdio *s)
{
	if (--s->uses)
		return;
	fd_close(&s->in_fd);
	fd_close(&s->in_held);
	for (int i = 0; i < OUT_COUNT; i++) {
		fd_close(&s->out[i].fd);
		stream_log_close(&s->out[i].log);
	}
	logger_free(s->logger);
	free(s->container_id);
	free(s->exec_id);
	free(s);
}

/* ---- names ---- */

static int open_fifo(const char *path, int flags, int *out, struct err *e)
{
	OWN(fd) int fd = open(path, flags | O_NONBLOCK | O_CLOEXEC | O_NOCTTY);
	struct stat st;

	if (fd < 0)
		return err_sys(e, "open stream '%s'", path);
	if (fstat(fd, &st) < 0)
		return err_sys(e, "stat stream '%s'", path);
	if (!S_ISFIFO(st.st_mode))
		return err_set(e, ERR_INVALID, 0,
			       "stream '%s' is no fifo; files are named file://", path);
	*out = fd_take(&fd);
	return 0;
}

/* A URI's path; containerd's shim makes its directories too, and lets log shippers read it. */
static int open_file(const char *rest, int *out, struct err *e)
{
	OWN(free) char *path = mem_dup(rest, strcspn(rest, "?#"));
	OWN(fd) int fd = -1;
	struct stat st;
	char *slash;

	if (!path)
		return err_oom(e, "a stream's name");
	if (str_unescape_uri(path, e) < 0)
		return err_wrap(e, "stream 'file://%.200s'", rest);
	slash = strrchr(path, '/');
	*slash = '\0';
	if (*path && path_mkdirs(path, 0755, e) < 0)
		return err_wrap(e, "the output's directory");
	*slash = '/';
	/* a fifo without a reader would be waited for */
	fd = open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOCTTY | O_NONBLOCK,
		  0644);
	if (fd < 0 && errno != ENXIO)
		return err_sys(e, "open '%s' for the output", path);
	if (fd < 0 || fstat(fd, &st) < 0 || (!S_ISREG(st.st_mode) && !S_ISCHR(st.st_mode)))
		return err_set(e, ERR_INVALID, 0,
			       "'%s' is no file: a fifo is named by its path alone", path);
	*out = fd_take(&fd);
	return 0;
}

/* kata:///fifo?log=/path; the paths may have question marks of their own */
static int open_kata(struct sink *k, const char *rest, struct err *e)
{
	const char *query = strstr(rest, "?log=/");
	OWN(free) char *fifo = query ? mem_dup(rest, (size_t)(query - rest)) : strdup(rest);

	if (!fifo)
		return err_oom(e, "a stream's name");
	if (query && stream_log_open(query + strlen("?log="), STREAM_LOG_BYTES, &k->log, e) < 0)
		return -1;
	k->may_leave = true;
	return *fifo ? open_fifo(fifo, O_WRONLY, &k->fd, e) : 0;
}

/* One program for both: stderr's name must be stdout's. */
static int open_logger(struct sink *k, const struct stdio_names *n, const char *name,
		       struct err *e)
{
	struct stdio *s = k->owner;
	int stream = k == &s->out[0] ? 0 : 1;

	if (stream == 1 && !(n->out && str_eq(n->out, name)))
		return err_set(e, ERR_UNSUPPORTED, 0,
			       "stream '%.200s': stdout has another name; a logger takes both",
			       name);
	if (!s->logger && logger_start(s->loop, &n->owner, name, &s->logger, e) < 0)
		return -1;
	k->fd = logger_take(s->logger, stream);
	return 0;
}

static int open_sink(struct sink *k, const struct stdio_names *n, const char *name,
		     struct err *e)
{
	if (!name || !*name)
		return 0;
	if (str_starts(name, "binary://"))
		return open_logger(k, n, name, e);
	if (name[0] == '/') {
		k->is_fifo = true;
		return open_fifo(name, O_RDWR, &k->fd, e);
	}
	if (str_starts(name, "file:///"))
		return open_file(name + strlen("file://"), &k->fd, e);
	if (str_starts(name, "kata://"))
		return open_kata(k, name + strlen("kata://"), e);
	return err_set(e, ERR_UNSUPPORTED, 0,
		       "stream '%.200s': only fifos, file://, binary://, kata:// are known",
		       name);
}

int stdio_open(struct loop *l, const struct stdio_names *n, const struct log_ctx *log,
	       struct stdio **out, struct err *e)
{
	struct stdio *s = mem_new(struct stdio);
	bool ours = n->in && str_starts(n->in, "kata://");
	const char *in = ours ? n->in + strlen("kata://") : n->in;

	if (!s)
		return err_oom(e, "standard streams");
	s->loop = l;
	s->in_fd = s->in_held = -1;
	s->in_lasts = !ours;
	s->terminal = n->terminal;
	s->uses = 1;
	cond_init(&s->drained, l);
	for (int i = 0; i < OUT_COUNT; i++) {
		s->out[i] = (struct sink){
			.owner = s, .fd = -1, .log = STREAM_LOG_INIT, .done = true
		};
		s->out[i].name = i == 0 ? "stdout" : "stderr";
		s->out[i].read = i == 0 ? AGENT_READ_STDOUT : AGENT_READ_STDERR;
	}
	s->container_id = strdup(log->container);
	if (!s->container_id) {
		(void)err_oom(e, "standard streams");
		goto fail;
	}
	s->log = (struct log_ctx){ .sandbox = log->sandbox, .container = s->container_id };
	if (in && *in && open_fifo(in, O_RDONLY, &s->in_fd, e) < 0)
		goto fail;
	if (open_sink(&s->out[0], n, n->out, e) < 0 ||
	    (!n->terminal && open_sink(&s->out[1], n, n->err, e) < 0))
		goto fail;
	if (s->logger)
		logger_seal(s->logger);
	*out = s;
	return 0;
fail:
	stdio_unuse(s);
	return -1;
}

/* ---- output ---- */

/* Others have their turn between two writes. */
static void sink_log(struct sink *k, const uint8_t *p, size_t len)
{
	struct stdio *s = k->owner;
	size_t taken = 0;
	struct err e;

	while (len && k->log.path) {
		if (stream_log_append(&k->log, k->name, p, len, &taken, &e) < 0) {
			log_warn(&s->log, "log of %s: %s; it is not continued", k->name, e.msg);
			stream_log_give_up(&k->log, &e);
			return;
		}
		p += taken;
		len -= taken;
		if (len && fiber_sleep(s->loop, 0, &e) < 0)
			return;
	}
}

static int sink_write(struct sink *k, const uint8_t *p, size_t len, struct err *e)
{
	struct stdio *s = k->owner;

	sink_log(k, p, len);
	for (k->writing = k->fd >= 0 ? len : 0; k->writing;) {
		size_t n = k->writing < OUT_SLICE ? k->writing : OUT_SLICE;

		if (fiber_write_all(s->loop, k->fd, p, n, DEADLINE_NONE, e) < 0)
			break;
		p += n;
		k->writing -= n;
	}
	if (k->fd < 0 || !k->writing)
		return 0;
	if (e->kind == ERR_CANCELLED)
		return -1;
	if (!k->may_leave || e->sys != EPIPE) /* else the client has detached, as it may */
		log_warn(&s->log, "%s goes nowhere from here: %s", k->name, e->msg);
	fd_close(&k->fd); /* reading goes on: a full pipe would stop the process */
	k->writing = 0;
	return 0;
}

/*
 * Reading goes on until more is read ahead than a pipe holds: what is not read then is no end
 * of what the process has written (stdio_settle()).
 */
static bool joins(const struct sink *k, const struct chunk *c)
{
	return k->next.data.len + c->data.len <= PIPE_BYTES;
}

/* Puts what waits already in front of `c`. */
static int join(struct sink *k, struct chunk *c, struct err *e)
{
	size_t len = k->next.data.len + c->data.len;
	uint8_t *both = arena_alloc(&c->arena, len);

	if (!both)
		return err_oom(e, "output");
	memcpy(both, k->next.data.data, k->next.data.len);
	memcpy(both + k->next.data.len, c->data.data, c->data.len);
	arena_fini(&k->next.arena);
	c->data = (ProtobufCBinaryData){ .data = both, .len = len };
	return 0;
}

/* One read from the guest; 1 at the end of the stream. */
static int fetch(struct sink *k, struct chunk *out, struct err *e)
{
	struct stdio *s = k->owner;
	Grpc__ReadStreamRequest req = GRPC__READ_STREAM_REQUEST__INIT;
	Grpc__ReadStreamResponse *resp;

	/* the data is in there twice: as the answer's payload and as a member of it; and joined
	 */
	arena_init(&out->arena, 2 * OUT_CHUNK + 64 * 1024 + PIPE_BYTES);
	req.container_id = s->container_id;
	req.exec_id = s->exec_id;
	req.len = OUT_CHUNK;
	if (agent_call(s->agent, k->read, &req, &out->arena, &resp, e) < 0)
		return -1;
	out->data = resp->data;
	return out->data.len == 0;
}

/* Reads ahead by one chunk, so that guest and host work at the same time. */
static void fetch_run(void *arg)
{
	struct sink *k = arg;
	struct stdio *s = k->owner;
	struct err e = ERR_INIT;
	int rc = 0;

	while (rc == 0 && !s->freed) {
		struct chunk c;

		rc = fetch(k, &c, &e);
		k->fetched += rc == 0 ? c.data.len : 0;
		k->after_next = rc == 0 ? c.data.len : 0;
		while (rc == 0 && k->next.data.len && !joins(k, &c) && !s->freed)
			rc = cond_wait(&k->moved, DEADLINE_NONE, &e);
		k->after_next = 0;
		if (rc == 0 && k->next.data.len && !s->freed)
			rc = join(k, &c, &e);
		if (rc != 0 || s->freed) {
			arena_fini(&c.arena);
			break;
		}
		k->next = c;
		cond_wake_all(&k->moved);
	}
	if (rc < 0 && !s->freed && e.kind != ERR_CANCELLED) /* who cancels it says why */
		log_warn(&s->log, "%s is cut off: %s", k->name, e.msg);
	k->reader = NULL;
	cond_wake_all(&k->moved);
	stdio_unuse(s);
}

/* Takes the chunk that was read ahead and writes it; 1 when there will be none. */
static int sink_step(struct sink *k, struct err *e)
{
	struct chunk c;
	int rc;

	while (!k->next.data.len) {
		if (!k->reader)
			return 1;
		if (cond_wait(&k->moved, DEADLINE_NONE, e) < 0)
			return -1;
	}
	c = k->next;
	k->next.data.len = 0;
	cond_wake_all(&k->moved);
	rc = sink_write(k, c.data.data, c.data.len, e);
	arena_fini(&c.arena);
	return rc;
}

/*
 * The reader has some time to take the last of it: containerd 1.6's client closes its end when
 * it hears that the process has ended, and loses what is still in the pipe.
 */
static void wait_taken(struct sink *k)
{
	int64_t deadline = deadline_in(TAKEN_MS);
	struct err ignored;
	int left = 0;

	while (k->is_fifo && k->fd >= 0 && !k->owner->freed && !k->owner->hurried &&
	       ioctl(k->fd, FIONREAD, &left) == 0 && left > 0 && deadline_left(deadline) != 0) {
		if (fiber_sleep(k->owner->loop, LOOK_MS, &ignored) < 0)
			return;
	}
}

static void sink_run(void *arg)
{
	struct sink *k = arg;
	struct stdio *s = k->owner;
	struct err e = ERR_INIT;

	while (sink_step(k, &e) == 0)
		;
	wait_taken(k);
	k->writing = 0;
	fd_close(&k->fd);
	stream_log_close(&k->log);
	if (k->next.data.len) {
		k->next.data.len = 0;
		arena_fini(&k->next.arena);
	}
	k->done = true;
	k->fiber = NULL;
	cond_wake_all(&k->moved);
	cond_wake_all(&s->drained);
	stdio_unuse(s);
}

/* ---- input ---- */

static int send_in(struct stdio *s, uint8_t *p, size_t len, struct err *e)
{
	while (len) {
		OWN(arena) struct arena a = { .limit = 64 * 1024 };
		Grpc__WriteStreamRequest req = GRPC__WRITE_STREAM_REQUEST__INIT;
		Grpc__WriteStreamResponse *resp;
		int rc;

		req.container_id = s->container_id;
		req.exec_id = s->exec_id;
		req.data = (ProtobufCBinaryData){ .len = len, .data = p };
		fiber_shield(s->loop, true);
		rc = agent_call(s->agent, AGENT_WRITE_STDIN, &req, &a, &resp, e);
		fiber_shield(s->loop, false);
		if (rc < 0)
			return -1;
		if (resp->len == 0 || resp->len > len)
			return err_set(e, ERR_PEER, 0, "the agent took %u of %zu bytes",
				       resp->len, len);
		p += resp->len;
		len -= resp->len;
	}
	return 0;
}

/* Copies until the writer has gone; 1 when cancelled or ended, with the fifo emptied. */
static int in_step(struct stdio *s, uint8_t *block, struct err *e)
{
	bool last = false;
	ssize_t n;

	/* a fifo that nobody has opened for writing yet reads as ended: wait for an event */
	if (fiber_wait_fd(s->loop, s->in_fd, EPOLLIN, DEADLINE_NONE, e) < 0) {
		if (e->kind != ERR_CANCELLED)
			return -1;
		last = true;
	}
	for (;;) {
		n = read(s->in_fd, block, IN_CHUNK);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EAGAIN)
			return last;
		if (n < 0)
			return err_sys(e, "read stdin");
		if (n == 0)
			return 1;
		if (send_in(s, block, (size_t)n, e) < 0)
			return -1;
	}
}

static void close_in_guest(struct stdio *s)
{
	Grpc__CloseStdinRequest req = GRPC__CLOSE_STDIN_REQUEST__INIT;
	struct err e;

	req.container_id = s->container_id;
	req.exec_id = s->exec_id;
	fiber_shield(s->loop, true);
	if (agent_do(s->agent, AGENT_CLOSE_STDIN, &req, &e) < 0)
		log_debug(&s->log, "close stdin: %s", e.msg);
	fiber_shield(s->loop, false);
}

/*
 * A terminal has no end of its own: who leaves it, or has nothing to type, leaves it open for
 * what the program may ask. Only a call for it (CloseIO) is one.
 */
static bool is_end(struct stdio *s)
{
	struct err ignored;

	while (s->terminal && !s->in_ends && !s->freed &&
	       cond_wait(&s->drained, DEADLINE_NONE, &ignored) == 0)
		;
	return !s->freed && (!s->terminal || s->in_ends);
}

static void in_run(void *arg)
{
	struct stdio *s = arg;
	OWN(free) uint8_t *block = s->in_fd >= 0 ? mem_zalloc(IN_CHUNK) : NULL;
	struct err e = ERR_INIT;
	int rc = block ? 0 : 1;

	while (rc == 0)
		rc = in_step(s, block, &e);
	if (rc < 0)
		log_debug(&s->log, "stdin ended: %s", e.msg);
	fd_close(&s->in_fd);
	fd_close(&s->in_held);
	if (is_end(s))
		close_in_guest(s);
	s->in_fiber = NULL;
	stdio_unuse(s);
}

/* ---- life ---- */

/*
 * Not of a writer that has come and gone by now: ctr closes its end where it loses the CloseIO
 * that should follow, because its input ended before the task was made.
 */
static int hold_in(struct stdio *s, struct err *e)
{
	struct pollfd p = { .fd = s->in_fd };
	char path[32];

	if (s->in_fd < 0 || !s->in_lasts || (poll(&p, 1, 0) == 1 && p.revents & POLLHUP))
		return 0;
	(void)snprintf(path, sizeof(path), "/proc/self/fd/%d", s->in_fd);
	s->in_held = open(path, O_WRONLY | O_NONBLOCK | O_CLOEXEC | O_NOCTTY);
	return s->in_held < 0 ? err_sys(e, "hold the stream of stdin open") : 0;
}

int stdio_start(struct stdio *s, struct agent_client *agent, const char *exec_id, struct err *e)
{
	s->agent = agent;
	s->exec_id = strdup(exec_id);
	if (!s->exec_id)
		return err_oom(e, "standard streams");
	if (hold_in(s, e) < 0)
		return -1;
	for (int i = 0; i < OUT_COUNT; i++) {
		struct sink *k = &s->out[i];

		if (i > 0 && s->terminal)
			continue; /* one output; without a terminal, dropped output is read too
				   */
		cond_init(&k->moved, s->loop);
		if (fiber_spawn(s->loop, "output", fetch_run, k, &k->reader, e) < 0)
			return -1;
		s->uses++;
		if (fiber_spawn(s->loop, k->name, sink_run, k, &k->fiber, e) < 0)
			return -1;
		k->done = false;
		s->uses++;
	}
	if (fiber_spawn(s->loop, "stdin", in_run, s, &s->in_fiber, e) < 0)
		return -1;
	s->uses++;
	if (s->in_ends)
		fiber_cancel(s->in_fiber);
	return 0;
}

void stdio_close_in(struct stdio *s)
{
	s->in_ends = true;
	fd_close(&s->in_held);
	if (s->in_fiber)
		fiber_cancel(s->in_fiber);
}

bool stdio_is_drained(const struct stdio *s)
{
	return !s || (s->out[0].done && s->out[1].done);
}

/* What the host's readers have not taken. */
static size_t held(const struct stdio *s)
{
	size_t n = 0;

	for (int i = 0; i < OUT_COUNT; i++)
		n += s->out[i].writing + s->out[i].next.data.len + s->out[i].after_next;
	return n;
}

static bool is_read_to_its_end(const struct stdio *s)
{
	return !s->out[0].reader && !s->out[1].reader;
}

static uint64_t fetched(const struct stdio *s)
{
	return s->out[0].fetched + s->out[1].fetched;
}

void stdio_settle(struct stdio *s, bool all_ended)
{
	int64_t calm_at = deadline_in(CALM_MS), rest_at = deadline_in(REST_MS);
	/* what readers take behind that was written later: by others, or nobody */
	uint64_t last = fetched(s) + REST_BYTES, seen = UINT64_MAX;
	bool at_end = false; /* of the guest's part */
	struct err e;

	while (!s->hurried && !stdio_is_drained(s) && fetched(s) - held(s) < last) {
		bool much = held(s) > PIPE_BYTES;

		if (much || at_end != is_read_to_its_end(s)) {
			at_end = is_read_to_its_end(s);
			calm_at = deadline_in(CALM_MS);
			rest_at = deadline_in(REST_MS);
		} else if (all_ended && fetched(s) != seen && !at_end) {
			calm_at = deadline_in(END_MS);
			seen = fetched(s);
		}
		if (deadline_left(calm_at) == 0 || deadline_left(rest_at) == 0)
			return;
		if (cond_wait(&s->drained, deadline_in(much ? CALM_MS / 2 : LOOK_MS), &e) < 0 &&
		    e.kind != ERR_TIMEOUT)
			return;
	}
}

/* Ends the streams that the guest leaves without an end; a reader here may take his time. */
static void give_up_idle(struct stdio *s, const uint64_t *before)
{
	for (int i = 0; i < OUT_COUNT; i++) {
		struct sink *k = &s->out[i];

		if (!k->reader || k->next.data.len || k->fetched != before[i])
			continue;
		log_warn(&s->log, "the guest does not end %s of a process that has ended",
			 k->name);
		fiber_cancel(k->reader);
	}
}

static void end_run(void *arg)
{
	struct stdio *s = arg;
	struct err e;

	while (!s->freed && !stdio_is_drained(s)) {
		uint64_t before[OUT_COUNT];
		int64_t deadline = deadline_in(s->end_ms);

		for (int i = 0; i < OUT_COUNT; i++)
			before[i] = s->out[i].fetched;
		while (!stdio_is_drained(s) && cond_wait(&s->drained, deadline, &e) == 0)
			;
		if (fiber_is_cancelled(fiber_self(s->loop)))
			break;
		give_up_idle(s, before);
	}
	s->end_fiber = NULL;
	stdio_unuse(s);
}

void stdio_expect_end(struct stdio *s, int64_t ms)
{
	struct err e;

	s->end_ms = ms;
	if (s->end_fiber || stdio_is_drained(s))
		return;
	if (fiber_spawn(s->loop, "end of output", end_run, s, &s->end_fiber, &e) == 0)
		s->uses++;
	else
		log_warn(&s->log, "%s", e.msg);
}

void stdio_hurry(struct stdio *s)
{
	s->hurried = true;
	cond_wake_all(&s->drained);
}

int stdio_drain(struct stdio *s, int64_t deadline, struct err *e)
{
	while (!s->out[0].done || !s->out[1].done) {
		if (cond_wait(&s->drained, deadline, e) < 0)
			return err_wrap(e, "output of the process");
	}
	if (s->logger && s->agent && logger_wait(s->logger, deadline, e) < 0)
		return err_wrap(e, "the logger");
	return 0;
}

void stdio_free(struct stdio *s)
{
	if (!s)
		return;
	s->freed = true;
	if (s->in_fiber)
		fiber_cancel(s->in_fiber);
	if (s->end_fiber)
		fiber_cancel(s->end_fiber);
	for (int i = 0; i < OUT_COUNT; i++) {
		if (s->out[i].fiber)
			fiber_cancel(s->out[i].fiber);
		if (s->out[i].reader)
			fiber_cancel(s->out[i].reader);
	}
	stdio_unuse(s);
}
