/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Logging: one line per record to one descriptor, key=value (the form of Go's logrus, which
 * containerd and Kata's tools read) or JSON. Only programs decide where it goes; libraries
 * log at debug and return errors for their caller to log. errno is kept.
 */
#pragma once

#include <stdbool.h>

enum log_level {
	LOG_ERROR,
	LOG_WARN,
	LOG_INFO,
	LOG_DEBUG,
	LOG_LEVEL_COUNT_
};

/* Who a record is about; a field of the object that logs. NULL members are left out. */
struct log_ctx {
	const char *sandbox;
	const char *container;
	const char *exec;
};

struct log_config {
	enum log_level level;
	int fd; /* borrowed; -1 drops every record */
	bool json;
	bool plain;         /* "source: msg", for who sits at a terminal */
	const char *source; /* "agent", "shim" …; static string */
	/* named where a record's context names none; borrowed, or NULL */
	const char *sandbox, *container;
};

void log_setup(const struct log_config *config);
void log_set_level(enum log_level level);
/* The configuration's, in place of what they were. */
void log_set_names(const char *sandbox, const char *container);
bool log_enabled(enum log_level level);
/* "error", "warning", "info", "debug" and common synonyms; false if unknown. */
bool log_level_parse(const char *s, enum log_level *out);

void log_emit(enum log_level level, const struct log_ctx *ctx, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

#define log_error(ctx, ...) log_emit(LOG_ERROR, (ctx), __VA_ARGS__)
#define log_warn(ctx, ...)  log_emit(LOG_WARN, (ctx), __VA_ARGS__)
#define log_info(ctx, ...)  log_emit(LOG_INFO, (ctx), __VA_ARGS__)
#define log_debug(ctx, ...) log_emit(LOG_DEBUG, (ctx), __VA_ARGS__)
