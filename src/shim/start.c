/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `start`, `delete` and `-info`: the short runs of the shim's program. `start` makes the
 * run-time directory with its lock and socket, starts itself again as the engine with both
 * inherited, and prints the address: when containerd connects, the socket is already there.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/fd.h"
#include "base/mem.h"
#include "base/own.h"
#include "base/path.h"
#include "base/str.h"
#include "base/sys.h"
#include "base/time.h"
#include "build_config.h"
#include "event/signal.h"
#include "oci/annotations.h"
#include "oci/spec.h"
#include "shim/actions.h"
#include "shim/options.h"
#include "sandbox/rundir.h"
#include "task.pb-c.h"
#include "version.h"
#include "wire/message.h"

enum {
	ENGINE_LISTEN_FD = 3,
	ENGINE_LOCK_FD = 4,
	STATUS_KILLED = 137
};

static int check_ids(const struct shim_options *o, struct err *e)
{
	if (!*o->id)
		return err_set(e, ERR_INVALID, 0, "flag -id is missing");
	if (!*o->namespace)
		return err_set(e, ERR_INVALID, 0, "flag -namespace is missing");
	if (path_check_id(o->namespace, 76, "namespace", e) < 0)
		return -1;
	return path_check_id(o->id, 128, "id", e);
}

/* The id of the sandbox that the bundle in the current directory belongs to. */
static int sandbox_of_bundle(const struct shim_options *o, char **out, bool *joins,
			     struct err *e)
{
	OWN(arena) struct arena a = { .limit = SPEC_ARENA_BYTES };
	struct oci_identity identity;
	Grpc__Spec *spec;

	if (spec_load(".", &a, NULL, &spec, e) < 0 || spec_identity(spec, &identity, e) < 0)
		return -1;
	*joins = identity.kind == OCI_POD_CONTAINER;
	*out = strdup(*joins ? identity.sandbox_id : o->id);
	return *out ? 0 : err_oom(e, "an id");
}

static int write_file(const char *name, const char *value, struct err *e)
{
	return file_replace(AT_FDCWD, name, value, strlen(value), 0600, false, e);
}

/* In the child, after fork: becomes the engine. Returns only on failure. */
static int become_engine(const struct shim_options *o, const struct rundir *r, const char *id)
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
	int null = open("/dev/null", O_RDWR | O_CLOEXEC), fds[2];

	if (o->debug)
		argv[9] = "-debug";
	fds[0] = fcntl(r->listen_fd, F_DUPFD_CLOEXEC, 10);
	fds[1] = fcntl(r->lock_fd, F_DUPFD_CLOEXEC, 10);
	if (null < 0 || fds[0] < 0 || fds[1] < 0 || setsid() < 0)
		return -1;
	for (int i = 0; i < 3; i++) {
		if (dup2(null, i) < 0)
			return -1;
	}
	if (sys_close_range(3, ~0U, CLOSE_RANGE_CLOEXEC) < 0 ||
	    dup2(fds[0], ENGINE_LISTEN_FD) < 0 || dup2(fds[1], ENGINE_LOCK_FD) < 0)
		return -1;
	if (setenv(SHIM_ENV_LISTEN_FD, "3", 1) < 0 || setenv(SHIM_ENV_LOCK_FD, "4", 1) < 0)
		return -1;
	signal_reset_all();
	return execv("/proc/self/exe", (char *const *)(uintptr_t)argv);
}

static int start_engine(const struct shim_options *o, const struct rundir *r, const char *id,
			pid_t *pid_out, struct err *e)
{
	OWN(fd) int rd = -1;
	OWN(fd) int wr = -1;
	int p[2], failed = 0;
	struct err none;
	pid_t pid;

	if (fd_pipe(p, e) < 0)
		return -1;
	rd = p[0];
	wr = p[1];
	pid = fork();
	if (pid < 0)
		return err_sys(e, "fork");
	if (pid == 0) {
		(void)become_engine(o, r, id);
		failed = errno;
		(void)!write(wr, &failed, sizeof(failed));
		_exit(127);
	}
	fd_close(&wr);
	if (fd_read_exact(rd, &failed, sizeof(failed), &none) == 0) {
		(void)waitpid(pid, NULL, 0);
		return err_set(e, ERR_SYS, failed, "start the engine");
	}
	*pid_out = pid;
	return 0;
}

static int start_new(const struct shim_options *o, const char *id, char **address,
		     struct err *e)
{
	OWN(rundir) struct rundir r = RUNDIR_INIT;
	OWN(free) char *owner = NULL;
	OWN(free) char *cwd = getcwd(NULL, 0);
	char pid_text[16];
	pid_t pid;

	if (!cwd)
		return err_sys(e, "current directory");
	owner = str_printf("%s %s", o->namespace, cwd);
	if (!owner)
		return err_oom(e, "a name");
	if (rundir_create(RUNDIR_BASE, id, owner, &r, e) < 0)
		return -1;
	if (start_engine(o, &r, id, &pid, e) < 0) {
		rundir_remove(&r);
		return -1;
	}
	(void)snprintf(pid_text, sizeof(pid_text), "%d", (int)pid);
	*address = str_printf("unix://%s", r.socket_path);
	if (!*address || write_file("shim.pid", pid_text, e) < 0) {
		(void)kill(pid, SIGKILL);
		rundir_remove(&r);
		return *address ? -1 : err_oom(e, "an address");
	}
	return 0;
}

int shim_start(const struct shim_options *o, struct err *e)
{
	OWN(free) char *id = NULL;
	OWN(free) char *address = NULL;
	OWN(free) char *path = NULL;
	bool joins = false;

	if (check_ids(o, e) < 0 || sandbox_of_bundle(o, &id, &joins, e) < 0)
		return -1;
	if (joins) {
		if (rundir_socket_path(RUNDIR_BASE, id, &path, e) < 0)
			return -1;
		if (access(path, F_OK) < 0)
			return err_set(e, ERR_NOT_FOUND, 0,
				       "sandbox '%s' of container '%s' does not run", id,
				       o->id);
		address = str_printf("unix://%s", path);
		if (!address)
			return err_oom(e, "an address");
	} else if (start_new(o, id, &address, e) < 0) {
		return -1;
	}
	if (write_file("address", address, e) < 0)
		return -1;
	return fd_write_all(STDOUT_FILENO, address, strlen(address), e);
}

static int print_message(const ProtobufCMessage *m, struct err *e)
{
	OWN(buf) struct buf out = BUF_INIT;

	if (message_encode(m, &out, e) < 0)
		return -1;
	return fd_write_all(STDOUT_FILENO, buf_head(&out), buf_len(&out), e);
}

int shim_delete(const struct shim_options *o, struct err *e)
{
	Containerd__Task__DeleteResponse resp = CONTAINERD__TASK__DELETE_RESPONSE__INIT;
	Google__Protobuf__Timestamp at = GOOGLE__PROTOBUF__TIMESTAMP__INIT;
	int64_t now = time_wall_ns();

	if (check_ids(o, e) < 0)
		return -1;
	(void)rundir_sweep(RUNDIR_BASE);
	at.seconds = now / 1000000000;
	at.nanos = (int32_t)(now % 1000000000);
	resp.exit_status = STATUS_KILLED;
	resp.exited_at = &at;
	return print_message(&resp.base, e);
}

int shim_info(const struct shim_options *o, struct err *e)
{
	Containerd__Task__RuntimeInfo info = CONTAINERD__TASK__RUNTIME_INFO__INIT;
	Containerd__Task__RuntimeVersion version = CONTAINERD__TASK__RUNTIME_VERSION__INIT;

	(void)o;
	version.version = (char *)(uintptr_t)KATA_VERSION;
	version.revision = (char *)(uintptr_t)KATA_COMMIT;
	info.name = (char *)(uintptr_t) "io.containerd.kata.v2";
	info.version = &version;
	return print_message(&info.base, e);
}
