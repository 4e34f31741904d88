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
	ACCEL_WHY_LEN = 400
};

struct accel_verdict {
	bool kvm_works;
	bool from_cache;
	bool unsure; /* the host's state of the moment decided: no memory, a busy processor */
	char why[ACCEL_WHY_LEN]; /* "guest code ran in 3 ms", "KVM_EXIT_INTERNAL_ERROR at …" */
};

/*
 * Runs the test of `device` and fills *out. Called in the child process that may hang or be
 * killed. Another function than accel_run_kvm() is for tests.
 */
typedef void (*accel_probe_fn)(const char *device, struct accel_verdict *out);
void accel_run_kvm(const char *device, struct accel_verdict *out);

/* How long a verdict on a kernel is believed. */
enum accel_certainty {
	ACCEL_UNSURE,      /* not at all: the host's state of the moment decided */
	ACCEL_FOR_A_WHILE, /* ten minutes: a busy host decided, maybe */
	ACCEL_SURE         /* until the host boots again */
};

enum {
	ACCEL_BOOT_MS = 70 * 1000 /* the longest time that .boot() below may take */
};

/*
 * A kernel that may run where others do not: a guest of a paravirtual KVM. Where the page of
 * guest code fails, the kernel itself is tried, once per boot of the host and `depends`, by
 * one process at a time.
 */
struct accel_kernel {
	const char *path;    /* for people */
	const char *key;     /* one per kernel: [0-9a-z.-]+, a part of the cache files' names */
	const char *depends; /* a line that changes with all that the outcome depends on */
	/*
	 * Tries it with KVM and fills *out and *sure. Waits. Errors: ERR_CANCELLED only.
	 */
	int (*boot)(void *arg, struct accel_verdict *out, enum accel_certainty *sure,
		    struct err *e);
	void *arg;
};

struct accel_config {
	const char *device;                /* NULL: /dev/kvm */
	const char *cache_dir;             /* NULL: /run/kata */
	const char *boot_id;               /* NULL: /proc/sys/kernel/random/boot_id */
	accel_probe_fn probe;              /* NULL: accel_run_kvm */
	int64_t timeout_ms;                /* of the probe; 0: 500 */
	const struct accel_kernel *kernel; /* NULL: an ordinary one */
};

/*
 * The verdict on this host: from <cache_dir>/accel.<boot id> if that file is sound, of our
 * version and about the same device, else by a probe, whose verdict is then written there
 * unless it is of the moment (`unsure`), for which it is made twice.
 * A cache that cannot be read or written is not an error. Waits: call in a fiber.
 * Errors: only those of starting the probe (fork, pipe) and ERR_CANCELLED.
 */
int accel_probe(struct loop *l, struct child_reaper *r, const struct accel_config *c,
		struct accel_verdict *out, struct err *e);

/*
 * The same about the configuration's kernel, which is there, after `page` said that guest code
 * does not run: from one of <cache_dir>/accel.<boot id>.<key>.<0 to 15>, else by its boot; the
 * oldest of these makes room. While another process boots it this one waits for its verdict.
 * out->why tells of both.
 */
int accel_probe_kernel(struct loop *l, const struct accel_config *c,
		       const struct accel_verdict *page, struct accel_verdict *out,
		       struct err *e);
/* Only what is known: it is not booted. */
int accel_look_at_kernel(const struct accel_config *c, const struct accel_verdict *page,
			 struct accel_verdict *out, struct err *e);
/* It has turned out that the verdict does not hold. */
void accel_forget_kernel(const struct accel_config *c);

struct accel_choice {
	enum accel accel; /* ACCEL_KVM or ACCEL_TCG */
	bool by_trial;    /* KVM, since this kernel has booted with it */
};

/*
 * Turns what was asked for into ACCEL_KVM or ACCEL_TCG and logs one line: which and why.
 * ACCEL_KVM that is unusable is ERR_UNSUPPORTED with the reason. `c` may be NULL.
 */
int accel_choose(struct loop *l, struct child_reaper *r, const struct accel_config *c,
		 enum accel wanted, const struct log_ctx *log, struct accel_choice *out,
		 struct err *e);

/* The host's TSC frequency in kHz for the guest's kernel command line; 0 if not known. */
uint64_t accel_tsc_khz(void);
