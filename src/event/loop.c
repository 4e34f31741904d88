/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The event loop. A turn: run the fibers that are ready, fire the timers that are due, wait
 * for descriptors, call their owners. Descriptors are served in the order of the kernel's
 * ready list, each once a turn, so that none starves another.
 */
#include "event/loop.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/err.h"
#include "base/mem.h"
#include "base/own.h"
#include "base/time.h"
#include "event/loop_internal.h"

int loop_new(struct loop **out, struct err *e)
{
	OWN(free) struct loop *l = mem_new(struct loop);

	if (!l)
		return err_oom(e, "the event loop");
	l->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	if (l->epoll_fd < 0)
		return err_sys(e, "epoll_create1");
	list_init(&l->timers);
	list_init(&l->ready);
	list_init(&l->fibers);
	list_init(&l->spare);
	*out = TAKE(l);
	return 0;
}

void loop_free(struct loop *l)
{
	if (!l)
		return;
	BUG_ON(!list_empty(&l->fibers));
	fibers_fini(l);
	fd_close(&l->epoll_fd);
	free(l);
}

int loop_add(struct loop *l, struct source *s, struct err *e)
{
	struct epoll_event ev = { .events = s->events, .data.ptr = s };

	BUG_ON(s->added);
	if (epoll_ctl(l->epoll_fd, EPOLL_CTL_ADD, s->fd, &ev) < 0)
		return err_sys(e, "watch descriptor %d", s->fd);
	s->added = true;
	return 0;
}

int loop_modify(struct loop *l, struct source *s, uint32_t events, struct err *e)
{
	struct epoll_event ev = { .events = events, .data.ptr = s };

	if (s->events == events)
		return 0;
	if (epoll_ctl(l->epoll_fd, EPOLL_CTL_MOD, s->fd, &ev) < 0)
		return err_sys(e, "watch descriptor %d", s->fd);
	s->events = events;
	return 0;
}

void loop_remove(struct loop *l, struct source *s)
{
	if (!s->added)
		return;
	s->added = false;
	(void)epoll_ctl(l->epoll_fd, EPOLL_CTL_DEL, s->fd, NULL);
	/* later entries of the batch in hand may name it: blank them, loop_run() skips NULL */
	for (int i = l->at + 1; i < l->n; i++) {
		if (l->batch[i].data.ptr == s)
			l->batch[i].data.ptr = NULL;
	}
}

void timer_clear(struct timer *t)
{
	if (!t->armed)
		return;
	list_remove(&t->node);
	t->armed = false;
}

void timer_set(struct loop *l, struct timer *t, int64_t at)
{
	struct list *behind = &l->timers;

	timer_clear(t);
	if (at == DEADLINE_NONE)
		return;
	t->at = at;
	while (behind->prev != &l->timers &&
	       list_entry(behind->prev, struct timer, node)->at > at)
		behind = behind->prev;
	list_append(behind, &t->node);
	t->armed = true;
}

static void fire_timers(struct loop *l)
{
	int64_t now = time_mono_ms();

	while (!list_empty(&l->timers)) {
		struct timer *t = list_entry(l->timers.next, struct timer, node);

		if (t->at > now)
			break;
		timer_clear(t);
		t->fire(t);
	}
}

static int next_timeout(struct loop *l)
{
	if (l->stopping || !list_empty(&l->ready))
		return 0;
	if (list_empty(&l->timers))
		return -1;
	return deadline_left(list_entry(l->timers.next, struct timer, node)->at);
}

int loop_run(struct loop *l, struct err *e)
{
	l->stopping = false;
	while (!l->stopping) {
		fibers_run_ready(l);
		l->n = epoll_wait(l->epoll_fd, l->batch, LOOP_BATCH, next_timeout(l));
		if (l->n < 0 && errno != EINTR)
			return err_sys(e, "epoll_wait");
		for (l->at = 0; l->at < l->n; l->at++) {
			struct source *s = l->batch[l->at].data.ptr;

			if (s)
				s->ready(s, l->batch[l->at].events);
		}
		l->at = l->n = 0;
		/* after a block what has come in time counts before the time that is over */
		fire_timers(l);
	}
	return 0;
}

void loop_stop(struct loop *l)
{
	l->stopping = true;
}
