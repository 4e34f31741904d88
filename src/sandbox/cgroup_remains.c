/* SPDX-License-Identifier: Apache-2.0 */
/* Removing what is no longer in use, and remembering what still is. */
#include "sandbox/cgroup_remains.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/fd.h"
#include "base/log.h"
#include "base/own.h"
#include "base/str.h"
#include "base/time.h"

enum {
	LIST_MAX = 1 << 20, /* some thousands of them: far more is no accident */
	POLL_MS = 10
};

/* 0: it has gone; -1 with errno. */
static int remove_one(const char *path, int64_t deadline)
{
	while (rmdir(path) < 0) {
		if (errno == ENOENT)
			return 0;
		if (errno != EBUSY || deadline_left(deadline) == 0)
			return -1;
		(void)poll(NULL, 0, POLL_MS);
	}
	return 0;
}

static bool is_path(const char *line)
{
	return str_starts(line, "/") && !strstr(line, "/../") && !str_ends(line, "/..");
}

/* A cgroup that several engines had, one after the other, is listed once. */
static int add_line(struct buf *list, const char *line, struct err *e)
{
	if (buf_len(list) && str_has_line(buf_cstr(list), line))
		return 0;
	return buf_printf(list, e, "%s\n", line);
}

static int add_lines(struct buf *list, const struct buf *more, struct err *e)
{
	OWN(free) char *text = NULL;
	char *line, *rest;

	if (!more || !buf_len(more))
		return 0;
	text = strndup((const char *)buf_head(more), buf_len(more));
	if (!text)
		return err_oom(e, "a list");
	for (line = strtok_r(text, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest)) {
		if (add_line(list, line, e) < 0)
			return -1;
	}
	return 0;
}

void cgroup_remains_remove(int dirfd, const char *record, int64_t deadline, struct buf *busy)
{
	OWN(free) char *list = NULL;
	char *line, *rest;
	struct err e;

	if (file_read(dirfd, record, LIST_MAX, &list, NULL, &e) < 0) {
		if (e.sys != ENOENT)
			log_warn(NULL, "cgroups of engines that have ended: %s", e.msg);
		return;
	}
	for (line = strtok_r(list, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest)) {
		if (!is_path(line) || remove_one(line, deadline) == 0)
			continue;
		if (errno != EBUSY)
			log_warn(NULL,
				 "cgroup '%s' of an engine that has ended cannot be removed: "
				 "%s",
				 line, strerror(errno));
		else if (busy && add_line(busy, line, &e) < 0)
			log_warn(NULL, "cgroup '%s' stays: %s", line, e.msg);
	}
}

void cgroup_remains_keep(int dirfd, const char *name, const struct buf *busy)
{
	OWN(buf) struct buf all = { .limit = LIST_MAX };
	struct err e;

	cgroup_remains_remove(dirfd, name, deadline_in(0), &all);
	if (add_lines(&all, busy, &e) < 0 ||
	    (buf_len(&all) &&
	     file_replace(dirfd, name, buf_head(&all), buf_len(&all), 0600, false, &e) < 0))
		log_warn(NULL, "cgroups that are still in use are forgotten: %s", e.msg);
	else if (!buf_len(&all) && unlinkat(dirfd, name, 0) < 0 && errno != ENOENT)
		log_warn(NULL, "remove '%s': %s", name, strerror(errno));
}
