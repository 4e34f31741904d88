/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The files that tell a pod's containers their name, hosts and name servers. With a pause
 * container containerd makes them; without one nobody else does.
 */
#pragma once

struct arena;
struct err;
struct pod_files;
typedef struct Containerd__Sandbox__PodSandboxConfig Containerd__Sandbox__PodSandboxConfig;

enum {
	POD_FILE_MAX = 256 * 1024
};

/*
 * In `a`. What the pod does not say is the host's, read in its directory /etc, `etc_fd`:
 * resolv.conf without a dns_config, and hosts. ERR_INVALID: words that are none.
 */
int pod_files_make(const Containerd__Sandbox__PodSandboxConfig *p, const char *hostname,
		   int etc_fd, struct arena *a, struct pod_files *out, struct err *e);
