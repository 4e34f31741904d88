/* SPDX-License-Identifier: Apache-2.0 */
/* Clocks and deadlines. A deadline is a point of CLOCK_MONOTONIC in milliseconds. */
#pragma once

#include <stdint.h>

#define DEADLINE_NONE INT64_MAX

int64_t time_mono_ms(void);
int64_t time_mono_us(void);
/* Wall clock, nanoseconds since the epoch. */
int64_t time_wall_ns(void);

/* `timeout_ms` from now; negative means DEADLINE_NONE. */
int64_t deadline_in(int64_t timeout_ms);
/* Milliseconds left, 0 when passed, -1 for DEADLINE_NONE: what epoll_wait takes. */
int deadline_left(int64_t deadline);

/* RFC 3339 with nanoseconds and Z, as containerd and Kubernetes write it. */
enum {
	TIME_RFC3339_LEN = 32
};
void time_rfc3339(int64_t wall_ns, char out[TIME_RFC3339_LEN]);
