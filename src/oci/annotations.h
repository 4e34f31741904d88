/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A spec's annotations: look-up, and what they say about the container's place: a pod's
 * sandbox, a container in it, or a container of its own (reference: containerd's CRI, CRI-O
 * and dockershim; ctr, nerdctl, docker and podman set none of these keys).
 */
#pragma once

#include "oci.pb-c.h"

struct err;

enum oci_kind {
	OCI_SINGLE_CONTAINER, /* one container in a sandbox of its own */
	OCI_POD_SANDBOX,
	OCI_POD_CONTAINER,
	OCI_KIND_COUNT_
};

/* The strings belong to the spec; NULL where the annotation is absent. */
struct oci_identity {
	enum oci_kind kind;
	const char *manager;    /* "containerd", "cri-o", "dockershim" or NULL */
	const char *sandbox_id; /* set for OCI_POD_CONTAINER */
	const char *container_name;
	const char *pod_name;
	const char *pod_namespace;
	const char *image_name;
};

/* NULL if there is none of that name. */
const char *spec_annotation(const Grpc__Spec *s, const char *key);
/*
 * ERR_INVALID: a known key with an unknown value, or a pod's container without its sandbox's
 * identifier (or with one that is no identifier).
 */
int spec_identity(const Grpc__Spec *s, struct oci_identity *out, struct err *e);
/*
 * The path of the network namespace that the specification names; "" if it wants a new one.
 * Docker says that by the path of a process that there is not yet: "/proc/0/ns/net".
 */
const char *spec_network_namespace(const Grpc__Spec *s);
/* "pod_sandbox", "pod_container", "single_container": as Kata's own annotation has it. */
const char *oci_kind_name(enum oci_kind kind);
