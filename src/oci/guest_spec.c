/* SPDX-License-Identifier: Apache-2.0 */
/* Takes out of a spec what belongs to the host. */
#include "oci/guest_spec.h"

#include <string.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/mem.h"
#include "base/str.h"
#include "oci/notes.h"
#include "oci/seccomp.h"
#include "wire/message.h"

static char empty[] = "";

static bool is_text(const char *s)
{
	return s && *s;
}

/* NULL with *e set on failure. */
static Grpc__Spec *copy_spec(const Grpc__Spec *host, struct arena *a, struct err *e)
{
	OWN(buf) struct buf bytes = BUF_INIT;
	ProtobufCMessage *m;

	if (message_encode(&host->base, &bytes, e) < 0)
		return NULL;
	if (message_decode(&grpc__spec__descriptor, buf_head(&bytes), buf_len(&bytes), a, &m,
			   e) < 0) {
		(void)err_oom(e, "a copy of the spec");
		return NULL;
	}
	return (Grpc__Spec *)(void *)m;
}

static void edit_hooks(Grpc__Spec *s)
{
	if (!s->hooks)
		return;
	s->hooks->n_prestart = 0;
	s->hooks->n_createruntime = 0;
	s->hooks->n_createcontainer = 0;
	s->hooks->n_poststart = 0;
	s->hooks->n_poststop = 0;
	if (!s->hooks->n_startcontainer)
		s->hooks = NULL;
}

void guest_process_edit(Grpc__Process *p, struct oci_notes *notes)
{
	if (is_text(p->apparmorprofile))
		oci_note(notes, "AppArmor profile %.60s is the host's", p->apparmorprofile);
	if (is_text(p->selinuxlabel))
		oci_note(notes, "SELinux label %.60s is the host's", p->selinuxlabel);
	p->apparmorprofile = empty;
	p->selinuxlabel = empty;
	if (p->execcpuaffinity)
		oci_note(notes, "execCPUAffinity names CPUs of the host");
	p->execcpuaffinity = NULL;
}

/* Whether it is one of the container's own, which is a disk of the guest. */
static bool is_own_disk(const Grpc__Linux *l, int64_t major, int64_t minor)
{
	for (size_t i = 0; l && i < l->n_devices; i++) {
		const Grpc__LinuxDevice *d = l->devices[i];

		if (str_eq(d->type, "b") && d->major == major && d->minor == minor)
			return true;
	}
	return false;
}

static void keep_own(const Grpc__Linux *l, Grpc__LinuxThrottleDevice **list, size_t *n,
		     struct oci_notes *notes)
{
	size_t kept = 0;

	for (size_t i = 0; i < *n; i++) {
		if (is_own_disk(l, list[i]->major, list[i]->minor))
			list[kept++] = list[i];
		else
			oci_note(notes,
				 l ? "blockIO limits of %lld:%lld: no disk of the container"
				   : "blockIO limits of %lld:%lld: set when the container is "
				     "made, for disks of its own",
				 (long long)list[i]->major, (long long)list[i]->minor);
	}
	*n = kept;
}

/*
 * What a container reads and writes on its root file system and volumes is I/O of the host's.
 * Rates of disks that are its own are kept; weights are against containers that have other
 * guests.
 */
static void edit_block_io(Grpc__LinuxResources *r, const Grpc__Linux *l,
			  struct oci_notes *notes)
{
	Grpc__LinuxBlockIO *b = r->blockio;

	if (!b)
		return;
	if (b->weight || b->leafweight || b->n_weightdevice)
		oci_note(notes, "blockIO weights are among containers of one kernel");
	b->weight = b->leafweight = 0;
	b->n_weightdevice = 0;
	keep_own(l, b->throttlereadbpsdevice, &b->n_throttlereadbpsdevice, notes);
	keep_own(l, b->throttlewritebpsdevice, &b->n_throttlewritebpsdevice, notes);
	keep_own(l, b->throttlereadiopsdevice, &b->n_throttlereadiopsdevice, notes);
	keep_own(l, b->throttlewriteiopsdevice, &b->n_throttlewriteiopsdevice, notes);
	if (b->n_throttlereadbpsdevice + b->n_throttlewritebpsdevice +
		    b->n_throttlereadiopsdevice + b->n_throttlewriteiopsdevice ==
	    0)
		r->blockio = NULL;
}

/* As runc does where the host has version 2 of cgroups, which the guest has. */
static void edit_memory(Grpc__LinuxMemory *m, struct oci_notes *notes)
{
	if (!m)
		return;
	if (m->kernel > 0 || m->kerneltcp > 0)
		oci_note(notes, "cgroup v2 counts kernel memory in memory.limit");
	m->kernel = m->kerneltcp = 0;
	if (m->disableoomkiller)
		oci_note(notes, "cgroup v2 has no memory.disableOOMKiller");
	m->disableoomkiller = 0;
	if (m->swappiness)
		oci_note(notes, "cgroup v2 has no memory.swappiness");
	m->swappiness = 0;
	m->has_swappiness_case = GRPC__LINUX_MEMORY__HAS_SWAPPINESS__NOT_SET;
}

void guest_resources_edit(Grpc__LinuxResources *r, const Grpc__Linux *l,
			  struct oci_notes *notes)
{
	edit_block_io(r, l, notes);
	edit_memory(r->memory, notes);
	if (r->network && (r->network->classid || r->network->n_priorities))
		oci_note(notes, "network class and priorities are the host's");
	r->network = NULL;
	if (r->cpu) {
		if (is_text(r->cpu->cpus) || is_text(r->cpu->mems))
			oci_note(notes, "cpuset names CPUs and memory nodes of the host");
		r->cpu->cpus = empty;
		r->cpu->mems = empty;
		if (r->cpu->realtimeperiod || r->cpu->realtimeruntime)
			oci_note(notes, "cgroup v2 has no real-time CPU limits");
		r->cpu->realtimeperiod = 0;
		r->cpu->realtimeruntime = 0;
	}
}

static int edit_namespace(const Grpc__Linux *l, Grpc__LinuxNamespace *n, struct guest_spec *g,
			  struct oci_notes *notes, bool *keep, struct err *e)
{
	bool joined = is_text(n->path);

	*keep = !str_eq(n->type, "network");
	if (str_eq(n->type, "pid") && joined) {
		g->sandbox_pidns = true;
		*keep = false;
	}
	if (str_eq(n->type, "time") && joined) {
		oci_note(notes, "a time namespace of the host cannot be joined");
		*keep = false;
	}
	if (str_eq(n->type, "user") && joined && !l->n_uidmappings)
		return err_set(e, ERR_UNSUPPORTED, 0,
			       "linux.namespaces: a user namespace of the host cannot be "
			       "joined from a "
			       "guest; give uidMappings and gidMappings");
	n->path = empty;
	return 0;
}

/* Those of the host that a container asks for by having none of its own; "pid" is seen to. */
static void note_host_namespaces(const Grpc__Linux *l, struct oci_notes *notes)
{
	static const struct {
		const char *type, *what;
	} rows[] = {
		{ "pid", "processes cannot be seen" },
		{ "ipc", "System V IPC cannot be reached" },
		{ "uts", "name cannot be changed" },
	};

	for (size_t k = 0; k < ARRAY_LEN(rows); k++) {
		bool has = false;

		for (size_t i = 0; i < l->n_namespaces; i++)
			has |= str_eq(l->namespaces[i]->type, rows[k].type);
		if (!has)
			oci_note(notes, "the host's %s from a guest", rows[k].what);
	}
}

static int edit_namespaces(Grpc__Linux *l, struct guest_spec *g, struct arena *a,
			   struct oci_notes *notes, struct err *e)
{
	bool has_pid = false;
	size_t kept = 0;

	note_host_namespaces(l, notes);
	for (size_t i = 0; i < l->n_namespaces; i++) {
		bool keep;

		has_pid |= str_eq(l->namespaces[i]->type, "pid");
		if (edit_namespace(l, l->namespaces[i], g, notes, &keep, e) < 0)
			return -1;
		if (keep)
			l->namespaces[kept++] = l->namespaces[i];
	}
	l->n_namespaces = kept;
	if (!has_pid) {
		Grpc__LinuxNamespace **list = arena_calloc(a, kept + 1, sizeof(void *));
		ProtobufCMessage *pid = message_new(&grpc__linux_namespace__descriptor, a);

		if (!list || !pid)
			return err_oom(e, "a namespace");
		if (kept)
			memcpy(list, l->namespaces, kept * sizeof(void *));
		list[kept] = (Grpc__LinuxNamespace *)(void *)pid;
		list[kept]->type = arena_strdup(a, "pid");
		if (!list[kept]->type)
			return err_oom(e, "a namespace");
		l->namespaces = list;
		l->n_namespaces = kept + 1;
	}
	return 0;
}

static int edit_linux(Grpc__Linux *l, const struct guest_spec_options *o, struct guest_spec *g,
		      struct arena *a, struct oci_notes *notes, struct err *e)
{
	if (is_text(l->mountlabel))
		oci_note(notes, "SELinux mount label %.60s is the host's", l->mountlabel);
	l->mountlabel = empty;
	if (l->intelrdt)
		oci_note(notes, "intelRdt is the host's");
	l->intelrdt = NULL;
	l->cgroupspath = empty;
	if (l->resources)
		guest_resources_edit(l->resources, l, notes);
	if (o->disable_seccomp && l->seccomp)
		oci_note(notes, "the seccomp profile is not applied (disable_guest_seccomp)");
	if (o->disable_seccomp)
		l->seccomp = NULL;
	if (l->seccomp && o->compile_seccomp && seccomp_compile(l->seccomp, a, notes, e) < 0)
		return -1;
	return edit_namespaces(l, g, a, notes, e);
}

int guest_spec_check(const Grpc__Spec *host, struct err *e)
{
	const Grpc__Linux *l = host->linux;

	for (size_t i = 0; l && i < l->n_namespaces; i++) {
		if (str_eq(l->namespaces[i]->type, "network"))
			return 0;
	}
	return err_set(
		e, ERR_UNSUPPORTED, 0,
		"linux.namespaces: there is no 'network', which asks for the host's "
		"network: a container in a VM cannot have that (--net-host, hostNetwork)");
}

int guest_spec_make(const Grpc__Spec *host, const struct guest_spec_options *o, struct arena *a,
		    struct oci_notes *notes, struct guest_spec *out, struct err *e)
{
	struct guest_spec g = { .spec = copy_spec(host, a, e) };

	if (!g.spec)
		return -1;
	edit_hooks(g.spec);
	if (g.spec->process)
		guest_process_edit(g.spec->process, notes);
	if (g.spec->linux && edit_linux(g.spec->linux, o, &g, a, notes, e) < 0)
		return -1;
	*out = g;
	return 0;
}
