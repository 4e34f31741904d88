/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/pidns.h"

#include <errno.h>
#include <grp.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <signal.h>
#include <stddef.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "agent/sandbox.h"
#include "base/err.h"
#include "base/fd.h"
#include "base/log.h"
#include "base/own.h"
#include "base/sys.h"
#include "base/time.h"
#include "event/signal.h"

enum {
	NOBODY = 65535, /* as the pause image's user */
	BEGIN_MS = 10 * 1000,
	END_MS = 5000,
	READY_FD = 0
};

/* What the first process failed at: its exit status. */
enum {
	FAILED_EXEC = 1,
	FAILED_SIGNALS,
	FAILED_FILES,
	FAILED_RIGHTS,
	FAILED_FILTER
};

void pidns_init(struct pidns *n, struct loop *l)
{
	*n = (struct pidns){ .pidfd = -1 };
	cond_init(&n->changed, l);
}

static _Noreturn void child_run(int exe, int ready)
{
	static char arg0[] = PIDNS_ARGV0;
	static char *const argv[] = { arg0, NULL };
	static char *const envp[] = { NULL };

	signal_reset_all();
	if (dup2(ready, READY_FD) == READY_FD &&
	    sys_close_range(READY_FD + 1, ~0U, CLOSE_RANGE_CLOEXEC) == 0)
		(void)sys_execveat(exe, argv, envp);
	_exit(FAILED_EXEC);
}

static void on_exit_(struct child *c)
{
	log_warn(NULL, "the shared process namespace has ended (status %d)",
		 child_exit_code(c->status));
}

static int start(struct sandbox *s, struct err *e)
{
	struct sys_clone_args args = { .flags = CLONE_NEWPID | CLONE_NEWNS,
				       .exit_signal = SIGCHLD };
	struct pidns *n = &s->pidns;
	OWN(fd) int rd = -1;
	OWN(fd) int wr = -1;
	size_t got = 0;
	int ends[2];
	pid_t pid;
	char byte;

	if (fd_pipe(ends, e) < 0)
		return -1;
	rd = ends[0];
	wr = ends[1];
	if (fd_set_nonblock(rd, true, e) < 0)
		return -1;
	pid = sys_clone3(&args);
	if (pid == 0)
		child_run(s->exe_fd, wr);
	if (pid < 0)
		return err_sys(e, "clone");
	child_watch(&s->reaper, &n->child, pid, on_exit_);
	n->pidfd = sys_pidfd_open(pid);
	if (n->pidfd < 0)
		return err_sys(e, "pidfd");
	fd_close(&wr);
	if (fiber_read(s->loop, rd, &byte, 1, deadline_in(BEGIN_MS), &got, e) < 0)
		return -1;
	if (got)
		return 0;
	(void)child_wait(&n->child, deadline_in(END_MS), e);
	return err_set(e, ERR_PEER, 0, "its first process ended (status %d)",
		       child_exit_code(n->child.status));
}

int pidns_begin(struct sandbox *s, pid_t ended, struct err *e)
{
	int64_t deadline = deadline_in(BEGIN_MS + 3 * END_MS);
	struct pidns *n = &s->pidns;
	int rc = 0;

	while (n->beginning) {
		if (cond_wait(&n->changed, deadline, e) < 0)
			return err_wrap(e, "the shared process namespace");
	}
	if (n->pidfd >= 0 && !n->child.exited && n->child.pid != ended)
		return 0;
	n->beginning = true;
	if (n->child.pid && n->child.pid == ended)
		rc = child_wait(&n->child, deadline_in(END_MS), e);
	if (rc == 0) {
		pidns_end(n); /* one that was killed: nothing is left in it */
		rc = start(s, e);
		if (rc < 0)
			pidns_end(n);
	}
	n->beginning = false;
	cond_wake_all(&n->changed);
	return rc < 0 ? err_wrap(e, "begin the shared process namespace") : 0;
}

void pidns_end(struct pidns *n)
{
	struct err e;

	if (!n->child.pid)
		return;
	n->child.on_exit = NULL;
	if (!n->child.exited && child_end(&n->child, END_MS, &e) < 0)
		log_warn(NULL, "the shared process namespace: %s", e.msg);
	child_unwatch(&n->child);
	fd_close(&n->pidfd);
	n->child.pid = 0;
}

/* ---- the first process ---- */

/* An empty root, since /proc/1/root is there for everybody in the namespace to look into. */
static bool leave_files(void)
{
	return mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0 &&
	       mount("none", "/proc", "tmpfs", MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOEXEC,
		     "mode=0555,size=4k") == 0 &&
	       chdir("/proc") == 0 && sys_pivot_root(".", ".") == 0 &&
	       umount2(".", MNT_DETACH) == 0 && chdir("/") == 0;
}

static bool leave_rights(void)
{
	return setgroups(0, NULL) == 0 && setresgid(NOBODY, NOBODY, NOBODY) == 0 &&
	       setresuid(NOBODY, NOBODY, NOBODY) == 0 &&
	       prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
	       prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) == 0 &&
	       /* behind the change of user, which takes it back */
	       prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0) == 0;
}

/* In no container's cgroup and under no container's filter: who traces it gains nothing. */
static bool leave_calls(void)
{
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, arch)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_AUDIT_ARCH, 0, 6),
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_rt_sigtimedwait, 5, 0),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_wait4, 4, 0),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_restart_syscall, 3, 0),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_write, 2, 0),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_close, 1, 0),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	const struct sock_fprog prog = { .len = ARRAY_LEN(code), .filter = code };

	return sys_seccomp_filter(0, &prog) >= 0;
}

_Noreturn void pidns_main(void)
{
	sigset_t all;

	(void)sigfillset(&all);
	(void)prctl(PR_SET_NAME, PIDNS_ARGV0, 0, 0, 0);
	if (sigprocmask(SIG_SETMASK, &all, NULL) < 0)
		_exit(FAILED_SIGNALS);
	if (!leave_files())
		_exit(FAILED_FILES);
	if (!leave_rights())
		_exit(FAILED_RIGHTS);
	if (!leave_calls())
		_exit(FAILED_FILTER);
	(void)!write(READY_FD, "", 1);
	(void)close(READY_FD);
	for (;;) {
		(void)sigwaitinfo(&all, NULL);
		while (waitpid(-1, NULL, WNOHANG) > 0)
			;
	}
}
