/* SPDX-License-Identifier: Apache-2.0 */
/* What the tests of a running agent share: calls, specifications, short lives. */
#pragma once

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "agent.pb-c.h"
#include "base/buf.h"
#include "base/err.h"
#include "base/fd.h"
#include "base/mem.h"
#include "base/own.h"
#include "base/str.h"
#include "base/time.h"
#include "event/fiber.h"
#include "event/loop.h"
#include "google.pb-c.h"
#include "wire/message.h"
#include "wire/ttrpc.h"
#include "wire/unix_socket.h"

enum {
	CALL_MS = 120 * 1000,
	MIB = 1 << 20,
	BIG = 64 * MIB,
	CHUNK = 128 * 1024
};

struct test {
	struct loop *loop;
	struct ttrpc_conn *conn;
	const char *rootfs;
	bool no_limits;
	int number, failed;
	bool current_failed;
	unsigned serial;    /* of containers, for fresh ids */
	struct err e;       /* of the last call */
	struct arena arena; /* of the present test */
};

/* ---- reporting ---- */

#define CHECK(t, cond, ...)                                                                    \
	do {                                                                                   \
		if (!(cond)) {                                                                 \
			printf("# %s:%d: %s: ", __func__, __LINE__, #cond);                    \
			printf(__VA_ARGS__);                                                   \
			printf("\n");                                                          \
			(t)->current_failed = true;                                            \
		}                                                                              \
	} while (0)

/* ---- calls ---- */

#define AGENT "grpc.AgentService"
#define EMPTY google__protobuf__empty__descriptor

#define ARGS(...) ((const char *const[]){ __VA_ARGS__, NULL })

int call(struct test *t, const char *service, const char *method,
	 const ProtobufCMessage *request, const ProtobufCMessageDescriptor *response,
	 void *out);
int simple(struct test *t, const char *method, const void *request);
char *dup_str(struct test *t, const char *s);
void *new_message(struct test *t, const ProtobufCMessageDescriptor *d);
void add_str(struct test *t, char ***list, size_t *n, const char *s);
void add_ptr(struct test *t, void *list_ptr, size_t *n, void *p);
void add_mount(struct test *t, Grpc__Spec *s, const char *dst, const char *type,
	       const char *src, const char *options);
void add_ns(struct test *t, Grpc__Linux *lx, const char *type);
Grpc__Process *make_process(struct test *t, const char *const *args);
Grpc__CreateContainerRequest *make_container(struct test *t, const char *const *args);
int create(struct test *t, const Grpc__CreateContainerRequest *r);
int start(struct test *t, const char *id);
int wait_for(struct test *t, const char *id, const char *exec_id);
int kill_process(struct test *t, const char *id, const char *exec_id, int sig);
int remove_container(struct test *t, const char *id);
ssize_t read_stream(struct test *t, const char *id, const char *exec_id, bool is_err,
		    uint32_t max, struct arena *a, uint8_t **out);
const char *read_all(struct test *t, const char *id, const char *exec_id, bool is_err);
int write_stdin(struct test *t, const char *id, const char *exec_id, const void *p, size_t n);
int close_stdin(struct test *t, const char *id, const char *exec_id);
int exec_process(struct test *t, const char *id, const char *exec_id, Grpc__Process *p);
int run_request(struct test *t, const Grpc__CreateContainerRequest *r, const char **out,
		const char **err_out);
int run_shell(struct test *t, const char *script, const char **out);
Grpc__CreateContainerRequest *running_shell(struct test *t, const char *script);

/* ---- tests of agent_life_files.c ---- */

void test_files(struct test *t);
void test_tmpfs(struct test *t);
void test_hostile_rootfs(struct test *t);

/* ---- tests of agent_life_network.c ---- */

void test_network(struct test *t);
void test_neighbors(struct test *t);
void test_link_parameters(struct test *t);
void test_address_flags(struct test *t);
void test_network_of_the_workload(struct test *t);

/* ---- tests of agent_life_pidns.c ---- */

void test_kept_pid_namespace(struct test *t);
void test_killed_pid_namespace(struct test *t);
void test_pid_namespace_of_another(struct test *t);

/* ---- tests of agent_life_terminal.c ---- */

void test_terminal(struct test *t);
void test_terminal_that_nobody_has(struct test *t);
void test_terminal_that_is_hung_up(struct test *t);
void test_rest_of_a_terminal(struct test *t);
void test_start_that_is_given_up(struct test *t);
