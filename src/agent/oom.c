/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Containers that ran out of memory: memory.events of each cgroup is watched (the kernel
 * reports a modification when a count grows), and oom_kill compared with what was seen.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <unistd.h>

#include "agent/sandbox.h"
#include "base/err.h"
#include "base/fd.h"
#include "base/mem.h"
#include "base/str.h"
#include "base/time.h"

enum {
	QUEUE_MAX = 1024
};

static uint64_t oom_kills(const struct container *c)
{
	char text[512];
	struct err ignored;
	const char *p;

	if (file_read_line(c->cgroup.fd, "memory.events", text, sizeof(text), &ignored) < 0)
		return 0;
	p = strstr(text, "oom_kill ");
	return p ? strtoull(p + 9, NULL, 10) : 0;
}

static void check_container(struct container *c)
{
	struct sandbox *s = c->sandbox;
	uint64_t now = oom_kills(c);
	struct oom_entry *entry;

	if (now <= c->oom_seen || s->oom_count >= QUEUE_MAX)
		return;
	c->oom_seen = now;
	entry = mem_new(struct oom_entry);
	if (!entry)
		return;
	(void)snprintf(entry->id, sizeof(entry->id), "%s", c->id);
	list_append(&s->oom_queue, &entry->node);
	s->oom_count++;
	cond_wake_one(&s->oom_changed);
	log_warn(&c->log, "a process was killed: the container is out of memory");
}

static void on_event(struct source *src, uint32_t events)
{
	struct sandbox *s = container_of(src, struct sandbox, oom_source);
	char buf[4096] __attribute__((aligned(8)));

	(void)events;
	while (read(src->fd, buf, sizeof(buf)) > 0)
		;
	/* which file it was does not matter: the counts say what is new */
	list_for_each(n, tmp, &s->containers)
		check_container(list_entry(n, struct container, node));
}

int oom_init(struct sandbox *s, struct err *e)
{
	list_init(&s->oom_queue);
	cond_init(&s->oom_changed, s->loop);
	s->oom_fd = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
	if (s->oom_fd < 0)
		return err_sys(e, "inotify");
	s->oom_source =
		(struct source){ .fd = s->oom_fd, .events = EPOLLIN, .ready = on_event };
	return loop_add(s->loop, &s->oom_source, e);
}

void oom_watch(struct container *c)
{
	char path[sizeof(c->cgroup.path) + 16];

	(void)snprintf(path, sizeof(path), "%s/memory.events", c->cgroup.path);
	c->oom_watch = inotify_add_watch(c->sandbox->oom_fd, path, IN_MODIFY);
	if (c->oom_watch < 0)
		log_debug(&c->log, "no memory.events: out of memory is not reported");
}

void oom_unwatch(struct container *c)
{
	if (c->oom_watch < 0)
		return;
	check_container(c); /* the last process' end may be the news */
	(void)inotify_rm_watch(c->sandbox->oom_fd, c->oom_watch);
	c->oom_watch = -1;
}

void oom_check(struct container *c)
{
	if (c->oom_watch >= 0)
		check_container(c);
}

int oom_next(struct sandbox *s, char id_out[ID_MAX + 1], struct err *e)
{
	struct oom_entry *entry;

	while (list_empty(&s->oom_queue)) {
		if (cond_wait(&s->oom_changed, DEADLINE_NONE, e) < 0)
			return -1;
	}
	entry = list_entry(s->oom_queue.next, struct oom_entry, node);
	list_remove(&entry->node);
	s->oom_count--;
	memcpy(id_out, entry->id, sizeof(entry->id));
	free(entry);
	return 0;
}
