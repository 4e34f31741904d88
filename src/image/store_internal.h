/* SPDX-License-Identifier: Apache-2.0 */
/* Shared by the store's own files: opening and locks, catalog of images, loading. */
#pragma once

#include "image/store.h"

enum {
	LAYER_KEY_LEN = 32,
	STAGING_NAME_SIZE = 33
};

struct store {
	char *root;
	char *unpacker; /* NULL: none given */
	int root_fd, images_fd, layers_fd, leases_fd, tmp_fd;
	int stop_fd; /* see store_stop_on(); -1: none */
};

/* A directory of one's own below tmp/, locked as long as `fd` is open. */
struct staging {
	struct store *store;
	char name[STAGING_NAME_SIZE];
	int fd; /* -1: none */
};

/* Waits so long (0: not at all); ERR_CANCELLED if it is to stop. */
int store_pause(const struct store *s, int ms, struct err *e);

/* The lock of every change: closes to unlock. ERR_TIMEOUT after half a minute. */
int store_lock(struct store *s, int *out, struct err *e);
/* Shared by loads; whoever gets it alone (0 with *out >= 0, else -1 there) may remove layers.
 */
int store_lock_loads(struct store *s, int *out, struct err *e);
int store_try_loads(struct store *s, int *out, struct err *e);

int staging_open(struct store *s, struct staging *out, struct err *e);
/*
 * The same out of a directory that is there: it goes to the work directories under another
 * name, which needs no room. The caller holds the store's lock.
 */
int staging_adopt(struct store *s, int from, const char *name, struct staging *out,
		  struct err *e);
/* Removes it with all it holds. */
void staging_close(struct staging *st);
static inline void own_staging(struct staging *st)
{
	staging_close(st);
}

/* Removes layers without an image, if no load is running. Call without locks. */
int store_sweep_layers(struct store *s, struct err *e);

/* Bytes that may be written, a reserve kept back. */
int store_free_bytes(struct store *s, uint64_t *out, struct err *e);
/* Adds the file system and its space to an error that is about space. */
int store_explain(struct store *s, struct err *e);

void layer_key(const struct digest *chain, char out[LAYER_KEY_LEN + 1]);

/* The references, as read from refs.json; sorted. Images that are gone are left out. */
struct ref_entry {
	char *text;
	char id[DIGEST_HEX_SIZE];
};
struct ref_table {
	struct ref_entry *v;
	size_t n;
};
void ref_table_fini(struct ref_table *t);
static inline void own_ref_table(struct ref_table *t)
{
	ref_table_fini(t);
}
int ref_table_read(struct store *s, struct ref_table *out, struct err *e);
int ref_table_write(struct store *s, const struct ref_table *t, struct err *e);
/* Points a reference at an image, whatever it named before. */
int ref_table_set(struct ref_table *t, const char *text, const char *id, struct err *e);
void ref_table_drop(struct ref_table *t, size_t i);

/* Ids (64 digits) of all images. */
int catalog_ids(struct store *s, struct strv *out, struct err *e);
/* One image by its full id, with its references from `refs`. */
int catalog_read(struct store *s, const char *hex, const struct ref_table *refs,
		 struct image **out, struct err *e);
/* Finds by what people write; *tag (may be NULL) says that it was a reference. */
int catalog_resolve(struct store *s, const char *name, const struct ref_table *refs,
		    char hex[DIGEST_HEX_SIZE], bool *by_ref, struct err *e);
