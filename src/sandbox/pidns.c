/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Process namespaces that containers of a pod share, or join: who is meant on the host, and
 * what the agent is told (docs/decisions/0032-pods.md). The agent's part is agent/pidns.c.
 */
#include "sandbox/internal.h"

#include <stdio.h>

#include "base/err.h"
#include "base/mem.h"
#include "base/str.h"
#include "oci/guest_spec.h"
#include "sandbox/agent_client.h"

static bool joins(const Grpc__LinuxNamespace *n)
{
	return str_eq(n->type, "pid") && n->path && *n->path;
}

static bool is_pid_ns_of(const char *path, pid_t pid)
{
	char theirs[48];

	(void)snprintf(theirs, sizeof(theirs), "/proc/%d/ns/pid", (int)pid);
	return pid > 0 && str_eq(path, theirs);
}

static const struct container *find_by_pid_ns(const struct container *c, const char *path)
{
	list_for_each(n, tmp, &c->sandbox->containers) {
		const struct container *other = list_entry(n, struct container, node);

		if (other != c && is_pid_ns_of(path, container_pid(other)))
			return other;
	}
	return NULL;
}

/*
 * A process namespace to be joined is named by a process of the host, which here is a
 * stand-in: a container's, or the pod's, whose own namespace is that of its pause container or,
 * without one, the agent's to keep alive.
 */
static int find_one(struct container *c, const char *path, struct guest_spec *gs, struct err *e)
{
	/* it may be removed while this one is still being made: its id is copied */
	const struct container *of = find_by_pid_ns(c, path);
	bool with_pause = !sandbox_pid(c->sandbox);

	if (!of && !is_pid_ns_of(path, sandbox_pid(c->sandbox)))
		return err_set(
			e, ERR_UNSUPPORTED, 0,
			"linux.namespaces: pid '%.80s': only the process namespace of the "
			"pod, or of a container of it, can be joined",
			path);
	if (of && with_pause && c->sandbox->containers.next == &of->node)
		return 0;
	if (!agent_has_feature(c->sandbox->agent, AGENT_FEATURE_PIDNS))
		return err_set(
			e, ERR_UNSUPPORTED, 0,
			"linux.namespaces: pid '%.80s': the guest's agent lacks %s, use our own",
			path, AGENT_FEATURE_PIDNS);
	gs->sandbox_pidns = gs->agent_pidns = !of;
	gs->pid_of = of ? arena_strdup(&c->arena, of->id) : NULL;
	return of && !gs->pid_of ? err_oom(e, "a container's id") : 0;
}

int pidns_find(struct container *c, struct guest_spec *gs, struct err *e)
{
	const Grpc__Linux *l = c->spec->linux;

	for (size_t i = 0; l && i < l->n_namespaces; i++) {
		const Grpc__LinuxNamespace *n = l->namespaces[i];

		if (joins(n) && find_one(c, n->path, gs, e) < 0)
			return -1;
	}
	return 0;
}

bool pidns_ends_with(const struct process *p)
{
	const Grpc__Spec *spec = p->container->spec; /* NULL until it is being made */
	const Grpc__Linux *l = spec ? spec->linux : NULL;

	if (p != p->container->init)
		return false;
	for (size_t i = 0; l && i < l->n_namespaces; i++) {
		if (joins(l->namespaces[i]))
			return false;
	}
	return true;
}
