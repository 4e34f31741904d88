/* SPDX-License-Identifier: Apache-2.0 */
/* Operations under failing calls: rows of tables that test_fault.c walks through. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

struct err;

enum op_io {
	IO_NONE,
	IO_WHOLE, /* interrupted only: it uses a signalfd, which knows no short reads */
	IO_SHORT, /* interrupted and cut short */
};

struct op {
	const char *name;
	int (*run)(struct err *e);
	bool local; /* fails with ERR_NO_MEMORY, not with what a peer makes of it */
	enum op_io io;
	bool root; /* works for root only */
	/* Some allocations are only for comfort: without them it succeeds all the same. */
	bool tolerant;
};

extern const struct op host_ops[];
extern const size_t host_op_count;

/* Makes below `top` what the operations of the table need; removed with it. */
int host_ops_prepare(const char *top, struct err *e);
/*
 * This program started as passt: says that it is an old one, or answers the one question it is
 * asked and ends with its peer.
 */
int fake_passt_main(const char *option);
