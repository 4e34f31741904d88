/* SPDX-License-Identifier: Apache-2.0 */
/* A list is cut where it is too long, a row with a bad name goes. */
#include "sandbox/guest_figures.h"

#include <stdbool.h>
#include <string.h>

#include "base/own.h"

enum {
	LINKS_MAX = 64,
	IO_MAX = 256, /* of each list: devices times operations */
	PAGE_SIZES_MAX = 16,
	MEMORY_KEYS_MAX = 256,
	PIDS_MAX = 32768,
	PROCESSORS_MAX = 1024,
	LINK_NAME_MAX = 15, /* Linux: IFNAMSIZ, with its NUL */
	WORD_MAX = 64
};

/* Printable ASCII without spaces. */
static bool is_word(const char *s, size_t most)
{
	size_t n = 0;

	for (; s[n]; n++) {
		if (n == most || s[n] <= ' ' || s[n] >= 0x7f)
			return false;
	}
	return n > 0;
}

static size_t at_most(size_t n, size_t most)
{
	return n < most ? n : most;
}

static void trim_links(Grpc__StatsContainerResponse *r)
{
	size_t n = 0;

	for (size_t i = 0; i < r->n_network_stats && n < LINKS_MAX; i++) {
		if (is_word(r->network_stats[i]->name, LINK_NAME_MAX))
			r->network_stats[n++] = r->network_stats[i];
	}
	r->n_network_stats = n;
}

static void trim_io(Grpc__BlkioStatsEntry **list, size_t *count)
{
	size_t n = 0;

	for (size_t i = 0; i < *count && n < IO_MAX; i++) {
		if (!*list[i]->op || is_word(list[i]->op, WORD_MAX))
			list[n++] = list[i];
	}
	*count = n;
}

static void trim_blkio(Grpc__BlkioStats *b)
{
	trim_io(b->io_service_bytes_recursive, &b->n_io_service_bytes_recursive);
	trim_io(b->io_serviced_recursive, &b->n_io_serviced_recursive);
	trim_io(b->io_queued_recursive, &b->n_io_queued_recursive);
	trim_io(b->io_service_time_recursive, &b->n_io_service_time_recursive);
	trim_io(b->io_wait_time_recursive, &b->n_io_wait_time_recursive);
	trim_io(b->io_merged_recursive, &b->n_io_merged_recursive);
	trim_io(b->io_time_recursive, &b->n_io_time_recursive);
	trim_io(b->sectors_recursive, &b->n_sectors_recursive);
}

static void trim_huge_pages(Grpc__CgroupStats *c)
{
	size_t n = 0;

	for (size_t i = 0; i < c->n_hugetlb_stats && n < PAGE_SIZES_MAX; i++) {
		if (is_word(c->hugetlb_stats[i]->key, WORD_MAX) && c->hugetlb_stats[i]->value)
			c->hugetlb_stats[n++] = c->hugetlb_stats[i];
	}
	c->n_hugetlb_stats = n;
}

void guest_figures_trim(Grpc__StatsContainerResponse *r)
{
	Grpc__CgroupStats *c = r->cgroup_stats;

	trim_links(r);
	r->n_pids = at_most(r->n_pids, PIDS_MAX);
	if (!c)
		return;
	trim_huge_pages(c);
	if (c->blkio_stats)
		trim_blkio(c->blkio_stats);
	if (c->cpu_stats && c->cpu_stats->cpu_usage)
		c->cpu_stats->cpu_usage->n_percpu_usage =
			at_most(c->cpu_stats->cpu_usage->n_percpu_usage, PROCESSORS_MAX);
	if (c->memory_stats)
		c->memory_stats->n_stats = at_most(c->memory_stats->n_stats, MEMORY_KEYS_MAX);
}
