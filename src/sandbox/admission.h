/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Who may start a machine now, among all engines of this host: so many at a time, and only
 * while the host has the memory that a starting machine takes. Without that, hundreds that are
 * asked for at once start so slowly that all of them miss their deadlines, or end in the host's
 * memory killer (docs/decisions/0041-admission.md).
 */
#pragma once

#include <stdint.h>

struct err;
struct log_ctx;
struct loop;

struct admission_config {
	const char *base;       /* RUNDIR_BASE; holds a lock file for each place */
	const char *meminfo;    /* "/proc/meminfo" */
	const char *overcommit; /* "/proc/sys/vm/nr_overcommit_hugepages"; may be missing */
	unsigned places;        /* how many may start at the same time; at least 1 */
	uint64_t need_mib;      /* what one takes of the host until its guest is up */
	uint64_t huge_mib; /* what ours takes of the host's pool of huge pages, 0: nothing */
	int64_t deadline;  /* of waiting for both */
	const struct log_ctx *log;
};

struct admission {
	int place_fd; /* -1: none */
};

#define ADMISSION_INIT                                                                         \
	{                                                                                      \
		.place_fd = -1                                                                 \
	}

/*
 * Waits for a place and for memory, for a fiber. ERR_NO_MEMORY: the host has too little even
 * for one alone, or its pool of huge pages has; ERR_TIMEOUT: there were others until the
 * deadline.
 */
int admission_enter(struct loop *l, const struct admission_config *c, struct admission *out,
		    struct err *e);
/* The size of a huge page, of which a machine's memory must be a multiple. ERR_UNSUPPORTED:
 * this kernel has none. */
int admission_huge_page(const char *meminfo, uint64_t *mib, struct err *e);
/* Gives the place to the next; the end of the process does so, too. */
void admission_leave(struct admission *a);

static inline void own_admission(struct admission *a)
{
	admission_leave(a);
}
