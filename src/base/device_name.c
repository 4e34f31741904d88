/* SPDX-License-Identifier: Apache-2.0 */
#include "base/device_name.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/fd.h"
#include "base/own.h"
#include "base/str.h"

enum {
	UEVENT_MAX = 8192
};

int device_name(char type, unsigned major, unsigned minor, char *out, size_t size,
		struct err *e)
{
	static const char key[] = "DEVNAME=";
	OWN(free) char *text = NULL;
	char path[64], *line, *rest;

	(void)snprintf(path, sizeof(path), "/sys/dev/%s/%u:%u/uevent",
		       type == 'b' ? "block" : "char", major, minor);
	if (file_read(AT_FDCWD, path, UEVENT_MAX, &text, NULL, e) < 0) {
		if (e->kind != ERR_NOT_FOUND)
			return -1;
		err_clear(e);
		return 1;
	}
	for (line = strtok_r(text, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest)) {
		if (!str_starts(line, key))
			continue;
		line += sizeof(key) - 1;
		if (snprintf(out, size, "%s", line) >= (int)size)
			return err_set(e, ERR_INVALID, ENAMETOOLONG, "device '%.40s'", line);
		return 0;
	}
	return 1;
}
