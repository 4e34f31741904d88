/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where things are installed, seen from the running program: <prefix>/bin/<program> finds
 * <prefix>/share/kata-containers and <prefix>/libexec, a program in the build tree finds the
 * guest beside it (build/bin and build/guest). Nothing is compiled in, so that a directory can
 * be moved.
 */
#pragma once

struct arena;
struct err;

enum asset {
	ASSET_KERNEL,
	ASSET_KERNEL_INFO, /* what guest/prepare wrote about the kernel */
	ASSET_INITRD,
	ASSET_INITRD_EXTRAS,
	ASSET_IMAGE,
	ASSET_BUSYBOX, /* the image archive for a first run */
	ASSET_SHIM,
	ASSET_LIBEXEC_DIR, /* helpers of ours */
	ASSET_VIRTIOFSD,
	ASSET_COUNT_
};

/* The directory that holds the running program, in `a`. */
int paths_program_dir(struct arena *a, const char **out, struct err *e);
/*
 * The first of the asset's places that exists: those of this installation, then those of the
 * host. ERR_NOT_FOUND names the asset and where it was looked for.
 */
int paths_find(enum asset what, struct arena *a, const char **out, struct err *e);
/* The same as seen by a program in `bindir`. */
int paths_find_from(enum asset what, const char *bindir, struct arena *a, const char **out,
		    struct err *e);

/*
 * A program of this project beside the running one (bin) or among its helpers (libexec):
 * malloc'd absolute paths. ERR_NOT_FOUND if it is not installed.
 */
int paths_bin(const char *program, char **out, struct err *e);
int paths_libexec(const char *program, char **out, struct err *e);
