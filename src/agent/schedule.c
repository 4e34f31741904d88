/* SPDX-License-Identifier: Apache-2.0 */
/* process.scheduler, process.ioPriority, process.execCPUAffinity and linux.personality. */
#include <errno.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/personality.h>
#include <unistd.h>

#include "agent/stage_steps.h"
#include "base/own.h"
#include "base/str.h"
#include "base/sys.h"

struct word {
	const char *name;
	unsigned long value;
};

static const struct word policies[] = {
	{ "SCHED_OTHER", 0 },    { "SCHED_FIFO", 1 }, { "SCHED_RR", 2 },
	{ "SCHED_BATCH", 3 },    { "SCHED_ISO", 4 },  { "SCHED_IDLE", 5 },
	{ "SCHED_DEADLINE", 6 },
};
static const struct word scheduler_flags[] = {
	{ "SCHED_FLAG_RESET_ON_FORK", 0x01 },  { "SCHED_FLAG_RECLAIM", 0x02 },
	{ "SCHED_FLAG_DL_OVERRUN", 0x04 },     { "SCHED_FLAG_KEEP_POLICY", 0x08 },
	{ "SCHED_FLAG_KEEP_PARAMS", 0x10 },    { "SCHED_FLAG_UTIL_CLAMP_MIN", 0x20 },
	{ "SCHED_FLAG_UTIL_CLAMP_MAX", 0x40 },
};
static const struct word io_classes[] = {
	{ "IOPRIO_CLASS_RT", 1 },
	{ "IOPRIO_CLASS_BE", 2 },
	{ "IOPRIO_CLASS_IDLE", 3 },
};
static const struct word domains[] = {
	{ "LINUX", PER_LINUX },
	{ "LINUX32", PER_LINUX32 },
};

static bool find_word(const struct word *w, size_t n, const char *name, unsigned long *out)
{
	for (size_t i = 0; i < n; i++) {
		if (str_eq(w[i].name, name)) {
			*out = w[i].value;
			return true;
		}
	}
	return false;
}

struct sched_attr_v0 { /* struct sched_attr, SCHED_ATTR_SIZE_VER0, Linux 3.14 */
	uint32_t size, policy;
	uint64_t flags;
	int32_t nice;
	uint32_t priority;
	uint64_t runtime, deadline, period;
};

static int apply_scheduler(const Grpc__Scheduler *c, struct err *e)
{
	struct sched_attr_v0 attr = {
		.size = sizeof(attr),
		.nice = c->nice,
		.priority = (uint32_t)c->priority,
		.runtime = c->runtime,
		.deadline = c->deadline,
		.period = c->period,
	};
	unsigned long v;

	if (!find_word(policies, ARRAY_LEN(policies), c->policy, &v))
		return err_set(e, ERR_INVALID, 0, "process.scheduler.policy '%.40s'",
			       c->policy);
	attr.policy = (uint32_t)v;
	for (size_t i = 0; i < c->n_flags; i++) {
		if (!find_word(scheduler_flags, ARRAY_LEN(scheduler_flags), c->flags[i], &v))
			return err_set(e, ERR_INVALID, 0, "process.scheduler.flags: '%.40s'",
				       c->flags[i]);
		attr.flags |= v;
	}
	if (sys_sched_setattr(&attr) < 0)
		return err_sys(e, "process.scheduler");
	return 0;
}

static int apply_io_priority(const Grpc__IOPriority *p, struct err *e)
{
	unsigned long class;

	if (!find_word(io_classes, ARRAY_LEN(io_classes), p->class_, &class))
		return err_set(e, ERR_INVALID, 0, "process.ioPriority.class '%.40s'",
			       p->class_);
	if (p->priority < 0 || p->priority > 7)
		return err_set(e, ERR_INVALID, 0, "process.ioPriority.priority %lld",
			       (long long)p->priority);
	if (sys_ioprio_set((int)(class << 13) | (int)p->priority) < 0)
		return err_sys(e, "process.ioPriority");
	return 0;
}

/* "0-3,7": the list format of cpuset(7). */
static int parse_cpus(const char *s, cpu_set_t *out, struct err *e)
{
	const char *p = s;

	CPU_ZERO(out);
	while (*p) {
		char *end;
		unsigned long from = strtoul(p, &end, 10), to = from;

		if (end == p)
			goto bad;
		if (*end == '-') {
			p = end + 1;
			to = strtoul(p, &end, 10);
			if (end == p)
				goto bad;
		}
		if (from > to || to >= CPU_SETSIZE || (*end && *end != ','))
			goto bad;
		for (; from <= to; from++)
			CPU_SET(from, out);
		p = *end ? end + 1 : end;
	}
	return 0;
bad:
	return err_set(e, ERR_INVALID, 0, "process.execCPUAffinity '%.40s'", s);
}

static int apply_affinity(const Grpc__ExecCPUAffinity *a, struct err *e)
{
	const char *list = *a->final ? a->final : a->initial;
	cpu_set_t set;

	if (!*list)
		return 0;
	if (parse_cpus(list, &set, e) < 0)
		return -1;
	if (sched_setaffinity(0, sizeof(set), &set) < 0)
		return err_sys(e, "process.execCPUAffinity '%.40s'", list);
	return 0;
}

int schedule_apply(struct stage *s, struct err *e)
{
	const Grpc__LinuxPersonality *per = s->linux_->personality;
	unsigned long domain;

	if (s->process->scheduler && apply_scheduler(s->process->scheduler, e) < 0)
		return -1;
	if (s->process->iopriority && apply_io_priority(s->process->iopriority, e) < 0)
		return -1;
	if (s->order.kind == STAGE_JOIN && s->process->execcpuaffinity &&
	    apply_affinity(s->process->execcpuaffinity, e) < 0)
		return -1;
	if (!per)
		return 0;
	if (per->n_flags || !find_word(domains, ARRAY_LEN(domains), per->domain, &domain))
		return err_set(e, ERR_INVALID, 0, "linux.personality '%.40s'", per->domain);
	if (personality(domain) < 0)
		return err_sys(e, "linux.personality");
	return 0;
}
