/* SPDX-License-Identifier: Apache-2.0 */
/* Two sockets, a map of them, a program of some thirty instructions. */
#include "net/loopback.h"

#include <errno.h>
#include <linux/bpf.h>
#include <netinet/in.h>
#include <stddef.h>
#include <string.h>
#include <sys/socket.h>

#include "base/err.h"
#include "base/fd.h"
#include "base/mem.h"
#include "base/own.h"
#include "base/sys.h"
#include "net/netns.h"

enum {
	BACKLOG = 64,
	LOG_SIZE = 4096,
	KEY_V4 = 0,
	KEY_V6 = 1
};

/* ---- instructions (linux/bpf.h) ---- */

#define INSN(code_, dst, src, off_, imm_)                                                      \
	{                                                                                      \
		.code = (code_), .dst_reg = (dst), .src_reg = (src), .off = (off_),            \
		.imm = (imm_)                                                                  \
	}
#define MOVE(dst, src) INSN(BPF_ALU64 | BPF_MOV | BPF_X, dst, src, 0, 0)
#define SET(dst, imm)  INSN(BPF_ALU64 | BPF_MOV | BPF_K, dst, 0, 0, imm)
#define ADD(dst, imm)  INSN(BPF_ALU64 | BPF_ADD | BPF_K, dst, 0, 0, imm)
#define AND(dst, imm)  INSN(BPF_ALU64 | BPF_AND | BPF_K, dst, 0, 0, imm)
#define FIELD(dst, name)                                                                       \
	INSN(BPF_LDX | BPF_MEM | BPF_W, dst, 6, offsetof(struct bpf_sk_lookup, name), 0)
#define KEY(imm)             INSN(BPF_ST | BPF_MEM | BPF_W, 10, 0, -4, imm)
#define UNLESS(reg, imm, to) INSN(BPF_JMP | BPF_JNE | BPF_K, reg, 0, to, imm)
#define IF(reg, imm, to)     INSN(BPF_JMP | BPF_JEQ | BPF_K, reg, 0, to, imm)
#define GO(to)               INSN(BPF_JMP | BPF_JA, 0, 0, to, 0)
#define CALL(function)       INSN(BPF_JMP | BPF_CALL, 0, 0, 0, BPF_FUNC_##function)

/* Where the address is that of the loopback the connection is ours; else as without us. */
static int load(int map, struct err *e)
{
	const struct bpf_insn program[] = {
		/*  0 */ MOVE(6, 1),
		/*  1 */ FIELD(2, protocol),
		/*  2 */ UNLESS(2, IPPROTO_TCP, 30),
		/*  3 */ FIELD(2, family),
		/*  4 */ IF(2, AF_INET6, 6),
		/*  5 */ UNLESS(2, AF_INET, 27),
		/*  6 */ FIELD(2, local_ip4),
		/*  7 */ AND(2, (int)htonl(0xff000000)),
		/*  8 */ UNLESS(2, (int)htonl(0x7f000000), 24),
		/*  9 */ KEY(KEY_V4),
		/* 10 */ GO(9),
		/* 11 */ FIELD(2, local_ip6[0]),
		/* 12 */ UNLESS(2, 0, 20),
		/* 13 */ FIELD(2, local_ip6[1]),
		/* 14 */ UNLESS(2, 0, 18),
		/* 15 */ FIELD(2, local_ip6[2]),
		/* 16 */ UNLESS(2, 0, 16),
		/* 17 */ FIELD(2, local_ip6[3]),
		/* 18 */ UNLESS(2, (int)htonl(1), 14),
		/* 19 */ KEY(KEY_V6),
		/* 20 */ INSN(BPF_LD | BPF_DW | BPF_IMM, 1, BPF_PSEUDO_MAP_FD, 0, map),
		/* 21 */ INSN(0, 0, 0, 0, 0),
		/* 22 */ MOVE(2, 10),
		/* 23 */ ADD(2, -4),
		/* 24 */ CALL(map_lookup_elem),
		/* 25 */ IF(0, 0, 7),
		/* 26 */ MOVE(7, 0),
		/* 27 */ MOVE(1, 6),
		/* 28 */ MOVE(2, 7),
		/* 29 */ SET(3, 0),
		/* 30 */ CALL(sk_assign),
		/* 31 */ MOVE(1, 7),
		/* 32 */ CALL(sk_release),
		/* 33 */ SET(0, SK_PASS),
		/* 34 */ INSN(BPF_JMP | BPF_EXIT, 0, 0, 0, 0),
	};
	char log[LOG_SIZE] = "";
	union bpf_attr a;
	int fd;

	memset(&a, 0, sizeof(a));
	a.prog_type = BPF_PROG_TYPE_SK_LOOKUP;
	a.expected_attach_type = BPF_SK_LOOKUP;
	a.insns = (uintptr_t)program;
	a.insn_cnt = ARRAY_LEN(program);
	a.license = (uintptr_t) "Apache-2.0";
	fd = sys_bpf(BPF_PROG_LOAD, &a, sizeof(a));
	if (fd < 0) { /* once more, for the reason: a log that is too small is a failure, too */
		a.log_buf = (uintptr_t)log;
		a.log_size = sizeof(log);
		a.log_level = 1;
		fd = sys_bpf(BPF_PROG_LOAD, &a, sizeof(a));
	}
	return fd < 0 ? err_sys(e, "load a program: %.300s", log) : fd;
}

/* ---- the rest ---- */

/* IPv4 on any port of 127.0.0.1, or IPv6 on any of ::1. */
static int listen_on(int family, int *out, struct err *e)
{
	struct sockaddr_in v4 = { .sin_family = AF_INET,
				  .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	struct sockaddr_in6 v6 = { .sin6_family = AF_INET6,
				   .sin6_addr = IN6ADDR_LOOPBACK_INIT };
	OWN(fd) int fd = socket(family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	if (fd < 0)
		return err_sys(e, "a socket");
	if (bind(fd, family == AF_INET ? (void *)&v4 : (void *)&v6,
		 family == AF_INET ? sizeof(v4) : sizeof(v6)) < 0 ||
	    listen(fd, BACKLOG) < 0)
		return err_sys(e, "listen on the loopback");
	*out = fd_take(&fd);
	return 0;
}

static int make_map(const int sockets[2], struct err *e)
{
	OWN(fd) int map = -1;
	union bpf_attr a;

	memset(&a, 0, sizeof(a));
	a.map_type = BPF_MAP_TYPE_SOCKMAP;
	a.key_size = sizeof(uint32_t);
	a.value_size = sizeof(uint64_t);
	a.max_entries = 2;
	map = sys_bpf(BPF_MAP_CREATE, &a, sizeof(a));
	if (map < 0)
		return err_sys(e, "a map of sockets");
	for (uint32_t key = 0; key < 2; key++) {
		uint64_t value = (uint64_t)sockets[key];

		if (sockets[key] < 0)
			continue;
		memset(&a, 0, sizeof(a));
		a.map_fd = (uint32_t)map;
		a.key = (uintptr_t)&key;
		a.value = (uintptr_t)&value;
		if (sys_bpf(BPF_MAP_UPDATE_ELEM, &a, sizeof(a)) < 0)
			return err_sys(e, "put a socket into a map");
	}
	return fd_take(&map);
}

static int attach(int ns, int program, int *out, struct err *e)
{
	union bpf_attr a;

	memset(&a, 0, sizeof(a));
	a.link_create.prog_fd = (uint32_t)program;
	a.link_create.target_fd = (uint32_t)ns;
	a.link_create.attach_type = BPF_SK_LOOKUP;
	*out = sys_bpf(BPF_LINK_CREATE, &a, sizeof(a));
	return *out < 0 ? err_sys(e, "attach a program to the namespace") : 0;
}

static int open_sockets(int ns, struct loopback *l, struct err *e)
{
	struct err no_v6;
	int back, rc;

	if (netns_enter(ns, &back, e) < 0)
		return -1;
	rc = listen_on(AF_INET, &l->sockets[KEY_V4], e);
	if (rc == 0)
		(void)listen_on(AF_INET6, &l->sockets[KEY_V6], &no_v6);
	netns_leave(&back);
	return rc;
}

int loopback_open(int ns, struct loopback *out, struct err *e)
{
	struct loopback l = LOOPBACK_INIT;
	OWN(fd) int map = -1;
	OWN(fd) int program = -1;

	if (open_sockets(ns, &l, e) == 0) {
		map = make_map(l.sockets, e);
		program = map < 0 ? -1 : load(map, e);
		if (program >= 0 && attach(ns, program, &l.link, e) == 0) {
			*out = l;
			return 0;
		}
	}
	loopback_close(&l);
	return -1;
}

void loopback_close(struct loopback *l)
{
	fd_close(&l->link);
	fd_close(&l->sockets[KEY_V4]);
	fd_close(&l->sockets[KEY_V6]);
}
