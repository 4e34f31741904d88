/* SPDX-License-Identifier: Apache-2.0 */
/* The sandbox: set up once by the engine, taken down once. */
#include "agent/sandbox.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/file_cache.h"
#include "agent/modules.h"
#include "agent/sysctl.h"
#include "base/buf.h"
#include "base/err.h"
#include "base/fd.h"
#include "base/path.h"
#include "base/str.h"
#include "base/sys.h"
#include "base/time.h"

#define RUN_DIR "/run/kata-containers"

enum {
	DESTROY_MS = 20 * 1000,
	WISHES_MAX = 32
};

/*
 * Our own program for the stage: through a read-only mount that is nowhere attached, so that
 * what a container sees as /proc/PID/exe for a moment cannot be written.
 */
static int open_self(int *out, struct err *e)
{
	OWN(fd)
	int tree = sys_open_tree(AT_FDCWD, "/proc/self/exe", OPEN_TREE_CLONE | O_CLOEXEC);

	if (tree < 0)
		return err_sys(e, "/proc/self/exe");
	if (sys_mount_setattr(tree, "", AT_EMPTY_PATH, MOUNT_ATTR_RDONLY, 0, 0) < 0)
		return err_sys(e, "make the agent's program read-only");
	*out = fd_take(&tree);
	return 0;
}

int sandbox_init(struct sandbox *s, struct loop *l, const struct agent_config *c, struct err *e)
{
	*s = (struct sandbox){ .loop = l, .config = *c, .exe_fd = -1, .oom_fd = -1 };
	pidns_init(&s->pidns, l);
	list_init(&s->containers);
	list_init(&s->storages);
	list_init(&s->forwards);
	s->own_pidns = open("/proc/self/ns/pid", O_RDONLY | O_CLOEXEC);
	if (s->own_pidns < 0)
		return err_sys(e, "/proc/self/ns/pid");
	s->own_timens = open("/proc/self/ns/time", O_RDONLY | O_CLOEXEC); /* may not exist */
	if (open_self(&s->exe_fd, e) < 0 || child_reaper_init(&s->reaper, l, e) < 0)
		return -1;
	return oom_init(s, e);
}

static int write_dns(const Grpc__CreateSandboxRequest *r, struct err *e)
{
	OWN(buf) struct buf text = { .limit = 64 * 1024 };

	if (!r->n_dns)
		return 0;
	for (size_t i = 0; i < r->n_dns; i++) {
		if (buf_printf(&text, e, "%s\n", r->dns[i]) < 0)
			return err_wrap(e, "dns");
	}
	/* the guest's /etc/resolv.conf is a link to it */
	return file_replace(AT_FDCWD, RUN_DIR "/sandbox/resolv.conf", buf_head(&text),
			    buf_len(&text), 0644, false, e);
}

static int load_modules(struct sandbox *s, const Grpc__CreateSandboxRequest *r, struct err *e)
{
	for (size_t i = 0; i < r->n_kernel_modules; i++) {
		const Grpc__KernelModule *m = r->kernel_modules[i];

		if (module_load(m->name, m->parameters, m->n_parameters, e) < 0)
			return err_wrap(e, "kernel_modules[%zu] '%.64s'", i, m->name);
		log_info(&s->log, "loaded module %s", m->name);
	}
	return 0;
}

static bool set_wish(int proc, const char *text, struct err *e)
{
	const char *equals = strchr(text, '=');
	char key[96];

	if (!equals || (size_t)(equals - text) >= sizeof(key) || !str_starts(text, "net/"))
		return err_set(e, ERR_INVALID, 0, "'%.80s' is no parameter", text) == 0;
	(void)snprintf(key, sizeof(key), "%.*s", (int)(equals - text), text);
	return sysctl_set(proc, key, equals + 1, e) == 0;
}

/*
 * Those of the caller's namespace: the guest is of use without one that its kernel refuses. One
 * may hang on another that comes later (port ranges): refused ones are tried again.
 */
static void set_wishes(const struct sandbox *s, const Grpc__CreateSandboxRequest *r)
{
	OWN(fd) int proc = open("/proc", O_PATH | O_DIRECTORY | O_CLOEXEC);
	bool refused[WISHES_MAX] = { false };
	struct err e;

	for (size_t i = 0; i < r->n_network_sysctls && i < WISHES_MAX; i++)
		refused[i] = !set_wish(proc, r->network_sysctls[i], &e);
	for (size_t i = 0; i < r->n_network_sysctls && i < WISHES_MAX; i++) {
		if (refused[i] && !set_wish(proc, r->network_sysctls[i], &e))
			log_warn(&s->log, "%.80s: %s", r->network_sysctls[i], e.msg);
	}
}

static int set_sysctls(const Grpc__CreateSandboxRequest *r, struct err *e)
{
	OWN(fd) int proc = open("/proc", O_PATH | O_DIRECTORY | O_CLOEXEC);

	if (proc < 0)
		return err_sys(e, "open /proc");
	for (size_t i = 0; i < r->n_sysctls; i++) {
		const char *key = r->sysctls[i]->key;

		if (sysctl_set(proc, key, r->sysctls[i]->value, e) < 0)
			return err_wrap(e, "sysctls '%.80s'", key);
	}
	return 0;
}

static int create(struct sandbox *s, const Grpc__CreateSandboxRequest *r, struct err *e)
{
	struct storage *ignored;

	if (*r->guest_hook_path)
		return err_set(e, ERR_UNSUPPORTED, 0,
			       "guest_hook_path: not supported in the guest");
	if (path_mkdirs(RUN_DIR "/sandbox", 0755, e) < 0 ||
	    path_mkdirs(RUN_DIR "/shared/containers", 0755, e) < 0)
		return -1;
	if (*r->hostname && sethostname(r->hostname, strlen(r->hostname)) < 0)
		return err_sys(e, "hostname '%.64s'", r->hostname);
	if (load_modules(s, r, e) < 0)
		return -1;
	set_wishes(s, r);
	if (set_sysctls(r, e) < 0)
		return -1;
	for (size_t i = 0; i < r->n_storages; i++) {
		if (storage_add(s, r->storages[i], &ignored, e) < 0)
			return err_wrap(e, "storages[%zu]", i);
	}
	return write_dns(r, e);
}

int sandbox_create(struct sandbox *s, const Grpc__CreateSandboxRequest *r, struct err *e)
{
	if (s->created)
		return err_set(e, ERR_EXISTS, 0, "the sandbox exists already");
	if (*r->sandbox_id && path_check_id(r->sandbox_id, ID_MAX, "sandbox id", e) < 0)
		return -1;
	s->created = true;
	(void)snprintf(s->id, sizeof(s->id), "%s", r->sandbox_id);
	s->log.sandbox = s->id;
	s->share_pidns = r->sandbox_pidns;
	if (create(s, r, e) < 0) {
		while (!list_empty(&s->storages))
			storage_release(s, list_entry(s->storages.prev, struct storage, node));
		s->created = false;
		return -1;
	}
	log_info(&s->log, "sandbox created");
	return 0;
}

/* The newest that nobody else is at work on. */
static struct container *newest_settled(struct sandbox *s)
{
	for (struct list *n = s->containers.prev; n != &s->containers; n = n->prev) {
		struct container *c = list_entry(n, struct container, node);

		if (!c->removing)
			return c;
	}
	return NULL;
}

int sandbox_destroy(struct sandbox *s, struct err *e)
{
	int64_t deadline = deadline_in(DESTROY_MS);
	struct container *c;
	int rc = 0;

	s->destroyed = true;
	file_cache_stop(s);
	sync(); /* whatever becomes of the rest: the engine does not wait for long */
	while (rc == 0 && (c = newest_settled(s))) {
		container_ref(c);
		rc = container_remove(c, deadline, e);
		container_unref(c);
	}
	if (rc == 0 && !list_empty(&s->containers))
		rc = err_set(e, ERR_STATE, 0, "a container is being made or removed");
	if (rc == 0)
		pidns_end(&s->pidns);
	while (rc == 0 && !list_empty(&s->storages)) {
		struct storage *st = list_entry(s->storages.prev, struct storage, node);

		st->refs = 1;
		storage_release(s, st);
	}
	sync();
	return rc;
}
