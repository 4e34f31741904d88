/* SPDX-License-Identifier: Apache-2.0 */
/* The guest's kernel and initrd on this host, and what is known about them. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

struct arena;
struct config_hypervisor;
struct err;
struct kata_config;

struct guest_assets {
	const char *kernel;
	const char *initrd; /* NULL: the guest's root is the image */
	const char
		*extras;   /* a shell for the debug console; NULL: not wanted, or the image's */
	const char *image; /* NULL: it is the initrd */
	const char *image_root;     /* what the kernel calls the image's file system */
	const char *kernel_version; /* "?" for a kernel that came without kernel.info */
	bool is_installed; /* the kernel, whether it is configured by that name or not */
	bool has_virtiofs, has_9p;
	bool has_modules; /* the initrd's: without them the kernel finds no image */
	/*
	 * MiB the guest needs besides what its containers may use, so that a container over its
	 * limit dies alone: measured per kind of kernel (docs/decisions/0010).
	 */
	uint64_t overhead_mib;
};

/*
 * What the configuration names, else what belongs to this installation. Strings live in `a`.
 * ERR_NOT_FOUND says where it was looked for and how to make it.
 */
int guest_assets_find(const struct kata_config *c, struct arena *a, struct guest_assets *out,
		      struct err *e);
/*
 * What kernel.info says of `kernel` (empty: the installed one), as seen by a program in
 * `bindir`. Of a kernel of the user's own nothing is known, and *g stays as it is.
 */
int guest_assets_of_kernel(const char *kernel, const char *bindir, struct arena *a,
			   struct guest_assets *g, struct err *e);
/*
 * What the kernel is told about its root, with a space behind it; "" for an initrd, which it
 * finds by itself. *out lives in `a` or for good.
 */
int guest_assets_root_words(const struct guest_assets *g, const struct config_hypervisor *h,
			    struct arena *a, const char **out, struct err *e);
