/* SPDX-License-Identifier: Apache-2.0 */
#include "oci/cgroups_path.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/err.h"
#include "base/str.h"

bool cgroups_path_is_systemd(const char *path)
{
	const char *first = strchr(path, ':'), *second = first ? strchr(first + 1, ':') : NULL;

	return second && !strchr(second + 1, ':') && !strchr(path, '/');
}

int cgroups_path_systemd(const char *path, struct systemd_cgroup *out, struct err *e)
{
	const char *prefix = strchr(path, ':') + 1, *name = strchr(prefix, ':') + 1;
	int slice_len = (int)(prefix - 1 - path), prefix_len = (int)(name - 1 - prefix);
	int n = snprintf(out->slice, sizeof(out->slice), "%.*s", slice_len, path);
	int m = snprintf(out->unit, sizeof(out->unit), "%.*s%s%s.scope", prefix_len, prefix,
			 prefix_len ? "-" : "", name);

	if (n < 0 || m < 0 || (size_t)n >= sizeof(out->slice) || (size_t)m >= sizeof(out->unit))
		return err_set(e, ERR_INVALID, ENAMETOOLONG, "a path of %zu bytes",
			       strlen(path));
	return 0;
}

int systemd_slice_path(const char *slice, char *out, size_t size, struct err *e)
{
	size_t len = strlen(slice), used = 0;

	*out = '\0';
	if (str_eq(slice, "-.slice"))
		return 0;
	if (!str_ends(slice, ".slice") || *slice == '-' || len == strlen(".slice") ||
	    strstr(slice, "--") || strstr(slice, "-.slice") || strchr(slice, '/'))
		return err_set(e, ERR_INVALID, 0, "'%.100s' is no slice of systemd's", slice);
	len -= strlen(".slice");
	for (size_t i = 1; i <= len; i++) {
		int n;

		if (i < len && slice[i] != '-')
			continue;
		n = snprintf(out + used, size - used, "%s%.*s.slice", used ? "/" : "", (int)i,
			     slice);
		if (n < 0 || (size_t)n >= size - used)
			return err_set(e, ERR_INVALID, ENAMETOOLONG, "slice '%.100s'", slice);
		used += (size_t)n;
	}
	return 0;
}
