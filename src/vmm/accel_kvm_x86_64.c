/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The test of a KVM device: a page of guest code in 64-bit mode that does what a booting
 * kernel does and what half-hearted implementations stumble over: cmpxchg16b, xsave and
 * xrstor, a breakpoint through the interrupt table, reloading the page tables, cpuid, model
 * specific registers, and a few million instructions in a row.
 */
#include <cpuid.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "base/err.h"
#include "base/own.h"
#include "base/time.h"
#include "vmm/accel.h"

enum {
	GUEST_SIZE = 0x20000,
	AT_PML4 = 0x1000,
	AT_PDPT = 0x2000,
	AT_PD = 0x3000,
	AT_GDT = 0x4000,
	AT_IDT = 0x5000,
	AT_STACK = 0x8000, /* grows down */
	AT_DATA = 0x9000,  /* 16 bytes for cmpxchg16b */
	AT_XSAVE = 0xa000,
	AT_CODE = 0x10000,
	PORT = 0x10,
	CPUID_MAX = 256,
};

extern const uint8_t accel_guest[], accel_guest_int3[], accel_guest_end[];

/* One byte to PORT per passed step; r8d says whether xsave is there. */
__asm__(".pushsection .rodata\n"
	".globl accel_guest, accel_guest_int3, accel_guest_end\n"
	"accel_guest:\n"
	"	movb $1, %al\n"
	"	outb %al, $0x10\n"
	"	movl $0x9000, %edi\n"
	"	xorl %eax, %eax\n"
	"	xorl %edx, %edx\n"
	"	movl $0x11111111, %ebx\n"
	"	movl $0x22222222, %ecx\n"
	"	lock cmpxchg16b (%rdi)\n"
	"	jnz 9f\n"
	"	cmpq %rbx, (%rdi)\n"
	"	jne 9f\n"
	"	cmpq %rcx, 8(%rdi)\n"
	"	jne 9f\n"
	"	movb $2, %al\n"
	"	outb %al, $0x10\n"
	"	testl %r8d, %r8d\n"
	"	jz 1f\n"
	"	xorl %ecx, %ecx\n"
	"	xorl %edx, %edx\n"
	"	movl $3, %eax\n"
	"	xsetbv\n"
	"	movq %rbx, %xmm0\n"
	"	movl $0xa000, %edi\n"
	"	xsave (%rdi)\n"
	"	pxor %xmm0, %xmm0\n"
	"	xrstor (%rdi)\n"
	"	movq %xmm0, %rax\n"
	"	cmpq %rbx, %rax\n"
	"	jne 9f\n"
	"1:	movb $3, %al\n"
	"	outb %al, $0x10\n"
	"	int3\n"
	"	movb $5, %al\n"
	"	outb %al, $0x10\n"
	"	movq %cr3, %rax\n"
	"	movq %rax, %cr3\n"
	"	xorl %eax, %eax\n"
	"	cpuid\n"
	"	movl $0xc0000080, %ecx\n"
	"	rdmsr\n"
	"	testl $0x400, %eax\n"
	"	jz 9f\n"
	"	movb $6, %al\n"
	"	outb %al, $0x10\n"
	"	movl $2000000, %ecx\n"
	"2:	subl $1, %ecx\n"
	"	jnz 2b\n"
	"	movb $7, %al\n"
	"	outb %al, $0x10\n"
	"9:	hlt\n"
	"accel_guest_int3:\n"
	"	movb $4, %al\n"
	"	outb %al, $0x10\n"
	"	iretq\n"
	"accel_guest_end:\n"
	".popsection\n");

/* What has been passed when the byte arrives; the next one is where it stopped. */
static const char *const steps[] = {
	"its first instruction", "cmpxchg16b",        "xsave and xrstor", "int3",
	"return from int3",      "cr3, cpuid, rdmsr", "a loop",
};
enum {
	STEPS = ARRAY_LEN(steps)
};

struct guest {
	int kvm, vm, vcpu;
	uint8_t *mem;
	struct kvm_run *run;
	size_t run_size;
	bool xsave;
};

/* Of what is over when some process has ended, and not of what the host cannot do. */
static bool is_of_the_moment(int code)
{
	return code == ENOMEM || code == ENFILE || code == EMFILE || code == EINTR ||
	       code == EAGAIN || code == EBUSY;
}

static int say(struct accel_verdict *out, const char *what)
{
	out->unsure = is_of_the_moment(errno);
	(void)snprintf(out->why, sizeof(out->why), "%s: %s", what, strerror(errno));
	return -1;
}

static void put64(struct guest *g, unsigned at, uint64_t v)
{
	memcpy(g->mem + at, &v, sizeof(v));
}

static void fill_memory(struct guest *g)
{
	/* cppcheck-suppress comparePointers ; labels of one piece of assembly */
	uint64_t handler = AT_CODE + (uint64_t)(accel_guest_int3 - accel_guest);

	put64(g, AT_PML4, AT_PDPT | 3);
	put64(g, AT_PDPT, AT_PD | 3);
	put64(g, AT_PD, 0x83);                     /* 2 MiB, identical */
	put64(g, AT_GDT + 8, 0x00af9b000000ffff);  /* 64-bit code */
	put64(g, AT_GDT + 16, 0x00cf93000000ffff); /* data */
	put64(g, AT_IDT + 3 * 16,
	      (handler & 0xffff) | 8 << 16 | 0x8eULL << 40 | (handler >> 16 & 0xffff) << 48);
	put64(g, AT_IDT + 3 * 16 + 8, handler >> 32);
	/* cppcheck-suppress comparePointers */
	memcpy(g->mem + AT_CODE, accel_guest, (size_t)(accel_guest_end - accel_guest));
}

static int make_vm(struct guest *g, const char *device, struct accel_verdict *out)
{
	struct kvm_userspace_memory_region region = { .memory_size = GUEST_SIZE };
	int size;

	g->kvm = open(device, O_RDWR | O_CLOEXEC);
	if (g->kvm < 0)
		return say(out, device);
	if (ioctl(g->kvm, KVM_GET_API_VERSION, 0) != KVM_API_VERSION)
		return say(out, "KVM_GET_API_VERSION");
	g->vm = ioctl(g->kvm, KVM_CREATE_VM, 0);
	if (g->vm < 0)
		return say(out, "KVM_CREATE_VM");
	g->mem = mmap(NULL, GUEST_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1,
		      0);
	if (g->mem == MAP_FAILED)
		return say(out, "mmap");
	region.userspace_addr = (uint64_t)(uintptr_t)g->mem;
	if (ioctl(g->vm, KVM_SET_USER_MEMORY_REGION, &region) < 0)
		return say(out, "KVM_SET_USER_MEMORY_REGION");
	g->vcpu = ioctl(g->vm, KVM_CREATE_VCPU, 0);
	if (g->vcpu < 0)
		return say(out, "KVM_CREATE_VCPU");
	size = ioctl(g->kvm, KVM_GET_VCPU_MMAP_SIZE, 0);
	if (size < (int)sizeof(*g->run))
		return say(out, "KVM_GET_VCPU_MMAP_SIZE");
	g->run_size = (size_t)size;
	g->run = mmap(NULL, g->run_size, PROT_READ | PROT_WRITE, MAP_SHARED, g->vcpu, 0);
	return g->run == MAP_FAILED ? say(out, "mmap of the processor") : 0;
}

static int set_cpuid(struct guest *g, struct accel_verdict *out)
{
	union {
		struct kvm_cpuid2 head;
		char space[sizeof(struct kvm_cpuid2) +
			   CPUID_MAX * sizeof(struct kvm_cpuid_entry2)];
	} id = { .head.nent = CPUID_MAX };

	if (ioctl(g->kvm, KVM_GET_SUPPORTED_CPUID, &id) < 0)
		return say(out, "KVM_GET_SUPPORTED_CPUID");
	for (unsigned i = 0; i < id.head.nent && i < CPUID_MAX; i++) {
		if (id.head.entries[i].function == 1)
			g->xsave = id.head.entries[i].ecx & bit_XSAVE;
	}
	return ioctl(g->vcpu, KVM_SET_CPUID2, &id) < 0 ? say(out, "KVM_SET_CPUID2") : 0;
}

/* Straight into 64-bit mode, as the kernel's own start code leaves it. */
static int set_registers(struct guest *g, struct accel_verdict *out)
{
	struct kvm_regs regs = { .rip = AT_CODE, .rsp = AT_STACK, .rflags = 2, .r8 = g->xsave };
	struct kvm_segment data = {
		.limit = ~0U, .selector = 16, .type = 3, .present = 1, .db = 1, .s = 1, .g = 1
	};
	struct kvm_sregs s;

	if (ioctl(g->vcpu, KVM_GET_SREGS, &s) < 0)
		return say(out, "KVM_GET_SREGS");
	s.ds = s.es = s.fs = s.gs = s.ss = data;
	s.cs = (struct kvm_segment){
		.limit = ~0U, .selector = 8, .type = 11, .present = 1, .s = 1, .l = 1, .g = 1
	};
	s.gdt.base = AT_GDT;
	s.gdt.limit = 3 * 8 - 1;
	s.idt.base = AT_IDT;
	s.idt.limit = 32 * 16 - 1;
	s.cr0 = 0x80010033; /* PG WP NE ET MP PE */
	s.cr3 = AT_PML4;
	s.cr4 = 0x620 | (g->xsave ? 0x40000 : 0); /* PAE OSFXSR OSXMMEXCPT, OSXSAVE */
	s.efer = 0x500;                           /* LMA LME */
	if (ioctl(g->vcpu, KVM_SET_SREGS, &s) < 0)
		return say(out, "KVM_SET_SREGS");
	return ioctl(g->vcpu, KVM_SET_REGS, &regs) < 0 ? say(out, "KVM_SET_REGS") : 0;
}

static void stopped(struct guest *g, unsigned passed, struct accel_verdict *out)
{
	static const struct {
		unsigned reason;
		const char *name;
	} names[] = {
		{ KVM_EXIT_INTERNAL_ERROR, "KVM_EXIT_INTERNAL_ERROR" },
		{ KVM_EXIT_FAIL_ENTRY, "KVM_EXIT_FAIL_ENTRY" },
		{ KVM_EXIT_SHUTDOWN, "KVM_EXIT_SHUTDOWN" },
		{ KVM_EXIT_HLT, "a wrong result" },
		{ KVM_EXIT_MMIO, "KVM_EXIT_MMIO" },
	};
	char number[32];
	const char *name = number;

	(void)snprintf(number, sizeof(number), "exit reason %u", g->run->exit_reason);
	for (size_t i = 0; i < ARRAY_LEN(names); i++) {
		if (names[i].reason == g->run->exit_reason)
			name = names[i].name;
	}
	(void)snprintf(out->why, sizeof(out->why), "guest code ended with %s at %s", name,
		       passed < STEPS ? steps[passed] : "its end");
}

static void run_guest(struct guest *g, struct accel_verdict *out)
{
	int64_t begin = time_mono_us();
	unsigned passed = 0;

	for (;;) {
		const uint8_t *byte;

		if (ioctl(g->vcpu, KVM_RUN, 0) < 0) {
			if (errno == EINTR)
				continue;
			(void)say(out, "KVM_RUN");
			return;
		}
		byte = (const uint8_t *)g->run + g->run->io.data_offset;
		if (g->run->exit_reason != KVM_EXIT_IO || g->run->io.port != PORT ||
		    g->run->io.data_offset >= g->run_size || *byte != passed + 1)
			break;
		passed++;
	}
	if (g->run->exit_reason != KVM_EXIT_HLT || passed != STEPS) {
		stopped(g, passed, out);
		return;
	}
	out->kvm_works = true;
	(void)snprintf(out->why, sizeof(out->why), "guest code ran in %lld ms",
		       (long long)(time_mono_us() - begin + 999) / 1000);
}

/* Nothing is given back: the calling process exits. */
void accel_run_kvm(const char *device, struct accel_verdict *out)
{
	struct guest g = { .kvm = -1, .vm = -1, .vcpu = -1 };

	memset(out, 0, sizeof(*out));
	if (make_vm(&g, device, out) < 0 || set_cpuid(&g, out) < 0 ||
	    set_registers(&g, out) < 0)
		return;
	fill_memory(&g);
	run_guest(&g, out);
}

static uint64_t rdtsc(void)
{
	unsigned lo, hi;

	__asm__ volatile("rdtsc" : "=a"(lo), "=d"(hi));
	return (uint64_t)hi << 32 | lo;
}

/* Clock and counter at the same moment: the closest of a few readings. */
static void read_both(uint64_t *tsc, uint64_t *ns)
{
	uint64_t best = UINT64_MAX;

	for (int i = 0; i < 8; i++) {
		struct timespec t;
		uint64_t a = rdtsc(), b;

		(void)clock_gettime(CLOCK_MONOTONIC_RAW, &t);
		b = rdtsc();
		if (b - a < best) {
			best = b - a;
			*tsc = a + best / 2;
			*ns = (uint64_t)t.tv_sec * 1000000000ULL + (uint64_t)t.tv_nsec;
		}
	}
}

uint64_t accel_tsc_khz(void)
{
	struct timespec pause = { .tv_nsec = 3000000 };
	uint64_t t0 = 0, t1 = 0, n0 = 0, n1 = 0;

	read_both(&t0, &n0);
	(void)nanosleep(&pause, NULL);
	read_both(&t1, &n1);
	if (n1 <= n0 || t1 <= t0)
		return 0;
	return (uint64_t)((__uint128_t)(t1 - t0) * 1000000 / (n1 - n0));
}
