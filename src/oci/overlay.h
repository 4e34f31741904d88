/* SPDX-License-Identifier: Apache-2.0 */
/* Overlays of many layers, on the host and in the guest. */
#pragma once

struct buf;
struct err;

/*
 * An overlay whose options may be longer than mount(2) takes. ERR_UNSUPPORTED if they are even
 * without what the layers' paths have in common. Changes the working directory meanwhile.
 */
int overlay_mount(const char *source, const char *target, unsigned long flags,
		  const char *options, struct err *e);
/* Its options with relative layers in *out, and the directory (malloc'd) those start from. */
int overlay_compact(const char *options, char **dir, struct buf *out, struct err *e);
