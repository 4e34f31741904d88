/* SPDX-License-Identifier: Apache-2.0 */
/* What the VM tests share: a machine with a shell in it. */
#pragma once

#include "../unit/unit.h"
#include "base/buf.h"
#include "event/child.h"
#include "event/fiber.h"
#include "event/loop.h"
#include "vmm/vmm.h"

struct vm {
	struct loop *loop;
	struct child_reaper reaper;
	struct vmm *vmm;
	struct vmm_config config;
	struct vmm_device devices[8];
	size_t device_count;
	const char *initrds[2];
	int port; /* the shell */
	struct vmm_exit exit;
	int exits; /* how often the machine's end was told */
	void (*body)(struct vm *vm);
};

/* Runs body(vm) in a fiber; the process dies by SIGALRM after five minutes. */
void vm_run(void (*body)(struct vm *vm));
/* Adds a device to those at boot. */
struct vmm_device *vm_device(struct vm *vm, enum vmm_device_kind kind, const char *id);
/* vmm_new() and vmm_start() and the guest's "ready". */
void vm_boot(struct vm *vm);
/* Runs a shell command in the guest: its output (NUL-ended, owned by *out) and status. */
int vm_shell(struct vm *vm, const char *command, struct buf *out);
/* The same, failing unless the status is 0 and the output contains `want` (NULL: any). */
void vm_expect(struct vm *vm, const char *command, const char *want);
void vm_stop(struct vm *vm);
int64_t vm_deadline(void);
