/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The words of a mount's option list: those of the OCI runtime specification ("Linux mount
 * options", 1.2) and of mount(8) that the kernel understands for every file system. What no
 * row knows is data for the file system.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct err;

enum {
	MOUNT_OPTIONS_MAX = 4095 /* bytes for the file system; Linux: a page, with the NUL */
};

struct mount_options {
	unsigned long flags; /* MS_* for mount(2); MS_BIND and MS_REC for "bind", "rbind" */
	uint64_t attr_set;   /* MOUNT_ATTR_* for mount_setattr(2) of this mount */
	uint64_t attr_clear;
	uint64_t rec_set; /* the same for this mount and all below it ("rro" …) */
	uint64_t rec_clear;
	unsigned long propagation; /* MS_SHARED and the like, with MS_REC; 0: unchanged */
	bool copy_up;              /* "tmpcopyup": the new tmpfs starts with what it covers */
	const char *idmap;         /* "idmap" or "ridmap" if given, else NULL; static */
	const char *
		super_only; /* a flag that a bind mount cannot have ("sync"), or NULL; static */
	char *data;         /* the other words joined with commas, owned; NULL: none */
};

/* ERR_INVALID for an empty word; ERR_NO_MEMORY. *out is the caller's to finish. */
int mount_options_parse(char *const *words, size_t count, struct mount_options *out,
			struct err *e);
void mount_options_fini(struct mount_options *o);
/* Whether a row knows the word. */
bool mount_options_knows(const char *word);
/* The i-th of them, NULL beyond the last. */
const char *mount_options_word(size_t i);
/* Whether it is mount(8)'s "loop" or "loop=DEVICE", which mount(2) does not know. */
bool mount_word_is_loop(const char *word);
/* MS_* of "private", "rshared" …; 0 if it is no such word. */
unsigned long mount_propagation_of(const char *word);

static inline void own_mount_options(struct mount_options *o)
{
	mount_options_fini(o);
}
