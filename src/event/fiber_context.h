/* SPDX-License-Identifier: Apache-2.0 */
/* What a processor architecture must offer to switch stacks; fiber_<arch>.S implements it. */
#pragma once

#include <stddef.h>

/*
 * Saves the callee-saved registers on the present stack, stores its pointer in *from and
 * goes on at `to`, a pointer stored so earlier or made by the arch's first-entry layout.
 */
void fiber_switch_stack(void **from, void *to);
/* First code on a new stack: calls fiber_entry() and never returns. */
void fiber_trampoline(void);
void fiber_entry(void);

/* Lays out a new stack below `top` so that switching to it runs fiber_trampoline(). */
void *fiber_prepare_stack(void *top);

/* Tells a sanitizer about the switch; empty functions in ordinary builds. */
void fiber_san_leave(void **save, const void *bottom, size_t size);
void fiber_san_enter(void *save, const void **bottom_old, size_t *size_old);
