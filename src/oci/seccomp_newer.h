/* SPDX-License-Identifier: Apache-2.0 */
/*
 * System calls that are newer than a seccomp profile. Its default, mostly EPERM, is meant for
 * what its author knew; C libraries take ENOSYS for the word that they have to go the old way.
 * As runc does since 1.0.0-rc93.
 */
#pragma once

#include <seccomp.h>

#include "oci.pb-c.h"

struct arena;
struct err;

/*
 * Puts before the program (an array of struct sock_filter, at most `max` bytes with what is
 * added, in `a`) what answers ENOSYS to the system calls of each architecture of `ctx` whose
 * numbers are above all that the profile names; x32's are left to the program. Nothing where
 * `default_action` lets pass what is not named, or says ENOSYS itself.
 */
int seccomp_refuse_newer(const Grpc__LinuxSeccomp *s, scmp_filter_ctx ctx,
			 uint32_t default_action, size_t max, struct arena *a,
			 ProtobufCBinaryData *program, struct err *e);
