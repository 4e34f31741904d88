/* SPDX-License-Identifier: Apache-2.0 */
/* The wrapped calls (the linker's --wrap), and the file they look at. */
#include "failing_memory.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

void *__real_malloc(size_t size);
void *__real_calloc(size_t count, size_t size);
void *__real_realloc(void *p, size_t size);
char *__real_strdup(const char *s);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t count, size_t size);
void *__wrap_realloc(void *p, size_t size);
char *__wrap_strdup(const char *s);

static struct failing_memory *memory;

__attribute__((constructor)) static void open_memory(void)
{
	const char *path = getenv("KATA_TEST_MEMORY");
	int fd = path ? open(path, O_RDWR | O_CLOEXEC) : -1;
	void *p;

	if (!path)
		return;
	p = mmap(NULL, sizeof(*memory), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (fd < 0 || p == MAP_FAILED)
		abort();
	(void)close(fd);
	memory = p;
}

static bool fails(void)
{
	if (!memory || __atomic_add_fetch(&memory->asked, 1, __ATOMIC_SEQ_CST) !=
			       __atomic_load_n(&memory->fail_at, __ATOMIC_SEQ_CST))
		return false;
	(void)__atomic_add_fetch(&memory->failed, 1, __ATOMIC_SEQ_CST);
	errno = ENOMEM;
	return true;
}

void *__wrap_malloc(size_t size)
{
	return fails() ? NULL : __real_malloc(size);
}

void *__wrap_calloc(size_t count, size_t size)
{
	return fails() ? NULL : __real_calloc(count, size);
}

void *__wrap_realloc(void *p, size_t size)
{
	return fails() ? NULL : __real_realloc(p, size);
}

char *__wrap_strdup(const char *s)
{
	return fails() ? NULL : __real_strdup(s);
}
