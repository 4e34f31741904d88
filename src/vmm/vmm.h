/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A virtual machine, whichever program runs it. Callers describe the machine, start it, plug
 * devices and learn how it ended; they never see the monitor behind it. What a monitor or a
 * machine type cannot do is a named capability: callers ask with vmm_has(), and whatever is
 * called all the same is refused with ERR_UNSUPPORTED naming monitor, machine and capability.
 *
 * A monitor (struct vmm_driver, one row in vmm.c) implements `struct vmm_ops`. Functions that
 * take a deadline wait: call them in a fiber. The monitor's process dies with its starter.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/own.h"
#include "vmm/accel.h"

struct child_reaper;
struct err;
struct log_ctx;
struct loop;
struct vmm;

enum vmm_cap {
	VMM_CAP_HOTPLUG_BLK,
	VMM_CAP_HOTPLUG_NET,
	VMM_CAP_HOTPLUG_FS,
	VMM_CAP_HOTPLUG_MEM,
	VMM_CAP_HOTPLUG_CPU,
	VMM_CAP_EXTENTS,       /* a hot-plugged disk of several files */
	VMM_CAP_HUGE_PAGES,    /* memory of the host's hugetlb pool */
	VMM_CAP_SHARED_MEM_FS, /* vhost-user-fs: virtiofsd */
	VMM_CAP_9P,            /* a file server of its own */
	VMM_CAP_VSOCK,         /* by the host kernel's vhost-vsock */
	VMM_CAP_HYBRID_VSOCK,  /* by a unix socket and "CONNECT <port>" */
	VMM_CAP_SERIAL_PORTS,  /* named virtio-serial ports */
	VMM_CAP_NET_TAP,
	VMM_CAP_NET_STREAM, /* Ethernet frames over a stream socket (passt) */
	VMM_CAP_SNAPSHOT,
	VMM_CAP_PAUSE,
	VMM_CAP_TCG, /* runs without KVM */
	VMM_CAP_COUNT_
};

const char *vmm_cap_name(enum vmm_cap c); /* "block hot-plug" … */

enum vmm_device_kind {
	VMM_DEV_SERIAL, /* virtio-serial port */
	VMM_DEV_VSOCK,
	VMM_DEV_9P,
	VMM_DEV_FS, /* vhost-user-fs */
	VMM_DEV_NET,
	VMM_DEV_BLK,
	VMM_DEV_KIND_COUNT_
};

/* The first `sectors` of 512 bytes of a file, at least one. */
struct vmm_extent {
	const char *path;
	uint64_t sectors;
};

/*
 * One device. `id` names it for vmm_device_remove() and in errors: [A-Za-z][A-Za-z0-9_.-]*,
 * at most 31 bytes, unique in the machine. Descriptors are borrowed: the caller may close
 * them when the call they were given to has returned.
 */
struct vmm_device {
	enum vmm_device_kind kind;
	const char *id;
	union {
		struct {
			const char *name; /* the port's name in the guest */
		} serial;
		struct {
			int fd; /* of /dev/vhost-vsock with its guest CID set */
			uint32_t cid;
		} vsock;
		struct {
			const char *tag;  /* what the guest mounts, at most 31 bytes */
			const char *path; /* directory as the caller sees it */
			bool read_only;
		} p9;
		struct {
			const char *tag;         /* at most 35 bytes */
			int socket_fd;           /* connected to the vhost-user server, or -1 */
			const char *socket_path; /* its socket, if socket_fd is -1 */
			unsigned queue_size;     /* 0: 1024 */
		} fs;
		struct {
			const int *tap_fds;   /* one per queue pair; NULL with stream_fd */
			const int *vhost_fds; /* /dev/vhost-net, one per tap, or NULL */
			size_t tap_count;
			int stream_fd; /* connected stream socket; used if tap_count is 0 */
			uint8_t mac[6];
		} net;
		struct {
			const char *path; /* regular file or block device, raw */
			bool read_only;
			const char *serial; /* at most 20 bytes; NULL: the id */
			/* with VMM_CAP_EXTENTS and read_only, in place of a path: one behind
			 * the other */
			const struct vmm_extent *extents;
			size_t extent_count;
		} blk;
	};
};

/* Where the guest finds a device. */
struct vmm_device_addr {
	/* slots from the root, hexadecimal, "02/00", "10.1/00" with a function; "" off PCI */
	char pci_path[24];
};

/* Why a machine is no more. */
enum vmm_exit_reason {
	VMM_EXIT_NONE,     /* it is running, or was never started */
	VMM_EXIT_SHUTDOWN, /* the guest powered off */
	VMM_EXIT_RESET,    /* the guest wanted to reboot: a panic looks like this too */
	VMM_EXIT_HALTED,   /* the host's KVM cannot run the guest's code any further */
	VMM_EXIT_PANIC,    /* the guest's kernel said so, or its console did */
	VMM_EXIT_STOPPED,  /* vmm_stop() */
	VMM_EXIT_KILLED,   /* the monitor died by signal `code` */
	VMM_EXIT_FAILED,   /* the monitor ended by itself with exit code `code` */
	VMM_EXIT_REASON_COUNT_
};

struct vmm_exit {
	enum vmm_exit_reason reason;
	int code;
	char text[400]; /* for people: last words of the monitor, of a dying kernel */
};

const char *vmm_exit_reason_name(enum vmm_exit_reason r);

/* Everything is borrowed and must live until vmm_start() has returned or vmm_free(). */
struct vmm_config {
	const char *name;            /* of the sandbox: [A-Za-z0-9_.-]+ */
	const char *program;         /* the monitor's binary; NULL: the driver's default */
	const char *machine;         /* NULL: the driver's default ("q35") */
	const char *machine_options; /* appended to the machine's, or NULL */
	enum accel accel;   /* ACCEL_KVM or ACCEL_TCG: chosen by accel_choose() before */
	const char *kernel; /* uncompressed ELF with a PVH entry, or bzImage */
	const char *const *initrds; /* concatenated in this order for the guest; NULL-ended */
	const char *kernel_params;  /* the caller's words: last on the line and unchanged */
	const char *cpu_features;   /* "pmu=off,…" or NULL */
	const char *firmware;       /* NULL: none */
	unsigned vcpus;             /* at boot, at least 1 */
	unsigned max_vcpus;         /* 0: as vcpus */
	uint64_t memory_mib;        /* at boot, at least 32 */
	uint64_t max_memory_mib;    /* with hot-plugged memory; 0: as memory_mib */
	unsigned memory_slots;      /* for hot-plugged memory; 0: 10 */
	bool shared_memory;         /* vhost-user devices will be used, now or hot-plugged */
	bool huge_pages;            /* memory of the host's hugetlb pool, in its default size */
	bool prealloc;              /* all memory is taken at once, hot-plugged memory too */
	unsigned hotplug_ports;     /* places for hot-plugged devices; each costs boot time */
	bool debug;                 /* early and verbose kernel messages; slow */
	bool no_seccomp;            /* switch the monitor's own system call filter off */
	const char *seccomp;        /* its value in the driver's words; NULL: the strictest */
	void (*console_text)(const char *p, size_t n, void *arg); /* see console_fn; or NULL */
	void *console_arg;
	/* the guest has closed a serial port of this name; from the loop, or NULL */
	void (*serial_closed)(const char *name, void *arg);
	void *serial_arg;
	const struct vmm_device *devices; /* at boot */
	size_t device_count;

	/* Confinement. Without root these are left out, which is logged once. */
	uid_t uid; /* the monitor's own user; 0: stays root with few capabilities */
	gid_t gid;
	const char *cgroup_procs; /* cgroup.procs to join, or NULL */
	int netns_fd;             /* -1: an empty network namespace of its own */
	const struct log_ctx *log;
};

#define VMM_CONFIG_INIT                                                                        \
	{                                                                                      \
		.netns_fd = -1, .vcpus = 1, .hotplug_ports = 8                                 \
	}

/*
 * Called once, from the loop, when the machine has ended, however it ended, vmm_stop()
 * included; not if vmm_start() failed. *x lives as long as the vmm, which must not be freed in
 * it.
 */
typedef void (*vmm_exit_fn)(const struct vmm_exit *x, void *arg);

/* The programs known: "qemu". ERR_UNSUPPORTED names an unknown one and lists them. */
int vmm_new(const char *hypervisor, struct loop *l, struct child_reaper *r,
	    const struct vmm_config *c, vmm_exit_fn on_exit, void *arg, struct vmm **out,
	    struct err *e);
/* Whether its process runs. */
bool vmm_is_running(const struct vmm *v);
/* Kills what still runs, without waiting. NULL is accepted. */
void vmm_free(struct vmm *v);
OWN_DEFINE(vmm, struct vmm *, vmm_free)

/* Capabilities as a bit set (1ULL << VMM_CAP_…) of a machine type (NULL: the default). */
int vmm_caps_of(const char *hypervisor, const char *machine, enum accel a, uint64_t *out,
		struct err *e);
/*
 * The monitor's program (malloc'd, links followed): `configured`, or with NULL where the driver
 * looks for it. ERR_NOT_FOUND says where.
 */
int vmm_program(const char *hypervisor, const char *configured, char **out, struct err *e);
bool vmm_has(const struct vmm *v, enum vmm_cap c);
/* ERR_UNSUPPORTED "qemu/microvm: no block hot-plug" if it cannot. */
int vmm_require(const struct vmm *v, enum vmm_cap c, struct err *e);

/*
 * Starts the monitor and the guest: returns when the monitor runs, answers, and the guest's
 * processors have been let go. Files that are missing, of the wrong kind or too big, and
 * configuration that cannot be, are errors by name before anything runs. On failure nothing
 * is left running, and the message has the monitor's last words.
 */
int vmm_start(struct vmm *v, int64_t deadline, struct err *e);
/* Asks the monitor to quit, kills it after 1 s or at `deadline`. A stopped one is success. */
int vmm_stop(struct vmm *v, int64_t deadline, struct err *e);
/* Waits for the machine's end. */
int vmm_wait(struct vmm *v, int64_t deadline, struct err *e);
/* reason is VMM_EXIT_NONE while it runs. */
const struct vmm_exit *vmm_exit_info(const struct vmm *v);

/*
 * The host's end of a serial port, non-blocking, now the caller's. ERR_NOT_FOUND for a name
 * that was not configured or whose end was taken before. After vmm_start().
 */
int vmm_serial_take(struct vmm *v, const char *name, int *fd_out, struct err *e);
/* The last bytes of the guest's console, printable, NUL-ended. Returns how many. */
size_t vmm_console_tail(const struct vmm *v, char *out, size_t size);

/* Hot-plug. `addr` may be NULL. Removal waits until the guest has let go of the device. */
int vmm_device_add(struct vmm *v, const struct vmm_device *d, int64_t deadline,
		   struct vmm_device_addr *addr, struct err *e);
int vmm_device_remove(struct vmm *v, const char *id, int64_t deadline, struct err *e);
/* Where a device of the start-up configuration is; valid after vmm_start(). */
int vmm_device_addr(struct vmm *v, const char *id, int64_t deadline,
		    struct vmm_device_addr *out, struct err *e);

int vmm_pause(struct vmm *v, int64_t deadline, struct err *e);
int vmm_resume(struct vmm *v, int64_t deadline, struct err *e);

/*
 * Brings the machine to `vcpus` / at least `mib`; *out is what it has then. Less than now
 * changes nothing. Memory comes in blocks: less than a block below the maximum is not reached.
 * ERR_INVALID above the configured maximum. When memory has been added, the guest's kernel
 * knows of it (it may still have to be put on-line); ERR_PEER when it refuses it.
 */
int vmm_resize_vcpus(struct vmm *v, unsigned vcpus, int64_t deadline, unsigned *out,
		     struct err *e);
int vmm_resize_memory(struct vmm *v, uint64_t mib, int64_t deadline, uint64_t *out,
		      struct err *e);

enum {
	VMM_OOM_SCORE = 200 /* of a monitor as it is started: sooner than the host's own */
};

/* The monitor's process, 0 when there is none. */
pid_t vmm_pid(const struct vmm *v);
/*
 * The virtual processors' threads as this process knows them, at most `max`; *count is how many
 * there are. Each is one of the monitor's, whatever it says.
 */
int vmm_vcpu_threads(struct vmm *v, int64_t deadline, pid_t *tids, size_t max, size_t *count,
		     struct err *e);
/* Proportional set size of the monitor, guest memory included, in KiB. */
int vmm_memory_kib(const struct vmm *v, uint64_t *pss_out, struct err *e);
const char *vmm_hypervisor(const struct vmm *v); /* "qemu" */
const char *vmm_machine(const struct vmm *v);    /* "q35" */
enum accel vmm_accel(const struct vmm *v);

/*
 * A guest CID for vhost-vsock: opens `device` (NULL: /dev/vhost-vsock) and claims a random
 * one, at most 50 tries. ERR_NOT_FOUND: no such device on this host; ERR_SYS: it does not
 * work. The caller owns *fd_out and keeps it open as long as the guest runs.
 */
int vmm_vsock_claim(const char *device, int *fd_out, uint32_t *cid_out, struct err *e);
/*
 * A non-blocking connection to a port of the guest, tried once. ERR_SYS: nobody listens there
 * or no such guest runs.
 */
int vmm_vsock_connect(struct loop *l, uint32_t cid, uint32_t port, int64_t deadline, int *out,
		      struct err *e);
