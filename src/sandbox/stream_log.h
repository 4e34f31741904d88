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
	STREAM_LOG_BYTES = 64 << 20 /* of the file, and of the one before it */
};

/*
 * A file that is appended to, also by others. One of more than `max` bytes is renamed to
 * <path>.1, over the one before, and begun anew: a container cannot fill its host's disk.
 * <path>.cut has a byte for each file that has been lost by that.
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
/* Appends `len` bytes of `stream` ("stdout" or "stderr") with one write(2). */
int stream_log_append(struct stream_log *l, const char *stream, const uint8_t *p, size_t len,
		      struct err *e);
void stream_log_close(struct stream_log *l);

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
