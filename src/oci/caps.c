/* SPDX-License-Identifier: Apache-2.0 */
/* The table of capability names. */
#include "oci/caps.h"

#include <strings.h>

#include "base/err.h"
#include "base/own.h"

static const char *const names[] = {
	"CAP_CHOWN",
	"CAP_DAC_OVERRIDE",
	"CAP_DAC_READ_SEARCH",
	"CAP_FOWNER",
	"CAP_FSETID",
	"CAP_KILL",
	"CAP_SETGID",
	"CAP_SETUID",
	"CAP_SETPCAP",
	"CAP_LINUX_IMMUTABLE",
	"CAP_NET_BIND_SERVICE",
	"CAP_NET_BROADCAST",
	"CAP_NET_ADMIN",
	"CAP_NET_RAW",
	"CAP_IPC_LOCK",
	"CAP_IPC_OWNER",
	"CAP_SYS_MODULE",
	"CAP_SYS_RAWIO",
	"CAP_SYS_CHROOT",
	"CAP_SYS_PTRACE",
	"CAP_SYS_PACCT",
	"CAP_SYS_ADMIN",
	"CAP_SYS_BOOT",
	"CAP_SYS_NICE",
	"CAP_SYS_RESOURCE",
	"CAP_SYS_TIME",
	"CAP_SYS_TTY_CONFIG",
	"CAP_MKNOD",
	"CAP_LEASE",
	"CAP_AUDIT_WRITE",
	"CAP_AUDIT_CONTROL",
	"CAP_SETFCAP",
	"CAP_MAC_OVERRIDE",
	"CAP_MAC_ADMIN",
	"CAP_SYSLOG",
	"CAP_WAKE_ALARM",
	"CAP_BLOCK_SUSPEND",
	"CAP_AUDIT_READ",
	"CAP_PERFMON",
	"CAP_BPF",
	"CAP_CHECKPOINT_RESTORE",
};

int cap_number(const char *name)
{
	const size_t prefix = sizeof("CAP_") - 1;

	if (strncasecmp(name, "CAP_", prefix) == 0)
		name += prefix;
	for (size_t i = 0; i < ARRAY_LEN(names); i++) {
		if (strcasecmp(names[i] + prefix, name) == 0)
			return (int)i;
	}
	return -1;
}

const char *cap_name(int number)
{
	return number >= 0 && (size_t)number < ARRAY_LEN(names) ? names[number] : NULL;
}

int cap_mask(char *const *list, size_t count, uint64_t *out, struct err *e)
{
	uint64_t mask = 0;

	for (size_t i = 0; i < count; i++) {
		int n = cap_number(list[i]);

		if (n < 0)
			return err_set(e, ERR_INVALID, 0, "unknown capability '%.64s'",
				       list[i]);
		mask |= UINT64_C(1) << n;
	}
	*out = mask;
	return 0;
}
