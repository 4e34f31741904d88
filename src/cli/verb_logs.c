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

static int print_record(const struct options *o, const uint8_t *line, size_t len, struct err *e)
{
	struct stream_record r;
	int fd;

	if (stream_log_parse(line, len, &r, e) < 0)
		return err_wrap(e, "the container's output.log is damaged");
	fd = str_eq(r.stream, "stderr") ? STDERR_FILENO : STDOUT_FILENO;
	if (o->timestamps && (fd_write_all(fd, r.time, strlen(r.time), e) < 0 ||
			      fd_write_all(fd, " ", 1, e) < 0))
		return -1;
	if (fd_write_all(fd, r.text, r.len, e) < 0)
		return -1;
	return r.partial && !o->timestamps ? 0 : fd_write_all(fd, "\n", 1, e);
}

/* Prints the complete lines in the buffer. */
static int print_lines(const struct options *o, struct buf *b, struct err *e)
{
	for (;;) {
		const uint8_t *nl = buf_len(b) ? memchr(buf_head(b), '\n', buf_len(b)) : NULL;

		if (!nl)
			return 0;
		if (print_record(o, buf_head(b), (size_t)(nl - buf_head(b)), e) < 0)
			return -1;
		buf_consume(b, (size_t)(nl - buf_head(b)) + 1);
	}
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

static int open_log(const char *path, int *out, struct err *e)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);

	if (fd < 0 && errno != ENOENT)
		return err_sys(e, "open '%s'", path);
	fd_close(out);
	*out = fd;
	return 0;
}

static bool same_file(int a, int b)
{
	struct stat x, y;

	return a >= 0 && b >= 0 && fstat(a, &x) == 0 && fstat(b, &y) == 0 &&
	       x.st_ino == y.st_ino && x.st_dev == y.st_dev;
}

/* Where a log is read, see sandbox/stream_log.h for its two files. */
struct place {
	const struct options *o;
	const char *path;
	struct buf text;
	int fd;
	off_t index; /* how many files were begun before this one */
	bool begun;
};

/* How many files the log has lost. */
static int count_lost(const char *path, off_t *out, struct err *e)
{
	OWN(free) char *cut = str_printf("%s.cut", path);
	struct stat st;

	if (!cut)
		return err_oom(e, "a path");
	*out = stat(cut, &st) == 0 ? st.st_size : 0;
	return 0;
}

static int open_before(const struct place *p, int *out, struct err *e)
{
	OWN(free) char *path = str_printf("%s.1", p->path);

	return path ? open_log(path, out, e) : err_oom(e, "a path");
}

/* The file before the one that is written, unless that has just been renamed to it. */
static int print_before(struct place *p, struct err *e)
{
	OWN(fd) int before = -1;

	if (open_before(p, &before, e) < 0 || count_lost(p->path, &p->index, e) < 0)
		return -1;
	if (p->index)
		(void)fprintf(stderr,
			      "kata: the beginning of the log is gone: at most %d MiB of "
			      "it are kept\n",
			      2 * (STREAM_LOG_BYTES >> 20));
	if (before < 0 || same_file(before, p->fd))
		return 0;
	p->index++;
	return print_rest(p->o, before, &p->text, e);
}

/*
 * To the file that was begun after ours: that before the newest, or the newest. Others between
 * are lost, if they have been written faster than we read.
 */
static int go_on(struct place *p, int *now, struct err *e)
{
	OWN(fd) int before = -1;
	off_t lost;

	if (open_before(p, &before, e) < 0 || count_lost(p->path, &lost, e) < 0)
		return -1;
	fd_close(&p->fd);
	p->index++;
	if (before < 0 || lost < p->index) {
		p->fd = fd_take(now);
		return 0;
	}
	if (lost > p->index) {
		(void)fprintf(stderr, "kata: a part of the log is gone: it was written faster "
				      "than it was read\n");
		buf_clear(&p->text);
	}
	p->index = lost;
	p->fd = fd_take(&before);
	return 0;
}

/* What is there by now, over all renamings. */
static int print_more(struct place *p, struct err *e)
{
	if (p->fd < 0 && open_log(p->path, &p->fd, e) < 0)
		return -1;
	if (!p->begun && p->fd >= 0) {
		p->begun = true;
		if (print_before(p, e) < 0)
			return -1;
	}
	for (;;) {
		OWN(fd) int now = -1;

		if (p->fd >= 0 && print_rest(p->o, p->fd, &p->text, e) < 0)
			return -1;
		if (open_log(p->path, &now, e) < 0)
			return -1;
		if (now < 0 || same_file(now, p->fd))
			return 0;
		/* what was written between the end above and the renaming */
		if (p->fd >= 0 && print_rest(p->o, p->fd, &p->text, e) < 0)
			return -1;
		if (go_on(p, &now, e) < 0)
			return -1;
	}
}

static int show(struct cli *cli, const struct options *o, struct container_dir *d,
		struct err *e)
{
	OWN(free) char *path = container_dir_file(d, "output.log");
	struct place p = { .o = o, .path = path, .text = { .limit = LINE_LIMIT }, .fd = -1 };
	struct container_state st;
	int rc;

	if (!path)
		return err_oom(e, "a path");
	do {
		/* asked before reading: what was written until then is read */
		rc = container_dir_state(cli->loop, d, &st, e);
		if (rc == 0)
			rc = print_more(&p, e);
	} while (rc == 0 && o->follow && !is_over(&st) &&
		 (rc = fiber_sleep(cli->loop, POLL_MS, e)) == 0);
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
