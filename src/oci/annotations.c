/* SPDX-License-Identifier: Apache-2.0 */
/* What annotations say about a container's place. */
#include "oci/annotations.h"

#include <string.h>

#include "base/err.h"
#include "base/own.h"
#include "base/path.h"
#include "base/str.h"

#define NOBODYS_NETNS "/proc/0/ns/net"

enum {
	SANDBOX_ID_MAX = 128
};

/* clang-format off */
static const struct manager {
	const char *name;
	const char *type, *sandbox_value, *container_value;
	const char *sandbox_id;
	const char *container_name, *pod_name, *pod_namespace, *image_name;
} managers[] = {
	{ "containerd",
	  "io.kubernetes.cri.container-type", "sandbox", "container",
	  "io.kubernetes.cri.sandbox-id",
	  "io.kubernetes.cri.container-name", "io.kubernetes.cri.sandbox-name",
	  "io.kubernetes.cri.sandbox-namespace", "io.kubernetes.cri.image-name" },
	{ "cri-o",
	  "io.kubernetes.cri-o.ContainerType", "sandbox", "container",
	  "io.kubernetes.cri-o.SandboxID",
	  "io.kubernetes.cri-o.ContainerName", "io.kubernetes.cri-o.KubeName",
	  "io.kubernetes.cri-o.Namespace", "io.kubernetes.cri-o.ImageName" },
	{ "dockershim",
	  "io.kubernetes.docker.type", "podsandbox", "container",
	  "io.kubernetes.sandbox.id",
	  "io.kubernetes.container.name", "io.kubernetes.pod.name",
	  "io.kubernetes.pod.namespace", NULL },
};
/* clang-format on */

const char *spec_annotation(const Grpc__Spec *s, const char *key)
{
	if (!key)
		return NULL;
	for (size_t i = 0; i < s->n_annotations; i++)
		if (str_eq(s->annotations[i]->key, key))
			return s->annotations[i]->value;
	return NULL;
}

static int identify(const Grpc__Spec *s, const struct manager *m, const char *type,
		    struct oci_identity *id, struct err *e)
{
	char value[64];

	id->manager = m->name;
	id->container_name = spec_annotation(s, m->container_name);
	id->pod_name = spec_annotation(s, m->pod_name);
	id->pod_namespace = spec_annotation(s, m->pod_namespace);
	id->image_name = spec_annotation(s, m->image_name);
	if (str_eq(type, m->sandbox_value)) {
		id->kind = OCI_POD_SANDBOX;
		return 0;
	}
	if (!str_eq(type, m->container_value)) {
		(void)str_quote(type, strlen(type), value, sizeof(value));
		return err_set(e, ERR_INVALID, 0,
			       "annotations.%s '%s': must be \"%s\" or \"%s\"", m->type, value,
			       m->sandbox_value, m->container_value);
	}
	id->kind = OCI_POD_CONTAINER;
	id->sandbox_id = spec_annotation(s, m->sandbox_id);
	if (!id->sandbox_id)
		return err_set(e, ERR_INVALID, 0, "annotations.%s: is missing", m->sandbox_id);
	return path_check_id(id->sandbox_id, SANDBOX_ID_MAX, m->sandbox_id, e);
}

int spec_identity(const Grpc__Spec *s, struct oci_identity *out, struct err *e)
{
	struct oci_identity id = { .kind = OCI_SINGLE_CONTAINER };

	for (size_t i = 0; i < ARRAY_LEN(managers); i++) {
		const char *type = spec_annotation(s, managers[i].type);

		if (!type)
			continue;
		if (identify(s, &managers[i], type, &id, e) < 0)
			return -1;
		break;
	}
	*out = id;
	return 0;
}

const char *oci_kind_name(enum oci_kind kind)
{
	static const char *const names[] = {
		[OCI_SINGLE_CONTAINER] = "single_container",
		[OCI_POD_SANDBOX] = "pod_sandbox",
		[OCI_POD_CONTAINER] = "pod_container",
	};

	_Static_assert(ARRAY_LEN(names) == OCI_KIND_COUNT_, "every kind has a name");
	return names[kind];
}

const char *spec_network_namespace(const Grpc__Spec *s)
{
	const Grpc__Linux *l = s->linux;

	for (size_t i = 0; l && i < l->n_namespaces; i++) {
		const Grpc__LinuxNamespace *n = l->namespaces[i];

		if (str_eq(n->type, "network") && n->path && !str_eq(n->path, NOBODYS_NETNS))
			return n->path;
	}
	return "";
}
