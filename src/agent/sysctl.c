/* SPDX-License-Identifier: Apache-2.0 */
/*
 * linux.sysctl. The virtual machine is the pod's alone, so every key the guest's kernel has
 * may be set. Written through the agent's /proc: the container's could be anything.
 */
#include "agent/sysctl.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include "agent/stage_steps.h"
#include "base/fd.h"
#include "base/own.h"
#include "base/str.h"

/* "net.ipv4.ip_forward" or "net/ipv4/conf/eth0.1/…", as sysctl(8) takes it, to a path. */
static int key_to_path(const char *key, char *out, size_t size, struct err *e)
{
	size_t first = strcspn(key, "./"), n = strlen(key);
	bool dotted = key[first] == '.';
	int len;

	if (n == 0 || n > 200 || key[0] == '/' || key[0] == '.' || strstr(key, ".."))
		return err_set(e, ERR_INVALID, 0, "no such name");
	len = snprintf(out, size, "sys/%s", key);
	if (len < 0 || (size_t)len >= size)
		return err_set(e, ERR_INVALID, 0, "too long");
	for (char *p = out + 4; dotted && *p; p++)
		*p = *p == '.' ? '/' : *p == '/' ? '.' : *p;
	return strstr(out, "..") || strstr(out, "//")
		       ? err_set(e, ERR_INVALID, 0, "no such name")
		       : 0;
}

int sysctl_set(int proc_fd, const char *key, const char *value, struct err *e)
{
	char path[256];

	if (key_to_path(key, path, sizeof(path), e) < 0)
		return -1;
	if (file_write_value(proc_fd, path, value, e) < 0) {
		if (e->kind == ERR_NOT_FOUND)
			e->kind = ERR_INVALID;
		return -1;
	}
	return 0;
}

int sysctl_apply(struct stage *s, struct err *e)
{
	for (size_t i = 0; i < s->linux_->n_sysctl; i++) {
		const char *key = s->linux_->sysctl[i]->key,
			   *value = s->linux_->sysctl[i]->value;

		if (str_eq(key, "kernel.hostname") || str_eq(key, "kernel/hostname"))
			return err_set(e, ERR_INVALID, 0,
				       "linux.sysctl '%s': the field for that is hostname",
				       key);
		if (sysctl_set(s->proc_fd, key, value, e) < 0)
			return err_wrap(e, "linux.sysctl '%.80s'", key);
	}
	return 0;
}
