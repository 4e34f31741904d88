/* SPDX-License-Identifier: Apache-2.0 */
/* CRI log records. */
#include "sandbox/stream_log.h"

#include <errno.h>
#include <fcntl.h>
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
#include "base/time.h"

enum {
	TURN_LEN = 21, /* a line of <path>.turns */
	LOOKS = 100
};

static int open_append(const char *path, int *out, struct err *e)
{
	*out = open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOCTTY, 0600);
	return *out < 0 ? err_sys(e, "open '%s' for the output", path) : 0;
}

int stream_log_open(const char *path, uint64_t max, struct stream_log *out, struct err *e)
{
	struct stream_log l = { .fd = -1, .max = max };

	l.path = strdup(path);
	if (!l.path)
		return err_oom(e, "a log");
	if (open_append(path, &l.fd, e) < 0) {
		stream_log_close(&l);
		return -1;
	}
	*out = l;
	return 0;
}

void stream_log_close(struct stream_log *l)
{
	fd_close(&l->fd);
	free(l->path);
	l->path = NULL;
}

/* That the file of that inode is to be renamed. */
static int write_turn(const char *path, ino_t inode, struct err *e)
{
	OWN(free) char *turns = str_printf("%s.turns", path);
	OWN(fd) int fd = -1;
	char line[TURN_LEN + 1];
	off_t end;

	if (!turns)
		return err_oom(e, "a path");
	fd = open(turns, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
	if (fd < 0)
		return err_sys(e, "make '%s'", turns);
	(void)snprintf(line, sizeof(line), "%020ju\n", (uintmax_t)inode);
	end = lseek(fd, 0, SEEK_END);
	if (end < 0)
		return err_sys(e, "seek in '%s'", turns);
	if (fd_write_all(fd, line, TURN_LEN, e) == 0)
		return 0;
	(void)!ftruncate(fd, end); /* the other stream may get further */
	return err_wrap(e, "write '%s'", turns);
}

/* The other stream of the process has the same file, and may have been here first. */
static int turn_over(struct stream_log *l, const struct stat *ours, struct err *e)
{
	OWN(free) char *before = str_printf("%s.1", l->path);
	struct stat there;
	int fd;

	if (!before)
		return err_oom(e, "a path");
	if (stat(l->path, &there) == 0 && there.st_ino == ours->st_ino &&
	    there.st_dev == ours->st_dev) {
		if (write_turn(l->path, ours->st_ino, e) < 0)
			return -1;
		if (rename(l->path, before) < 0)
			return err_sys(e, "rename '%s'", l->path);
	}
	if (open_append(l->path, &fd, e) < 0)
		return -1;
	fd_close(&l->fd);
	l->fd = fd;
	return 0;
}

void stream_log_give_up(struct stream_log *l, const struct err *why)
{
	OWN(free) char *stopped = str_printf("%s.stopped", l->path);

	/* if it is there already, the other stream's reason is as good */
	if (stopped)
		(void)!symlink(why->sys ? strerror(why->sys) : why->msg, stopped);
	stream_log_close(l);
}

static int make_room(struct stream_log *l, struct err *e)
{
	struct stat st;

	if (fstat(l->fd, &st) < 0)
		return err_sys(e, "stat '%s'", l->path);
	return (uint64_t)st.st_size < l->max ? 0 : turn_over(l, &st, e);
}

/* What of the records was written before the file could grow no more; whole ones only. */
static off_t whole_records(const struct stream_log *l, off_t before, const struct buf *b)
{
	const uint8_t *last = NULL;
	struct stat st;

	if (fstat(l->fd, &st) == 0 && st.st_size > before &&
	    (uint64_t)(st.st_size - before) <= buf_len(b))
		last = memrchr(buf_head(b), '\n', (size_t)(st.st_size - before));
	return last ? before + (off_t)(last + 1 - buf_head(b)) : before;
}

/*
 * Behind half a record the other stream's next one, when the disk has room again, would be a
 * part of it. Both streams write in turn, so nothing has been added behind it.
 */
static int write_records(struct stream_log *l, const struct buf *b, struct err *e)
{
	struct stat st;

	if (fstat(l->fd, &st) < 0)
		return err_sys(e, "stat '%s'", l->path);
	if (fd_write_all(l->fd, buf_head(b), buf_len(b), e) == 0)
		return 0;
	(void)!ftruncate(l->fd, whole_records(l, st.st_size, b));
	return -1;
}

int stream_log_append(struct stream_log *l, const char *stream, const uint8_t *p, size_t len,
		      size_t *taken, struct err *e)
{
	OWN(buf) struct buf b = BUF_INIT;
	char when[TIME_RFC3339_LEN];

	if (make_room(l, e) < 0)
		return -1;
	time_rfc3339(time_wall_ns(), when);
	*taken = 0;
	while (len && buf_len(&b) < STREAM_LOG_BATCH) {
		size_t most = len < STREAM_LOG_BATCH ? len : STREAM_LOG_BATCH;
		const uint8_t *nl = memchr(p, '\n', most);
		size_t n = nl ? (size_t)(nl - p) : most;

		if (buf_printf(&b, e, "%s %s %c ", when, stream, nl ? 'F' : 'P') < 0 ||
		    buf_append(&b, p, n, e) < 0 || buf_append(&b, "\n", 1, e) < 0)
			return -1;
		n += nl ? 1 : 0;
		p += n;
		len -= n;
		*taken += n;
	}
	return write_records(l, &b, e);
}

static int open_to_read(const char *path, int *out, struct err *e)
{
	*out = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NOCTTY);
	return *out < 0 && errno != ENOENT ? err_sys(e, "open '%s'", path) : 0;
}

/* How many lines <path>.turns has, and what its last one says. */
static int read_turns(const char *path, uint64_t *count, uint64_t *inode, struct err *e)
{
	OWN(free) char *turns = str_printf("%s.turns", path);
	OWN(fd) int fd = -1;
	char line[TURN_LEN];
	struct stat st;

	*count = *inode = 0;
	if (!turns)
		return err_oom(e, "a path");
	if (open_to_read(turns, &fd, e) < 0)
		return -1;
	if (fd < 0)
		return 0;
	if (fstat(fd, &st) < 0)
		return err_sys(e, "stat '%s'", turns);
	*count = (uint64_t)st.st_size / TURN_LEN;
	if (*count == 0)
		return 0;
	if (pread(fd, line, TURN_LEN, (off_t)(*count - 1) * TURN_LEN) != TURN_LEN ||
	    line[TURN_LEN - 1] != '\n')
		return err_set(e, ERR_INVALID, 0, "'%s' is damaged", turns);
	line[TURN_LEN - 1] = '\0';
	return str_to_u64(line, 0, UINT64_MAX, turns, inode, e);
}

/* One attempt; 1 if a file was renamed meanwhile. */
static int look_once(const char *path, const char *before, struct stream_log_files *out,
		     struct err *e)
{
	uint64_t turns, inode;
	struct stat st, again;

	if (open_to_read(before, &out->before, e) < 0 ||
	    read_turns(path, &turns, &inode, e) < 0 || open_to_read(path, &out->now, e) < 0)
		return -1;
	if (out->before < 0)
		return access(before, F_OK) == 0; /* index 0, even if a turn is announced */
	if (fstat(out->before, &st) < 0)
		return err_sys(e, "stat '%s'", before);
	/* an announced turn that has not been made does not count */
	out->index = turns && inode != st.st_ino ? turns - 1 : turns;
	return stat(before, &again) < 0 || again.st_ino != st.st_ino;
}

int stream_log_look(const char *path, struct stream_log_files *out, struct err *e)
{
	OWN(free) char *before = str_printf("%s.1", path);

	if (!before)
		return err_oom(e, "a path");
	for (int i = 0; i < LOOKS; i++) {
		struct stream_log_files f = { .before = -1, .now = -1 };
		int rc = look_once(path, before, &f, e);

		if (rc == 0) {
			*out = f;
			return 0;
		}
		stream_log_files_fini(&f);
		if (rc < 0)
			return -1;
	}
	return err_set(e, ERR_STATE, 0, "'%s' is renamed faster than it can be read", path);
}

void stream_log_files_fini(struct stream_log_files *f)
{
	fd_close(&f->before);
	fd_close(&f->now);
}

char *stream_log_stopped(const char *path)
{
	OWN(free) char *stopped = str_printf("%s.stopped", path);
	char why[256];
	ssize_t n = stopped ? readlink(stopped, why, sizeof(why) - 1) : -1;

	return n < 0 ? NULL : strndup(why, (size_t)n);
}

/* Copies the word up to the next space; NULL if it is empty, too long or the last. */
static const uint8_t *take_word(const uint8_t *p, const uint8_t *end, char *out, size_t size)
{
	const uint8_t *sp = memchr(p, ' ', (size_t)(end - p));
	size_t n = sp ? (size_t)(sp - p) : 0;

	if (n == 0 || n >= size)
		return NULL;
	memcpy(out, p, n);
	out[n] = '\0';
	return sp + 1;
}

int stream_log_parse(const uint8_t *line, size_t len, struct stream_record *out, struct err *e)
{
	const uint8_t *end = line + len, *p = line;
	struct stream_record r;
	char tag[8];

	p = take_word(p, end, r.time, sizeof(r.time));
	p = p ? take_word(p, end, r.stream, sizeof(r.stream)) : NULL;
	p = p ? take_word(p, end, tag, sizeof(tag)) : NULL;
	if (!p || (strcmp(tag, "F") != 0 && strcmp(tag, "P") != 0) ||
	    (strcmp(r.stream, "stdout") != 0 && strcmp(r.stream, "stderr") != 0))
		return err_set(e, ERR_INVALID, 0, "no record of a container's log");
	r.partial = tag[0] == 'P';
	r.text = p;
	r.len = (size_t)(end - p);
	*out = r;
	return 0;
}
