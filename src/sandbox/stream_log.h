/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The log of a container's output in the Kubernetes CRI format: one record a line,
 *	2026-01-02T03:04:05.000000006Z stdout F the line
 * F: a newline followed in the stream; P: none did (the next record of the same stream goes
 * on). Any byte but newline stands as it is, so a stream can be restored exactly.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

struct buf;
struct err;

enum {
	STREAM_LOG_BATCH = 256 << 10,
	STREAM_LOG_BYTES = 64 << 20 /* of the file, and of the one before it */
};

/*
 * A file that is appended to, also by others. One of more than `max` bytes is renamed to
 * <path>.1, over the one before, and begun anew: a container cannot fill its host's disk.
 * <path>.turns gets the inode number of each file that is about to be renamed so, 20 digits
 * and a newline: who reads along knows by it how many files there were before <path>.1.
 * <path>.stopped is a link whose target says why the log ends before its container's output
 * does (a link needs no block of a disk that is full).
 */
struct stream_log {
	char *path; /* owned; NULL: none is open */
	int fd;
	uint64_t max;
};

#define STREAM_LOG_INIT                                                                        \
	{                                                                                      \
		.fd = -1                                                                       \
	}

int stream_log_open(const char *path, uint64_t max, struct stream_log *out, struct err *e);
/*
 * Appends bytes of `stream` ("stdout" or "stderr") with one write(2): the first *taken of
 * `len`, as many as give records of about STREAM_LOG_BATCH bytes. A stream of empty lines is
 * forty times as long in here as it was.
 */
int stream_log_append(struct stream_log *l, const char *stream, const uint8_t *p, size_t len,
		      size_t *taken, struct err *e);
/* Closes it because of `why`, and leaves that for its readers. */
void stream_log_give_up(struct stream_log *l, const struct err *why);
void stream_log_close(struct stream_log *l);

/* A log's files at one moment, for reading. */
struct stream_log_files {
	int before, now; /* -1: there is none */
	uint64_t index;  /* of `now`: how many files were begun before it */
};

/* Opens them. ERR_STATE if they change faster than they can be opened. */
int stream_log_look(const char *path, struct stream_log_files *out, struct err *e);
void stream_log_files_fini(struct stream_log_files *f);
/* Why the log at `path` was given up, malloc'd; NULL if it was not. */
char *stream_log_stopped(const char *path);

/* One record, pointing into the line it was read from. */
struct stream_record {
	char time[40];
	char stream[8];
	int partial; /* no newline belongs behind the text */
	const uint8_t *text;
	size_t len;
};

/* Reads one line (without its newline). ERR_INVALID for what is no record. */
int stream_log_parse(const uint8_t *line, size_t len, struct stream_record *out, struct err *e);
