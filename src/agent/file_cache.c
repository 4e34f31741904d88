/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The number is that of all names of files that exist (/proc/sys/fs/dentry-state, Linux 5.1),
 * those of other file systems too, and those in use, which stay when the others are forgotten:
 * it is how many have come since then that counts.
 */
#include "agent/file_cache.h"

#include <fcntl.h>
#include <stdlib.h>

#include "agent/sandbox.h"
#include "base/err.h"
#include "base/fd.h"
#include "base/log.h"
#include "base/str.h"
#include "base/time.h"

enum {
	FILES_MIN = 64,
	FILES_MAX = 1024 * 1024, /* to remember more gains little and takes long to forget */
	MANY_FILES = 200 * 1000,
	OFTEN_MS = 50,    /* a program may look at a hundred thousand files in a second */
	SELDOM_MS = 1000, /* where that is far from the limit */
	PART = 4,         /* of the limit may come between two looks and be in use besides */
	STATE_SIZE = 160
};

#define STATE "/proc/sys/fs/dentry-state"
#define DROP  "/proc/sys/vm/drop_caches"

long long file_cache_count(const char *state)
{
	enum {
		ALL,
		NEGATIVE = 4, /* behind those unused, an age, and a number wanted */
		NUMBERS
	};
	long long n[NUMBERS];

	for (size_t i = 0; i < NUMBERS; i++) {
		char *end;

		n[i] = strtoll(state, &end, 10);
		if (end == state)
			return -1;
		state = end;
	}
	/* names of what does not exist are no files; added up without a lock */
	return n[ALL] > n[NEGATIVE] ? n[ALL] - n[NEGATIVE] : 0;
}

static int count(long long *out, struct err *e)
{
	char state[STATE_SIZE];

	if (file_read_line(AT_FDCWD, STATE, state, sizeof(state), e) < 0)
		return -1;
	*out = file_cache_count(state);
	return *out < 0 ? err_set(e, ERR_UNSUPPORTED, 0, STATE " is of an unknown form") : 0;
}

/* 2: names and inodes, and what is kept of their content. */
static int forget(struct file_cache *f, struct err *e)
{
	return file_write_value(AT_FDCWD, DROP, "2", e) < 0 ? -1 : count(&f->kept, e);
}

static int forget_in_time(struct file_cache *f, struct err *e)
{
	long long now;

	if (count(&now, e) < 0)
		return -1;
	if (now < f->kept)
		f->kept = now;
	if (now - f->kept <= f->max)
		return 0;
	return forget(f, e);
}

static void give_up(struct sandbox *s, const struct err *e)
{
	log_warn(&s->log, "shared files are not forgotten in time: %s", e->msg);
	switches_stop(&s->file_cache.switches);
}

static void on_switches(struct switches *w)
{
	struct sandbox *s = container_of(w, struct sandbox, file_cache.switches);

	timer_set(s->loop, &s->file_cache.timer, deadline_in(s->file_cache.every_ms));
}

/* From now on at every tick: a guest that never sleeps, but safe. */
static void go_by_clock(struct sandbox *s, const struct err *why)
{
	struct file_cache *f = &s->file_cache;

	log_info(&s->log, "looks at its cache of files every %lld ms: %s",
		 (long long)f->every_ms, why->msg);
	switches_stop(&f->switches);
	f->by_clock = true;
	timer_set(s->loop, &f->timer, deadline_in(f->every_ms));
}

static void look(struct timer *t)
{
	struct sandbox *s = container_of(t, struct sandbox, file_cache.timer);
	struct file_cache *f = &s->file_cache;
	struct err e;

	if (forget_in_time(f, &e) < 0)
		give_up(s, &e);
	else if (f->by_clock)
		timer_set(s->loop, t, deadline_in(f->every_ms));
	else if (switches_wait(&f->switches, &e) < 0)
		go_by_clock(s, &e);
}

int file_cache_limit(struct sandbox *s, const char *text, struct err *e)
{
	struct file_cache *f = &s->file_cache;
	struct err why;
	uint64_t files;

	if (str_to_u64(text, FILES_MIN, UINT64_MAX, "files", &files, e) < 0)
		return -1;
	file_cache_stop(s);
	f->max = (long long)(files < FILES_MAX ? files : FILES_MAX) / PART;
	f->every_ms = files < MANY_FILES ? OFTEN_MS : SELDOM_MS;
	f->timer.fire = look;
	/* 4: no line in the kernel's log each time */
	if (file_write_value(AT_FDCWD, DROP, "4", e) < 0 || count(&f->kept, e) < 0)
		return err_wrap(e, "shared files");
	if (switches_start(&f->switches, s->loop, on_switches, &why) < 0)
		go_by_clock(s, &why);
	return 0;
}

void file_cache_forget(struct sandbox *s)
{
	struct err e;

	if (s->file_cache.max && forget(&s->file_cache, &e) < 0)
		log_warn(&s->log, "files of a removed container are not forgotten: %s", e.msg);
}

void file_cache_processors(struct sandbox *s)
{
	struct file_cache *f = &s->file_cache;
	struct err e;

	if (f->switches.loop && switches_more(&f->switches, &e) < 0)
		go_by_clock(s, &e);
}

void file_cache_stop(struct sandbox *s)
{
	timer_clear(&s->file_cache.timer);
	switches_stop(&s->file_cache.switches);
	s->file_cache.by_clock = false;
}
