/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Makes a container's process: clones (with the namespaces that only a clone can give), hands
 * the child to the stage (agent/stage.h) and follows it up to exec. Between clone and exec the
 * child is a copy of the agent: it formats and allocates nothing.
 */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "agent/hooks.h"
#include "agent/sandbox.h"
#include "agent/stage.h"
#include "base/buf.h"
#include "base/err.h"
#include "base/fd.h"
#include "base/mem.h"
#include "base/str.h"
#include "base/sys.h"
#include "base/time.h"
#include "event/signal.h"
#include "wire/message.h"

enum {
	END_MS = 10 * 1000
};

/* All that the child needs, prepared before the clone. */
struct child_setup {
	int exe_fd, socket, pidfd;
	int stdio[3];
	bool wait_for_maps;
};

struct pipes {
	int in[2], out[2], err[2]; /* read end, write end */
	int socket[2];             /* ours, the stage's */
	int null;
};

#define PIPES_INIT                                                                             \
	{                                                                                      \
		{ -1, -1 }, { -1, -1 }, { -1, -1 }, { -1, -1 }, -1                             \
	}

static void own_pipes(struct pipes *p)
{
	for (int i = 0; i < 2; i++) {
		fd_close(&p->in[i]);
		fd_close(&p->out[i]);
		fd_close(&p->err[i]);
		fd_close(&p->socket[i]);
	}
	fd_close(&p->null);
}

/* ---- the child, up to exec ---- */

static _Noreturn void child_fail(int socket, const char *what)
{
	struct stage_answer a = { .result = STAGE_FAILED };

	a.why.kind = ERR_SYS;
	a.why.sys = errno;
	memcpy(a.why.msg, what, strnlen(what, sizeof(a.why.msg) - 1));
	(void)!write(socket, &a, sizeof(a));
	_exit(1);
}

static int move_up(int fd)
{
	return fcntl(fd, F_DUPFD_CLOEXEC, 16);
}

static _Noreturn void child_run(const struct child_setup *c)
{
	static char arg0[] = STAGE_ARGV0, arg1[] = STAGE_ARGV1;
	static char *const argv[] = { arg0, arg1, NULL };
	static char *const envp[] = { NULL };
	int exe = move_up(c->exe_fd), sock = move_up(c->socket), pidfd = -1, stdio[3];
	char go;

	if (c->pidfd >= 0)
		pidfd = move_up(c->pidfd);
	for (int i = 0; i < 3; i++)
		stdio[i] = move_up(c->stdio[i]);
	signal_reset_all();
	for (int i = 0; i < 3; i++) {
		if (dup2(stdio[i], i) < 0)
			child_fail(sock, "standard streams");
	}
	if (dup2(sock, STAGE_SOCKET_FD) < 0 || (pidfd >= 0 && dup2(pidfd, STAGE_PIDFD_FD) < 0))
		child_fail(sock, "descriptors");
	if (sys_close_range(pidfd >= 0 ? 5 : 4, ~0U, CLOSE_RANGE_CLOEXEC) < 0)
		child_fail(sock, "close descriptors");
	if (c->wait_for_maps) {
		if (read(STAGE_SOCKET_FD, &go, 1) != 1)
			_exit(1);
		if (setresgid(0, 0, 0) < 0 || setresuid(0, 0, 0) < 0)
			child_fail(sock, "become root of the user namespace");
	}
	(void)sys_execveat(exe, argv, envp);
	child_fail(sock, "execute the stage");
}

/* ---- namespaces that a clone gives ---- */

static const Grpc__LinuxNamespace *find_ns(const struct launch *l, const char *type)
{
	const Grpc__Linux *lx = l->request->oci->linux;

	for (size_t i = 0; lx && i < lx->n_namespaces; i++) {
		if (str_eq(lx->namespaces[i]->type, type))
			return lx->namespaces[i];
	}
	return NULL;
}

static int join_for_children(const char *path, int flag, struct err *e)
{
	OWN(fd) int fd = open(path, O_RDONLY | O_CLOEXEC);

	if (fd < 0 || setns(fd, flag) < 0)
		return err_sys(e, "linux.namespaces: join '%.100s'", path);
	return 0;
}

static bool shares_pid_ns(struct process *p, const struct launch *l)
{
	return !l->join && (p->container->sandbox->share_pidns || l->request->sandbox_pidns);
}

static bool has_pid_ns(const struct process *init)
{
	return init && init->child.pid && !init->child.exited && init->pidfd >= 0;
}

/* Upstream's engine counts on it: the first container's pid namespace is the sandbox's. */
static struct process *first_that_lives(const struct process *p)
{
	const struct sandbox *s = p->container->sandbox;

	list_for_each(n, tmp, &s->containers) {
		struct container *c = list_entry(n, struct container, node);

		if (c != p->container && has_pid_ns(c->init))
			return c->init;
	}
	return NULL;
}

/* Of a container that is named: debuggers join it ("kubectl debug --target"). */
static int find_pid_ns_of(struct sandbox *s, const char *id, int *pidfd, struct err *e)
{
	struct container *c;

	/* ERR_NOT_FOUND would be the program's that is to be started (stage.h) */
	if (container_find(s, id, &c, e) < 0 || !has_pid_ns(c->init))
		return err_set(e, ERR_STATE, 0, "pid_of: container '%.64s' has no process", id);
	*pidfd = c->init->pidfd;
	return 0;
}

/* A namespace of the agent's keeping. */
static bool is_of_agent(const struct launch *l)
{
	return !l->join && l->request->sandbox_pidns && l->request->agent_pidns;
}

/* A process of the namespace that the new one joins; -1 if it joins none of ours. */
static int find_pid_ns(struct process *p, const struct launch *l, int *pidfd, struct err *e)
{
	struct sandbox *s = p->container->sandbox;
	struct process *first;

	*pidfd = -1;
	if (l->join) {
		*pidfd = p->container->init->pidfd;
	} else if (*l->request->pid_of) {
		return find_pid_ns_of(s, l->request->pid_of, pidfd, e);
	} else if (is_of_agent(l)) {
		*pidfd = s->pidns.pidfd;
	} else if (shares_pid_ns(p, l)) {
		first = first_that_lives(p);
		*pidfd = first ? first->pidfd : -1;
	}
	return 0;
}

static int prepare_pid_ns(struct process *p, const struct launch *l, uint64_t *flags,
			  struct err *e)
{
	const Grpc__LinuxNamespace *ns = find_ns(l, "pid");
	int pidfd;

	if (find_pid_ns(p, l, &pidfd, e) < 0)
		return -1;
	if (pidfd >= 0) {
		if (setns(pidfd, CLONE_NEWPID) < 0)
			return err_sys(e, "join the pid namespace");
		return 0;
	}
	if (!ns && !shares_pid_ns(p, l))
		return 0;
	if (ns && *ns->path)
		return join_for_children(ns->path, CLONE_NEWPID, e);
	*flags |= CLONE_NEWPID;
	return 0;
}

static int write_time_offsets(const Grpc__Linux *lx, struct err *e)
{
	char line[96];

	for (size_t i = 0; i < lx->n_timeoffsets; i++) {
		const Grpc__LinuxTimeOffset *t = lx->timeoffsets[i]->value;

		if (!t)
			continue;
		(void)snprintf(line, sizeof(line), "%.16s %lld %u\n", lx->timeoffsets[i]->key,
			       (long long)t->secs, t->nanosecs);
		if (file_write_value(AT_FDCWD, "/proc/self/timens_offsets", line, e) < 0)
			return err_wrap(e, "linux.timeOffsets.%.16s", lx->timeoffsets[i]->key);
	}
	return 0;
}

static int prepare_time_ns(const struct launch *l, struct err *e)
{
	const Grpc__LinuxNamespace *ns = find_ns(l, "time");

	if (!ns || l->join) /* the stage joins it through the pidfd */
		return 0;
	if (*ns->path)
		return join_for_children(ns->path, CLONE_NEWTIME, e);
	if (unshare(CLONE_NEWTIME) < 0)
		return err_sys(e, "linux.namespaces: new time");
	return write_time_offsets(l->request->oci->linux, e);
}

/* The agent's own children are to be born in its own namespaces again. */
static void come_back(struct sandbox *s)
{
	if (s->own_pidns >= 0 && setns(s->own_pidns, CLONE_NEWPID) < 0)
		log_error(&s->log, "cannot return to the agent's pid namespace");
	if (s->own_timens >= 0)
		(void)setns(s->own_timens, CLONE_NEWTIME);
}

static int clone_child(struct process *p, const struct launch *l,
		       const struct child_setup *setup, struct err *e)
{
	struct sys_clone_args args = { .exit_signal = SIGCHLD };
	pid_t pid = -1;

	if (find_ns(l, "user") && !*find_ns(l, "user")->path && !l->join)
		args.flags |= CLONE_NEWUSER;
	if (prepare_time_ns(l, e) == 0 && prepare_pid_ns(p, l, &args.flags, e) == 0) {
		pid = sys_clone3(&args);
		if (pid == 0)
			child_run(setup);
		if (pid < 0)
			err_sys(e, "clone");
	}
	come_back(p->container->sandbox);
	return pid < 0 ? -1 : (int)pid;
}

/*
 * Into a namespace whose first process ends nobody is born any more, even while that one still
 * waits for the others to be reaped: setns(2) fails with ESRCH or, if it came first, clone(2)
 * with ENOMEM (kernel/nsproxy.c, kernel/pid.c of 6.12). The next one takes its place.
 */
static int clone_into_kept(struct process *p, const struct launch *l,
			   const struct child_setup *setup, struct err *e)
{
	struct sandbox *s = p->container->sandbox;
	struct err again;
	pid_t first;
	int pid;

	/* before this process is in other namespaces, which it must not wait in */
	if (pidns_begin(s, 0, e) < 0)
		return -1;
	first = s->pidns.child.pid;
	pid = clone_child(p, l, setup, e);
	if (pid >= 0 || (e->sys != ENOMEM && e->sys != ESRCH))
		return pid;
	if (pidns_begin(s, first, &again) < 0)
		return err_wrap(e, "%s", again.msg);
	return clone_child(p, l, setup, e);
}

/* ---- streams ---- */

static int make_pipe(struct process *p, int out[2], struct err *e)
{
	uint32_t size = p->container->sandbox->config.container_pipe_size;

	if (fd_pipe(out, e) < 0)
		return -1;
	/* more than the system allows to users is fine for us; less is only slower */
	(void)fcntl(out[0], F_SETPIPE_SZ, size ? (int)size : STREAM_PIPE_SIZE);
	return 0;
}

static int make_pipes(struct process *p, struct pipes *f, struct err *e)
{
	if (fd_socketpair(f->socket, e) < 0)
		return -1;
	if (p->terminal) {
		f->null = open("/dev/null", O_RDWR | O_CLOEXEC);
		return f->null < 0 ? err_sys(e, "open /dev/null") : 0;
	}
	if (make_pipe(p, f->in, e) < 0 || make_pipe(p, f->out, e) < 0 ||
	    make_pipe(p, f->err, e) < 0)
		return -1;
	return 0;
}

/* Who root of the container's user namespace is outside of it. */
static uint32_t mapped_root(Grpc__LinuxIDMapping *const *maps, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		if (maps[i]->containerid == 0)
			return maps[i]->hostid;
	}
	return 0;
}

/* The stage can give the pipes to the process' user only if they belong to the namespace. */
static int give_pipes(const struct container *c, const struct launch *l, const struct pipes *f,
		      struct err *e)
{
	const Grpc__Linux *lx = l->request->oci->linux;
	const int ends[] = { f->in[0], f->out[1], f->err[1] };
	uid_t uid;
	gid_t gid;

	if (!c->user_ns || f->in[0] < 0)
		return 0;
	uid = mapped_root(lx->uidmappings, lx->n_uidmappings);
	gid = mapped_root(lx->gidmappings, lx->n_gidmappings);
	for (size_t i = 0; i < ARRAY_LEN(ends); i++) {
		if (fchown(ends[i], uid, gid) < 0)
			return err_sys(e, "give the standard streams to the user namespace");
	}
	return 0;
}

static int keep_streams(struct process *p, struct pipes *f, struct err *e)
{
	struct loop *l = p->container->sandbox->loop;

	if (p->terminal)
		return 0;
	if (stream_init(&p->in, l, fd_take(&f->in[1]), false, false, e) < 0 ||
	    stream_init(&p->out, l, fd_take(&f->out[0]), true, false, e) < 0 ||
	    stream_init(&p->err_out, l, fd_take(&f->err[0]), true, false, e) < 0)
		return -1;
	return 0;
}

/* One descriptor for each direction: epoll tells descriptors of one file apart by number. */
static int keep_console(struct process *p, int master, struct err *e)
{
	struct loop *l = p->container->sandbox->loop;
	OWN(fd) int own = master;
	OWN(fd) int in = fcntl(master, F_DUPFD_CLOEXEC, 3);
	OWN(fd) int size = fcntl(master, F_DUPFD_CLOEXEC, 3);

	if (in < 0 || size < 0)
		return err_sys(e, "the terminal's descriptors");
	if (stream_init(&p->out, l, fd_take(&own), true, true, e) < 0 ||
	    stream_init(&p->in, l, fd_take(&in), false, true, e) < 0)
		return -1;
	p->console_fd = fd_take(&size);
	return 0;
}

/* ---- the stage ---- */

/* Receives one answer, with the terminal's master if one comes along. 1: the socket closed. */
static int receive_answer(int fd, struct stage_answer *a, int *master_out, struct err *e)
{
	union {
		struct cmsghdr align;
		char space[CMSG_SPACE(sizeof(int))];
	} control;
	struct iovec iov = { .iov_base = a, .iov_len = sizeof(*a) };
	struct msghdr msg = {
		.msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = control.space,
		.msg_controllen = sizeof(control.space),
	};
	struct cmsghdr *c;
	ssize_t n;

	do
		n = recvmsg(fd, &msg, MSG_CMSG_CLOEXEC);
	while (n < 0 && errno == EINTR);
	if (n == 0 || (n < 0 && errno == ECONNRESET))
		return 1;
	if (n < 0)
		return err_sys(e, "receive from the stage");
	c = CMSG_FIRSTHDR(&msg);
	if (c && c->cmsg_type == SCM_RIGHTS && c->cmsg_len == CMSG_LEN(sizeof(int)))
		memcpy(master_out, CMSG_DATA(c), sizeof(int));
	if (n != (ssize_t)sizeof(*a) || (a->result != STAGE_READY && a->result != STAGE_FAILED))
		return err_set(e, ERR_PEER, 0, "the stage's answer is broken");
	a->why.msg[sizeof(a->why.msg) - 1] = '\0';
	return 0;
}

static int take_failure(const struct stage_answer *a, struct err *e)
{
	*e = a->why;
	if (e->kind <= ERR_NONE || e->kind >= ERR_KIND_COUNT_)
		e->kind = ERR_SYS;
	return -1;
}

/* `more_ms` than every step has. */
static int wait_answer(struct process *p, int64_t more_ms, struct stage_answer *a,
		       int *master_out, struct err *e)
{
	struct sandbox *s = p->container->sandbox;

	if (fiber_wait_fd(s->loop, p->stage_fd, EPOLLIN,
			  deadline_in(s->config.launch_timeout_ms + more_ms), e) < 0)
		return err_wrap(e, "preparing the process");
	return receive_answer(p->stage_fd, a, master_out, e);
}

static int send_order(struct process *p, const struct launch *l, struct err *e)
{
	struct container *c = p->container;
	OWN(buf) struct buf body = { .limit = STAGE_BODY_MAX };
	struct stage_order o = { .kind = l->join ? STAGE_JOIN : STAGE_CREATE };
	int64_t deadline = deadline_in(c->sandbox->config.launch_timeout_ms);

	if (message_encode(&l->request->base, &body, e) < 0)
		return -1;
	o.body_len = (uint32_t)buf_len(&body);
	o.in_new_user_ns = c->user_ns && !l->join;
	o.joins_user_ns = c->user_ns && l->join;
	(void)snprintf(o.cgroup_dir, sizeof(o.cgroup_dir), "%s", c->cgroup.path);
	if (fiber_write_all(c->sandbox->loop, p->stage_fd, &o, sizeof(o), deadline, e) < 0 ||
	    fiber_write_all(c->sandbox->loop, p->stage_fd, buf_head(&body), buf_len(&body),
			    deadline, e) < 0)
		return err_wrap(e, "hand the specification to the stage");
	return 0;
}

static int wait_ready(struct process *p, struct err *e)
{
	struct stage_answer a;
	OWN(fd) int master = -1;
	int rc = wait_answer(p, 0, &a, &master, e);

	if (rc < 0)
		return -1;
	if (rc == 1)
		return err_set(e, ERR_STATE, 0, "the process ended before it was ready");
	if (a.result == STAGE_FAILED)
		return take_failure(&a, e);
	if (p->terminal != (master >= 0))
		return err_set(e, ERR_PEER, 0, "the stage's answer is broken");
	return p->terminal ? keep_console(p, fd_take(&master), e) : 0;
}

static int write_map(pid_t pid, const char *file, Grpc__LinuxIDMapping *const *maps, size_t n,
		     struct err *e)
{
	OWN(buf) struct buf text = { .limit = 64 * 1024 };
	char path[64];

	for (size_t i = 0; i < n; i++) {
		if (buf_printf(&text, e, "%u %u %u\n", maps[i]->containerid, maps[i]->hostid,
			       maps[i]->size) < 0)
			return -1;
	}
	if (!buf_len(&text))
		return err_set(e, ERR_INVALID, 0, "a user namespace needs %s mappings", file);
	if (!buf_cstr(&text))
		return err_oom(e, "id mappings");
	(void)snprintf(path, sizeof(path), "/proc/%d/%s", (int)pid, file);
	return file_write_value(AT_FDCWD, path, buf_cstr(&text), e);
}

static int write_maps(struct process *p, const struct launch *l, struct err *e)
{
	const Grpc__Linux *lx = l->request->oci->linux;
	pid_t pid = p->child.pid;

	if (write_map(pid, "uid_map", lx->uidmappings, lx->n_uidmappings, e) < 0)
		return err_wrap(e, "linux.uidMappings");
	if (write_map(pid, "gid_map", lx->gidmappings, lx->n_gidmappings, e) < 0)
		return err_wrap(e, "linux.gidMappings");
	return fd_write_all(p->stage_fd, "m", 1, e);
}

static int set_oom_score(struct process *p, const Grpc__Process *spec, struct err *e)
{
	char path[64], value[24];

	if (!spec->oomscoreadj &&
	    spec->has_oomscore_adj_case == GRPC__PROCESS__HAS_OOMSCORE_ADJ__NOT_SET)
		return 0;
	(void)snprintf(path, sizeof(path), "/proc/%d/oom_score_adj", (int)p->child.pid);
	(void)snprintf(value, sizeof(value), "%lld", (long long)spec->oomscoreadj);
	if (file_write_value(AT_FDCWD, path, value, e) < 0)
		return err_wrap(e, "process.oomScoreAdj");
	return 0;
}

/* The reaper still looks at the child after it has told us: its reference goes a turn later. */
static void drop_reference(struct timer *t)
{
	process_unref(container_of(t, struct process, reaped));
}

static void process_ended(struct child *ch)
{
	struct process *p = container_of(ch, struct process, child);

	fd_close(&p->pidfd);
	stream_process_exited(&p->in);
	stream_process_exited(&p->out);
	stream_process_exited(&p->err_out);
	oom_check(p->container); /* the reason of an end is told before the end */
	cond_wake_all(&p->exited);
	p->reaped.fire = drop_reference;
	timer_set(p->container->sandbox->loop, &p->reaped, time_mono_ms());
}

static int enter_cgroup(struct process *p, const struct launch *l, struct err *e)
{
	const struct container *c = p->container;

	return l->join ? cgroup_join(&c->cgroup, c->init->child.pid, p->child.pid, e)
		       : cgroup_add(&c->cgroup, p->child.pid, e);
}

static int follow_child(struct process *p, const struct launch *l, bool maps, struct err *e)
{
	if (fd_set_nonblock(p->stage_fd, true, e) < 0)
		return -1;
	p->pidfd = sys_pidfd_open(p->child.pid);
	if (p->pidfd < 0)
		return err_sys(e, "pidfd");
	if (enter_cgroup(p, l, e) < 0 || set_oom_score(p, l->request->oci->process, e) < 0)
		return -1;
	if (maps && write_maps(p, l, e) < 0)
		return -1;
	return send_order(p, l, e) < 0 ? -1 : wait_ready(p, e);
}

/* A launch that failed leaves no process. */
static void end_child(struct process *p)
{
	struct sandbox *s = p->container->sandbox;
	struct err ignored;

	fd_close(&p->stage_fd);
	fiber_shield(s->loop, true);
	if (child_end(&p->child, END_MS, &ignored) < 0)
		log_warn(&p->container->log, "process %d does not end: %s", (int)p->child.pid,
			 ignored.msg);
	fiber_shield(s->loop, false);
}

int process_launch(struct process *p, const struct launch *l, struct err *e)
{
	struct sandbox *s = p->container->sandbox;
	struct child_setup setup = { .exe_fd = s->exe_fd, .pidfd = -1 };
	OWN(pipes) struct pipes f = PIPES_INIT;
	const Grpc__LinuxNamespace *user = find_ns(l, "user");
	pid_t pid;

	p->terminal = l->request->oci->process->terminal;
	p->hooks_ms = l->join ? 0 : hooks_start_ms(l->request->oci);
	if (make_pipes(p, &f, e) < 0 || give_pipes(p->container, l, &f, e) < 0)
		return -1;
	setup.socket = f.socket[1];
	setup.stdio[0] = p->terminal ? f.null : f.in[0];
	setup.stdio[1] = p->terminal ? f.null : f.out[1];
	setup.stdio[2] = p->terminal ? f.null : f.err[1];
	setup.wait_for_maps = user && !*user->path && !l->join;
	if (l->join)
		setup.pidfd = p->container->init->pidfd;
	pid = is_of_agent(l) ? clone_into_kept(p, l, &setup, e) : clone_child(p, l, &setup, e);
	if (pid < 0)
		return -1;
	process_ref(p); /* the child's, until it is reaped */
	child_watch(&s->reaper, &p->child, pid, process_ended);
	p->stage_fd = fd_take(&f.socket[0]);
	if (keep_streams(p, &f, e) < 0) {
		end_child(p);
		return -1;
	}
	own_pipes(&f);
	if (follow_child(p, l, setup.wait_for_maps, e) < 0) {
		end_child(p);
		return -1;
	}
	return 0;
}

int process_release(struct process *p, struct err *e)
{
	struct stage_answer a;
	struct err ignored;
	int master = -1, rc;

	if (p->stage_fd < 0 || p->starting)
		return err_set(e, ERR_STATE, 0, "the process was started already");
	p->starting = true;
	if (write(p->stage_fd, "s", 1) != 1) {
		p->starting = false;
		return err_set(e, ERR_STATE, 0, "the process has ended");
	}
	rc = wait_answer(p, p->hooks_ms, &a, &master, e);
	fd_close(&master);
	fd_close(&p->stage_fd);
	p->starting = false;
	if (rc < 0) { /* whoever was told so must not find it running later, nor its hook */
		(void)(p == p->container->init ? cgroup_kill(&p->container->cgroup, &ignored)
					       : child_kill(&p->child, SIGKILL, &ignored));
		return -1;
	}
	if (rc == 0) { /* READY cannot come twice */
		if (a.result == STAGE_FAILED)
			return take_failure(&a, e);
		return err_set(e, ERR_PEER, 0, "the stage's answer is broken");
	}
	p->started = true;
	return 0;
}
