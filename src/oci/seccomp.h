/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Compiles a seccomp profile with libseccomp into the program that the agent installs: the
 * agent has no compiler. Host programs only.
 */
#pragma once

#include "oci.pb-c.h"

struct arena;
struct err;
struct oci_notes;

/*
 * Fills s->program (an array of struct sock_filter, in `a`) and s->filterflags. The program is
 * for this machine's architecture and the compatible ones that the profile lists.
 *
 * System calls that libseccomp does not know are passed over and noted, as every runtime does
 * with profiles written for newer kernels; those above the last one that the profile names are
 * refused with ENOSYS, whatever its default (seccomp_newer.h). ERR_UNSUPPORTED: SCMP_ACT_NOTIFY
 * and the flag that goes with it. ERR_INVALID: a value outside its range.
 */
int seccomp_compile(Grpc__LinuxSeccomp *s, struct arena *a, struct oci_notes *notes,
		    struct err *e);
