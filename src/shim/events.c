/* SPDX-License-Identifier: Apache-2.0 */
/* The event queue and the fiber that empties it. */
#include "shim/events.h"

#include <assert.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/str.h"
#include "base/time.h"
#include "event/fiber.h"
#include "event/loop.h"
#include "events.pb-c.h"
#include "wire/message.h"
#include "wire/ttrpc.h"
#include "wire/unix_socket.h"

enum {
	CALL_MS = 10 * 1000,
	RETRY_MS = 500
};

static const struct {
	const char *topic;
	const ProtobufCMessageDescriptor *message;
} types[] = {
	[EVENT_CREATE] = { "/tasks/create", &containerd__events__task_create__descriptor },
	[EVENT_START] = { "/tasks/start", &containerd__events__task_start__descriptor },
	[EVENT_EXIT] = { "/tasks/exit", &containerd__events__task_exit__descriptor },
	[EVENT_DELETE] = { "/tasks/delete", &containerd__events__task_delete__descriptor },
	[EVENT_OOM] = { "/tasks/oom", &containerd__events__task_oom__descriptor },
	[EVENT_EXEC_ADDED] = { "/tasks/exec-added",
			       &containerd__events__task_exec_added__descriptor },
	[EVENT_EXEC_STARTED] = { "/tasks/exec-started",
				 &containerd__events__task_exec_started__descriptor },
	[EVENT_PAUSED] = { "/tasks/paused", &containerd__events__task_paused__descriptor },
	[EVENT_RESUMED] = { "/tasks/resumed", &containerd__events__task_resumed__descriptor },
};
static_assert(ARRAY_LEN(types) == EVENT_TYPE_COUNT_, "every event needs a topic");

static const struct ttrpc_method forward = {
	.name = "Forward",
	.request = &containerd__events__forward_request__descriptor,
	.response = &google__protobuf__empty__descriptor,
};

struct item {
	struct list node;
	enum event_type type;
	int64_t at;
	struct buf payload;
};

struct events {
	struct loop *loop;
	char *address, *namespace;
	struct list queue;
	unsigned count;
	struct cond changed;
	struct fiber *fiber;
	struct ttrpc_conn *conn;
};

static void item_free(struct item *it)
{
	buf_fini(&it->payload);
	free(it);
}

static int connect_containerd(struct events *ev, struct err *e)
{
	struct ttrpc_options o = { 0 };
	int fd;

	if (ev->conn && ttrpc_conn_is_open(ev->conn))
		return 0;
	ttrpc_conn_free(TAKE(ev->conn));
	if (unix_connect(ev->address, &fd, e) < 0)
		return -1;
	return ttrpc_conn_new(ev->loop, fd, &o, &ev->conn, e);
}

static int send_item(struct events *ev, struct item *it, struct err *e)
{
	Containerd__Events__ForwardRequest req = CONTAINERD__EVENTS__FORWARD_REQUEST__INIT;
	Containerd__Events__Envelope env = CONTAINERD__EVENTS__ENVELOPE__INIT;
	Google__Protobuf__Timestamp at = GOOGLE__PROTOBUF__TIMESTAMP__INIT;
	Google__Protobuf__Any any = GOOGLE__PROTOBUF__ANY__INIT;

	at.seconds = it->at / 1000000000;
	at.nanos = (int32_t)(it->at % 1000000000);
	any.type_url = (char *)(uintptr_t)types[it->type].message->name;
	any.value.data = buf_head(&it->payload);
	any.value.len = buf_len(&it->payload);
	env.timestamp = &at;
	env.namespace_ = ev->namespace;
	env.topic = (char *)(uintptr_t)types[it->type].topic;
	env.event = &any;
	req.envelope = &env;
	if (connect_containerd(ev, e) < 0)
		return -1;
	return ttrpc_call(ev->conn, "containerd.services.events.ttrpc.v1.Events", &forward,
			  &req, CALL_MS, NULL, NULL, e);
}

/* Sends the queue's head until it is through; an answer that refuses it is final. */
static int deliver_head(struct events *ev, struct err *e)
{
	struct item *it = list_entry(ev->queue.next, struct item, node);

	list_remove(&it->node);
	while (*ev->address && send_item(ev, it, e) < 0) {
		if (e->kind != ERR_PEER && e->kind != ERR_SYS && e->kind != ERR_TIMEOUT &&
		    e->kind != ERR_NOT_FOUND) {
			log_warn(NULL, "event %s: %s", types[it->type].topic, e->msg);
			break;
		}
		if (fiber_sleep(ev->loop, RETRY_MS, e) < 0) {
			item_free(it);
			return -1;
		}
	}
	ev->count--;
	item_free(it);
	cond_wake_all(&ev->changed);
	return 0;
}

static void events_release(struct events *ev)
{
	list_for_each(n, tmp, &ev->queue) {
		list_remove(n);
		item_free(list_entry(n, struct item, node));
	}
	ttrpc_conn_free(ev->conn);
	free(ev->address);
	free(ev->namespace);
	free(ev);
}

static void events_run(void *arg)
{
	struct events *ev = arg;
	struct err e;
	int rc = 0;

	while (rc == 0) {
		rc = list_empty(&ev->queue) ? cond_wait(&ev->changed, DEADLINE_NONE, &e)
					    : deliver_head(ev, &e);
	}
	events_release(ev);
}

int events_new(struct loop *l, const char *address, const char *namespace, struct events **out,
	       struct err *e)
{
	struct events *ev = mem_new(struct events);

	if (!ev)
		return err_oom(e, "events");
	ev->loop = l;
	list_init(&ev->queue);
	cond_init(&ev->changed, l);
	ev->address = strdup(address);
	ev->namespace = strdup(namespace);
	if (!ev->address || !ev->namespace) {
		err_oom(e, "events");
		goto fail;
	}
	if (fiber_spawn(l, "events", events_run, ev, &ev->fiber, e) < 0)
		goto fail;
	*out = ev;
	return 0;
fail:
	events_release(ev);
	return -1;
}

void events_send(struct events *ev, enum event_type type, const ProtobufCMessage *m)
{
	struct item *it = mem_new(struct item);
	struct err e = ERR_INIT;

	BUG_ON(m->descriptor != types[type].message);
	log_debug(NULL, "event %s", types[type].topic);
	if (!it || message_encode(m, &it->payload, &e) < 0) {
		log_error(NULL, "event %s is lost: out of memory", types[type].topic);
		if (it)
			item_free(it);
		return;
	}
	it->type = type;
	it->at = time_wall_ns();
	if (ev->count >= EVENTS_QUEUE && !list_empty(&ev->queue)) {
		struct item *old = list_entry(ev->queue.next, struct item, node);

		log_warn(NULL, "event %s is dropped: containerd takes none",
			 types[old->type].topic);
		list_remove(&old->node);
		item_free(old);
		ev->count--;
	}
	list_append(&ev->queue, &it->node);
	ev->count++;
	cond_wake_all(&ev->changed);
}

void events_drain(struct events *ev, int64_t deadline)
{
	struct err e;

	while (ev->count && cond_wait(&ev->changed, deadline, &e) == 0)
		;
}

void events_free(struct events *ev)
{
	if (ev)
		fiber_cancel(ev->fiber); /* it releases everything on its way out */
}
