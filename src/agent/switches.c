/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One counter a processor. That it has gone once round is known by its ring, whose content
 * nobody reads: a mapping without PROT_WRITE is overwritten for ever.
 */
#include "agent/switches.h"

#include <errno.h>
#include <linux/perf_event.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/err.h"
#include "base/fd.h"
#include "base/own.h"
#include "base/sys.h"

enum {
	RING_PAGES = 2 /* its head and one of records */
};

struct switches_cpu {
	struct switches *owner;
	struct source source;
	void *ring;
	size_t ring_size;
};

static void free_cpu(struct switches_cpu *c)
{
	if (!c)
		return;
	loop_remove(c->owner->loop, &c->source);
	if (c->ring)
		(void)munmap(c->ring, c->ring_size);
	fd_close(&c->source.fd);
	free(c);
}
OWN_DEFINE(switches_cpu, struct switches_cpu *, free_cpu)

static void on_ready(struct source *source, uint32_t events)
{
	struct switches *w = container_of(source, struct switches_cpu, source)->owner;

	(void)events;
	for (unsigned i = 0; i < w->count; i++)
		if (w->cpus[i])
			loop_remove(w->loop, &w->cpus[i]->source);
	w->some(w);
}

/* Its counter, into source.fd: 1, 0 if it is off-line, 2 behind the last that there can be. */
static int open_counter(struct switches_cpu *c, unsigned number, struct err *e)
{
	struct perf_event_attr attr = { .type = PERF_TYPE_SOFTWARE,
					.size = sizeof(attr),
					.config = PERF_COUNT_SW_CONTEXT_SWITCHES,
					.sample_period = SWITCHES_MAX,
					.wakeup_events = 1 };

	c->source.fd = sys_perf_event_open(&attr, -1, (int)number);
	if (c->source.fd >= 0)
		return 1;
	if (errno == ENODEV)
		return 0;
	if (errno == EINVAL && number)
		return 2;
	return err_set(e, ERR_UNSUPPORTED, errno, "perf_event_open");
}

/* As open_counter(), with *out if 1. */
static int watch_cpu(struct switches *w, unsigned number, struct switches_cpu **out,
		     struct err *e)
{
	OWN(switches_cpu) struct switches_cpu *c = calloc(1, sizeof(*c));
	int rc;

	if (!c)
		return err_oom(e, "watch of context switches");
	c->owner = w;
	c->source = (struct source){ .fd = -1, .events = EPOLLIN, .ready = on_ready };
	rc = open_counter(c, number, e);
	if (rc != 1)
		return rc;
	c->ring_size = RING_PAGES * (size_t)getpagesize();
	c->ring = mmap(NULL, c->ring_size, PROT_READ, MAP_SHARED, c->source.fd, 0);
	if (c->ring == MAP_FAILED) {
		c->ring = NULL;
		return err_sys(e, "ring of perf_event_open");
	}
	if (loop_add(w->loop, &c->source, e) < 0)
		return -1;
	*out = TAKE(c);
	return 1;
}

static int make_room(struct switches *w, unsigned number, struct err *e)
{
	struct switches_cpu **more;

	if (number < w->count)
		return 0;
	more = realloc(w->cpus, (number + 1) * sizeof(struct switches_cpu *));
	if (!more)
		return err_oom(e, "watch of context switches");
	w->cpus = more;
	w->cpus[w->count++] = NULL;
	return 0;
}

int switches_more(struct switches *w, struct err *e)
{
	int rc = 0;

	for (unsigned i = 0; rc < 2; i++) {
		if (make_room(w, i, e) < 0)
			return -1;
		if (w->cpus[i])
			continue;
		rc = watch_cpu(w, i, &w->cpus[i], e);
		if (rc < 0)
			return -1;
	}
	return 0;
}

int switches_start(struct switches *w, struct loop *l, void (*some)(struct switches *w),
		   struct err *e)
{
	*w = (struct switches){ .loop = l, .some = some };
	if (switches_more(w, e) == 0)
		return 0;
	switches_stop(w);
	return -1;
}

int switches_wait(struct switches *w, struct err *e)
{
	for (unsigned i = 0; i < w->count; i++) {
		struct switches_cpu *c = w->cpus[i];

		if (c && !c->source.added && loop_add(w->loop, &c->source, e) < 0)
			return -1;
	}
	return 0;
}

void switches_stop(struct switches *w)
{
	for (unsigned i = 0; i < w->count; i++)
		free_cpu(w->cpus[i]);
	free(w->cpus);
	*w = (struct switches){ 0 };
}
