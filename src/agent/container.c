/* SPDX-License-Identifier: Apache-2.0 */
/* Containers: creation in order, and taking down whatever a creation had got to. */
#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <unistd.h>

#include "agent/device.h"
#include "agent/device_mounts.h"
#include "agent/file_cache.h"
#include "agent/sandbox.h"
#include "base/buf.h"
#include "base/err.h"
#include "base/mem.h"
#include "base/path.h"
#include "base/str.h"
#include "base/time.h"
#include "wire/message.h"

enum {
	REMOVE_STEP_MS = 20,
	CGROUP_EMPTY_MS = 10 * 1000,
	STORAGES_MAX = 1024
};

void container_ref(struct container *c)
{
	c->refs++;
}

void container_unref(struct container *c)
{
	if (!c || --c->refs)
		return;
	fd_close(&c->cgroup.fd);
	free(c->request);
	free(c->storages);
	free(c->id);
	free(c);
}

int container_find(struct sandbox *s, const char *id, struct container **out, struct err *e)
{
	list_for_each(n, tmp, &s->containers) {
		struct container *c = list_entry(n, struct container, node);

		if (str_eq(c->id, id)) {
			*out = c;
			return 0;
		}
	}
	return err_set(e, ERR_NOT_FOUND, 0, "no container '%.80s'", id);
}

static int container_new(struct sandbox *s, const char *id, struct container **out,
			 struct err *e)
{
	struct container *c = mem_new(struct container);

	if (!c)
		return err_oom(e, "a container");
	c->id = strdup(id);
	if (!c->id) {
		free(c);
		return err_oom(e, "a container");
	}
	c->sandbox = s;
	c->refs = 1;
	c->cgroup.fd = -1;
	c->oom_watch = -1;
	list_init(&c->node);
	cond_init(&c->settled, s->loop);
	list_init(&c->processes);
	c->log = (struct log_ctx){ .sandbox = s->id, .container = c->id };
	*out = c;
	return 0;
}

/* ---- creation ---- */

static int check_request(struct sandbox *s, const Grpc__CreateContainerRequest *r,
			 struct err *e)
{
	struct container *found;
	struct err none;

	if (path_check_id(r->container_id, ID_MAX, "container id", e) < 0)
		return -1;
	if (container_find(s, r->container_id, &found, &none) == 0)
		return err_set(e, ERR_EXISTS, 0, "container '%s' exists already",
			       r->container_id);
	if (s->container_count >= CONTAINERS_MAX)
		return err_set(e, ERR_NO_MEMORY, 0, "%d containers, which is the most",
			       CONTAINERS_MAX);
	if (s->destroyed)
		return err_set(e, ERR_STATE, 0, "the sandbox is being destroyed");
	if (!r->oci)
		return err_set(e, ERR_INVALID, 0, "OCI is missing");
	if (r->n_shared_mounts)
		return err_set(e, ERR_UNSUPPORTED, 0, "shared_mounts are not supported");
	if (r->stdin_port || r->stdout_port || r->stderr_port)
		return err_set(e, ERR_UNSUPPORTED, 0,
			       "streams by port (pass-fd) are not supported");
	if (r->n_storages > STORAGES_MAX)
		return err_set(e, ERR_INVALID, 0, "storages: more than %d", STORAGES_MAX);
	return spec_check(r->oci, e);
}

static int keep_request(struct container *c, const Grpc__CreateContainerRequest *r,
			struct err *e)
{
	size_t size = grpc__create_container_request__get_packed_size(r);

	c->request = mem_zalloc(size);
	if (!c->request)
		return err_oom(e, "the specification");
	c->request_len = grpc__create_container_request__pack(r, c->request);
	for (size_t i = 0; r->oci->linux && i < r->oci->linux->n_namespaces; i++) {
		if (str_eq(r->oci->linux->namespaces[i]->type, "user"))
			c->user_ns = true;
	}
	return 0;
}

static int add_storages(struct container *c, const Grpc__CreateContainerRequest *r,
			struct err *e)
{
	c->storages = mem_calloc(r->n_storages, sizeof(*c->storages));
	if (!c->storages)
		return err_oom(e, "storages");
	for (size_t i = 0; i < r->n_storages; i++) {
		if (storage_add(c->sandbox, r->storages[i], &c->storages[i], e) < 0)
			return err_wrap(e, "storages[%zu]", i);
		c->storage_count = i + 1;
	}
	return 0;
}

static int make_cgroup(struct container *c, const Grpc__Spec *spec, struct err *e)
{
	const char *root = c->sandbox->config.cgroup_root;
	const Grpc__LinuxResources *r = spec->linux ? spec->linux->resources : NULL;
	char path[sizeof(c->cgroup.path)];

	if (cgroup_path(root, spec->linux ? spec->linux->cgroupspath : "", c->id, path,
			sizeof(path), e) < 0 ||
	    cgroup_make(root, path, &c->cgroup, e) < 0)
		return err_wrap(e, "linux.cgroupsPath");
	c->has_cgroup = true;
	if (r &&
	    (hugepages_take(r, &c->hugepages, e) < 0 || cgroup_apply(&c->cgroup, r, e) < 0))
		return err_wrap(e, "linux.resources");
	if (cgroup_apply_devices(&c->cgroup, r, e) < 0)
		return err_wrap(e, "linux.resources.devices");
	return 0;
}

static int set_up(struct container *c, const Grpc__CreateContainerRequest *r, struct arena *a,
		  struct err *e)
{
	struct launch launch = { .request = r };

	if (devices_attach(c->sandbox, r, a, e) < 0 || keep_request(c, r, e) < 0 ||
	    add_storages(c, r, e) < 0 || make_cgroup(c, r->oci, e) < 0)
		return -1;
	if (process_new(c, "", &c->init, e) < 0)
		return -1;
	process_ref(c->init);
	if (process_launch(c->init, &launch, e) < 0)
		return -1;
	oom_watch(c);
	return 0;
}

/* ---- the end ---- */

static void drop_processes(struct container *c)
{
	while (!list_empty(&c->processes))
		process_forget(list_entry(c->processes.next, struct process, node));
	if (c->init)
		process_unref(TAKE(c->init));
}

/* Everything has been killed: wait until the kernel has let go of it. */
static int wait_cgroup_empty(struct container *c, int64_t deadline, struct err *e)
{
	int64_t most = deadline_in(CGROUP_EMPTY_MS);

	if (deadline > most)
		deadline = most;
	while (cgroup_is_populated(&c->cgroup)) {
		if (deadline_left(deadline) == 0)
			return err_set(e, ERR_TIMEOUT, 0,
				       "processes of container '%s' do not end", c->id);
		if (cgroup_kill(&c->cgroup, e) < 0 ||
		    fiber_sleep(c->sandbox->loop, REMOVE_STEP_MS, e) < 0)
			return -1;
	}
	return 0;
}

static int end_processes(struct container *c, int64_t deadline, struct err *e)
{
	if (!c->has_cgroup)
		return 0;
	(void)cgroup_freeze(&c->cgroup, false, &(struct err)ERR_INIT);
	if (cgroup_kill(&c->cgroup, e) < 0)
		return -1;
	if (c->init && c->init->child.pid && process_wait(c->init, deadline, e) < 0)
		return -1;
	return wait_cgroup_empty(c, deadline, e);
}

static void release(struct container *c)
{
	struct sandbox *s = c->sandbox;
	struct err why;

	oom_unwatch(c);
	drop_processes(c);
	if (c->has_cgroup && cgroup_remove(&c->cgroup, &why) < 0)
		log_warn(&c->log, "%s", why.msg);
	hugepages_give_back(&c->hugepages);
	for (size_t i = c->storage_count; i > 0; i--)
		storage_release(s, c->storages[i - 1]);
	c->storage_count = 0;
	if (device_mounts_remove(c->id, &why) < 0)
		log_warn(&c->log, "%s", why.msg);
	if (!list_empty(&c->node)) {
		list_remove(&c->node);
		s->container_count--;
	}
	cond_wake_all(&c->settled);
	container_unref(c);
}

int container_create(struct sandbox *s, const Grpc__CreateContainerRequest *r, struct arena *a,
		     struct err *e)
{
	struct container *c;
	struct err ending;
	int rc;

	if (check_request(s, r, e) < 0 || container_new(s, r->container_id, &c, e) < 0)
		return -1;
	/* in the list from now on: a second creation of the same id must see it */
	list_append(&s->containers, &c->node);
	s->container_count++;
	c->removing = true;
	rc = set_up(c, r, a, e);
	if (rc < 0) {
		fiber_shield(s->loop, true);
		if (end_processes(c, deadline_in(CGROUP_EMPTY_MS), &ending) < 0)
			log_warn(&c->log, "%s", ending.msg);
		fiber_shield(s->loop, false);
		release(c);
		return -1;
	}
	c->removing = false;
	cond_wake_all(&c->settled);
	log_info(&c->log, "container created");
	return 0;
}

int container_remove(struct container *c, int64_t deadline, struct err *e)
{
	struct sandbox *s = c->sandbox;

	/* whoever asked for it may have given up, and wants to be sure of its end */
	while (c->removing) {
		if (cond_wait(&c->settled, deadline, e) < 0)
			return err_wrap(e, "container '%s' is being made or removed", c->id);
		if (list_empty(&c->node))
			return 0;
	}
	c->removing = true;
	if (end_processes(c, deadline, e) < 0) {
		c->removing = false;
		cond_wake_all(&c->settled);
		return -1;
	}
	log_info(&c->log, "container removed");
	release(c);
	file_cache_forget(s);
	return 0;
}

/* ---- while it runs ---- */

static int need_usable(struct container *c, struct err *e)
{
	if (c->removing || !c->init)
		return err_set(e, ERR_STATE, 0, "container '%s' is being made or removed",
			       c->id);
	return 0;
}

int container_start(struct container *c, struct err *e)
{
	OWN(process_ref) struct process *p = NULL;

	if (need_usable(c, e) < 0)
		return -1;
	p = c->init;
	process_ref(p);
	return process_release(p, e);
}

/* The container's request with the process of the exec: what the stage needs to join. */
static int exec_request(struct container *c, const Grpc__ExecProcessRequest *r, struct arena *a,
			Grpc__CreateContainerRequest **out, struct err *e)
{
	Grpc__CreateContainerRequest *req;
	ProtobufCMessage *m;

	if (message_decode(&grpc__create_container_request__descriptor, c->request,
			   c->request_len, a, &m, e) < 0)
		return -1;
	req = (Grpc__CreateContainerRequest *)m;
	/* it has the container's, where it names none */
	if (!r->process->capabilities && req->oci->process)
		r->process->capabilities = req->oci->process->capabilities;
	req->oci->process = r->process;
	req->string_user = r->string_user;
	req->oci->n_mounts = 0;
	req->oci->n_annotations = 0;
	req->n_storages = req->n_devices = 0;
	if (req->oci->linux) {
		req->oci->linux->n_maskedpaths = req->oci->linux->n_readonlypaths = 0;
		req->oci->linux->n_devices = req->oci->linux->n_sysctl = 0;
		req->oci->linux->resources = NULL;
	}
	*out = req;
	return 0;
}

static int check_exec(struct container *c, const Grpc__ExecProcessRequest *r, struct err *e)
{
	struct process *found;
	struct err none;

	if (need_usable(c, e) < 0 || path_check_id(r->exec_id, ID_MAX, "exec id", e) < 0)
		return -1;
	if (process_find(c, r->exec_id, &found, &none) == 0)
		return err_set(e, ERR_EXISTS, 0, "container '%s' has a process '%s' already",
			       c->id, r->exec_id);
	if (!c->init->started || c->init->child.exited)
		return err_set(e, ERR_STATE, 0, "container '%s' is not running", c->id);
	if (cgroup_is_frozen(&c->cgroup))
		return err_set(e, ERR_STATE, 0, "container '%s' is paused", c->id);
	if (!r->process)
		return err_set(e, ERR_INVALID, 0, "process is missing");
	if (r->stdin_port || r->stdout_port || r->stderr_port)
		return err_set(e, ERR_UNSUPPORTED, 0,
			       "streams by port (pass-fd) are not supported");
	return process_check(r->process, e);
}

int container_exec(struct container *c, const Grpc__ExecProcessRequest *r, struct arena *a,
		   struct err *e)
{
	struct launch launch = { .join = true };
	OWN(process_ref) struct process *p = NULL;
	Grpc__CreateContainerRequest *req;
	struct err ignored;

	if (check_exec(c, r, e) < 0 || exec_request(c, r, a, &req, e) < 0)
		return -1;
	launch.request = req;
	if (process_new(c, r->exec_id, &p, e) < 0)
		return -1;
	process_ref(p); /* the list has one reference, this call the other */
	if (process_launch(p, &launch, e) < 0 || process_release(p, e) < 0) {
		(void)child_kill(&p->child, SIGKILL, &ignored);
		process_forget(p);
		return -1;
	}
	return 0;
}
