/* SPDX-License-Identifier: Apache-2.0 */
/* What a disk has not been given yet is written before it is unmounted, without the agent. */
#pragma once

struct child_reaper;
struct err;

/*
 * syncfs(2) of the file system that is mounted on `path`, in a process of its own: unmounting
 * would write as much, in the agent's only thread, and no container of the pod would be heard
 * meanwhile. Call in a fiber.
 */
int disk_sync(struct child_reaper *r, const char *path, struct err *e);
