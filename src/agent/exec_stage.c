/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The stage's main line: take the order, become the container's process step by step, report.
 * It is the last code of ours before the container's, and is hidden from the container's
 * other processes by not being dumpable.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/stage_steps.h"
#include "base/fd.h"
#include "base/mem.h"
#include "base/own.h"
#include "base/path.h"
#include "base/str.h"
#include "base/sys.h"
#include "wire/message.h"

enum {
	ARENA_LIMIT = 64 << 20
};

static const struct ns_row {
	const char *type;
	int flag;
	bool by_agent; /* made or joined by clone: concerns children only */
} ns_rows[] = {
	{ "user", CLONE_NEWUSER, true },    { "pid", CLONE_NEWPID, true },
	{ "time", CLONE_NEWTIME, true },    { "mount", CLONE_NEWNS, false },
	{ "ipc", CLONE_NEWIPC, false },     { "uts", CLONE_NEWUTS, false },
	{ "network", CLONE_NEWNET, false }, { "cgroup", CLONE_NEWCGROUP, false },
};

bool stage_has_ns(const struct stage *s, const char *type, const char **path_out)
{
	for (size_t i = 0; i < s->linux_->n_namespaces; i++) {
		if (str_eq(s->linux_->namespaces[i]->type, type)) {
			if (path_out)
				*path_out = s->linux_->namespaces[i]->path;
			return true;
		}
	}
	return false;
}

/* ---- talk ---- */

static void answer(const struct stage_answer *a, int fd)
{
	union {
		struct cmsghdr align;
		char space[CMSG_SPACE(sizeof(int))];
	} control = { 0 };
	struct iovec iov = { .iov_base = (void *)(uintptr_t)a, .iov_len = sizeof(*a) };
	struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1 };
	struct cmsghdr *c;

	if (fd >= 0) {
		msg.msg_control = control.space;
		msg.msg_controllen = sizeof(control.space);
		c = CMSG_FIRSTHDR(&msg);
		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(sizeof(int));
		memcpy(CMSG_DATA(c), &fd, sizeof(int));
	}
	while (sendmsg(STAGE_SOCKET_FD, &msg, MSG_NOSIGNAL) < 0 && errno == EINTR)
		;
}

static int take_order(struct stage *s, struct err *e)
{
	ProtobufCMessage *m;
	void *body;

	if (fd_read_exact(STAGE_SOCKET_FD, &s->order, sizeof(s->order), e) < 0)
		return -1;
	if (s->order.body_len > STAGE_BODY_MAX)
		return err_set(e, ERR_INVALID, 0, "order of %u bytes", s->order.body_len);
	body = arena_alloc(s->arena, s->order.body_len);
	if (!body)
		return err_oom(e, "the order");
	if (fd_read_exact(STAGE_SOCKET_FD, body, s->order.body_len, e) < 0)
		return -1;
	if (message_decode(&grpc__create_container_request__descriptor, body, s->order.body_len,
			   s->arena, &m, e) < 0)
		return -1;
	s->req = (Grpc__CreateContainerRequest *)m;
	s->spec = s->req->oci;
	if (!s->spec || !s->spec->process)
		return err_set(e, ERR_INVALID, 0, "process is missing");
	s->process = s->spec->process;
	s->linux_ = s->spec->linux;
	if (!s->linux_) {
		s->linux_ = (Grpc__Linux *)message_new(&grpc__linux__descriptor, s->arena);
		if (!s->linux_)
			return err_oom(e, "the order");
	}
	return 0;
}

static int wait_for_start(struct err *e)
{
	char byte;

	return fd_read_exact(STAGE_SOCKET_FD, &byte, 1, e);
}

/* ---- namespaces ---- */

/* A container of its own: made here, except what the agent's clone had to make. */
static int enter_new_namespaces(struct stage *s, struct err *e)
{
	for (size_t i = 0; i < ARRAY_LEN(ns_rows); i++) {
		const char *path = "";

		if (!stage_has_ns(s, ns_rows[i].type, &path) && ns_rows[i].flag != CLONE_NEWNS)
			continue;
		if (*path && (!ns_rows[i].by_agent || ns_rows[i].flag == CLONE_NEWUSER)) {
			OWN(fd) int fd = open(path, O_RDONLY | O_CLOEXEC);

			if (fd < 0 || setns(fd, ns_rows[i].flag) < 0)
				return err_sys(e, "linux.namespaces: join %s '%.100s'",
					       ns_rows[i].type, path);
			continue;
		}
		if (ns_rows[i].by_agent)
			continue;
		/* the sandbox's ipc and uts are its containers', unless they belong to a user
		 * ns */
		if ((ns_rows[i].flag == CLONE_NEWIPC || ns_rows[i].flag == CLONE_NEWUTS) &&
		    !s->order.in_new_user_ns)
			continue;
		if (unshare(ns_rows[i].flag) < 0)
			return err_sys(e, "linux.namespaces: new %s", ns_rows[i].type);
	}
	return 0;
}

static int join_container(struct stage *s, struct err *e)
{
	int flags = CLONE_NEWNS | CLONE_NEWIPC | CLONE_NEWUTS | CLONE_NEWNET | CLONE_NEWCGROUP;

	if (s->order.joins_user_ns)
		flags |= CLONE_NEWUSER;
	if (stage_has_ns(s, "time", NULL))
		flags |= CLONE_NEWTIME;
	if (setns(STAGE_PIDFD_FD, flags) < 0)
		return err_sys(e, "join the container's namespaces");
	(void)close(STAGE_PIDFD_FD);
	s->root_fd = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
	return s->root_fd < 0 ? err_sys(e, "open the root") : 0;
}

/* In a user namespace root of it is somebody else outside: become that one. */
static int become_ns_root(struct stage *s, struct err *e)
{
	if (!s->order.in_new_user_ns && !s->order.joins_user_ns &&
	    !(s->order.kind == STAGE_CREATE && stage_has_ns(s, "user", NULL)))
		return 0;
	if (setresgid(0, 0, 0) < 0 || setresuid(0, 0, 0) < 0)
		return err_sys(e, "become root of the user namespace");
	return 0;
}

/* ---- the process ---- */

static int find_identity(struct stage *s, struct err *e)
{
	const Grpc__StringUser *by_name = s->req->string_user;
	const Grpc__User *u = s->process->user;

	if (by_name && *by_name->uid)
		return identity_by_name(s->root_fd, by_name->uid, by_name->gid,
					by_name->additionalgids, by_name->n_additionalgids,
					&s->id, e);
	if (u) {
		if (u->n_additionalgids > IDENTITY_GROUPS_MAX)
			return err_set(e, ERR_INVALID, 0,
				       "process.user.additionalGids: more than %d",
				       IDENTITY_GROUPS_MAX);
		s->id.uid = u->uid;
		s->id.gid = u->gid;
		s->id.group_count = u->n_additionalgids;
		for (size_t i = 0; i < u->n_additionalgids; i++)
			s->id.groups[i] = u->additionalgids[i];
	}
	identity_find_home(s->root_fd, &s->id);
	return 0;
}

/* Pipes belong to whoever made them: /dev/stdout must open for the container's user. */
static int give_streams(const struct stage *s, struct err *e)
{
	struct stat st;

	for (int fd = 0; fd < 3; fd++) {
		if (fstat(fd, &st) == 0 && S_ISFIFO(st.st_mode) &&
		    fchown(fd, s->id.uid, s->id.gid) < 0)
			return err_sys(e, "give the standard streams to the user");
	}
	return 0;
}

static int set_names(struct stage *s, struct err *e)
{
	const char *host = s->spec->hostname, *domain = s->spec->domainname;

	if (*host && sethostname(host, strlen(host)) < 0)
		return err_sys(e, "hostname '%.64s'", host);
	if (*domain && setdomainname(domain, strlen(domain)) < 0)
		return err_sys(e, "domainname '%.64s'", domain);
	return 0;
}

static int make_cwd(struct stage *s, struct err *e)
{
	const char *cwd = s->process->cwd;
	struct err ignored;

	if (!*cwd)
		return 0;
	if (cwd[0] != '/')
		return err_set(e, ERR_INVALID, 0, "process.cwd '%.100s' is not absolute", cwd);
	if (s->order.kind == STAGE_CREATE)
		(void)path_mkdirs_beneath(s->root_fd, cwd, 0755, NULL, &ignored);
	return 0;
}

/* As the user: root squashed on a share may not enter what the user may, and the reverse. */
static int enter_cwd(struct stage *s, struct err *e)
{
	char now[PATH_MAX];

	if (chdir(*s->process->cwd ? s->process->cwd : "/") < 0)
		return err_sys(e, "process.cwd '%.100s'", s->process->cwd);
	/* a directory that is not below the root has no path: a leaked descriptor was named */
	if (!getcwd(now, sizeof(now)) || now[0] != '/')
		return err_set(e, ERR_INVALID, 0,
			       "process.cwd '%.100s' is outside the container",
			       s->process->cwd);
	return 0;
}

static int set_up_container(struct stage *s, struct err *e)
{
	if (enter_new_namespaces(s, e) < 0 || become_ns_root(s, e) < 0)
		return -1;
	if (rootfs_enter(s, e) < 0 || make_cwd(s, e) < 0)
		return -1;
	return set_names(s, e);
}

static int set_up_process(struct stage *s, struct err *e)
{
	if (setsid() < 0 && errno != EPERM)
		return err_sys(e, "setsid");
	if (find_identity(s, e) < 0)
		return err_wrap(e, "process.user");
	if ((s->process->terminal ? terminal_open(s, e) : give_streams(s, e)) < 0)
		return -1;
	if (s->order.kind == STAGE_CREATE &&
	    (sysctl_apply(s, e) < 0 || rootfs_finish(s, e) < 0))
		return -1;
	(void)sys_keyctl_join_session(NULL); /* kernels without keyrings have none to hide */
	if (schedule_apply(s, e) < 0 || rlimits_apply(s->process, e) < 0)
		return -1;
	(void)umask(s->process->user && s->process->user->has_umask_case ==
						GRPC__USER__HAS_UMASK_UMASK
			    ? s->process->user->umask & 0777
			    : 0022);
	if (credentials_bound(s, e) < 0)
		return -1;
	return enter_cwd(s, e);
}

static int prepare(struct stage *s, struct err *e)
{
	s->proc_fd = open("/proc", O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (s->proc_fd < 0)
		return err_sys(e, "open /proc");
	if (prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) < 0)
		return err_sys(e, "become undumpable");
	if (take_order(s, e) < 0)
		return -1;
	if (s->order.kind == STAGE_JOIN) {
		if (join_container(s, e) < 0 || become_ns_root(s, e) < 0)
			return -1;
	} else if (set_up_container(s, e) < 0) {
		return -1;
	}
	if (set_up_process(s, e) < 0)
		return -1;
	if (e->kind == ERR_NOT_FOUND || e->kind == ERR_DENIED)
		err_clear(e);
	return 0;
}

static int become_program(struct stage *s, struct err *e)
{
	struct stage_answer ready = { .result = STAGE_READY };

	if (program_find(s, e) < 0)
		return -1;
	answer(&ready, s->console_master);
	fd_close(&s->console_master);
	if (wait_for_start(e) < 0 || hooks_start(s, e) < 0)
		return -1;
	/* nothing but the standard streams survives exec */
	if (sys_close_range(3, ~0U, CLOSE_RANGE_CLOEXEC) < 0)
		return err_sys(e, "close descriptors");
	if (credentials_final(s, e) < 0)
		return -1;
	return program_exec(s, e);
}

int stage_main(void)
{
	struct arena arena = { .limit = ARENA_LIMIT };
	struct stage s = {
		.arena = &arena, .proc_fd = -1, .root_fd = -1, .console_master = -1
	};
	struct stage_answer failed = { .result = STAGE_FAILED };

	if (prepare(&s, &failed.why) < 0) {
		/* these two say that the program cannot be executed; nothing here does */
		if (failed.why.kind == ERR_NOT_FOUND || failed.why.kind == ERR_DENIED)
			failed.why.kind = ERR_SYS;
	} else {
		(void)become_program(&s, &failed.why);
	}
	answer(&failed, -1);
	return 1;
}
