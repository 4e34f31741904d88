/* SPDX-License-Identifier: Apache-2.0 */
/* The kernel's pools: /sys/kernel/mm/hugepages/hugepages-<size>kB/nr_hugepages. */
#include "agent/hugepages.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sysinfo.h>

#include "base/err.h"
#include "base/fd.h"
#include "base/log.h"
#include "base/own.h"
#include "base/str.h"
#include "oci.pb-c.h"

enum {
	NUMBER_MAX = 32
};

int hugepages_size_parse(const char *text, uint64_t *kib_out, struct err *e)
{
	static const struct {
		const char *name;
		uint64_t kib;
	} units[] = { { "KB", 1 }, { "MB", 1024 }, { "GB", 1024 * 1024 } };
	size_t digits = strspn(text, "0123456789");

	for (size_t i = 0; digits && digits < 8 && i < sizeof(units) / sizeof(units[0]); i++) {
		uint64_t n = strtoull(text, NULL, 10);

		if (n && str_eq(text + digits, units[i].name)) {
			*kib_out = n * units[i].kib;
			return 0;
		}
	}
	return err_set(e, ERR_INVALID, 0, "page size '%.16s'", text);
}

static void pool_path(uint64_t kib, char *out, size_t size)
{
	(void)snprintf(out, size,
		       "/sys/kernel/mm/hugepages/hugepages-%" PRIu64 "kB/nr_hugepages", kib);
}

static int pool_size(const char *path, uint64_t *out, struct err *e)
{
	OWN(free) char *text = NULL;

	if (file_read(AT_FDCWD, path, NUMBER_MAX, &text, NULL, e) < 0)
		return -1;
	text[strcspn(text, "\n")] = '\0';
	return str_to_u64(text, 0, UINT64_MAX, path, out, e);
}

static int pool_set(const char *path, uint64_t count, struct err *e)
{
	char text[NUMBER_MAX];

	(void)snprintf(text, sizeof(text), "%" PRIu64, count);
	return file_write_value(AT_FDCWD, path, text, e);
}

/* The kernel sets aside what it finds and says nothing: what came of it has to be read. */
static int pool_grow(uint64_t kib, uint64_t count, struct err *e)
{
	uint64_t before, after;
	struct sysinfo info;
	struct err ignored;
	char path[96];

	if (sysinfo(&info) < 0)
		return err_sys(e, "sysinfo");
	pool_path(kib, path, sizeof(path));
	if (pool_size(path, &before, e) < 0)
		return e->sys == ENOENT || e->kind == ERR_NOT_FOUND
			       ? err_set(e, ERR_UNSUPPORTED, 0,
					 "the guest has no pages of %" PRIu64 " KiB", kib)
			       : -1;
	/* the kernel would take all there is, and give it back */
	if (count > (uint64_t)info.totalram * info.mem_unit / 1024 / kib)
		return err_set(e, ERR_NO_MEMORY, 0,
			       "%" PRIu64 " pages of %" PRIu64 " KiB are more than the guest's "
			       "memory: give it more (default_memory)",
			       count, kib);
	if (pool_set(path, before + count, e) < 0 || pool_size(path, &after, e) < 0)
		return -1;
	if (after >= before + count)
		return 0;
	(void)pool_set(path, before, &ignored);
	return err_set(e, ERR_NO_MEMORY, 0,
		       "the guest has room for %" PRIu64 " of %" PRIu64 " pages of %" PRIu64
		       " KiB: give it more memory (default_memory)",
		       after > before ? after - before : 0, count, kib);
}

int hugepages_take(const Grpc__LinuxResources *r, struct hugepages *out, struct err *e)
{
	size_t used = 0;

	for (size_t i = 0; r && i < r->n_hugepagelimits; i++) {
		const Grpc__LinuxHugepageLimit *l = r->hugepagelimits[i];
		uint64_t kib, count;

		if (hugepages_size_parse(l->pagesize, &kib, e) < 0)
			return err_wrap(e, "hugepageLimits[%zu]", i);
		count = l->limit / 1024 / kib;
		if (!count)
			continue;
		if (used == HUGE_SIZES)
			return err_set(e, ERR_UNSUPPORTED, 0,
				       "hugepageLimits: more than %d sizes of pages",
				       HUGE_SIZES);
		if (pool_grow(kib, count, e) < 0)
			return err_wrap(e, "hugepageLimits[%zu]", i);
		out->of[used].kib = kib;
		out->of[used++].count = count;
	}
	return 0;
}

void hugepages_give_back(struct hugepages *h)
{
	for (size_t i = 0; i < HUGE_SIZES && h->of[i].kib; i++) {
		uint64_t now;
		char path[96];
		struct err e;

		pool_path(h->of[i].kib, path, sizeof(path));
		if (pool_size(path, &now, &e) < 0 ||
		    pool_set(path, now > h->of[i].count ? now - h->of[i].count : 0, &e) < 0)
			log_warn(NULL, "give huge pages back: %s", e.msg);
		h->of[i].kib = 0;
	}
}
