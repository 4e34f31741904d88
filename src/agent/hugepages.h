/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Huge pages of the guest: they are set aside for a container when it is made, as many as its
 * linux.resources.hugepageLimits allow it. On a host an administrator does that at the boot,
 * and limits only divide what there is; a guest starts with none.
 */
#pragma once

#include <stdint.h>

struct container;
struct err;
typedef struct Grpc__LinuxResources Grpc__LinuxResources;

enum {
	HUGE_SIZES = 4 /* kinds of pages that a container may have */
};

struct hugepages {
	struct {
		uint64_t kib;   /* of one page; 0: the rest is not used */
		uint64_t count; /* set aside for the container */
	} of[HUGE_SIZES];
};

/* "2MB", as file names of cgroup v2 and the specification have it; ERR_INVALID. */
int hugepages_size_parse(const char *text, uint64_t *kib_out, struct err *e);
/*
 * ERR_UNSUPPORTED if the guest has no pages of a size, ERR_NO_MEMORY if it has no room for so
 * many. Call hugepages_give_back() whatever comes of it.
 */
int hugepages_take(const Grpc__LinuxResources *r, struct hugepages *out, struct err *e);
void hugepages_give_back(struct hugepages *h);
