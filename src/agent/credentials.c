/* SPDX-License-Identifier: Apache-2.0 */
/*
 * User, groups, capabilities and the seccomp program of a container's process.
 *
 * Order: bounding set and ids first, with the permitted set kept; the filter and the final
 * sets as the very last steps before exec. Without no_new_privs a filter needs CAP_SYS_ADMIN,
 * which is kept until it is installed: so a filter only has to allow capset, prctl and
 * execve for the container to start.
 */
#include <errno.h>
#include <grp.h>
#include <linux/filter.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "agent/stage_steps.h"
#include "base/sys.h"
#include "oci/caps.h"

#ifndef PR_CAP_AMBIENT
#define PR_CAP_AMBIENT           47 /* Linux 4.3 */
#define PR_CAP_AMBIENT_RAISE     2
#define PR_CAP_AMBIENT_CLEAR_ALL 4
#endif

struct cap_sets {
	uint64_t bounding, effective, inheritable, permitted, ambient;
};

static int parse_sets(const Grpc__LinuxCapabilities *c, struct cap_sets *out, struct err *e)
{
	uint64_t known = (UINT64_C(2) << sys_last_cap()) - 1;
	struct cap_sets s = { 0 };

	if (!c) {
		*out = s;
		return 0;
	}
	if (cap_mask(c->bounding, c->n_bounding, &s.bounding, e) < 0 ||
	    cap_mask(c->effective, c->n_effective, &s.effective, e) < 0 ||
	    cap_mask(c->inheritable, c->n_inheritable, &s.inheritable, e) < 0 ||
	    cap_mask(c->permitted, c->n_permitted, &s.permitted, e) < 0 ||
	    cap_mask(c->ambient, c->n_ambient, &s.ambient, e) < 0)
		return err_wrap(e, "process.capabilities");
	/* names this kernel does not know yet cannot be given, and cannot be missed either */
	s.bounding &= known;
	s.effective &= known;
	s.inheritable &= known;
	s.permitted &= known;
	s.ambient &= known & s.permitted & s.inheritable;
	*out = s;
	return 0;
}

static int drop_bounding(uint64_t keep, struct err *e)
{
	int last = sys_last_cap();

	for (int c = 0; c <= last; c++) {
		if (keep >> c & 1 || prctl(PR_CAPBSET_READ, c, 0, 0, 0) == 0)
			continue;
		if (prctl(PR_CAPBSET_DROP, c, 0, 0, 0) < 0)
			return err_sys(e, "process.capabilities.bounding: drop %s",
				       cap_name(c) ? cap_name(c) : "an unknown one");
	}
	return 0;
}

static int set_ids(const struct identity *id, struct err *e)
{
	if (setgroups(id->group_count, id->groups) < 0)
		return err_sys(e, "process.user.additionalGids");
	if (setresgid(id->gid, id->gid, id->gid) < 0)
		return err_sys(e, "process.user.gid %u", (unsigned)id->gid);
	if (prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0) < 0)
		return err_sys(e, "keep capabilities");
	if (setresuid(id->uid, id->uid, id->uid) < 0)
		return err_sys(e, "process.user.uid %u", (unsigned)id->uid);
	return 0;
}

int credentials_bound(struct stage *s, struct err *e)
{
	uint64_t effective, permitted, inheritable;
	struct cap_sets sets;

	if (parse_sets(s->process->capabilities, &sets, e) < 0)
		return -1;
	if (drop_bounding(sets.bounding, e) < 0)
		return -1;
	/* of hooks in the container as well */
	if (s->process->nonewprivileges && prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
		return err_sys(e, "process.noNewPrivileges");
	if (set_ids(&s->id, e) < 0)
		return -1;
	/* a change of user clears the effective set, not the permitted one */
	if (sys_capget(&effective, &permitted, &inheritable) < 0 ||
	    sys_capset(permitted, permitted, inheritable) < 0)
		return err_sys(e, "capabilities");
	return 0;
}

static int install_filter(const Grpc__LinuxSeccomp *c, struct err *e)
{
	struct sock_fprog prog = {
		.len = (unsigned short)(c->program.len / sizeof(struct sock_filter)),
		.filter = (struct sock_filter *)(void *)c->program.data,
	};

	if (sys_seccomp_filter(c->filterflags, &prog) < 0)
		return err_sys(e, "linux.seccomp: install the program");
	return 0;
}

/* What is not named is not given: without a capabilities member, nothing. */
static int set_caps(const struct cap_sets *sets, struct err *e)
{
	if (sys_capset(sets->effective, sets->permitted, sets->inheritable) < 0)
		return err_sys(e, "process.capabilities");
	(void)prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
	for (int i = 0; i < 64; i++) {
		if (sets->ambient >> i & 1 &&
		    prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, i, 0, 0) < 0)
			return err_sys(e, "process.capabilities.ambient: %s",
				       cap_name(i) ? cap_name(i) : "?");
	}
	return 0;
}

int credentials_final(struct stage *s, struct err *e)
{
	const Grpc__LinuxSeccomp *filter = s->linux_->seccomp;
	bool nnp = s->process->nonewprivileges;
	struct cap_sets sets;

	if (parse_sets(s->process->capabilities, &sets, e) < 0)
		return -1;
	if (filter && !nnp && install_filter(filter, e) < 0)
		return -1;
	if (set_caps(&sets, e) < 0)
		return -1;
	if (filter && nnp && install_filter(filter, e) < 0)
		return -1;
	return 0;
}
