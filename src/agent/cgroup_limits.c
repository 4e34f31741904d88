/* SPDX-License-Identifier: Apache-2.0 */
/*
 * linux.resources to cgroup v2 files. 0 (and an absent member) means "leave as it is", -1
 * "without limit", as in the runtime specification. Members that version 2 has no counterpart
 * for are refused by name.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "agent/cgroup.h"
#include "agent/hugepages.h"
#include "base/err.h"
#include "base/fd.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/own.h"
#include "base/str.h"

enum {
	VALUE = 128,
	FILE_LEN = 64,
	FILE_MAX = 64 * 1024
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

/* ---- writing, and taking it back ---- */

struct undo {
	char file[FILE_LEN];
	char *value;
};

/* Limits of one cgroup that are being changed. */
struct change {
	int fd; /* the cgroup's */
	struct undo *undo;
	size_t count;
};

static int refuse(struct err *e, const char *field)
{
	return err_set(e, ERR_UNSUPPORTED, 0, "%s: cgroup v2 has no such limit", field);
}

/* The line of a file of many that begins with this word and a space; NULL if there is none. */
static const char *line_of(char *text, const char *word, size_t len)
{
	char *line, *rest;

	for (line = strtok_r(text, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest)) {
		if (strncmp(line, word, len) == 0 && line[len] == ' ')
			return line;
	}
	return NULL;
}

static bool is_weight(const char *file)
{
	return str_eq(file, "io.weight") || str_eq(file, "io.bfq.weight");
}

/*
 * What brings back the present state of what `value` changes (malloc'd; NULL: nothing can, or
 * no memory): the file's only line, or, where each device has one, the device's, or its word
 * for none.
 */
static char *value_before(char *text, const char *file, const char *value)
{
	size_t len = strcspn(value, " ");
	const char *line;

	if (is_weight(file) && !strchr(value, ':')) {
		line = line_of(text, "default", strlen("default"));
		return line ? strdup(line) : strndup(text, strcspn(text, "\n"));
	}
	if (value[len]) { /* "8:0 rbps=5", "mlx5_0 hca_handle=2"; but "1000 100000" */
		bool of_many = strpbrk(value, ":=") != NULL;

		line = of_many ? line_of(text, value, len) : NULL;
		if (line)
			return strdup(line);
		if (str_eq(file, "io.max"))
			return str_printf("%.*s rbps=max wbps=max riops=max wiops=max",
					  (int)len, value);
		if (is_weight(file))
			return str_printf("%.*s default", (int)len, value);
		if (of_many)
			return NULL;
	}
	/* a write(2) of nothing changes nothing */
	len = strcspn(text, "\n");
	return len ? strndup(text, len) : strdup("\n");
}

static int remember(struct change *c, const char *file, const char *value, struct err *e)
{
	struct undo *grown = mem_resize(c->undo, c->count + 1, sizeof(*grown));
	OWN(free) char *text = NULL;
	struct err unreadable;
	struct undo *u;

	if (!grown)
		return err_oom(e, "a limit");
	c->undo = grown;
	u = &grown[c->count];
	if (file_read(c->fd, file, FILE_MAX, &text, NULL, &unreadable) < 0)
		return 0; /* it cannot be written either, or there is nothing to bring back */
	(void)snprintf(u->file, sizeof(u->file), "%s", file);
	u->value = value_before(text, file, value);
	c->count++;
	return 0;
}

/* The last change first. What cannot be brought back is in the log. */
static void take_back(struct change *c)
{
	struct err e;

	while (c->count > 0) {
		struct undo *u = &c->undo[--c->count];

		if (!u->value)
			log_warn(NULL, "%s may stay as it was refused", u->file);
		else if (file_write_value(c->fd, u->file, u->value, &e) < 0)
			log_warn(NULL, "%s stays as it was refused: %s", u->file, e.msg);
		free(u->value);
	}
}

static void forget(struct change *c)
{
	while (c->count > 0)
		free(c->undo[--c->count].value);
	free(c->undo);
}

static int blame(struct err *e, const char *file, const char *field)
{
	if (e->kind == ERR_NOT_FOUND)
		return err_set(e, ERR_UNSUPPORTED, 0, "%s: the guest's kernel has no '%s'",
			       field, file);
	return err_wrap(e, "%s", field);
}

static int set(struct change *c, const char *file, const char *value, const char *field,
	       struct err *e)
{
	size_t before = c->count;

	if (remember(c, file, value, e) < 0)
		return -1;
	if (file_write_value(c->fd, file, value, e) == 0)
		return 0;
	while (c->count > before) /* it is what it was */
		free(c->undo[--c->count].value);
	return blame(e, file, field);
}

static int set_u64(struct change *c, const char *file, uint64_t v, const char *field,
		   struct err *e)
{
	char value[VALUE];

	(void)snprintf(value, sizeof(value), "%" PRIu64, v);
	return set(c, file, value, field, e);
}

/* Negative: "max"; 0: nothing to do. */
static int set_limit(struct change *c, const char *file, int64_t v, const char *field,
		     struct err *e)
{
	if (v == 0)
		return 0;
	return v < 0 ? set(c, file, "max", field, e) : set_u64(c, file, (uint64_t)v, field, e);
}

/* The present limit; 0: none. */
static int read_memory_limit(const struct change *c, int64_t *out, struct err *e)
{
	char text[VALUE];

	*out = 0;
	if (file_read_line(c->fd, "memory.max", text, sizeof(text), e) < 0)
		return blame(e, "memory.max", "memory.swap");
	return str_eq(text, "max") ? 0 : str_to_i64(text, 0, INT64_MAX, "memory.max", out, e);
}

/*
 * Version 1 counts memory and swap together, version 2 swap alone. The limit that is not set is
 * the one there is.
 */
static int set_swap(struct change *c, const Grpc__LinuxMemory *m, struct err *e)
{
	char value[VALUE] = "max";
	int64_t limit = m->limit;

	if (m->swap == 0)
		return 0;
	if (m->swap > 0) {
		if (limit == 0 && read_memory_limit(c, &limit, e) < 0)
			return -1;
		if (limit <= 0 || m->swap < limit)
			return err_set(e, ERR_INVALID, 0,
				       "memory.swap %" PRId64
				       " must be at least memory.limit %" PRId64,
				       m->swap, limit);
		(void)snprintf(value, sizeof(value), "%" PRId64, m->swap - limit);
	}
	/* a kernel without swap has no such file, and nothing to be limited */
	if (faccessat(c->fd, "memory.swap.max", F_OK, 0) < 0 && errno == ENOENT)
		return 0;
	return set(c, "memory.swap.max", value, "memory.swap", e);
}

/* By which a limit below what is in use is refused, instead of enforced by the OOM killer. */
static int check_usage(const struct change *c, const Grpc__LinuxMemory *m, struct err *e)
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

static int check_memory(const struct change *c, const Grpc__LinuxMemory *m, struct err *e)
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
	return check_usage(c, m, e);
}

static int apply_memory(struct change *c, const Grpc__LinuxMemory *m, struct err *e)
{
	if (set_swap(c, m, e) < 0 ||
	    set_limit(c, "memory.max", m->limit, "memory.limit", e) < 0)
		return -1;
	return set_limit(c, "memory.low", m->reservation, "memory.reservation", e);
}

/* The quota there is, with another period: cpu.max takes no period alone. */
static int set_cpu_period(struct change *c, uint64_t period, struct err *e)
{
	char text[VALUE], value[2 * VALUE];

	if (file_read_line(c->fd, "cpu.max", text, sizeof(text), e) < 0)
		return blame(e, "cpu.max", "cpu.period");
	(void)snprintf(value, sizeof(value), "%.*s %" PRIu64, (int)strcspn(text, " "), text,
		       period);
	return set(c, "cpu.max", value, "cpu.period", e);
}

static int set_cpu_max(struct change *c, const Grpc__LinuxCPU *cpu, struct err *e)
{
	char quota[VALUE] = "max", value[2 * VALUE];

	if (cpu->quota == 0)
		return cpu->period ? set_cpu_period(c, cpu->period, e) : 0;
	if (cpu->quota > 0)
		(void)snprintf(quota, sizeof(quota), "%" PRId64, cpu->quota);
	if (!cpu->period) /* the kernel keeps the one there is */
		return set(c, "cpu.max", quota, "cpu.quota", e);
	(void)snprintf(value, sizeof(value), "%s %" PRIu64, quota, cpu->period);
	return set(c, "cpu.max", value, "cpu.quota", e);
}

/* The kernel takes no quota below the burst there is, and no burst above the quota. */
static int set_bandwidth(struct change *c, const Grpc__LinuxCPU *cpu, struct err *e)
{
	struct err too_much;

	if (!cpu->burst)
		return set_cpu_max(c, cpu, e);
	if (set_u64(c, "cpu.max.burst", cpu->burst, "cpu.burst", &too_much) == 0)
		return set_cpu_max(c, cpu, e);
	return set_cpu_max(c, cpu, e) < 0
		       ? -1
		       : set_u64(c, "cpu.max.burst", cpu->burst, "cpu.burst", e);
}

/* An idle group has no weight of its own, and the usual one when it is idle no more. */
static int set_idle(struct change *c, const Grpc__LinuxCPU *cpu, struct err *e)
{
	char idle[VALUE], weight[VALUE];
	struct err none;

	if (cpu->has_idle_case != GRPC__LINUX_CPU__HAS_IDLE_IDLE)
		return 0;
	if (file_read_line(c->fd, "cpu.weight", weight, sizeof(weight), &none) == 0 &&
	    !str_eq(weight, "0") && remember(c, "cpu.weight", weight, e) < 0)
		return -1;
	(void)snprintf(idle, sizeof(idle), "%" PRId64, cpu->idle);
	return set(c, "cpu.idle", idle, "cpu.idle", e);
}

static int apply_cpu(struct change *c, const Grpc__LinuxCPU *cpu, struct err *e)
{
	bool idle = cpu->has_idle_case == GRPC__LINUX_CPU__HAS_IDLE_IDLE && cpu->idle;

	if (set_idle(c, cpu, e) < 0)
		return -1;
	if (cpu->shares && !idle &&
	    set_u64(c, "cpu.weight", cgroup_cpu_weight(cpu->shares), "cpu.shares", e) < 0)
		return -1;
	if (set_bandwidth(c, cpu, e) < 0)
		return -1;
	if (*cpu->cpus && set(c, "cpuset.cpus", cpu->cpus, "cpu.cpus", e) < 0)
		return -1;
	return *cpu->mems ? set(c, "cpuset.mems", cpu->mems, "cpu.mems", e) : 0;
}

static int set_io_weight(struct change *c, const char *value, const char *field, struct err *e)
{
	if (faccessat(c->fd, "io.weight", F_OK, 0) < 0 &&
	    faccessat(c->fd, "io.bfq.weight", F_OK, 0) == 0)
		return set(c, "io.bfq.weight", value, field, e);
	return set(c, "io.weight", value, field, e);
}

static int apply_throttle(struct change *c, Grpc__LinuxThrottleDevice *const *list, size_t n,
			  const char *word, const char *field, struct err *e)
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

static int apply_io_weights(struct change *c, const Grpc__LinuxBlockIO *io, struct err *e)
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

static int apply_io(struct change *c, const Grpc__LinuxBlockIO *io, struct err *e)
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
static int set_huge(struct change *c, const Grpc__LinuxHugepageLimit *h, const char *what,
		    struct err *e)
{
	char file[64];

	(void)snprintf(file, sizeof(file), "hugetlb.%s.%s", h->pagesize, what);
	if (faccessat(c->fd, file, F_OK, 0) < 0 && errno == ENOENT)
		return 0;
	return set_u64(c, file, h->limit, "hugepageLimits", e);
}

static int apply_huge_pages(struct change *c, const Grpc__LinuxResources *r, struct err *e)
{
	for (size_t i = 0; i < r->n_hugepagelimits; i++) {
		const Grpc__LinuxHugepageLimit *h = r->hugepagelimits[i];

		if (set_huge(c, h, "max", e) < 0 || set_huge(c, h, "rsvd.max", e) < 0)
			return -1;
	}
	return 0;
}

/* What needs no kernel, before anything is changed. */
static int check(const struct change *c, const Grpc__LinuxResources *r, struct err *e)
{
	uint64_t kib;

	if (r->network && (r->network->classid || r->network->n_priorities))
		return refuse(e, "network");
	if (r->cpu && r->cpu->realtimeruntime)
		return refuse(e, "cpu.realtimeRuntime");
	if (r->cpu && r->cpu->realtimeperiod)
		return refuse(e, "cpu.realtimePeriod");
	if (r->memory && check_memory(c, r->memory, e) < 0)
		return -1;
	for (size_t i = 0; i < r->n_hugepagelimits; i++) {
		/* it is part of a file's name */
		if (hugepages_size_parse(r->hugepagelimits[i]->pagesize, &kib, e) < 0)
			return err_wrap(e, "hugepageLimits[%zu]", i);
	}
	/* "memory.high": a file of the cgroup, never one of the core's ("cgroup.procs") */
	for (size_t i = 0; i < r->n_unified; i++) {
		const char *key = r->unified[i]->key;

		if (strchr(key, '/') || !strchr(key, '.') || key[0] == '.' ||
		    str_starts(key, "cgroup."))
			return err_set(e, ERR_INVALID, 0, "unified '%.64s'", key);
	}
	return 0;
}

static int apply_unified(struct change *c, const Grpc__LinuxResources *r, struct err *e)
{
	for (size_t i = 0; i < r->n_unified; i++) {
		if (set(c, r->unified[i]->key, r->unified[i]->value, "unified", e) < 0)
			return -1;
	}
	return 0;
}

static int apply(struct change *c, const Grpc__LinuxResources *r, struct err *e)
{
	if (check(c, r, e) < 0)
		return -1;
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

static int apply_all(const struct cgroup *group, const Grpc__LinuxResources *r, bool devices,
		     struct err *e)
{
	struct change c = { .fd = group->fd };
	int rc = apply(&c, r, e);

	if (rc == 0 && devices && r->n_devices)
		rc = cgroup_apply_devices(group, r, e);
	if (rc < 0)
		take_back(&c);
	forget(&c);
	return rc;
}

int cgroup_apply(const struct cgroup *c, const Grpc__LinuxResources *r, struct err *e)
{
	return apply_all(c, r, false, e);
}

int cgroup_update(const struct cgroup *c, const Grpc__LinuxResources *r, struct err *e)
{
	return apply_all(c, r, true, e);
}
