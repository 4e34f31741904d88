/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a monitor implements, and what all of them share. Only src/vmm includes this; a new
 * monitor is a folder with a `struct vmm_driver` and a row in vmm.c.
 */
#pragma once

#include "event/child.h"
#include "vmm/console.h"
#include "vmm/vmm.h"

#define VMM_BIT(cap) (1ULL << (cap))

/*
 * vmm.c calls an operation only if the capability it belongs to is there and, but for start,
 * while the monitor runs. NULL: no machine of this monitor can do it.
 */
struct vmm_ops {
	int (*start)(struct vmm *v, int64_t deadline, struct err *e);
	/* Asks the monitor to end; need not wait for it. */
	int (*quit)(struct vmm *v, int64_t deadline, struct err *e);
	/* The process has ended: says why. `v->child.status` is valid. */
	void (*explain)(struct vmm *v, struct vmm_exit *out);
	/* Releases what start made; also called after a start that failed. */
	void (*fini)(struct vmm *v);
	int (*serial_take)(struct vmm *v, const char *name, int *fd_out, struct err *e);
	int (*device_add)(struct vmm *v, const struct vmm_device *d, int64_t deadline,
			  struct vmm_device_addr *addr, struct err *e);
	int (*device_remove)(struct vmm *v, const char *id, int64_t deadline, struct err *e);
	int (*device_addr)(struct vmm *v, const char *id, struct vmm_device_addr *out,
			   struct err *e);
	int (*pause)(struct vmm *v, int64_t deadline, struct err *e);
	int (*resume)(struct vmm *v, int64_t deadline, struct err *e);
	int (*resize_vcpus)(struct vmm *v, unsigned vcpus, int64_t deadline, unsigned *out,
			    struct err *e);
	int (*resize_memory)(struct vmm *v, uint64_t mib, int64_t deadline, uint64_t *out,
			     struct err *e);
	int (*vcpu_threads)(struct vmm *v, int64_t deadline, pid_t *tids, size_t max,
			    size_t *count, struct err *e);
};

struct vmm_driver {
	const char *name;
	const char *default_machine;
	size_t size; /* of its own struct, which begins with struct vmm */
	/* ERR_UNSUPPORTED for a machine type it does not know. */
	int (*caps)(const char *machine, enum accel a, uint64_t *out, struct err *e);
	/* As vmm_program(). */
	int (*program)(const char *configured, char **out, struct err *e);
	const struct vmm_ops *ops;
};

extern const struct vmm_driver qemu_driver;

struct vmm {
	const struct vmm_driver *driver;
	struct loop *loop;
	struct child_reaper *reaper;
	struct vmm_config config; /* what it points at: see vmm.h */
	char name[80], machine[32];
	uint64_t caps;
	vmm_exit_fn on_exit;
	void *arg;
	struct child child; /* .reaper is NULL until the monitor runs */
	bool started;       /* vmm_start() has succeeded */
	bool stopping;
	struct vmm_exit exit;
	struct console console;  /* the guest's */
	struct console messages; /* the monitor's standard error */
};

/* Registers the monitor's process; called by start in the turn in which it was made. */
void vmm_watch(struct vmm *v, pid_t pid);
