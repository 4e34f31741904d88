/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Overlays of many layers. mount(2) takes one page of options and cuts what is longer, without
 * a word; what layers have in common at the beginning of their paths is left out then, and the
 * kernel told relative ones, from a working directory that is theirs.
 */
#include "oci/overlay.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/mem.h"
#include "base/own.h"
#include "base/str.h"
#include "oci/mount_options.h"

#define LOWER "lowerdir="

/* Of one path in a list of layers; a backslash takes the next byte's meaning away. */
static size_t path_length(const char *p)
{
	size_t n = 0;

	while (p[n] && p[n] != ':' && p[n] != ',')
		n += p[n] == '\\' && p[n + 1] ? 2 : 1;
	return n;
}

/* The list of layers within the options; NULL if there is none. */
static const char *find_lower(const char *options)
{
	const char *p = options;

	while (p && !str_starts(p, LOWER)) {
		p = strchr(p, ',');
		p = p ? p + 1 : NULL;
	}
	return p ? p + strlen(LOWER) : NULL;
}

/* How much all paths share, up to and with a '/'; *end is behind the list. */
static size_t common_part(const char *list, const char **end)
{
	size_t common = path_length(list);
	const char *p = list;

	for (;;) {
		size_t n = path_length(p), i = 0;

		while (i < n && i < common && p[i] == list[i])
			i++;
		common = i;
		p += n;
		if (*p != ':')
			break;
		p++;
	}
	*end = p;
	while (common && list[common - 1] != '/')
		common--;
	return common;
}

int overlay_compact(const char *options, char **dir, struct buf *out, struct err *e)
{
	const char *list = find_lower(options), *end;
	size_t common = list ? common_part(list, &end) : 0;

	if (common < 2 || memchr(list, '\\', common))
		return err_set(e, ERR_INVALID, 0, "layers that have no directory in common");
	*dir = mem_dup(list, common);
	if (!*dir)
		return err_oom(e, "a path");
	if (buf_append(out, options, (size_t)(list - options), e) < 0)
		return -1;
	for (const char *p = list; p < end; p++) { /* over the colon */
		size_t n = path_length(p);

		if ((p > list && buf_append(out, ":", 1, e) < 0) ||
		    buf_append(out, p + common, n - common, e) < 0)
			return -1;
		p += n;
	}
	if (buf_puts(out, end, e) < 0)
		return -1;
	return buf_cstr(out) ? 0 : err_oom(e, "mount options");
}

/* The commonest reason, of which the kernel says no more than that it is one. */
static int mount_failed(const char *options, struct err *e)
{
	const char *upper = strstr(options, "upperdir=");
	OWN(free) char *dir = NULL;
	struct statfs st;
	int failed = errno;

	upper = upper ? upper + strlen("upperdir=") : "";
	dir = mem_dup(upper, path_length(upper));
	if (dir && statfs(dir, &st) == 0 && st.f_type == OVERLAYFS_SUPER_MAGIC)
		return err_set(e, ERR_UNSUPPORTED, failed,
			       "mount overlay: its upper directory is on an overlay file "
			       "system itself, which the kernel refuses: it must be on another "
			       "('%.100s')",
			       dir);
	errno = failed;
	return err_sys(e, "mount overlay");
}

static int mount_from(const char *dir, const char *source, const char *target,
		      unsigned long flags, const char *options, struct err *e)
{
	OWN(fd) int here = open(".", O_PATH | O_DIRECTORY | O_CLOEXEC);
	int rc;

	if (here < 0 || chdir(dir) < 0)
		return err_sys(e, "layers in '%.200s'", dir);
	rc = mount(source, target, "overlay", flags, options);
	if (rc < 0)
		(void)mount_failed(options, e);
	BUG_ON(fchdir(here) < 0); /* all later paths would be others */
	return rc;
}

int overlay_mount(const char *source, const char *target, unsigned long flags,
		  const char *options, struct err *e)
{
	OWN(buf) struct buf shorter = BUF_INIT;
	OWN(free) char *dir = NULL;

	if (strlen(options) <= MOUNT_OPTIONS_MAX) {
		if (mount(source, target, "overlay", flags, options) == 0)
			return 0;
		return mount_failed(options, e);
	}
	if (overlay_compact(options, &dir, &shorter, e) < 0)
		return err_wrap(e,
				"an overlay with %zu bytes of options, of which the kernel "
				"takes %d",
				strlen(options), MOUNT_OPTIONS_MAX);
	if (buf_len(&shorter) > MOUNT_OPTIONS_MAX)
		return err_set(
			e, ERR_UNSUPPORTED, 0,
			"an overlay whose layers need %zu bytes of options, of which the "
			"kernel takes %d: an image of fewer layers is needed",
			buf_len(&shorter), MOUNT_OPTIONS_MAX);
	return mount_from(dir, source, target, flags, buf_cstr(&shorter), e);
}
