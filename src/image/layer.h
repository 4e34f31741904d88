/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One tar stream, compressed or not, into one directory, by confined helper processes: at
 * most one that decompresses and one that unpacks. This process moves the bytes between
 * them and computes the digests on the way, so that a helper overpowered by what it reads
 * can spoil its own directory but cannot pass it off as another layer. It parses nothing.
 *
 * Waits for its children by process id: the caller's process must have no reaper that
 * collects children it does not know (event/child.h) while this runs.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/str.h"
#include "image/digest.h"

struct err;

struct layer_job {
	const char *unpacker; /* absolute path of kata-unpack */
	int input;            /* read to its end; a file, pipe or socket; borrowed */
	bool is_tree;         /* `input` is a directory instead, taken as it stands */
	/* of a tree: a directory (device and inode; zeroes: none) whose contents are left out
	 */
	uint64_t skip_dev, skip_ino;
	int target;         /* the empty directory to fill; borrowed */
	const char *what;   /* names the stream in errors */
	uint64_t max_bytes; /* what may be written */
	int64_t stall_ms;   /* longest time without any progress */
	int stop_fd;        /* see store.h; borrowed; -1: none */
	/* The stream must end in tar's two zero blocks: for those without a known digest. */
	bool need_end_mark;
	void (*progress)(void *arg, uint64_t done); /* bytes of input so far; may be NULL */
	void *progress_arg;
};

/* What of a directory is not in the layer. */
struct left_out {
	uint64_t sockets;
	bool skipped; /* what is in layer_job's own directory */
};

/* Directories (paths inside the target) that need a hand from the caller. */
struct layer_result {
	struct digest blob; /* of the bytes read from `input` (nothing sensible for a tree) */
	struct digest diff; /* of the uncompressed tar stream */
	uint64_t bytes;     /* written, with an allowance for each entry */
	struct left_out left_out;
	struct strv opaque; /* lower layers must not show through: already marked */
	struct strv
		implied; /* made with root's ownership and mode 0755 because nothing was said */
};

void layer_result_fini(struct layer_result *r);
static inline void own_layer_result(struct layer_result *r)
{
	layer_result_fini(r);
}

/*
 * Unpacks. On failure the target holds rubbish for the caller to remove. ERR_INVALID: the
 * archive's fault; ERR_SYS with ENOSPC or EDQUOT: no room; ERR_TIMEOUT: no progress.
 */
int layer_unpack(const struct layer_job *job, struct layer_result *out, struct err *e);
