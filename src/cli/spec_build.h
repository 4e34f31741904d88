/* SPDX-License-Identifier: Apache-2.0 */
/* The OCI specification `kata run` makes from an image's configuration and its options. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "oci.pb-c.h"

struct arena;
struct err;
struct image;
struct strv;

struct spec_request {
	const struct image *image;
	const char *id, *hostname;
	bool terminal;
	const struct strv *env;     /* NAME=value, or NAME to pass ours on */
	const struct strv *volumes; /* src:dst[:ro] */
	const char *workdir, *user; /* NULL: the image's */
	uint64_t memory_bytes;      /* 0: no limit */
	uint64_t cpu_millis;        /* 1000 is one processor; 0: no limit */
	char *const *command;       /* NULL-ended; empty: the image's */
	bool own_files;             /* hosts and hostname of `dir` are mounted */
	const char *dir;            /* the container's directory */
};

/* Everything lives in `a`. Errors name the option. */
int spec_build(const struct spec_request *r, struct arena *a, Grpc__Spec **out, struct err *e);

/* The process of `kata exec`: the container's own with other arguments. */
struct exec_request {
	const Grpc__Spec *spec;    /* the container's */
	const struct image *image; /* to resolve user names; NULL: numbers only */
	bool terminal;
	const struct strv *env;
	const char *workdir, *user;
	char *const *command;
};
int exec_build(const struct exec_request *r, struct arena *a, Grpc__Process **out,
	       struct err *e);

/* What --env gives, for `run` and `exec`: ERR_INVALID for an entry without a name. */
int env_check(const struct strv *env, struct err *e);
