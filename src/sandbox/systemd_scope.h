/* SPDX-License-Identifier: Apache-2.0 */
/* A transient scope of systemd's (systemd.scope(5)), which has cgroups to itself. */
#pragma once

#include <stdbool.h>
#include <sys/types.h>

struct child_reaper;
struct err;
struct loop;
struct systemd_cgroup;

/* Whether systemd is this host's service manager (sd_booted(3)). */
bool systemd_runs(void);
/*
 * Asks systemd for the scope c->unit in c->slice with this process in it, and waits until it
 * is there. systemd removes the scope when its last process has gone. ERR_UNSUPPORTED: no
 * systemd or no busctl here. ERR_SYS: systemd's own words. Waits: for a fiber.
 */
int systemd_scope_enter(struct loop *l, struct child_reaper *r, const struct systemd_cgroup *c,
			struct err *e);
