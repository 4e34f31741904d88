/* SPDX-License-Identifier: Apache-2.0 */
/*
 * StatsContainer: cgroup v2's files as the protocol's (version 1 shaped) messages. Times in
 * nanoseconds, as version 1 counted them. The parsers are pure functions over a file's text.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

struct arena;
struct cgroup;
struct err;
struct ttrpc_call;

int stats_container(struct ttrpc_call *call, const void *request, void *response,
		    struct err *e);

/* "key value" lines: the value of `key`, false if it is not there. */
bool stats_value(const char *text, const char *key, uint64_t *out);
/* A file that holds a number or "max" (then UINT64_MAX). */
bool stats_number(const char *text, uint64_t *out);
