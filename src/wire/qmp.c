/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The QMP client. Input is gathered until a line is whole; output is written at once as far
 * as the socket takes it, the rest when it can. A call is an entry in a list on which its
 * fiber waits; one that times out takes its entry away, and the late reply is dropped.
 */
#include "wire/qmp.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/fd.h"
#include "base/list.h"
#include "base/mem.h"
#include "base/str.h"
#include "event/fiber.h"
#include "event/loop.h"
#include "wire/json.h"

enum {
	READ_CHUNK = 16 * 1024,
	MAX_OUT = 1 << 20,
	FOREIGN_TEXT = 300
};

struct qmp_call {
	struct list node;
	uint64_t id;
	bool done;
	struct jval *ret;
	struct err err; /* kind ERR_NONE: success */
};

struct qmp {
	struct loop *loop;
	struct source source;
	struct qmp_callbacks cb;
	struct buf in, out;
	uint64_t received;
	size_t scanned; /* bytes of `in` known to hold no line end */
	struct list calls;
	unsigned in_flight;
	uint64_t next_id;
	bool greeted, lost, freed;
	struct err why;      /* of the loss */
	struct cond changed; /* greeting, a reply, the end */
	unsigned users;      /* fibers inside a call: the last one frees after qmp_free() */
};

static int decode_id(const struct jval *tree, uint64_t *out, struct err *e)
{
	if (!jval_uint(jval_get(tree, "id"), out))
		return err_set(e, ERR_PEER, 0, "QMP: a reply without a number of ours");
	return 0;
}

static int decode_tree(const struct jval *tree, struct qmp_message *m, struct err *e)
{
	const struct jval *v;

	if (jval_type(tree) != JVAL_OBJECT)
		return err_set(e, ERR_PEER, 0, "QMP: a message that is no object");
	if (jval_type(jval_get(tree, "QMP")) == JVAL_OBJECT) {
		m->kind = QMP_GREETING;
		return 0;
	}
	v = jval_get(tree, "event");
	if (v) {
		m->kind = QMP_EVENT;
		m->name = jval_str(v);
		m->value = jval_get(tree, "data");
		if (!m->name || (m->value && jval_type(m->value) != JVAL_OBJECT))
			return err_set(e, ERR_PEER, 0, "QMP: an event without name or data");
		return 0;
	}
	v = jval_get(tree, "error");
	if (v) {
		m->kind = QMP_ERROR;
		m->name = jval_str(jval_get(v, "class"));
		m->text = jval_str(jval_get(v, "desc"));
		if (!m->name || !m->text)
			return err_set(e, ERR_PEER, 0, "QMP: an error without class or text");
		return decode_id(tree, &m->id, e);
	}
	m->value = jval_get(tree, "return");
	if (!m->value)
		return err_set(e, ERR_PEER, 0, "QMP: a message of no known kind");
	m->kind = QMP_RETURN;
	return decode_id(tree, &m->id, e);
}

int qmp_decode(const char *line, size_t len, struct qmp_message *out, struct err *e)
{
	OWN(jval) struct jval *tree = NULL;
	struct qmp_message m = { 0 };

	if (len > QMP_MAX_LINE)
		return err_set(e, ERR_PEER, 0, "QMP: a line longer than %d bytes",
			       QMP_MAX_LINE);
	if (jval_parse(line, len, &tree, e) < 0) {
		if (e->kind != ERR_NO_MEMORY)
			e->kind = ERR_PEER;
		return err_wrap(e, "QMP");
	}
	if (decode_tree(tree, &m, e) < 0)
		return -1;
	m.tree = TAKE(tree);
	*out = m;
	return 0;
}

static void finish_call(struct qmp_call *c)
{
	list_remove(&c->node);
	c->done = true;
}

/* The end of the connection: nothing is read or written any more, every call fails. */
static void lose(struct qmp *q, const struct err *why)
{
	if (q->lost)
		return;
	q->lost = true;
	q->why = *why;
	loop_remove(q->loop, &q->source);
	list_for_each(n, tmp, &q->calls) {
		struct qmp_call *c = list_entry(n, struct qmp_call, node);

		c->err = *why;
		finish_call(c);
	}
	cond_wake_all(&q->changed);
	if (q->cb.lost && !q->freed)
		q->cb.lost(why, q->cb.arg);
}

static struct qmp_call *find_call(struct qmp *q, uint64_t id)
{
	list_for_each(n, tmp, &q->calls) {
		struct qmp_call *c = list_entry(n, struct qmp_call, node);

		if (c->id == id)
			return c;
	}
	return NULL;
}

static enum err_kind kind_of_class(const char *class)
{
	static const struct {
		const char *class;
		enum err_kind kind;
	} rows[] = {
		{ "DeviceNotFound", ERR_NOT_FOUND },
		{ "CommandNotFound", ERR_UNSUPPORTED },
		{ "DeviceNotActive", ERR_STATE },
		{ "GenericError", ERR_STATE },
	};

	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		if (str_eq(rows[i].class, class))
			return rows[i].kind;
	}
	return ERR_STATE;
}

static void reply(struct qmp *q, const struct qmp_message *m)
{
	struct qmp_call *c = find_call(q, m->id);
	char text[FOREIGN_TEXT];

	if (!c)
		return; /* nobody waits for it any more */
	if (m->kind == QMP_RETURN)
		c->ret = jval_ref(jval_get(m->tree, "return"));
	else
		(void)err_set(&c->err, kind_of_class(m->name), 0, "%s",
			      str_quote(m->text, strlen(m->text), text, sizeof(text)));
	finish_call(c);
	cond_wake_all(&q->changed);
}

static int take_line(struct qmp *q, const char *line, size_t len, struct err *e)
{
	OWN(jval) struct jval *tree = NULL;
	struct qmp_message m;

	if (len > 0 && line[len - 1] == '\r')
		len--;
	if (len == 0)
		return 0;
	if (qmp_decode(line, len, &m, e) < 0)
		return -1;
	tree = m.tree;
	if ((m.kind == QMP_GREETING) == q->greeted)
		return err_set(e, ERR_PEER, 0, "QMP: the greeting is missing or came twice");
	switch (m.kind) {
	case QMP_GREETING:
		q->greeted = true;
		cond_wake_all(&q->changed);
		break;
	case QMP_EVENT:
		if (q->cb.event)
			q->cb.event(m.name, m.value, q->cb.arg);
		break;
	case QMP_RETURN:
	case QMP_ERROR:
		if (m.id >= q->next_id)
			return err_set(e, ERR_PEER, 0, "QMP: a reply to a command never sent");
		reply(q, &m);
		break;
	}
	return 0;
}

static int take_lines(struct qmp *q, struct err *e)
{
	while (!q->lost && !q->freed) {
		const char *head = (const char *)buf_head(&q->in);
		size_t len = buf_len(&q->in);
		const char *end = len > q->scanned
					  ? memchr(head + q->scanned, '\n', len - q->scanned)
					  : NULL;

		if (!end) {
			q->scanned = len;
			if (len > QMP_MAX_LINE)
				return err_set(e, ERR_PEER, 0,
					       "QMP: a line longer than %d bytes",
					       QMP_MAX_LINE);
			return 0;
		}
		q->scanned = 0;
		if (take_line(q, head, (size_t)(end - head), e) < 0)
			return -1;
		buf_consume(&q->in, (size_t)(end - head) + 1);
	}
	return 0;
}

static int read_some(struct qmp *q, struct err *e)
{
	ssize_t n;

	if (buf_reserve(&q->in, READ_CHUNK, e) < 0)
		return -1;
	do {
		n = recv(q->source.fd, buf_tail(&q->in), READ_CHUNK, 0);
	} while (n < 0 && errno == EINTR);
	if (n < 0 && errno == EAGAIN)
		return 0;
	if (n < 0)
		return err_set(e, ERR_PEER, errno, "QMP: read");
	if (n == 0)
		return err_set(e, ERR_PEER, 0, "QMP: the monitor closed the connection");
	buf_produced(&q->in, (size_t)n);
	q->received += (uint64_t)n;
	return take_lines(q, e);
}

static int write_some(struct qmp *q, struct err *e)
{
	while (buf_len(&q->out) > 0) {
		ssize_t n =
			send(q->source.fd, buf_head(&q->out), buf_len(&q->out), MSG_NOSIGNAL);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EAGAIN)
			break;
		if (n < 0)
			return err_set(e, ERR_PEER, errno, "QMP: write");
		buf_consume(&q->out, (size_t)n);
	}
	return loop_modify(q->loop, &q->source, EPOLLIN | (buf_len(&q->out) ? EPOLLOUT : 0), e);
}

static void destroy(struct qmp *q)
{
	fd_close(&q->source.fd);
	buf_fini(&q->in);
	buf_fini(&q->out);
	free(q);
}

static void leave(struct qmp *q)
{
	if (--q->users == 0 && q->freed)
		destroy(q);
}

static void on_ready(struct source *s, uint32_t events)
{
	struct qmp *q = container_of(s, struct qmp, source);
	struct err e = ERR_INIT;

	q->users++;
	if ((events & EPOLLOUT && write_some(q, &e) < 0) ||
	    (events & (EPOLLIN | EPOLLHUP | EPOLLERR) && read_some(q, &e) < 0))
		lose(q, &e);
	leave(q);
}

void qmp_poll(struct qmp *q)
{
	uint64_t before;

	q->users++;
	do {
		struct err e = ERR_INIT;

		before = q->received;
		if (!q->lost && read_some(q, &e) < 0)
			lose(q, &e);
	} while (!q->lost && q->received != before);
	leave(q);
}

int qmp_new(struct loop *l, int fd, const struct qmp_callbacks *cb, struct qmp **out,
	    struct err *e)
{
	OWN(fd) int own = fd;
	OWN(free) struct qmp *q = mem_new(struct qmp);

	if (!q)
		return err_oom(e, "a QMP connection");
	if (fd_set_nonblock(fd, true, e) < 0)
		return -1;
	q->loop = l;
	q->cb = *cb;
	q->source = (struct source){ .fd = fd, .events = EPOLLIN, .ready = on_ready };
	buf_init(&q->in, QMP_MAX_LINE + 2 * READ_CHUNK);
	buf_init(&q->out, MAX_OUT);
	list_init(&q->calls);
	cond_init(&q->changed, l);
	q->next_id = 1;
	if (loop_add(l, &q->source, e) < 0)
		return -1;
	(void)fd_take(&own);
	*out = TAKE(q);
	return 0;
}

void qmp_free(struct qmp *q)
{
	struct err why;

	if (!q || q->freed)
		return;
	q->freed = true;
	(void)err_set(&why, ERR_CANCELLED, 0, "QMP: the connection was given up");
	lose(q, &why);
	if (q->users == 0)
		destroy(q);
}

static int wait_greeting(struct qmp *q, int64_t deadline, struct err *e)
{
	while (!q->greeted) {
		if (q->lost) {
			*e = q->why;
			return -1;
		}
		if (cond_wait(&q->changed, deadline, e) < 0)
			return err_wrap(e, "QMP greeting");
	}
	return 0;
}

static int encode(const char *command, struct jval *args, uint64_t id, struct buf *out,
		  struct err *e)
{
	OWN(jval) struct jval *given = args;
	OWN(jval) struct jval *cmd = jval_new_object();

	if (!cmd)
		return err_oom(e, "a QMP command");
	if (jval_set_str(cmd, "execute", command, e) < 0)
		return -1;
	if (given && jval_set(cmd, "arguments", TAKE(given), e) < 0)
		return -1;
	if (jval_set(cmd, "id", jval_new_uint(id), e) < 0)
		return -1;
	if (jval_print(cmd, false, out, e) < 0)
		return -1;
	return buf_puts(out, "\n", e);
}

/*
 * The monitor takes a descriptor with the first byte of the command it belongs to, so the
 * queue must be empty; a queue that is not means that the monitor has stalled.
 */
static int send_with_fd(struct qmp *q, struct buf *text, int fd, struct err *e)
{
	union {
		struct cmsghdr align;
		char space[CMSG_SPACE(sizeof(int))];
	} control = { 0 };
	struct iovec iov = { .iov_base = buf_head(text), .iov_len = buf_len(text) };
	struct msghdr msg = {
		.msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = control.space,
		.msg_controllen = sizeof(control.space),
	};
	struct cmsghdr *c = CMSG_FIRSTHDR(&msg);
	ssize_t n;

	if (buf_len(&q->out) > 0)
		return err_set(e, ERR_STATE, 0, "QMP: the monitor does not read");
	c->cmsg_level = SOL_SOCKET;
	c->cmsg_type = SCM_RIGHTS;
	c->cmsg_len = CMSG_LEN(sizeof(int));
	memcpy(CMSG_DATA(c), &fd, sizeof(int));
	do {
		n = sendmsg(q->source.fd, &msg, MSG_NOSIGNAL);
	} while (n < 0 && errno == EINTR);
	if (n < 0)
		return err_set(e, ERR_PEER, errno, "QMP: pass a descriptor");
	buf_consume(text, (size_t)n);
	return 0;
}

static int send_command(struct qmp *q, const char *command, struct jval *args, uint64_t id,
			int pass_fd, struct err *e)
{
	OWN(buf) struct buf text = BUF_INIT;

	/* room first: once a part is sent the rest must follow */
	if (encode(command, args, id, &text, e) < 0 ||
	    buf_reserve(&q->out, buf_len(&text), e) < 0)
		return -1;
	if (pass_fd >= 0 && send_with_fd(q, &text, pass_fd, e) < 0)
		return -1;
	if (buf_append(&q->out, buf_head(&text), buf_len(&text), e) < 0)
		return -1;
	return write_some(q, e);
}

static int wait_reply(struct qmp *q, struct qmp_call *c, int64_t deadline, struct err *e)
{
	while (!c->done) {
		if (cond_wait(&q->changed, deadline, e) < 0)
			return -1;
	}
	if (c->err.kind != ERR_NONE) {
		*e = c->err;
		return -1;
	}
	return 0;
}

static int run(struct qmp *q, const char *command, struct jval *args, int pass_fd,
	       int64_t deadline, struct jval **ret, struct err *e)
{
	OWN(jval) struct jval *given = args;
	struct qmp_call c = { .err = ERR_INIT };
	int r;

	if (q->lost) {
		*e = q->why;
		return -1;
	}
	if (!q->greeted)
		return err_set(e, ERR_STATE, 0, "the monitor has not greeted");
	if (q->in_flight >= QMP_MAX_IN_FLIGHT)
		return err_set(e, ERR_STATE, 0, "too many commands in flight");
	c.id = q->next_id++;
	if (send_command(q, command, TAKE(given), c.id, pass_fd, e) < 0) {
		if (e->kind == ERR_PEER)
			lose(q, e);
		return -1;
	}
	q->in_flight++;
	list_append(&q->calls, &c.node);
	r = wait_reply(q, &c, deadline, e);
	q->in_flight--;
	list_remove(&c.node);
	if (r == 0 && ret)
		*ret = TAKE(c.ret);
	jval_free(c.ret);
	return r;
}

int qmp_execute_fd(struct qmp *q, const char *command, struct jval *args, int pass_fd,
		   int64_t deadline, struct jval **ret, struct err *e)
{
	int r;

	q->users++;
	r = run(q, command, args, pass_fd, deadline, ret, e);
	leave(q);
	return r < 0 ? err_wrap(e, "QMP %s", command) : 0;
}

int qmp_handshake(struct qmp *q, int64_t deadline, struct err *e)
{
	int r;

	q->users++;
	r = wait_greeting(q, deadline, e);
	if (r == 0 && run(q, "qmp_capabilities", NULL, -1, deadline, NULL, e) < 0)
		r = err_wrap(e, "QMP qmp_capabilities");
	leave(q);
	return r;
}

int qmp_execute(struct qmp *q, const char *command, struct jval *args, int64_t deadline,
		struct jval **ret, struct err *e)
{
	return qmp_execute_fd(q, command, args, -1, deadline, ret, e);
}
