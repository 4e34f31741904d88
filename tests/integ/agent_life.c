/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Drives a running agent through whole lives of containers, as the engine does. TAP on
 * standard output. Where the agent runs (namespaces of this host, a VM) is the caller's
 * business: tests/integ/test_agent.py.
 *
 *	agent_life ADDRESS GUEST_ROOTFS [no-limits]
 *
 * GUEST_ROOTFS is a busybox root file system as the agent sees it. "no-limits": the agent's
 * cgroup tree has no controllers to test limits with.
 */
#include "agent_life.h"

/* ---- tests ---- */

static void test_health(struct test *t)
{
	Grpc__CheckRequest r = GRPC__CHECK_REQUEST__INIT;
	Grpc__HealthCheckResponse *resp;
	Grpc__VersionCheckResponse *version;

	CHECK(t,
	      call(t, "grpc.Health", "Check", &r.base, &grpc__health_check_response__descriptor,
		   &resp) == 0,
	      "%s", t->e.msg);
	CHECK(t, resp->status == GRPC__SERVING_STATUS__SERVING, "%d", resp->status);
	CHECK(t,
	      call(t, "grpc.Health", "Version", &r.base,
		   &grpc__version_check_response__descriptor, &version) == 0,
	      "%s", t->e.msg);
	CHECK(t, *version->agent_version, "empty");
}

static void test_details(struct test *t)
{
	static const char *const features[] = { "kata-c.spec.1",    "kata-c.processes.1",
						"kata-c.forward.1", "kata-c.parts.1",
						"kata-c.sysctls.1", "kata-c.pidns.1" };
	Grpc__GuestDetailsRequest r = GRPC__GUEST_DETAILS_REQUEST__INIT;
	Grpc__GuestDetailsResponse *resp;

	CHECK(t,
	      call(t, AGENT, "GetGuestDetails", &r.base,
		   &grpc__guest_details_response__descriptor, &resp) == 0,
	      "%s", t->e.msg);
	CHECK(t,
	      resp->agent_details &&
		      resp->agent_details->n_extra_features == ARRAY_LEN(features),
	      "features");
	for (size_t i = 0; !t->current_failed && i < ARRAY_LEN(features); i++)
		CHECK(t, str_eq(resp->agent_details->extra_features[i], features[i]), "%s",
		      features[i]);
}

static void test_unknown_method(struct test *t)
{
	Grpc__CheckRequest r = GRPC__CHECK_REQUEST__INIT;

	CHECK(t, call(t, AGENT, "GetMetrics", &r.base, &EMPTY, NULL) < 0, "succeeded");
	CHECK(t, t->e.kind == ERR_UNSUPPORTED && strstr(t->e.msg, "GetMetrics"), "%s",
	      t->e.msg);
}

static void test_life(struct test *t)
{
	const char *out;

	CHECK(t, run_shell(t, "echo hello; echo $$; id -u; pwd; echo $HOME", &out) == 0, "%s",
	      out);
	CHECK(t, str_eq(out, "hello\n1\n0\n/\n/root\n"), "'%s'", out);
}

/* Set with the sandbox, before this container was. */
static void test_kernel_parameters(struct test *t)
{
	const char *out;

	CHECK(t, run_shell(t, "cat /proc/sys/kernel/domainname", &out) == 0, "%s", out);
	CHECK(t, str_eq(out, "of.the.pod\n"), "'%s'", out);
}

static void test_exit_codes(struct test *t)
{
	const char *out;
	int status;

	status = run_shell(t, "exit 42", &out);
	CHECK(t, status == 42, "%d", status);
	status = run_shell(t, "exit 0", &out);
	CHECK(t, status == 0, "%d", status);
}

static void test_signal_status(struct test *t)
{
	Grpc__CreateContainerRequest *r = running_shell(t, "sleep 1000 & wait; sleep 1000");
	int status;

	/* a shell without a handler: SIGTERM becomes SIGKILL, as it would be lost otherwise */
	CHECK(t, kill_process(t, r->container_id, "", SIGTERM) == 0, "%s", t->e.msg);
	status = wait_for(t, r->container_id, "");
	CHECK(t, status == 137, "%d", status);
	CHECK(t, kill_process(t, r->container_id, "", SIGTERM) == 0, "%s", t->e.msg);
	CHECK(t, remove_container(t, r->container_id) == 0, "%s", t->e.msg);

	r = running_shell(t, "trap 'exit 3' TERM; echo up; while :; do sleep 0.1; done");
	OWN(arena) struct arena a = { .limit = MIB };
	uint8_t *p;

	CHECK(t, read_stream(t, r->container_id, "", false, 10, &a, &p) == 3, "%s", t->e.msg);
	CHECK(t, kill_process(t, r->container_id, "", SIGTERM) == 0, "%s", t->e.msg);
	status = wait_for(t, r->container_id, "");
	CHECK(t, status == 3, "%d", status);
	CHECK(t, remove_container(t, r->container_id) == 0, "%s", t->e.msg);
	CHECK(t,
	      kill_process(t, r->container_id, "", SIGTERM) < 0 && t->e.kind == ERR_NOT_FOUND,
	      "%s", t->e.msg);
}

/*
 * A first process that blocks the signal and takes it by sigwait(3), as tini does, gets it; so
 * does one that is not the first of its namespace, for which the kernel drops nothing.
 */
static void test_signal_that_counts(struct test *t)
{
	Grpc__CreateContainerRequest *r = make_container(t, ARGS("/bin/take_signal"));
	OWN(arena) struct arena a = { .limit = MIB };
	uint8_t *p;
	int status;

	CHECK(t, create(t, r) == 0 && start(t, r->container_id) == 0, "%s", t->e.msg);
	CHECK(t, read_stream(t, r->container_id, "", false, 10, &a, &p) == 6, "%s", t->e.msg);
	(void)fiber_sleep(t->loop, 200, &t->e); /* where it waits it blocks nothing */
	CHECK(t, kill_process(t, r->container_id, "", SIGTERM) == 0, "%s", t->e.msg);
	status = wait_for(t, r->container_id, "");
	CHECK(t, status == 5, "%d", status);
	CHECK(t, remove_container(t, r->container_id) == 0, "%s", t->e.msg);

	r = make_container(t, ARGS("sleep", "1000"));
	r->oci->linux->namespaces[0]->type = dup_str(t, "uts"); /* was "pid" */
	r->oci->linux->n_namespaces = 1;
	CHECK(t, create(t, r) == 0 && start(t, r->container_id) == 0, "%s", t->e.msg);
	CHECK(t, kill_process(t, r->container_id, "", SIGTERM) == 0, "%s", t->e.msg);
	status = wait_for(t, r->container_id, "");
	CHECK(t, status == 128 + SIGTERM, "%d", status);
	CHECK(t, remove_container(t, r->container_id) == 0, "%s", t->e.msg);
}

static void test_not_found(struct test *t)
{
	Grpc__CreateContainerRequest *r = make_container(t, ARGS("no-such-program"));

	CHECK(t, create(t, r) < 0, "succeeded");
	CHECK(t,
	      t->e.kind == ERR_NOT_FOUND &&
		      strstr(t->e.msg,
			     "exec: \"no-such-program\": executable file not found in $PATH"),
	      "%s: %s", err_kind_name(t->e.kind), t->e.msg);
	r = make_container(t, ARGS("/bin/no-such-program"));
	CHECK(t, create(t, r) < 0 && t->e.kind == ERR_NOT_FOUND, "%s", t->e.msg);
	r = make_container(t, ARGS("/etc/passwd"));
	CHECK(t, create(t, r) < 0 && t->e.kind == ERR_DENIED, "%s", t->e.msg);
	r = make_container(t, ARGS("/bin"));
	CHECK(t, create(t, r) < 0 && t->e.kind == ERR_DENIED, "%s", t->e.msg);
	/* what only exec can tell */
	r = make_container(t, ARGS("/etc/not-elf"));
	CHECK(t, create(t, r) == 0, "%s", t->e.msg);
	CHECK(t, start(t, r->container_id) < 0 && t->e.kind == ERR_DENIED, "%s", t->e.msg);
	CHECK(t, remove_container(t, r->container_id) == 0, "%s", t->e.msg);
	r = make_container(t, ARGS("/etc/lost-script"));
	CHECK(t, create(t, r) == 0, "%s", t->e.msg);
	CHECK(t,
	      start(t, r->container_id) < 0 && t->e.kind == ERR_NOT_FOUND &&
		      strstr(t->e.msg, "no such file or directory: the interpreter"),
	      "%s", t->e.msg);
	CHECK(t, remove_container(t, r->container_id) == 0, "%s", t->e.msg);
	r = make_container(t, ARGS("/etc/passwd/x"));
	CHECK(t, create(t, r) < 0 && strstr(t->e.msg, "not a directory"), "%s", t->e.msg);
}

static void test_bad_requests(struct test *t)
{
	Grpc__CreateContainerRequest *r = make_container(t, ARGS("true"));

	r->container_id = dup_str(t, "../x");
	CHECK(t, create(t, r) < 0 && t->e.kind == ERR_INVALID, "%s", t->e.msg);
	r = make_container(t, ARGS("true"));
	r->oci->linux->intelrdt = new_message(t, &grpc__linux_intel_rdt__descriptor);
	CHECK(t, create(t, r) < 0 && strstr(t->e.msg, "linux.intelRdt"), "%s", t->e.msg);
	r = make_container(t, ARGS("true"));
	r->oci->linux->seccomp = new_message(t, &grpc__linux_seccomp__descriptor);
	CHECK(t, create(t, r) < 0 && strstr(t->e.msg, "linux.seccomp"), "%s", t->e.msg);
	r = make_container(t, ARGS("true"));
	r->oci->process->apparmorprofile = dup_str(t, "x");
	CHECK(t, create(t, r) < 0 && strstr(t->e.msg, "apparmorProfile"), "%s", t->e.msg);
	r = make_container(t, ARGS("true"));
	add_mount(t, r->oci, "/x", "nosuchfs", "none", "");
	CHECK(t, create(t, r) < 0 && strstr(t->e.msg, "mounts[8]") && strstr(t->e.msg, "/x"),
	      "%s", t->e.msg);
	r = make_container(t, ARGS("true"));
	r->oci->linux->cgroupspath = dup_str(t, "/a/../../b");
	CHECK(t, create(t, r) < 0 && strstr(t->e.msg, "linux.cgroupsPath"), "%s", t->e.msg);
	CHECK(t, start(t, "nobody") < 0 && t->e.kind == ERR_NOT_FOUND, "%s", t->e.msg);
}

/* The n-th byte of the big streams: a pattern that shows loss, repetition and reordering. */
static uint8_t pattern(uint64_t n)
{
	return (uint8_t)(n ^ n >> 8 ^ n >> 16 ^ (n >> 20) * 7);
}

struct pump {
	struct test *t;
	const char *id;
	bool done;
	struct cond finished;
	struct err e;
};

static void pump_in(void *arg)
{
	struct pump *p = arg;
	uint8_t *chunk = malloc(CHUNK);

	BUG_ON(!chunk);
	for (uint64_t at = 0; at < BIG && p->e.kind == ERR_NONE; at += CHUNK) {
		for (size_t i = 0; i < CHUNK; i++)
			chunk[i] = pattern(at + i);
		if (write_stdin(p->t, p->id, "", chunk, CHUNK) < 0)
			p->e = p->t->e;
	}
	(void)close_stdin(p->t, p->id, "");
	free(chunk);
	p->done = true;
	cond_wake_all(&p->finished);
}

static void test_streams(struct test *t)
{
	Grpc__CreateContainerRequest *r = make_container(t, ARGS("cat"));
	struct pump p = { .t = t, .id = r->container_id };
	int64_t begin = time_mono_ms();
	uint64_t at = 0;
	bool same = true;

	cond_init(&p.finished, t->loop);
	CHECK(t, create(t, r) == 0 && start(t, r->container_id) == 0, "%s", t->e.msg);
	CHECK(t, fiber_spawn(t->loop, "pump", pump_in, &p, NULL, &t->e) == 0, "%s", t->e.msg);
	for (;;) {
		OWN(arena) struct arena a = { .limit = 16 * MIB };
		uint8_t *data;
		ssize_t n = read_stream(t, r->container_id, "", false, MIB, &a, &data);

		CHECK(t, n >= 0, "%s", t->e.msg);
		if (n <= 0)
			break;
		for (ssize_t i = 0; i < n; i++)
			same = same && data[i] == pattern(at + (uint64_t)i);
		at += (uint64_t)n;
	}
	while (!p.done)
		(void)cond_wait(&p.finished, deadline_in(CALL_MS), &t->e);
	CHECK(t, p.e.kind == ERR_NONE, "%s", p.e.msg);
	CHECK(t, at == BIG, "%llu bytes", (unsigned long long)at);
	CHECK(t, same, "bytes differ");
	CHECK(t, wait_for(t, r->container_id, "") == 0, "%s", t->e.msg);
	CHECK(t, remove_container(t, r->container_id) == 0, "%s", t->e.msg);
	printf("# 64 MiB in and out: %lld ms\n", (long long)(time_mono_ms() - begin));
}

static void test_output_speed(struct test *t)
{
	Grpc__CreateContainerRequest *r =
		make_container(t, ARGS("dd", "if=/dev/zero", "bs=1M", "count=64"));
	int64_t begin;
	uint64_t at = 0;

	CHECK(t, create(t, r) == 0 && start(t, r->container_id) == 0, "%s", t->e.msg);
	begin = time_mono_ms();
	for (;;) {
		OWN(arena) struct arena a = { .limit = 16 * MIB };
		uint8_t *data;
		ssize_t n = read_stream(t, r->container_id, "", false, MIB, &a, &data);

		if (n <= 0)
			break;
		at += (uint64_t)n;
	}
	CHECK(t, at == BIG, "%llu bytes", (unsigned long long)at);
	printf("# 64 MiB out: %lld ms\n", (long long)(time_mono_ms() - begin));
	/* streams and status stay until they are asked for */
	CHECK(t, wait_for(t, r->container_id, "") == 0, "%s", t->e.msg);
	CHECK(t, strstr(read_all(t, r->container_id, "", true), "64+0 records out"), "stderr");
	CHECK(t, remove_container(t, r->container_id) == 0, "%s", t->e.msg);
}

/* A child that keeps the pipe open does not hold up the end for ever. */
static void test_background_child(struct test *t)
{
	Grpc__CreateContainerRequest *r = running_shell(t, "while :; do sleep 1; done");
	int64_t begin;
	const char *out;

	CHECK(t,
	      exec_process(
		      t, r->container_id, "bg",
		      make_process(t, ARGS("sh", "-c", "echo one; sleep 60 & echo two"))) == 0,
	      "%s", t->e.msg);
	begin = time_mono_ms();
	out = read_all(t, r->container_id, "bg", false);
	CHECK(t, str_eq(out, "one\ntwo\n"), "'%s'", out);
	CHECK(t, time_mono_ms() - begin < 10000, "%lld ms",
	      (long long)(time_mono_ms() - begin));
	CHECK(t, wait_for(t, r->container_id, "bg") == 0, "%s", t->e.msg);
	CHECK(t, remove_container(t, r->container_id) == 0, "%s", t->e.msg);
}

static void test_exec(struct test *t)
{
	Grpc__CreateContainerRequest *r = running_shell(t, "while :; do sleep 1; done");
	const char *id = r->container_id, *out;
	Grpc__Process *p;

	p = make_process(t, ARGS("sh", "-c",
				 "echo $A; id -u; id -G; pwd; tr '\\0' ' ' </proc/1/cmdline"));
	add_str(t, &p->env, &p->n_env, "A=b");
	p->user->uid = 1000;
	p->user->gid = 1001;
	p->cwd = dup_str(t, "/tmp");
	CHECK(t, exec_process(t, id, "e1", p) == 0, "%s", t->e.msg);
	out = read_all(t, id, "e1", false);
	CHECK(t, str_starts(out, "b\n1000\n1001\n/tmp\nsh -c"), "'%s'", out);
	CHECK(t, str_eq(read_all(t, id, "e1", true), ""), "stderr");
	CHECK(t, wait_for(t, id, "e1") == 0, "%s", t->e.msg);
	CHECK(t, wait_for(t, id, "e1") < 0 && t->e.kind == ERR_NOT_FOUND, "%s", t->e.msg);
	CHECK(t,
	      exec_process(t, id, "e2", make_process(t, ARGS("no-such"))) < 0 &&
		      t->e.kind == ERR_NOT_FOUND,
	      "%s", t->e.msg);
	CHECK(t,
	      exec_process(t, id, "e2", make_process(t, ARGS("/etc/not-elf"))) < 0 &&
		      t->e.kind == ERR_DENIED,
	      "%s", t->e.msg);
	CHECK(t,
	      exec_process(t, id, "e2", make_process(t, ARGS("sh", "-c", "kill -9 $$"))) == 0,
	      "%s", t->e.msg);
	CHECK(t, wait_for(t, id, "e2") == 137, "%s", t->e.msg);
	CHECK(t, exec_process(t, id, "e3", make_process(t, ARGS("sleep", "100"))) == 0, "%s",
	      t->e.msg);
	CHECK(t, kill_process(t, id, "e3", SIGINT) == 0 && wait_for(t, id, "e3") == 130, "%s",
	      t->e.msg);
	/* kill all: the execs go with the container */
	CHECK(t, exec_process(t, id, "e4", make_process(t, ARGS("sleep", "100"))) == 0, "%s",
	      t->e.msg);
	CHECK(t, kill_process(t, id, "", SIGKILL) == 0, "%s", t->e.msg);
	CHECK(t, wait_for(t, id, "e4") == 137 && wait_for(t, id, "") == 137, "%s", t->e.msg);
	CHECK(t,
	      exec_process(t, id, "e5", make_process(t, ARGS("true"))) < 0 &&
		      t->e.kind == ERR_STATE,
	      "%s", t->e.msg);
	CHECK(t, remove_container(t, id) == 0, "%s", t->e.msg);
}

static void test_stdin(struct test *t)
{
	Grpc__CreateContainerRequest *r = make_container(t, ARGS("sh", "-c", "cat; echo end"));
	const char *out;

	CHECK(t, create(t, r) == 0 && start(t, r->container_id) == 0, "%s", t->e.msg);
	CHECK(t, write_stdin(t, r->container_id, "", "abc\n", 4) == 0, "%s", t->e.msg);
	CHECK(t, close_stdin(t, r->container_id, "") == 0, "%s", t->e.msg);
	CHECK(t, write_stdin(t, r->container_id, "", "x", 1) < 0 && t->e.kind == ERR_STATE,
	      "%s", t->e.msg);
	out = read_all(t, r->container_id, "", false);
	CHECK(t, str_eq(out, "abc\nend\n"), "'%s'", out);
	CHECK(t, remove_container(t, r->container_id) == 0, "%s", t->e.msg);
}

static void test_limits_of_process(struct test *t)
{
	Grpc__CreateContainerRequest *r = make_container(
		t, ARGS("sh", "-c",
			"grep -E 'Cap(Prm|Eff|Bnd)|NoNew' /proc/self/status; ulimit -n; umask; "
			"cat /proc/self/oom_score_adj; hostname"));
	Grpc__POSIXRlimit *limit = new_message(t, &grpc__posixrlimit__descriptor);
	const char *out, *err_text;
	int status;

	limit->type = dup_str(t, "RLIMIT_NOFILE");
	limit->soft = 100;
	limit->hard = 200;
	add_ptr(t, &r->oci->process->rlimits, &r->oci->process->n_rlimits, limit);
	r->oci->process->nonewprivileges = true;
	r->oci->process->oomscoreadj = 100;
	r->oci->process->user->has_umask_case = GRPC__USER__HAS_UMASK_UMASK;
	r->oci->process->user->umask = 027;
	r->oci->hostname = dup_str(t, "lifehost");
	status = run_request(t, r, &out, &err_text);
	CHECK(t, status == 0, "%d %s", status, err_text);
	CHECK(t,
	      strstr(out, "CapPrm:\t00000000000004e1\nCapEff:\t00000000000004e1\n"
			  "CapBnd:\t00000000000004e1\n"),
	      "'%s'", out);
	CHECK(t, strstr(out, "NoNewPrivs:\t1\n100\n0027\n100\nlifehost\n"), "'%s'", out);
}

/* What a specification does not name is not given; an exec without a word has the container's.
 */
static void test_no_capabilities(struct test *t)
{
	static const char caps[] =
		"grep -E 'Cap(Prm|Eff|Bnd)' /proc/self/status | cut -f2 | uniq";
	Grpc__CreateContainerRequest *r = make_container(t, ARGS("sh", "-c", caps));
	const char *out, *err_text;
	Grpc__Process *p;

	r->oci->process->capabilities = NULL;
	CHECK(t, run_request(t, r, &out, &err_text) == 0, "%s", err_text);
	CHECK(t, str_eq(out, "0000000000000000\n"), "'%s'", out);
	r = running_shell(t, "while :; do sleep 1; done");
	p = make_process(t, ARGS("sh", "-c", caps));
	p->capabilities = NULL;
	CHECK(t, exec_process(t, r->container_id, "e", p) == 0, "%s", t->e.msg);
	out = read_all(t, r->container_id, "e", false);
	CHECK(t, str_eq(out, "00000000000004e1\n"), "'%s'", out);
	CHECK(t, wait_for(t, r->container_id, "e") == 0, "%s", t->e.msg);
	CHECK(t, kill_process(t, r->container_id, "", SIGKILL) == 0, "%s", t->e.msg);
	CHECK(t, wait_for(t, r->container_id, "") == 137, "%s", t->e.msg);
	CHECK(t, remove_container(t, r->container_id) == 0, "%s", t->e.msg);
}

static void test_pids(struct test *t)
{
	Grpc__CreateContainerRequest *r = running_shell(t, "while :; do sleep 1; done");
	Grpc__PauseContainerRequest pause_req = GRPC__PAUSE_CONTAINER_REQUEST__INIT;
	Grpc__ResumeContainerRequest resume_req = GRPC__RESUME_CONTAINER_REQUEST__INIT;

	pause_req.container_id = resume_req.container_id = r->container_id;
	CHECK(t, simple(t, "PauseContainer", &pause_req) == 0, "%s", t->e.msg);
	CHECK(t,
	      exec_process(t, r->container_id, "p", make_process(t, ARGS("true"))) < 0 &&
		      t->e.kind == ERR_STATE,
	      "%s", t->e.msg);
	CHECK(t, simple(t, "ResumeContainer", &resume_req) == 0, "%s", t->e.msg);
	CHECK(t, exec_process(t, r->container_id, "p", make_process(t, ARGS("true"))) == 0,
	      "%s", t->e.msg);
	CHECK(t, wait_for(t, r->container_id, "p") == 0, "%s", t->e.msg);
	CHECK(t, simple(t, "PauseContainer", &pause_req) == 0, "%s", t->e.msg);
	CHECK(t, remove_container(t, r->container_id) == 0, "%s",
	      t->e.msg); /* paused: killed all the same */
}

/* Created, never started: killed and removed. */
static void test_never_started(struct test *t)
{
	Grpc__CreateContainerRequest *r = make_container(t, ARGS("true"));

	CHECK(t, create(t, r) == 0, "%s", t->e.msg);
	CHECK(t, create(t, r) < 0 && t->e.kind == ERR_EXISTS, "%s", t->e.msg);
	CHECK(t, kill_process(t, r->container_id, "", SIGKILL) == 0, "%s", t->e.msg);
	CHECK(t, wait_for(t, r->container_id, "") == 137, "%s", t->e.msg);
	CHECK(t, start(t, r->container_id) < 0, "started");
	CHECK(t, remove_container(t, r->container_id) == 0, "%s", t->e.msg);
}

/* What a container has put where a copy goes leads nobody elsewhere, and stops nobody. */
static void test_planted(struct test *t, Grpc__CopyFileRequest *c, const char *dir)
{
	Grpc__CreateContainerRequest *r = make_container(
		t, ARGS("sh", "-c",
			"cd /all; mkfifo g.tmp && ln -s / away && >own && ln own h.tmp"));
	const char *out, *err_text;

	add_mount(t, r->oci, "/all", "bind", dir, "bind,rw");
	CHECK(t, run_request(t, r, &out, &err_text) == 0, "%s", err_text);
	c->path = arena_printf(&t->arena, "%s/g", dir);
	c->offset = 0;
	CHECK(t, simple(t, "CopyFile", c) == 0, "%s", t->e.msg);
	c->path = arena_printf(&t->arena, "%s/away", dir);
	c->file_mode = 040711;
	CHECK(t, simple(t, "CopyFile", c) < 0, "a link was taken for a directory");
	c->file_mode = 0100644;
	c->path = arena_printf(&t->arena, "%s/h", dir);
	c->offset = 4;
	CHECK(t, simple(t, "CopyFile", c) < 0, "a hard link was written to");
}

static void test_copy_file(struct test *t)
{
	static const char dir[] = "/run/kata-containers/shared/containers";
	Grpc__CreateContainerRequest *r =
		make_container(t, ARGS("sh", "-c", "cat /bound/f; ls -ln /bound"));
	Grpc__CopyFileRequest c = GRPC__COPY_FILE_REQUEST__INIT;
	const char *out, *err_text;

	c.path = arena_printf(&t->arena, "%s/copied/sub/f", dir);
	c.file_size = 8;
	c.file_mode = 0100644;
	c.uid = 7;
	c.gid = 8;
	c.data.len = 4;
	c.data.data = (uint8_t *)dup_str(t, "one\n");
	CHECK(t, simple(t, "CopyFile", &c) == 0, "%s", t->e.msg);
	c.offset = 4;
	c.data.data = (uint8_t *)dup_str(t, "two\n");
	CHECK(t, simple(t, "CopyFile", &c) == 0, "%s", t->e.msg);
	c.offset = 5;
	CHECK(t, simple(t, "CopyFile", &c) < 0 && t->e.kind == ERR_INVALID, "%s", t->e.msg);
	c.path = arena_printf(&t->arena, "%s/../../../etc/f", dir);
	c.offset = 4;
	CHECK(t, simple(t, "CopyFile", &c) < 0, "a file that was not begun goes on");
	c.offset = 0;
	CHECK(t, simple(t, "CopyFile", &c) == 0 && access("/run/etc/f", F_OK) < 0, "escaped");
	c.path = dup_str(t, "/etc/f");
	CHECK(t, simple(t, "CopyFile", &c) < 0 && t->e.kind == ERR_INVALID, "%s", t->e.msg);
	test_planted(t, &c, arena_printf(&t->arena, "%s/copied", dir));
	add_mount(t, r->oci, "/bound", "bind", arena_printf(&t->arena, "%s/copied/sub", dir),
		  "bind,ro");
	CHECK(t, run_request(t, r, &out, &err_text) == 0, "%s", err_text);
	CHECK(t, str_starts(out, "one\ntwo\n") && strstr(out, "-rw-r--r--    1 7        8 "),
	      "'%s'", out);
}

static void test_stats(struct test *t)
{
	Grpc__CreateContainerRequest *r = running_shell(t, "while :; do sleep 1; done");
	Grpc__StatsContainerRequest req = GRPC__STATS_CONTAINER_REQUEST__INIT;
	Grpc__StatsContainerResponse *s;

	req.container_id = r->container_id;
	CHECK(t,
	      call(t, AGENT, "StatsContainer", &req.base,
		   &grpc__stats_container_response__descriptor, &s) == 0,
	      "%s", t->e.msg);
	CHECK(t,
	      s->cgroup_stats && s->cgroup_stats->cpu_stats &&
		      s->cgroup_stats->cpu_stats->cpu_usage->total_usage > 0,
	      "no CPU time");
	if (!t->no_limits)
		CHECK(t,
		      s->cgroup_stats && s->cgroup_stats->pids_stats->current >= 1 &&
			      s->cgroup_stats->memory_stats->usage->usage > 0 &&
			      s->cgroup_stats->memory_stats->n_stats > 10,
		      "no memory");
	CHECK(t, remove_container(t, r->container_id) == 0, "%s", t->e.msg);
}

static void test_limits(struct test *t)
{
	Grpc__CreateContainerRequest *r = make_container(
		t,
		ARGS("sh", "-c",
		     "cd /sys/fs/cgroup; cat memory.max memory.low pids.max cpu.max cpu.weight; "
		     "cat memory.high; head -c 1 /dev/null; cat /dev/kmsg 2>&1; "
		     "head -c 4 /dev/zero | wc -c"));
	Grpc__LinuxResources *res = new_message(t, &grpc__linux_resources__descriptor);
	Grpc__LinuxDeviceCgroup *none = new_message(t, &grpc__linux_device_cgroup__descriptor);
	Grpc__LinuxResources__UnifiedEntry *high =
		new_message(t, &grpc__linux_resources__unified_entry__descriptor);
	Grpc__LinuxDevice *kmsg = new_message(t, &grpc__linux_device__descriptor);
	const char *out, *err_text;

	res->memory = new_message(t, &grpc__linux_memory__descriptor);
	res->memory->limit = 64 * MIB;
	res->memory->swap = 64 * MIB;
	res->memory->reservation = 16 * MIB;
	res->cpu = new_message(t, &grpc__linux_cpu__descriptor);
	res->cpu->shares = 1024;
	res->cpu->quota = 50000;
	res->pids = new_message(t, &grpc__linux_pids__descriptor);
	res->pids->limit = 77;
	high->key = dup_str(t, "memory.high");
	high->value = dup_str(t, "50331648");
	add_ptr(t, &res->unified, &res->n_unified, high);
	none->major = none->minor = -1;
	none->access = dup_str(t, "rwm");
	none->type = dup_str(t, "a");
	add_ptr(t, &res->devices, &res->n_devices, none);
	r->oci->linux->resources = res;
	kmsg->path = dup_str(t, "/dev/kmsg");
	kmsg->type = dup_str(t, "c");
	kmsg->major = 1;
	kmsg->minor = 11;
	add_ptr(t, &r->oci->linux->devices, &r->oci->linux->n_devices, kmsg);
	(void)run_request(t, r, &out, &err_text);
	CHECK(t, str_starts(out, "67108864\n16777216\n77\n50000 100000\n39\n50331648\n"),
	      "'%s' '%s'", out, err_text);
	CHECK(t, strstr(out, "not permitted") && str_ends(out, "\n4\n"), "devices: '%s'", out);
}

static void test_oom(struct test *t)
{
	Grpc__CreateContainerRequest *r = make_container(
		t, ARGS("sh", "-c", "dd if=/dev/zero of=/tmp/fill bs=1M count=200"));
	Grpc__LinuxResources *res = new_message(t, &grpc__linux_resources__descriptor);
	Grpc__GetOOMEventRequest req = GRPC__GET_OOMEVENT_REQUEST__INIT;
	Grpc__OOMEvent *event;
	int status;

	res->memory = new_message(t, &grpc__linux_memory__descriptor);
	res->memory->limit = res->memory->swap = 24 * MIB;
	r->oci->linux->resources = res;
	CHECK(t, create(t, r) == 0 && start(t, r->container_id) == 0, "%s", t->e.msg);
	CHECK(t,
	      call(t, AGENT, "GetOOMEvent", &req.base, &grpc__oomevent__descriptor, &event) ==
		      0,
	      "%s", t->e.msg);
	CHECK(t, str_eq(event->container_id, r->container_id), "%s", event->container_id);
	status = wait_for(t, r->container_id, "");
	CHECK(t, status == 137, "%d", status);
	CHECK(t, remove_container(t, r->container_id) == 0, "%s", t->e.msg);
}

static void test_update(struct test *t)
{
	Grpc__CreateContainerRequest *r = running_shell(t, "while :; do sleep 1; done");
	Grpc__UpdateContainerRequest u = GRPC__UPDATE_CONTAINER_REQUEST__INIT;

	u.container_id = r->container_id;
	u.resources = new_message(t, &grpc__linux_resources__descriptor);
	u.resources->pids = new_message(t, &grpc__linux_pids__descriptor);
	u.resources->pids->limit = 55;
	CHECK(t, simple(t, "UpdateContainer", &u) == 0, "%s", t->e.msg);
	CHECK(t,
	      exec_process(t, r->container_id, "c",
			   make_process(t, ARGS("cat", "/sys/fs/cgroup/pids.max"))) == 0,
	      "%s", t->e.msg);
	CHECK(t, str_eq(read_all(t, r->container_id, "c", false), "55\n"), "not updated");
	u.resources->memory = new_message(t, &grpc__linux_memory__descriptor);
	u.resources->memory->kernel = 1000;
	CHECK(t, simple(t, "UpdateContainer", &u) < 0 && strstr(t->e.msg, "memory.kernel"),
	      "%s", t->e.msg);
	CHECK(t, remove_container(t, r->container_id) == 0, "%s", t->e.msg);
}

static void add_mapping(struct test *t, Grpc__LinuxIDMapping ***list, size_t *n)
{
	Grpc__LinuxIDMapping *m = new_message(t, &grpc__linux_idmapping__descriptor);

	m->hostid = 100000;
	m->size = 65536;
	add_ptr(t, list, n, m);
}

/* A user namespace of the container's own, and a time namespace with an offset. */
static void test_user_and_time(struct test *t)
{
	static const char head[] = "0\n 0 100000 65536\n";
	Grpc__CreateContainerRequest *r = make_container(
		t, ARGS("sh", "-c",
			"id -u; tr -s ' ' </proc/self/uid_map; cut -d. -f1 /proc/uptime; "
			"head -c 3 /dev/zero | wc -c; hostname"));
	Grpc__Linux *lx = r->oci->linux;
	Grpc__Linux__TimeOffsetsEntry *offset =
		new_message(t, &grpc__linux__time_offsets_entry__descriptor);
	const char *out, *err_text;
	long long uptime;

	add_ns(t, lx, "user");
	add_ns(t, lx, "time");
	add_mapping(t, &lx->uidmappings, &lx->n_uidmappings);
	add_mapping(t, &lx->gidmappings, &lx->n_gidmappings);
	offset->key = dup_str(t, "boottime");
	offset->value = new_message(t, &grpc__linux_time_offset__descriptor);
	offset->value->secs = 1000000000;
	add_ptr(t, &lx->timeoffsets, &lx->n_timeoffsets, offset);
	r->oci->hostname = dup_str(t, "inner");
	CHECK(t, run_request(t, r, &out, &err_text) == 0, "%s", err_text);
	CHECK(t, str_starts(out, head) && str_ends(out, "\n3\ninner\n"), "'%s'", out);
	uptime = strtoll(out + strlen(head), NULL, 10);
	CHECK(t, uptime >= offset->value->secs && uptime < 2 * offset->value->secs, "%lld s",
	      uptime);
}

/* An exec is in the container's time, too. */
static void test_time_of_an_exec(struct test *t)
{
	Grpc__CreateContainerRequest *r =
		make_container(t, ARGS("sh", "-c", "echo up; while :; do sleep 1; done"));
	Grpc__Linux__TimeOffsetsEntry *offset =
		new_message(t, &grpc__linux__time_offsets_entry__descriptor);
	const char *id = r->container_id;
	Grpc__Linux *lx = r->oci->linux;

	add_ns(t, lx, "time");
	offset->key = dup_str(t, "boottime");
	offset->value = new_message(t, &grpc__linux_time_offset__descriptor);
	offset->value->secs = 1000000000;
	add_ptr(t, &lx->timeoffsets, &lx->n_timeoffsets, offset);
	CHECK(t, create(t, r) == 0 && start(t, id) == 0, "%s", t->e.msg);
	CHECK(t,
	      exec_process(t, id, "e",
			   make_process(t, ARGS("sh", "-c", "cut -d. -f1 /proc/uptime"))) == 0,
	      "%s", t->e.msg);
	CHECK(t, strtoll(read_all(t, id, "e", false), NULL, 10) >= offset->value->secs,
	      "the guest's own time");
	CHECK(t, wait_for(t, id, "e") == 0, "%s", t->e.msg);
	CHECK(t, kill_process(t, id, "", SIGKILL) == 0, "%s", t->e.msg);
	CHECK(t, wait_for(t, id, "") == 137, "%s", t->e.msg);
	CHECK(t, remove_container(t, id) == 0, "%s", t->e.msg);
}

static void test_hooks(struct test *t)
{
	Grpc__CreateContainerRequest *r = make_container(t, ARGS("cat", "/tmp/state"));
	Grpc__Hook *h = new_message(t, &grpc__hook__descriptor);
	const char *out, *err_text;

	h->path = dup_str(t, "/bin/sh");
	add_str(t, &h->args, &h->n_args, "sh");
	add_str(t, &h->args, &h->n_args, "-c");
	add_str(t, &h->args, &h->n_args, "/bin/cat >/tmp/state");
	r->oci->hooks = new_message(t, &grpc__hooks__descriptor);
	add_ptr(t, &r->oci->hooks->startcontainer, &r->oci->hooks->n_startcontainer, h);
	CHECK(t, run_request(t, r, &out, &err_text) == 0, "%s", err_text);
	CHECK(t, strstr(out, r->container_id) && strstr(out, "\"status\":\"created\""), "'%s'",
	      out);
	h->args[2] = dup_str(t, "exit 7");
	r->container_id = dup_str(t, "life-hook");
	CHECK(t, create(t, r) == 0, "%s", t->e.msg);
	CHECK(t,
	      start(t, r->container_id) < 0 && strstr(t->e.msg, "hooks.startContainer[0]") &&
		      strstr(t->e.msg, "status 7"),
	      "%s", t->e.msg);
	CHECK(t, remove_container(t, r->container_id) == 0, "%s", t->e.msg);
}

/* ---- its creator has given up ---- */

struct creation {
	struct test *t;
	const Grpc__CreateContainerRequest *request;
	bool done;
	int rc;
	struct err e;
	struct cond finished;
};

static void create_in_fiber(void *arg)
{
	struct creation *c = arg;
	OWN(arena) struct arena a = { .limit = MIB };
	struct ttrpc_method m = {
		.name = "CreateContainer",
		.request = c->request->base.descriptor,
		.response = &EMPTY,
	};
	void *ignored;

	c->rc = ttrpc_call(c->t->conn, AGENT, &m, c->request, CALL_MS, &a, &ignored, &c->e);
	c->done = true;
	cond_wake_all(&c->finished);
}

/* Its removal waits for the end of its making, and nothing of it is left then. */
static void test_removed_while_made(struct test *t)
{
	Grpc__CreateContainerRequest *r = make_container(t, ARGS("true"));
	Grpc__Storage *st = new_message(t, &grpc__storage__descriptor);
	struct creation c = { .t = t, .request = r };
	struct err e;

	st->driver = dup_str(t, "blk");
	st->source = dup_str(t, "/dev/kata-none"); /* waited for, agent.hotplug_timeout */
	st->fstype = dup_str(t, "ext4");
	st->mount_point = dup_str(t, "/run/kata-containers/none");
	add_ptr(t, &r->storages, &r->n_storages, st);
	cond_init(&c.finished, t->loop);
	CHECK(t, fiber_spawn(t->loop, "create", create_in_fiber, &c, NULL, &e) == 0, "%s",
	      e.msg);
	CHECK(t, fiber_sleep(t->loop, 300, &e) == 0, "%s", e.msg);
	CHECK(t, !c.done, "it is made already: %s", c.e.msg);
	CHECK(t, remove_container(t, r->container_id) == 0, "%s", t->e.msg);
	while (!c.done)
		(void)cond_wait(&c.finished, deadline_in(CALL_MS), &e);
	CHECK(t, c.rc < 0 && strstr(c.e.msg, "kata-none"), "%s", c.e.msg);
	r->n_storages = 0;
	CHECK(t, create(t, r) == 0, "%s", t->e.msg);
	CHECK(t, remove_container(t, r->container_id) == 0, "%s", t->e.msg);
}

static const struct {
	const char *name;
	void (*run)(struct test *t);
	bool needs_limits;
} tests[] = {
	{ "health", test_health, false },
	{ "guest details", test_details, false },
	{ "unknown method", test_unknown_method, false },
	{ "life", test_life, false },
	{ "kernel parameters", test_kernel_parameters, false },
	{ "exit codes", test_exit_codes, false },
	{ "signals", test_signal_status, false },
	{ "signals that are taken", test_signal_that_counts, false },
	{ "not found and not executable", test_not_found, false },
	{ "refused requests", test_bad_requests, false },
	{ "64 MiB both ways", test_streams, false },
	{ "output speed", test_output_speed, false },
	{ "background child", test_background_child, false },
	{ "exec", test_exec, false },
	{ "stdin", test_stdin, false },
	{ "terminal", test_terminal, false },
	{ "terminal that nobody has", test_terminal_that_nobody_has, false },
	{ "terminal that is hung up", test_terminal_that_is_hung_up, false },
	{ "rest of a terminal", test_rest_of_a_terminal, false },
	{ "start that is given up", test_start_that_is_given_up, false },
	{ "limits of a process", test_limits_of_process, false },
	{ "no capabilities", test_no_capabilities, false },
	{ "files", test_files, false },
	{ "tmpfs", test_tmpfs, false },
	{ "hostile root file system", test_hostile_rootfs, false },
	{ "pause", test_pids, false },
	{ "kept process namespace", test_kept_pid_namespace, false },
	{ "killed process namespace", test_killed_pid_namespace, false },
	{ "process namespace of another", test_pid_namespace_of_another, false },
	{ "never started", test_never_started, false },
	{ "network", test_network, false },
	{ "neighbors", test_neighbors, false },
	{ "link_parameters", test_link_parameters, false },
	{ "address_flags", test_address_flags, false },
	{ "network_of_the_workload", test_network_of_the_workload, false },
	{ "copied files", test_copy_file, false },
	{ "statistics", test_stats, false },
	{ "user and time namespaces", test_user_and_time, false },
	{ "time of an exec", test_time_of_an_exec, false },
	{ "hooks", test_hooks, false },
	{ "removed while it is made", test_removed_while_made, false },
	{ "limits", test_limits, true },
	{ "update", test_update, true },
	{ "out of memory", test_oom, true },
};

static int create_sandbox(struct test *t)
{
	Grpc__CreateSandboxRequest r = GRPC__CREATE_SANDBOX_REQUEST__INIT;
	Grpc__CreateSandboxRequest__SysctlsEntry entry =
		GRPC__CREATE_SANDBOX_REQUEST__SYSCTLS_ENTRY__INIT;
	Grpc__CreateSandboxRequest__SysctlsEntry *sysctls[] = { &entry };

	r.sandbox_id = dup_str(t, "life");
	r.hostname = dup_str(t, "life");
	r.sysctls = sysctls;
	r.n_sysctls = 1;
	entry.key = dup_str(t, "kernel.no_such");
	entry.value = dup_str(t, "of.the.pod");
	if (simple(t, "CreateSandbox", &r) == 0 || t->e.kind != ERR_INVALID ||
	    !strstr(t->e.msg, "sysctls 'kernel.no_such'"))
		return -1;
	entry.key = dup_str(t, "kernel.domainname");
	return simple(t, "CreateSandbox", &r);
}

static void run_tests(void *arg)
{
	struct test *t = arg;
	Grpc__DestroySandboxRequest destroy = GRPC__DESTROY_SANDBOX_REQUEST__INIT;

	arena_init(&t->arena, 256 * MIB);
	if (create_sandbox(t) < 0) {
		printf("Bail out! CreateSandbox: %s\n", t->e.msg);
		t->failed++;
		return;
	}
	printf("1..%zu\n", ARRAY_LEN(tests) + 1);
	for (size_t i = 0; i < ARRAY_LEN(tests); i++) {
		const char *only = getenv("AGENT_LIFE_ONLY");
		int64_t begin = time_mono_ms();

		t->number++;
		if ((tests[i].needs_limits && t->no_limits) ||
		    (only && !str_eq(only, tests[i].name))) {
			printf("ok %d - %s # SKIP no cgroup controllers here\n", t->number,
			       tests[i].name);
			continue;
		}
		t->current_failed = false;
		tests[i].run(t);
		printf("%sok %d - %s\n", t->current_failed ? "not " : "", t->number,
		       tests[i].name);
		printf("# %lld ms\n", (long long)(time_mono_ms() - begin));
		(void)fflush(stdout);
		t->failed += t->current_failed;
		arena_fini(&t->arena);
	}
	t->current_failed = false;
	CHECK(t, simple(t, "DestroySandbox", &destroy) == 0, "%s", t->e.msg);
	printf("%sok %d - destroy\n", t->current_failed ? "not " : "", ++t->number);
	t->failed += t->current_failed;
	arena_fini(&t->arena);
}

int main(int argc, char **argv)
{
	struct ttrpc_options none = { 0 };
	struct test t = { 0 };
	struct err e;
	int fd;

	if (argc < 3) {
		(void)fprintf(stderr, "usage: agent_life ADDRESS GUEST_ROOTFS [no-limits]\n");
		return 2;
	}
	t.rootfs = argv[2];
	t.no_limits = argc > 3 && str_eq(argv[3], "no-limits");
	(void)signal(SIGPIPE, SIG_IGN);
	if (unix_connect(argv[1], &fd, &e) < 0 || loop_new(&t.loop, &e) < 0 ||
	    ttrpc_conn_new(t.loop, fd, &none, &t.conn, &e) < 0 ||
	    fiber_main(t.loop, run_tests, &t, &e) < 0) {
		(void)fprintf(stderr, "agent_life: %s\n", e.msg);
		return 1;
	}
	ttrpc_conn_free(t.conn);
	loop_free(t.loop);
	return t.failed ? 1 : 0;
}
