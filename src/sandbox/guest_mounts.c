/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A container's specification as the guest gets it: paths of the host replaced by those of
 * the share, and what only the host could do taken out (oci/guest_spec.h).
 */
#include <limits.h>
#include <linux/magic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/vfs.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/path.h"
#include "base/str.h"
#include "config/config.h"
#include "net/user_net.h"
#include "oci/guest_spec.h"
#include "oci/mount_options.h"
#include "oci/notes.h"
#include "sandbox/device_mounts.h"
#include "sandbox/direct_volume.h"
#include "sandbox/internal.h"
#include "share/share.h"

#define RESOLV_CONF    "/etc/resolv.conf"
#define DRIVER_WATCHED "watchable-bind"

static bool has_word(const Grpc__Mount *m, const char *word)
{
	for (size_t i = 0; i < m->n_options; i++) {
		if (str_eq(m->options[i], word))
			return true;
	}
	return false;
}

bool mount_is_bind(const Grpc__Mount *m)
{
	return str_eq(m->type, "bind") || has_word(m, "bind") || has_word(m, "rbind");
}

static bool is_on(const Grpc__Mount *m, const char *destination)
{
	OWN(free) char *d = strdup(m->destination);

	if (!d)
		return false;
	path_clean(d);
	return str_eq(d, destination);
}

/* A volume that somebody mounts on /dev/shm is another matter. */
static bool is_pod_shm(const struct sandbox_config *s, const Grpc__Mount *m)
{
	if (!s->shm_bytes || !is_on(m, "/dev/shm"))
		return false;
	return *s->shm_source ? mount_is_bind(m) && str_eq(m->source, s->shm_source)
			      : str_eq(m->type, "tmpfs");
}

/* Memory of the guest, not of the host; the size and mode are its own. */
static int use_pod_shm(struct container *c, Grpc__Mount *m, struct err *e)
{
	static const char *const words[] = { "bind", "nosuid", "nodev", "noexec" };

	m->source = arena_strdup(&c->arena, SANDBOX_SHM_DIR);
	m->type = arena_strdup(&c->arena, "bind");
	m->options = arena_calloc(&c->arena, ARRAY_LEN(words), sizeof(char *));
	if (!m->source || !m->type || !m->options)
		return err_oom(e, "a mount");
	for (m->n_options = 0; m->n_options < ARRAY_LEN(words); m->n_options++) {
		m->options[m->n_options] = arena_strdup(&c->arena, words[m->n_options]);
		if (!m->options[m->n_options])
			return err_oom(e, "a mount");
	}
	return 0;
}

/*
 * Volumes of a pod that kubelet rewrites while they are in use: programs wait for that with
 * inotify, which sees nothing of what the host does in a share. The agent copies them.
 */
static bool is_rewritten(const char *source)
{
	static const char *const kinds[] = { "/kubernetes.io~configmap/",
					     "/kubernetes.io~secret/",
					     "/kubernetes.io~projected/",
					     "/kubernetes.io~downward-api/" };

	for (size_t i = 0; i < ARRAY_LEN(kinds); i++) {
		if (strstr(source, kinds[i]))
			return true;
	}
	return false;
}

/* Upstream's name and meaning; the mount is then of the copy. */
static int watch_volume(struct container *c, const struct share_entry *entry, Grpc__Mount *m,
			struct err *e)
{
	char copy[PATH_MAX];
	Grpc__Storage *st;

	if (snprintf(copy, sizeof(copy), SANDBOX_WATCHED_DIR "%s",
		     strrchr(entry->guest_path, '/')) >= (int)sizeof(copy))
		return err_set(e, ERR_INVALID, ENAMETOOLONG, "%s", entry->guest_path);
	if (container_add_storage(c, DRIVER_WATCHED, entry->guest_path, "bind", copy, &st, e) <
	    0)
		return -1;
	m->source = st->mount_point;
	return 0;
}

/*
 * A directory of huge pages (kubelet's emptyDir of that medium): the guest's memory is what its
 * programs map, so the pages are the guest's, set aside by the agent for hugepageLimits. 1: it
 * is one.
 */
static int use_huge_pages(struct container *c, Grpc__Mount *m, struct err *e)
{
	char where[sizeof(SANDBOX_STORAGE_DIR) + 48], text[80];
	struct statfs fs;
	struct stat info;
	Grpc__Storage *st;

	if (statfs(m->source, &fs) < 0 || fs.f_type != HUGETLBFS_MAGIC)
		return 0;
	if (stat(m->source, &info) < 0)
		return err_sys(e, "'%s'", m->source);
	(void)snprintf(where, sizeof(where), SANDBOX_STORAGE_DIR "/huge-%jx-%jx",
		       (uintmax_t)info.st_dev, (uintmax_t)info.st_ino);
	(void)snprintf(text, sizeof(text), "pagesize=%luK,uid=%u,gid=%u,mode=%o",
		       (unsigned long)fs.f_bsize / 1024, info.st_uid, info.st_gid,
		       info.st_mode & 07777);
	if (container_add_storage(c, "ephemeral", "nodev", "hugetlbfs", where, &st, e) < 0 ||
	    storage_options_room(c, st, 1, e) < 0 || storage_add_option(c, st, text, e) < 0)
		return -1;
	m->type = arena_strdup(&c->arena, "bind");
	m->source = st->mount_point;
	log_info(&c->log, "volume on '%s': huge pages of the guest's memory", m->destination);
	return m->type ? 1 : err_oom(e, "a mount");
}

/* "ro", or "rro" for all below it as well: what the guest may not, its kernel is not trusted
 * with. */
static int find_read_only(const Grpc__Mount *m, bool *out, struct err *e)
{
	struct mount_options o;

	if (mount_options_parse(m->options, m->n_options, &o, e) < 0)
		return -1;
	*out = o.flags & MS_RDONLY || o.rec_set & MOUNT_ATTR_RDONLY;
	mount_options_fini(&o);
	return 0;
}

/* A bind mount without the word for it is one of all that is there. */
static unsigned how_shared(const Grpc__Mount *m, bool read_only)
{
	return (read_only ? SHARE_READ_ONLY : 0U) |
	       (has_word(m, "private") || has_word(m, "rprivate") ? SHARE_PRIVATE : 0U) |
	       (has_word(m, "bind") && !has_word(m, "rbind") ? SHARE_FLAT : 0U);
}

/* Bind mounts name files of the host: they go into the share, but for devices. */
static int share_mount(struct container *c, Grpc__Mount *m, struct err *e)
{
	const char *source = m->source;
	struct share_entry entry;
	bool read_only;
	int rc;

	if (is_pod_shm(&c->sandbox->c, m))
		return use_pod_shm(c, m, e);
	if (!mount_is_bind(m))
		return 0;
	rc = direct_volume_use(c, m, e);
	if (rc == 0)
		rc = use_huge_pages(c, m, e);
	if (rc)
		return rc < 0 ? -1 : 0;
	if (find_read_only(m, &read_only, e) < 0 ||
	    (rc = device_mount_use(c, m, read_only, e)) < 0)
		return err_wrap(e, "mount on '%s'", m->destination);
	if (rc)
		return 0;
	if (share_add_volume(c->sandbox->share, c->id, m->source, how_shared(m, read_only),
			     &entry, e) < 0)
		return err_wrap(e, "mount on '%s'", m->destination);
	if (has_word(m, "shared") || has_word(m, "rshared"))
		log_warn(&c->log,
			 "mount on '%s': what is mounted there in the container does not reach "
			 "the host (mountPropagation Bidirectional)",
			 m->destination);
	m->type = arena_strdup(&c->arena, "bind");
	if (!m->type)
		return err_oom(e, "a mount");
	/* a copy: only for who does not write, as kubelet mounts them all */
	if (entry.is_dir && read_only && is_rewritten(source) &&
	    agent_has_driver(c->sandbox->agent, DRIVER_WATCHED))
		return watch_volume(c, &entry, m, e);
	m->source = arena_strdup(&c->arena, entry.guest_path);
	return m->source ? 0 : err_oom(e, "a mount");
}

static bool mounts_on(const Grpc__Spec *s, const char *destination)
{
	for (size_t i = 0; i < s->n_mounts; i++) {
		if (is_on(s->mounts[i], destination))
			return true;
	}
	return false;
}

static int resolv_conf_text(const struct user_net_guest *g, struct buf *b, struct err *e)
{
	for (size_t i = 0; i < g->dns_count; i++) {
		if (buf_printf(b, e, "nameserver %s\n", g->dns[i]) < 0)
			return -1;
	}
	return *g->search ? buf_printf(b, e, "search %s\n", g->search) : 0;
}

/* One more bind mount, behind the others. */
static int add_bind(struct container *c, Grpc__Spec *s, const char *destination,
		    const char *source, const char *option, struct err *e)
{
	const char *const words[] = { "bind", option };
	size_t count = option ? 2 : 1;
	Grpc__Mount *m = arena_alloc(&c->arena, sizeof(*m));
	Grpc__Mount **list = arena_calloc(&c->arena, s->n_mounts + 1, sizeof(*list));

	if (!m || !list)
		return err_oom(e, "a mount");
	grpc__mount__init(m);
	m->destination = arena_strdup(&c->arena, destination);
	m->type = arena_strdup(&c->arena, "bind");
	m->source = arena_strdup(&c->arena, source);
	m->options = arena_calloc(&c->arena, count, sizeof(char *));
	if (!m->destination || !m->type || !m->source || !m->options)
		return err_oom(e, "a mount");
	for (; m->n_options < count; m->n_options++) {
		m->options[m->n_options] = arena_strdup(&c->arena, words[m->n_options]);
		if (!m->options[m->n_options])
			return err_oom(e, "a mount");
	}
	if (s->n_mounts)
		memcpy(list, s->mounts, s->n_mounts * sizeof(*list));
	list[s->n_mounts] = m;
	s->mounts = list;
	s->n_mounts++;
	return 0;
}

/* The name servers of the network "user", unless the caller brings a file of his own. */
static int add_resolv_conf(struct container *c, Grpc__Spec *s, struct err *e)
{
	OWN(buf) struct buf text = BUF_INIT;
	struct share_entry entry;

	if (!c->sandbox->net || mounts_on(s, RESOLV_CONF))
		return 0;
	if (resolv_conf_text(user_net_guest(c->sandbox->net), &text, e) < 0 ||
	    share_add_file(c->sandbox->share, c->id, "resolv.conf", buf_head(&text),
			   buf_len(&text), 0644, &entry, e) < 0)
		return -1;
	return add_bind(c, s, RESOLV_CONF, entry.guest_path, NULL, e);
}

/* A volume like any other: one for all containers, and as writable as a container's root. */
static int add_pod_file(struct container *c, Grpc__Spec *s, const char *destination,
			const char *text, struct err *e)
{
	char path[SHARE_PATH_LEN];

	if (!text || mounts_on(s, destination))
		return 0;
	if (share_make_file(c->sandbox->share, strrchr(destination, '/') + 1, text,
			    strlen(text), path, e) < 0)
		return -1;
	return add_bind(c, s, destination, path, s->root->readonly ? "ro" : NULL, e);
}

static int add_pod_files(struct container *c, Grpc__Spec *s, struct err *e)
{
	const struct pod_files *f = &c->sandbox->c.files;

	if (add_pod_file(c, s, "/etc/hostname", f->hostname, e) < 0 ||
	    add_pod_file(c, s, "/etc/hosts", f->hosts, e) < 0)
		return -1;
	return add_pod_file(c, s, RESOLV_CONF, f->resolv_conf, e);
}

int container_guest_spec(struct container *c, const char *guest_root, struct guest_spec *out,
			 struct err *e)
{
	struct guest_spec_options o = {
		.disable_seccomp = c->sandbox->c.config->runtime.disable_guest_seccomp,
		.compile_seccomp = agent_has_feature(c->sandbox->agent, AGENT_FEATURE_SPEC),
	};
	OWN(oci_notes) struct oci_notes notes = { 0 };
	struct guest_spec gs;
	Grpc__Spec *s;

	if (guest_spec_make(c->spec, &o, &c->arena, &notes, &gs, e) < 0 ||
	    pidns_find(c, &gs, e) < 0)
		return -1;
	/* what it asks of the host, and the guest does otherwise */
	oci_notes_log(&notes, LOG_INFO, &c->log, "specification for the guest");
	s = gs.spec;
	s->root->path = arena_strdup(&c->arena, guest_root);
	if (!s->root->path)
		return err_oom(e, "a path");
	if (add_pod_files(c, s, e) < 0)
		return -1;
	for (size_t i = 0; i < s->n_mounts; i++) {
		if (share_mount(c, s->mounts[i], e) < 0)
			return -1;
	}
	if (add_resolv_conf(c, s, e) < 0)
		return -1;
	*out = gs;
	return 0;
}
