/* SPDX-License-Identifier: Apache-2.0 */
/* The wrapped calls. See the header. */
#include "fail_nth.h"

#include <errno.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

void *__real_malloc(size_t size);
void *__real_calloc(size_t count, size_t size);
void *__real_realloc(void *p, size_t size);
char *__real_strdup(const char *s);
ssize_t __real_read(int fd, void *p, size_t len);
ssize_t __real_write(int fd, const void *p, size_t len);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t count, size_t size);
void *__wrap_realloc(void *p, size_t size);
char *__wrap_strdup(const char *s);
ssize_t __wrap_read(int fd, void *p, size_t len);
ssize_t __wrap_write(int fd, const void *p, size_t len);

static struct {
	struct fault_plan plan;
	bool active, interrupted;
	long allocs, hits;
} now;

void fault_start(const struct fault_plan *plan)
{
	memset(&now, 0, sizeof(now));
	now.plan = *plan;
	now.active = true;
}

long fault_stop(void)
{
	now.active = false;
	return now.allocs;
}

long fault_hits(void)
{
	return now.hits;
}

static bool alloc_fails(void)
{
	if (!now.active || ++now.allocs != now.plan.fail_alloc)
		return false;
	now.hits++;
	errno = ENOMEM;
	return true;
}

void *__wrap_malloc(size_t size)
{
	return alloc_fails() ? NULL : __real_malloc(size);
}

void *__wrap_calloc(size_t count, size_t size)
{
	return alloc_fails() ? NULL : __real_calloc(count, size);
}

void *__wrap_realloc(void *p, size_t size)
{
	return alloc_fails() ? NULL : __real_realloc(p, size);
}

char *__wrap_strdup(const char *s)
{
	return alloc_fails() ? NULL : __real_strdup(s);
}

/* Whether a transfer is interrupted this time; cuts *len. */
static bool io_fails(size_t *len)
{
	if (!now.active)
		return false;
	if (now.plan.interrupt) {
		now.interrupted = !now.interrupted;
		if (now.interrupted) {
			now.hits++;
			errno = EINTR;
			return true;
		}
	}
	if (now.plan.short_io && *len > 1) {
		now.hits++;
		*len = 1;
	}
	return false;
}

ssize_t __wrap_read(int fd, void *p, size_t len)
{
	return io_fails(&len) ? -1 : __real_read(fd, p, len);
}

ssize_t __wrap_write(int fd, const void *p, size_t len)
{
	return io_fails(&len) ? -1 : __real_write(fd, p, len);
}
