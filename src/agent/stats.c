/* SPDX-License-Identifier: Apache-2.0 */
/* Statistics of a container's cgroup and of the guest's links. */
#include "agent/stats.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "agent/link.h"
#include "agent/sandbox.h"
#include "base/err.h"
#include "base/fd.h"
#include "base/mem.h"
#include "base/own.h"
#include "base/str.h"
#include "wire/message.h"
#include "wire/netlink.h"
#include "wire/ttrpc.h"

enum {
	FILE_MAX = 64 * 1024,
	MEMORY_KEYS_MAX = 256,
	LINKS_MAX = 256,
	IO_MAX = 1024,
	HUGE_MAX = 16,
	PIDS_MAX = 4096
};

#define NEW(type, descriptor, a) ((type *)message_new(&(descriptor), (a)))

bool stats_number(const char *text, uint64_t *out)
{
	char *end;

	if (str_starts(text, "max")) {
		*out = UINT64_MAX;
		return true;
	}
	if (*text < '0' || *text > '9')
		return false;
	*out = strtoull(text, &end, 10);
	return *end == '\0' || *end == '\n' || *end == ' ';
}

bool stats_value(const char *text, const char *key, uint64_t *out)
{
	size_t n = strlen(key);

	while (*text) {
		if (strncmp(text, key, n) == 0 && text[n] == ' ')
			return stats_number(text + n + 1, out);
		text += strcspn(text, "\n");
		text += *text == '\n';
	}
	return false;
}

/* A cgroup file's text in the arena; NULL where the controller is missing. */
static char *read_text(const struct cgroup *c, const char *file, struct arena *a)
{
	OWN(fd) int fd = openat(c->fd, file, O_RDONLY | O_CLOEXEC);
	OWN(free) char *buf = NULL;
	size_t used = 0;
	ssize_t n;

	if (fd < 0)
		return NULL;
	buf = malloc(FILE_MAX);
	if (!buf)
		return NULL;
	while (used < FILE_MAX && (n = read(fd, buf + used, FILE_MAX - used)) > 0)
		used += (size_t)n;
	return arena_strndup(a, buf, used);
}

static uint64_t number_of(const struct cgroup *c, const char *file, struct arena *a)
{
	const char *text = read_text(c, file, a);
	uint64_t v = 0;

	return text && stats_number(text, &v) ? v : 0;
}

static uint64_t value_of(const char *text, const char *key)
{
	uint64_t v = 0;

	return text && stats_value(text, key, &v) ? v : 0;
}

static int add_cpu(const struct cgroup *c, struct arena *a, Grpc__CgroupStats *out,
		   struct err *e)
{
	Grpc__CpuStats *cpu = NEW(Grpc__CpuStats, grpc__cpu_stats__descriptor, a);
	Grpc__CpuUsage *usage = NEW(Grpc__CpuUsage, grpc__cpu_usage__descriptor, a);
	Grpc__ThrottlingData *t =
		NEW(Grpc__ThrottlingData, grpc__throttling_data__descriptor, a);
	const char *text = read_text(c, "cpu.stat", a);

	if (!cpu || !usage || !t)
		return err_oom(e, "statistics");
	usage->total_usage = value_of(text, "usage_usec") * 1000;
	usage->usage_in_usermode = value_of(text, "user_usec") * 1000;
	usage->usage_in_kernelmode = value_of(text, "system_usec") * 1000;
	t->periods = value_of(text, "nr_periods");
	t->throttled_periods = value_of(text, "nr_throttled");
	t->throttled_time = value_of(text, "throttled_usec") * 1000;
	cpu->cpu_usage = usage;
	cpu->throttling_data = t;
	out->cpu_stats = cpu;
	return 0;
}

/* memory.stat's lines become the map; there are about fifty. */
static int add_memory_map(const char *text, struct arena *a, Grpc__MemoryStats *m,
			  struct err *e)
{
	m->stats = arena_calloc(a, MEMORY_KEYS_MAX, sizeof(*m->stats));
	if (!m->stats)
		return err_oom(e, "statistics");
	while (text && *text && m->n_stats < MEMORY_KEYS_MAX) {
		size_t key = strcspn(text, " \n"), line = strcspn(text, "\n");
		uint64_t v;

		if (text[key] == ' ' && stats_number(text + key + 1, &v)) {
			Grpc__MemoryStats__StatsEntry *entry =
				NEW(Grpc__MemoryStats__StatsEntry,
				    grpc__memory_stats__stats_entry__descriptor, a);

			if (!entry || !(entry->key = arena_strndup(a, text, key)))
				return err_oom(e, "statistics");
			entry->value = v;
			m->stats[m->n_stats++] = entry;
		}
		text += line + (text[line] == '\n');
	}
	return 0;
}

static Grpc__MemoryData *memory_data(const struct cgroup *c, const char *usage,
				     const char *peak, const char *limit, struct arena *a)
{
	Grpc__MemoryData *d = NEW(Grpc__MemoryData, grpc__memory_data__descriptor, a);

	if (!d)
		return NULL;
	d->usage = number_of(c, usage, a);
	d->max_usage = number_of(c, peak, a);
	d->limit = number_of(c, limit, a);
	return d;
}

static int add_memory(const struct cgroup *c, struct arena *a, Grpc__CgroupStats *out,
		      struct err *e)
{
	Grpc__MemoryStats *m = NEW(Grpc__MemoryStats, grpc__memory_stats__descriptor, a);
	const char *text = read_text(c, "memory.stat", a);

	if (!m)
		return err_oom(e, "statistics");
	m->usage = memory_data(c, "memory.current", "memory.peak", "memory.max", a);
	m->swap_usage =
		memory_data(c, "memory.swap.current", "memory.swap.peak", "memory.swap.max", a);
	m->kernel_usage = NEW(Grpc__MemoryData, grpc__memory_data__descriptor, a);
	if (!m->usage || !m->swap_usage || !m->kernel_usage)
		return err_oom(e, "statistics");
	m->usage->failcnt = value_of(read_text(c, "memory.events", a), "max");
	m->kernel_usage->usage = value_of(text, "kernel");
	m->cache = value_of(text, "file");
	m->use_hierarchy = true;
	if (add_memory_map(text, a, m, e) < 0)
		return -1;
	out->memory_stats = m;
	return 0;
}

static int add_pids(const struct cgroup *c, struct arena *a, Grpc__CgroupStats *out,
		    struct err *e)
{
	Grpc__PidsStats *p = NEW(Grpc__PidsStats, grpc__pids_stats__descriptor, a);
	uint64_t limit = number_of(c, "pids.max", a);

	if (!p)
		return err_oom(e, "statistics");
	p->current = number_of(c, "pids.current", a);
	p->limit = limit == UINT64_MAX ? 0 : limit; /* version 1's word for no limit */
	out->pids_stats = p;
	return 0;
}

static int add_io_entry(struct arena *a, Grpc__BlkioStatsEntry **list, size_t *n,
			uint64_t major, uint64_t minor, const char *op, uint64_t value,
			struct err *e)
{
	Grpc__BlkioStatsEntry *x =
		NEW(Grpc__BlkioStatsEntry, grpc__blkio_stats_entry__descriptor, a);

	if (!x || !(x->op = arena_strdup(a, op)))
		return err_oom(e, "statistics");
	x->major = major;
	x->minor = minor;
	x->value = value;
	list[(*n)++] = x;
	return 0;
}

static const struct {
	const char *word, *op;
	bool bytes;
} io_words[] = {
	{ "rbytes=", "Read", true },    { "wbytes=", "Write", true },
	{ "dbytes=", "Discard", true }, { "rios=", "Read", false },
	{ "wios=", "Write", false },    { "dios=", "Discard", false },
};

/* "8:0 rbytes=1 wbytes=2 rios=3 wios=4 dbytes=0 dios=0" */
static int add_io_line(const char *line, struct arena *a, Grpc__BlkioStats *io, struct err *e)
{
	const char *colon = strchr(line, ':');

	if (!colon)
		return 0;
	for (size_t i = 0; i < ARRAY_LEN(io_words); i++) {
		const char *at = strstr(line, io_words[i].word);
		Grpc__BlkioStatsEntry **list = io_words[i].bytes
						       ? io->io_service_bytes_recursive
						       : io->io_serviced_recursive;
		size_t *n = io_words[i].bytes ? &io->n_io_service_bytes_recursive
					      : &io->n_io_serviced_recursive;

		if (!at || *n >= IO_MAX)
			continue;
		if (add_io_entry(a, list, n, strtoull(line, NULL, 10),
				 strtoull(colon + 1, NULL, 10), io_words[i].op,
				 strtoull(at + strlen(io_words[i].word), NULL, 10), e) < 0)
			return -1;
	}
	return 0;
}

static int add_io(const struct cgroup *c, struct arena *a, Grpc__CgroupStats *out,
		  struct err *e)
{
	Grpc__BlkioStats *io = NEW(Grpc__BlkioStats, grpc__blkio_stats__descriptor, a);
	char *text = read_text(c, "io.stat", a), *save = NULL;

	if (!io)
		return err_oom(e, "statistics");
	io->io_service_bytes_recursive = arena_calloc(a, IO_MAX, sizeof(void *));
	io->io_serviced_recursive = arena_calloc(a, IO_MAX, sizeof(void *));
	if (!io->io_service_bytes_recursive || !io->io_serviced_recursive)
		return err_oom(e, "statistics");
	for (char *l = text ? strtok_r(text, "\n", &save) : NULL; l;
	     l = strtok_r(NULL, "\n", &save)) {
		if (add_io_line(l, a, io, e) < 0)
			return -1;
	}
	out->blkio_stats = io;
	return 0;
}

static int add_huge_size(const struct cgroup *c, const char *size, struct arena *a,
			 Grpc__CgroupStats *out, struct err *e)
{
	Grpc__CgroupStats__HugetlbStatsEntry *entry =
		NEW(Grpc__CgroupStats__HugetlbStatsEntry,
		    grpc__cgroup_stats__hugetlb_stats_entry__descriptor, a);
	Grpc__HugetlbStats *h = NEW(Grpc__HugetlbStats, grpc__hugetlb_stats__descriptor, a);
	char file[64];

	if (!entry || !h || !(entry->key = arena_strdup(a, size)))
		return err_oom(e, "statistics");
	(void)snprintf(file, sizeof(file), "hugetlb.%.16s.current", size);
	h->usage = number_of(c, file, a);
	(void)snprintf(file, sizeof(file), "hugetlb.%.16s.events", size);
	h->failcnt = value_of(read_text(c, file, a), "max");
	entry->value = h;
	out->hugetlb_stats[out->n_hugetlb_stats++] = entry;
	return 0;
}

static int add_huge(const struct cgroup *c, struct arena *a, Grpc__CgroupStats *out,
		    struct err *e)
{
	DIR *dir = opendir(c->path);
	struct dirent *ent;
	int rc = 0;

	out->hugetlb_stats = arena_calloc(a, HUGE_MAX, sizeof(*out->hugetlb_stats));
	if (!out->hugetlb_stats)
		rc = err_oom(e, "statistics");
	while (dir && rc == 0 && out->n_hugetlb_stats < HUGE_MAX && (ent = readdir(dir))) {
		char size[17];
		int end = 0;

		if (sscanf(ent->d_name, "hugetlb.%16[0-9A-Z].current%n", size, &end) == 1 &&
		    end && !ent->d_name[end])
			rc = add_huge_size(c, size, a, out, e);
	}
	if (dir)
		(void)closedir(dir);
	return rc;
}

struct links {
	struct arena *arena;
	Grpc__StatsContainerResponse *out;
};

static int add_link(const struct link *l, void *arg, struct err *e)
{
	struct links *x = arg;
	Grpc__NetworkStats *n;

	if (!l->has_stats || (l->flags & IFF_LOOPBACK) || x->out->n_network_stats >= LINKS_MAX)
		return 0;
	n = NEW(Grpc__NetworkStats, grpc__network_stats__descriptor, x->arena);
	if (!n || !(n->name = arena_strdup(x->arena, l->name)))
		return err_oom(e, "statistics");
	n->rx_bytes = l->stats.rx_bytes;
	n->rx_packets = l->stats.rx_packets;
	n->rx_errors = l->stats.rx_errors;
	n->rx_dropped = l->stats.rx_dropped;
	n->tx_bytes = l->stats.tx_bytes;
	n->tx_packets = l->stats.tx_packets;
	n->tx_errors = l->stats.tx_errors;
	n->tx_dropped = l->stats.tx_dropped;
	x->out->network_stats[x->out->n_network_stats++] = n;
	return 0;
}

/* Containers use the guest's network as it is: its links' counts are theirs. */
static int add_links(struct arena *a, Grpc__StatsContainerResponse *out, struct err *e)
{
	struct links x = { a, out };
	OWN(fd) int nl = -1;

	out->network_stats = arena_calloc(a, LINKS_MAX, sizeof(*out->network_stats));
	if (!out->network_stats)
		return err_oom(e, "statistics");
	return nl_open(&nl, e) < 0 ? -1 : link_each(nl, add_link, &x, e);
}

static int add_pid(pid_t pid, void *arg, struct err *e)
{
	Grpc__StatsContainerResponse *out = arg;

	(void)e;
	if (out->n_pids < PIDS_MAX)
		out->pids[out->n_pids++] = (uint32_t)pid;
	return 0;
}

/* What only our engine asks for: processes, and what the memory limit has cost. */
static int add_ours(const struct cgroup *c, struct arena *a, Grpc__StatsContainerResponse *out,
		    struct err *e)
{
	const char *events = read_text(c, "memory.events", a);

	out->oom = value_of(events, "oom");
	out->oom_kill = value_of(events, "oom_kill");
	out->pids = arena_calloc(a, PIDS_MAX, sizeof(*out->pids));
	return out->pids ? cgroup_each_pid(c, add_pid, out, e) : err_oom(e, "statistics");
}

int stats_container(struct ttrpc_call *call, const void *request, void *response, struct err *e)
{
	const Grpc__StatsContainerRequest *r = request;
	Grpc__StatsContainerResponse *out = response;
	Grpc__CgroupStats *s =
		NEW(Grpc__CgroupStats, grpc__cgroup_stats__descriptor, call->arena);
	struct container *c;

	if (!s)
		return err_oom(e, "statistics");
	if (container_find(call->context, r->container_id, &c, e) < 0)
		return -1;
	if (!c->has_cgroup || c->removing)
		return err_set(e, ERR_STATE, 0, "container '%s' is being made or removed",
			       c->id);
	if (add_cpu(&c->cgroup, call->arena, s, e) < 0 ||
	    add_memory(&c->cgroup, call->arena, s, e) < 0 ||
	    add_pids(&c->cgroup, call->arena, s, e) < 0 ||
	    add_io(&c->cgroup, call->arena, s, e) < 0 ||
	    add_huge(&c->cgroup, call->arena, s, e) < 0 ||
	    add_ours(&c->cgroup, call->arena, out, e) < 0)
		return -1;
	out->cgroup_stats = s;
	return add_links(call->arena, out, e);
}
