/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The parts of kata-unpack, the helper that alone touches the contents of image archives.
 * It reads descriptor 0 (and, for pack, the tree on UNPACK_DIR_FD), writes descriptor 1 or
 * the tree on UNPACK_DIR_FD, reports on UNPACK_REPORT_FD and can reach nothing else.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "image/unpack/report.h"

struct err;

/* Begins the name of what a layer removes (OCI image specification 1.1, layer.md "Whiteouts").
 */
#define WHITEOUT ".wh."

struct unpack_limits {
	uint64_t bytes;              /* most bytes to write or produce */
	uint64_t entries;            /* most entries of one archive */
	uint64_t skip_dev, skip_ino; /* pack: a directory that is not entered; zeroes: none */
};

/* The tasks; the confinement is in place when they run. */
int untar_run(int root_fd, const struct unpack_limits *limits, struct report_done *done,
	      struct err *e);
int inflate_run(const struct unpack_limits *limits, struct report_done *done, struct err *e);
int pack_run(const struct unpack_limits *limits, struct report_done *done, struct err *e);

/*
 * Makes the tree on `dir_fd` (a mount of its own, cloned by the starter and attached nowhere)
 * the whole visible file system of the mount namespace that the process was started in,
 * optionally read-only, and the working directory. `dir_fd` is the root's from then on.
 */
int confine_root(int dir_fd, int read_only, struct err *e);

enum confine_profile {
	CONFINE_UNTAR,
	CONFINE_INFLATE,
	CONFINE_PACK,
	CONFINE_COUNT_
};

/* Resource limits; memory bounds what a hostile compression window may take. */
int confine_limits(enum confine_profile profile, uint64_t file_bytes, struct err *e);
/* Keeps only the capabilities of the profile, sets no_new_privs, then the system call filter.
 */
int confine_drop(enum confine_profile profile, struct err *e);
/* The filter alone: an allow-list, anything else kills the process. */
int confine_filter(enum confine_profile profile, struct err *e);

/* Records for the starter; failures to report are fatal to the caller alone. */
int report_path(enum report_type type, const char *path, struct err *e);
int report_done(const struct report_done *done, struct err *e);
void report_error(const struct err *failure);
