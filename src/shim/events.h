/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Task events for containerd: service containerd.services.events.ttrpc.v1.Events, method
 * Forward, on the socket TTRPC_ADDRESS names. Events are sent in order by a fiber of their
 * own; while containerd is away they wait (at most EVENTS_QUEUE, the oldest are dropped with
 * a warning). Without an address they are only logged.
 */
#pragma once

#include <protobuf-c/protobuf-c.h>

#include "base/own.h"

struct err;
struct events;
struct loop;

enum {
	EVENTS_QUEUE = 2048
};

enum event_type {
	EVENT_CREATE,
	EVENT_START,
	EVENT_EXIT,
	EVENT_DELETE,
	EVENT_OOM,
	EVENT_EXEC_ADDED,
	EVENT_EXEC_STARTED,
	EVENT_PAUSED,
	EVENT_RESUMED,
	EVENT_TYPE_COUNT_
};

int events_new(struct loop *l, const char *address, const char *namespace, struct events **out,
	       struct err *e);
/* Queues an event; `m` is the containerd.events message that belongs to the type. */
void events_send(struct events *ev, enum event_type type, const ProtobufCMessage *m);
/* Waits (in a fiber) until the queue is empty or `deadline` passes. */
void events_drain(struct events *ev, int64_t deadline);
void events_free(struct events *ev);
OWN_DEFINE(events, struct events *, events_free)
