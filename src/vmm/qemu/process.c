/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The monitor's process and what it may see: a root directory with the libraries and its own
 * files, no network, no processes but its own, no node but its devices, and another user than
 * root, which all machines have (docs/decisions/0047-monitors-of-one-user.md). A 9p export
 * needs uid 0, because files belong to whom the guest says; then it keeps the capabilities for
 * that and no other.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/capability.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/err.h"
#include "base/log.h"
#include "base/sys.h"
#include "vmm/qemu/qemu.h"

enum {
	QEMU_MAX_FILES = 65536
};

#define CAP(c) (1ULL << (c))
/* What a passthrough 9p server does on behalf of the guest's root. */
#define CAPS_9P                                                                                \
	(CAP(CAP_CHOWN) | CAP(CAP_DAC_OVERRIDE) | CAP(CAP_DAC_READ_SEARCH) | CAP(CAP_FOWNER) | \
	 CAP(CAP_FSETID) | CAP(CAP_MKNOD) | CAP(CAP_SETFCAP))

int qemu_find_program(const char *configured, char **out, struct err *e)
{
	static const char *const places[] = {
		"/usr/bin/qemu-system-x86_64",
		"/usr/libexec/qemu-kvm",
		"/usr/local/bin/qemu-system-x86_64",
		"/opt/kata/bin/qemu-system-x86_64",
	};
	const char *found = configured && configured[0] ? configured : NULL;
	char *real;

	if (found && access(found, X_OK) < 0)
		return err_set(e, errno == ENOENT ? ERR_NOT_FOUND : ERR_SYS, errno,
			       "hypervisor '%s'", found);
	for (size_t i = 0; !found && i < ARRAY_LEN(places); i++) {
		if (access(places[i], X_OK) == 0)
			found = places[i];
	}
	if (!found)
		return err_set(
			e, ERR_NOT_FOUND, 0,
			"no qemu-system-x86_64 on this host (Debian package qemu-system-x86)");
	real = realpath(found, NULL);
	if (!real)
		return err_sys(e, "hypervisor '%s'", found);
	*out = real;
	return 0;
}

void qemu_process_fini(struct qemu_process *p)
{
	strv_fini(&p->strings);
}

static int add_mount(struct qemu_process *p, struct spawn_mount m, struct err *e)
{
	if (p->mount_count == QEMU_MAX_MOUNTS)
		return err_set(e, ERR_INVALID, 0, "more than %d places for one machine",
			       QEMU_MAX_MOUNTS);
	p->mounts[p->mount_count++] = m;
	return 0;
}

/* Keeps a string as long as the plan. */
static int keep(struct qemu_process *p, const char **out, struct err *e, const char *s)
{
	if (strv_add(&p->strings, s, e) < 0)
		return -1;
	*out = p->strings.v[p->strings.n - 1];
	return 0;
}

/* Programs outside /usr bring their firmware and libraries from their own prefix. */
static int add_prefix(struct qemu_process *p, const char *program, struct err *e)
{
	char prefix[PATH_MAX];
	const char *kept;

	if (str_starts(program, "/usr/") || strlen(program) >= sizeof(prefix))
		return 0;
	strncpy(prefix, program, sizeof(prefix) - 1);
	prefix[sizeof(prefix) - 1] = '\0';
	for (int i = 0; i < 2; i++) {
		char *slash = strrchr(prefix, '/');

		if (!slash || slash == prefix)
			return err_set(e, ERR_INVALID, 0,
				       "hypervisor '%s' must be in a directory like /opt/x/bin",
				       program);
		*slash = '\0';
	}
	if (!prefix[0])
		return err_set(e, ERR_INVALID, 0, "hypervisor '%s': no prefix", program);
	if (keep(p, &kept, e, prefix) < 0)
		return -1;
	return add_mount(
		p, (struct spawn_mount){ .source = kept, .target = kept, .read_only = true },
		e);
}

static int add_system(struct qemu_process *p, const struct vmm_config *c, struct err *e)
{
	static const struct spawn_mount system[] = {
		{ SPAWN_BIND, "/usr", "/usr", true, false },
		{ SPAWN_BIND, "/lib", "/lib", true, true },
		{ SPAWN_BIND, "/lib64", "/lib64", true, true },
		{ SPAWN_BIND, "/etc/ld.so.cache", "/etc/ld.so.cache", true, true },
		{ SPAWN_NODE, "/dev/null", "/dev/null", false, false },
		{ SPAWN_NODE, "/dev/urandom", "/dev/urandom", false, false },
		{ SPAWN_PROC, NULL, "/proc", false, false },
	};
	static const struct spawn_mount kvm = { SPAWN_NODE, "/dev/kvm", "/dev/kvm", false,
						false };

	for (size_t i = 0; i < ARRAY_LEN(system); i++) {
		if (add_mount(p, system[i], e) < 0)
			return -1;
	}
	return c->accel == ACCEL_KVM ? add_mount(p, kvm, e) : 0;
}

static bool can_confine(void)
{
	uint64_t eff, permitted, inherited;

	return geteuid() == 0 && sys_capget(&eff, &permitted, &inherited) == 0 &&
	       (eff & CAP(CAP_SYS_ADMIN)) && (eff & CAP(CAP_MKNOD));
}

static int add_exports(struct qemu_process *p, const struct vmm_config *c, struct err *e)
{
	for (size_t i = 0; i < c->device_count; i++) {
		const struct vmm_device *d = &c->devices[i];
		char target[64];
		struct spawn_mount m = { .source = NULL };

		if (d->kind != VMM_DEV_9P)
			continue;
		(void)snprintf(target, sizeof(target), "/export/%s", d->id);
		if (keep(p, &m.source, e, d->p9.path) < 0 ||
		    keep(p, &m.target, e, target) < 0 || add_mount(p, m, e) < 0)
			return -1;
	}
	return 0;
}

int qemu_process_plan(const struct vmm_config *c, const char *program, struct qemu_process *out,
		      struct err *e)
{
	OWN(qemu_process) struct qemu_process p = { .confined = can_confine() };

	if (!p.confined)
		log_warn(
			c->log,
			"not privileged: qemu runs as this user, in its mount and network namespace");
	if (p.confined) {
		if (add_system(&p, c, e) < 0 || add_prefix(&p, program, e) < 0 ||
		    add_exports(&p, c, e) < 0)
			return -1;
		if (c->firmware && c->firmware[0] &&
		    add_mount(&p,
			      (struct spawn_mount){ SPAWN_BIND, c->firmware, "/firmware", true,
						    false },
			      e) < 0)
			return -1;
	}
	*out = p;
	p = (struct qemu_process){ 0 };
	return 0;
}

static bool has_9p(const struct vmm_config *c)
{
	for (size_t i = 0; i < c->device_count; i++) {
		if (c->devices[i].kind == VMM_DEV_9P)
			return true;
	}
	return false;
}

int qemu_process_start(const struct vmm_config *c, const struct qemu_process *p,
		       const struct qemu_launch *launch, int stderr_fd, pid_t *pid,
		       struct err *e)
{
	struct spawn s = SPAWN_INIT;
	const struct spawn_ns netns = { c->netns_fd, CLONE_NEWNET };

	s.argv = launch->argv.v;
	s.fds = launch->fds;
	s.fd_count = launch->fd_count;
	s.stderr_fd = stderr_fd;
	s.no_new_privs = true;
	s.new_session = true;
	s.no_core = true;
	s.max_files = QEMU_MAX_FILES;
	s.oom_score_adj = VMM_OOM_SCORE;
	s.cgroup_procs = c->cgroup_procs;
	if (p->confined) {
		s.unshare_flags = CLONE_NEWNS | CLONE_NEWIPC | CLONE_NEWUTS | CLONE_NEWPID;
		s.ns = &netns;
		s.ns_count = c->netns_fd >= 0;
		if (c->netns_fd < 0)
			s.unshare_flags |= CLONE_NEWNET;
		s.root = p->mounts;
		s.root_count = p->mount_count;
		s.limit_caps = true;
		s.drop_ids = c->uid != 0;
		s.uid = c->uid;
		s.gid = c->gid;
		s.keep_caps = !s.drop_ids && has_9p(c) ? CAPS_9P : 0;
	}
	return spawn_run(&s, pid, e);
}
