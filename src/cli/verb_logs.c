/* SPDX-License-Identifier: Apache-2.0 */
/* kata logs: the recorded output of a container, stdout to stdout and stderr to stderr. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/fd.h"
#include "base/own.h"
#include "base/str.h"
#include "cli/cli.h"
#include "cli/container_dir.h"
#include "event/fiber.h"
#include "sandbox/stream_log.h"
#include "wire/json.h"

enum {
	BLOCK = 64 * 1024,
	LINE_LIMIT = 8 << 20,
	POLL_MS = 100
};

struct options {
	bool follow, timestamps;
};

static const struct arg_option options[] = {
	{ "follow", 'f', ARG_FLAG, offsetof(struct options, follow), NULL,
	  "go on until the container ends" },
	{ "timestamps", 't', ARG_FLAG, offsetof(struct options, timestamps), NULL,
	  "show when each line came" },
};

/* What is to be written to one of the streams: many lines at a time. */
struct output {
	struct buf text;
	int fd;
};

static int flush(struct output *out, struct err *e)
{
	size_t len = buf_len(&out->text);

	if (len && fd_write_waiting(out->fd, buf_head(&out->text), len, e) < 0)
		return -1;
	buf_consume(&out->text, len);
	return 0;
}

static int turn_to(struct output *out, int fd, struct err *e)
{
	if (out->fd != fd && flush(out, e) < 0)
		return -1;
	out->fd = fd;
	return 0;
}

static int print_record(const struct options *o, const uint8_t *line, size_t len,
			struct output *out, struct err *e)
{
	struct stream_record r;

	if (stream_log_parse(line, len, &r, e) < 0)
		return err_wrap(e, "the container's output.log is damaged");
	if (turn_to(out, str_eq(r.stream, "stderr") ? STDERR_FILENO : STDOUT_FILENO, e) < 0)
		return -1;
	if (o->timestamps &&
	    (buf_puts(&out->text, r.time, e) < 0 || buf_puts(&out->text, " ", e) < 0))
		return -1;
	if (buf_append(&out->text, r.text, r.len, e) < 0)
		return -1;
	return r.partial && !o->timestamps ? 0 : buf_puts(&out->text, "\n", e);
}

static int take_lines(const struct options *o, struct buf *b, struct output *out, struct err *e)
{
	for (;;) {
		const uint8_t *nl = buf_len(b) ? memchr(buf_head(b), '\n', buf_len(b)) : NULL;

		if (!nl)
			return 0;
		if (print_record(o, buf_head(b), (size_t)(nl - buf_head(b)), out, e) < 0)
			return -1;
		buf_consume(b, (size_t)(nl - buf_head(b)) + 1);
	}
}

/* Prints the complete lines in the buffer, also those before one that is damaged. */
static int print_lines(const struct options *o, struct buf *b, struct err *e)
{
	struct output out = { .text = BUF_INIT, .fd = STDOUT_FILENO };
	int rc = take_lines(o, b, &out, e);
	struct err later;

	if (flush(&out, rc < 0 ? &later : e) < 0)
		rc = -1;
	buf_fini(&out.text);
	return rc;
}

/* Everything from the present position to the end of the file. */
static int print_rest(const struct options *o, int fd, struct buf *b, struct err *e)
{
	for (;;) {
		ssize_t n;

		if (buf_reserve(b, BLOCK, e) < 0)
			return -1;
		n = read(fd, buf_tail(b), BLOCK);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return err_sys(e, "read the log");
		if (n == 0)
			return 0;
		buf_produced(b, (size_t)n);
		if (print_lines(o, b, e) < 0)
			return -1;
	}
}

static bool is_over(const struct container_state *st)
{
	return st->status == CONTAINER_EXITED || st->status == CONTAINER_DEAD;
}

/* Where a log is read, see sandbox/stream_log.h for its files. */
struct place {
	const struct options *o;
	const char *path;
	struct buf text;
	int fd;        /* -1: none has been there yet */
	uint64_t next; /* the index of the file to go on with */
};

/* That files went before they could be read. */
static void say_lost(struct place *p)
{
	if (p->next == 0)
		(void)fprintf(stderr,
			      "kata: the beginning of the log is gone: at most %d MiB of "
			      "it are kept, each line with its time\n",
			      2 * (STREAM_LOG_BYTES >> 20));
	else
		(void)fprintf(stderr, "kata: a part of the log is gone: it was written faster "
				      "than it was read\n");
	buf_clear(&p->text);
}

/* Takes the oldest file that has not been read. 1: it did, 0: there is none. */
static int take_next(struct place *p, struct stream_log_files *f, struct err *e)
{
	bool old = f->before >= 0 && f->index > p->next; /* its own is one less */
	int *fd = old ? &f->before : &f->now;
	uint64_t index = old ? f->index - 1 : f->index;

	if (*fd < 0 || index < p->next)
		return 0;
	/* what was written between the end that was seen and the renaming */
	if (p->fd >= 0 && print_rest(p->o, p->fd, &p->text, e) < 0)
		return -1;
	if (index > p->next)
		say_lost(p);
	fd_close(&p->fd);
	p->fd = fd_take(fd);
	p->next = index + 1;
	return 1;
}

/* What is there by now, over all renamings. */
static int print_more(struct place *p, struct err *e)
{
	int rc;

	do {
		struct stream_log_files f;

		if (p->fd >= 0 && print_rest(p->o, p->fd, &p->text, e) < 0)
			return -1;
		if (stream_log_look(p->path, &f, e) < 0)
			return -1;
		rc = take_next(p, &f, e);
		stream_log_files_fini(&f);
	} while (rc == 1);
	return rc;
}

static int check_stopped(const struct place *p, struct err *e)
{
	OWN(free) char *why = stream_log_stopped(p->path);

	return why ? err_set(e, ERR_STATE, 0, "the log ends before the output does: %s", why)
		   : 0;
}

static int check_kept(const struct container_dir *d, const char *name, struct err *e)
{
	OWN(jval) struct jval *record = NULL;
	struct err ignored;
	bool kept = true;

	/* one that is being made has no record yet, and may have a log */
	if (container_dir_record(d, &record, &ignored) < 0 ||
	    !jval_bool(jval_get(record, "log"), &kept) || kept)
		return 0;
	return err_set(e, ERR_STATE, 0,
		       "container '%.80s' keeps no log: with --rm its output goes to its `kata "
		       "run` alone",
		       name);
}

static int show(struct cli *cli, const struct options *o, struct container_dir *d,
		struct err *e)
{
	OWN(free) char *path = container_dir_file(d, "output.log");
	struct place p = { .o = o, .path = path, .text = { .limit = LINE_LIMIT }, .fd = -1 };
	struct container_state st = { .status = CONTAINER_MAKING };
	int rc;

	if (!path)
		return err_oom(e, "a path");
	rc = print_more(&p, e); /* at once, whatever the engine says, and when */
	while (rc == 0 && o->follow && !is_over(&st)) {
		/* asked before reading: what was written until then is read */
		rc = container_dir_state(cli->loop, d, &st, e);
		if (rc < 0 && e->kind == ERR_NOT_FOUND) { /* at its end, as --rm asks */
			rc = 0;
			st.status = CONTAINER_DEAD;
		}
		if (rc == 0)
			rc = print_more(&p, e);
		if (rc == 0 && !is_over(&st))
			rc = fiber_sleep(cli->loop, POLL_MS, e);
	}
	if (rc == 0)
		rc = check_stopped(&p, e);
	fd_close(&p.fd);
	buf_fini(&p.text);
	return rc;
}

static int run(struct cli *cli, int argc, char **argv, struct err *e)
{
	OWN(container_dir) struct container_dir d = { .path = NULL };
	struct options o = { 0 };
	int first;

	if (verb_parse(&verb_logs, argc, argv, &o, &first, 1, 1, e) < 0 ||
	    container_dir_find(cli->root, argv[first], &d, e) < 0)
		return -1;
	if (check_kept(&d, argv[first], e) < 0)
		return -1;
	if (show(cli, &o, &d, e) == 0)
		return 0;
	/* as a program that nobody listens to ends */
	return e->sys == EPIPE ? 128 + SIGPIPE : -1;
}

const struct verb verb_logs = {
	.name = "logs",
	.usage = "[-f] [-t] CONTAINER",
	.help = "print a container's output",
	.options = options,
	.option_count = ARRAY_LEN(options),
	.run = run,
};
