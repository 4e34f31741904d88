/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reads shim.log, which base/log.c writes: key="value" with JSON's escapes, so that no text in
 * it can look like a key. The guest's own words are never there as warnings
 * (sandbox/guest_log.h).
 */
#include "cli/start_warnings.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/fd.h"
#include "base/log.h"
#include "base/own.h"
#include "cli/container_dir.h"

enum {
	LOG_MAX = 1 << 20 /* a start writes a few lines */
};

/* The text of a quoted value up to its closing quote, in place. */
static void unquote(char *s)
{
	char *to = s;

	for (; *s && *s != '"'; s++) {
		if (s[0] == '\\' && (s[1] == '"' || s[1] == '\\'))
			s++;
		*to++ = *s;
	}
	*to = '\0';
}

static void show_line(char *line)
{
	static const char level[] = " level=\"warning\" msg=\"";
	char *msg = strstr(line, level);

	if (!msg)
		return;
	msg += strlen(level);
	unquote(msg);
	(void)fprintf(stderr, "kata: warning: %s\n", msg);
}

void start_warnings_show(const struct container_dir *d)
{
	OWN(free) char *path = container_dir_file(d, "shim.log");
	OWN(free) char *text = NULL;
	char *line, *rest;
	struct err e;

	if (!path || file_read(AT_FDCWD, path, LOG_MAX, &text, NULL, &e) < 0) {
		if (!path || e.kind != ERR_NOT_FOUND)
			log_warn(NULL, "the engine's warnings cannot be shown: %s",
				 path ? e.msg : "out of memory");
		return;
	}
	for (line = strtok_r(text, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest))
		show_line(line);
}
