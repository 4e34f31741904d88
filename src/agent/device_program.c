/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The generator. The program goes through the rules from the last to the first with the set of
 * accesses still to be decided in a register: a rule that allows takes its accesses out (none
 * left: allowed), one that denies any of those left ends with a denial.
 */
#include "agent/device_program.h"

#include <linux/bpf.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/mem.h"
#include "base/own.h"
#include "base/str.h"

enum {
	R0 = 0,
	R_CTX = 1,
	R_TYPE = 2,
	R_ACCESS = 3,
	R_MAJOR = 4,
	R_MINOR = 5,
	R_TMP = 6,
	INSNS_FIXED = 16,
	INSNS_RULE = 12,
};

struct rule {
	bool allow;
	char type; /* 'a', 'b', 'c' */
	int64_t major, minor;
	const char *access;
};

/* As the runtime specification lists them, with the right to make any node. */
static const struct rule default_rules[] = {
	{ true, 'c', -1, -1, "m" }, { true, 'b', -1, -1, "m" }, { true, 'c', 1, 3, "rwm" },
	{ true, 'c', 1, 8, "rwm" }, { true, 'c', 1, 7, "rwm" }, { true, 'c', 5, 0, "rwm" },
	{ true, 'c', 1, 5, "rwm" }, { true, 'c', 1, 9, "rwm" }, { true, 'c', 136, -1, "rwm" },
	{ true, 'c', 5, 2, "rwm" }, { true, 'c', 5, 1, "rwm" },
};

struct code {
	struct bpf_insn *at;
	size_t n;
};

static void emit(struct code *c, uint8_t op, uint8_t dst, uint8_t src, int16_t off, int32_t imm)
{
	c->at[c->n++] = (struct bpf_insn){
		.code = op,
		.dst_reg = dst & 0xf,
		.src_reg = src & 0xf,
		.off = off,
		.imm = imm,
	};
}

static void emit_return(struct code *c, int value)
{
	emit(c, BPF_ALU64 | BPF_MOV | BPF_K, R0, 0, 0, value);
	emit(c, BPF_JMP | BPF_EXIT, 0, 0, 0, 0);
}

static int access_mask(const char *s, int *out)
{
	int mask = 0;

	for (; *s; s++) {
		if (*s == 'm')
			mask |= BPF_DEVCG_ACC_MKNOD;
		else if (*s == 'r')
			mask |= BPF_DEVCG_ACC_READ;
		else if (*s == 'w')
			mask |= BPF_DEVCG_ACC_WRITE;
		else
			return -1;
	}
	*out = mask;
	return 0;
}

/* The struct bpf_cgroup_dev_ctx: access << 16 | type, major, minor. */
static void emit_start(struct code *c)
{
	emit(c, BPF_LDX | BPF_MEM | BPF_W, R_TYPE, R_CTX, 0, 0);
	emit(c, BPF_ALU64 | BPF_MOV | BPF_X, R_ACCESS, R_TYPE, 0, 0);
	emit(c, BPF_ALU64 | BPF_AND | BPF_K, R_TYPE, 0, 0, 0xffff);
	emit(c, BPF_ALU64 | BPF_RSH | BPF_K, R_ACCESS, 0, 0, 16);
	emit(c, BPF_LDX | BPF_MEM | BPF_W, R_MAJOR, R_CTX, 4, 0);
	emit(c, BPF_LDX | BPF_MEM | BPF_W, R_MINOR, R_CTX, 8, 0);
}

/* Jumps out of a rule that does not apply are patched to its end. */
static void emit_rule(struct code *c, const struct rule *r, int mask)
{
	size_t jumps[4], n = 0;

	if (r->type != 'a') {
		jumps[n++] = c->n;
		emit(c, BPF_JMP | BPF_JNE | BPF_K, R_TYPE, 0, 0,
		     r->type == 'b' ? BPF_DEVCG_DEV_BLOCK : BPF_DEVCG_DEV_CHAR);
	}
	if (r->major >= 0) {
		jumps[n++] = c->n;
		emit(c, BPF_JMP | BPF_JNE | BPF_K, R_MAJOR, 0, 0, (int32_t)r->major);
	}
	if (r->minor >= 0) {
		jumps[n++] = c->n;
		emit(c, BPF_JMP | BPF_JNE | BPF_K, R_MINOR, 0, 0, (int32_t)r->minor);
	}
	if (r->allow) {
		emit(c, BPF_ALU64 | BPF_AND | BPF_K, R_ACCESS, 0, 0, ~mask & 7);
		jumps[n++] = c->n;
		emit(c, BPF_JMP | BPF_JNE | BPF_K, R_ACCESS, 0, 0, 0);
		emit_return(c, 1);
	} else {
		emit(c, BPF_ALU64 | BPF_MOV | BPF_X, R_TMP, R_ACCESS, 0, 0);
		emit(c, BPF_ALU64 | BPF_AND | BPF_K, R_TMP, 0, 0, mask);
		jumps[n++] = c->n;
		emit(c, BPF_JMP | BPF_JEQ | BPF_K, R_TMP, 0, 0, 0);
		emit_return(c, 0);
	}
	for (size_t i = 0; i < n; i++)
		c->at[jumps[i]].off = (int16_t)(c->n - jumps[i] - 1);
}

static int rule_of(const Grpc__LinuxDeviceCgroup *d, struct rule *out, struct err *e)
{
	struct rule r = {
		.allow = d->allow,
		.type = *d->type ? d->type[0] : 'a',
		.major = d->major,
		.minor = d->minor,
		.access = *d->access ? d->access : "rwm",
	};
	int mask;

	if (strlen(d->type) > 1 || !strchr("abc", r.type))
		return err_set(e, ERR_INVALID, 0, "type '%.16s'", d->type);
	if (access_mask(r.access, &mask) < 0)
		return err_set(e, ERR_INVALID, 0, "access '%.16s'", d->access);
	if (r.major < -1 || r.minor < -1 || r.major > INT32_MAX || r.minor > INT32_MAX)
		return err_set(e, ERR_INVALID, 0, "number %lld:%lld", (long long)r.major,
			       (long long)r.minor);
	/* "all devices" means all, whatever numbers come along */
	if (r.type == 'a')
		r.major = r.minor = -1;
	*out = r;
	return 0;
}

static int emit_all(struct code *c, Grpc__LinuxDeviceCgroup *const *rules, size_t n,
		    struct err *e)
{
	struct rule r;
	int mask = 0;

	emit_start(c);
	for (size_t i = ARRAY_LEN(default_rules); i > 0; i--) {
		(void)access_mask(default_rules[i - 1].access, &mask);
		emit_rule(c, &default_rules[i - 1], mask);
	}
	for (size_t i = n; i > 0; i--) {
		if (rule_of(rules[i - 1], &r, e) < 0)
			return err_wrap(e, "[%zu]", i - 1);
		(void)access_mask(r.access, &mask);
		emit_rule(c, &r, mask);
	}
	emit_return(c, 0);
	return 0;
}

int device_program(Grpc__LinuxDeviceCgroup *const *rules, size_t n, struct bpf_insn **out,
		   size_t *count_out, struct err *e)
{
	OWN(free) struct bpf_insn *code = NULL;
	struct code c = { 0 };

	if (n > DEVICE_RULES_MAX)
		return err_set(e, ERR_INVALID, 0, "more than %d rules", DEVICE_RULES_MAX);
	code = mem_calloc(INSNS_FIXED + (n + ARRAY_LEN(default_rules)) * INSNS_RULE,
			  sizeof(*code));
	if (!code)
		return err_oom(e, "the device program");
	c.at = code;
	if (emit_all(&c, rules, n, e) < 0)
		return -1;
	*count_out = c.n;
	*out = TAKE(code);
	return 0;
}
