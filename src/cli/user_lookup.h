/* SPDX-License-Identifier: Apache-2.0 */
/* A user as -u or an image names it, resolved in the image's own passwd and group files. */
#pragma once

#include <stddef.h>
#include <stdint.h>

struct arena;
struct err;
struct image;

struct user_ids {
	uint32_t uid, gid;
	uint32_t *groups; /* additional ones, in the arena */
	size_t group_count;
};

/*
 * "user", "user:group", names or numbers; "" is root. A name needs the image (ERR_NOT_FOUND
 * says which file lacks it); numbers do not, though an entry gives the group; a file that
 * cannot be read is none then. Whom passwd names has all groups that list that name, so it is
 * an error if those cannot be read. Lines whose numbers are none are passed over.
 */
int user_lookup(const struct image *image, const char *text, struct arena *a,
		struct user_ids *out, struct err *e);
