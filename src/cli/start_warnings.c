/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reads shim.log, which base/log.c writes: key="value" with JSON's escapes, so that no text in
 * it can look like a key. The guest's own words are never there as warnings
 * (sandbox/guest_log.h).
 */
#include "cli/start_warnings.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/own.h"
#include "cli/container_dir.h"

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

/* Line by line: a guest may have written many, where its console is logged. */
void start_warnings_show(const struct container_dir *d)
{
	OWN(free) char *path = container_dir_file(d, "shim.log");
	FILE *log = path ? fopen(path, "re") : NULL;
	size_t room = 0;
	OWN(free) char *line = NULL;

	if (!log) {
		if (!path || errno != ENOENT)
			log_warn(NULL, "the engine's warnings cannot be shown: %s",
				 path ? strerror(errno) : "out of memory");
		return;
	}
	while (getline(&line, &room, log) > 0)
		show_line(line);
	(void)fclose(log);
}
