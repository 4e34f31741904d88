/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What containers of this host would run with, in the shape of upstream's `kata-runtime env`
 * (Meta.Version 1.0.27), whose names and order it keeps; every key of configuration.toml that
 * upstream does not show stands behind, under the name that the schema gives it. Left out is
 * Hypervisor.SecurityInfo.Rootless: QEMU's user follows from how files are shared, which with
 * shared_fs = "auto" is known at a sandbox's start.
 */
#pragma once

/* Of the runtime specification. */
#define ENV_OCI_VERSION "1.1.0"

struct buf;
struct err;
struct jval;
struct kata_config;
struct loop;

/*
 * Reads configuration and host. Something that is missing is an empty value; a configuration
 * that is wrong is an error. Waits; call in a fiber.
 */
int env_collect(struct loop *l, const struct kata_config *c, struct jval **out, struct err *e);
/* A tree of objects, texts, numbers, truths and lists of texts as TOML. */
int toml_print(const struct jval *v, struct buf *out, struct err *e);
