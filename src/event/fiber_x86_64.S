/* SPDX-License-Identifier: Apache-2.0 */
/* Stack switch for x86-64, System V ABI: rbx rbp r12-r15, MXCSR and the x87 control word. */
	.text
	.globl	fiber_switch_stack
	.type	fiber_switch_stack, @function
fiber_switch_stack:
	endbr64
	pushq	%rbp
	pushq	%rbx
	pushq	%r12
	pushq	%r13
	pushq	%r14
	pushq	%r15
	subq	$8, %rsp
	stmxcsr	(%rsp)
	fnstcw	4(%rsp)
	movq	%rsp, (%rdi)
	movq	%rsi, %rsp
	ldmxcsr	(%rsp)
	fldcw	4(%rsp)
	addq	$8, %rsp
	popq	%r15
	popq	%r14
	popq	%r13
	popq	%r12
	popq	%rbx
	popq	%rbp
	ret
	.size	fiber_switch_stack, .-fiber_switch_stack

	.globl	fiber_trampoline
	.type	fiber_trampoline, @function
fiber_trampoline:
	endbr64
	xorl	%ebp, %ebp
	subq	$8, %rsp
	call	fiber_entry
	ud2
	.size	fiber_trampoline, .-fiber_trampoline

	.globl	fiber_prepare_stack
	.type	fiber_prepare_stack, @function
	/* rdi = top, 16-byte aligned: [ctl][r15 … rbp][trampoline], entered with rsp = top - 8 */
fiber_prepare_stack:
	endbr64
	leaq	fiber_trampoline(%rip), %rax
	movq	%rax, -16(%rdi)
	movq	$0, -8(%rdi)
	leaq	-72(%rdi), %rax
	stmxcsr	(%rax)
	fnstcw	4(%rax)
	ret
	.size	fiber_prepare_stack, .-fiber_prepare_stack
	.section .note.GNU-stack,"",@progbits
