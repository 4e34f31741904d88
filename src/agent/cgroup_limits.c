/* SPDX-License-Identifier: Apache-2.0 */
/*
 * linux.resources to cgroup v2 files. 0 (and an absent member) means "leave as it is", -1
 * "without limit", as in the runtime specification. Members that version 2 has no counterpart
 * for are refused by name.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "agent/cgroup.h"
#include "agent/hugepages.h"
#include "base/err.h"
#include "base/fd.h"
#include "base/own.h"
#include "base/str.h"

enum {
	VALUE = 128,
	CPU_PERIOD_DEFAULT = 100000
};

uint64_t cgroup_cpu_weight(uint64_t shares)
{
	if (shares < 2)
		shares = 2;
	if (shares > 262144)
		shares = 262144;
	return 1 + (shares - 2) * 9999 / 262142;
}

uint64_t cgroup_io_weight(uint64_t weight)
{
	if (weight < 10)
		weight = 10;
	if (weight > 1000)
		weight = 1000;
	return 1 + (weight - 10) * 9999 / 990;
}

static int refuse(struct err *e, const char *field)
{
	return err_set(e, ERR_UNSUPPORTED, 0, "%s: cgroup v2 has no such limit", field);
}

static int set(const struct cgroup *c, const char *file, const char *value, const char *field,
	       struct err *e)
{
	if (file_write_value(c->fd, file, value, e) == 0)
		return 0;
	if (e->kind == ERR_NOT_FOUND)
		return err_set(e, ERR_UNSUPPORTED, 0, "%s: the guest's kernel has no '%s'",
			       field, file);
	return err_wrap(e, "%s", field);
}

static int set_u64(const struct cgroup *c, const char *file, uint64_t v, const char *field,
		   struct err *e)
{
	char value[VALUE];

	(void)snprintf(value, sizeof(value), "%" PRIu64, v);
	return set(c, file, value, field, e);
}

/* Negative: "max"; 0: nothing to do. */
static int set_limit(const struct cgroup *c, const char *file, int64_t v, const char *field,
		     struct err *e)
{
	if (v == 0)
		return 0;
	return v < 0 ? set(c, file, "max", field, e) : set_u64(c, file, (uint64_t)v, field, e);
}

/* Version 1 counts memory and swap together, version 2 swap alone. */
static int set_swap(const struct cgroup *c, const Grpc__LinuxMemory *m, struct err *e)
{
	char value[VALUE] = "max";

	if (m->swap == 0)
		return 0;
	if (m->swap > 0) {
		if (m->limit <= 0 || m->swap < m->limit)
			return err_set(e, ERR_INVALID, 0,
				       "memory.swap %" PRId64
				       " must be at least memory.limit %" PRId64,
				       m->swap, m->limit);
		(void)snprintf(value, sizeof(value), "%" PRId64, m->swap - m->limit);
	}
	/* a kernel without swap has no such file, and nothing to be limited */
	if (faccessat(c->fd, "memory.swap.max", F_OK, 0) < 0 && errno == ENOENT)
		return 0;
	return set(c, "memory.swap.max", value, "memory.swap", e);
}

/* By which a limit below what is in use is refused, instead of enforced by the OOM killer. */
static int check_usage(const struct cgroup *c, const Grpc__LinuxMemory *m, struct err *e)
{
	char text[VALUE];
	int64_t used;

	if (!m->checkbeforeupdate || m->limit <= 0)
		return 0;
	if (file_read_line(c->fd, "memory.current", text, sizeof(text), e) < 0 ||
	    str_to_i64(text, 0, INT64_MAX, "memory.current", &used, e) < 0)
		return -1;
	if (used <= m->limit)
		return 0;
	return err_set(e, ERR_STATE, 0,
		       "memory.limit %" PRId64 " is below the %" PRId64 " bytes in use "
		       "(memory.checkBeforeUpdate)",
		       m->limit, used);
}

static int apply_memory(const struct cgroup *c, const Grpc__LinuxMemory *m, struct err *e)
{
	if (m->kernel > 0)
		return refuse(e, "memory.kernel");
	if (m->kerneltcp > 0)
		return refuse(e, "memory.kernelTCP");
	if (m->disableoomkiller)
		return refuse(e, "memory.disableOOMKiller");
	if (m->swappiness ||
	    m->has_swappiness_case != GRPC__LINUX_MEMORY__HAS_SWAPPINESS__NOT_SET)
		return refuse(e, "memory.swappiness");
	if (check_usage(c, m, e) < 0 || set_swap(c, m, e) < 0 ||
	    set_limit(c, "memory.max", m->limit, "memory.limit", e) < 0)
		return -1;
	return set_limit(c, "memory.low", m->reservation, "memory.reservation", e);
}

static int set_cpu_max(const struct cgroup *c, const Grpc__LinuxCPU *cpu, struct err *e)
{
	uint64_t period = cpu->period ? cpu->period : CPU_PERIOD_DEFAULT;
	char value[VALUE];

	if (cpu->quota == 0 && cpu->period == 0)
		return 0;
	if (cpu->quota > 0)
		(void)snprintf(value, sizeof(value), "%" PRId64 " %" PRIu64, cpu->quota,
			       period);
	else
		(void)snprintf(value, sizeof(value), "max %" PRIu64, period);
	return set(c, "cpu.max", value, "cpu.quota", e);
}

static int apply_cpu(const struct cgroup *c, const Grpc__LinuxCPU *cpu, struct err *e)
{
	char idle[VALUE];

	if (cpu->realtimeruntime)
		return refuse(e, "cpu.realtimeRuntime");
	if (cpu->realtimeperiod)
		return refuse(e, "cpu.realtimePeriod");
	if (cpu->has_idle_case == GRPC__LINUX_CPU__HAS_IDLE_IDLE) {
		(void)snprintf(idle, sizeof(idle), "%" PRId64, cpu->idle);
		if (set(c, "cpu.idle", idle, "cpu.idle", e) < 0)
			return -1;
	}
	/* an idle group has no weight of its own */
	if (cpu->shares &&
	    !(cpu->has_idle_case == GRPC__LINUX_CPU__HAS_IDLE_IDLE && cpu->idle) &&
	    set_u64(c, "cpu.weight", cgroup_cpu_weight(cpu->shares), "cpu.shares", e) < 0)
		return -1;
	if (set_cpu_max(c, cpu, e) < 0)
		return -1;
	if (cpu->burst && set_u64(c, "cpu.max.burst", cpu->burst, "cpu.burst", e) < 0)
		return -1;
	if (*cpu->cpus && set(c, "cpuset.cpus", cpu->cpus, "cpu.cpus", e) < 0)
		return -1;
	return *cpu->mems ? set(c, "cpuset.mems", cpu->mems, "cpu.mems", e) : 0;
}

static int set_io_weight(const struct cgroup *c, const char *value, const char *field,
			 struct err *e)
{
	if (faccessat(c->fd, "io.weight", F_OK, 0) < 0 &&
	    faccessat(c->fd, "io.bfq.weight", F_OK, 0) == 0)
		return set(c, "io.bfq.weight", value, field, e);
	return set(c, "io.weight", value, field, e);
}

static int apply_throttle(const struct cgroup *c, Grpc__LinuxThrottleDevice *const *list,
			  size_t n, const char *word, const char *field, struct err *e)
{
	char value[VALUE];

	for (size_t i = 0; i < n; i++) {
		(void)snprintf(value, sizeof(value), "%" PRId64 ":%" PRId64 " %s=%" PRIu64,
			       list[i]->major, list[i]->minor, word, list[i]->rate);
		if (set(c, "io.max", value, field, e) < 0)
			return -1;
	}
	return 0;
}

static int apply_io_weights(const struct cgroup *c, const Grpc__LinuxBlockIO *io, struct err *e)
{
	char value[VALUE];

	if (io->leafweight)
		return refuse(e, "blockIO.leafWeight");
	if (io->weight) {
		(void)snprintf(value, sizeof(value), "default %" PRIu64,
			       cgroup_io_weight(io->weight));
		if (set_io_weight(c, value, "blockIO.weight", e) < 0)
			return -1;
	}
	for (size_t i = 0; i < io->n_weightdevice; i++) {
		const Grpc__LinuxWeightDevice *d = io->weightdevice[i];

		if (d->leafweight)
			return refuse(e, "blockIO.weightDevice.leafWeight");
		(void)snprintf(value, sizeof(value), "%" PRId64 ":%" PRId64 " %" PRIu64,
			       d->major, d->minor, cgroup_io_weight(d->weight));
		if (set_io_weight(c, value, "blockIO.weightDevice", e) < 0)
			return -1;
	}
	return 0;
}

static int apply_io(const struct cgroup *c, const Grpc__LinuxBlockIO *io, struct err *e)
{
	if (apply_io_weights(c, io, e) < 0)
		return -1;
	if (apply_throttle(c, io->throttlereadbpsdevice, io->n_throttlereadbpsdevice, "rbps",
			   "blockIO.throttleReadBpsDevice", e) < 0 ||
	    apply_throttle(c, io->throttlewritebpsdevice, io->n_throttlewritebpsdevice, "wbps",
			   "blockIO.throttleWriteBpsDevice", e) < 0 ||
	    apply_throttle(c, io->throttlereadiopsdevice, io->n_throttlereadiopsdevice, "riops",
			   "blockIO.throttleReadIOPSDevice", e) < 0)
		return -1;
	return apply_throttle(c, io->throttlewriteiopsdevice, io->n_throttlewriteiopsdevice,
			      "wiops", "blockIO.throttleWriteIOPSDevice", e);
}

/* Of pages that the guest's kernel does not have nobody can have too many. */
static int set_huge(const struct cgroup *c, const Grpc__LinuxHugepageLimit *h, const char *what,
		    struct err *e)
{
	char file[64];

	(void)snprintf(file, sizeof(file), "hugetlb.%s.%s", h->pagesize, what);
	if (faccessat(c->fd, file, F_OK, 0) < 0 && errno == ENOENT)
		return 0;
	return set_u64(c, file, h->limit, "hugepageLimits", e);
}

static int apply_huge_pages(const struct cgroup *c, const Grpc__LinuxResources *r,
			    struct err *e)
{
	for (size_t i = 0; i < r->n_hugepagelimits; i++) {
		const Grpc__LinuxHugepageLimit *h = r->hugepagelimits[i];
		uint64_t kib;

		/* it is part of a file's name */
		if (hugepages_size_parse(h->pagesize, &kib, e) < 0)
			return err_wrap(e, "hugepageLimits[%zu]", i);
		if (set_huge(c, h, "max", e) < 0 || set_huge(c, h, "rsvd.max", e) < 0)
			return -1;
	}
	return 0;
}

/* "memory.high": a file of the cgroup, never one of the core's ("cgroup.procs"). */
static int apply_unified(const struct cgroup *c, const Grpc__LinuxResources *r, struct err *e)
{
	for (size_t i = 0; i < r->n_unified; i++) {
		const char *key = r->unified[i]->key;

		if (strchr(key, '/') || !strchr(key, '.') || key[0] == '.' ||
		    str_starts(key, "cgroup."))
			return err_set(e, ERR_INVALID, 0, "unified '%.64s'", key);
		if (set(c, key, r->unified[i]->value, "unified", e) < 0)
			return -1;
	}
	return 0;
}

int cgroup_apply(const struct cgroup *c, const Grpc__LinuxResources *r, struct err *e)
{
	if (r->network && (r->network->classid || r->network->n_priorities))
		return refuse(e, "network");
	if (r->memory && apply_memory(c, r->memory, e) < 0)
		return -1;
	if (r->cpu && apply_cpu(c, r->cpu, e) < 0)
		return -1;
	if (r->pids && set_limit(c, "pids.max", r->pids->limit, "pids.limit", e) < 0)
		return -1;
	if (r->blockio && apply_io(c, r->blockio, e) < 0)
		return -1;
	return apply_huge_pages(c, r, e) < 0 ? -1 : apply_unified(c, r, e);
}
