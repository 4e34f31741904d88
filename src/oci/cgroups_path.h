/* SPDX-License-Identifier: Apache-2.0 */
/*
 * linux.cgroupsPath in systemd's form, "slice:prefix:name", as runc's systemd driver and
 * kubelet write it; the OCI specification leaves the value's form to runtimes.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

struct err;

enum {
	SYSTEMD_NAME_MAX = 256 /* with the NUL; systemd takes no longer unit */
};

struct systemd_cgroup {
	char slice[SYSTEMD_NAME_MAX]; /* "" for the caller's default */
	char unit[SYSTEMD_NAME_MAX];  /* "prefix-name.scope" */
};

/* Two colons and no slash. */
bool cgroups_path_is_systemd(const char *path);
/* `path` must be in that form. ERR_INVALID: a part that is too long for a unit's name. */
int cgroups_path_systemd(const char *path, struct systemd_cgroup *out, struct err *e);
/*
 * Where a slice is below the cgroup root: "a-b.slice" is "a.slice/a-b.slice", "-.slice" is ""
 * (systemd.slice(5)). ERR_INVALID: no slice's name, or longer than `size`.
 */
int systemd_slice_path(const char *slice, char *out, size_t size, struct err *e);
