/* SPDX-License-Identifier: Apache-2.0 */
/* One row for each file of the usual layout. */
#include "sandbox/layout.h"

#include <errno.h>
#include <unistd.h>

#include "base/err.h"
#include "base/mem.h"
#include "base/own.h"
#include "base/path.h"
#include "base/str.h"
#include "config/config.h"
#include "config/paths.h"
#include "oci/notes.h"
#include "sandbox/guest_assets.h"
#include "vmm/vmm.h"

#define SHARE      "share/kata-containers/"
#define AT(member) offsetof(struct config_hypervisor, member)

enum {
	NAMES_MAX = 2
};

struct place {
	const char *bindir;
	struct arena *a;
};

static int find_monitor(const struct place *p, const char **out, struct err *e)
{
	OWN(free) char *program = NULL;

	if (vmm_program("qemu", NULL, &program, e) < 0)
		return -1;
	*out = arena_strdup(p->a, program);
	return *out ? 0 : err_oom(e, "a path");
}

static int find_kernel(const struct place *p, const char **out, struct err *e)
{
	return paths_find_from(ASSET_KERNEL, p->bindir, p->a, out, e);
}

static int find_initrd(const struct place *p, const char **out, struct err *e)
{
	return paths_find_from(ASSET_INITRD, p->bindir, p->a, out, e);
}

static int find_virtiofsd(const struct place *p, const char **out, struct err *e)
{
	return paths_find_from(ASSET_VIRTIOFSD, p->bindir, p->a, out, e);
}

static const struct usual {
	const char *key;
	size_t at;
	const char *names[NAMES_MAX]; /* below the prefix */
	int (*find)(const struct place *p, const char **out, struct err *e);
} usuals[] = {
	{ "path", AT(path), { "bin/qemu-system-x86_64" }, find_monitor },
	{ "kernel",
	  AT(kernel),
	  { SHARE "vmlinux.container", SHARE "vmlinuz.container" },
	  find_kernel },
	{ "initrd", AT(initrd), { SHARE "kata-containers-initrd.img" }, find_initrd },
	{ "virtio_fs_daemon", AT(virtio_fs_daemon), { "libexec/virtiofsd" }, find_virtiofsd },
};
static const struct usual usual_image = {
	"image", AT(image), { SHARE "kata-containers.img" }, find_initrd
};

static const char **path_of(struct kata_config *c, const struct usual *u)
{
	return (const char **)(void *)((char *)&c->hypervisor + u->at);
}

/* 1: `path` is that file of a usual prefix, 0: it is another one. */
static int is_usual(const struct place *p, const char *path, const struct usual *u,
		    struct err *e)
{
	const char *const prefixes[] = { arena_printf(p->a, "%s/..", p->bindir), "/usr",
					 "/opt/kata" };

	for (size_t i = 0; i < ARRAY_LEN(prefixes); i++) {
		for (size_t k = 0; k < NAMES_MAX && u->names[k]; k++) {
			char *name = prefixes[i] ? arena_printf(p->a, "%s/%s", prefixes[i],
								u->names[k])
						 : NULL;

			if (!name)
				return err_oom(e, "a path");
			path_clean(name);
			if (str_eq(name, path))
				return 1;
		}
	}
	return 0;
}

static bool is_missing(const char *path)
{
	return access(path, F_OK) < 0 && (errno == ENOENT || errno == ENOTDIR);
}

static int settle_one(const struct place *p, const struct usual *u, struct kata_config *c,
		      struct oci_notes *notes, struct err *e)
{
	const char **path = path_of(c, u), *found;
	struct err ignored;
	int rc;

	if (!**path || !is_missing(*path))
		return 0;
	rc = is_usual(p, *path, u, e);
	if (rc <= 0 || u->find(p, &found, &ignored) < 0)
		return rc < 0 ? -1 : 0;
	oci_note(notes, "[hypervisor.qemu] %s '%s' is not there: '%s' is used", u->key, *path,
		 found);
	*path = found;
	return 0;
}

/* Whether the kernel, which is settled, finds a root file system on a disk. */
static int starts_from_image(const struct place *p, const struct kata_config *c, bool *out,
			     struct err *e)
{
	struct guest_assets g = { .has_modules = false };

	if (guest_assets_of_kernel(c->hypervisor.kernel, p->bindir, p->a, &g, e) < 0)
		return -1;
	*out = !g.has_modules;
	return 0;
}

static int settle_image(const struct place *p, struct kata_config *c, struct oci_notes *notes,
			struct err *e)
{
	struct config_hypervisor *h = &c->hypervisor;
	bool starts, missing = is_missing(h->image);
	const char *found;
	struct err ignored;
	int rc;

	if (!*h->image || *h->initrd)
		return 0;
	rc = is_usual(p, h->image, &usual_image, e);
	if (rc <= 0)
		return rc;
	if (starts_from_image(p, c, &starts, e) < 0)
		return -1;
	if ((starts && !missing) || usual_image.find(p, &found, &ignored) < 0)
		return 0;
	oci_note(notes, "[hypervisor.qemu] image '%s' %s: initrd '%s' is used", h->image,
		 missing ? "is not there (make guest-image)"
			 : "needs a kernel with its disk's driver built in (make guest-kernel)",
		 found);
	h->image = "";
	h->initrd = found;
	return 0;
}

int layout_settle_from(const char *bindir, struct kata_config *c, struct oci_notes *notes,
		       struct err *e)
{
	const struct place p = { .bindir = bindir, .a = &c->arena };

	for (size_t i = 0; i < ARRAY_LEN(usuals); i++) {
		if (settle_one(&p, &usuals[i], c, notes, e) < 0)
			return -1;
	}
	return settle_image(&p, c, notes, e);
}

int layout_settle(struct kata_config *c, struct oci_notes *notes, struct err *e)
{
	const char *bindir;

	if (paths_program_dir(&c->arena, &bindir, e) < 0)
		return -1;
	return layout_settle_from(bindir, c, notes, e);
}
