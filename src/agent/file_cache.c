/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The number is that of all names that nobody uses (/proc/sys/fs/dentry-state, Linux 5.1),
 * those of other file systems too: fewer are never forgotten too late.
 */
#include "agent/file_cache.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include "agent/sandbox.h"
#include "base/err.h"
#include "base/fd.h"
#include "base/log.h"
#include "base/str.h"
#include "base/time.h"

enum {
	FILES_MIN = 64,
	FILES_MAX = 512 * 1024, /* to remember more gains little and takes long to forget */
	MANY_FILES = 200 * 1000,
	OFTEN_MS = 100,   /* a program may look at a hundred thousand files in a second */
	SELDOM_MS = 1000, /* where that is far from the limit */
	STATE_SIZE = 160
};

#define DROP "/proc/sys/vm/drop_caches"

int file_cache_is_above(const char *state, unsigned long long max)
{
	long long all, unused, age, wanted, negative;

	if (sscanf(state, "%lld %lld %lld %lld %lld", &all, &unused, &age, &wanted,
		   &negative) != 5)
		return -1;
	/* names of what does not exist are no files */
	return unused > negative && (unsigned long long)(unused - negative) > max;
}

static void look(struct timer *t)
{
	struct sandbox *s = container_of(t, struct sandbox, file_cache.timer);
	char state[STATE_SIZE];
	struct err e = ERR_INIT;
	int above;

	if (file_read_line(AT_FDCWD, "/proc/sys/fs/dentry-state", state, sizeof(state), &e) < 0)
		above = -1;
	else
		above = file_cache_is_above(state, s->file_cache.max);
	/* 2: names and inodes, and what is kept of their content */
	if (above < 0 || (above && file_write_value(AT_FDCWD, DROP, "2", &e) < 0)) {
		log_warn(&s->log, "shared files are not forgotten in time: %s",
			 e.kind ? e.msg : "/proc/sys/fs/dentry-state is of an unknown form");
		return;
	}
	timer_set(s->loop, t, deadline_in(s->file_cache.every_ms));
}

int file_cache_limit(struct sandbox *s, const char *text, struct err *e)
{
	struct file_cache *f = &s->file_cache;
	uint64_t files;

	if (str_to_u64(text, FILES_MIN, UINT64_MAX, "files", &files, e) < 0)
		return -1;
	f->max = (files < FILES_MAX ? files : FILES_MAX) / 2;
	f->every_ms = files < MANY_FILES ? OFTEN_MS : SELDOM_MS;
	f->timer.fire = look;
	/* 4: no line in the kernel's log each time */
	if (file_write_value(AT_FDCWD, DROP, "4", e) < 0)
		return err_wrap(e, "shared files");
	timer_set(s->loop, &f->timer, deadline_in(f->every_ms));
	return 0;
}

void file_cache_stop(struct sandbox *s)
{
	timer_clear(&s->file_cache.timer);
}
