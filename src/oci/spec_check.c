/* SPDX-License-Identifier: Apache-2.0 */
/* Rules that a row of the table cannot express. */
#include "oci/spec_check.h"

#include <ctype.h>
#include <string.h>

#include "base/mem.h"
#include "base/str.h"
#include "oci.pb-c.h"
#include "oci/caps.h"
#include "oci/rlimits.h"
#include "oci/spec_table.h"

bool oci_known_cap(const char *name)
{
	int n = cap_number(name); /* it is more lenient than the specification */

	return n >= 0 && str_eq(cap_name(n), name);
}

bool oci_known_rlimit(const char *name)
{
	return rlimit_number(name) >= 0;
}

/* "1", then ".<digits>" once or twice, then whatever a pre-release adds behind '-' or '+'. */
static bool is_version_1(const char *s)
{
	int parts = 0;

	if (*s++ != '1')
		return false;
	while (*s == '.' && parts < 2) {
		if (!isdigit((unsigned char)*++s))
			return false;
		while (isdigit((unsigned char)*s))
			s++;
		parts++;
	}
	return parts > 0 && (*s == '\0' || *s == '-' || *s == '+');
}

int oci_check_spec(const ProtobufCMessage *m, const struct oci_at *up, struct err *e)
{
	const Grpc__Spec *s = (const Grpc__Spec *)(const void *)m;
	const struct oci_at at = { .up = up, .name = "ociVersion" };

	if (!is_version_1(s->version))
		return oci_fail(&at, s->version, e, ERR_UNSUPPORTED,
				"only versions 1.x are known");
	return 0;
}

int oci_check_process(const ProtobufCMessage *m, const struct oci_at *up, struct err *e)
{
	const Grpc__Process *p = (const Grpc__Process *)(const void *)m;

	for (size_t i = 0; i < p->n_rlimits; i++) {
		const struct oci_at list = { .up = up, .name = "rlimits" };
		const struct oci_at at = { .up = &list, .index = i };

		if (p->rlimits[i]->soft > p->rlimits[i]->hard)
			return oci_fail(&at, p->rlimits[i]->type, e, ERR_INVALID,
					"the soft limit is above the hard limit");
	}
	return 0;
}

static bool has_namespace(const Grpc__Linux *l, const char *type)
{
	for (size_t i = 0; i < l->n_namespaces; i++)
		if (strcmp(l->namespaces[i]->type, type) == 0)
			return true;
	return false;
}

static int check_devices(const Grpc__Linux *l, const struct oci_at *up, struct err *e)
{
	const struct oci_at list = { .up = up, .name = "devices" };

	for (size_t i = 0; i < l->n_devices; i++) {
		const Grpc__LinuxDevice *d = l->devices[i];
		const struct oci_at at = { .up = &list, .index = i };

		if (strcmp(d->type, "p") == 0)
			continue;
		if (d->major < 0 || d->major > 0xfff || d->minor < 0 || d->minor > 0xfffff)
			return oci_fail(&at, d->path, e, ERR_INVALID,
					"%lld:%lld is no device number", (long long)d->major,
					(long long)d->minor);
	}
	return 0;
}

int oci_check_linux(const ProtobufCMessage *m, const struct oci_at *up, struct err *e)
{
	const Grpc__Linux *l = (const Grpc__Linux *)(const void *)m;
	const struct oci_at offsets = { .up = up, .name = "timeOffsets" };
	const struct oci_at mappings = { .up = up, .name = "uidMappings" };

	for (size_t i = 0; i < l->n_timeoffsets; i++) {
		const char *key = l->timeoffsets[i]->key;

		if (!str_eq(key, "monotonic") && !str_eq(key, "boottime"))
			return oci_fail(&offsets, key, e, ERR_INVALID, "no such clock");
	}
	if (l->n_timeoffsets && !has_namespace(l, "time"))
		return oci_fail(&offsets, NULL, e, ERR_INVALID, "need a time namespace");
	if ((l->n_uidmappings || l->n_gidmappings) && !has_namespace(l, "user"))
		return oci_fail(&mappings, NULL, e, ERR_INVALID, "need a user namespace");
	return check_devices(l, up, e);
}
