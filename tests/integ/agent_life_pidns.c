/* SPDX-License-Identifier: Apache-2.0 */
/* Process namespaces that containers share: one that the agent keeps, and one another's. */
#include "agent_life.h"

#include <dirent.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

#include "base/fd.h"
#include "base/str.h"
#include "base/sys.h"

/* "pid" is the first of the namespaces that make_container() asks for. */
static Grpc__CreateContainerRequest *joining_shell(struct test *t, const char *script)
{
	Grpc__CreateContainerRequest *r = make_container(t, ARGS("sh", "-c", script));

	r->oci->linux->namespaces++;
	r->oci->linux->n_namespaces--;
	return r;
}

static Grpc__CreateContainerRequest *sharing_shell(struct test *t, const char *script)
{
	Grpc__CreateContainerRequest *r = joining_shell(t, script);

	r->sandbox_pidns = r->agent_pidns = true;
	return r;
}

static void end(struct test *t, const char *id)
{
	CHECK(t, kill_process(t, id, "", SIGKILL) == 0, "%s", t->e.msg);
	CHECK(t, wait_for(t, id, "") == 137, "%s", t->e.msg);
	CHECK(t, remove_container(t, id) == 0, "%s", t->e.msg);
}

/* It outlives every container, reaps what they leave, and has nothing to look into. */
void test_kept_pid_namespace(struct test *t)
{
	static const char look[] =
		"ps; cat /proc/1/comm; tr '\\0' ' ' </proc/1/cmdline; ls -A /proc/1/root/ && "
		"echo nothing; ls /proc/1/fd; sleep 0.3 & exec sleep 0.1";
	Grpc__CreateContainerRequest *first = sharing_shell(t, "exec sleep 4321");
	Grpc__CreateContainerRequest *second = sharing_shell(t, look);
	const char *out, *err_out;

	CHECK(t, create(t, first) == 0 && start(t, first->container_id) == 0, "%s", t->e.msg);
	add_str(t, &second->oci->process->capabilities->effective,
		&second->oci->process->capabilities->n_effective, "CAP_SYS_PTRACE");
	add_str(t, &second->oci->process->capabilities->permitted,
		&second->oci->process->capabilities->n_permitted, "CAP_SYS_PTRACE");
	add_str(t, &second->oci->process->capabilities->bounding,
		&second->oci->process->capabilities->n_bounding, "CAP_SYS_PTRACE");
	CHECK(t, run_request(t, second, &out, &err_out) == 0, "%s", err_out);
	CHECK(t, strstr(out, "sleep 4321") && strstr(out, "pause\npause nothing\n"), "%s", out);
	end(t, first->container_id);
	CHECK(t, run_request(t, sharing_shell(t, "sleep 0.5; ps"), &out, &err_out) == 0, "%s",
	      err_out);
	CHECK(t, strstr(out, "pause") && !strstr(out, "4321") && !strstr(out, "[sleep]"), "%s",
	      out);
}

/* The process of the kept namespace, as this one sees it; 0: there is none. */
static pid_t find_pause(void)
{
	DIR *proc = opendir("/proc");
	struct dirent *d;
	pid_t found = 0;

	BUG_ON(!proc);
	while (!found && (d = readdir(proc))) {
		OWN(free) char *comm = NULL;
		char path[300];
		struct err ignored;

		(void)snprintf(path, sizeof(path), "/proc/%s/comm", d->d_name);
		if (file_read(AT_FDCWD, path, 64, &comm, NULL, &ignored) == 0 &&
		    str_eq(comm, "pause\n"))
			found = (pid_t)strtol(d->d_name, NULL, 10);
	}
	(void)closedir(proc);
	return found;
}

/* Who has a child in the namespace of `first` and reaps it late, which its end waits for. */
static _Noreturn void hold_up_end(pid_t first, int ready)
{
	int pidfd = sys_pidfd_open(first);
	siginfo_t info;
	pid_t child;

	if (pidfd < 0 || setns(pidfd, CLONE_NEWPID) < 0)
		_exit(1);
	child = fork();
	if (child == 0) {
		for (;;)
			(void)pause();
	}
	if (child < 0 || write(ready, "", 1) != 1 ||
	    waitid(P_PID, (id_t)child, &info, WEXITED | WNOWAIT) < 0)
		_exit(2);
	(void)usleep(500 * 1000);
	_exit(waitpid(child, NULL, 0) == child ? 0 : 3);
}

/* As by the guest's memory killer: who is in it ends with it, and the next one begins anew. */
void test_killed_pid_namespace(struct test *t)
{
	Grpc__CreateContainerRequest *first = sharing_shell(t, "exec sleep 4321");
	const char *out, *err_out;
	pid_t keeper, holder;
	int ends[2], status;
	char byte;

	CHECK(t, create(t, first) == 0 && start(t, first->container_id) == 0, "%s", t->e.msg);
	keeper = find_pause();
	CHECK(t, keeper > 0, "%d", (int)keeper);
	CHECK(t, pipe(ends) == 0, "%s", strerror(errno));
	holder = fork();
	if (holder == 0)
		hold_up_end(keeper, ends[1]);
	CHECK(t, read(ends[0], &byte, 1) == 1, "%s", strerror(errno));
	(void)close(ends[0]);
	(void)close(ends[1]);
	CHECK(t, kill(keeper, SIGKILL) == 0, "%s", strerror(errno));
	CHECK(t, wait_for(t, first->container_id, "") == 137, "%s", t->e.msg);
	CHECK(t, remove_container(t, first->container_id) == 0, "%s", t->e.msg);
	CHECK(t, run_request(t, sharing_shell(t, "cat /proc/1/comm"), &out, &err_out) == 0,
	      "%s", err_out);
	CHECK(t, strcmp(out, "pause\n") == 0, "%s", out);
	CHECK(t, waitpid(holder, &status, 0) == holder && status == 0, "%d", status);
}

void test_pid_namespace_of_another(struct test *t)
{
	Grpc__CreateContainerRequest *target = make_container(t, ARGS("sleep", "4321"));
	Grpc__CreateContainerRequest *debugger = joining_shell(t, "ps; exit 3");
	Grpc__CreateContainerRequest *late = joining_shell(t, "true");
	const char *out, *err_out;

	CHECK(t, create(t, target) == 0 && start(t, target->container_id) == 0, "%s", t->e.msg);
	debugger->pid_of = late->pid_of = target->container_id;
	CHECK(t, run_request(t, debugger, &out, &err_out) == 3, "%s", err_out);
	CHECK(t, strstr(out, "sleep 4321"), "%s", out);
	CHECK(t, kill_process(t, target->container_id, "", SIGKILL) == 0, "%s", t->e.msg);
	CHECK(t, wait_for(t, target->container_id, "") == 137, "%s", t->e.msg);
	CHECK(t, create(t, late) < 0 && t->e.kind == ERR_STATE, "%s", t->e.msg);
	CHECK(t, remove_container(t, target->container_id) == 0, "%s", t->e.msg);
	CHECK(t, create(t, late) < 0 && t->e.kind == ERR_STATE, "%s", t->e.msg);
}
