/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the guest's kernel remembers of shared files. virtiofsd keeps each of them open until it
 * is forgotten, which the kernel has no reason to do while there is memory; at virtiofsd's
 * limit every call fails with EMFILE, for good. So the agent has the kernel forget before.
 */
#pragma once

struct err;
struct sandbox;

/*
 * `text` is how many files virtiofsd may have open; from now on a part of them may be
 * remembered. ERR_INVALID if that is no number.
 */
int file_cache_limit(struct sandbox *s, const char *text, struct err *e);
/*
 * Forgets what nobody uses now. Of a container that has been removed: what the host removes of
 * it would keep its room on the host's disk as long as its files are open there.
 */
void file_cache_forget(struct sandbox *s);
/* How many names /proc/sys/fs/dentry-state says are remembered: -1 if it is no such text. */
long long file_cache_count(const char *state);
/* After processors came on-line. */
void file_cache_processors(struct sandbox *s);
void file_cache_stop(struct sandbox *s);
