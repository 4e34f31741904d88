/* SPDX-License-Identifier: Apache-2.0 */
/* Finding installed things: a table of places, relative to the program or absolute. */
#include "config/paths.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/err.h"
#include "base/mem.h"
#include "base/path.h"
#include "base/str.h"

enum {
	PLACES_MAX = 6
};

/* clang-format off */
/* A place that does not begin with '/' is relative to the program's directory. */
static const struct { const char *name; const char *places[PLACES_MAX]; } assets[] = {
	[ASSET_KERNEL] = { "guest kernel", {
		"../share/kata-containers/vmlinux.container", "../guest/vmlinux",
		"/usr/share/kata-containers/vmlinux.container",
		"/opt/kata/share/kata-containers/vmlinux.container" } },
	[ASSET_KERNEL_INFO] = { "description of the guest kernel", {
		"../share/kata-containers/kernel.info", "../guest/kernel.info",
		"/usr/share/kata-containers/kernel.info",
		"/opt/kata/share/kata-containers/kernel.info" } },
	[ASSET_INITRD] = { "guest initrd", {
		"../share/kata-containers/kata-containers-initrd.img", "../guest/initrd",
		"/usr/share/kata-containers/kata-containers-initrd.img",
		"/opt/kata/share/kata-containers/kata-containers-initrd.img" } },
	[ASSET_INITRD_EXTRAS] = { "extras initrd", {
		"../share/kata-containers/kata-containers-extras.img", "../guest/extras",
		"/usr/share/kata-containers/kata-containers-extras.img",
		"/opt/kata/share/kata-containers/kata-containers-extras.img" } },
	[ASSET_IMAGE] = { "guest image", {
		"../share/kata-containers/kata-containers.img",
		"/usr/share/kata-containers/kata-containers.img",
		"/opt/kata/share/kata-containers/kata-containers.img" } },
	[ASSET_BUSYBOX] = { "busybox image", {
		"../share/kata-containers/busybox.tar", "../guest/busybox.tar" } },
	[ASSET_SHIM] = { "engine", {
		"containerd-shim-kata-v2", "../bin/containerd-shim-kata-v2",
		"/usr/bin/containerd-shim-kata-v2", "/opt/kata/bin/containerd-shim-kata-v2" } },
	[ASSET_LIBEXEC_DIR] = { "directory of helpers", {
		"../libexec", "/opt/kata/libexec" } },
	[ASSET_VIRTIOFSD] = { "virtiofsd", {
		"../libexec/virtiofsd", "/usr/libexec/virtiofsd", "/usr/lib/qemu/virtiofsd",
		"/usr/lib/virtiofsd", "/opt/kata/libexec/virtiofsd" } },
};
/* clang-format on */

_Static_assert(ARRAY_LEN(assets) == ASSET_COUNT_, "every asset has a row");

int paths_program_dir(struct arena *a, const char **out, struct err *e)
{
	char path[PATH_MAX];
	ssize_t n = readlink("/proc/self/exe", path, sizeof(path) - 1);
	char *slash, *copy;

	if (n < 0)
		return err_sys(e, "readlink '/proc/self/exe'");
	path[n] = '\0';
	slash = strrchr(path, '/');
	if (!slash)
		return err_set(e, ERR_INVALID, 0, "'%.200s' is no path of a program", path);
	*slash = '\0';
	copy = arena_strdup(a, path[0] ? path : "/");
	if (!copy)
		return err_oom(e, "a path");
	*out = copy;
	return 0;
}

int paths_find_from(enum asset what, const char *bindir, struct arena *a, const char **out,
		    struct err *e)
{
	const char *tried = "";

	for (size_t i = 0; i < PLACES_MAX && assets[what].places[i]; i++) {
		const char *place = assets[what].places[i];
		char *path = place[0] == '/' ? arena_strdup(a, place)
					     : arena_printf(a, "%s/%s", bindir, place);

		if (!path)
			return err_oom(e, "a path");
		path_clean(path);
		if (access(path, F_OK) == 0) {
			*out = path;
			return 0;
		}
		tried = arena_printf(a, "%s%s%s", tried, i ? ", " : "", path);
		if (!tried)
			return err_oom(e, "a path");
	}
	return err_set(e, ERR_NOT_FOUND, 0, "no %s%s; looked for %s", assets[what].name,
		       what == ASSET_KERNEL || what == ASSET_INITRD || what == ASSET_BUSYBOX
			       ? " (`make guest` prepares it)"
			       : "",
		       tried);
}

int paths_find(enum asset what, struct arena *a, const char **out, struct err *e)
{
	const char *bindir;

	if (paths_program_dir(a, &bindir, e) < 0)
		return -1;
	return paths_find_from(what, bindir, a, out, e);
}

static int program_in(const char *dir, const char *program, char **out, struct err *e)
{
	char *path = str_printf("%s/%s", dir, program);

	if (!path)
		return err_oom(e, "a path");
	if (access(path, X_OK) < 0) {
		err_set(e, ERR_NOT_FOUND, errno,
			"program '%s': the installation is not complete", path);
		free(path);
		return -1;
	}
	*out = path;
	return 0;
}

int paths_bin(const char *program, char **out, struct err *e)
{
	OWN(arena) struct arena a = { .limit = 64 * 1024 };
	const char *dir;

	if (paths_program_dir(&a, &dir, e) < 0)
		return -1;
	return program_in(dir, program, out, e);
}

int paths_libexec(const char *program, char **out, struct err *e)
{
	OWN(arena) struct arena a = { .limit = 64 * 1024 };
	const char *dir;

	if (paths_find(ASSET_LIBEXEC_DIR, &a, &dir, e) < 0)
		return -1;
	return program_in(dir, program, out, e);
}
