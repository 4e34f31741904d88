/* SPDX-License-Identifier: Apache-2.0 */
/* Descriptors: whole reads and writes, small files, pipes; everything close-on-exec. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

struct err;
struct buf;

/* Writes all of it, going on after EINTR and short writes (blocking descriptors). */
int fd_write_all(int fd, const void *p, size_t len, struct err *e);
/*
 * The same where the descriptor may be a non-blocking one that a parent has handed on: waits,
 * as long as it takes, until it takes more. Never in an event loop.
 */
int fd_write_waiting(int fd, const void *p, size_t len, struct err *e);
/* Reads exactly `len` bytes; ERR_PEER when the end comes first. */
int fd_read_exact(int fd, void *p, size_t len, struct err *e);
/* Reads to the end of file into `b` (at most its limit, which must be set). */
int fd_read_to_end(int fd, struct buf *b, struct err *e);
int fd_set_nonblock(int fd, bool on, struct err *e);
int fd_set_cloexec(int fd, bool on, struct err *e);
/*
 * Standard descriptors that the caller has closed become ones on which reading or writing
 * fails: nothing that is opened later may be taken for them.
 */
void fd_fill_std(void);
/* pipe2(O_CLOEXEC): read end in [0], write end in [1]. */
int fd_pipe(int out[2], struct err *e);
/* Connected unix stream sockets, close-on-exec. */
int fd_socketpair(int out[2], struct err *e);

/* A whole file of at most `max` bytes as a malloc'd NUL-ended string. `what` names it in
 * errors. */
int file_read(int dirfd, const char *path, size_t max, char **out, size_t *len_out,
	      struct err *e);
/* One short value (e.g. below /sys or /proc), trailing newline removed. */
int file_read_line(int dirfd, const char *path, char *out, size_t size, struct err *e);
/* Writes an existing file in one write(2): for /proc, /sys and cgroup files. */
int file_write_value(int dirfd, const char *path, const char *value, struct err *e);
/*
 * Replaces (or makes) a file atomically: temporary name in the same directory, fsync when
 * `durable`, rename. On failure the old content is untouched and nothing is left behind.
 */
int file_replace(int dirfd, const char *path, const void *p, size_t len, mode_t mode,
		 bool durable, struct err *e);
/*
 * Room on the disk for a later file_replace_reserved() of the same path, at most
 * FILE_RESERVE_BYTES: a file beside it that is written now.
 */
enum {
	FILE_RESERVE_BYTES = 4096
};
int file_reserve(int dirfd, const char *path, struct err *e);
/*
 * As file_replace(), mode 0600 and durable; where the disk is full the reserved file takes its
 * place, with blanks behind the text. The reserve is gone afterwards, used or not.
 */
int file_replace_reserved(int dirfd, const char *path, const void *p, size_t len,
			  struct err *e);
