/* SPDX-License-Identifier: Apache-2.0 */
/* What the running kernel calls a device of given numbers. */
#pragma once

#include <stddef.h>

struct err;

/*
 * The name of its node below /dev ("null", "net/tun"), from sysfs. 1: no driver has it, or it
 * has no node.
 */
int device_name(char type, unsigned major, unsigned minor, char *out, size_t size,
		struct err *e);
