/* SPDX-License-Identifier: Apache-2.0 */
/* Intrusive doubly linked list. A node points at itself while it is in no list. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "base/own.h"

struct list {
	struct list *prev;
	struct list *next;
};

static inline void list_init(struct list *l)
{
	l->prev = l->next = l;
}

static inline bool list_empty(const struct list *l)
{
	return l->next == l;
}

/* Appends `n` at the end of `l`. */
static inline void list_append(struct list *l, struct list *n)
{
	n->prev = l->prev;
	n->next = l;
	l->prev->next = n;
	l->prev = n;
}

/* Takes `n` out of its list; harmless if it is in none (but initialised). */
static inline void list_remove(struct list *n)
{
	n->prev->next = n->next;
	n->next->prev = n->prev;
	list_init(n);
}

#define list_entry(ptr, type, member) container_of(ptr, type, member)

/* `tmp` lets the body remove the current entry (and no other). */
#define list_for_each(pos, tmp, head)                                                          \
	for (struct list *pos = (head)->next, *tmp = pos->next; pos != (head);                 \
	     pos = tmp, tmp = pos->next)
