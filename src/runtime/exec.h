/* SPDX-License-Identifier: Apache-2.0 */
/* `kata-runtime exec`: a terminal in the guest of a sandbox, outside of its containers. */
#pragma once

struct err;

/*
 * Connects our standard streams to the debug console of the sandbox that `id` names, until its
 * shell ends or Ctrl-P Ctrl-Q is typed. ERR_NOT_FOUND: no such sandbox runs, or it was started
 * without debug_console_enabled.
 */
int debug_console_attach(const char *id, struct err *e);
