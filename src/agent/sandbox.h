/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The one sandbox an agent serves, its containers and their processes. Handlers run in fibers:
 * after every wait a container or process may be gone from its list, so whoever waits holds a
 * reference (container_ref, process_ref) and looks at the state again.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "agent.pb-c.h"
#include "agent/cgroup.h"
#include "agent/hugepages.h"
#include "agent/config.h"
#include "agent/pidns.h"
#include "agent/storage.h"
#include "agent/stream.h"
#include "agent/switches.h"
#include "base/list.h"
#include "base/own.h"
#include "event/child.h"

struct arena;
struct container;

enum {
	ID_MAX = 128,
	CONTAINERS_MAX = 512,
	PROCESSES_MAX = 1024, /* of one container, ended ones that nobody asked for included */
};

struct process {
	struct list node;
	struct container *container; /* referenced */
	char *exec_id;               /* "" is the first process */
	unsigned refs;
	struct child child;  /* pid 0: not launched */
	struct timer reaped; /* drops the child's reference */
	int pidfd;
	int stage_fd;     /* socket to the stage until the program runs; -1 */
	int64_t hooks_ms; /* what the hooks between its start and its program may take */
	bool starting;    /* the start is under way */
	bool started;     /* the program runs or ran */
	bool waited;      /* its status was asked for */
	bool terminal;
	int console_fd; /* terminal's master, for its size; -1 */
	struct stream in, out, err_out;
	struct cond exited;
};

struct container {
	struct list node;
	struct sandbox *sandbox;
	char *id;
	unsigned refs;
	struct list processes; /* the first one is the init process */
	size_t process_count;
	struct process *init; /* in `processes`, referenced */
	struct cgroup cgroup;
	bool has_cgroup;
	bool removing;       /* or being made */
	struct cond settled; /* woken when it is neither any more */
	bool user_ns;
	uint8_t *request; /* packed CreateContainerRequest, for later execs */
	size_t request_len;
	struct storage **storages; /* references */
	size_t storage_count;
	struct hugepages hugepages;
	uint64_t oom_seen;
	int oom_watch; /* inotify watch of memory.events; -1 */
	struct log_ctx log;
};

struct oom_entry {
	struct list node;
	char id[ID_MAX + 1];
};

/* See file_cache.h. */
struct file_cache {
	struct timer timer; /* of the next look; armed when something has run since the last */
	struct switches switches;
	bool by_clock;  /* the kernel does not tell when something runs */
	long long kept; /* names that were there when the others had been forgotten */
	long long max;  /* how many more there may be */
	int64_t every_ms;
};

struct sandbox {
	struct loop *loop;
	struct child_reaper reaper;
	struct agent_config config;
	char id[ID_MAX + 1];
	bool created, destroyed;
	bool share_pidns;
	struct list containers;
	size_t container_count;
	struct list storages;
	int exe_fd;                /* read-only mount of our own program */
	struct pidns pidns;        /* the shared one, if the agent keeps it */
	int own_pidns, own_timens; /* to come back to after making children elsewhere; -1 */
	uint64_t clean_disks[64];  /* their sequence numbers, see partition.c */
	size_t clean_next;
	struct file_cache file_cache;
	struct list forwards; /* see forward.h */
	size_t forward_count;
	uint64_t forward_last; /* their ids so far */
	int oom_fd;            /* inotify; -1 */
	struct source oom_source;
	struct list oom_queue; /* struct oom_entry */
	size_t oom_count;
	struct cond oom_changed;
	struct log_ctx log;
};

/* sandbox.c */
int sandbox_init(struct sandbox *s, struct loop *l, const struct agent_config *c,
		 struct err *e);
int sandbox_create(struct sandbox *s, const Grpc__CreateSandboxRequest *r, struct err *e);
/* Ends every container and unmounts every storage; then the agent's loop stops. */
int sandbox_destroy(struct sandbox *s, struct err *e);

/* container.c */
int container_create(struct sandbox *s, const Grpc__CreateContainerRequest *r, struct arena *a,
		     struct err *e);
int container_find(struct sandbox *s, const char *id, struct container **out, struct err *e);
int container_start(struct container *c, struct err *e);
/* Kills what is left, waits (deadline), unmounts, removes the cgroup. */
int container_remove(struct container *c, int64_t deadline, struct err *e);
int container_exec(struct container *c, const Grpc__ExecProcessRequest *r, struct arena *a,
		   struct err *e);
void container_ref(struct container *c);
void container_unref(struct container *c);
OWN_DEFINE(container_ref, struct container *, container_unref)

/* process.c */
int process_new(struct container *c, const char *exec_id, struct process **out, struct err *e);
/* exec_id "" or the container's id: the first process. */
int process_find(struct container *c, const char *exec_id, struct process **out, struct err *e);
void process_ref(struct process *p);
void process_unref(struct process *p);
/* Out of its container's list; streams are closed. */
void process_forget(struct process *p);
int process_wait(struct process *p, int64_t deadline, struct err *e);
int process_signal(struct process *p, uint32_t signal, struct err *e);
/* To all of the container, whose first process `p` is; that may have ended. */
int process_signal_all(struct process *p, uint32_t signal, struct err *e);
int process_resize(struct process *p, uint32_t rows, uint32_t columns, struct err *e);
/* Once its status and streams have been taken: an exec's entry goes. */
void process_maybe_forget(struct process *p);
OWN_DEFINE(process_ref, struct process *, process_unref)

/* launch.c: makes the process and takes it through the stage up to exec. */
struct launch {
	const Grpc__CreateContainerRequest *request; /* what the stage is told */
	bool join;                                   /* into the container that runs already */
};
int process_launch(struct process *p, const struct launch *l, struct err *e);
/* Lets the program run; an error leaves the process ended or ending. */
int process_release(struct process *p, struct err *e);

/* spec_check.c: fields of a specification that cannot be honoured are refused by name. */
int spec_check(const Grpc__Spec *s, struct err *e);
int process_check(const Grpc__Process *p, struct err *e);

/* oom.c */
int oom_init(struct sandbox *s, struct err *e);
void oom_watch(struct container *c);
/* Whatever the kernel has not told of yet. */
void oom_check(struct container *c);
void oom_unwatch(struct container *c);
/* Waits for the next container that lost a process to the OOM killer. */
int oom_next(struct sandbox *s, char id_out[ID_MAX + 1], struct err *e);
