/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The documents inside image archives: Docker's manifest.json, the OCI image index, the OCI
 * image manifest (and Docker's distribution forms of the two) and the image configuration.
 * Pure functions over bytes: nothing is opened here. Everything is hostile: counts and
 * lengths are bounded, strings with NUL bytes are refused.
 *
 * Results live in the arena given; `what` names the document in errors (ERR_INVALID, or
 * ERR_UNSUPPORTED for known things that are not taken).
 * Sources: OCI image specification 1.0 and 1.1; Docker image specification 1.2.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "image/digest.h"

struct arena;
struct err;

enum {
	MANIFEST_MAX_BYTES = 4 << 20, /* one JSON document */
	MANIFEST_MAX_IMAGES = 256,    /* in one archive or index */
	MANIFEST_MAX_TAGS = 256,      /* of one image */
	MANIFEST_MAX_LAYERS = 512,    /* of one image */
	MANIFEST_MAX_STRINGS = 4096,  /* in one list or map of a configuration */
	MANIFEST_MAX_STRING = 256 << 10,
	MANIFEST_MAX_PATH = 1024, /* a file named in manifest.json */
	MANIFEST_ARENA =
		32 << 20 /* enough for all documents of one archive within the limits */
};

/* Strings and how many; the vector ends with NULL as argv does. */
struct string_list {
	const char **v;
	size_t n;
};

/* One element of Docker's manifest.json: paths inside the archive. */
struct docker_image {
	const char *config;
	struct string_list tags; /* as written; may be empty */
	struct string_list layers;
};

int manifest_parse_docker(struct arena *a, const char *p, size_t len, struct docker_image **out,
			  size_t *n_out, struct err *e);

enum descriptor_kind {
	DESCRIPTOR_OTHER, /* a media type this program does not know */
	DESCRIPTOR_INDEX,
	DESCRIPTOR_MANIFEST
};

struct descriptor {
	enum descriptor_kind kind;
	const char *media_type; /* "" if absent */
	struct digest digest;
	uint64_t size;
	/* platform; "" where absent */
	const char *os;
	const char *arch;
	const char *variant;
	/* annotations; "" where absent */
	const char *image_name; /* io.containerd.image.name: a full reference */
	const char *ref_name; /* org.opencontainers.image.ref.name: a reference or a mere tag */
	bool attestation;     /* describes another manifest; never an image to run */
};

struct descriptor_list {
	struct descriptor *v;
	size_t n;
};

int manifest_parse_index(struct arena *a, const char *p, size_t len, const char *what,
			 struct descriptor_list *out, struct err *e);

struct oci_manifest {
	/* The media type that makes it an artifact (a signature, an SBOM); NULL: an image. */
	const char *artifact;
	struct descriptor config;
	struct descriptor_list layers; /* bottom to top */
};

int manifest_parse_oci(struct arena *a, const char *p, size_t len, const char *what,
		       struct oci_manifest *out, struct err *e);

struct image_label {
	const char *key;
	const char *value;
};

/* What a container runtime needs of the image configuration; "" and 0 where absent. */
struct image_config {
	const char *os;
	const char *arch;
	const char *variant;
	const char *created; /* RFC 3339, as written */
	const char *user;
	const char *working_dir;
	const char *stop_signal;
	struct string_list env; /* "NAME=value" */
	struct string_list entrypoint;
	struct string_list cmd;
	struct string_list exposed_ports; /* "80/tcp" */
	struct string_list volumes;       /* paths in the container */
	struct image_label *labels;
	size_t n_labels;
	struct digest *diff_ids; /* of the uncompressed layers, bottom to top */
	size_t n_diff_ids;
};

int manifest_parse_config(struct arena *a, const char *p, size_t len, const char *what,
			  struct image_config *out, struct err *e);

/* The host's architecture in Go's spelling ("amd64"); "" if images know none for it. */
const char *manifest_host_arch(void);
