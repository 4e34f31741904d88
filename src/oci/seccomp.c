/* SPDX-License-Identifier: Apache-2.0 */
/* Seccomp profiles into BPF programs. */
#include "oci/seccomp.h"

#include <errno.h>
#include <linux/seccomp.h>
#include <seccomp.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "base/err.h"
#include "base/fd.h"
#include "base/mem.h"
#include "base/str.h"
#include "oci/notes.h"
#include "oci/seccomp_newer.h"

enum {
	SECCOMP_ARGS = 6,
	ERRNO_MAX = 4095,
	PROGRAM_MAX = 4096 * 8, /* BPF_MAXINSNS instructions */
};

/* WAIT_KILLABLE_RECV (Linux 5.19) is missing in older headers. */
enum {
	FLAG_WAIT_KILLABLE_RECV = 1 << 5
};

struct compiler {
	scmp_filter_ctx ctx;
	uint32_t default_action;
	struct oci_notes *notes;
	struct err *e;
};

static void own_filter(scmp_filter_ctx *ctx)
{
	if (*ctx)
		seccomp_release(*ctx);
}

/* clang-format off */
static const struct { const char *name; uint32_t action; bool takes_errno; } actions[] = {
	{ "SCMP_ACT_KILL",         SCMP_ACT_KILL_THREAD,  false },
	{ "SCMP_ACT_KILL_THREAD",  SCMP_ACT_KILL_THREAD,  false },
	{ "SCMP_ACT_KILL_PROCESS", SCMP_ACT_KILL_PROCESS, false },
	{ "SCMP_ACT_TRAP",         SCMP_ACT_TRAP,         false },
	{ "SCMP_ACT_ERRNO",        SCMP_ACT_ERRNO(0),     true },
	{ "SCMP_ACT_TRACE",        SCMP_ACT_TRACE(0),     true },
	{ "SCMP_ACT_ALLOW",        SCMP_ACT_ALLOW,        false },
	{ "SCMP_ACT_LOG",          SCMP_ACT_LOG,          false },
};

static const struct { const char *name; enum scmp_compare op; } compare_ops[] = {
	{ "SCMP_CMP_NE", SCMP_CMP_NE }, { "SCMP_CMP_LT", SCMP_CMP_LT },
	{ "SCMP_CMP_LE", SCMP_CMP_LE }, { "SCMP_CMP_EQ", SCMP_CMP_EQ },
	{ "SCMP_CMP_GE", SCMP_CMP_GE }, { "SCMP_CMP_GT", SCMP_CMP_GT },
	{ "SCMP_CMP_MASKED_EQ", SCMP_CMP_MASKED_EQ },
};

/* Names of libseccomp without the prefix, where lower case alone does not make them. */
static const struct { const char *oci, *libseccomp; } archs[] = {
	{ "SCMP_ARCH_X86",         "x86" },         { "SCMP_ARCH_X86_64",    "x86_64" },
	{ "SCMP_ARCH_X32",         "x32" },         { "SCMP_ARCH_ARM",       "arm" },
	{ "SCMP_ARCH_AARCH64",     "aarch64" },     { "SCMP_ARCH_MIPS",      "mips" },
	{ "SCMP_ARCH_MIPS64",      "mips64" },      { "SCMP_ARCH_MIPS64N32", "mips64n32" },
	{ "SCMP_ARCH_MIPSEL",      "mipsel" },      { "SCMP_ARCH_MIPSEL64",  "mipsel64" },
	{ "SCMP_ARCH_MIPSEL64N32", "mipsel64n32" }, { "SCMP_ARCH_PPC",       "ppc" },
	{ "SCMP_ARCH_PPC64",       "ppc64" },       { "SCMP_ARCH_PPC64LE",   "ppc64le" },
	{ "SCMP_ARCH_S390",        "s390" },        { "SCMP_ARCH_S390X",     "s390x" },
	{ "SCMP_ARCH_PARISC",      "parisc" },      { "SCMP_ARCH_PARISC64",  "parisc64" },
	{ "SCMP_ARCH_RISCV64",     "riscv64" },     { "SCMP_ARCH_LOONGARCH64", "loongarch64" },
	{ "SCMP_ARCH_M68K",        "m68k" },        { "SCMP_ARCH_SH",        "sh" },
	{ "SCMP_ARCH_SHEB",        "sheb" },
};

static const struct { const char *name; uint32_t flag; bool refused; } filter_flags[] = {
	{ "SECCOMP_FILTER_FLAG_TSYNC",              SECCOMP_FILTER_FLAG_TSYNC,      false },
	{ "SECCOMP_FILTER_FLAG_LOG",                SECCOMP_FILTER_FLAG_LOG,        false },
	{ "SECCOMP_FILTER_FLAG_SPEC_ALLOW",         SECCOMP_FILTER_FLAG_SPEC_ALLOW, false },
	{ "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV", FLAG_WAIT_KILLABLE_RECV,        true },
};
/* clang-format on */

/* libseccomp returns a negative errno. */
static enum err_kind kind_of(int rc)
{
	return rc == -ENOMEM ? ERR_NO_MEMORY : ERR_SYS;
}

static int resolve_action(const char *name, bool has_errno, uint32_t number, const char *where,
			  uint32_t *out, struct err *e)
{
	if (str_eq(name, "SCMP_ACT_NOTIFY"))
		return err_set(
			e, ERR_UNSUPPORTED, 0,
			"%s 'SCMP_ACT_NOTIFY': a listener of the host cannot serve a guest's "
			"system calls",
			where);
	for (size_t i = 0; i < ARRAY_LEN(actions); i++) {
		if (!str_eq(actions[i].name, name))
			continue;
		if (!actions[i].takes_errno && has_errno)
			return err_set(e, ERR_INVALID, 0, "%s '%s': takes no errno", where,
				       name);
		if (number > ERRNO_MAX)
			return err_set(e, ERR_INVALID, 0, "%s: errno %u is above %d", where,
				       number, ERRNO_MAX);
		*out = actions[i].action;
		if (actions[i].takes_errno)
			*out |= has_errno ? number : EPERM;
		return 0;
	}
	return err_set(e, ERR_INVALID, 0, "%s '%.60s': unknown value", where, name);
}

static int resolve_flags(const Grpc__LinuxSeccomp *s, uint32_t *out, struct err *e)
{
	uint32_t flags = 0;

	for (size_t i = 0; i < s->n_flags; i++) {
		size_t k = 0;

		while (k < ARRAY_LEN(filter_flags) &&
		       !str_eq(filter_flags[k].name, s->flags[i]))
			k++;
		if (k == ARRAY_LEN(filter_flags))
			return err_set(e, ERR_INVALID, 0,
				       "linux.seccomp.flags[%zu] '%.60s': unknown value", i,
				       s->flags[i]);
		if (filter_flags[k].refused)
			return err_set(
				e, ERR_UNSUPPORTED, 0,
				"linux.seccomp.flags[%zu] '%s': only goes with a listener", i,
				s->flags[i]);
		flags |= filter_flags[k].flag;
	}
	*out = flags;
	return 0;
}

static int add_archs(struct compiler *c, const Grpc__LinuxSeccomp *s)
{
	for (size_t i = 0; i < s->n_architectures; i++) {
		const char *name = s->architectures[i];
		uint32_t token = 0;
		int rc;

		for (size_t k = 0; k < ARRAY_LEN(archs); k++)
			if (str_eq(archs[k].oci, name))
				token = seccomp_arch_resolve_name(archs[k].libseccomp);
		if (token == 0) {
			oci_note(c->notes, "seccomp architecture %.40s is unknown", name);
			continue;
		}
		rc = seccomp_arch_add(c->ctx, token);
		if (rc == -EDOM || rc == -EINVAL)
			oci_note(c->notes, "seccomp architecture %.40s cannot run here", name);
		else if (rc < 0 && rc != -EEXIST)
			return err_set(c->e, kind_of(rc), -rc, "seccomp architecture %.40s",
				       name);
	}
	return 0;
}

static int resolve_args(const Grpc__LinuxSyscall *call, struct scmp_arg_cmp *out, size_t index,
			struct err *e)
{
	for (size_t i = 0; i < call->n_args; i++) {
		const Grpc__LinuxSeccompArg *arg = call->args[i];
		size_t k = 0;

		while (k < ARRAY_LEN(compare_ops) && !str_eq(compare_ops[k].name, arg->op))
			k++;
		if (k == ARRAY_LEN(compare_ops))
			return err_set(e, ERR_INVALID, 0,
				       "linux.seccomp.syscalls[%zu].args[%zu].op '%.60s': "
				       "unknown value",
				       index, i, arg->op);
		if (arg->index >= SECCOMP_ARGS)
			return err_set(
				e, ERR_INVALID, 0,
				"linux.seccomp.syscalls[%zu].args[%zu].index: is above 5",
				index, i);
		out[i] = (struct scmp_arg_cmp){ .arg = (unsigned)arg->index,
						.op = compare_ops[k].op,
						.datum_a = arg->value,
						.datum_b = arg->valuetwo };
	}
	return 0;
}

/* libseccomp takes one comparison per argument and rule. */
static bool has_repeated_arg(const struct scmp_arg_cmp *args, size_t n)
{
	unsigned seen = 0;

	for (size_t i = 0; i < n; i++) {
		if (seen & 1u << args[i].arg)
			return true;
		seen |= 1u << args[i].arg;
	}
	return false;
}

static int add_rule(struct compiler *c, const char *name, uint32_t action,
		    const struct scmp_arg_cmp *args, size_t n)
{
	int number = seccomp_syscall_resolve_name(name);
	size_t step = has_repeated_arg(args, n) ? 1 : n;
	size_t at = 0;

	if (number == __NR_SCMP_ERROR) {
		oci_note(c->notes, "seccomp knows no system call %.40s", name);
		return 0;
	}
	do { /* with a repeated argument each comparison is a rule of its own: any may match */
		int rc = seccomp_rule_add_array(c->ctx, action, number, (unsigned)step,
						args + at);

		if (rc < 0 && rc != -EEXIST)
			return err_set(c->e, kind_of(rc), -rc, "seccomp rule for %.40s", name);
		at += step;
	} while (at < n);
	return 0;
}

static int add_syscall(struct compiler *c, const Grpc__LinuxSyscall *call, size_t index,
		       struct arena *a)
{
	bool has_errno = call->errno_ret_case == GRPC__LINUX_SYSCALL__ERRNO_RET_ERRNORET;
	struct scmp_arg_cmp *args;
	char where[64];
	uint32_t action;

	(void)snprintf(where, sizeof(where), "linux.seccomp.syscalls[%zu].action", index);
	if (resolve_action(call->action, has_errno, has_errno ? call->errnoret : 0, where,
			   &action, c->e) < 0)
		return -1;
	args = arena_calloc(a, call->n_args, sizeof(*args));
	if (!args)
		return err_oom(c->e, "a seccomp rule");
	if (resolve_args(call, args, index, c->e) < 0)
		return -1;
	if (action == c->default_action)
		return 0; /* says nothing new; libseccomp refuses such a rule */
	for (size_t i = 0; i < call->n_names; i++)
		if (add_rule(c, call->names[i], action, args, call->n_args) < 0)
			return -1;
	return 0;
}

/* The program in `a`. */
static int export_once(scmp_filter_ctx ctx, struct arena *a, ProtobufCBinaryData *out,
		       struct err *e)
{
	OWN(fd) int fd = memfd_create("seccomp", MFD_CLOEXEC);
	struct stat st;
	uint8_t *p;
	int rc;

	if (fd < 0)
		return err_sys(e, "memfd for a seccomp program");
	rc = seccomp_export_bpf(ctx, fd);
	if (rc < 0)
		return err_set(e, kind_of(rc), -rc, "seccomp program");
	if (fstat(fd, &st) < 0 || lseek(fd, 0, SEEK_SET) < 0)
		return err_sys(e, "seccomp program");
	if (st.st_size <= 0 || st.st_size > PROGRAM_MAX || st.st_size % 8)
		return err_set(e, ERR_INVALID, 0,
			       "linux.seccomp: the program has %lld bytes; the kernel takes %d",
			       (long long)st.st_size, PROGRAM_MAX);
	p = arena_alloc(a, (size_t)st.st_size);
	if (!p)
		return err_oom(e, "a seccomp program");
	if (fd_read_exact(fd, p, (size_t)st.st_size, e) < 0)
		return -1;
	out->data = p;
	out->len = (size_t)st.st_size;
	return 0;
}

/*
 * Twice: where memory runs out libseccomp (2.5.4) may leave rules out of the program and report
 * success: tests/fault/test_seccomp_filter.c.
 */
static int export_program(scmp_filter_ctx ctx, struct arena *a, ProtobufCBinaryData *out,
			  struct err *e)
{
	ProtobufCBinaryData again;

	if (export_once(ctx, a, out, e) < 0 || export_once(ctx, a, &again, e) < 0)
		return -1;
	if (out->len != again.len || memcmp(out->data, again.data, again.len) != 0)
		return err_oom(e, "a seccomp program");
	return 0;
}

int seccomp_compile(Grpc__LinuxSeccomp *s, struct arena *a, struct oci_notes *notes,
		    struct err *e)
{
	bool has_errno = s->has_default_errno_ret_case ==
			 GRPC__LINUX_SECCOMP__HAS_DEFAULT_ERRNO_RET_DEFAULT_ERRNO_RET;
	OWN(filter) scmp_filter_ctx ctx = NULL;
	struct compiler c = { .notes = notes, .e = e };
	ProtobufCBinaryData program;
	uint32_t flags = 0;

	if (resolve_flags(s, &flags, e) < 0)
		return -1;
	if (resolve_action(s->defaultaction, has_errno, has_errno ? s->defaulterrnoret : 0,
			   "linux.seccomp.defaultAction", &c.default_action, e) < 0)
		return -1;
	ctx = seccomp_init(c.default_action);
	if (!ctx)
		return err_oom(e, "a seccomp filter");
	c.ctx = ctx;
	/* a binary tree of system calls instead of a list; a matter of speed alone */
	(void)seccomp_attr_set(ctx, SCMP_FLTATR_CTL_OPTIMIZE, 2);
	if (add_archs(&c, s) < 0)
		return -1;
	for (size_t i = 0; i < s->n_syscalls; i++)
		if (add_syscall(&c, s->syscalls[i], i, a) < 0)
			return -1;
	if (export_program(ctx, a, &program, e) < 0 ||
	    seccomp_refuse_newer(s, ctx, c.default_action, PROGRAM_MAX, a, &program, e) < 0)
		return -1;
	s->program = program;
	s->filterflags = flags;
	return 0;
}
