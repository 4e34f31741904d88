/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Users by name, from the container's own /etc/passwd and /etc/group: libc's lookups would
 * ask the guest's. The parsers are pure functions over bytes of the (hostile) files.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

struct err;

enum {
	IDENTITY_GROUPS_MAX = 1024,
	IDENTITY_HOME_MAX = 256
};

struct identity {
	uid_t uid;
	gid_t gid;
	gid_t groups[IDENTITY_GROUPS_MAX];
	size_t group_count;
	char home[IDENTITY_HOME_MAX]; /* "" if the user has no line in passwd */
};

struct passwd_line {
	const char *name, *home;
	size_t name_len, home_len;
	uid_t uid;
	gid_t gid;
};

/* The line of the user called `name`, or whose number it is if no name matches and it is one.
 */
bool passwd_find(const char *text, size_t len, const char *name, struct passwd_line *out);
bool passwd_find_uid(const char *text, size_t len, uid_t uid, struct passwd_line *out);
/* The number of the group called `name` (or, if none is, that number itself). */
bool group_find(const char *text, size_t len, const char *name, gid_t *out);
/* Adds the groups that list `user` as a member; -1 when there are too many. */
int group_add_memberships(const char *text, size_t len, const char *user, size_t user_len,
			  struct identity *id, struct err *e);
/* A decimal number below 2^32-1. */
bool id_parse(const char *s, size_t len, unsigned *out);

/*
 * Looks `user` and `group` ("": the user's own) and further groups up in the root file system
 * of `rootfd`. ERR_INVALID naming what is unknown.
 */
int identity_by_name(int rootfd, const char *user, const char *group, char *const *more,
		     size_t more_count, struct identity *out, struct err *e);
/*
 * Fills in id->home from passwd, if the user has a line there. A file that cannot be read has
 * none: who is known by number needs no name.
 */
void identity_find_home(int rootfd, struct identity *id);
