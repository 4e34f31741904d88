/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A client of QEMU's machine protocol (QMP, docs/interop/qmp-spec.txt of QEMU 7.2) on a
 * connected socket: one JSON object a line. The monitor on the other side runs next to a
 * hostile guest, so its bytes are limited in length and depth, and whatever is not in the
 * protocol ends the connection. Several commands may be in flight; replies are matched by id.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/own.h"

struct err;
struct jval;
struct loop;
struct qmp;

enum {
	QMP_MAX_LINE = 1 << 20,
	QMP_MAX_IN_FLIGHT = 64
};

enum qmp_kind {
	QMP_GREETING,
	QMP_RETURN,
	QMP_ERROR,
	QMP_EVENT
};

/* One message of the monitor; everything points into `tree`. */
struct qmp_message {
	enum qmp_kind kind;
	uint64_t id;              /* RETURN, ERROR */
	const struct jval *value; /* RETURN: what was returned; EVENT: its data or NULL */
	const char *name;         /* EVENT: its name; ERROR: its class */
	const char *text;         /* ERROR: its description */
	struct jval *tree;        /* owned by the caller: jval_free() */
};

/* Decodes one line without its end. ERR_PEER says what is wrong with it. */
int qmp_decode(const char *line, size_t len, struct qmp_message *out, struct err *e);

struct qmp_callbacks {
	/* From the loop, per event, in order. It must not free the qmp. */
	void (*event)(const char *name, const struct jval *data, void *arg);
	/* Once, when the connection has ended; every call in flight fails after it. */
	void (*lost)(const struct err *why, void *arg);
	void *arg;
};

/* Talks on `fd`, which it takes over (closed by qmp_free(), also when this fails). */
int qmp_new(struct loop *l, int fd, const struct qmp_callbacks *cb, struct qmp **out,
	    struct err *e);
/* Calls in flight fail with ERR_CANCELLED. NULL is accepted. */
void qmp_free(struct qmp *q);
OWN_DEFINE(qmp, struct qmp *, qmp_free)

/* Waits for the greeting and enters command mode. First of all, once. */
int qmp_handshake(struct qmp *q, int64_t deadline, struct err *e);

/*
 * Runs one command. `args` (NULL: none) is taken over whatever the outcome. *ret (may be
 * NULL) is owned by the caller. `pass_fd` (-1: none) goes along with the command.
 * Errors: ERR_PEER the connection is gone, ERR_TIMEOUT, and for what the monitor refuses
 * ERR_NOT_FOUND (no such device), ERR_UNSUPPORTED (no such command), else ERR_STATE, with
 * its text. Waits: call in a fiber.
 */
int qmp_execute_fd(struct qmp *q, const char *command, struct jval *args, int pass_fd,
		   int64_t deadline, struct jval **ret, struct err *e);
int qmp_execute(struct qmp *q, const char *command, struct jval *args, int64_t deadline,
		struct jval **ret, struct err *e);
/* Takes in what has already arrived, without waiting: for when the monitor has just ended. */
void qmp_poll(struct qmp *q);
