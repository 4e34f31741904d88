/* SPDX-License-Identifier: Apache-2.0 */
/* Kernel parameters, named as sysctl(8) takes them. */
#pragma once

struct err;

/*
 * Writes one below `proc_fd`, a /proc. ERR_INVALID: no such name; the caller says whose it is.
 */
int sysctl_set(int proc_fd, const char *key, const char *value, struct err *e);
