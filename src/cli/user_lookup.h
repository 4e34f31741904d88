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
 * cannot be read is none then.
 */
int user_lookup(const struct image *image, const char *text, struct arena *a,
		struct user_ids *out, struct err *e);

/* One line of passwd(5) or group(5) for `key` (a name or a number); see user_lookup.c. */
struct user_entry {
	const char *name, *field[7];
	size_t fields;
};
/* Finds a line by name, or by the number in its third field. Cuts `text` into pieces. */
int user_find_entry(char *text, const char *key, struct user_entry *out);
