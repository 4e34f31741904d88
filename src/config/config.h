/* SPDX-License-Identifier: Apache-2.0 */
/*
 * configuration.toml: Kata's file, its names and its places, read into one struct. One table
 * (schema.c) has a row per key with type, default, range and meaning; the default file and
 * the manual page are printed from it. A second table has the keys of Kata's other
 * implementations that this one does not act upon: each is accepted with a value that changes
 * nothing here, and otherwise either named in a warning or refused.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/mem.h"
#include "oci/notes.h"

struct buf;
struct err;
struct jval;

/* In the order of the words in the file. */
enum config_accel {
	CONFIG_ACCEL_AUTO,
	CONFIG_ACCEL_KVM,
	CONFIG_ACCEL_TCG
};
enum config_transport {
	CONFIG_TRANSPORT_AUTO,
	CONFIG_TRANSPORT_VSOCK,
	CONFIG_TRANSPORT_VIRTIO_SERIAL,
};
enum config_shared_fs {
	CONFIG_SHARED_FS_AUTO,
	CONFIG_SHARED_FS_VIRTIO_FS,
	CONFIG_SHARED_FS_9P,
	CONFIG_SHARED_FS_NONE,
};
enum config_fs_cache {
	CONFIG_FS_CACHE_NEVER,
	CONFIG_FS_CACHE_METADATA,
	CONFIG_FS_CACHE_AUTO,
	CONFIG_FS_CACHE_ALWAYS,
};

/* NULL-ended; never NULL itself. */
typedef const char *const *config_list;

/* [hypervisor.qemu]. An empty path means "look in the usual places". */
struct config_hypervisor {
	const char *path;
	const char *kernel;
	const char *initrd;
	const char *image; /* instead of an initrd */
	const char *rootfs_type;
	const char *kernel_params;
	const char *machine_type;
	const char *machine_accelerators;
	const char *cpu_features;
	const char *seccomp_sandbox;
	int accel;                  /* enum config_accel */
	int transport;              /* enum config_transport */
	double default_vcpus;       /* below 0: all of the host's */
	double overhead_vcpus;      /* on top of what limits ask for */
	uint32_t default_maxvcpus;  /* ceiling; 0: as many as the host has */
	uint32_t default_memory;    /* MiB */
	uint32_t overhead_memory;   /* MiB on top of limits, at least */
	uint32_t default_maxmemory; /* MiB, ceiling; 0: as much as the host has */
	uint32_t memory_slots;      /* for memory that is added to a running machine */
	bool enable_hugepages;      /* memory of the host's hugetlb pool */
	bool enable_mem_prealloc;
	int shared_fs; /* enum config_shared_fs */
	const char *virtio_fs_daemon;
	int virtio_fs_cache; /* enum config_fs_cache */
	config_list virtio_fs_extra_args;
	const char *entropy_source;
	/* what annotations may set: patterns, see config_annotate() */
	config_list enable_annotations, valid_hypervisor_paths, valid_virtio_fs_daemon_paths,
		valid_entropy_sources;
	uint32_t pcie_root_port; /* places for plugged devices, besides the usual ones */
	bool disable_vhost_net;
	bool disable_block_device_use;
	bool enable_debug;
};

/* [agent.kata] */
struct config_agent {
	bool enable_debug;
	bool debug_console_enabled;
	uint32_t dial_timeout_ms;      /* between two attempts to connect */
	uint32_t reconnect_timeout_ms; /* for all attempts together */
	uint32_t create_container_timeout_s;
	uint32_t health_check_request_timeout_ms;
};

/* [runtime] */
struct config_runtime {
	bool enable_debug;
	const char *log_level;
	bool disable_guest_seccomp;
	bool sandbox_cgroup_only;
	bool static_sandbox_resource_mgmt;
	bool enable_vcpus_pinning;
	const char *internetworking_model;
};

struct kata_config {
	struct config_hypervisor hypervisor;
	struct config_agent agent;
	struct config_runtime runtime;
	const char *file; /* the main file that was read; NULL: built-in defaults */
	unsigned drop_ins;
	struct oci_notes warnings; /* keys without effect here */
	struct arena arena;        /* holds every string above */
};

/* Built-in defaults. */
int config_new(struct kata_config **out, struct err *e);
void config_free(struct kata_config *c);
OWN_DEFINE(config, struct kata_config *, config_free)

/*
 * Lays a file's text over what `c` has; `name` stands for the file in errors:
 * "name:12: [hypervisor.qemu] defalt_memory: unknown key; did you mean 'default_memory'?".
 * ERR_INVALID or ERR_UNSUPPORTED; on failure `c` is good only for config_free().
 */
int config_parse(struct kata_config *c, const char *text, size_t len, const char *name,
		 struct err *e);

/*
 * The configuration of this host. The main file is the first of: `path` (if not NULL or
 * empty), $KATA_CONF_FILE, /etc/kata-containers/configuration.toml, the place of upstream's
 * runtime in Rust (runtime-rs/configuration.toml there), then
 * <prefix>/share/defaults/kata-containers/configuration.toml with <prefix> the running
 * program's installation, /usr and /opt/kata. The first two must exist when given, and what a
 * link in one of the other places leads to. Over it come the files config.d/<name>.toml beside
 * it, by name; where it is a link, those beside what it leads to, then those beside the link,
 * if that is another directory. All of them are laid upon each other before anything is judged.
 * None at all: the built-in defaults and (*out)->file is NULL, which the caller says in one log
 * line. What is wrong with a file begins with "load TOML config failed", as upstream says it.
 */
int config_load(const char *path, struct kata_config **out, struct err *e);
/*
 * Lays an annotation over what `c` has. Those that do not begin with
 * "io.katacontainers.config." are nothing to it. A key of the hypervisor must match one of
 * enable_annotations, a path one of its list's patterns: ERR_DENIED says what to add. Unknown
 * names and bad values are errors as in a file; kernel_params are added to the node's. Call it
 * once all files are read.
 */
int config_annotate(struct kata_config *c, const char *name, const char *value, struct err *e);
/*
 * The search order above, without the first two, one path per line: for
 * --show-default-config-paths. `prefix` stands for where the programs will be installed; NULL:
 * the running one's.
 */
int config_write_search(const char *prefix, struct buf *out, struct err *e);

/*
 * What `kata-runtime env` shows of it, from the same table: a flat object whose members have
 * the names of their places, "Hypervisor.MemorySlots".
 */
int config_show(const struct kata_config *c, struct jval **out, struct err *e);

/* The commented default file. */
int config_write_default(struct buf *out, struct err *e);
/* The keys as the body of a manual page's section (man macros). */
int config_write_manual(struct buf *out, struct err *e);
