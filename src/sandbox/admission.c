/* SPDX-License-Identifier: Apache-2.0 */
/* A place is a lock (flock(2)) of a file .starting.N, which ends with its holder. */
#include "sandbox/admission.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#include "base/err.h"
#include "base/fd.h"
#include "base/log.h"
#include "base/own.h"
#include "base/str.h"
#include "base/time.h"
#include "event/fiber.h"

enum {
	POLL_MS = 100,
	MEMINFO_MAX = 1 << 16,
	RESERVE_PART = 64, /* of the host's memory, which machines leave to it */
	RESERVE_MIN_MIB = 64,
	KIB_PER_MIB = 1024
};

/* 1 if the place is ours now, 0 if somebody else has it. */
static int try_place(const char *base, unsigned number, int *out, struct err *e)
{
	char path[256];
	OWN(fd) int fd = -1;

	(void)snprintf(path, sizeof(path), "%s/.starting.%u", base, number);
	fd = open(path, O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (fd < 0)
		return err_sys(e, "open '%s'", path);
	if (flock(fd, LOCK_EX | LOCK_NB) < 0)
		return errno == EWOULDBLOCK ? 0 : err_sys(e, "lock '%s'", path);
	*out = fd_take(&fd);
	return 1;
}

/* Who has the place needs so much, or its predecessor did; as much as ours if none has said. */
static uint64_t need_of(const struct admission_config *c, unsigned number)
{
	char path[256], text[32];
	struct err ignored;
	uint64_t mib;

	(void)snprintf(path, sizeof(path), "%s/.starting.%u", c->base, number);
	if (file_read_line(AT_FDCWD, path, text, sizeof(text), &ignored) < 0 ||
	    str_to_u64(text, 0, UINT64_MAX / 4096, "MiB", &mib, &ignored) < 0)
		return c->need_mib;
	return mib;
}

/* How many places are taken, ours among them, and what their holders need together. */
static int add_up(const struct admission_config *c, unsigned *taken, uint64_t *mib,
		  struct err *e)
{
	*taken = 0;
	*mib = 0;
	for (unsigned i = 0; i < c->places; i++) {
		OWN(fd) int fd = -1;
		int rc = try_place(c->base, i, &fd, e);

		if (rc < 0)
			return -1;
		if (rc > 0)
			continue;
		(*taken)++;
		*mib += need_of(c, i);
	}
	return 0;
}

/* For need_of(); on a full disk others guess. */
static void say_need(const struct admission_config *c, int fd)
{
	char text[32];
	int n = snprintf(text, sizeof(text), "%llu\n", (unsigned long long)c->need_mib);

	if (ftruncate(fd, 0) < 0 || pwrite(fd, text, (size_t)n, 0) != n)
		log_debug(c->log, "a place does not say what it is for: %s", strerror(errno));
}

static int take_any(const struct admission_config *c, int *out, struct err *e)
{
	for (unsigned i = 0; i < c->places; i++) {
		int rc = try_place(c->base, i, out, e);

		if (rc)
			return rc;
	}
	return 0;
}

/* A line of /proc/meminfo (proc(5)): "NAME:  1234 kB", a count without a unit. */
static int read_line(const char *text, const char *name, uint64_t *out, struct err *e)
{
	const char *at = strstr(text, name);
	char digits[24];
	size_t n;

	at = at ? at + strlen(name) + strspn(at + strlen(name), ": ") : "";
	n = strspn(at, "0123456789");
	(void)snprintf(digits, sizeof(digits), "%.*s", (int)n, at);
	return str_to_u64(digits, 0, UINT64_MAX, name, out, e);
}

struct memory {
	uint64_t available_mib, reserve_mib;
	uint64_t huge_free, huge_total, huge_kib; /* pages nobody has reserved, size of one */
	uint64_t huge_made; /* of the free ones, those that are still ordinary memory */
};

/* How far the pool may grow by itself; a kernel without huge pages has no such file. */
static uint64_t overcommit_of(const struct admission_config *c)
{
	char text[32];
	struct err ignored;
	uint64_t pages;

	if (file_read_line(AT_FDCWD, c->overcommit, text, sizeof(text), &ignored) < 0 ||
	    str_to_u64(text, 0, UINT64_MAX / 2, "pages", &pages, &ignored) < 0)
		return 0;
	return pages;
}

/* A page that is reserved (HugePages_Rsvd) is still counted as free. */
static int look_at_huge_pages(const struct admission_config *c, const char *text,
			      struct memory *m, struct err *e)
{
	uint64_t reserved, surplus, more = overcommit_of(c);

	if (read_line(text, "HugePages_Total", &m->huge_total, e) < 0 ||
	    read_line(text, "HugePages_Free", &m->huge_free, e) < 0 ||
	    read_line(text, "HugePages_Rsvd", &reserved, e) < 0 ||
	    read_line(text, "HugePages_Surp", &surplus, e) < 0 ||
	    read_line(text, "Hugepagesize", &m->huge_kib, e) < 0)
		return -1;
	m->huge_free -= reserved < m->huge_free ? reserved : m->huge_free;
	m->huge_made = more > surplus ? more - surplus : 0;
	m->huge_free += m->huge_made;
	m->huge_total += m->huge_made;
	return 0;
}

static int look_at_memory(const struct admission_config *c, struct memory *m, struct err *e)
{
	OWN(free) char *text = NULL;
	uint64_t total, available;

	if (file_read(AT_FDCWD, c->meminfo, MEMINFO_MAX, &text, NULL, e) < 0)
		return -1;
	if (read_line(text, "MemTotal", &total, e) < 0 ||
	    read_line(text, "MemAvailable", &available, e) < 0 ||
	    (c->huge_mib && look_at_huge_pages(c, text, m, e) < 0))
		return err_wrap(e, "'%s'", c->meminfo);
	m->available_mib = available / KIB_PER_MIB;
	m->reserve_mib = total / KIB_PER_MIB / RESERVE_PART;
	if (m->reserve_mib < RESERVE_MIN_MIB)
		m->reserve_mib = RESERVE_MIN_MIB;
	return 0;
}

static int no_memory(const struct admission_config *c, const struct memory *m, struct err *e)
{
	return err_set(e, ERR_NO_MEMORY, 0,
		       "this host has %llu MiB of memory available, of which %llu are to stay "
		       "free, and starting a virtual machine takes %llu: end others first",
		       (unsigned long long)m->available_mib, (unsigned long long)m->reserve_mib,
		       (unsigned long long)c->need_mib);
}

/* What of our huge pages comes out of ordinary memory: those beyond the pool as it is. */
static uint64_t grown_mib(const struct admission_config *c, const struct memory *m)
{
	uint64_t there = (m->huge_free - m->huge_made) * m->huge_kib / KIB_PER_MIB;

	return c->huge_mib > there ? c->huge_mib - there : 0;
}

/* Those who start beside us may still come for theirs: the monitor's own error is the last. */
static int check_huge_pages(const struct admission_config *c, const struct memory *m,
			    struct err *e)
{
	uint64_t kib = c->huge_mib * KIB_PER_MIB, pages;

	if (!c->huge_mib)
		return 0;
	if (!m->huge_kib)
		return err_set(e, ERR_UNSUPPORTED, 0, "this host has no huge pages");
	pages = (kib + m->huge_kib - 1) / m->huge_kib;
	if (pages <= m->huge_free)
		return 0;
	return err_set(e, ERR_NO_MEMORY, 0,
		       "enable_hugepages: %llu MiB of memory are %llu pages of %llu KiB, and "
		       "%llu of this host's %llu are free: raise /proc/sys/vm/nr_hugepages",
		       (unsigned long long)c->huge_mib, (unsigned long long)pages,
		       (unsigned long long)m->huge_kib, (unsigned long long)m->huge_free,
		       (unsigned long long)m->huge_total);
}

/*
 * One attempt: 1 with a place in *fd, 0 if others must come up first. Those have not yet taken
 * all of the memory that they will.
 */
static int attempt(const struct admission_config *c, bool last, int *fd, struct err *e)
{
	int rc = take_any(c, fd, e);
	unsigned taken;
	uint64_t together;
	struct memory m;

	if (rc < 0)
		return -1;
	if (rc == 0)
		return last ? err_set(e, ERR_TIMEOUT, 0,
				      "%u other virtual machines are starting on this host, and "
				      "more wait: try again later",
				      c->places)
			    : 0;
	say_need(c, *fd);
	if (add_up(c, &taken, &together, e) < 0 || look_at_memory(c, &m, e) < 0 ||
	    check_huge_pages(c, &m, e) < 0)
		return -1;
	if (c->huge_mib)
		together += grown_mib(c, &m);
	if (m.available_mib >= m.reserve_mib + together)
		return 1;
	fd_close(fd);
	return last || taken <= 1 ? no_memory(c, &m, e) : 0;
}

int admission_huge_page(const char *meminfo, uint64_t *mib, struct err *e)
{
	OWN(free) char *text = NULL;
	uint64_t kib;

	if (file_read(AT_FDCWD, meminfo, MEMINFO_MAX, &text, NULL, e) < 0)
		return -1;
	if (read_line(text, "Hugepagesize", &kib, e) < 0)
		return err_set(e, ERR_UNSUPPORTED, 0,
			       "enable_hugepages: this host's kernel has no huge pages");
	*mib = kib > KIB_PER_MIB ? kib / KIB_PER_MIB : 1;
	return 0;
}

int admission_enter(struct loop *l, const struct admission_config *c, struct admission *out,
		    struct err *e)
{
	int64_t began = time_mono_ms(), waited;

	out->place_fd = -1;
	for (;;) {
		OWN(fd) int fd = -1;
		int rc = attempt(c, deadline_left(c->deadline) == 0, &fd, e);

		if (rc < 0)
			return -1;
		if (rc > 0) {
			out->place_fd = fd_take(&fd);
			break;
		}
		if (fiber_sleep(l, POLL_MS, e) < 0)
			return -1;
	}
	waited = time_mono_ms() - began;
	if (waited >= POLL_MS)
		log_info(c->log, "waited %lld ms for other virtual machines to start",
			 (long long)waited);
	return 0;
}

void admission_leave(struct admission *a)
{
	fd_close(&a->place_fd);
}
