/* SPDX-License-Identifier: Apache-2.0 */
/*
 * kata-unpack: the confined helper of the layer store, started by it alone.
 *
 *   kata-unpack untar|inflate|pack MAX_BYTES MAX_ENTRIES SKIP_DEV SKIP_INO
 *
 * Everything that parses archives or compressed data runs here and nowhere else. It stays in
 * the "C" locale: there libarchive keeps names as the bytes they are, while in a UTF-8 locale
 * it composes accents, which makes another file of them.
 */
#include "image/unpack/helper.h"

#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/err.h"
#include "base/own.h"
#include "base/str.h"

static int task_untar(const struct unpack_limits *limits, struct report_done *done,
		      struct err *e)
{
	if (confine_root(UNPACK_DIR_FD, 0, e) < 0 ||
	    /* sparse files may claim any size; what they take on disk is counted instead */
	    confine_limits(CONFINE_UNTAR, RLIM_INFINITY, e) < 0 ||
	    confine_drop(CONFINE_UNTAR, e) < 0)
		return -1;
	return untar_run(UNPACK_DIR_FD, limits, done, e);
}

static int task_inflate(const struct unpack_limits *limits, struct report_done *done,
			struct err *e)
{
	/* 0: it writes into a pipe, never a file */
	if (confine_limits(CONFINE_INFLATE, 0, e) < 0 || confine_drop(CONFINE_INFLATE, e) < 0)
		return -1;
	return inflate_run(limits, done, e);
}

static int task_pack(const struct unpack_limits *limits, struct report_done *done,
		     struct err *e)
{
	if (confine_root(UNPACK_DIR_FD, 1, e) < 0 || confine_limits(CONFINE_PACK, 0, e) < 0 ||
	    confine_drop(CONFINE_PACK, e) < 0)
		return -1;
	return pack_run(limits, done, e);
}

static const struct task {
	const char *name;
	int (*run)(const struct unpack_limits *limits, struct report_done *done, struct err *e);
} tasks[] = {
	{ "untar", task_untar },
	{ "inflate", task_inflate },
	{ "pack", task_pack },
};

static int run(int argc, char **argv, struct err *e)
{
	struct unpack_limits limits;
	struct report_done done = { 0 };

	if (argc != 6 ||
	    str_to_u64(argv[2], 0, UINT64_MAX, "MAX_BYTES", &limits.bytes, e) < 0 ||
	    str_to_u64(argv[3], 0, UINT64_MAX, "MAX_ENTRIES", &limits.entries, e) < 0 ||
	    str_to_u64(argv[4], 0, UINT64_MAX, "SKIP_DEV", &limits.skip_dev, e) < 0 ||
	    str_to_u64(argv[5], 0, UINT64_MAX, "SKIP_INO", &limits.skip_ino, e) < 0)
		return err_set(e, ERR_INVALID, 0,
			       "usage: kata-unpack untar|inflate|pack MAX_BYTES MAX_ENTRIES "
			       "SKIP_DEV SKIP_INO (started by kata, not by hand)");
	for (size_t i = 0; i < ARRAY_LEN(tasks); i++) {
		if (strcmp(tasks[i].name, argv[1]) != 0)
			continue;
		if (tasks[i].run(&limits, &done, e) < 0)
			return -1;
		return report_done(&done, e);
	}
	return err_set(e, ERR_INVALID, 0, "kata-unpack: no task '%s'", argv[1]);
}

int main(int argc, char **argv)
{
	struct err e = ERR_INIT;

	if (run(argc, argv, &e) == 0)
		return 0;
	report_error(&e);
	(void)fprintf(stderr, "%s\n", e.msg);
	return 1;
}
