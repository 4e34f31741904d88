/* SPDX-License-Identifier: Apache-2.0 */
/* A few instructions for each architecture, which reload what the next ones look at. */
#include "oci/seccomp_newer.h"

#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <string.h>

#include "base/err.h"
#include "base/mem.h"

enum {
	BLOCK_LEN = 6,
	X32_BIT = 0x40000000 /* Linux: __X32_SYSCALL_BIT */
};

/* Those that kata runs on, and what their kernels run besides. */
static const uint32_t known_archs[] = { SCMP_ARCH_X86_64, SCMP_ARCH_X86, SCMP_ARCH_AARCH64,
					SCMP_ARCH_ARM };

/* -1: it names none. */
static int last_named(const Grpc__LinuxSeccomp *s, uint32_t arch)
{
	int last = -1;

	for (size_t i = 0; i < s->n_syscalls; i++) {
		for (size_t k = 0; k < s->syscalls[i]->n_names; k++) {
			int n = seccomp_syscall_resolve_name_arch(arch,
								  s->syscalls[i]->names[k]);

			if (n > last)
				last = n;
		}
	}
	return last;
}

static void put_block(uint32_t arch, int last, struct sock_filter out[BLOCK_LEN])
{
	/* a number that no kernel has where there is no x32 */
	uint32_t others = arch == SCMP_ARCH_X86_64 ? X32_BIT : UINT32_MAX;
	const struct sock_filter block[BLOCK_LEN] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, arch)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, arch, 0, 4),
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JGE | BPF_K, others, 2, 0),
		BPF_JUMP(BPF_JMP | BPF_JGT | BPF_K, (uint32_t)last, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | ENOSYS),
	};

	memcpy(out, block, sizeof(block));
}

int seccomp_refuse_newer(const Grpc__LinuxSeccomp *s, scmp_filter_ctx ctx,
			 uint32_t default_action, size_t max, struct arena *a,
			 ProtobufCBinaryData *program, struct err *e)
{
	struct sock_filter stub[BLOCK_LEN * ARRAY_LEN(known_archs)];
	size_t len = 0;
	uint8_t *p;

	if (default_action == SCMP_ACT_ALLOW || default_action == SCMP_ACT_LOG ||
	    default_action == SCMP_ACT_ERRNO(ENOSYS))
		return 0;
	for (size_t i = 0; i < ARRAY_LEN(known_archs); i++) {
		int last = seccomp_arch_exist(ctx, known_archs[i]) == 0
				   ? last_named(s, known_archs[i])
				   : -1;

		if (last < 0)
			continue;
		put_block(known_archs[i], last, stub + len);
		len += BLOCK_LEN;
	}
	len *= sizeof(*stub);
	if (program->len + len > max)
		return err_set(e, ERR_INVALID, 0,
			       "linux.seccomp: the program has %zu bytes; the kernel takes %zu",
			       program->len + len, max);
	p = arena_alloc(a, program->len + len);
	if (!p)
		return err_oom(e, "a seccomp program");
	memcpy(p, stub, len);
	memcpy(p + len, program->data, program->len);
	*program = (ProtobufCBinaryData){ .data = p, .len = program->len + len };
	return 0;
}
