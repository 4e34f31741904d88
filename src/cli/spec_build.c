/* SPDX-License-Identifier: Apache-2.0 */
/* Building specifications; the defaults are those of docker, as tables. */
#include "cli/spec_build.h"

#include <ctype.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/err.h"
#include "base/mem.h"
#include "base/own.h"
#include "base/path.h"
#include "base/str.h"
#include "cli/user_lookup.h"
#include "image/store.h"
#include "wire/utf8.h"

static const char *const default_caps[] = {
	"CAP_CHOWN",   "CAP_DAC_OVERRIDE", "CAP_FSETID",           "CAP_FOWNER",
	"CAP_MKNOD",   "CAP_NET_RAW",      "CAP_SETGID",           "CAP_SETUID",
	"CAP_SETFCAP", "CAP_SETPCAP",      "CAP_NET_BIND_SERVICE", "CAP_SYS_CHROOT",
	"CAP_KILL",    "CAP_AUDIT_WRITE",
};

static const struct default_mount {
	const char *destination, *type, *source;
	const char *options[8];
} default_mounts[] = {
	/* clang-format off */
	{ "/proc", "proc", "proc", { "nosuid", "noexec", "nodev" } },
	{ "/dev", "tmpfs", "tmpfs", { "nosuid", "strictatime", "mode=755", "size=65536k" } },
	{ "/dev/pts", "devpts", "devpts", { "nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5" } },
	{ "/dev/shm", "tmpfs", "shm", { "nosuid", "noexec", "nodev", "mode=1777", "size=65536k" } },
	{ "/dev/mqueue", "mqueue", "mqueue", { "nosuid", "noexec", "nodev" } },
	{ "/sys", "sysfs", "sysfs", { "nosuid", "noexec", "nodev", "ro" } },
	{ "/sys/fs/cgroup", "cgroup", "cgroup", { "nosuid", "noexec", "nodev", "relatime", "ro" } },
	/* clang-format on */
};

/* What is in every container's /dev (OCI runtime specification, config-linux.md). */
static const char *const own_devices[] = {
	"/dev/null",  "/dev/zero",    "/dev/full",   "/dev/random", "/dev/urandom",
	"/dev/tty",   "/dev/console", "/dev/ptmx",   "/dev/pts",    "/dev/fd",
	"/dev/stdin", "/dev/stdout",  "/dev/stderr",
};

static const char *const own_files[] = { "hosts", "hostname" };

static const char *const masked_paths[] = {
	"/proc/acpi",          "/proc/asound",     "/proc/kcore",       "/proc/keys",
	"/proc/latency_stats", "/proc/timer_list", "/proc/timer_stats", "/proc/sched_debug",
	"/proc/scsi",          "/sys/firmware",
};
static const char *const readonly_paths[] = {
	"/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger",
};
static const char *const namespaces[] = { "pid", "ipc", "uts", "mount", "network", "cgroup" };

/* Device rules: everything is denied but these. -1: all. */
static const struct {
	int64_t major, minor;
} allowed_devices[] = {
	{ 1, 3 }, { 1, 5 }, { 1, 7 }, { 1, 8 },    { 1, 9 },
	{ 5, 0 }, { 5, 1 }, { 5, 2 }, { 136, -1 },
};

/* A spec under construction: the arena, and whether it has run out. */
struct builder {
	struct arena *a;
	bool oom;
};

static void *take(struct builder *b, size_t n, size_t size)
{
	void *p = arena_calloc(b->a, n, size);

	if (!p)
		b->oom = true;
	return p;
}

static char *copy(struct builder *b, const char *s)
{
	char *p = arena_strdup(b->a, s);

	if (!p)
		b->oom = true;
	return p;
}

#define MAKE(b, type, init)                                                                    \
	__extension__({                                                                        \
		type *m_ = take((b), 1, sizeof(type));                                         \
		if (m_)                                                                        \
			init(m_);                                                              \
		m_;                                                                            \
	})

static char **copy_list(struct builder *b, const char *const *v, size_t n, size_t *count)
{
	char **list = take(b, n + 1, sizeof(char *));

	for (size_t i = 0; list && i < n; i++)
		list[i] = copy(b, v[i]);
	*count = list ? n : 0;
	return list;
}

/* ---- process ---- */

static bool env_same_name(const char *a, const char *b)
{
	size_t n = strcspn(a, "=");

	return strncmp(a, b, n) == 0 && (b[n] == '=' || b[n] == '\0');
}

/* Sets NAME=value, replacing an earlier one. An image's NAME alone sets nothing. */
static void env_set(struct builder *b, Grpc__Process *p, const char *entry, size_t room)
{
	if (!strchr(entry, '='))
		return;
	for (size_t i = 0; i < p->n_env; i++) {
		if (env_same_name(p->env[i], entry)) {
			p->env[i] = copy(b, entry);
			return;
		}
	}
	if (p->n_env < room)
		p->env[p->n_env++] = copy(b, entry);
}

static void env_drop(Grpc__Process *p, const char *name)
{
	size_t kept = 0;

	for (size_t i = 0; i < p->n_env; i++) {
		if (!env_same_name(p->env[i], name))
			p->env[kept++] = p->env[i];
	}
	p->n_env = kept;
}

/*
 * An entry of -e: NAME alone takes our own value, which nobody but the caller may ask for, or
 * is unset as it is here.
 */
static void env_ask(struct builder *b, Grpc__Process *p, const char *entry, size_t room)
{
	const char *value = strchr(entry, '=') ? NULL : getenv(entry);

	if (!value && !strchr(entry, '=')) {
		env_drop(p, entry);
		return;
	}
	if (value)
		entry = arena_printf(b->a, "%s=%s", entry, value);
	if (entry)
		env_set(b, p, entry, room);
	else
		b->oom = true;
}

int env_check(const struct strv *env, struct err *e)
{
	const char *value;

	for (size_t i = 0; i < env->n; i++) {
		if (env->v[i][0] == '\0' || env->v[i][0] == '=')
			return err_set(e, ERR_INVALID, 0, "--env '%.64s': has no name",
				       env->v[i]);
		value = strchr(env->v[i], '=') ? NULL : getenv(env->v[i]);
		if (value && !utf8_valid(value, strlen(value)))
			return err_set(e, ERR_INVALID, 0,
				       "--env '%.64s': its value here is not UTF-8", env->v[i]);
	}
	return 0;
}

static void build_env(struct builder *b, Grpc__Process *p, const struct spec_request *r)
{
	const struct string_list *image = &r->image->config.env;
	size_t room = image->n + r->env->n + 4;

	p->env = take(b, room, sizeof(char *));
	if (!p->env)
		return;
	env_set(b, p, "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
		room);
	env_set(b, p, arena_printf(b->a, "HOSTNAME=%s", r->hostname), room);
	if (r->terminal)
		env_set(b, p, "TERM=xterm", room);
	for (size_t i = 0; i < image->n; i++)
		env_set(b, p, image->v[i], room);
	for (size_t i = 0; i < r->env->n; i++)
		env_ask(b, p, r->env->v[i], room);
}

/* Entrypoint and command as docker combines them: a given command replaces the image's. */
static int build_args(struct builder *b, Grpc__Process *p, const struct spec_request *r,
		      struct err *e)
{
	const struct string_list *entry = &r->image->config.entrypoint,
				 *cmd = &r->image->config.cmd;
	size_t given = 0, n = 0;

	while (r->command[given])
		given++;
	if (entry->n + (given ? given : cmd->n) == 0)
		return err_set(e, ERR_INVALID, 0,
			       "the image names no command: give one behind the image's name");
	p->args = take(b, entry->n + given + cmd->n + 1, sizeof(char *));
	for (size_t i = 0; p->args && i < entry->n; i++)
		p->args[n++] = copy(b, entry->v[i]);
	for (size_t i = 0; p->args && i < (given ? given : cmd->n); i++)
		p->args[n++] = copy(b, given ? r->command[i] : cmd->v[i]);
	p->n_args = n;
	return 0;
}

static void build_caps(struct builder *b, Grpc__Process *p, bool root)
{
	Grpc__LinuxCapabilities *c =
		MAKE(b, Grpc__LinuxCapabilities, grpc__linux_capabilities__init);

	if (!c)
		return;
	c->bounding = copy_list(b, default_caps, ARRAY_LEN(default_caps), &c->n_bounding);
	if (root) {
		c->effective =
			copy_list(b, default_caps, ARRAY_LEN(default_caps), &c->n_effective);
		c->permitted =
			copy_list(b, default_caps, ARRAY_LEN(default_caps), &c->n_permitted);
	}
	p->capabilities = c;
}

/*
 * The primary group first among the others, as docker, podman and containerd have it since
 * CVE-2022-36109: a process that changes its primary group must not lose, by that, a
 * membership which closes files to it.
 */
static int add_groups(struct builder *b, Grpc__User *u, const struct user_ids *ids)
{
	u->additionalgids = take(b, ids->group_count + 1, sizeof(*u->additionalgids));
	if (!u->additionalgids)
		return -1;
	u->additionalgids[u->n_additionalgids++] = ids->gid;
	for (size_t i = 0; i < ids->group_count; i++) {
		if (ids->groups[i] != ids->gid)
			u->additionalgids[u->n_additionalgids++] = ids->groups[i];
	}
	return 0;
}

static int build_user(struct builder *b, Grpc__Process *p, const struct image *image,
		      const char *user, struct err *e)
{
	struct user_ids ids;
	Grpc__User *u = MAKE(b, Grpc__User, grpc__user__init);

	if (!u)
		return 0; /* the builder knows */
	if (user_lookup(image, user, b->a, &ids, e) < 0)
		return -1;
	u->uid = ids.uid;
	u->gid = ids.gid;
	if (add_groups(b, u, &ids) < 0)
		return 0;
	p->user = u;
	return 0;
}

/* An empty --user or --workdir is none, as with docker: scripts give unset variables. */
static bool is_given(const char *option)
{
	return option && *option;
}

static int build_process(struct builder *b, const struct spec_request *r, Grpc__Process **out,
			 struct err *e)
{
	Grpc__Process *p = MAKE(b, Grpc__Process, grpc__process__init);
	const char *cwd = is_given(r->workdir) ? r->workdir : r->image->config.working_dir;

	if (!p)
		return 0;
	if (*cwd && *cwd != '/')
		return err_set(e, ERR_INVALID, 0, "working directory '%.200s' must be absolute",
			       cwd);
	p->terminal = r->terminal;
	p->cwd = copy(b, *cwd ? cwd : "/");
	p->nonewprivileges = false;
	build_env(b, p, r);
	if (build_args(b, p, r, e) < 0 ||
	    build_user(b, p, r->image, is_given(r->user) ? r->user : r->image->config.user, e) <
		    0)
		return -1;
	build_caps(b, p, p->user && p->user->uid == 0);
	*out = p;
	return 0;
}

/* ---- mounts ---- */

static void add_mount(struct builder *b, Grpc__Spec *s, const char *destination,
		      const char *type, const char *source, const char *const *options,
		      size_t n)
{
	Grpc__Mount *m = MAKE(b, Grpc__Mount, grpc__mount__init);

	if (!m)
		return;
	m->destination = copy(b, destination);
	m->type = copy(b, type);
	m->source = copy(b, source);
	m->options = copy_list(b, options, n, &m->n_options);
	s->mounts[s->n_mounts++] = m;
}

/* `first`: the first of the mounts that -v has made. */
static int check_destination(const Grpc__Spec *s, size_t first, const char *dst,
			     const char *text, struct err *e)
{
	if (str_eq(dst, "/"))
		return err_set(e, ERR_INVALID, 0,
			       "-v '%.200s': the destination is the container's own root",
			       text);
	if (str_eq(dst, "/proc") || str_starts(dst, "/proc/"))
		return err_set(
			e, ERR_INVALID, 0,
			"-v '%.200s': /proc is the kernel's, nothing can be mounted there",
			text);
	if (str_eq(dst, "/dev"))
		return err_set(e, ERR_INVALID, 0,
			       "-v '%.200s': /dev has the container's own devices; take a "
			       "destination below it",
			       text);
	for (size_t i = 0; i < ARRAY_LEN(own_devices); i++) {
		if (str_eq(dst, own_devices[i]))
			return err_set(e, ERR_INVALID, 0,
				       "-v '%.200s': '%s' is a device of the container itself",
				       text, dst);
	}
	for (size_t i = first; i < s->n_mounts; i++) {
		if (str_eq(s->mounts[i]->destination, dst))
			return err_set(e, ERR_INVALID, 0,
				       "-v '%.200s': '%.200s' is another's destination already",
				       text, dst);
	}
	return 0;
}

static int add_volume(struct builder *b, Grpc__Spec *s, size_t first, const char *text,
		      struct err *e)
{
	static const char *const rw[] = { "rbind", "rprivate", "rw" };
	static const char *const ro[] = { "rbind", "rprivate", "ro" };
	OWN(free) char *v = strdup(text);
	char *dst, *mode, path[PATH_MAX];
	bool read_only = false;

	if (!v)
		return err_oom(e, "a volume");
	dst = strchr(v, ':');
	if (!dst)
		return err_set(e, ERR_INVALID, 0,
			       "-v '%.200s': must be SOURCE:DESTINATION[:ro]", text);
	*dst++ = '\0';
	mode = strchr(dst, ':');
	if (mode) {
		*mode++ = '\0';
		read_only = str_eq(mode, "ro");
		if (!read_only && !str_eq(mode, "rw"))
			return err_set(e, ERR_INVALID, 0,
				       "-v '%.200s': '%s' is neither ro nor rw", text, mode);
	}
	if (v[0] != '/' || dst[0] != '/')
		return err_set(e, ERR_INVALID, 0, "-v '%.200s': both paths must be absolute",
			       text);
	path_clean(dst);
	if (check_destination(s, first, dst, text, e) < 0)
		return -1;
	if (!realpath(v, path))
		return err_sys(e, "-v '%.200s': source", text);
	if (!utf8_valid(path, strlen(path)))
		return err_set(e, ERR_INVALID, 0,
			       "-v '%.200s': its source is a link to a name that is no UTF-8, "
			       "which no specification can have",
			       text);
	add_mount(b, s, dst, "bind", path, read_only ? ro : rw, 3);
	return 0;
}

static size_t depth_of(const Grpc__Mount *m)
{
	size_t n = 0;

	for (const char *p = m->destination; *p; p++)
		n += *p == '/';
	return n;
}

/* What is mounted within a volume comes after it, however they were given: /etc/hosts, too. */
static void order_by_depth(Grpc__Spec *s, size_t first)
{
	for (size_t i = first + 1; i < s->n_mounts; i++) {
		Grpc__Mount *m = s->mounts[i];
		size_t at = i;

		for (; at > first && depth_of(s->mounts[at - 1]) > depth_of(m); at--)
			s->mounts[at] = s->mounts[at - 1];
		s->mounts[at] = m;
	}
}

static int build_mounts(struct builder *b, Grpc__Spec *s, const struct spec_request *r,
			struct err *e)
{
	static const char *const file_options[] = { "rbind", "rprivate" };
	size_t max = ARRAY_LEN(default_mounts) + ARRAY_LEN(own_files) + r->volumes->n;
	size_t first_own, first_volume;

	s->mounts = take(b, max, sizeof(*s->mounts));
	if (!s->mounts)
		return 0;
	for (size_t i = 0; i < ARRAY_LEN(default_mounts); i++) {
		const struct default_mount *m = &default_mounts[i];
		size_t n = 0;

		while (n < ARRAY_LEN(m->options) && m->options[n])
			n++;
		add_mount(b, s, m->destination, m->type, m->source, m->options, n);
	}
	first_own = s->n_mounts;
	for (size_t i = 0; r->own_files && i < ARRAY_LEN(own_files); i++) {
		const char *dst = arena_printf(b->a, "/etc/%s", own_files[i]);
		const char *src = arena_printf(b->a, "%s/%s", r->dir, own_files[i]);

		if (!dst || !src)
			return err_oom(e, "a specification");
		add_mount(b, s, dst, "bind", src, file_options, 2);
	}
	first_volume = s->n_mounts;
	for (size_t i = 0; i < r->volumes->n; i++) {
		if (add_volume(b, s, first_volume, r->volumes->v[i], e) < 0)
			return -1;
	}
	if (!b->oom)
		order_by_depth(s, first_own);
	return 0;
}

/* ---- linux ---- */

static void add_rule(struct builder *b, Grpc__LinuxResources *res, bool allow, const char *type,
		     int64_t major, int64_t minor)
{
	Grpc__LinuxDeviceCgroup *d =
		MAKE(b, Grpc__LinuxDeviceCgroup, grpc__linux_device_cgroup__init);

	if (!d)
		return;
	d->allow = allow;
	d->type = copy(b, type);
	d->major = major;
	d->minor = minor;
	d->access = copy(b, "rwm");
	res->devices[res->n_devices++] = d;
}

static Grpc__LinuxResources *build_resources(struct builder *b, const struct spec_request *r)
{
	Grpc__LinuxResources *res = MAKE(b, Grpc__LinuxResources, grpc__linux_resources__init);

	if (!res)
		return NULL;
	res->devices = take(b, ARRAY_LEN(allowed_devices) + 1, sizeof(*res->devices));
	if (!res->devices)
		return NULL;
	add_rule(b, res, false, "a", -1, -1);
	for (size_t i = 0; i < ARRAY_LEN(allowed_devices); i++)
		add_rule(b, res, true, "c", allowed_devices[i].major, allowed_devices[i].minor);
	if (r->memory_bytes) {
		res->memory = MAKE(b, Grpc__LinuxMemory, grpc__linux_memory__init);
		if (res->memory)
			res->memory->limit = (int64_t)r->memory_bytes;
	}
	if (r->cpu_millis) {
		res->cpu = MAKE(b, Grpc__LinuxCPU, grpc__linux_cpu__init);
		if (res->cpu) {
			res->cpu->period = 100000;
			res->cpu->quota = (int64_t)r->cpu_millis * 100;
		}
	}
	return res;
}

/* As docker: an image's ordinary user may serve port 80; the machine is the container's own. */
static void add_sysctls(struct builder *b, Grpc__Linux *l)
{
	Grpc__Linux__SysctlEntry *entry =
		MAKE(b, Grpc__Linux__SysctlEntry, grpc__linux__sysctl_entry__init);

	l->sysctl = take(b, 1, sizeof(*l->sysctl));
	if (!entry || !l->sysctl)
		return;
	entry->key = copy(b, "net.ipv4.ip_unprivileged_port_start");
	entry->value = copy(b, "0");
	l->sysctl[l->n_sysctl++] = entry;
}

static Grpc__Linux *build_linux(struct builder *b, const struct spec_request *r)
{
	Grpc__Linux *l = MAKE(b, Grpc__Linux, grpc__linux__init);

	if (!l)
		return NULL;
	l->resources = build_resources(b, r);
	add_sysctls(b, l);
	l->cgroupspath = arena_printf(b->a, "/kata/%s", r->id);
	l->maskedpaths = copy_list(b, masked_paths, ARRAY_LEN(masked_paths), &l->n_maskedpaths);
	l->readonlypaths =
		copy_list(b, readonly_paths, ARRAY_LEN(readonly_paths), &l->n_readonlypaths);
	l->namespaces = take(b, ARRAY_LEN(namespaces), sizeof(*l->namespaces));
	if (!l->namespaces || !l->cgroupspath)
		return NULL;
	for (size_t i = 0; i < ARRAY_LEN(namespaces); i++) {
		Grpc__LinuxNamespace *n =
			MAKE(b, Grpc__LinuxNamespace, grpc__linux_namespace__init);

		if (!n)
			return NULL;
		n->type = copy(b, namespaces[i]);
		l->namespaces[l->n_namespaces++] = n;
	}
	return l;
}

int spec_build(const struct spec_request *r, struct arena *a, Grpc__Spec **out, struct err *e)
{
	struct builder b = { .a = a };
	Grpc__Spec *s = MAKE(&b, Grpc__Spec, grpc__spec__init);

	if (!s)
		return err_oom(e, "a specification");
	s->version = copy(&b, "1.1.0");
	s->hostname = copy(&b, r->hostname);
	s->root = MAKE(&b, Grpc__Root, grpc__root__init);
	if (s->root)
		s->root->path = copy(&b, "rootfs");
	if (build_process(&b, r, &s->process, e) < 0 || build_mounts(&b, s, r, e) < 0)
		return -1;
	s->linux = build_linux(&b, r);
	if (b.oom || !s->linux)
		return err_oom(e, "a specification");
	*out = s;
	return 0;
}

/* ---- exec ---- */

int exec_build(const struct exec_request *r, struct arena *a, Grpc__Process **out,
	       struct err *e)
{
	struct builder b = { .a = a };
	const Grpc__Process *own = r->spec->process;
	Grpc__Process *p = MAKE(&b, Grpc__Process, grpc__process__init);
	size_t n = 0, room;

	if (!p || !own)
		return err_oom(e, "a process");
	while (r->command[n])
		n++;
	room = own->n_env + r->env->n + 2;
	p->terminal = r->terminal;
	p->args = copy_list(&b, (const char *const *)r->command, n, &p->n_args);
	p->cwd = copy(&b, is_given(r->workdir) ? r->workdir : own->cwd);
	p->env = take(&b, room, sizeof(char *));
	for (size_t i = 0; p->env && i < own->n_env; i++)
		env_set(&b, p, own->env[i], room);
	if (r->terminal && p->env)
		env_set(&b, p, "TERM=xterm", room);
	for (size_t i = 0; p->env && i < r->env->n; i++)
		env_ask(&b, p, r->env->v[i], room);
	p->user = own->user;
	if (is_given(r->user) && build_user(&b, p, r->image, r->user, e) < 0)
		return -1;
	build_caps(&b, p, p->user && p->user->uid == 0);
	if (p->cwd && p->cwd[0] != '/')
		return err_set(e, ERR_INVALID, 0, "working directory '%.200s' must be absolute",
			       p->cwd);
	if (b.oom)
		return err_oom(e, "a process");
	*out = p;
	return 0;
}
