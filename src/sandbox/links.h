/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The links of a sandbox's network namespace, at the boot and ever after: what appears there
 * later (Docker attaches its networks between create and start, `ip link add` at any time) is
 * plugged in, what goes is unplugged, and addresses, routes and neighbours follow.
 */
#pragma once

#include <stddef.h>

struct err;
struct sandbox;
struct vmm_device;

/*
 * Before the boot: opens the namespace (a path) and fills `devices` (room for SCAN_LINKS_MAX)
 * with what the machine gets for its links.
 */
int links_join(struct sandbox *s, const char *netns, struct vmm_device *devices, size_t *count,
	       struct err *e);
/* After the boot: tells the guest about them. Nothing without a namespace. */
int links_apply(struct sandbox *s, struct err *e);
/* After the boot, for a sandbox without a namespace so far: this one (a path) is its own. */
int links_adopt(struct sandbox *s, const char *netns, struct err *e);
/* Follows the namespace until links_end(), in a fiber of its own. */
int links_follow(struct sandbox *s, struct err *e);
/*
 * Gives the guest what the namespace has by now. Called before a program is started, which
 * expects the network its caller has made. Waits. ERR_UNSUPPORTED names what the machine
 * cannot have.
 */
int links_refresh(struct sandbox *s, struct err *e);
/* Waits until nobody uses the namespace, and lets go of it. The machine is down. */
void links_end(struct sandbox *s);
