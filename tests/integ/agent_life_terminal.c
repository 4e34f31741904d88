/* SPDX-License-Identifier: Apache-2.0 */
/* Terminals of processes, and starts that are given up. */
#include "agent_life.h"

void test_terminal(struct test *t)
{
	Grpc__CreateContainerRequest *r =
		make_container(t, ARGS("sh", "-c",
				       "tty; stty size; read line; stty size; cat; echo bye; "
				       "test -c /dev/console && echo console"));
	Grpc__TtyWinResizeRequest size = GRPC__TTY_WIN_RESIZE_REQUEST__INIT;
	OWN(arena) struct arena a = { .limit = MIB };
	const char *out;
	uint8_t *p;

	r->oci->process->terminal = true;
	r->oci->process->consolesize = new_message(t, &grpc__box__descriptor);
	r->oci->process->consolesize->height = 33;
	r->oci->process->consolesize->width = 101;
	CHECK(t, create(t, r) == 0 && start(t, r->container_id) == 0, "%s", t->e.msg);
	CHECK(t, read_stream(t, r->container_id, "", false, 1, &a, &p) == 1, "%s", t->e.msg);
	size.container_id = r->container_id;
	size.row = 44;
	size.column = 123;
	/* the first size has been printed once the shell waits for its line */
	(void)fiber_sleep(t->loop, 1000, &t->e);
	CHECK(t, simple(t, "TtyWinResize", &size) == 0, "%s", t->e.msg);
	CHECK(t, write_stdin(t, r->container_id, "", "go\nraw\n", 7) == 0, "%s", t->e.msg);
	(void)fiber_sleep(t->loop, 1000, &t->e);
	CHECK(t, close_stdin(t, r->container_id, "") == 0, "%s", t->e.msg);
	out = read_all(t, r->container_id, "", false);
	CHECK(t,
	      strstr(out, "dev/pts/0\r\n33 101\r\n") && strstr(out, "44 123\r\n") &&
		      strstr(out, "bye\r\nconsole\r\n"),
	      "'%s'", out);
	CHECK(t, wait_for(t, r->container_id, "") == 0, "%s", t->e.msg);
	CHECK(t, remove_container(t, r->container_id) == 0, "%s", t->e.msg);
}

/* A process that gives its terminal away may open it again: what it says then is heard. */
void test_terminal_that_nobody_has(struct test *t)
{
	Grpc__CreateContainerRequest *r =
		make_container(t, ARGS("sh", "-c",
				       "echo before; exec </dev/null >/dev/null 2>&1; sleep 2; "
				       "echo after >/dev/console"));
	const char *out;

	r->oci->process->terminal = true;
	CHECK(t, create(t, r) == 0 && start(t, r->container_id) == 0, "%s", t->e.msg);
	out = read_all(t, r->container_id, "", false);
	CHECK(t, strcmp(out, "before\r\nafter\r\n") == 0, "'%s': %s", out, t->e.msg);
	CHECK(t, wait_for(t, r->container_id, "") == 0, "%s", t->e.msg);
	CHECK(t, remove_container(t, r->container_id) == 0, "%s", t->e.msg);
}

/* Nor is one lost that was hung up: vhangup(2) takes it from us as well. */
void test_terminal_that_is_hung_up(struct test *t)
{
	Grpc__CreateContainerRequest *r = make_container(t, ARGS("/bin/hang_up"));
	Grpc__LinuxCapabilities *c = r->oci->process->capabilities;
	const char *out;

	add_str(t, &c->bounding, &c->n_bounding, "CAP_SYS_TTY_CONFIG");
	add_str(t, &c->effective, &c->n_effective, "CAP_SYS_TTY_CONFIG");
	add_str(t, &c->permitted, &c->n_permitted, "CAP_SYS_TTY_CONFIG");
	r->oci->process->terminal = true;
	CHECK(t, create(t, r) == 0 && start(t, r->container_id) == 0, "%s", t->e.msg);
	out = read_all(t, r->container_id, "", false);
	CHECK(t, strcmp(out, "before\r\nafter\r\n") == 0, "'%s': %s", out, t->e.msg);
	CHECK(t, wait_for(t, r->container_id, "") == 5, "%s", t->e.msg);
	CHECK(t, remove_container(t, r->container_id) == 0, "%s", t->e.msg);
}

/* Read long after the exit: all that the terminal holds. */
void test_rest_of_a_terminal(struct test *t)
{
	enum {
		REST = 7000, /* more than its line discipline takes */
		LONG_MS = 1000
	};
	Grpc__CreateContainerRequest *r =
		make_container(t, ARGS("sh", "-c", "head -c 7000 /dev/zero | tr '\\0' x"));
	const char *out;

	r->oci->process->terminal = true;
	CHECK(t, create(t, r) == 0 && start(t, r->container_id) == 0, "%s", t->e.msg);
	CHECK(t, wait_for(t, r->container_id, "") == 0, "%s", t->e.msg);
	(void)fiber_sleep(t->loop, LONG_MS, &t->e);
	out = read_all(t, r->container_id, "", false);
	CHECK(t, strlen(out) == REST, "%zu bytes", strlen(out));
	CHECK(t, remove_container(t, r->container_id) == 0, "%s", t->e.msg);
}

/* Whoever was told that a start failed does not find the program running later. */
void test_start_that_is_given_up(struct test *t)
{
	enum {
		PATIENCE_MS = 500
	};
	Grpc__CreateContainerRequest *r = make_container(t, ARGS("true"));
	Grpc__Hook *h = new_message(t, &grpc__hook__descriptor);
	Grpc__StartContainerRequest s = GRPC__START_CONTAINER_REQUEST__INIT;
	struct ttrpc_method m = { .name = "StartContainer",
				  .request = s.base.descriptor,
				  .response = &EMPTY };
	void *ignored;

	h->path = dup_str(t, "/bin/sleep");
	add_str(t, &h->args, &h->n_args, "sleep");
	add_str(t, &h->args, &h->n_args, "2");
	r->oci->hooks = new_message(t, &grpc__hooks__descriptor);
	add_ptr(t, &r->oci->hooks->startcontainer, &r->oci->hooks->n_startcontainer, h);
	CHECK(t, create(t, r) == 0, "%s", t->e.msg);
	s.container_id = r->container_id;
	CHECK(t,
	      ttrpc_call(t->conn, AGENT, &m, &s, PATIENCE_MS, &t->arena, &ignored, &t->e) < 0,
	      "it was started");
	CHECK(t, wait_for(t, r->container_id, "") == 137, "%s", t->e.msg);
	CHECK(t, remove_container(t, r->container_id) == 0, "%s", t->e.msg);
}
