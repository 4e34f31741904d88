/* SPDX-License-Identifier: Apache-2.0 */
/* Names of resource limits ("RLIMIT_NOFILE"), numbers of setrlimit(2). */
#pragma once

/* The resource's number, or -1 if there is none of that name. */
int rlimit_number(const char *name);
