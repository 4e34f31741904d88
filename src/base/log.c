/* SPDX-License-Identifier: Apache-2.0 */
/* Logging. The configuration is the one piece of process-wide state in the project. */
#include "base/log.h"

#include <assert.h>
#include <errno.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/own.h"
#include "base/str.h"
#include "base/time.h"

static struct log_config config = { .level = LOG_INFO, .fd = STDERR_FILENO, .source = "kata" };

static const char *const level_names[] = {
	[LOG_ERROR] = "error",
	[LOG_WARN] = "warning",
	[LOG_INFO] = "info",
	[LOG_DEBUG] = "debug",
};
static_assert(ARRAY_LEN(level_names) == LOG_LEVEL_COUNT_, "every level needs a name");

static const struct {
	const char *word;
	enum log_level level;
} level_words[] = {
	{ "panic", LOG_ERROR }, { "fatal", LOG_ERROR },  { "critical", LOG_ERROR },
	{ "error", LOG_ERROR }, { "warning", LOG_WARN }, { "warn", LOG_WARN },
	{ "info", LOG_INFO },   { "debug", LOG_DEBUG },  { "trace", LOG_DEBUG },
};

void log_setup(const struct log_config *c)
{
	config = *c;
}

void log_set_level(enum log_level level)
{
	config.level = level;
}

void log_set_names(const char *sandbox, const char *container)
{
	config.sandbox = sandbox;
	config.container = container;
}

bool log_enabled(enum log_level level)
{
	return level <= config.level && config.fd >= 0;
}

bool log_level_parse(const char *s, enum log_level *out)
{
	for (size_t i = 0; i < ARRAY_LEN(level_words); i++) {
		if (str_eq(level_words[i].word, s)) {
			*out = level_words[i].level;
			return true;
		}
	}
	return false;
}

enum {
	LINE_MSG = 1280,
	LINE_VALUE = 120, /* of each of the six others */
	LINE_LEN = 2176,
};

struct line {
	char text[LINE_LEN];
	size_t len;
};

static void line_raw(struct line *l, const char *s)
{
	size_t n = strlen(s), room = sizeof(l->text) - 2 - l->len; /* newline and NUL */

	if (n > room)
		n = room;
	memcpy(l->text + l->len, s, n);
	l->len += n;
}

/*
 * A quoted value: double quotes, backslash and control bytes escaped (valid in JSON too), cut
 * to `room` bytes so that the fields behind it, and the end of the line, always fit.
 */
static void line_quoted(struct line *l, const char *s, size_t room)
{
	size_t end = l->len + room;
	char esc[8];

	line_raw(l, "\"");
	for (; *s && l->len + sizeof(esc) < end; s++) {
		unsigned char c = (unsigned char)*s;

		if (c == '"' || c == '\\')
			(void)snprintf(esc, sizeof(esc), "\\%c", c);
		else if (c == '\n')
			(void)snprintf(esc, sizeof(esc), "\\n");
		else if (c < 0x20 || c == 0x7f)
			(void)snprintf(esc, sizeof(esc), "\\u%04x", c);
		else
			(void)snprintf(esc, sizeof(esc), "%c", c);
		line_raw(l, esc);
	}
	line_raw(l, "\"");
}

static void line_field(struct line *l, const char *key, const char *value)
{
	if (!value)
		return;
	line_raw(l, config.json ? (l->len > 1 ? ",\"" : "\"") : (l->len ? " " : ""));
	line_raw(l, key);
	line_raw(l, config.json ? "\":" : "=");
	line_quoted(l, value, str_eq(key, "msg") ? LINE_MSG : LINE_VALUE);
}

static void record(struct line *l, enum log_level level, const struct log_ctx *ctx,
		   const char *msg)
{
	char when[TIME_RFC3339_LEN];

	time_rfc3339(time_wall_ns(), when);
	if (config.json)
		line_raw(l, "{");
	line_field(l, "time", when);
	line_field(l, "level", level_names[level]);
	line_field(l, "msg", msg);
	line_field(l, "source", config.source);
	line_field(l, "sandbox", ctx && ctx->sandbox ? ctx->sandbox : config.sandbox);
	line_field(l, "container", ctx && ctx->container ? ctx->container : config.container);
	if (ctx)
		line_field(l, "exec", ctx->exec);
	if (config.json)
		line_raw(l, "}");
}

void log_emit(enum log_level level, const struct log_ctx *ctx, const char *fmt, ...)
{
	char msg[1400];
	struct line l = { .len = 0 };
	int saved = errno;
	ssize_t ignored;
	va_list ap;

	if (!log_enabled(level))
		return;
	va_start(ap, fmt);
	(void)vsnprintf(msg, sizeof(msg), fmt, ap);
	va_end(ap);
	if (config.plain) {
		line_raw(&l, config.source);
		line_raw(&l, ": ");
		line_raw(&l, msg);
	} else {
		record(&l, level, ctx, msg);
	}
	l.text[l.len++] = '\n';
	/* a full log pipe loses the line, nothing else */
	ignored = write(config.fd, l.text, l.len);
	(void)ignored;
	errno = saved;
}
