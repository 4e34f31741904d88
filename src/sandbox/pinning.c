/* SPDX-License-Identifier: Apache-2.0 */
/* sched_setaffinity(2) on the monitor's threads that are virtual processors. */
#include "sandbox/pinning.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/err.h"
#include "base/log.h"
#include "base/own.h"
#include "base/str.h"
#include "base/time.h"
#include "config/config.h"
#include "sandbox/internal.h"
#include "vmm/vmm.h"

enum {
	ASK_MS = 5000,
	THREADS_MAX = 512
};

static int add_range(char *range, cpu_set_t *set, struct err *e)
{
	char *end = strchr(range, '-');
	uint64_t first, last;

	if (end)
		*end++ = '\0';
	if (str_to_u64(range, 0, CPU_SETSIZE - 1, "a processor", &first, e) < 0)
		return -1;
	last = first;
	if (end && str_to_u64(end, first, CPU_SETSIZE - 1, "the last processor of a range",
			      &last, e) < 0)
		return -1;
	for (uint64_t i = first; i <= last; i++)
		CPU_SET(i, set);
	return 0;
}

int cpu_list_parse(const char *text, cpu_set_t *out, struct err *e)
{
	OWN(free) char *copy = strdup(text);
	char *rest = copy, *range;
	cpu_set_t set;

	if (!copy)
		return err_oom(e, "a list of processors");
	CPU_ZERO(&set);
	while ((range = strsep(&rest, ","))) {
		if (add_range(range, &set, e) < 0)
			return err_wrap(e, "'%.100s'", text);
	}
	*out = set;
	return 0;
}

int pinning_take(struct container *c, const Grpc__LinuxResources *r, struct err *e)
{
	const char *list = r && r->cpu && r->cpu->cpus ? r->cpu->cpus : "";

	if (!*list)
		return 0;
	if (cpu_list_parse(list, &c->cpus, e) < 0)
		return err_wrap(e, "linux.resources.cpu.cpus");
	c->has_cpus = true;
	return 0;
}

/*
 * Of all containers but the pod's own, which needs none. A container that names none may run
 * anywhere, and so must the machine.
 */
static bool united(const struct sandbox *s, cpu_set_t *out)
{
	bool any = false;

	CPU_ZERO(out);
	list_for_each(n, tmp, &s->containers) {
		const struct container *c = list_entry(n, struct container, node);

		if (c->is_pod || !c->is_sized)
			continue;
		if (!c->has_cpus)
			return false;
		CPU_OR(out, out, &c->cpus);
		any = true;
	}
	return any;
}

static int place(pid_t tid, const cpu_set_t *set, struct err *e)
{
	if (sched_setaffinity(tid, sizeof(*set), set) == 0)
		return 0;
	if (errno == EINVAL)
		return err_set(e, ERR_INVALID, 0,
			       "linux.resources.cpu.cpus: none of these processors of the host "
			       "can be used here");
	return err_sys(e, "place a virtual processor");
}

/* The n-th of a set's processors, counted from 0. */
static void nth_of(const cpu_set_t *all, size_t n, cpu_set_t *out)
{
	CPU_ZERO(out);
	for (size_t i = 0; i < CPU_SETSIZE; i++) {
		if (CPU_ISSET(i, all) && n-- == 0) {
			CPU_SET(i, out);
			return;
		}
	}
}

static int place_all(struct sandbox *s, const cpu_set_t *set, bool each_its_own, struct err *e)
{
	pid_t tids[THREADS_MAX];
	size_t count;

	if (vmm_vcpu_threads(s->vmm, deadline_in(ASK_MS), tids, THREADS_MAX, &count, e) < 0)
		return -1;
	count = count < THREADS_MAX ? count : THREADS_MAX;
	each_its_own = each_its_own && count == (size_t)CPU_COUNT(set);
	for (size_t i = 0; i < count; i++) {
		cpu_set_t one = *set;

		if (each_its_own)
			nth_of(set, i, &one);
		if (place(tids[i], &one, e) < 0)
			return -1;
	}
	log_info(&s->log, "%zu virtual processors run on %d of the host's%s", count,
		 CPU_COUNT(set), each_its_own ? ", each on its own" : "");
	return 0;
}

int pinning_apply(struct sandbox *s, struct err *e)
{
	bool pin = s->c.config->runtime.enable_vcpus_pinning;
	cpu_set_t set;
	bool has = united(s, &set);

	if (!has && !s->placed)
		return 0;
	if (!has && sched_getaffinity(0, sizeof(set), &set) < 0)
		return err_sys(e, "the engine's processors");
	s->placed = true; /* even if some of them fail: the others are somewhere else then */
	if (place_all(s, &set, pin && has, e) < 0)
		return -1;
	s->placed = has;
	return 0;
}
