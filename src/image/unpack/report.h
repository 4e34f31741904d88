/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What kata-unpack tells the process that started it, on descriptor UNPACK_REPORT_FD:
 * records of a fixed header and `len` bytes, in host byte order (same machine, same build).
 * The helper has eaten foreign bytes and may be in an enemy's hands: the reader believes
 * nothing but the form, and the form is bounded.
 */
#pragma once

#include <stdint.h>

enum {
	UNPACK_REPORT_FD = 3,
	UNPACK_DIR_FD = 4
};

enum report_type {
	REPORT_ERROR = 1, /* struct report_error, then the text (no NUL); the last record */
	REPORT_OPAQUE,    /* a directory below which lower layers are hidden: its path */
	REPORT_IMPLIED, /* a directory made for its children only, not in the archive: its path
			 */
	REPORT_DONE     /* struct report_done; the last record */
};

struct report_header {
	uint32_t type;
	uint32_t len;
};

struct report_error {
	uint32_t kind; /* enum err_kind */
	int32_t sys;
};

struct report_done {
	uint64_t bytes;   /* written (or produced) */
	uint64_t entries; /* of the archive */
	uint64_t ended;   /* 1: tar's two zero blocks were there */
	/* of a directory that was packed: what is not in it */
	uint64_t sockets, skipped; /* skipped: 1 for unpack_limits' own directory */
};

enum {
	REPORT_MAX_LEN = 8192,
	REPORT_MAX_TOTAL = 64 << 20 /* of all records of one run */
};
