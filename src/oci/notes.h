/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Remarks for the log: what a step passed over, dropped or changed. Not an error channel.
 * Every function that takes a `struct oci_notes *` accepts NULL.
 */
#pragma once

#include "base/log.h"

enum {
	/* more than a configuration has keys without effect: a pod's remarks come after those
	 */
	OCI_NOTES_MAX = 128,
	OCI_NOTE_BYTES = 512, /* of one remark, with its NUL */
};

/* Begins as { 0 }. */
struct oci_notes {
	unsigned count; /* remarks made, also those that were not kept */
	unsigned kept;
	char *texts[OCI_NOTES_MAX];
};

/* One that was made already is not made again. What memory does not allow is only counted. */
void oci_note(struct oci_notes *n, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* A record for each, behind what `fmt` says, and one more if some were not kept. */
void oci_notes_log(const struct oci_notes *n, enum log_level level, const struct log_ctx *ctx,
		   const char *fmt, ...) __attribute__((format(printf, 4, 5)));
void oci_notes_fini(struct oci_notes *n);

static inline void own_oci_notes(struct oci_notes *n)
{
	oci_notes_fini(n);
}
