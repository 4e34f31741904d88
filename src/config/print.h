/* SPDX-License-Identifier: Apache-2.0 */
/* The schema as text. Inside of src/config only. */
#pragma once

struct buf;
struct err;

/* Every key with its default, as a file that can be parsed. */
int config_print_presets(struct buf *out, struct err *e);
