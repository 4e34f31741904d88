/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Operations of base, event and wire while something fails beneath them. Every allocation is
 * made to fail once, the first, the second … until the operation has none left that could:
 * each time it must say so and (under ASan) lose nothing. With reads and writes that are
 * interrupted and move one byte at a time it must still succeed.
 */
#include "../unit/unit.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "agent.pb-c.h"
#include "base/buf.h"
#include "base/fd.h"
#include "base/list.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/own.h"
#include "base/path.h"
#include "base/str.h"
#include "event/fiber.h"
#include "event/loop.h"
#include "fail_nth.h"
#include "ops.h"
#include "wire/json.h"
#include "wire/message.h"
#include "wire/ttrpc.h"

enum {
	MAX_ALLOCS = 2000
};

static char top[64];

static int op_buf(struct err *e)
{
	OWN(buf) struct buf b = BUF_INIT;
	OWN(free) char *s = NULL;

	for (int i = 0; i < 200; i++) {
		if (buf_printf(&b, e, "row %d\n", i) < 0 || buf_puts(&b, "text", e) < 0)
			return -1;
	}
	s = buf_take_str(&b);
	return s ? 0 : err_oom(e, "the text");
}

static int op_strv(struct err *e)
{
	OWN(strv) struct strv v = { 0 };

	for (int i = 0; i < 5; i++) {
		if (strv_add(&v, "x", e) < 0 || strv_addf(&v, e, "%d", i) < 0)
			return -1;
	}
	return 0;
}

static int op_arena(struct err *e)
{
	OWN(arena) struct arena a = { .limit = 1 << 20 };

	for (int i = 0; i < 50; i++) {
		if (!arena_alloc(&a, 3000) || !arena_printf(&a, "%d", i))
			return err_oom(e, "the arena");
	}
	return 0;
}

static int op_files(struct err *e)
{
	OWN(fd) int dir = open(top, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	OWN(free) char *s = NULL;

	if (path_mkfile_beneath(dir, "a/b/c", 0600, NULL, e) < 0 ||
	    file_replace(dir, "a/f", "some text\n", 10, 0600, false, e) < 0 ||
	    file_read(dir, "a/f", 100, &s, NULL, e) < 0 || path_remove_tree(dir, "a", e) < 0)
		return -1;
	assert_string_equal(s, "some text\n");
	return 0;
}

/* More members than json-c's first table holds, every kind of value and of escape. */
static int op_json(struct err *e)
{
	static const char text[] =
		"{\"a\":[1,true,\"x\",1.5,null],\"b\":{\"c\":-5,\"d\":\"\\u00e4\"},"
		"\"\\u0065\":\"\\n\\ud83d\\ude00\",\"f\":18446744073709551615,\"g\":0,"
		"\"h\":0,\"i\":0,\"j\":0,\"k\":0,\"l\":0,\"m\":0,\"n\":0,\"o\":0,\"p\":0}";
	OWN(buf) struct buf out = BUF_INIT;
	OWN(jval) struct jval *v = NULL;

	if (jval_parse(text, sizeof(text) - 1, &v, e) < 0 || jval_print(v, true, &out, e) < 0)
		return -1;
	assert_int_equal(jval_count(v), 14);
	buf_clear(&out);
	if (jval_print(v, false, &out, e) < 0 || !buf_cstr(&out))
		return err_oom(e, "the text");
	assert_non_null(strstr(buf_cstr(&out), "\"b\":{\"c\":-5,\"d\":\"\xc3\xa4\"},\"e\":"));
	return 0;
}

static int op_json_build(struct err *e)
{
	OWN(jval) struct jval *o = jval_new_object();
	char key[8];

	if (!o)
		return err_oom(e, "an object");
	for (int i = 0; i < 30; i++) {
		struct jval *list = jval_new_array();

		(void)snprintf(key, sizeof(key), "k%d", i);
		if (jval_set(o, key, list, e) < 0)
			return -1;
		for (int k = 0; k < 40; k += 10) {
			if (jval_push(list, jval_new_int(k), e) < 0)
				return -1;
		}
	}
	if (jval_set_str(o, "k1", "replaced", e) < 0 || jval_set_bool(o, "b", true, e) < 0 ||
	    jval_set(o, "u", jval_new_uint(UINT64_MAX), e) < 0)
		return -1;
	assert_int_equal(jval_count(o), 32);
	return 0;
}

static int op_message(struct err *e)
{
	OWN(arena) struct arena a = { .limit = 1 << 20 };
	Grpc__ExecProcessRequest req = GRPC__EXEC_PROCESS_REQUEST__INIT;
	OWN(buf) struct buf wire = BUF_INIT;
	ProtobufCMessage *back = NULL;

	req.container_id = (char *)(uintptr_t) "c";
	req.exec_id = (char *)(uintptr_t) "e";
	if (message_encode(&req.base, &wire, e) < 0)
		return -1;
	return message_decode(&grpc__exec_process_request__descriptor, buf_head(&wire),
			      buf_len(&wire), &a, &back, e);
}

/* A call over a connection, both ends in this process. */
struct flow {
	struct loop *loop;
	struct ttrpc_conn *client, *server;
	struct err *e;
	int rc;
};

static int run_echo(struct ttrpc_call *c, const void *request, void *response, struct err *e)
{
	const Grpc__WriteStreamRequest *req = request;
	Grpc__ReadStreamResponse *resp = response;

	(void)c;
	(void)e;
	resp->data = req->data;
	return 0;
}

static const struct ttrpc_method methods[] = {
	{ "Echo", &grpc__write_stream_request__descriptor,
	  &grpc__read_stream_response__descriptor, run_echo },
};

static void call_flow(void *arg)
{
	OWN(arena) struct arena a = { .limit = 1 << 20 };
	Grpc__WriteStreamRequest req = GRPC__WRITE_STREAM_REQUEST__INIT;
	uint8_t data[] = "twelve bytes";
	Grpc__ReadStreamResponse *resp;
	struct flow *f = arg;
	struct err ignored;

	req.container_id = (char *)(uintptr_t) "x";
	req.data = (ProtobufCBinaryData){ .len = 12, .data = data };
	f->rc = ttrpc_call(f->client, "test.Echo", methods, &req, 300, &a, &resp, f->e);
	if (f->rc == 0)
		assert_int_equal(resp->data.len, 12);
	ttrpc_conn_free(f->client);
	ttrpc_conn_free(f->server);
	(void)fiber_sleep(f->loop, 2, &ignored); /* handlers end */
	loop_stop(f->loop);
}

static int connect_both(struct flow *f, struct err *e)
{
	static const struct ttrpc_service services[] = {
		{ .name = "test.Echo", .methods = methods, .method_count = ARRAY_LEN(methods) },
	};
	struct ttrpc_options client = { 0 };
	struct ttrpc_options server = { .services = services, .service_count = 1 };
	int p[2];

	if (fd_socketpair(p, e) < 0)
		return -1;
	if (ttrpc_conn_new(f->loop, p[0], &client, &f->client, e) < 0) {
		(void)close(p[1]);
		return -1;
	}
	if (ttrpc_conn_new(f->loop, p[1], &server, &f->server, e) < 0) {
		ttrpc_conn_free(f->client);
		return -1;
	}
	return 0;
}

static int op_ttrpc(struct err *e)
{
	OWN(loop) struct loop *l = NULL;
	struct flow f = { .e = e };

	if (loop_new(&l, e) < 0)
		return -1;
	f.loop = l;
	if (connect_both(&f, e) < 0)
		return -1;
	if (fiber_spawn(l, "flow", call_flow, &f, NULL, e) < 0) {
		ttrpc_conn_free(f.client);
		ttrpc_conn_free(f.server);
		return -1;
	}
	return loop_run(l, e) < 0 ? -1 : f.rc;
}

static const struct op base_ops[] = {
	{ "buf", op_buf, true, IO_NONE, false, false },
	{ "strv", op_strv, true, IO_NONE, false, false },
	{ "arena", op_arena, true, IO_NONE, false, false },
	{ "files", op_files, true, IO_SHORT, false, false },
	{ "json", op_json, true, IO_NONE, false, false },
	{ "json build", op_json_build, true, IO_NONE, false, false },
	{ "message", op_message, true, IO_NONE, false, false },
	{ "ttrpc", op_ttrpc, false, IO_SHORT, false, false },
};

/* Calls `each` for every operation that can run here. */
static void for_each_op(void (*each)(const struct op *op))
{
	for (size_t i = 0; i < ARRAY_LEN(base_ops) + host_op_count; i++) {
		const struct op *op = i < ARRAY_LEN(base_ops)
					      ? &base_ops[i]
					      : &host_ops[i - ARRAY_LEN(base_ops)];

		if (op->root && geteuid() != 0)
			print_message("# skipped: '%s' works for root only\n", op->name);
		else
			each(op);
	}
}

static int remove_top(struct err *e)
{
	return path_remove_tree(AT_FDCWD, top, e);
}

static int make_top(void **state)
{
	const char *tmp = getenv("TMPDIR");
	struct err e;

	(void)state;
	(void)snprintf(top, sizeof(top), "%s/kata-fault.XXXXXX", tmp ? tmp : "/tmp");
	if (!mkdtemp(top))
		return -1;
	if (host_ops_prepare(top, &e) == 0)
		return 0;
	print_message("%s\n", e.msg);
	return -1;
}

static int leave_top(void **state)
{
	struct err e;

	(void)state;
	return remove_top(&e);
}

/* Descriptors open now: none may be lost on any way out. */
static int open_descriptors(void)
{
	DIR *dir = opendir("/proc/self/fd");
	int n = 0;

	assert_non_null(dir);
	while (readdir(dir))
		n++;
	(void)closedir(dir);
	return n;
}

static void check_remains(const struct op *op, long n, int descriptors)
{
	if (open_descriptors() != descriptors)
		fail_msg("%s: allocation %ld: descriptors are lost", op->name, n);
	if (waitpid(-1, NULL, WNOHANG) != -1)
		fail_msg("%s: allocation %ld: a child is left", op->name, n);
}

static void check_failure(const struct op *op, long n, const struct err *e)
{
	if (e->kind == ERR_NONE || e->msg[0] == '\0')
		fail_msg("%s: fails without an error at allocation %ld", op->name, n);
	if (op->local && e->kind != ERR_NO_MEMORY)
		fail_msg("%s: allocation %ld: %s: %s", op->name, n, err_kind_name(e->kind),
			 e->msg);
}

static void fail_each(const struct op *op)
{
	int descriptors = open_descriptors();

	for (long n = 1; n <= MAX_ALLOCS; n++) {
		struct fault_plan plan = { .fail_alloc = n };
		struct err e = ERR_INIT;
		int rc;

		fault_start(&plan);
		rc = op->run(&e);
		(void)fault_stop();
		check_remains(op, n, descriptors);
		if (fault_hits() == 0) {
			if (rc < 0)
				fail_msg("%s: %s", op->name, e.msg);
			assert_true(n > 1); /* it has been tried with at least one failure */
			return;
		}
		if (rc < 0)
			check_failure(op, n, &e);
		else if (op->local && !op->tolerant)
			fail_msg("%s: succeeds although allocation %ld failed", op->name, n);
	}
	fail_msg("%s: more than %d allocations", op->name, MAX_ALLOCS);
}

static void test_allocations(void **state)
{
	for_each_op(fail_each);
}

static void cut_each(const struct op *op)
{
	struct fault_plan plan = { .short_io = op->io == IO_SHORT, .interrupt = true };
	struct err e = ERR_INIT;
	int rc;

	if (op->io == IO_NONE)
		return;
	fault_start(&plan);
	rc = op->run(&e);
	(void)fault_stop();
	if (rc < 0)
		fail_msg("%s: %s", op->name, e.msg);
	assert_true(fault_hits() > 0);
}

static void test_short_and_interrupted(void **state)
{
	for_each_op(cut_each);
}

/* Makes a system call missing for this process and its children. */
static int make_missing(unsigned nr)
{
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, nr, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | ENOSYS),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog prog = { .len = ARRAY_LEN(code), .filter = code };

	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
		return -1;
	return prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &prog, 0, 0);
}

/* There is no second way to stay beneath a root: refused by name. */
static void test_no_openat2(void **state)
{
	pid_t pid = fork();
	int status;

	assert_true(pid >= 0);
	if (pid == 0) {
		struct err e = ERR_INIT;
		int fd = -1;

		if (make_missing(SYS_openat2) < 0)
			_exit(2);
		if (path_open_beneath(AT_FDCWD, "x", O_PATH, 0, &fd, &e) == 0)
			_exit(3);
		_exit(e.kind == ERR_UNSUPPORTED && strstr(e.msg, "openat2") ? 0 : 4);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
}

int main(int argc, char **argv)
{
	const struct log_config silent = { .fd = -1, .source = "fault" };
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_allocations),
		cmocka_unit_test(test_short_and_interrupted),
		cmocka_unit_test(test_no_openat2),
	};

	if (argc > 1)
		return fake_passt_main(argv[1]);
	log_setup(&silent);
	return cmocka_run_group_tests_name("fault", tests, make_top, leave_top);
}
