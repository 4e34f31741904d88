/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Drives an agent that is short of memory through one life of a container after the other: in
 * the n-th life the n-th allocation fails. Whatever fails of it must say so, what does not must
 * be right, and the agent must go on as if nothing had been.
 *
 *	agent_memory ADDRESS GUEST_ROOTFS MEMORY [first]
 *
 * MEMORY is the file of failing_memory.h. "first": the sandbox, and one life in which nothing
 * fails; the others come after it. One line per life that did not end well, and one about
 * all of them.
 */
#include "agent_life.h"

#include <sys/mman.h>

#include "failing_memory.h"

enum {
	LIVES_MAX = 20000,
	PATIENCE_MS = 20 * 1000
};

struct driver {
	struct test t;
	const char *address;
	struct failing_memory *memory;
	unsigned broken; /* connections that the agent gave up */
	unsigned refused;
	bool first, bad;
};

static void complain(struct driver *d, int64_t n, const char *what)
{
	printf("allocation %lld: %s: %s: %s\n", (long long)n, what, err_kind_name(d->t.e.kind),
	       d->t.e.msg);
	d->bad = true;
}

static int connect_again(struct driver *d, struct err *e)
{
	struct ttrpc_options none = { 0 };
	int fd;

	ttrpc_conn_free(TAKE(d->t.conn));
	if (unix_connect(d->address, &fd, e) < 0)
		return -1;
	return ttrpc_conn_new(d->t.loop, fd, &none, &d->t.conn, e);
}

/* All of one process's output, or -1. */
static int read_output(struct driver *d, const char *id, const char *exec_id, struct buf *out)
{
	for (;;) {
		OWN(arena) struct arena a = { .limit = MIB };
		uint8_t *p;
		ssize_t n = read_stream(&d->t, id, exec_id, false, 4096, &a, &p);

		if (n <= 0)
			return (int)n;
		BUG_ON(buf_append(out, p, (size_t)n, &d->t.e) < 0);
	}
}

static int figures(struct driver *d, const char *id)
{
	Grpc__StatsContainerRequest r = GRPC__STATS_CONTAINER_REQUEST__INIT;
	Grpc__StatsContainerResponse *resp;

	r.container_id = (char *)(uintptr_t)id;
	return call(&d->t, AGENT, "StatsContainer", &r.base,
		    &grpc__stats_container_response__descriptor, &resp);
}

/* As full as a specification gets without control groups' limits. */
static Grpc__CreateContainerRequest *full_request(struct test *t)
{
	Grpc__CreateContainerRequest *r =
		make_container(t, ARGS("sh", "-c", "read x; echo first $x; exit 7"));
	Grpc__POSIXRlimit *limit = new_message(t, &grpc__posixrlimit__descriptor);
	Grpc__Process *p = r->oci->process;
	Grpc__Linux *l = r->oci->linux;

	limit->type = dup_str(t, "RLIMIT_NOFILE");
	limit->soft = 100;
	limit->hard = 200;
	add_ptr(t, &p->rlimits, &p->n_rlimits, limit);
	p->nonewprivileges = true;
	r->oci->hostname = dup_str(t, "short");
	add_mount(t, r->oci, "/bound", "bind",
		  arena_printf(&t->arena, "%s/etc/volume", t->rootfs), "rbind,ro,rprivate");
	add_str(t, &l->maskedpaths, &l->n_maskedpaths, "/etc/secret");
	add_str(t, &l->readonlypaths, &l->n_readonlypaths, "/etc/ro-dir");
	return r;
}

/* What the engine does to a guest besides its containers. */
static int touch_guest(struct test *t)
{
	Grpc__UpdateInterfaceRequest link = GRPC__UPDATE_INTERFACE_REQUEST__INIT;
	Grpc__UpdateRoutesRequest routes = GRPC__UPDATE_ROUTES_REQUEST__INIT;
	Grpc__CopyFileRequest file = GRPC__COPY_FILE_REQUEST__INIT;
	Grpc__Routes want = GRPC__ROUTES__INIT, *have;
	Types__Interface *i = new_message(t, &types__interface__descriptor);
	Types__IPAddress *a = new_message(t, &types__ipaddress__descriptor);
	Types__Route *route = new_message(t, &types__route__descriptor);

	a->address = dup_str(t, "10.9.8.7");
	a->mask = dup_str(t, "24");
	add_ptr(t, &i->ipaddresses, &i->n_ipaddresses, a);
	i->name = dup_str(t, "lo");
	i->hwaddr = dup_str(t, "00:00:00:00:00:00");
	link.interface = i;
	route->dest = dup_str(t, "192.168.77.0/24");
	route->gateway = dup_str(t, "10.9.8.1");
	route->device = dup_str(t, "lo");
	add_ptr(t, &want.routes, &want.n_routes, route);
	routes.routes = &want;
	file.path = dup_str(t, "/run/kata-containers/shared/containers/copied");
	file.file_size = file.data.len = 4;
	file.file_mode = 0100644;
	file.data.data = (uint8_t *)dup_str(t, "one\n");
	if (call(t, AGENT, "UpdateInterface", &link.base, &types__interface__descriptor, NULL) <
		    0 ||
	    call(t, AGENT, "UpdateRoutes", &routes.base, &grpc__routes__descriptor, &have) < 0)
		return -1;
	return simple(t, "CopyFile", &file);
}

static int pause_and_resume(struct test *t, const char *id)
{
	Grpc__PauseContainerRequest stop = GRPC__PAUSE_CONTAINER_REQUEST__INIT;
	Grpc__ResumeContainerRequest go = GRPC__RESUME_CONTAINER_REQUEST__INIT;

	stop.container_id = go.container_id = (char *)(uintptr_t)id;
	return simple(t, "PauseContainer", &stop) < 0 || simple(t, "ResumeContainer", &go) < 0
		       ? -1
		       : 0;
}

/* A second process, on a terminal. */
static int exec_second(struct driver *d, const char *id, struct buf *out, int *status)
{
	Grpc__TtyWinResizeRequest size = GRPC__TTY_WIN_RESIZE_REQUEST__INIT;
	Grpc__Process *p = make_process(&d->t, ARGS("sh", "-c", "read x; echo second $x"));
	struct test *t = &d->t;

	p->terminal = true;
	size.container_id = (char *)(uintptr_t)id;
	size.exec_id = dup_str(t, "x");
	size.row = size.column = 40;
	if (exec_process(t, id, "x", p) < 0 || simple(t, "TtyWinResize", &size) < 0 ||
	    write_stdin(t, id, "x", "y\n", 2) < 0 || read_output(d, id, "x", out) < 0)
		return -1;
	*status = wait_for(t, id, "x");
	return *status < 0 ? -1 : 0;
}

/* 0: it went well; -1: t.e says what failed; *wrong: it went well, and badly. */
static int live(struct driver *d, const Grpc__CreateContainerRequest *r, bool *wrong)
{
	struct test *t = &d->t;
	const char *id = r->container_id;
	OWN(buf) struct buf first = BUF_INIT;
	OWN(buf) struct buf second = BUF_INIT;
	int ended, status;

	if (touch_guest(t) < 0 || create(t, r) < 0 || start(t, id) < 0 ||
	    exec_second(d, id, &second, &ended) < 0 || figures(d, id) < 0 ||
	    pause_and_resume(t, id) < 0 || write_stdin(t, id, "", "end\n", 4) < 0 ||
	    close_stdin(t, id, "") < 0 || read_output(d, id, "", &first) < 0)
		return -1;
	status = wait_for(t, id, "");
	if (status < 0 || remove_container(t, id) < 0)
		return -1;
	*wrong = ended != 0 || status != 7 || !buf_cstr(&first) || !buf_cstr(&second) ||
		 !str_eq(buf_cstr(&first), "first end\n") ||
		 !strstr(buf_cstr(&second), "second y\r\n");
	if (*wrong)
		(void)err_set(&t->e, ERR_STATE, 0, "status %d and %d, '%s' and '%s'", status,
			      ended, buf_cstr(&first) ? buf_cstr(&first) : "",
			      buf_cstr(&second) ? buf_cstr(&second) : "");
	return 0;
}

/* What is left of a life, by the calls the engine makes then. */
static void clean_up(struct driver *d, int64_t n, const char *id)
{
	struct test *t = &d->t;
	struct err e;

	if (!ttrpc_conn_is_open(t->conn)) {
		d->broken++;
		if (connect_again(d, &e) < 0) {
			t->e = e;
			complain(d, n, "the agent is gone");
			return;
		}
	}
	if (kill_process(t, id, "", SIGKILL) == 0 && wait_for(t, id, "") < 0)
		complain(d, n, "wait");
	if (remove_container(t, id) < 0 && t->e.kind != ERR_NOT_FOUND)
		complain(d, n, "remove");
}

static void one_life(struct driver *d, int64_t n)
{
	struct test *t = &d->t;
	Grpc__CreateContainerRequest *r;
	bool wrong = false;

	arena_init(&t->arena, 16 * MIB);
	r = full_request(t);
	__atomic_store_n(&d->memory->failed, 0, __ATOMIC_SEQ_CST);
	__atomic_store_n(&d->memory->asked, 0, __ATOMIC_SEQ_CST);
	__atomic_store_n(&d->memory->fail_at, n, __ATOMIC_SEQ_CST);
	/* every other one in the process namespace that the agent keeps, so the first */
	r->sandbox_pidns = r->agent_pidns = n % 2 == 0;
	if (live(d, r, &wrong) < 0) {
		__atomic_store_n(&d->memory->fail_at, 0, __ATOMIC_SEQ_CST);
		d->refused++;
		if (ttrpc_conn_is_open(t->conn) && t->e.kind != ERR_NO_MEMORY)
			complain(d, n, "failed by another name");
		clean_up(d, n, r->container_id);
	} else if (wrong) {
		complain(d, n, "wrong");
	}
	__atomic_store_n(&d->memory->fail_at, 0, __ATOMIC_SEQ_CST);
	arena_fini(&t->arena);
}

/* The pod's memory and its parameters; without them nothing else can be. */
static void make_sandbox(struct driver *d)
{
	Grpc__CreateSandboxRequest r = GRPC__CREATE_SANDBOX_REQUEST__INIT;
	struct test *t = &d->t;

	arena_init(&t->arena, 16 * MIB);
	r.sandbox_id = r.hostname = dup_str(t, "short");
	if (simple(t, "CreateSandbox", &r) < 0)
		complain(d, 0, "CreateSandbox");
	arena_fini(&t->arena);
}

static void all_lives(void *arg)
{
	struct driver *d = arg;
	int64_t n = 0;

	if (d->first) {
		make_sandbox(d);
		one_life(d, 0);
		return;
	}
	do {
		one_life(d, ++n);
	} while (n < LIVES_MAX && d->t.conn &&
		 __atomic_load_n(&d->memory->failed, __ATOMIC_SEQ_CST));
	one_life(d, 0);
	if (d->refused + d->broken == 0 || n == LIVES_MAX)
		d->bad = true;
	printf("%lld lives, %u refused something, %u lost their connection\n", (long long)n,
	       d->refused, d->broken);
}

int main(int argc, char **argv)
{
	struct driver d = { .bad = false };
	struct err e;
	int fd;

	if (argc < 4) {
		(void)fprintf(stderr,
			      "usage: agent_memory ADDRESS GUEST_ROOTFS MEMORY [first]\n");
		return 2;
	}
	d.address = argv[1];
	d.t.rootfs = argv[2];
	d.first = argc > 4 && str_eq(argv[4], "first");
	(void)signal(SIGPIPE, SIG_IGN);
	fd = open(argv[3], O_RDWR | O_CLOEXEC);
	d.memory = mmap(NULL, sizeof(*d.memory), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (fd < 0 || d.memory == MAP_FAILED) {
		(void)fprintf(stderr, "agent_memory: %s: %s\n", argv[3], strerror(errno));
		return 2;
	}
	if (loop_new(&d.t.loop, &e) < 0 || connect_again(&d, &e) < 0 ||
	    fiber_main(d.t.loop, all_lives, &d, &e) < 0) {
		(void)fprintf(stderr, "agent_memory: %s\n", e.msg);
		return 1;
	}
	ttrpc_conn_free(d.t.conn);
	loop_free(d.t.loop);
	return d.bad ? 1 : 0;
}
