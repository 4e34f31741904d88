/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a specification may not ask of this agent. Everything else in it is honoured somewhere
 * in the stage or in cgroup.c; nothing is dropped silently.
 */
#include <string.h>

#include "agent/sandbox.h"
#include "base/err.h"
#include "base/str.h"

static const char *const namespaces[] = {
	"pid", "mount", "ipc", "uts", "network", "user", "cgroup", "time",
};

static int refuse(struct err *e, const char *field)
{
	return err_set(e, ERR_UNSUPPORTED, 0, "%s: not supported in the guest", field);
}

int process_check(const Grpc__Process *p, struct err *e)
{
	if (p->apparmorprofile && *p->apparmorprofile)
		return refuse(e, "process.apparmorProfile");
	if (p->selinuxlabel && *p->selinuxlabel)
		return refuse(e, "process.selinuxLabel");
	if (p->oomscoreadj < -1000 || p->oomscoreadj > 1000)
		return err_set(e, ERR_INVALID, 0, "process.oomScoreAdj %lld",
			       (long long)p->oomscoreadj);
	if (p->n_args == 0)
		return err_set(e, ERR_INVALID, 0, "process.args is empty");
	for (size_t i = 0; i < p->n_env; i++) {
		if (!strchr(p->env[i], '='))
			return err_set(e, ERR_INVALID, 0, "process.env[%zu] '%.64s' has no '='",
				       i, p->env[i]);
	}
	return 0;
}

static int check_hooks(const Grpc__Hooks *h, struct err *e)
{
	if (!h)
		return 0;
	if (h->n_prestart)
		return refuse(e, "hooks.prestart");
	if (h->n_poststart)
		return refuse(e, "hooks.poststart");
	if (h->n_poststop)
		return refuse(e, "hooks.poststop");
	if (h->n_createruntime)
		return refuse(e, "hooks.createRuntime");
	if (h->n_createcontainer)
		return refuse(e, "hooks.createContainer");
	return 0;
}

static int check_namespaces(const Grpc__Linux *lx, struct err *e)
{
	for (size_t i = 0; i < lx->n_namespaces; i++) {
		const char *type = lx->namespaces[i]->type;
		bool known = false;

		for (size_t j = 0; j < ARRAY_LEN(namespaces); j++)
			known = known || str_eq(namespaces[j], type);
		if (!known)
			return err_set(e, ERR_INVALID, 0,
				       "linux.namespaces[%zu]: unknown type '%.32s'", i, type);
		for (size_t j = 0; j < i; j++) {
			if (str_eq(lx->namespaces[j]->type, type))
				return err_set(e, ERR_INVALID, 0,
					       "linux.namespaces[%zu]: '%s' twice", i, type);
		}
		if (str_eq(type, "mount") && *lx->namespaces[i]->path)
			return refuse(e, "linux.namespaces: a mount namespace's path");
	}
	return 0;
}

static int check_seccomp(const Grpc__LinuxSeccomp *c, struct err *e)
{
	if (!c)
		return 0;
	if (!c->program.len)
		return err_set(e, ERR_UNSUPPORTED, 0,
			       "linux.seccomp: the profile must come compiled (field Program)");
	if (c->program.len % 8 || c->program.len / 8 > 4096)
		return err_set(e, ERR_INVALID, 0, "linux.seccomp: a program of %zu bytes",
			       c->program.len);
	return 0;
}

static int check_linux(const Grpc__Linux *lx, struct err *e)
{
	if (lx->intelrdt)
		return refuse(e, "linux.intelRdt");
	if (*lx->mountlabel)
		return refuse(e, "linux.mountLabel");
	if (check_namespaces(lx, e) < 0)
		return -1;
	return check_seccomp(lx->seccomp, e);
}

int spec_check(const Grpc__Spec *s, struct err *e)
{
	if (!s->process)
		return err_set(e, ERR_INVALID, 0, "process is missing");
	if (!s->root || s->root->path[0] != '/')
		return err_set(e, ERR_INVALID, 0, "root.path is missing or not absolute");
	if (process_check(s->process, e) < 0 || check_hooks(s->hooks, e) < 0)
		return -1;
	return s->linux ? check_linux(s->linux, e) : 0;
}
