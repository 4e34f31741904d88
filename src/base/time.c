/* SPDX-License-Identifier: Apache-2.0 */
/* Clocks and deadlines. */
#include "base/time.h"

#include <limits.h>
#include <stdio.h>
#include <time.h>

int64_t time_mono_us(void)
{
	struct timespec ts;

	(void)clock_gettime(CLOCK_MONOTONIC, &ts);
	return (int64_t)ts.tv_sec * 1000000 + ts.tv_nsec / 1000;
}

int64_t time_mono_ms(void)
{
	return time_mono_us() / 1000;
}

int64_t time_wall_ns(void)
{
	struct timespec ts;

	(void)clock_gettime(CLOCK_REALTIME, &ts);
	return (int64_t)ts.tv_sec * 1000000000 + ts.tv_nsec;
}

int64_t deadline_in(int64_t timeout_ms)
{
	int64_t at;

	if (timeout_ms < 0 || __builtin_add_overflow(time_mono_ms(), timeout_ms, &at))
		return DEADLINE_NONE;
	return at;
}

int deadline_left(int64_t deadline)
{
	int64_t left;

	if (deadline == DEADLINE_NONE)
		return -1;
	left = deadline - time_mono_ms();
	if (left <= 0)
		return 0;
	return left > INT_MAX ? INT_MAX : (int)left;
}

void time_rfc3339(int64_t wall_ns, char out[TIME_RFC3339_LEN])
{
	int64_t ns = wall_ns % 1000000000;
	time_t sec = (time_t)(wall_ns / 1000000000 - (ns < 0));
	struct tm tm;
	size_t n;

	(void)gmtime_r(&sec, &tm);
	n = strftime(out, TIME_RFC3339_LEN, "%Y-%m-%dT%H:%M:%S", &tm);
	(void)snprintf(out + n, TIME_RFC3339_LEN - n, ".%09dZ",
		       (int)(ns < 0 ? ns + 1000000000 : ns));
}
