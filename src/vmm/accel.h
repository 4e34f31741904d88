/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What runs the guest's code: KVM where it really does, otherwise QEMU's emulator. That
 * /dev/kvm exists proves nothing: hosts exist whose module emulates a guest kernel one
 * instruction at a time and gives up on some. So a page of guest code is run, once per boot
 * of the host, and the verdict is kept in a file.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

struct child_reaper;
struct err;
struct log_ctx;
struct loop;

enum accel {
	ACCEL_AUTO,
	ACCEL_KVM,
	ACCEL_TCG,
	ACCEL_COUNT_
};

/* "auto", "kvm", "tcg" */
const char *accel_name(enum accel a);
bool accel_parse(const char *s, enum accel *out);

enum {
	ACCEL_WHY_LEN = 200
};

struct accel_verdict {
	bool kvm_works;
	bool from_cache;
	char why[ACCEL_WHY_LEN]; /* "guest code ran in 3 ms", "KVM_EXIT_INTERNAL_ERROR at …" */
};

/*
 * Runs the test of `device` and fills *out. Called in the child process that may hang or be
 * killed. Another function than accel_run_kvm() is for tests.
 */
typedef void (*accel_probe_fn)(const char *device, struct accel_verdict *out);
void accel_run_kvm(const char *device, struct accel_verdict *out);

struct accel_config {
	const char *device;    /* NULL: /dev/kvm */
	const char *cache_dir; /* NULL: /run/kata */
	const char *boot_id;   /* NULL: /proc/sys/kernel/random/boot_id */
	accel_probe_fn probe;  /* NULL: accel_run_kvm */
	int64_t timeout_ms;    /* of the probe; 0: 500 */
};

/*
 * The verdict on this host: from <cache_dir>/accel.<boot id> if that file is sound, of our
 * version and about the same device, else by a probe, whose verdict is then written there.
 * A cache that cannot be read or written is not an error. Waits: call in a fiber.
 * Errors: only those of starting the probe (fork, pipe) and ERR_CANCELLED.
 */
int accel_probe(struct loop *l, struct child_reaper *r, const struct accel_config *c,
		struct accel_verdict *out, struct err *e);

/*
 * Turns what was asked for into ACCEL_KVM or ACCEL_TCG and logs one line: which and why.
 * ACCEL_KVM that is unusable is ERR_UNSUPPORTED with the reason. `c` may be NULL. The verdict
 * is about ordinary kernels: one built for a paravirtual KVM may boot where this says no.
 */
int accel_choose(struct loop *l, struct child_reaper *r, const struct accel_config *c,
		 enum accel wanted, const struct log_ctx *log, enum accel *out, struct err *e);

/* The host's TSC frequency in kHz for the guest's kernel command line; 0 if not known. */
uint64_t accel_tsc_khz(void);
