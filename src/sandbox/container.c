/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Containers: from a bundle to a prepared first process in the guest, and back to nothing.
 * container_teardown() takes down whatever has been set up so far, so that a failure at any
 * step of the creation leaves nothing.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/path.h"
#include "base/str.h"
#include "base/time.h"
#include "config/config.h"
#include "config/paths.h"
#include "oci/annotations.h"
#include "oci/guest_spec.h"
#include "oci/notes.h"
#include "oci/spec.h"
#include "sandbox/disks.h"
#include "sandbox/grow.h"
#include "sandbox/hooks.h"
#include "sandbox/guest_figures.h"
#include "sandbox/internal.h"
#include "sandbox/links.h"
#include "sandbox/mount_chain.h"
#include "sandbox/oom_score.h"
#include "sandbox/stdio.h"
#include "share/share.h"

enum {
	ID_MAX = 128,
	REMOVE_TIMEOUT_S = 10,
	DRAIN_MS = 10 * 1000,
	WRITE_BACK_MS = 100 * 1000, /* of disks, which the agent gives 90 s */
	DELETED_MS = 180 * 1000,    /* more than a guest, disks and hooks are given for it */
	FIGURES_PAUSE_MS = 30 * 1000
};

void container_unref(struct container *c)
{
	if (--c->refs)
		return;
	arena_fini(&c->arena);
	free(c->id);
	free(c->bundle);
	free(c);
}

int container_new(struct sandbox *s, const struct container_config *cc, struct container **out,
		  struct err *e)
{
	struct container *c = mem_new(struct container);

	if (!c)
		return err_oom(e, "a container");
	c->sandbox = s;
	c->refs = 1;
	list_init(&c->node);
	list_init(&c->execs);
	cond_init(&c->exec_ended, s->loop);
	arena_init(&c->arena, 2 * (size_t)SPEC_ARENA_BYTES);
	c->id = strdup(cc->id);
	c->bundle = strdup(cc->bundle);
	if (!c->id || !c->bundle) {
		container_unref(c);
		return err_oom(e, "a container");
	}
	c->log = (struct log_ctx){ .sandbox = s->c.id, .container = c->id };
	if (process_new(c, "", &c->init, e) < 0) {
		container_unref(c);
		return -1;
	}
	/* in the list from now on: a second Create of the same id must see it */
	list_append(&s->containers, &c->node);
	s->container_count++;
	*out = c;
	return 0;
}

struct container *container_find(struct sandbox *s, const char *id)
{
	list_for_each(n, tmp, &s->containers) {
		struct container *c = list_entry(n, struct container, node);

		if (str_eq(c->id, id))
			return c;
	}
	return NULL;
}

/* ---- creation, step by step ---- */

/* root.path of the specification, relative to the bundle. */
static int root_dir(struct container *c, char **out, struct err *e)
{
	const char *path = c->spec->root ? c->spec->root->path : NULL;

	if (!path || !*path)
		return err_set(e, ERR_INVALID, 0, "config.json: root.path is missing");
	*out = path[0] == '/' ? strdup(path) : str_printf("%s/%s", c->bundle, path);
	return *out ? 0 : err_oom(e, "a path");
}

static int check_targets(const struct container_config *cc, struct err *e)
{
	for (size_t i = 0; i < cc->rootfs_count; i++) {
		const char *target = cc->rootfs[i].target;

		if (target && *target)
			return err_set(e, ERR_UNSUPPORTED, 0,
				       "rootfs[%zu]: a mount with a target ('%.100s')", i,
				       target);
	}
	return 0;
}

static int share_root(struct container *c, const struct container_config *cc,
		      struct share_entry *entry, struct err *e)
{
	struct share_mount *mounts =
		arena_calloc(&c->arena, cc->rootfs_count + 1, sizeof(*mounts));
	OWN(free) char *dir = NULL;

	if (!mounts)
		return err_oom(e, "root file system mounts");
	if (check_targets(cc, e) < 0)
		return -1;
	if (mount_chain_is(cc->rootfs, cc->rootfs_count))
		return mount_chain_root(c, cc->rootfs, cc->rootfs_count, entry, e);
	for (size_t i = 0; i < cc->rootfs_count; i++) {
		const struct rootfs_mount *m = &cc->rootfs[i];
		const char **options =
			arena_calloc(&c->arena, m->option_count + 1, sizeof(char *));

		if (!options)
			return err_oom(e, "root file system mounts");
		memcpy(options, m->options, m->option_count * sizeof(char *));
		mounts[i] = (struct share_mount){ m->type, m->source, options };
	}
	if (cc->rootfs_count == 0 && root_dir(c, &dir, e) < 0)
		return -1;
	c->shared = true;
	if (share_add_rootfs(c->sandbox->share, c->id, dir, false, mounts, cc->rootfs_count,
			     entry, e) < 0)
		return err_wrap(e, "root file system");
	return 0;
}

int start_stand_in(struct sandbox *s, struct stand_in *st, const Grpc__Spec *spec,
		   const char *netns, const char *root, struct err *e)
{
	OWN(fd) int netns_fd = *netns ? open(netns, O_RDONLY | O_NONBLOCK | O_CLOEXEC) : -1;
	struct stand_in_config sc = { .root = root,
				      .netns_fd = netns_fd,
				      .hostname = s->c.hostname };
	OWN(free) char *program = NULL;

	if (*netns && netns_fd < 0)
		return err_sys(e, "network namespace '%.200s'", netns);
	if (shared_ns_join(s, spec, e) < 0 || paths_libexec("kata-stand-in", &program, e) < 0)
		return -1;
	sc.ipc_fd = s->shared_ns[SHARED_NS_IPC];
	sc.uts_fd = s->shared_ns[SHARED_NS_UTS];
	sc.program = program;
	if (stand_in_start(st, s->reaper, &sc, e) < 0)
		return -1;
	return shared_ns_keep(s, stand_in_last_pid(st), e);
}

static int open_streams(struct container *c, const struct container_config *cc, struct err *e)
{
	struct process *p = c->init;
	struct stdio_names names = {
		.in = cc->stdin_name,
		.out = cc->stdout_name,
		.err = cc->stderr_name,
		.terminal = cc->terminal,
		.owner = { c->sandbox->reaper, c->id, c->sandbox->c.namespace },
	};

	p->terminal = cc->terminal;
	p->in = arena_strdup(&p->arena, cc->stdin_name ? cc->stdin_name : "");
	p->out = arena_strdup(&p->arena, cc->stdout_name ? cc->stdout_name : "");
	p->err_name = arena_strdup(&p->arena, cc->stderr_name ? cc->stderr_name : "");
	if (!p->in || !p->out || !p->err_name)
		return err_oom(e, "a process");
	return stdio_open(c->sandbox->loop, &names, &c->log, &p->stdio, e);
}

static int append_storage(struct container *c, Grpc__Storage *st, struct err *e)
{
	if (c->storage_count == c->storage_room) {
		size_t room = c->storage_room ? 2 * c->storage_room : 8;
		Grpc__Storage **list = arena_calloc(&c->arena, room, sizeof(*list));

		if (!list)
			return err_oom(e, "a storage");
		if (c->storage_count)
			memcpy(list, c->storages, c->storage_count * sizeof(*list));
		c->storages = list;
		c->storage_room = room;
	}
	c->storages[c->storage_count++] = st;
	return 0;
}

int container_add_storage(struct container *c, const char *driver, const char *source,
			  const char *fstype, const char *mount_point, Grpc__Storage **out,
			  struct err *e)
{
	struct arena *a = &c->arena;
	Grpc__Storage *st = arena_alloc(a, sizeof(*st));

	if (!st)
		return err_oom(e, "a storage");
	grpc__storage__init(st);
	st->driver = arena_strdup(a, driver);
	st->source = arena_strdup(a, source);
	st->fstype = arena_strdup(a, fstype);
	st->mount_point = arena_strdup(a, mount_point);
	if (!st->driver || !st->source || !st->fstype || !st->mount_point)
		return err_oom(e, "a storage");
	if (append_storage(c, st, e) < 0)
		return -1;
	*out = st;
	return 0;
}

int container_add_device(struct container *c, const char *type, const char *id,
			 const char *vm_path, const char *container_path, Grpc__Device **out,
			 struct err *e)
{
	struct arena *a = &c->arena;
	Grpc__Device *d;

	if (c->device_count == CONTAINER_DEVICES_MAX)
		return err_set(e, ERR_UNSUPPORTED, 0, "more than %d devices of a container",
			       CONTAINER_DEVICES_MAX);
	d = arena_alloc(a, sizeof(*d));
	if (!d)
		return err_oom(e, "a device");
	grpc__device__init(d);
	d->type = arena_strdup(a, type);
	d->id = arena_strdup(a, id);
	d->vm_path = arena_strdup(a, vm_path);
	d->container_path = arena_strdup(a, container_path);
	if (!d->type || !d->id || !d->vm_path || !d->container_path)
		return err_oom(e, "a device");
	c->devices[c->device_count++] = d;
	*out = d;
	return 0;
}

bool rootfs_mount_has(const struct rootfs_mount *m, const char *word)
{
	for (size_t i = 0; i < m->option_count; i++) {
		if (str_eq(m->options[i], word))
			return true;
	}
	return false;
}

int storage_options_room(struct container *c, Grpc__Storage *st, size_t n, struct err *e)
{
	st->options = arena_calloc(&c->arena, n + 1, sizeof(char *));
	return st->options ? 0 : err_oom(e, "a storage");
}

int storage_add_option(struct container *c, Grpc__Storage *st, const char *text, struct err *e)
{
	char *copy = text ? arena_strdup(&c->arena, text) : NULL;

	if (!copy)
		return err_oom(e, "a storage");
	st->options[st->n_options++] = copy;
	return 0;
}

static int create_in_guest(struct container *c, const char *guest_root, struct err *e)
{
	Grpc__CreateContainerRequest req = GRPC__CREATE_CONTAINER_REQUEST__INIT;

	struct guest_spec gs;

	if (container_guest_spec(c, guest_root, &gs, e) < 0)
		return -1;
	req.oci = gs.spec;
	req.sandbox_pidns = gs.sandbox_pidns;
	req.agent_pidns = gs.agent_pidns;
	req.pid_of = (char *)(uintptr_t)(gs.pid_of ? gs.pid_of : "");
	req.container_id = c->id;
	req.exec_id = c->id; /* as upstream's engine names a first process */
	req.storages = c->storages;
	req.n_storages = c->storage_count;
	if (disks_attach(c, gs.spec, e) < 0)
		return -1;
	req.devices = c->devices;
	req.n_devices = c->device_count;
	/* from now on: called off, it is still being made there, of disks that must stay till
	 * then
	 */
	c->in_guest = true;
	if (agent_do(c->sandbox->agent, AGENT_CREATE_CONTAINER, &req, e) == 0)
		return 0;
	c->program_refused = e->kind == ERR_NOT_FOUND || e->kind == ERR_DENIED;
	return -1;
}

static struct hook_owner hook_owner_of(struct container *c)
{
	return (struct hook_owner){ c->sandbox->loop, c->sandbox->reaper, c->id, c->bundle,
				    c->spec,          container_pid(c) };
}

/*
 * What callers do to the container's network and files before its program is prepared. The
 * hooks see the stand-in as its process.
 */
static int run_create_hooks(struct container *c, struct err *e)
{
	const struct hook_owner o = hook_owner_of(c);
	const Grpc__Hooks *h = c->spec->hooks;

	if (!h)
		return 0;
	if (hooks_mark_poststop(&o, e) < 0)
		return -1;
	c->hooked = true;
	if (hooks_run(&o, h->prestart, h->n_prestart, "creating", "prestart", e) < 0 ||
	    hooks_run(&o, h->createruntime, h->n_createruntime, "creating", "createRuntime",
		      e) < 0)
		return -1;
	return hooks_run(&o, h->createcontainer, h->n_createcontainer, "creating",
			 "createContainer", e);
}

/* nerdctl attaches its networks in hooks, Docker after this; both where the stand-in is. */
static int adopt_links(struct container *c, struct err *e)
{
	char netns[48];

	if (c->sandbox->c.network != NETWORK_LINKS)
		return 0;
	(void)snprintf(netns, sizeof(netns), "/proc/%d/ns/net", (int)container_pid(c));
	return links_adopt(c->sandbox, netns, e);
}

/* The specification: a failing poststart hook is logged, and the rest goes on. */
void container_run_poststart(struct container *c)
{
	const struct hook_owner o = hook_owner_of(c);
	const Grpc__Hooks *h = c->spec->hooks;
	struct err e;

	for (size_t i = 0; h && i < h->n_poststart; i++) {
		if (hooks_run(&o, h->poststart + i, 1, "running", "poststart", &e) < 0)
			log_warn(&c->log, "%s", e.msg);
	}
}

/* A pod's own container has limits for its process alone, and the pod's are in annotations. */
static int make_room(struct container *c, struct err *e)
{
	struct oci_identity id;

	if (spec_identity(c->spec, &id, e) < 0)
		return -1;
	c->is_pod = id.kind == OCI_POD_SANDBOX;
	if (c->is_pod)
		return 0;
	if (c->spec->linux && (grow_for(c, c->spec->linux->resources, e) < 0 ||
			       pinning_take(c, c->spec->linux->resources, e) < 0))
		return -1;
	c->is_sized = true;
	oom_score_apply(c->sandbox);
	return sandbox_need_ready(c->sandbox, e) < 0 ? -1 : pinning_apply(c->sandbox, e);
}

static void kill_init(void *arg)
{
	struct process *p = arg;
	struct err e;

	if (process_kill(p, SIGKILL, true, &e) < 0)
		log_warn(&p->container->log, "it is not killed: %s", e.msg);
	process_unref(p);
}

/* Whoever ends the process that the host knows as the container's means the container. */
static void on_stand_in_lost(struct stand_in *st)
{
	struct container *c = container_of(st, struct container, stand_in);
	struct err e;

	log_warn(&c->log, "its process on the host was ended (%d): so is the container",
		 child_exit_code(st->child.status));
	process_ref(c->init);
	if (fiber_spawn(c->sandbox->loop, "stand-in lost", kill_init, c->init, NULL, &e) < 0) {
		log_warn(&c->log, "it is not killed: %s", e.msg);
		process_unref(c->init);
	}
}

static int make_directories(const struct container *c, const struct container_config *cc,
			    const char *root, struct err *e)
{
	OWN(fd) int fd = -1;

	if (cc->directory_count == 0)
		return 0;
	if (c->root_disk)
		return err_set(e, ERR_UNSUPPORTED, 0,
			       "directories to be made in a root file system that is a disk");
	fd = open(root, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return err_sys(e, "open '%s'", root);
	for (size_t i = 0; i < cc->directory_count; i++) {
		OWN(fd) int there = -1;

		/* whatever it is */
		if (path_open_beneath(fd, cc->directories[i], O_PATH, 0, &there, e) == 0)
			continue;
		if (path_mkdirs_beneath(fd, cc->directories[i], 0755, NULL, e) < 0)
			return err_wrap(e, "directory '%.100s' of the image",
					cc->directories[i]);
	}
	return 0;
}

static int container_set_up(struct container *c, const struct container_config *cc,
			    struct err *e)
{
	OWN(oci_notes) struct oci_notes notes = { 0 };
	struct share_entry root;

	if (spec_load(c->bundle, &c->arena, &notes, &c->spec, e) < 0 ||
	    guest_spec_check(c->spec, e) < 0)
		return -1;
	oci_notes_log(&notes, LOG_INFO, &c->log, "config.json: without effect");
	if (c->spec->process && c->spec->process->terminal != cc->terminal)
		c->spec->process->terminal = cc->terminal;
	/* some of these wait, and the machine may be gone afterwards */
	if (open_streams(c, cc, e) < 0 || sandbox_need_ready(c->sandbox, e) < 0 ||
	    share_root(c, cc, &root, e) < 0 || make_directories(c, cc, root.host_path, e) < 0 ||
	    sandbox_need_ready(c->sandbox, e) < 0)
		return -1;
	if (start_stand_in(c->sandbox, &c->stand_in, c->spec, spec_network_namespace(c->spec),
			   root.host_path, e) < 0)
		return -1;
	c->stand_in.lost = on_stand_in_lost;
	if (make_room(c, e) < 0 || run_create_hooks(c, e) < 0 ||
	    sandbox_need_ready(c->sandbox, e) < 0 || adopt_links(c, e) < 0 ||
	    sandbox_need_ready(c->sandbox, e) < 0 ||
	    create_in_guest(c, root.guest_path, e) < 0 || sandbox_need_ready(c->sandbox, e) < 0)
		return -1;
	if (!stand_in_pid(&c->stand_in))
		return err_set(e, ERR_STATE, 0, "its process on the host was ended");
	return process_step(&c->init->state, PROCESS_MAKE, e);
}

/* Undoes whatever container_set_up() has done; the first failure is reported. */
static int container_teardown(struct container *c, struct err *e)
{
	Grpc__RemoveContainerRequest req = GRPC__REMOVE_CONTAINER_REQUEST__INIT;
	struct sandbox *s = c->sandbox;
	struct err later;
	int rc = 0;

	c->is_sized = false;
	/* half of it would leave what the guest still uses to somebody else */
	fiber_shield(s->loop, true);
	if (c->in_guest && s->state == SANDBOX_READY) {
		req.container_id = c->id;
		req.timeout = REMOVE_TIMEOUT_S;
		/* the guest may still be at its making, for as long as that may take */
		if (c->init->state == PROCESS_NEW &&
		    s->c.config->agent.create_container_timeout_s > REMOVE_TIMEOUT_S)
			req.timeout = s->c.config->agent.create_container_timeout_s;
		rc = agent_do_within(s->agent, AGENT_REMOVE_CONTAINER, &req,
				     c->disk_count ? WRITE_BACK_MS : 0, e);
		if (rc < 0 && e->kind == ERR_NOT_FOUND)
			rc = 0;
	}
	stand_in_end(&c->stand_in);
	if (disks_release(c, rc < 0 ? &later : e) < 0)
		rc = -1;
	if (c->shared && s->share &&
	    share_remove_container(s->share, c->id, rc < 0 ? &later : e) < 0)
		rc = -1;
	c->in_guest = c->shared = false;
	fiber_shield(s->loop, false);
	return rc;
}

static void run_poststop(struct container *c)
{
	const struct hook_owner o = hook_owner_of(c);

	if (!c->spec)
		return;
	/* each has a deadline of its own; half a network's removal is worse than a wait */
	fiber_shield(o.loop, true);
	hooks_run_poststop(&o);
	fiber_shield(o.loop, false);
}

/* Who waits for it is told, whatever it has come to. */
static void container_forget(struct container *c)
{
	struct sandbox *s = c->sandbox;

	process_forget(c->init);
	list_for_each(n, tmp, &c->execs) {
		struct process *p = list_entry(n, struct process, node);

		list_remove(n);
		process_forget(p);
		process_unref(p);
	}
	c->exec_count = 0;
	list_remove(&c->node);
	s->container_count--;
	cond_wake_all(&s->changed);
	process_unref(TAKE(c->init));
	container_unref(c);
}

/* What is left of the sandbox's containers may name fewer of the host's processors. */
static void place_the_others(struct sandbox *s)
{
	struct err e;

	oom_score_apply(s);
	if (s->container_count && sandbox_need_ready(s, &e) == 0 && pinning_apply(s, &e) < 0)
		log_warn(&s->log, "%s", e.msg);
}

void container_not_program(struct err *e)
{
	if (e->kind == ERR_NOT_FOUND)
		e->kind = ERR_INVALID;
	else if (e->kind == ERR_DENIED)
		e->kind = ERR_SYS;
}

int container_create(struct sandbox *s, const struct container_config *cc,
		     struct container **out, struct err *e)
{
	struct container *c;
	struct err ignored;

	if (path_check_id(cc->id, ID_MAX, "container id", e) < 0 ||
	    sandbox_need_ready(s, e) < 0)
		return -1;
	if (container_find(s, cc->id))
		return err_set(e, ERR_EXISTS, 0, "container '%s' exists already", cc->id);
	if (s->container_count >= CONTAINERS_MAX)
		return err_set(e, ERR_NO_MEMORY, 0,
			       "sandbox '%s' has %d containers, which is the most", s->c.id,
			       CONTAINERS_MAX);
	if (container_new(s, cc, &c, e) < 0)
		return -1;
	if (container_set_up(c, cc, e) < 0) {
		(void)sandbox_blame(s, e);
		if (!c->program_refused)
			container_not_program(e);
		(void)container_teardown(c, &ignored);
		if (c->hooked)
			run_poststop(c);
		container_forget(c);
		place_the_others(s);
		return err_wrap(e, "create container '%s'", cc->id);
	}
	*out = c;
	return 0;
}

/* Somebody is at it: it is gone when he is done. */
static int wait_deleted(struct container *c, struct err *e)
{
	int64_t deadline = deadline_in(DELETED_MS);

	while (c->init) {
		if (cond_wait(&c->sandbox->changed, deadline, e) < 0)
			return err_wrap(e, "container '%s' is being deleted", c->id);
	}
	return err_set(e, ERR_NOT_FOUND, 0, "container '%s' has been deleted", c->id);
}

static int delete_held(struct container *c, struct err *e)
{
	struct sandbox *s = c->sandbox;
	struct err why;

	/* a caller who gave up waiting, and asks again */
	if (c->init->state == PROCESS_DELETED)
		return wait_deleted(c, e);
	if (c->init->state == PROCESS_CREATED) /* never started: nobody needs to be told */
		process_ended(c->init, 137);
	if (process_step(&c->init->state, PROCESS_DELETE, e) < 0)
		return -1;
	if (process_drain(c->init, deadline_in(DRAIN_MS), e) < 0)
		log_warn(&c->log, "%s", e->msg);
	/* it is deleted from here on, whatever its guest says: who asks again would find
	 * nothing */
	if (container_teardown(c, &why) < 0)
		log_warn(&c->log, "its removal is not complete: %s", why.msg);
	run_poststop(c);
	container_forget(c);
	place_the_others(s);
	return 0;
}

int container_delete(struct container *c, struct err *e)
{
	int rc;

	c->refs++; /* it waits, and others may let go of it meanwhile */
	rc = delete_held(c, e);
	container_unref(c);
	return rc;
}

/* ---- while it runs ---- */

static int pause_or_resume(struct container *c, enum process_event ev, enum agent_method m,
			   const void *request, struct err *e)
{
	struct process *init = c->init;
	enum process_state next = init->state;
	int rc;

	if (process_step(&next, ev, e) < 0 || sandbox_need_ready(c->sandbox, e) < 0)
		return -1;
	/* the guest says when it answers: the container may have been deleted by then */
	process_ref(init);
	/* it does so whether we wait or not: its timeout ends this, not our caller */
	fiber_shield(c->sandbox->loop, true);
	rc = agent_do(c->sandbox->agent, m, request, e);
	fiber_shield(c->sandbox->loop, false);
	if (rc == 0)
		rc = process_step(&init->state, ev, e);
	process_unref(init);
	return rc;
}

int container_pause(struct container *c, struct err *e)
{
	Grpc__PauseContainerRequest req = GRPC__PAUSE_CONTAINER_REQUEST__INIT;

	req.container_id = c->id;
	return pause_or_resume(c, PROCESS_PAUSE, AGENT_PAUSE_CONTAINER, &req, e);
}

int container_resume(struct container *c, struct err *e)
{
	Grpc__ResumeContainerRequest req = GRPC__RESUME_CONTAINER_REQUEST__INIT;

	req.container_id = c->id;
	return pause_or_resume(c, PROCESS_RESUME, AGENT_RESUME_CONTAINER, &req, e);
}

static int update_held(struct container *c, Grpc__LinuxResources *r, struct oci_notes *notes,
		       struct err *e)
{
	Grpc__UpdateContainerRequest req = GRPC__UPDATE_CONTAINER_REQUEST__INIT;
	OWN(oci_notes) struct oci_notes edits = { 0 };

	if (grow_for(c, r, e) < 0 || pinning_take(c, r, e) < 0 ||
	    pinning_apply(c->sandbox, e) < 0)
		return -1;
	/*
	 * What names devices or processors of the host has no meaning in the guest. Rules for
	 * devices were fitted to the guest's numbers at the creation, and stay.
	 */
	r->n_devices = 0;
	guest_resources_edit(r, NULL, &edits);
	oci_notes_log(&edits, LOG_INFO, &c->log, "update");
	oci_notes_log(notes, LOG_INFO, &c->log, "update: without effect");
	req.container_id = c->id;
	req.resources = r;
	return agent_do(c->sandbox->agent, AGENT_UPDATE_CONTAINER, &req, e);
}

/* What cannot be, here or in the guest, is not counted on: the container has what it had. */
static int update_whole(struct container *c, Grpc__LinuxResources *r, struct oci_notes *notes,
			struct err *e)
{
	const struct sizing_limits limits = c->limits;
	const bool has_cpus = c->has_cpus;
	const cpu_set_t cpus = c->cpus;
	struct err later;

	if (update_held(c, r, notes, e) == 0)
		return 0;
	c->limits = limits;
	c->has_cpus = has_cpus;
	c->cpus = cpus;
	if (sandbox_need_ready(c->sandbox, &later) == 0 &&
	    pinning_apply(c->sandbox, &later) < 0)
		log_warn(&c->log, "%s", later.msg);
	return -1;
}

int container_update(struct container *c, Grpc__LinuxResources *r, struct oci_notes *notes,
		     struct err *e)
{
	int rc;

	if (sandbox_need_ready(c->sandbox, e) < 0)
		return -1;
	c->refs++;
	rc = update_whole(c, r, notes, e);
	container_unref(c);
	return rc;
}

static int ask_figures(struct container *c, struct arena *a, Grpc__StatsContainerResponse **out,
		       struct err *e)
{
	Grpc__StatsContainerRequest req = GRPC__STATS_CONTAINER_REQUEST__INIT;

	if (sandbox_need_ready(c->sandbox, e) < 0)
		return -1;
	req.container_id = c->id;
	if (agent_call(c->sandbox->agent, AGENT_STATS_CONTAINER, &req, a, out, e) < 0)
		return -1;
	guest_figures_trim(*out);
	return 0;
}

/* Its callers ask for all containers of a node, one after the other. */
int container_stats(struct container *c, struct arena *a, Grpc__StatsContainerResponse **out,
		    struct err *e)
{
	struct sandbox *s = c->sandbox;

	if (s->figures_failed_at && time_mono_ms() - s->figures_failed_at < FIGURES_PAUSE_MS)
		return err_set(e, ERR_TIMEOUT, 0, "the guest has just not said its figures");
	if (ask_figures(c, a, out, e) == 0)
		return 0;
	if (e->kind == ERR_TIMEOUT)
		s->figures_failed_at = time_mono_ms();
	return -1;
}

int container_processes(struct container *c, struct arena *a, const uint32_t **pids, size_t *n,
			struct err *e)
{
	Grpc__StatsContainerResponse *s;
	enum process_state st = c->init->state;

	*pids = NULL;
	*n = 0;
	if (c->sandbox->state != SANDBOX_READY ||
	    (st != PROCESS_RUNNING && st != PROCESS_PAUSED && st != PROCESS_CREATED) ||
	    !agent_has_feature(c->sandbox->agent, AGENT_FEATURE_PROCESSES))
		return 0;
	if (ask_figures(c, a, &s, e) < 0)
		return -1;
	*pids = s->pids;
	*n = s->n_pids;
	return 0;
}

size_t container_count(const struct sandbox *s)
{
	return s->container_count;
}

const char *container_id(const struct container *c)
{
	return c->id;
}

const char *container_bundle(const struct container *c)
{
	return c->bundle;
}

const char *container_manager(const struct container *c)
{
	struct oci_identity id;
	struct err ignored;

	if (!c->spec || spec_identity(c->spec, &id, &ignored) < 0 || !id.manager)
		return "";
	return id.manager;
}

pid_t container_pid(const struct container *c)
{
	return stand_in_pid(&c->stand_in);
}

pid_t container_last_pid(const struct container *c)
{
	return stand_in_last_pid(&c->stand_in);
}
