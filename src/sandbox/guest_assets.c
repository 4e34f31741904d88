/* SPDX-License-Identifier: Apache-2.0 */
/* Kernel, initrd and kernel.info (guest/README.md has its keys). */
#include "sandbox/guest_assets.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/err.h"
#include "base/fd.h"
#include "base/mem.h"
#include "base/own.h"
#include "base/str.h"
#include "config/config.h"
#include "config/paths.h"

enum {
	INFO_MAX = 16 * 1024,
	SECTOR = 512,
	IMAGE_HEAD = 2048,
	OVERHEAD_DISTRO = 128,
	OVERHEAD_TUNED = 64
};

static int take_key(const char *key, const char *value, struct guest_assets *g, struct arena *a)
{
	if (str_eq(key, "version")) {
		g->kernel_version = arena_strdup(a, value);
		return g->kernel_version ? 0 : -1;
	}
	if (str_eq(key, "has_virtiofs"))
		g->has_virtiofs = str_eq(value, "yes");
	else if (str_eq(key, "has_9p"))
		g->has_9p = str_eq(value, "yes");
	else if (str_eq(key, "modules"))
		g->has_modules = str_eq(value, "yes");
	else if (str_eq(key, "flavour"))
		g->overhead_mib = str_eq(value, "tuned") ? OVERHEAD_TUNED : OVERHEAD_DISTRO;
	return 0;
}

static int read_info(const char *path, struct guest_assets *g, struct arena *a, struct err *e)
{
	OWN(free) char *text = NULL;
	char *line, *rest;

	if (file_read(AT_FDCWD, path, INFO_MAX, &text, NULL, e) < 0)
		return -1;
	for (line = strtok_r(text, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest)) {
		char *eq = strchr(line, '=');

		if (!eq)
			continue;
		*eq = '\0';
		if (take_key(line, eq + 1, g, a) < 0)
			return err_oom(e, "kernel.info");
	}
	return 0;
}

/* By whatever name. */
static bool is_same_file(const char *a, const char *b)
{
	struct stat one, other;

	return stat(a, &one) == 0 && stat(b, &other) == 0 && one.st_dev == other.st_dev &&
	       one.st_ino == other.st_ino;
}

int guest_assets_of_kernel(const char *kernel, const char *bindir, struct arena *a,
			   struct guest_assets *g, struct err *e)
{
	const char *installed, *info;
	struct err ignored;

	if (*kernel && (paths_find_from(ASSET_KERNEL, bindir, a, &installed, &ignored) < 0 ||
			!is_same_file(kernel, installed)))
		return 0;
	g->is_installed = true;
	if (paths_find_from(ASSET_KERNEL_INFO, bindir, a, &info, &ignored) < 0)
		return 0;
	return read_info(info, g, a, e);
}

static int configured_or_found(const char *configured, const char *key, enum asset what,
			       struct arena *a, const char **out, struct err *e)
{
	if (!*configured)
		return paths_find(what, a, out, e);
	if (access(configured, R_OK) < 0)
		return err_sys(e, "[hypervisor.qemu] %s '%s'", key, configured);
	*out = configured;
	return 0;
}

/* By the magic numbers of the kernel's include/uapi/linux/magic.h, where they are on disk. */
static bool has_file_system(const uint8_t head[IMAGE_HEAD], const char *type)
{
	if (str_eq(type, "ext4"))
		return head[0x438] == 0x53 && head[0x439] == 0xef;
	if (str_eq(type, "xfs"))
		return memcmp(head, "XFSB", 4) == 0;
	return memcmp(head + 1024, "\xe2\xe1\xf5\xe0", 4) == 0;
}

/* Upstream's images have a partition table, ours has the file system alone. */
static int look_at_image(const char *path, const char *type, struct guest_assets *g,
			 struct err *e)
{
	OWN(fd) int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	uint8_t head[IMAGE_HEAD];
	struct stat st;

	if (fd < 0 || fstat(fd, &st) < 0)
		return err_sys(e, "[hypervisor.qemu] image '%s'", path);
	if (!S_ISREG(st.st_mode))
		return err_set(e, ERR_INVALID, 0,
			       "[hypervisor.qemu] image '%s' is no regular file", path);
	if (pread(fd, head, sizeof(head), 0) != sizeof(head))
		return err_set(e, ERR_INVALID, 0, "[hypervisor.qemu] image '%s' is too short",
			       path);
	g->image = path;
	g->image_root = "/dev/vda";
	if (has_file_system(head, type))
		return 0;
	g->image_root = "/dev/vda1";
	if (head[SECTOR - 2] == 0x55 && head[SECTOR - 1] == 0xaa)
		return 0;
	return err_set(
		e, ERR_INVALID, 0,
		"[hypervisor.qemu] image '%s' has neither the file system of rootfs_type "
		"(%s) nor partitions",
		path, type);
}

static int find_root(const struct config_hypervisor *h, struct arena *a, struct guest_assets *g,
		     struct err *e)
{
	if (!*h->image)
		return configured_or_found(h->initrd, "initrd", ASSET_INITRD, a, &g->initrd, e);
	if (*h->initrd)
		return err_set(e, ERR_INVALID, 0,
			       "[hypervisor.qemu] image and initrd exclude each other");
	if (look_at_image(h->image, h->rootfs_type, g, e) < 0)
		return -1;
	if (g->has_modules)
		return err_set(
			e, ERR_UNSUPPORTED, 0,
			"[hypervisor.qemu] image '%s': kernel '%s' has the driver of its "
			"disk in the initrd; leave image out, or make guest-kernel",
			h->image, g->kernel);
	return 0;
}

/* The shell of the debug console. A root of the user's own may bring one. */
static int find_extras(const struct kata_config *c, struct arena *a, struct guest_assets *g,
		       struct err *e)
{
	if (!c->agent.debug_console_enabled || !g->initrd ||
	    paths_find(ASSET_INITRD_EXTRAS, a, &g->extras, e) == 0)
		return 0;
	if (e->kind != ERR_NOT_FOUND || !*c->hypervisor.initrd) {
		return err_wrap(e, "[agent.kata] debug_console_enabled needs a shell in the "
				   "guest (make guest-extras)");
	}
	err_clear(e);
	return 0;
}

int guest_assets_find(const struct kata_config *c, struct arena *a, struct guest_assets *out,
		      struct err *e)
{
	/* a kernel of the user's own may have either file system; the mount in the guest tells
	 */
	struct guest_assets g = {
		.kernel_version = "?",
		.has_virtiofs = true,
		.has_9p = true,
		.overhead_mib = OVERHEAD_DISTRO,
	};
	const char *bindir;

	if (paths_program_dir(a, &bindir, e) < 0)
		return -1;
	if (configured_or_found(c->hypervisor.kernel, "kernel", ASSET_KERNEL, a, &g.kernel, e) <
		    0 ||
	    guest_assets_of_kernel(c->hypervisor.kernel, bindir, a, &g, e) < 0 ||
	    find_root(&c->hypervisor, a, &g, e) < 0 || find_extras(c, a, &g, e) < 0)
		return err_wrap(e, "guest");
	*out = g;
	return 0;
}

int guest_assets_root_words(const struct guest_assets *g, const struct config_hypervisor *h,
			    struct arena *a, const char **out, struct err *e)
{
	*out = "";
	if (!g->image)
		return 0;
	*out = arena_printf(a, "root=%s ro rootfstype=%s ", g->image_root, h->rootfs_type);
	return *out ? 0 : err_oom(e, "kernel parameters");
}
