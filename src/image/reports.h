/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What an unpacker says (image/unpack/report.h), read by whoever started it. It has eaten
 * foreign bytes: nothing is believed but the form, and the form is bounded.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "base/buf.h"
#include "base/err.h"
#include "image/unpack/report.h"

struct strv;

struct reports {
	struct buf bytes; /* of a record that is not whole yet */
	size_t total;
	bool ended; /* by an error or done record: later bytes are dropped */
	bool failed;
	struct err failure; /* its text quoted, for people */
	struct report_done done;
	struct strv *opaque, *implied; /* where paths go */
};

void reports_init(struct reports *r, struct strv *opaque, struct strv *implied);
void reports_fini(struct reports *r);
/* The next bytes. ERR_PEER: no records, or more of them than there may be. */
int reports_take(struct reports *r, const void *p, size_t len, struct err *e);
