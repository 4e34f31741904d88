/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Chains of mounts. A chain is taken apart into steps first, which the guest's way and the
 * host's then follow alike: each step has a place, and its words name the places of others.
 */
#include "sandbox/mount_chain.h"

#include <ctype.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/path.h"
#include "base/str.h"
#include "base/sys.h"
#include "config/config.h"
#include "oci/mount_options.h"
#include "sandbox/disks.h"
#include "sandbox/internal.h"
#include "share/share.h"
#include "vmm/vmm.h"

enum {
	STEPS_MAX = 512,
	MKDIR_MODE = 0700,
	DECIMALS = 20
};

#define OPEN      "{{"
#define CLOSE     "}}"
#define PRIVATE   "X-containerd."
#define MKDIR     PRIVATE "mkdir.path="
#define DEVICE    "device="
#define NO_NUMBER SIZE_MAX

#define ON_HOST_KEY                                                                            \
	"the root file system is on disks, which disable_block_device_use mounts on the host"

static const char *const disk_types[] = { "erofs", "ext2", "ext3", "ext4", "xfs" };

/* One mount of a chain. */
struct step {
	const struct rootfs_mount *m;
	const char *type; /* behind its transforms */
	bool formatted;   /* its texts are templates */
	bool makes_dirs;
	bool is_disk, is_layer; /* a layer is a disk that is only read, EROFS */
	bool is_device;         /* of the host, rather than a file */
	const char *place;      /* where it is mounted, once it is known */
};

struct chain {
	struct container *c;
	struct step *steps;
	size_t count;
	const char **places; /* of the steps before the one that is made */
	struct disk *layers; /* the disk of what is read only */
	size_t next_part;
};

/* ---- templates ---- */

static const char *skip_blanks(const char *p)
{
	return p + strspn(p, " \t");
}

/* NO_NUMBER if there is none. */
static const char *read_number(const char *p, size_t *out)
{
	char *end;

	p = skip_blanks(p);
	*out = NO_NUMBER;
	if (!isdigit((unsigned char)*p))
		return p;
	*out = strtoul(p, &end, 10);
	return end;
}

static int append_places(const char *const *places, size_t from, size_t to, struct buf *out,
			 struct err *e)
{
	for (size_t i = from;; i += from < to ? 1 : (size_t)-1) {
		if (buf_printf(out, e, "%s%s", i == from ? "" : ":", places[i]) < 0)
			return -1;
		if (i == to)
			return 0;
	}
}

/* What stands between the braces; *end is behind them. */
static int expand_one(const char *p, const char **end, const char *const *places, size_t count,
		      struct buf *out, struct err *e)
{
	size_t word, from, to;
	bool is_list;

	p = skip_blanks(p);
	word = strcspn(p, " \t}");
	is_list = word == strlen("overlay") && str_starts(p, "overlay");
	if (!is_list && !(word == strlen("mount") && str_starts(p, "mount")))
		return err_set(e, ERR_UNSUPPORTED, 0, "template word '%.*s' (mount, overlay)",
			       (int)(word < 32 ? word : 32), p);
	p = read_number(p + word, &from);
	to = from;
	if (is_list)
		p = read_number(p, &to);
	p = skip_blanks(p);
	if (from >= count || to >= count || !str_starts(p, CLOSE))
		return err_set(e, ERR_INVALID, 0,
			       "a template names no mount before it (there are %zu)", count);
	*end = p + strlen(CLOSE);
	return append_places(places, from, to, out, e);
}

int mount_chain_expand(const char *text, const char *const *places, size_t count,
		       struct arena *a, const char **out, struct err *e)
{
	OWN(buf) struct buf b = { .limit = 1 << 20 };
	const char *p = text, *open;

	while ((open = strstr(p, OPEN))) {
		if (buf_append(&b, p, (size_t)(open - p), e) < 0)
			return -1;
		if (expand_one(open + strlen(OPEN), &p, places, count, &b, e) < 0)
			return err_wrap(e, "'%.100s'", text);
	}
	if (buf_puts(&b, p, e) < 0)
		return -1;
	*out = buf_cstr(&b) ? arena_strdup(a, buf_cstr(&b)) : NULL;
	return *out ? 0 : err_oom(e, "a mount");
}

/* ---- taking a chain apart ---- */

static bool has_devices(const struct rootfs_mount *m)
{
	for (size_t i = 0; i < m->option_count; i++) {
		if (str_starts(m->options[i], DEVICE))
			return true;
	}
	return false;
}

static const char *without_transforms(const char *type)
{
	const char *slash = type ? strrchr(type, '/') : NULL;

	return slash ? slash + 1 : type;
}

static bool is_bind(const struct rootfs_mount *m)
{
	return str_eq(m->type, "bind") || rootfs_mount_has(m, "bind") ||
	       rootfs_mount_has(m, "rbind");
}

/* Alone, it may hold whatever file system the guest's kernel knows. */
static bool is_disk(const struct rootfs_mount *m, bool alone, bool *is_device)
{
	const char *type = without_transforms(m->type);
	bool known = alone && !is_bind(m) && !str_eq(type, "bind") && !str_eq(type, "overlay");
	struct stat st;

	for (size_t i = 0; i < ARRAY_LEN(disk_types); i++)
		known |= type && str_eq(disk_types[i], type);
	if (!known || !m->source || m->source[0] != '/' || stat(m->source, &st) < 0)
		return false;
	*is_device = S_ISBLK(st.st_mode);
	return *is_device || (S_ISREG(st.st_mode) && rootfs_mount_has(m, "loop"));
}

bool mount_chain_is(const struct rootfs_mount *mounts, size_t count)
{
	bool ignored;

	if (count == 1 && is_disk(mounts, true, &ignored))
		return true;
	for (size_t i = 0; i < count; i++) {
		const struct rootfs_mount *m = &mounts[i];

		if (m->type &&
		    (strchr(m->type, '/') || (str_eq(m->type, "erofs") && has_devices(m))))
			return true;
	}
	return false;
}

bool mount_chain_has_disks(const struct rootfs_mount *mounts, size_t count)
{
	bool ignored;

	for (size_t i = 0; mount_chain_is(mounts, count) && i < count; i++) {
		if (is_disk(&mounts[i], count == 1, &ignored))
			return true;
	}
	return false;
}

/* The type, and what is done before: "format/mkdir/overlay". */
static int read_type(struct step *s, bool alone, struct err *e)
{
	const char *p = s->m->type ? s->m->type : "", *slash;

	for (; (slash = strchr(p, '/')); p = slash + 1) {
		size_t n = (size_t)(slash - p);

		if (n == strlen("format") && str_starts(p, "format"))
			s->formatted = true;
		else if (n == strlen("mkdir") && str_starts(p, "mkdir"))
			s->makes_dirs = true;
		else
			return err_set(e, ERR_UNSUPPORTED, 0,
				       "mount type '%.64s': transform '%.*s' (format, mkdir)",
				       s->m->type, (int)(n < 32 ? n : 32), p);
	}
	s->type = p;
	s->is_disk = is_disk(s->m, alone, &s->is_device);
	s->is_layer = s->is_disk && str_eq(p, "erofs");
	if (!*p || !s->m->source)
		return err_set(e, ERR_INVALID, 0, "a mount without type or source");
	return 0;
}

/* Words that containerd's own mount manager understands and we do not are promises broken. */
static int check_options(const struct step *s, struct err *e)
{
	for (size_t i = 0; i < s->m->option_count; i++) {
		const char *o = s->m->options[i];

		if (str_starts(o, PRIVATE "dmverity"))
			return err_set(e, ERR_UNSUPPORTED, 0,
				       "dm-verity of layers: set dmverity_mode = \"off\" of "
				       "containerd's EROFS snapshotter");
		if (str_starts(o, "lowerdir=") && strstr(o, CLOSE "/"))
			return err_set(e, ERR_UNSUPPORTED, 0,
				       "mount option '%.100s': a directory within a layer", o);
		if (str_starts(o, "uidmap=") || str_starts(o, "gidmap=") ||
		    (str_starts(o, PRIVATE) && !(s->makes_dirs && str_starts(o, MKDIR))))
			return err_set(e, ERR_UNSUPPORTED, 0, "mount option '%.100s'", o);
	}
	return 0;
}

static int take_apart(struct chain *ch, const struct rootfs_mount *mounts, size_t count,
		      struct err *e)
{
	struct arena *a = &ch->c->arena;

	if (count > STEPS_MAX)
		return err_set(e, ERR_UNSUPPORTED, 0, "a chain of %zu mounts (at most %d)",
			       count, STEPS_MAX);
	ch->steps = arena_calloc(a, count, sizeof(*ch->steps));
	ch->places = arena_calloc(a, count, sizeof(*ch->places));
	if (!ch->steps || !ch->places)
		return err_oom(e, "mounts");
	for (size_t i = 0; i < count; i++) {
		ch->steps[i].m = &mounts[i];
		if (read_type(&ch->steps[i], count == 1, e) < 0 ||
		    check_options(&ch->steps[i], e) < 0)
			return err_wrap(e, "rootfs[%zu]", i);
	}
	ch->count = count;
	return 0;
}

/* A text of a step, filled in. */
static int fill_in(const struct chain *ch, const struct step *s, const char *text,
		   const char **out, struct err *e)
{
	*out = text;
	if (!s->formatted)
		return 0;
	return mount_chain_expand(text, ch->places, (size_t)(s - ch->steps), &ch->c->arena, out,
				  e);
}

/* The step is done: those after it may name it. */
static void set_place(struct chain *ch, struct step *s, const char *place)
{
	s->place = place;
	ch->places[s - ch->steps] = place;
}

/* ---- in the guest ---- */

static const char *const overlay_dirs[] = { "upperdir=", "workdir=" };

static bool is_overlay_dir(const struct rootfs_mount *m, const char *dir, size_t len)
{
	for (size_t i = 0; i < m->option_count; i++) {
		for (size_t j = 0; j < ARRAY_LEN(overlay_dirs); j++) {
			const char *value = m->options[i] + strlen(overlay_dirs[j]);

			if (str_starts(m->options[i], overlay_dirs[j]) &&
			    strlen(value) == len && strncmp(value, dir, len) == 0)
				return true;
		}
	}
	return false;
}

/* The agent makes an overlay's own directories, with the mode that containerd asks for. */
static bool is_made_by_agent(const struct step *s, const char *mkdir_option)
{
	const char *dir = mkdir_option + strlen(MKDIR), *mode = strrchr(dir, ':');

	return mode && str_eq(mode, ":0755") && is_overlay_dir(s->m, dir, (size_t)(mode - dir));
}

/* Why the last step cannot be done in the guest; NULL if it can. */
static const char *last_on_host(const struct step *s)
{
	if (s->is_disk)
		return NULL;
	if (str_eq(s->type, "bind") && !s->makes_dirs)
		return s->formatted && str_starts(s->m->source, OPEN) ? NULL
								      : "a bind mount of it";
	if (!str_eq(s->type, "overlay") || !s->formatted)
		return "a mount that is no overlay";
	for (size_t i = 0; i < s->m->option_count; i++) {
		const char *o = s->m->options[i], *value = strchr(o, '=');

		if (str_starts(o, MKDIR) && !is_made_by_agent(s, o))
			return "a directory to be made";
		if ((str_starts(o, "upperdir=") || str_starts(o, "workdir=")) &&
		    !str_starts(value + 1, OPEN))
			return "what is written goes to a directory of the host";
		if (str_starts(o, "lowerdir=") && !str_starts(value + 1, OPEN))
			return "a layer is a directory of the host";
	}
	return NULL;
}

static size_t count_files(const struct step *s)
{
	size_t n = 1;

	for (size_t i = 0; i < s->m->option_count; i++)
		n += str_starts(s->m->options[i], DEVICE);
	return n;
}

static size_t count_layer_files(const struct chain *ch)
{
	size_t files = 0;

	for (size_t i = 0; i < ch->count; i++)
		files += ch->steps[i].is_layer ? count_files(&ch->steps[i]) : 0;
	return files;
}

/* Why the chain is made on the host; NULL if the guest can make it. */
static const char *why_on_host(const struct chain *ch)
{
	size_t files = count_layer_files(ch);

	if (ch->c->sandbox->c.config->hypervisor.disable_block_device_use)
		return "disable_block_device_use";
	if (files > DISK_PARTS_MAX)
		return "too many layers for a disk";
	for (size_t i = 0; i < ch->count; i++) {
		const struct step *step = &ch->steps[i];

		if (i + 1 < ch->count && !step->is_disk)
			return "a mount that is no disk";
		if (step->is_disk && step->makes_dirs)
			return "a directory to be made for a disk";
		if (files > 1 && step->is_layer && step->is_device)
			return "a layer is a block device";
	}
	return last_on_host(&ch->steps[ch->count - 1]);
}

/*
 * A disk that a stranger may have made, or a guest has written to, is not for the host's kernel
 * to mount because the machine happens to be a small one. (It does where the chain is of a form
 * that containerd's own snapshotters do not give: why_on_host().)
 */
static int check_machine(const struct chain *ch, struct err *e)
{
	const struct sandbox *s = ch->c->sandbox;
	bool several = count_layer_files(ch) > 1;
	int rc = vmm_require(s->vmm, VMM_CAP_HOTPLUG_BLK, e);

	if (rc == 0 && several)
		rc = vmm_require(s->vmm, VMM_CAP_EXTENTS, e);
	if (rc == 0 && several && !agent_has_feature(s->agent, AGENT_FEATURE_PARTS))
		rc = err_set(e, ERR_UNSUPPORTED, 0, "the agent knows no parts of a disk");
	if (rc < 0)
		return err_wrap(e, ON_HOST_KEY);
	return 0;
}

/* All that is only read is one disk. */
static int plug_layers(struct chain *ch, struct err *e)
{
	size_t count = count_layer_files(ch), n = 0;
	const char **paths = arena_calloc(&ch->c->arena, count + 1, sizeof(*paths));

	if (!paths)
		return err_oom(e, "layers");
	for (size_t i = 0; i < ch->count; i++) {
		const struct rootfs_mount *m = ch->steps[i].m;

		if (!ch->steps[i].is_layer)
			continue;
		paths[n++] = m->source;
		for (size_t j = 0; j < m->option_count; j++) {
			if (str_starts(m->options[j], DEVICE))
				paths[n++] = m->options[j] + strlen(DEVICE);
		}
	}
	if (n == 0)
		return 0;
	if (n == 1)
		return disk_plug(ch->c, paths[0], true, &ch->layers, e);
	return disk_plug_parts(ch->c, paths, n, &ch->layers, e);
}

/* Which parts of the disk a layer is, for the agent; none if it is the whole. */
static int name_parts(struct chain *ch, const struct step *s, Grpc__Storage *st, struct err *e)
{
	const struct disk *d = ch->layers;
	size_t n = count_files(s);

	if (d->part_count == 1)
		return 0;
	st->driver_options = arena_calloc(&ch->c->arena, n, sizeof(char *));
	if (!st->driver_options)
		return err_oom(e, "a storage");
	for (size_t i = 0; i < n; i++) {
		const struct disk_part *p = &d->parts[ch->next_part++];

		st->driver_options[i] = arena_printf(
			&ch->c->arena, "%s=%llu:%llu", i ? "device" : "part",
			(unsigned long long)p->first, (unsigned long long)p->sectors);
		if (!st->driver_options[i])
			return err_oom(e, "a storage");
		st->n_driver_options++;
	}
	return 0;
}

/* Words of the host's affairs are left out, templates filled in. */
static int copy_options(struct chain *ch, const struct step *s, Grpc__Storage *st,
			struct err *e)
{
	if (storage_options_room(ch->c, st, s->m->option_count, e) < 0)
		return -1;
	for (size_t i = 0; i < s->m->option_count; i++) {
		const char *o = s->m->options[i], *text;

		if (mount_word_is_loop(o) || str_starts(o, MKDIR) ||
		    (s->is_disk && str_starts(o, DEVICE)))
			continue;
		if (fill_in(ch, s, o, &text, e) < 0 ||
		    storage_add_option(ch->c, st, text, e) < 0)
			return -1;
	}
	return 0;
}

static const char *root_place(struct chain *ch)
{
	return arena_printf(&ch->c->arena, GUEST_ROOTS "/%s/rootfs", ch->c->id);
}

/* Below the disk's name, so that containers which share the disk share its mounts. */
static const char *disk_place(struct chain *ch, const struct step *s, const struct disk *d,
			      size_t part)
{
	if (s == &ch->steps[ch->count - 1])
		return root_place(ch);
	if (d->part_count == 1)
		return arena_printf(&ch->c->arena, SANDBOX_STORAGE_DIR "/%s", d->id);
	return arena_printf(&ch->c->arena, SANDBOX_STORAGE_DIR "/%s/%zu", d->id, part);
}

static int mount_disk(struct chain *ch, struct step *s, struct err *e)
{
	size_t part = ch->next_part;
	struct disk *d = ch->layers;
	const char *place;
	Grpc__Storage *st;

	if (!s->is_layer &&
	    disk_plug(ch->c, s->m->source, rootfs_mount_has(s->m, "ro"), &d, e) < 0)
		return err_wrap(e, ON_HOST_KEY);
	BUG_ON(!d); /* a layer is in the chain, so its disk is there */
	place = disk_place(ch, s, d, part);
	if (!place)
		return err_oom(e, "a path");
	if (container_add_storage(ch->c, "blk", d->at.pci_path, s->type, place, &st, e) < 0 ||
	    (s->is_layer && name_parts(ch, s, st, e) < 0) || copy_options(ch, s, st, e) < 0)
		return -1;
	set_place(ch, s, place);
	ch->c->root_disk = st;
	return 0;
}

static int mount_last(struct chain *ch, struct step *s, struct err *e)
{
	bool is_bind = str_eq(s->type, "bind");
	const char *place = root_place(ch), *source;
	Grpc__Storage *st;

	if (!place)
		return err_oom(e, "a path");
	if (fill_in(ch, s, s->m->source, &source, e) < 0 ||
	    container_add_storage(ch->c, is_bind ? "bind" : "overlayfs", source, s->type, place,
				  &st, e) < 0 ||
	    copy_options(ch, s, st, e) < 0)
		return -1;
	ch->c->root_disk = st;
	return 0;
}

static int make_in_guest(struct chain *ch, struct share_entry *entry, struct err *e)
{
	struct container *c = ch->c;

	/* an empty directory, for whoever looks at the container from the host */
	if (share_add_rootfs(c->sandbox->share, c->id, NULL, false, NULL, 0, entry, e) < 0 ||
	    plug_layers(ch, e) < 0)
		return -1;
	for (size_t i = 0; i < ch->count; i++) {
		struct step *s = &ch->steps[i];

		if ((s->is_disk ? mount_disk : mount_last)(ch, s, e) < 0)
			return err_wrap(e, "rootfs[%zu]", i);
	}
	if (snprintf(entry->guest_path, sizeof(entry->guest_path), "%s",
		     c->root_disk->mount_point) >= (int)sizeof(entry->guest_path))
		return err_set(e, ERR_INVALID, 0, "container id '%.80s' is too long", c->id);
	return 0;
}

/* ---- on the host ---- */

static int make_dir(const char *path, bool on_disk, mode_t mode, uid_t uid, gid_t gid,
		    struct err *e)
{
	OWN(free) char *parent = strdup(path);
	char *slash = parent ? strrchr(parent, '/') : NULL;
	OWN(fd) int at = -1;

	if (!parent)
		return err_oom(e, "a path");
	if (!slash || slash == parent || !path_is_component(slash + 1))
		return err_set(e, ERR_INVALID, 0, "'%.200s' names no directory", path);
	*slash = '\0';
	/* a container may have left links on the disk where its directories were */
	at = sys_openat2(AT_FDCWD, parent, O_PATH | O_DIRECTORY | O_CLOEXEC, 0,
			 on_disk ? RESOLVE_NO_SYMLINKS : 0);
	if (at < 0)
		return err_sys(e, "'%.200s'", parent);
	if (mkdirat(at, slash + 1, mode) == 0)
		return fchownat(at, slash + 1, uid, gid, AT_SYMLINK_NOFOLLOW) < 0
			       ? err_sys(e, "owner of '%.200s'", path)
			       : 0;
	return faccessat(at, slash + 1, F_OK, AT_SYMLINK_NOFOLLOW) < 0
		       ? err_sys(e, "mkdir '%.200s'", path)
		       : 0;
}

/* "PATH[:MODE[:UID:GID]]", filled in. */
static int make_wanted(const char *text, bool on_disk, struct err *e)
{
	OWN(free) char *path = strdup(text);
	char *fields[3] = { NULL }, *rest;
	uint64_t mode = MKDIR_MODE, uid = 0, gid = 0;

	if (!path)
		return err_oom(e, "a path");
	rest = path;
	(void)strsep(&rest, ":");
	for (size_t i = 0; rest && i < ARRAY_LEN(fields); i++)
		fields[i] = strsep(&rest, ":");
	if (rest || (fields[1] && !fields[2]))
		return err_set(e, ERR_INVALID, 0, MKDIR "'%.200s' is not PATH[:MODE[:UID:GID]]",
			       text);
	if (fields[0]) {
		char *end;

		mode = strtoul(fields[0], &end, 8);
		if (*end || !*fields[0] || mode > 0777)
			return err_set(e, ERR_INVALID, 0, MKDIR "'%.200s': mode '%.32s'", text,
				       fields[0]);
	}
	if (fields[2] && (str_to_u64(fields[1], 0, UINT32_MAX - 1, "uid", &uid, e) < 0 ||
			  str_to_u64(fields[2], 0, UINT32_MAX - 1, "gid", &gid, e) < 0))
		return -1;
	return make_dir(path, on_disk, (mode_t)mode, (uid_t)uid, (gid_t)gid, e);
}

/* Links on a disk that a container has written to would lead out of it. */
static int check_dir(const char *path, struct err *e)
{
	OWN(fd)
	int fd = sys_openat2(AT_FDCWD, path, O_PATH | O_DIRECTORY | O_CLOEXEC, 0,
			     RESOLVE_NO_SYMLINKS);

	return fd < 0 ? err_sys(e, "'%.200s'", path) : 0;
}

static int make_dirs(const struct chain *ch, const struct step *s, struct err *e)
{
	const char *text;

	for (size_t i = 0; i < s->m->option_count; i++) {
		const char *o = s->m->options[i];

		if (str_starts(o, MKDIR) && (fill_in(ch, s, o + strlen(MKDIR), &text, e) < 0 ||
					     make_wanted(text, strstr(o, OPEN) != NULL, e) < 0))
			return -1;
	}
	for (size_t i = 0; i < s->m->option_count; i++) {
		const char *o = s->m->options[i];
		bool is_dir = str_starts(o, overlay_dirs[0]) || str_starts(o, overlay_dirs[1]);

		if (is_dir && strstr(o, OPEN) &&
		    (fill_in(ch, s, strchr(o, '=') + 1, &text, e) < 0 ||
		     check_dir(text, e) < 0))
			return -1;
	}
	return 0;
}

static int as_share_mount(const struct chain *ch, const struct step *s, struct share_mount *out,
			  struct err *e)
{
	const char **options =
		arena_calloc(&ch->c->arena, s->m->option_count + 1, sizeof(char *));
	size_t n = 0;

	if (!options)
		return err_oom(e, "root file system mounts");
	if (fill_in(ch, s, s->m->source, &out->source, e) < 0)
		return -1;
	if (strstr(s->m->source, OPEN) && check_dir(out->source, e) < 0)
		return -1;
	for (size_t i = 0; i < s->m->option_count; i++) {
		if (str_starts(s->m->options[i], MKDIR))
			continue;
		if (fill_in(ch, s, s->m->options[i], &options[n++], e) < 0)
			return -1;
	}
	out->type = s->type;
	out->options = options;
	return 0;
}

static int make_on_host(struct chain *ch, struct share_entry *entry, struct err *e)
{
	struct share *share = ch->c->sandbox->share;
	char place[SHARE_PATH_LEN];
	struct share_mount m;

	for (size_t i = 0; i < ch->count; i++) {
		struct step *s = &ch->steps[i];
		int rc;

		if (make_dirs(ch, s, e) < 0 || as_share_mount(ch, s, &m, e) < 0)
			return err_wrap(e, "rootfs[%zu]", i);
		if (i + 1 == ch->count)
			return share_add_rootfs(share, ch->c->id, NULL, false, &m, 1, entry, e);
		rc = share_add_layer(share, ch->c->id, &m, place, e);
		if (rc == 0) {
			set_place(ch, s, arena_strdup(&ch->c->arena, place));
			rc = s->place ? 0 : err_oom(e, "a path");
		}
		if (rc < 0)
			return err_wrap(e, "rootfs[%zu]", i);
	}
	return err_set(e, ERR_INVALID, 0, "rootfs: no mounts");
}

int mount_chain_root(struct container *c, const struct rootfs_mount *mounts, size_t count,
		     struct share_entry *entry, struct err *e)
{
	struct chain ch = { .c = c };
	const char *why;

	if (take_apart(&ch, mounts, count, e) < 0)
		return -1;
	c->shared = true;
	why = why_on_host(&ch);
	if (!why && check_machine(&ch, e) < 0)
		return -1;
	if (why)
		log_info(&c->log, "root file system of %zu mounts: made on the host (%s)",
			 count, why);
	else if (count == 1)
		log_info(&c->log, "root file system: '%s' (%s) plugged in as a disk",
			 mounts->source, ch.steps->type);
	else
		log_info(&c->log,
			 "root file system of %zu mounts: made in the guest, %zu files are "
			 "one disk",
			 count, count_layer_files(&ch));
	return (why ? make_on_host : make_in_guest)(&ch, entry, e);
}
