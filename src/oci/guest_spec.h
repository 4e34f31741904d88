/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From the caller's spec to the one that the agent gets: what belongs to the host is taken
 * out. Pure functions over messages; mounts, devices and the root file system are the
 * sandbox's business.
 */
#pragma once

#include <stdbool.h>

#include "oci.pb-c.h"

struct arena;
struct err;
struct oci_notes;

struct guest_spec_options {
	bool disable_seccomp; /* [runtime] disable_guest_seccomp: the profile is left out */
	bool compile_seccomp; /* the agent announces that it takes a program */
};

struct guest_spec {
	Grpc__Spec *spec; /* a deep copy in the arena */
	/* The container joins the sandbox's process namespace; else it gets one of its own. */
	bool sandbox_pidns;
	/* the caller's to fill: the agent keeps that alive; the container whose it is, or NULL
	 */
	bool agent_pidns;
	const char *pid_of;
};

/*
 * Left out: hooks other than startContainer (they run on the host), the network namespace
 * (the guest's own is the container's), a joined process namespace (see sandbox_pidns), paths
 * of namespaces, SELinux and AppArmor, CPU and memory node sets, block and network limits,
 * RDT, the host's cgroup path. `notes` names what changes the container's behaviour.
 *
 * ERR_UNSUPPORTED: a user namespace to be joined that comes without mappings.
 */
int guest_spec_make(const Grpc__Spec *host, const struct guest_spec_options *o, struct arena *a,
		    struct oci_notes *notes, struct guest_spec *out, struct err *e);
/*
 * What of guest_spec_make() can be known before there is a guest. ERR_UNSUPPORTED: the host's
 * network.
 */
int guest_spec_check(const Grpc__Spec *host, struct err *e);
/*
 * The same for exec's process and update's resources, in place. `l` has the devices that are
 * the container's own, for which rates of I/O are kept; NULL: none.
 */
void guest_process_edit(Grpc__Process *p, struct oci_notes *notes);
void guest_resources_edit(Grpc__LinuxResources *r, const Grpc__Linux *l,
			  struct oci_notes *notes);
