/* SPDX-License-Identifier: Apache-2.0 */
/* Signals by name or number: "KILL", "SIGKILL", "sigkill", "9". */
#pragma once

struct err;

int signal_parse(const char *s, int *out, struct err *e);
