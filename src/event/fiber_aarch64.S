/* SPDX-License-Identifier: Apache-2.0 */
/* Stack switch for AArch64, AAPCS64: x19-x30 and d8-d15. */
	.text
	.globl	fiber_switch_stack
	.type	fiber_switch_stack, %function
fiber_switch_stack:
	sub	sp, sp, #160
	stp	x19, x20, [sp, #0]
	stp	x21, x22, [sp, #16]
	stp	x23, x24, [sp, #32]
	stp	x25, x26, [sp, #48]
	stp	x27, x28, [sp, #64]
	stp	x29, x30, [sp, #80]
	stp	d8, d9, [sp, #96]
	stp	d10, d11, [sp, #112]
	stp	d12, d13, [sp, #128]
	stp	d14, d15, [sp, #144]
	mov	x9, sp
	str	x9, [x0]
	mov	sp, x1
	ldp	x19, x20, [sp, #0]
	ldp	x21, x22, [sp, #16]
	ldp	x23, x24, [sp, #32]
	ldp	x25, x26, [sp, #48]
	ldp	x27, x28, [sp, #64]
	ldp	x29, x30, [sp, #80]
	ldp	d8, d9, [sp, #96]
	ldp	d10, d11, [sp, #112]
	ldp	d12, d13, [sp, #128]
	ldp	d14, d15, [sp, #144]
	add	sp, sp, #160
	ret
	.size	fiber_switch_stack, .-fiber_switch_stack

	.globl	fiber_trampoline
	.type	fiber_trampoline, %function
fiber_trampoline:
	mov	x29, xzr
	bl	fiber_entry
	brk	#1
	.size	fiber_trampoline, .-fiber_trampoline

	.globl	fiber_prepare_stack
	.type	fiber_prepare_stack, %function
	/* x0 = top, 16-byte aligned; x30 of the first frame is the trampoline */
fiber_prepare_stack:
	adrp	x9, fiber_trampoline
	add	x9, x9, :lo12:fiber_trampoline
	sub	x0, x0, #160
	str	x9, [x0, #88]
	str	xzr, [x0, #80]
	ret
	.size	fiber_prepare_stack, .-fiber_prepare_stack
	.section .note.GNU-stack,"",%progbits
