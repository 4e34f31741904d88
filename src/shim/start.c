/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `start`: makes the run-time directory with its lock and socket, starts itself again as the
 * engine with both inherited, and prints the address once the engine is ready: one that cannot
 * begin says why. Whatever it prints is the answer, so what it does is logged in the bundle.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/err.h"
#include "base/fd.h"
#include "base/mem.h"
#include "base/own.h"
#include "base/path.h"
#include "base/str.h"
#include "base/sys.h"
#include "base/time.h"
#include "event/signal.h"
#include "oci/annotations.h"
#include "oci/spec.h"
#include "sandbox/rundir.h"
#include "shim/actions.h"
#include "shim/bootstrap.h"
#include "shim/engine_log.h"
#include "shim/options.h"

enum {
	ENGINE_LISTEN_FD = 3,
	ENGINE_LOCK_FD = 4,
	ENGINE_READY_FD = 5,
	READY_MS = 30 * 1000,
	REPORT_MAX = 1024,
	SCOPE_GROUP = 2 /* PR_SCHED_CORE_SCOPE_PROCESS_GROUP, Linux 5.16 */
};

int shim_check_ids(const struct shim_options *o, struct err *e)
{
	if (!*o->id)
		return err_set(e, ERR_INVALID, 0, "flag -id is missing");
	if (!*o->namespace)
		return err_set(e, ERR_INVALID, 0, "flag -namespace is missing");
	if (path_check_id(o->namespace, 76, "namespace", e) < 0)
		return -1;
	return path_check_id(o->id, 128, "id", e);
}

int shim_sandbox_of(const struct shim_options *o, char **out, bool *joins, struct err *e)
{
	OWN(arena) struct arena a = { .limit = SPEC_ARENA_BYTES };
	struct oci_identity identity = { .kind = OCI_POD_SANDBOX };
	Grpc__Spec *spec;

	/* a pod of containerd's Sandbox API has no specification of its own */
	if (access("config.json", F_OK) == 0 &&
	    (spec_load(".", &a, NULL, &spec, e) < 0 || spec_identity(spec, &identity, e) < 0))
		return -1;
	*joins = identity.kind == OCI_POD_CONTAINER;
	*out = strdup(*joins ? identity.sandbox_id : o->id);
	return *out ? 0 : err_oom(e, "an id");
}

static int write_file(const char *name, const char *value, struct err *e)
{
	return file_replace(AT_FDCWD, name, value, strlen(value), 0600, false, e);
}

/* What a child does to become the engine. */
enum step {
	STEP_DESCRIPTORS,
	STEP_CORE,
	STEP_EXEC
};

static const char *const step_names[] = {
	[STEP_DESCRIPTORS] = "its descriptors",
	[STEP_CORE] = "core scheduling (SCHED_CORE)",
	[STEP_EXEC] = "execute it",
};

/* containerd's sched_core: hyper-threads are not shared with others. */
static int set_core(void)
{
	const char *core = getenv("SCHED_CORE");

	if (!core || !*core)
		return 0;
	return prctl(PR_SCHED_CORE, PR_SCHED_CORE_CREATE, 0, SCOPE_GROUP, 0);
}

/* As containerd's own shims. */
static void set_oom_score(const struct shim_options *o)
{
	char path[32], value[16];
	struct err ignored;
	int64_t score;

	if (!*o->publish_binary)
		return;
	/* killed a little earlier than containerd; where that is not allowed, no earlier */
	(void)snprintf(path, sizeof(path), "/proc/%d/oom_score_adj", (int)getppid());
	if (file_read_line(AT_FDCWD, path, value, sizeof(value), &ignored) == 0 &&
	    str_to_i64(value, -1000, 999, "score", &score, &ignored) == 0) {
		(void)snprintf(value, sizeof(value), "%d", (int)score + 1);
		(void)file_write_value(AT_FDCWD, "/proc/self/oom_score_adj", value, &ignored);
	}
}

/* In the child, after fork: becomes the engine. Returns the step that failed. */
static enum step become_engine(const struct shim_options *o, const struct rundir *r,
			       const char *id, int ready)
{
	const char *argv[16] = { "containerd-shim-kata-v2",
				 "-id",
				 id,
				 "-namespace",
				 o->namespace,
				 "-address",
				 o->address,
				 "-publish-binary",
				 o->publish_binary };
	int null = open("/dev/null", O_RDWR | O_CLOEXEC), fds[3];

	if (o->debug)
		argv[9] = "-debug";
	fds[0] = fcntl(r->listen_fd, F_DUPFD_CLOEXEC, 10);
	fds[1] = fcntl(r->lock_fd, F_DUPFD_CLOEXEC, 10);
	fds[2] = fcntl(ready, F_DUPFD_CLOEXEC, 10);
	if (null < 0 || fds[0] < 0 || fds[1] < 0 || fds[2] < 0 || setsid() < 0)
		return STEP_DESCRIPTORS;
	if (set_core() < 0)
		return STEP_CORE;
	set_oom_score(o);
	for (int i = 0; i < 3; i++) {
		if (dup2(null, i) < 0)
			return STEP_DESCRIPTORS;
	}
	if (sys_close_range(3, ~0U, CLOSE_RANGE_CLOEXEC) < 0 ||
	    dup2(fds[0], ENGINE_LISTEN_FD) < 0 || dup2(fds[1], ENGINE_LOCK_FD) < 0 ||
	    dup2(fds[2], ENGINE_READY_FD) < 0)
		return STEP_DESCRIPTORS;
	if (setenv(SHIM_ENV_LISTEN_FD, "3", 1) < 0 || setenv(SHIM_ENV_LOCK_FD, "4", 1) < 0 ||
	    setenv(SHIM_ENV_READY_FD, "5", 1) < 0 || setenv(SHIM_ENV_NAME, r->name, 1) < 0)
		return STEP_DESCRIPTORS;
	signal_reset_all();
	(void)execv("/proc/self/exe", (char *const *)(uintptr_t)argv);
	return STEP_EXEC;
}

/* What it says of itself: one byte SHIM_READY, or why it cannot begin. */
static int wait_ready(int fd, struct err *e)
{
	int64_t deadline = deadline_in(READY_MS);
	char said[REPORT_MAX + 1];
	size_t len = 0;
	ssize_t n = 1;

	while (n && len < REPORT_MAX) {
		struct pollfd p = { .fd = fd, .events = POLLIN };
		int ready = poll(&p, 1, deadline_left(deadline));

		if (ready == 0)
			return err_set(e, ERR_TIMEOUT, 0, "the engine does not get ready");
		n = ready < 0 ? -1 : read(fd, said + len, REPORT_MAX - len);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return err_sys(e, "the engine's report");
		len += (size_t)n;
		if (len && said[0] == SHIM_READY)
			return 0;
	}
	said[len] = '\0';
	return err_set(e, ERR_SYS, 0, "start the engine: %s",
		       len ? said : "it ended before it was ready");
}

static int start_engine(const struct shim_options *o, const struct rundir *r, const char *id,
			pid_t *pid_out, struct err *e)
{
	OWN(fd) int rd = -1;
	OWN(fd) int wr = -1;
	int p[2];
	pid_t pid;

	if (fd_pipe(p, e) < 0)
		return -1;
	rd = p[0];
	wr = p[1];
	pid = fork();
	if (pid < 0)
		return err_sys(e, "fork");
	if (pid == 0) {
		enum step failed = become_engine(o, r, id, wr);

		(void)dprintf(wr, "%s: %s", step_names[failed], strerror(errno));
		_exit(127);
	}
	fd_close(&wr);
	if (wait_ready(rd, e) < 0) {
		(void)kill(pid, SIGKILL);
		(void)waitpid(pid, NULL, 0);
		return -1;
	}
	*pid_out = pid;
	return 0;
}

/* What the caller is to find: the engine's number, its address, and the answer. */
static int tell(const struct bootstrap *b, const char *address, pid_t pid, struct err *e)
{
	char pid_text[16];

	(void)snprintf(pid_text, sizeof(pid_text), "%d", (int)pid);
	if ((pid && write_file("shim.pid", pid_text, e) < 0) ||
	    write_file("address", address, e) < 0)
		return -1;
	return bootstrap_answer(address, b->v3, e);
}

/* An engine that nobody was told of would be in the way of the next attempt. */
static int start_new(const struct shim_options *o, const struct bootstrap *b, const char *id,
		     struct err *e)
{
	OWN(rundir) struct rundir r = RUNDIR_INIT;
	OWN(free) char *cwd = getcwd(NULL, 0);
	OWN(free) char *address = NULL;
	struct rundir_owner owner = {
		.namespace = o->namespace,
		.address = o->address,
		.bundle = cwd,
	};
	pid_t pid;
	int rc;

	if (!cwd)
		return err_sys(e, "current directory");
	if (rundir_create(RUNDIR_BASE, id, &owner, &r, e) < 0)
		return -1;
	if (start_engine(o, &r, id, &pid, e) < 0) {
		rundir_remove(&r);
		return -1;
	}
	address = str_printf("unix://%s", r.socket_path);
	rc = address ? tell(b, address, pid, e) : err_oom(e, "an address");
	if (rc < 0) {
		(void)kill(pid, SIGKILL);
		(void)waitpid(pid, NULL, 0);
		(void)unlink("shim.pid");
		(void)unlink("address");
		rundir_remove(&r);
	}
	return rc;
}

/* The engine that runs the container's pod. */
static int join_pod(const struct shim_options *o, const struct bootstrap *b, const char *id,
		    struct err *e)
{
	struct rundir_owner owner = { .namespace = o->namespace, .address = o->address };
	OWN(free) char *name = NULL;
	OWN(free) char *path = NULL;
	OWN(free) char *address = NULL;

	if (rundir_find(RUNDIR_BASE, id, &owner, &name, e) < 0 ||
	    rundir_socket_path(RUNDIR_BASE, name, &path, e) < 0)
		return err_wrap(e, "container '%s'", o->id);
	address = str_printf("unix://%s", path);
	return address ? tell(b, address, 0, e) : err_oom(e, "an address");
}

int shim_start(const struct shim_options *o, struct err *e)
{
	OWN(free) char *id = NULL;
	OWN(free) char *config = NULL;
	struct bootstrap b;
	bool joins = false;

	if (shim_check_ids(o, e) < 0)
		return -1;
	engine_log_open(o->debug, o->id);
	if (bootstrap_read(o, &b, e) < 0)
		return -1;
	config = b.config_path;
	if ((config ? setenv(SHIM_ENV_CONFIG, config, 1) : unsetenv(SHIM_ENV_CONFIG)) < 0)
		return err_sys(e, "the environment");
	if (shim_sandbox_of(o, &id, &joins, e) < 0)
		return -1;
	if (joins)
		engine_log_name(id, o->id);
	return joins ? join_pod(o, &b, id, e) : start_new(o, &b, id, e);
}
