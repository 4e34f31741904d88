/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The event loop: one epoll per process, level-triggered, with timers. Sources and timers
 * are embedded in their owners; a source may be added, changed or removed from within any
 * callback. Blocking-style code runs in fibers on top of it (event/fiber.h).
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/epoll.h>

#include "base/list.h"

struct err;
struct loop;

/* A descriptor that is watched. The owner keeps the descriptor and closes it after removal. */
struct source {
	int fd;
	uint32_t events; /* EPOLLIN, EPOLLOUT …; EPOLLHUP and EPOLLERR always come */
	void (*ready)(struct source *s, uint32_t events);
	bool added; /* kept by the loop */
};

/* A one-shot alarm. Zero is an idle timer. */
struct timer {
	struct list node;
	int64_t at; /* deadline, see base/time.h */
	void (*fire)(struct timer *t);
	bool armed; /* kept by the loop */
};

int loop_new(struct loop **out, struct err *e);
/* No fiber may be left, and every source must have been removed. NULL is accepted. */
void loop_free(struct loop *l);

int loop_add(struct loop *l, struct source *s, struct err *e);
int loop_modify(struct loop *l, struct source *s, uint32_t events, struct err *e);
/* Harmless if `s` is not in the loop. */
void loop_remove(struct loop *l, struct source *s);

/* Arms or re-arms; DEADLINE_NONE disarms. */
void timer_set(struct loop *l, struct timer *t, int64_t at);
void timer_clear(struct timer *t);

/* Runs until loop_stop(); -1 only when epoll itself fails. */
int loop_run(struct loop *l, struct err *e);
/* Ends loop_run() after the present turn. */
void loop_stop(struct loop *l);

OWN_DEFINE(loop, struct loop *, loop_free)
