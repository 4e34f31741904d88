/* SPDX-License-Identifier: Apache-2.0 */
/* The parts of the QEMU driver towards each other. */
#pragma once

#include "base/buf.h"
#include "base/str.h"
#include "event/spawn.h"
#include "vmm/driver.h"

struct jval;
struct qmp;

enum {
	QEMU_MAX_FDS = 60,
	QEMU_MAX_MOUNTS = 32,
	/* hot-plug places: functions of q35's PCI slots 0x10 to 0x1d, the first of each first
	 */
	QEMU_FIRST_PORT_SLOT = 0x10,
	QEMU_PORT_SLOTS = 14,
	QEMU_MAX_PORTS = QEMU_PORT_SLOTS * 8,
	QEMU_FIRST_SLOT = 3, /* of the configured devices; 1 and 2 are ours */
	QEMU_TB_SIZE_MIB = 32,
};

/* A machine type: how its devices are called and what it can do. */
struct qemu_machine {
	const char *name;
	const char *options;    /* of -machine */
	const char *bus;        /* suffix of virtio devices: "pci", "device" */
	const char *reset_word; /* on the kernel's command line */
	bool has_pci;
	uint64_t caps;
	const char *firmware; /* NULL: QEMU's choice */
};

/* NULL if the type is not known; `known` (may be NULL) gets a list for messages. */
const struct qemu_machine *qemu_machine_find(const char *name);

/* Where things are for the monitor; all borrowed. */
struct qemu_inputs {
	const struct vmm_config *config;
	const struct qemu_machine *machine;
	const char *program;
	int kernel_fd, initrd_fd; /* initrd: -1 without one */
	const char *firmware;     /* path as the monitor sees it; NULL: the machine's */
	int qmp_fd, console_fd;   /* the monitor's ends, as the engine has them */
	const int *device_fds;    /* per device: serial's end, vhost-user socket, file; or -1 */
	const char *const *p9_paths; /* per device: the export as the monitor sees it */
	uint64_t tsc_khz;            /* 0: unknown */
};

/* The command line and the descriptors it names. */
struct qemu_launch {
	struct strv argv;
	struct spawn_fd fds[QEMU_MAX_FDS];
	size_t fd_count;
};
void qemu_launch_fini(struct qemu_launch *l);
static inline void own_qemu_launch(struct qemu_launch *l)
{
	qemu_launch_fini(l);
}

/* Changes nothing outside *out: what the tests compare. */
int qemu_cmdline(const struct qemu_inputs *in, struct qemu_launch *out, struct err *e);
/* The kernel's command line alone. */
int qemu_kernel_words(const struct qemu_inputs *in, struct buf *out, struct err *e);
/* PCI slot of the n-th configured device. */
unsigned qemu_device_slot(size_t index);
/* Hot-plug places a configuration gets. */
unsigned qemu_port_count(const struct vmm_config *c, const struct qemu_machine *m);
unsigned qemu_port_slot(unsigned port);
unsigned qemu_port_function(unsigned port);
/* Memory of the boot and hot-plugged alike: files in memory are shared, which hugetlb needs. */
bool qemu_memory_is_shared(const struct vmm_config *c);
const char *qemu_memory_backend(const struct vmm_config *c);
unsigned qemu_memory_slots(const struct vmm_config *c);

/*
 * Opens and checks what the guest boots. *initrd_out is -1 without one; several become one
 * memory file. ERR_INVALID / ERR_NOT_FOUND name the file and what is wrong with it.
 */
struct qemu_files {
	int kernel, initrd;
	uint64_t bytes; /* both together */
};
int qemu_files_open(const struct vmm_config *c, struct qemu_files *out, struct err *e);
void qemu_files_close(struct qemu_files *f);
static inline void own_qemu_files(struct qemu_files *f)
{
	qemu_files_close(f);
}

/* Finds the binary: absolute, links followed. The result is malloc'd. */
int qemu_find_program(const char *configured, char **out, struct err *e);

struct qemu_process {
	bool confined; /* own root directory: paths below are the inner ones */
	struct strv strings;
	struct spawn_mount mounts[QEMU_MAX_MOUNTS];
	size_t mount_count;
};
void qemu_process_fini(struct qemu_process *p);
static inline void own_qemu_process(struct qemu_process *p)
{
	qemu_process_fini(p);
}
/* Decides what the monitor will see. */
int qemu_process_plan(const struct vmm_config *c, const char *program, struct qemu_process *out,
		      struct err *e);
/* Starts it; its standard error goes to `stderr_fd`. */
int qemu_process_start(const struct vmm_config *c, const struct qemu_process *p,
		       const struct qemu_launch *launch, int stderr_fd, pid_t *pid,
		       struct err *e);

struct qemu_port {
	char id[32]; /* of the device in it; "" when free */
	enum vmm_device_kind kind;
	bool deleted; /* the guest has let go */
};

struct qemu_serial {
	char id[32], name[32];
	int fd; /* the host's end; -1 once taken */
};

struct qemu {
	struct vmm vmm; /* first */
	const struct qemu_machine *machine;
	struct qmp *qmp;
	struct qemu_serial *serials;
	size_t serial_count;
	struct {
		char id[32];
	} * boot; /* configured devices, by slot */
	size_t boot_count;
	struct qemu_port ports[QEMU_MAX_PORTS];
	unsigned port_count;
	struct cond unplugged; /* a device has gone, or the machine has ended */
	unsigned vcpus, max_vcpus;
	uint64_t memory_mib, max_memory_mib;
	unsigned memory_plugged;         /* slots that are taken */
	unsigned next_memory, next_vcpu; /* for their ids */
	unsigned next_fdset;
	/* what the monitor told last about the machine's end */
	char shutdown_reason[32];
	bool panicked;
	bool may_stop; /* we have asked for it, vmm_pause() */
	bool stopped;  /* nobody has: it cannot go on */
};

/* A JSON object of text from words: name, value, … NULL; NULL with *e. */
struct jval *qemu_object(struct err *e, ...) __attribute__((sentinel));
/*
 * Opens what a disk is made of and gives it to the monitor as the block node `node`, which
 * blockdev-del removes. Nothing of it is left there on failure.
 */
int qemu_blockdev_add(struct qemu *q, const struct vmm_device *d, const char *node,
		      int64_t deadline, struct err *e);
int qemu_device_add(struct vmm *v, const struct vmm_device *d, int64_t deadline,
		    struct vmm_device_addr *addr, struct err *e);
int qemu_device_remove(struct vmm *v, const char *id, int64_t deadline, struct err *e);
int qemu_device_addr(struct vmm *v, const char *id, struct vmm_device_addr *out, struct err *e);
int qemu_resize_vcpus(struct vmm *v, unsigned vcpus, int64_t deadline, unsigned *out,
		      struct err *e);
int qemu_resize_memory(struct vmm *v, uint64_t mib, int64_t deadline, uint64_t *out,
		       struct err *e);
/* An event DEVICE_DELETED. */
void qemu_device_deleted(struct qemu *q, const char *id);
