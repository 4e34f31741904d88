/* SPDX-License-Identifier: Apache-2.0 */
/* Processors and memory plugged in, and taken into use by the guest. */
#include "sandbox/grow.h"

#include "base/err.h"
#include "base/time.h"
#include "config/config.h"
#include "event/fiber.h"
#include "sandbox/internal.h"
#include "vmm/vmm.h"

enum {
	PLUG_MS = 20 * 1000,
	MIB = 1 << 20
};

static void sum_limits(const struct sandbox *s, const struct container *changed,
		       const struct sizing_limits *its, struct sizing_limits *sum)
{
	*sum = (struct sizing_limits){ .quota = 0 };
	sizing_add(its, sum);
	list_for_each(n, tmp, &s->containers) {
		const struct container *c = list_entry(n, struct container, node);

		if (c != changed)
			sizing_add(&c->limits, sum);
	}
}

/* Of what the machine has less than that. */
static int plug(struct sandbox *s, const struct sandbox_config *want, struct err *e)
{
	Grpc__OnlineCPUMemRequest req = GRPC__ONLINE_CPUMEM_REQUEST__INIT;
	unsigned vcpus = s->c.vcpus;
	uint64_t mib = s->c.memory_mib;
	bool is_first = !s->unsettled;

	s->unsettled = true;
	if (want->vcpus > vcpus &&
	    vmm_resize_vcpus(s->vmm, want->vcpus, deadline_in(PLUG_MS), &s->c.vcpus, e) < 0)
		return -1;
	if (want->memory_mib > mib &&
	    vmm_resize_memory(s->vmm, want->memory_mib, deadline_in(PLUG_MS), &s->c.memory_mib,
			      e) < 0)
		return -1;
	if (is_first && s->c.vcpus == vcpus && s->c.memory_mib == mib) {
		s->unsettled = false; /* less than a block below the maximum */
		return 0;
	}
	req.wait = true;
	/* without a number the agent takes into use whatever it finds */
	req.nb_cpus = is_first ? s->c.vcpus - vcpus : 0;
	req.cpu_only = is_first && mib == s->c.memory_mib;
	if (agent_do(s->agent, AGENT_ONLINE_CPU_MEM, &req, e) < 0)
		return -1;
	s->unsettled = false;
	log_info(&s->log, "the machine has grown to %u vCPU and %llu MiB", s->c.vcpus,
		 (unsigned long long)s->c.memory_mib);
	return 0;
}

static int grow(struct sandbox *s, const struct sandbox_config *want, struct err *e)
{
	int rc;

	if (want->vcpus <= s->c.vcpus && want->memory_mib <= s->c.memory_mib && !s->unsettled)
		return 0;
	s->growing = true;
	/* to its end, which has a deadline: half of it would be in the way of the next */
	fiber_shield(s->loop, true);
	rc = plug(s, want, e);
	fiber_shield(s->loop, false);
	s->growing = false;
	cond_wake_all(&s->changed);
	return rc < 0 ? err_wrap(e, "make the machine larger") : 0;
}

/* Before anything is added up: what others grow for counts when they have it. */
static int wait_turn(struct sandbox *s, struct err *e)
{
	while (s->growing) {
		if (cond_wait(&s->changed, DEADLINE_NONE, e) < 0)
			return -1;
	}
	return sandbox_need_ready(s, e);
}

int grow_for(struct container *c, const Grpc__LinuxResources *r, struct err *e)
{
	struct sandbox_config want = { .vcpus = 0 };
	struct sizing_limits its = c->limits, sum;
	struct sandbox *s = c->sandbox;

	sizing_take_limits(r, &its);
	if (s->c.max_vcpus == 0) {
		if (its.memory > 0 && (uint64_t)its.memory / MIB > s->c.memory_mib)
			log_warn(&c->log,
				 "a limit of %lld MiB in a machine of %llu MiB, which stays "
				 "as it is (static_sandbox_resource_mgmt)",
				 (long long)its.memory / MIB,
				 (unsigned long long)s->c.memory_mib);
		c->limits = its;
		return 0;
	}
	if (wait_turn(s, e) < 0)
		return -1;
	sum_limits(s, c, &its, &sum);
	if (sizing_of_limits(&sum, s->c.config, s->c.overhead_mib, &want, e) < 0 ||
	    grow(s, &want, e) < 0)
		return -1;
	c->limits = its;
	return 0;
}
