/* SPDX-License-Identifier: Apache-2.0 */
/* What a passt can and cannot do, by what `passt --version` says. */
#pragma once

#include <stdbool.h>

/* Whether the passt with this `--version` output leaves handshakes open. */
bool passt_leaves_handshakes(const char *version);
/*
 * Its version by the first line that `passt --version` said: that of May 2025 (Debian 13's)
 * ends well and says nothing, since what it prints stays in a buffer unless it goes to a
 * terminal.
 */
const char *passt_version_of(const char *said, bool ended_well);
/* Whether `passt --version` gives a day before `than` ("20230922"), or none. */
bool passt_is_older(const char *version, const char *than);
