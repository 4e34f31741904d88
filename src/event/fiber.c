/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Fibers. The loop's own stack is the only one that resumes fibers: a fiber switches to it
 * when it waits or ends, never to another fiber, so the depth is always two.
 *
 * State of a fiber: in loop->ready (will be resumed), or waiting (in a cond's list, and with
 * an armed timer if it has a deadline), or running (loop->current). wake() moves it from
 * waiting to ready and is the only way out of a wait; `woken_by` says why.
 * tests/unit/test_fiber.c walks through each of these.
 */
#include "event/fiber.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/err.h"
#include "base/mem.h"
#include "base/own.h"
#include "base/time.h"
#include "event/fiber_context.h"
#include "event/loop_internal.h"

enum {
	STACK_SIZE = 256 * 1024, /* address space; only touched pages cost memory */
	GUARD_SIZE = 4096,
	SPARE_MAX = 8,
};

enum wake_reason {
	WOKEN_BY_EVENT,
	WOKEN_BY_DEADLINE,
	WOKEN_BY_CANCEL
};

struct fiber {
	struct list all;   /* in loop->fibers */
	struct list queue; /* in loop->ready, in a cond's waiters, or in neither */
	struct list spare; /* in loop->spare when the stack is to be used again */
	struct loop *loop;
	const char *name;
	fiber_fn fn;
	void *arg;
	void *context; /* stack pointer while it does not run */
	void *stack;   /* lowest address, guard page included */
	void *san;
	struct timer timer;
	enum wake_reason woken_by;
	unsigned shield;
	bool waiting, cancelled, done;
};

/* fiber_entry() has no arguments: the loop that resumes leaves itself here. */
static _Thread_local struct loop *entering;

static void wake(struct fiber *f, enum wake_reason why)
{
	if (!f->waiting)
		return;
	f->waiting = false;
	f->woken_by = why;
	timer_clear(&f->timer);
	list_remove(&f->queue);
	list_append(&f->loop->ready, &f->queue);
}

static void on_deadline(struct timer *t)
{
	wake(container_of(t, struct fiber, timer), WOKEN_BY_DEADLINE);
}

static void *fiber_top(struct fiber *f)
{
	return (char *)f->stack + GUARD_SIZE + STACK_SIZE;
}

/* From a fiber back to the loop's stack. `ends`: its own stack will not be used again. */
static void switch_to_loop(struct fiber *f, bool ends)
{
	struct loop *l = f->loop;

	fiber_san_leave(ends ? NULL : &f->san, l->main_bottom, l->main_size);
	fiber_switch_stack(&f->context, l->main_context);
	fiber_san_enter(f->san, &l->main_bottom, &l->main_size);
}

void fiber_entry(void)
{
	struct fiber *f = entering->current;

	fiber_san_enter(NULL, &f->loop->main_bottom, &f->loop->main_size);
	f->fn(f->arg);
	f->done = true;
	switch_to_loop(f, true);
	BUG_ON(true); /* a fiber that is done is never resumed */
}

static struct fiber *fiber_alloc(struct loop *l)
{
	struct fiber *f;

	if (!list_empty(&l->spare)) {
		f = list_entry(l->spare.next, struct fiber, spare);
		list_remove(&f->spare);
		l->spare_count--;
		return f;
	}
	f = mem_new(struct fiber);
	if (!f)
		return NULL;
	f->stack = mmap(NULL, GUARD_SIZE + STACK_SIZE, PROT_READ | PROT_WRITE,
			MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_STACK, -1, 0);
	if (f->stack == MAP_FAILED || mprotect(f->stack, GUARD_SIZE, PROT_NONE) < 0) {
		if (f->stack != MAP_FAILED)
			(void)munmap(f->stack, GUARD_SIZE + STACK_SIZE);
		free(f);
		return NULL;
	}
	return f;
}

static void fiber_destroy(struct fiber *f)
{
	(void)munmap(f->stack, GUARD_SIZE + STACK_SIZE);
	free(f);
}

static void fiber_retire(struct fiber *f)
{
	struct loop *l = f->loop;

	list_remove(&f->all);
	if (l->spare_count >= SPARE_MAX) {
		fiber_destroy(f);
		return;
	}
	list_append(&l->spare, &f->spare);
	l->spare_count++;
}

int fiber_spawn(struct loop *l, const char *name, fiber_fn fn, void *arg, struct fiber **out,
		struct err *e)
{
	struct fiber *f = fiber_alloc(l);
	void *stack;

	if (!f)
		return err_oom(e, "a fiber");
	stack = f->stack;
	*f = (struct fiber){ .loop = l, .name = name, .fn = fn, .arg = arg, .stack = stack };
	f->timer.fire = on_deadline;
	f->context = fiber_prepare_stack(fiber_top(f));
	list_init(&f->spare);
	list_append(&l->fibers, &f->all);
	list_append(&l->ready, &f->queue);
	if (out)
		*out = f;
	return 0;
}

struct fiber *fiber_self(struct loop *l)
{
	return l->current;
}

static void resume(struct loop *l, struct fiber *f)
{
	void *san = NULL;

	l->current = f;
	entering = l;
	fiber_san_leave(&san, (char *)f->stack + GUARD_SIZE, STACK_SIZE);
	fiber_switch_stack(&l->main_context, f->context);
	fiber_san_enter(san, NULL, NULL);
	l->current = NULL;
	if (f->done)
		fiber_retire(f);
}

void fibers_run_ready(struct loop *l)
{
	struct list batch;

	/* those that get ready meanwhile wait for the next turn: descriptors are not starved */
	list_init(&batch);
	while (!list_empty(&l->ready)) {
		struct list *n = l->ready.next;

		list_remove(n);
		list_append(&batch, n);
	}
	while (!list_empty(&batch)) {
		struct fiber *f = list_entry(batch.next, struct fiber, queue);

		list_remove(&f->queue);
		resume(l, f);
	}
}

void fibers_fini(struct loop *l)
{
	list_for_each(n, tmp, &l->spare) {
		struct fiber *f = list_entry(n, struct fiber, spare);

		list_remove(n);
		fiber_destroy(f);
	}
	l->spare_count = 0;
}

void fiber_cancel(struct fiber *f)
{
	f->cancelled = true;
	if (!f->shield)
		wake(f, WOKEN_BY_CANCEL);
}

bool fiber_is_cancelled(const struct fiber *f)
{
	return f->cancelled;
}

void fiber_shield(struct loop *l, bool on)
{
	BUG_ON(!l->current);
	BUG_ON(!on && l->current->shield == 0);
	l->current->shield += on ? 1u : -1u;
}

/* Waits in `waiters` (or nowhere) until woken. */
static int fiber_wait(struct loop *l, struct list *waiters, int64_t deadline, struct err *e)
{
	struct fiber *f = l->current;

	BUG_ON(!f); /* only a fiber can wait */
	if (f->cancelled && !f->shield)
		return err_set(e, ERR_CANCELLED, 0, "cancelled");
	f->waiting = true;
	list_init(&f->queue);
	if (waiters)
		list_append(waiters, &f->queue);
	timer_set(l, &f->timer, deadline);
	switch_to_loop(f, false);
	switch (f->woken_by) {
	case WOKEN_BY_EVENT:
		return 0;
	case WOKEN_BY_DEADLINE:
		return err_set(e, ERR_TIMEOUT, 0, "timed out");
	case WOKEN_BY_CANCEL:
		break;
	}
	return err_set(e, ERR_CANCELLED, 0, "cancelled");
}

void cond_init(struct cond *c, struct loop *l)
{
	c->loop = l;
	list_init(&c->waiters);
}

int cond_wait(struct cond *c, int64_t deadline, struct err *e)
{
	return fiber_wait(c->loop, &c->waiters, deadline, e);
}

void cond_wake_one(struct cond *c)
{
	if (!list_empty(&c->waiters))
		wake(list_entry(c->waiters.next, struct fiber, queue), WOKEN_BY_EVENT);
}

void cond_wake_all(struct cond *c)
{
	while (!list_empty(&c->waiters))
		cond_wake_one(c);
}

struct fd_waiter {
	struct source source;
	struct fiber *fiber;
};

static void fd_waiter_ready(struct source *s, uint32_t events)
{
	(void)events;
	wake(container_of(s, struct fd_waiter, source)->fiber, WOKEN_BY_EVENT);
}

int fiber_wait_fd(struct loop *l, int fd, uint32_t events, int64_t deadline, struct err *e)
{
	struct fd_waiter w = {
		.source = { .fd = fd, .events = events, .ready = fd_waiter_ready },
		.fiber = l->current,
	};
	int rc;

	if (loop_add(l, &w.source, e) < 0)
		return -1;
	rc = fiber_wait(l, NULL, deadline, e);
	loop_remove(l, &w.source);
	return rc;
}

int fiber_sleep(struct loop *l, int64_t ms, struct err *e)
{
	if (fiber_wait(l, NULL, deadline_in(ms < 0 ? 0 : ms), e) < 0 && e->kind != ERR_TIMEOUT)
		return -1;
	err_clear(e);
	return 0;
}

int fiber_read(struct loop *l, int fd, void *p, size_t size, int64_t deadline, size_t *got,
	       struct err *e)
{
	for (;;) {
		ssize_t n = read(fd, p, size);

		if (n >= 0) {
			*got = (size_t)n;
			return 0;
		}
		if (errno == EINTR)
			continue;
		if (errno != EAGAIN)
			return err_sys(e, "read");
		if (fiber_wait_fd(l, fd, EPOLLIN, deadline, e) < 0)
			return -1;
	}
}

int fiber_write_all(struct loop *l, int fd, const void *p, size_t len, int64_t deadline,
		    struct err *e)
{
	const char *s = p;

	while (len) {
		ssize_t n = write(fd, s, len);

		if (n >= 0) {
			s += n;
			len -= (size_t)n;
			continue;
		}
		if (errno == EINTR)
			continue;
		if (errno != EAGAIN)
			return err_sys(e, "write");
		if (fiber_wait_fd(l, fd, EPOLLOUT, deadline, e) < 0)
			return -1;
	}
	return 0;
}

struct main_flow {
	struct loop *loop;
	fiber_fn fn;
	void *arg;
};

static void main_flow_run(void *arg)
{
	struct main_flow *m = arg;

	m->fn(m->arg);
	loop_stop(m->loop);
}

int fiber_main(struct loop *l, fiber_fn fn, void *arg, struct err *e)
{
	struct main_flow m = { .loop = l, .fn = fn, .arg = arg };

	if (fiber_spawn(l, "main", main_flow_run, &m, NULL, e) < 0)
		return -1;
	return loop_run(l, e);
}
