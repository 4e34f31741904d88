/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The directory a sandbox shares with its guest: root file systems and volumes are mounted
 * into it on the host and appear in the guest below one mount point, by virtio-fs (a
 * virtiofsd process) or by the monitor's own 9p server. Everything is mounted in the
 * engine's own mount namespace, so nothing of it outlives the engine.
 *
 *	<base>/<sandbox>/rw	where things are mounted, now and later
 *	<base>/<sandbox>/ro	the same, read-only at the top: what the guest is given
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/own.h"

struct child_reaper;
struct err;
struct log_ctx;
struct loop;
struct share;
struct vmm_device;

enum share_fs {
	SHARE_FS_AUTO,
	SHARE_FS_VIRTIO_FS,
	SHARE_FS_9P,
	SHARE_FS_NONE,
	SHARE_FS_COUNT_
};

/* "auto", "virtio-fs", "virtio-9p", "none" */
const char *share_fs_name(enum share_fs f);
bool share_fs_parse(const char *s, enum share_fs *out);

/*
 * Gives the calling process a mount namespace of its own into which the host's mounts go on
 * to propagate, and out of which none does. Once, at the engine's start, before any share.
 */
int share_enter_namespace(struct err *e);

struct share_config {
	const char *sandbox_id; /* the name of its directory: unique on this host */
	const char *base;       /* NULL: /run/kata-containers/shared/sandboxes */
	enum share_fs fs;       /* what is wanted */
	const char *virtiofsd;  /* program; NULL or "": looked for where packages put it */
	const char *cache;      /* "never", "metadata", "auto", "always"; NULL: "auto" */
	const char *const *extra_args; /* of virtiofsd, NULL-ended; or NULL */
	unsigned queue_size;           /* of the virtio-fs device; 0: 1024 */
	unsigned msize_9p;             /* 0: SHARE_MSIZE_9P */
	uint64_t vmm_caps;             /* vmm_caps_of() */
	uint64_t guest_fs;             /* file systems the guest kernel has: SHARE_GUEST_… */
	const char *cgroup_procs;      /* for virtiofsd, or NULL */
	const struct log_ctx *log;
	/* Called once, from the loop, if virtiofsd ends before share_free(). May be NULL. */
	void (*lost)(const struct err *why, void *arg);
	void *arg;
};

enum {
	SHARE_GUEST_VIRTIO_FS = 1,
	SHARE_GUEST_9P = 2
};

enum {
	SHARE_MSIZE_9P = 512000 /* bytes of a message of 9p */
};

/*
 * Makes the directory, decides how it is shared (one log line: which and why) and starts what
 * that needs. Something demanded that cannot be is ERR_UNSUPPORTED with the reason. Waits
 * until virtiofsd can be connected to: call in a fiber, before vmm_start().
 */
int share_new(struct loop *l, struct child_reaper *r, const struct share_config *c,
	      int64_t deadline, struct share **out, struct err *e);
/* Ends virtiofsd, unmounts everything and removes the directory. NULL is accepted. */
void share_free(struct share *s);
OWN_DEFINE(share, struct share *, share_free)

enum share_fs share_fs(const struct share *s); /* never SHARE_FS_AUTO */
/* Whether the machine's memory must be mapped shared (vmm_config.shared_memory). */
bool share_needs_shared_memory(const struct share *s);
/*
 * The device the machine needs; false if none (SHARE_FS_NONE). Its descriptors and strings
 * belong to the share and live as long as it does.
 */
bool share_device(struct share *s, struct vmm_device *out);
/* The user the monitor must be for this share to work: 0 with 9p, else any. */
bool share_needs_root_vmm(const struct share *s);

/* What the agent must mount, in the terms of its Storage message. */
struct share_storage {
	const char *driver, *source, *fstype, *mount_point;
	const char *options[8];
	size_t option_count;
	char files[32]; /* "files=N", how many the file server may have open; "" for 9p */
};
/* NULL if the guest mounts nothing. */
const struct share_storage *share_storage(const struct share *s);

enum {
	SHARE_PATH_LEN = 512
};
struct share_entry {
	char host_path[SHARE_PATH_LEN];  /* as the engine sees it */
	char guest_path[SHARE_PATH_LEN]; /* as the guest sees it once the storage is mounted */
	bool is_dir;
};

/* One mount of a root file system, in the terms of containerd's Mount message. */
struct share_mount {
	const char *type, *source;
	/* mount(8) words, `lowerdir=…` …; NULL-ended. With "loop" the source is a file, as are
	 * the `device=…` of an EROFS */
	const char *const *options;
};

/*
 * A container's root file system at <cid>/rootfs: `dir` (a directory, bound recursively), or
 * `count` mounts done one after the other on the same place, or, with `dir` NULL and count 0,
 * an empty directory. One per container: ERR_EXISTS.
 */
int share_add_rootfs(struct share *s, const char *cid, const char *dir, bool read_only,
		     const struct share_mount *mounts, size_t count, struct share_entry *out,
		     struct err *e);
/*
 * A mount that others of container `cid` are made from, where the guest does not see it; *out
 * is its path on the host. It goes with the container.
 */
int share_add_layer(struct share *s, const char *cid, const struct share_mount *m,
		    char out[SHARE_PATH_LEN], struct err *e);
enum {
	SHARE_READ_ONLY = 1, /* and all that is mounted below it */
	SHARE_PRIVATE = 2,   /* what is mounted below it on the host later is not seen */
	SHARE_FLAT = 4       /* nor what is mounted below it now */
};

/*
 * A file or directory of the host for container `cid`. The same source shared another way
 * (`how`: SHARE_*) is another entry; the same again is the same entry with one more user, and
 * so is one that is to be read-only where there is one that is not: the guest is to mount it
 * as it is asked for.
 * Sockets, fifos and devices: ERR_UNSUPPORTED.
 */
int share_add_volume(struct share *s, const char *cid, const char *source, unsigned how,
		     struct share_entry *out, struct err *e);
/* A file with these bytes (resolv.conf, hosts …), removed with its container. */
int share_add_file(struct share *s, const char *cid, const char *name, const void *p,
		   size_t len, mode_t mode, struct share_entry *out, struct err *e);
/*
 * A file with these bytes that volumes are made from: the guest does not see it otherwise. It
 * stays as long as the share; one that is there already is left as it is. *out is its path on
 * the host, on the share's own file system, which is small: guests cannot fill the host's by
 * it.
 */
int share_make_file(struct share *s, const char *name, const void *p, size_t len,
		    char out[SHARE_PATH_LEN], struct err *e);
/* Drops every use container `cid` has; what nobody uses any more is unmounted and removed. */
int share_remove_container(struct share *s, const char *cid, struct err *e);

/* Process id of virtiofsd, 0 if there is none. */
pid_t share_pid(const struct share *s);

/* Unmounts and removes what a killed engine left at <base>/<sandbox_id>. */
int share_sweep(const char *base, const char *sandbox_id, struct err *e);
