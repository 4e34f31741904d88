/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The image store of the `kata` command: images loaded from archives, their layers unpacked
 * once and shared. Not a registry client, and not part of the engine, which is given
 * mounted root file systems.
 *
 * Below the root directory (default /var/lib/kata), all of it root's alone:
 *
 *   version           the format; a store of another one is refused and left untouched
 *   images/<id>/      config.json as loaded, record.json: what this store knows besides
 *   images/refs.json  reference -> image id
 *   layers/<key>/     an unpacked layer, ready as overlayfs lower directory; <key> are the
 *                     first 32 digits of its chain id, <key>.size its size
 *   leases/<name>     the image a container was made from
 *   tmp/<random>/     work in progress, locked by its owner; swept when the owner is dead
 *   lock, loads       flock(2)ed: every change; by loads in progress
 *
 * Whatever becomes visible does so by rename(2) under the lock, layers before the image and
 * the image before its references, so that a crash leaves at worst layers without an image,
 * which the next sweep removes. Any number of processes may work at once.
 *
 * Functions that unpack wait for child processes by their ids: see image/layer.h.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/mem.h"
#include "base/own.h"
#include "base/str.h"
#include "image/digest.h"
#include "image/manifest.h"

struct err;
struct store;

#define STORE_DEFAULT_ROOT "/var/lib/kata"

struct store_config {
	const char *root;     /* absolute; NULL: STORE_DEFAULT_ROOT */
	const char *unpacker; /* absolute path of kata-unpack; needed for loading only */
};

/*
 * Opens the store, making it if there is none, and sweeps what dead processes left.
 * ERR_DENIED: the caller is not root (layers hold files of any owner, devices and overlay
 * marks, which only root can make). ERR_UNSUPPORTED: a store of another format.
 */
int store_open(const struct store_config *config, struct store **out, struct err *e);
/* ERR_UNSUPPORTED: a store of another format is there. None at all is no error. */
int store_check(const char *root, struct err *e);
/*
 * From when `fd` (a signalfd; borrowed) can be read from, loading and waiting for locks end
 * with ERR_CANCELLED.
 */
void store_stop_on(struct store *s, int fd);
void store_close(struct store *s);
OWN_DEFINE(store, struct store *, store_close)

struct image {
	char id[DIGEST_TEXT_SIZE];       /* "sha256:…" of the configuration */
	char manifest[DIGEST_TEXT_SIZE]; /* digest of the OCI manifest it came with, or "" */
	struct string_list refs;         /* canonical, sorted; may be empty */
	struct image_config config;
	struct string_list
		layers;     /* absolute paths, bottom to top: overlayfs wants the reverse */
	uint64_t size;      /* bytes of all layers on disk, roughly */
	int64_t loaded_ns;  /* wall clock */
	struct arena arena; /* owns all of the above */
};
void image_free(struct image *image);
OWN_DEFINE(image, struct image *, image_free)

/*
 * Finds by reference ("busybox"), by id, or by a prefix of an id that fits one image only.
 * ERR_NOT_FOUND names what was asked for; ERR_INVALID: no valid reference, or ambiguous.
 */
int store_find(struct store *s, const char *name, struct image **out, struct err *e);

/* All images, newest first; stops when `each` returns non-zero and gives that back (or -1). */
int store_list(struct store *s, int (*each)(void *arg, const struct image *image), void *arg,
	       struct err *e);

enum load_phase {
	LOAD_READING, /* the archive is being taken apart */
	LOAD_LAYER,   /* layer `index` of `count` is being unpacked */
	LOAD_STORING  /* the result is being made permanent */
};

struct load_progress {
	enum load_phase phase;
	const char *image;    /* a reference, an id or "" while unknown */
	size_t index, count;  /* from 1 */
	uint64_t done, total; /* bytes of input; total 0: unknown (a pipe) */
};

struct load_options {
	/*
	 * The reference for a root file system, which must have one, or for the one image of
	 * an archive, instead of the names it carries. NULL: the archive's own names.
	 */
	const char *name;
	void (*progress)(void *arg, const struct load_progress *p); /* may be NULL */
	void *progress_arg;
	int64_t stall_ms; /* longest wait without any progress; 0: five minutes */
};

struct loaded_image {
	char id[DIGEST_TEXT_SIZE];
	struct strv refs; /* now naming it; may be empty */
};

struct load_result {
	struct loaded_image *images;
	size_t n;
	/* what of a root file system's directory was left out */
	uint64_t left_mounts, left_sockets;
	bool left_store; /* this store itself */
};
void load_result_fini(struct load_result *r);
static inline void own_load_result(struct load_result *r)
{
	load_result_fini(r);
}

/*
 * Loads every image of an archive: docker-archive, OCI archive, tar of a root file system
 * (each of them compressed or not, seekable or not), OCI layout or root file system
 * directory; told apart by content. All or nothing: on failure the store is as before.
 * ERR_INVALID: the archive's fault, named; ERR_SYS with ENOSPC: the message names the file
 * system and its space.
 */
int store_load(struct store *s, int fd, const struct load_options *options,
	       struct load_result *out, struct err *e);
/* The same from a path; "-" is standard input. */
int store_load_path(struct store *s, const char *path, const struct load_options *options,
		    struct load_result *out, struct err *e);

struct remove_result {
	struct strv untagged;      /* references that are gone */
	bool deleted;              /* the image is gone too … */
	char id[DIGEST_TEXT_SIZE]; /* … with this id */
};
void remove_result_fini(struct remove_result *r);
static inline void own_remove_result(struct remove_result *r)
{
	remove_result_fini(r);
}

/*
 * Takes away the reference given, and with the last reference the image and the layers no
 * other image has. Given an id, all references of the image. ERR_STATE: an id with several
 * references, or a lease; with `force` all references go, and a leased image stays without
 * a name until it is removed again by id.
 */
int store_remove(struct store *s, const char *name, bool force, struct remove_result *out,
		 struct err *e);

/* Keeps an image (by its id) as long as the container exists. ERR_EXISTS: another lease. */
int store_lease(struct store *s, const char *container, const char *image_id, struct err *e);
/* A lease that does not exist is success. */
int store_unlease(struct store *s, const char *container, struct err *e);
