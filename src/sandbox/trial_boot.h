/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A kernel that the user has configured, booted with KVM where ordinary ones cannot run: it may
 * be a guest of the paravirtual KVM of this host.
 * docs/decisions/0058-kernels-of-paravirtual-kvm.md
 */
#pragma once

#include <stdint.h>

#include "vmm/accel.h"

struct arena;
struct child_reaper;
struct err;
struct guest_assets;
struct kata_config;
struct log_ctx;
struct loop;
struct vmm_config;

/* Everything is borrowed as long as the accel_kernel that was made of it. */
struct trial_boot {
	struct loop *loop;
	struct child_reaper *reaper;
	const char *hypervisor;
	const struct kata_config *config;
	const struct guest_assets *assets;
	/* the sandbox's; what is not about the boot is left out. NULL: only to look */
	const struct vmm_config *machine;
	const struct log_ctx *log;
	struct arena *arena; /* for what *out points at */
};

/* *out for accel_config.kernel: points at `storage`, or NULL: the
 * kernel is the installation's, which is an ordinary one. */
int trial_boot_describe(struct trial_boot *t, struct accel_kernel *storage,
			const struct accel_kernel **out, struct err *e);
