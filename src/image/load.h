/* SPDX-License-Identifier: Apache-2.0 */
/* What the files that load images share: one load in progress. Not for others. */
#pragma once

#include "image/layer.h"
#include "image/reference.h"
#include "image/store_internal.h"

/* An image whose layers and record lie in the staging, to be committed. */
struct pending_image {
	char hex[DIGEST_HEX_SIZE];
	struct strv refs; /* canonical */
	struct strv keys; /* of its layers */
	bool moved;       /* now in the store and not there before */
};

struct load {
	struct store *s;
	const struct load_options *o;
	int64_t stall_ms;
	char name[REF_TEXT_SIZE]; /* canonical form of o->name, or "" */
	struct staging st;
	int loads_lock;
	int layers_fd, images_fd; /* inside the staging */
	int src;                  /* directory that holds the archive's files */
	bool src_is_spool;        /* it was unpacked from a stream into the staging */
	struct digest src_diff;   /* then: the digest of that stream … */
	uint64_t src_bytes;       /* … and what it takes on disk */
	struct left_out left_out; /* of a directory */
	uint64_t left_mounts;     /* and file systems below it */
	struct pending_image *images;
	size_t n_images;
	struct load_progress progress;
};

/* One image as its archive describes it, layers bottom to top. */
struct found_layer {
	const char *path;          /* inside load.src */
	const struct digest *blob; /* what the file's bytes must hash to; NULL: not said */
};
struct found_image {
	const char *what; /* for errors and progress */
	const char *config_text;
	size_t config_len;
	struct image_config config;
	struct digest id;
	const char *manifest; /* digest of the OCI manifest, or NULL */
	struct strv refs;     /* canonical */
	struct found_layer *layers;
	size_t n_layers;
};

/* Unpacks what is not in the store yet and appends to `images`. Takes over found->refs. */
int load_stage_image(struct load *l, struct found_image *found, struct err *e);
int load_stage_rootfs(struct load *l, struct err *e);
void load_report(struct load *l, enum load_phase phase, size_t index, size_t count,
		 uint64_t done, uint64_t total);

/* Files of the archive: regular files only, reached without leaving it. */
int load_open_file(struct load *l, const char *path, int *out, uint64_t *size_out,
		   struct err *e);
int load_read_file(struct load *l, const char *path, char **out, size_t *len_out,
		   struct err *e);
bool load_has_file(struct load *l, const char *path);

/* The kinds of archive: detect by content, then load all images in it. */
int load_docker(struct load *l, struct err *e);
int load_oci(struct load *l, struct err *e);
