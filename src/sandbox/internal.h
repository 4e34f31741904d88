/* SPDX-License-Identifier: Apache-2.0 */
/* The domain's structures, shared by the files of src/sandbox only. */
#pragma once

#include "base/err.h"
#include "base/list.h"
#include "base/log.h"
#include "base/mem.h"
#include "event/child.h"
#include "event/fiber.h"
#include "oci.pb-c.h"
#include "sandbox/agent_client.h"
#include "sandbox/sandbox.h"
#include "sandbox/pinning.h"
#include "sandbox/sizing.h"
#include "sandbox/stand_in.h"
#include "sandbox/transport.h"

struct debug_console;
struct forwarder;
struct guest_console;
struct guest_spec;
struct share;
struct stdio;
struct disk;
struct tap_net;
struct user_net;
struct vmm;

/* Of which the guest has one for all its containers, see shared_ns.c. */
enum shared_ns {
	SHARED_NS_IPC,
	SHARED_NS_UTS,
	SHARED_NS_COUNT
};

struct sandbox {
	struct loop *loop;
	struct child_reaper *reaper;
	struct arena arena; /* strings that live as long as the sandbox */
	struct sandbox_config c;
	struct log_ctx log;
	enum sandbox_state state;
	struct fiber *booting; /* in sandbox_boot() */
	struct list containers;
	size_t container_count;
	struct cond changed;            /* state, or a container gone */
	struct stand_in stand_in;       /* of the sandbox itself; see sandbox_add_stand_in() */
	int shared_ns[SHARED_NS_COUNT]; /* that stand-ins are in; -1: none yet */
	int64_t ready_at, stopped_at;
	int64_t figures_failed_at; /* the guest was too slow, monotonic ms; 0: never */

	/* the machine: see vm.c */
	struct vmm *vmm;
	int oom_score, oom_score_refused; /* of its process, see oom_score.h */
	struct share *share;
	struct user_net *net;
	struct forwarder *forwarder;         /* see forward.h; NULL: none */
	struct guest_console *console;       /* what it says, in the log; NULL: nobody asked */
	struct debug_console *debug_console; /* NULL: none */
	struct tap_net *taps;      /* see links.c; NULL: there is no namespace to follow */
	bool placed;               /* its virtual processors are where containers want them */
	bool growing;              /* somebody plugs processors or memory in */
	bool unsettled;            /* the guest has not taken all of that into use */
	struct list disks;         /* plugged in, see disks.h */
	unsigned next_disk;        /* for their ids */
	struct fiber *disks_fiber; /* asks for those that the guest keeps */
	bool vhost_net;            /* the host's kernel may serve them */
	bool links_stale;          /* the guest has not been told of all that is there */
	bool links_partly;         /* it has not taken all of that */
	bool links_leaving;        /* the guest still holds some that have gone */
	bool neighbors_given;      /* the guest has some of the namespace's */
	struct fiber *links_fiber;
	bool links_busy; /* somebody looks, and may wait for the machine or the guest */
	struct agent_client *agent;
	struct transport transport;
	bool agent_answers; /* it has, at least once */
	bool vm_lost;
	bool explaining;  /* vm_explain_loss() is at it */
	bool loss_known;  /* lost_why is the last word */
	bool only_a_sign; /* of its end is known: a connection or a helper that went with it */
	struct err lost_why;
	char description[256];
};

struct process {
	struct list node; /* in container->execs; a first process is in none */
	struct container *container;
	char *exec_id;
	enum process_state state;
	struct arena arena;
	Grpc__Process *spec; /* of an exec */
	char *in, *out, *err_name;
	bool terminal;
	struct stdio *stdio;
	struct cond changed;
	uint32_t exit_status;
	int64_t gone_at; /* when it ended in the guest; 0: it lives, or nobody knows */
	uint32_t gone_status;
	int64_t exited_at;
	bool starting; /* its end is not told before its start is */
	bool killed;   /* by SIGKILL, and its end is waited for */
	bool forced;   /* SIGKILL has reached it: its output holds up no end */
	unsigned refs;
};

enum {
	DISKS_MAX = 64,
	CONTAINER_DEVICES_MAX = 128
};

struct container {
	struct list node;
	struct sandbox *sandbox;
	char *id, *bundle;
	struct log_ctx log;
	struct arena arena;
	Grpc__Spec *spec; /* as the bundle has it */
	struct process *init;
	struct list execs;
	size_t exec_count;
	struct cond exec_ended; /* woken at each end of a process */
	struct stand_in stand_in;
	bool shared;          /* something of it is in the share */
	bool in_guest;        /* the agent knows it */
	bool hooked;          /* hooks of its creation have run: poststop's undo them */
	bool program_refused; /* the agent found no program it could execute */
	struct sizing_limits limits;
	bool is_pod;   /* the pause container of a pod */
	bool is_sized; /* what it needs of the machine is known */
	bool has_cpus; /* names processors of the host; see pinning.h */
	cpu_set_t cpus;
	struct disk *disks[DISKS_MAX]; /* that it uses, see disks.h */
	size_t disk_count;
	/* what the agent is told of, each in the arena */
	Grpc__Device *devices[CONTAINER_DEVICES_MAX];
	size_t device_count;
	Grpc__Storage *root_disk; /* in the arena; NULL: the root is in the share */
	Grpc__Storage **storages; /* what the guest mounts for it; in the arena */
	size_t storage_count, storage_room;
	int64_t oom_at; /* when its last OOM event was told, monotonic ms; 0: never */
	unsigned refs;  /* the sandbox's, and one per process object */
};

/* Whether its options have the word. */
bool rootfs_mount_has(const struct rootfs_mount *m, const char *word);
/* One more for CreateContainer, in the container's arena, without options. */
int container_add_storage(struct container *c, const char *driver, const char *source,
			  const char *fstype, const char *mount_point, Grpc__Storage **out,
			  struct err *e);
/* One more of its devices for that, in the same way. */
int container_add_device(struct container *c, const char *type, const char *id,
			 const char *vm_path, const char *container_path, Grpc__Device **out,
			 struct err *e);
/* With room for so many options of it. */
int storage_options_room(struct container *c, Grpc__Storage *st, size_t n, struct err *e);
/* One of them; a copy, NULL is out of memory. */
int storage_add_option(struct container *c, Grpc__Storage *st, const char *text, struct err *e);

enum {
	CONTAINERS_MAX = 256,
	/* that have not ended, of all containers of a sandbox; the agent has four calls of the
	 * engine under way for each, and two for each forwarded connection: TTRPC_MAX_CALLS */
	PROCESSES_MAX = 1000,
	/* execs that have ended and nobody has deleted, of a container: the oldest go first */
	ENDED_EXECS_MAX = 128
};

/* Where the guest mounts root file systems that are disks, each below its container's id. */
#define GUEST_ROOTS "/run/kata-containers"
/* Where a pod's /dev/shm lies in the guest. */
#define SANDBOX_SHM_DIR "/run/kata-containers/sandbox/shm"
/* Where it mounts volumes that are disks, each below its disk's id. */
#define SANDBOX_STORAGE_DIR "/run/kata-containers/sandbox/storage"
/* Where it keeps copies of volumes whose changes are followed. */
#define SANDBOX_WATCHED_DIR "/run/kata-containers/sandbox/watched"

enum {
	/* of monitors: nobody's files belong to it; 65534 owns unmapped ones */
	UNPRIVILEGED_ID = 65533
};

/* vm.c: the machine and the agent in it. */
int vm_start(struct sandbox *s, struct err *e);
void vm_stop(struct sandbox *s);
/* A guest that dies closes its ports first: finds out whether its machine says why. */
void vm_explain_loss(struct sandbox *s);
/* ERR_STATE with the reason unless the sandbox is ready. */
int sandbox_need_ready(const struct sandbox *s, struct err *e);
/* How long the guest may take for an end: as for a health check, and 10 s at least. */
int64_t sandbox_patience_ms(const struct sandbox *s);
/* After a failed call: *e becomes the cause if that is the machine's end. Returns -1. */
int sandbox_blame(struct sandbox *s, struct err *e);
/* Everything of the machine has gone without being asked: from vm.c to sandbox.c. */
void sandbox_vm_lost(struct sandbox *s, const struct err *why);

/*
 * container.c: starts a stand-in in the network namespace at a path ("" for a new one), and in
 * those that `spec`, which may be NULL, says to join.
 */
int start_stand_in(struct sandbox *s, struct stand_in *st, const Grpc__Spec *spec,
		   const char *netns, const char *root, struct err *e);

/*
 * shared_ns.c: IPC and UTS namespaces. Whether `spec` (NULL: it says nothing) joins the
 * sandbox's: one pinned for a first container becomes that, the host's is noted and passed
 * over, any other is ERR_UNSUPPORTED by its name.
 */
int shared_ns_join(struct sandbox *s, const Grpc__Spec *spec, struct err *e);
/* Those of a stand-in that has started are the sandbox's from now on. */
int shared_ns_keep(struct sandbox *s, pid_t pid, struct err *e);
void shared_ns_end(struct sandbox *s);

/* pidns.c */
/*
 * Sets which process namespace the container joins in the guest. ERR_UNSUPPORTED: one of
 * another pod or of the host, or the guest's agent cannot.
 */
int pidns_find(struct container *c, struct guest_spec *gs, struct err *e);
/* Whether all others of its namespace end with it: a first process that has not joined. */
bool pidns_ends_with(const struct process *p);

/* guest_mounts.c */
bool mount_is_bind(const Grpc__Mount *m);
/* The specification for the guest, volumes brought into the share. */
int container_guest_spec(struct container *c, const char *guest_root, struct guest_spec *out,
			 struct err *e);

/* sandbox_stats.c: a sum of nothing (NULL: no memory), and one container's figures to it. */
Grpc__StatsContainerResponse *stats_sum_new(struct arena *a);
int stats_sum_add(const Grpc__StatsContainerResponse *from, Grpc__StatsContainerResponse *to,
		  struct arena *a, struct err *e);

/* process.c */
int process_new(struct container *c, const char *exec_id, struct process **out, struct err *e);
/* Records the end and tells everybody; later calls change nothing. */
void process_ended(struct process *p, uint32_t status);
/* It goes; who waits for it is told, whatever it has come to. */
void process_forget(struct process *p);
/* container.c: the object, in its sandbox's list, nothing of it prepared yet. */
int container_new(struct sandbox *s, const struct container_config *cc, struct container **out,
		  struct err *e);
void container_run_poststart(struct container *c);
void container_unref(struct container *c);
