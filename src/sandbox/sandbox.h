/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The domain: a sandbox is one virtual machine with the containers in it; a container has a
 * first process and execs. This is the only place where they live; the Task API, the OCI
 * command line and `kata` all end here. Functions that wait are called in a fiber.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "sandbox/state.h"

struct arena;
struct child_reaper;
struct err;
struct kata_config;
struct loop;
struct oci_notes;
struct sandbox;
struct container;
struct process;
struct user_net_port;
typedef struct Grpc__LinuxResources Grpc__LinuxResources;
typedef struct Grpc__StatsContainerResponse Grpc__StatsContainerResponse;

enum network_kind {
	NETWORK_NONE,
	NETWORK_USER,
	NETWORK_LINKS /* of a network namespace */
};

/* What the owner is told; called from the loop or a fiber, must not wait. */
struct sandbox_observer {
	/* A process has exited (also when its VM died). exec_id "" is the container's own. */
	void (*exited)(void *arg, struct process *p);
	void (*oom)(void *arg, const char *container_id);
	/* The VM has ended although nobody asked; its processes have been reported before. */
	void (*lost)(void *arg, const struct err *why);
	void *arg;
};

/*
 * What a pod's containers find as /etc/hostname, /etc/hosts and /etc/resolv.conf unless their
 * own specifications mount something there. Each its text; NULL: the image's own.
 */
struct pod_files {
	const char *hostname, *hosts, *resolv_conf;
};

/* A parameter of the guest's kernel, named as sysctl(8) takes it. */
struct sandbox_sysctl {
	const char *key, *value;
};

enum {
	/* of the host's memory, for a machine besides its guest's
	 * (docs/decisions/0041-admission.md) */
	SANDBOX_MONITOR_MIB = 128
};

struct sandbox_config {
	const char *id;
	const char *host_name;            /* of its directories on the host; NULL: the id */
	const char *namespace;            /* of its owner, for loggers; NULL: "" */
	const char *hostname;             /* of the machine; "": its id */
	const struct kata_config *config; /* must outlive the sandbox */
	enum network_kind network;
	/* with NETWORK_LINKS: the namespace's path, "" for the first container's own */
	const char *netns;
	/* of it: who connects to its loopback comes to the guest's, see forward.h */
	bool forwards_loopback;
	const char *link_record;    /* path of a file, see net/link_record.h; NULL: none */
	const char *console_socket; /* path of debug_console.h's */
	const char *mark_record;    /* path of a file, see direct_volume.h; NULL: none */
	const struct user_net_port *ports;
	size_t port_count;
	unsigned disk_places; /* for disks that may be plugged in; none can be added later */
	uint32_t vcpus;       /* size of the VM */
	uint64_t memory_mib;
	uint32_t max_vcpus; /* up to which it may grow with its containers; 0: it may not */
	uint64_t max_memory_mib;
	uint64_t overhead_mib; /* what a small guest takes of its memory */
	uint64_t shm_bytes;    /* of the /dev/shm that the containers of a pod share; 0: none */
	/* The host's directory that names it in their mounts; "": any tmpfs there is it. */
	const char *shm_source;
	struct pod_files files;
	const char
		*resolv_conf; /* the text of one, for the guest itself; NULL: that of `files` */
	const struct sandbox_sysctl *sysctls; /* set before there are containers */
	size_t sysctl_count;
	struct sandbox_observer observer;
};

/* Makes the object; nothing is started. Strings are copied. */
int sandbox_new(struct loop *l, struct child_reaper *r, const struct sandbox_config *c,
		struct sandbox **out, struct err *e);
/* Only once stopped (or never booted). NULL is accepted. */
void sandbox_free(struct sandbox *s);

/* Boots the VM and prepares the guest. On failure it is stopped again. */
int sandbox_boot(struct sandbox *s, struct err *e);
/* Takes everything down: processes become stopped, the VM ends. Idempotent. */
void sandbox_stop(struct sandbox *s);
/* Before that: SIGTERM to the first process of each container, and a wait for their ends. */
void sandbox_ask_to_end(struct sandbox *s, int64_t deadline);
/* Why its machine ended unasked; NULL if it did not. */
const char *sandbox_lost_why(const struct sandbox *s);
/* Waits for its end; no deadline (the caller's fiber may be cancelled). */
int sandbox_wait(struct sandbox *s, struct err *e);
/* Wall clock, ns; 0 before it has happened. */
int64_t sandbox_ready_at(const struct sandbox *s);
int64_t sandbox_stopped_at(const struct sandbox *s);
/*
 * A process of the host that stands for the sandbox itself where no container does (a pod
 * without a pause container): in the network namespace `netns` (a path, or "" for a new one)
 * with `root` (a directory) as its root. It ends with the sandbox.
 */
int sandbox_add_stand_in(struct sandbox *s, const char *netns, const char *root, struct err *e);
/* Its process id, 0 if there is none. */
pid_t sandbox_pid(const struct sandbox *s);
/* The sum of its containers' figures, in `a`; links are counted once. */
int sandbox_stats(struct sandbox *s, struct arena *a, Grpc__StatsContainerResponse **out,
		  struct err *e);
enum sandbox_state sandbox_state(const struct sandbox *s);
const char *sandbox_id(const struct sandbox *s);
/* One line for people: VMM, acceleration, transport, share. */
const char *sandbox_description(const struct sandbox *s);

struct rootfs_mount {
	const char *type, *source, *target;
	const char *const *options;
	size_t option_count;
};

struct container_config {
	const char *id;
	const char *bundle;
	const struct rootfs_mount *rootfs; /* none: root.path of the specification */
	size_t rootfs_count;
	const char *const *directories; /* made in it where it lacks them */
	size_t directory_count;
	bool terminal;
	const char *stdin_name, *stdout_name, *stderr_name; /* see sandbox/stdio.h */
};

/*
 * Reads the bundle's config.json, brings its root file system and volumes into the guest and
 * lets the agent prepare the first process. The sandbox must be ready. ERR_NOT_FOUND and
 * ERR_DENIED are about the program to be run and about nothing else (126 and 127 for shells).
 */
int container_create(struct sandbox *s, const struct container_config *c,
		     struct container **out, struct err *e);
/* Gives an error that is not about the program another kind where it could be mistaken. */
void container_not_program(struct err *e);
/* NULL if there is none. */
struct container *container_find(struct sandbox *s, const char *id);
size_t container_count(const struct sandbox *s);
const char *container_id(const struct container *c);
const char *container_bundle(const struct container *c);
/* Who made its specification: "containerd", "cri-o"; "" if it does not say. */
const char *container_manager(const struct container *c);
/* The stand-in's process id on the host, 0 once it has ended. */
pid_t container_pid(const struct container *c);
/* The same, also afterwards: for what is told about it, not for looking at the process. */
pid_t container_last_pid(const struct container *c);
/* Removes it from the guest and from here; its first process must not be running. */
int container_delete(struct container *c, struct err *e);
int container_pause(struct container *c, struct err *e);
int container_resume(struct container *c, struct err *e);
/*
 * Limits of the host's view; what of them has no meaning in the guest is taken out of `r`, and
 * logged, as is what `notes` has. A failure leaves the container with what it had.
 */
int container_update(struct container *c, Grpc__LinuxResources *r, struct oci_notes *notes,
		     struct err *e);
int container_stats(struct container *c, struct arena *a, Grpc__StatsContainerResponse **out,
		    struct err *e);

/*
 * The guest's process ids of a living container, in `a`; none if the agent does not tell, or
 * it does not live.
 */
int container_processes(struct container *c, struct arena *a, const uint32_t **pids, size_t *n,
			struct err *e);

struct exec_config {
	const char *exec_id;
	bool terminal;
	const char *stdin_name, *stdout_name, *stderr_name;
	const char *process_json; /* OCI process, JSON */
	size_t process_len;
};

/* Registers an exec; process_start() runs it. */
int exec_create(struct container *c, const struct exec_config *x, struct process **out,
		struct err *e);
/* exec_id "" is the first process. ERR_NOT_FOUND names the id. */
int process_find(struct container *c, const char *exec_id, struct process **out, struct err *e);
/*
 * A failed start leaves the process stopped: status 127 when the program does not exist, 126
 * when it cannot be executed, else 255.
 */
int process_start(struct process *p, struct err *e);
/* `all`: every process of the container (first process only). */
int process_kill(struct process *p, uint32_t signal, bool all, struct err *e);
/* Waits for the end; no deadline (the caller's fiber may be cancelled). */
int process_wait(struct process *p, struct err *e);
/* Waits until the output of an ended process has reached its readers. */
int process_drain(struct process *p, int64_t deadline, struct err *e);
/* Forgets an exec that has ended (the first process goes with its container). */
int process_delete(struct process *p, struct err *e);
int process_resize(struct process *p, uint32_t width, uint32_t height, struct err *e);
int process_close_stdin(struct process *p, struct err *e);

enum process_state process_state(const struct process *p);
uint32_t process_exit_status(const struct process *p);
int64_t process_exited_at(const struct process *p); /* wall clock, ns; 0 while it lives */
const char *process_exec_id(const struct process *p);
struct container *process_container(const struct process *p);
/* The names given at Create or Exec. */
void process_stdio(const struct process *p, const char **in, const char **out,
		   const char **err_out, bool *terminal);
/* Keeps the process object valid while its fields are read after a wait. */
void process_ref(struct process *p);
void process_unref(struct process *p);
