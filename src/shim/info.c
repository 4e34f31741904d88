/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `-info`: who this is, and what of a specification it can do, which containerd's CRI passes on
 * to kubelet (features.md of the OCI runtime specification, 1.1).
 */
#include <stdint.h>
#include <stdlib.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/own.h"
#include "build_config.h"
#include "google.pb-c.h"
#include "oci/caps.h"
#include "oci/mount_options.h"
#include "oci/spec.h"
#include "sandbox/mount_chain.h"
#include "shim/actions.h"
#include "task.pb-c.h"
#include "version.h"
#include "wire/json.h"

#define FEATURES_URL "types.containerd.io/opencontainers/runtime-spec/1/features/Features"

static int set_words(struct jval *v, const char *name, const char *const *words, struct err *e)
{
	struct jval *list = jval_new_array();

	if (jval_set(v, name, list, e) < 0) /* takes it over, or frees it */
		return -1;
	for (; *words; words++) {
		if (jval_push(list, jval_new_str(*words), e) < 0)
			return -1;
	}
	return 0;
}

static int set_mount_options(struct jval *v, struct err *e)
{
	struct jval *list = jval_new_array();
	const char *word;

	if (jval_set(v, "mountOptions", list, e) < 0)
		return -1;
	for (size_t i = 0; (word = mount_options_word(i)); i++) {
		if (jval_push(list, jval_new_str(word), e) < 0)
			return -1;
	}
	return 0;
}

static int set_capabilities(struct jval *v, struct err *e)
{
	struct jval *list = jval_new_array();

	if (jval_set(v, "capabilities", list, e) < 0)
		return -1;
	for (int i = 0; cap_name(i); i++) {
		if (jval_push(list, jval_new_str(cap_name(i)), e) < 0)
			return -1;
	}
	return 0;
}

/* A member that is a table of one truth value. */
static int set_switch(struct jval *v, const char *name, const char *member, bool on,
		      struct err *e)
{
	struct jval *table = jval_new_object();

	return jval_set(v, name, table, e) < 0 ? -1 : jval_set_bool(table, member, on, e);
}

/* Of the guest's kernel and agent; mounts are not mapped to other users (idmap). */
static int set_linux(struct jval *v, struct err *e)
{
	static const char *const namespaces[] = { "pid",  "network", "mount", "ipc", "uts",
						  "user", "cgroup",  "time",  NULL };
	struct jval *l = jval_new_object(), *extensions = jval_new_object();

	if (jval_set(v, "linux", l, e) < 0) {
		jval_free(extensions);
		return -1;
	}
	if (jval_set(l, "mountExtensions", extensions, e) < 0 ||
	    set_switch(extensions, "idmap", "enabled", false, e) < 0 ||
	    set_words(l, "namespaces", namespaces, e) < 0 || set_capabilities(l, e) < 0 ||
	    set_switch(l, "seccomp", "enabled", true, e) < 0 ||
	    set_switch(l, "apparmor", "enabled", false, e) < 0 ||
	    set_switch(l, "selinux", "enabled", false, e) < 0 ||
	    set_switch(l, "intelRdt", "enabled", false, e) < 0)
		return -1;
	return 0;
}

static int features(struct buf *out, struct err *e)
{
	static const char *const hooks[] = { "prestart",
					     "createRuntime",
					     "createContainer",
					     "startContainer",
					     "poststart",
					     "poststop",
					     NULL };
	OWN(jval) struct jval *v = jval_new_object();

	if (!v)
		return err_oom(e, "features");
	if (jval_set_str(v, "ociVersionMin", "1.0.0", e) < 0 ||
	    jval_set_str(v, "ociVersionMax", SPEC_VERSION_MAX, e) < 0 ||
	    set_words(v, "hooks", hooks, e) < 0 || set_mount_options(v, e) < 0 ||
	    set_linux(v, e) < 0)
		return -1;
	return jval_print(v, false, out, e);
}

int shim_info(const struct shim_options *o, struct err *e)
{
	Containerd__Task__RuntimeInfo info = CONTAINERD__TASK__RUNTIME_INFO__INIT;
	Containerd__Task__RuntimeVersion version = CONTAINERD__TASK__RUNTIME_VERSION__INIT;
	Containerd__Task__RuntimeInfo__AnnotationsEntry mounts =
		CONTAINERD__TASK__RUNTIME_INFO__ANNOTATIONS_ENTRY__INIT;
	Containerd__Task__RuntimeInfo__AnnotationsEntry *list[] = { &mounts };
	Google__Protobuf__Any any = GOOGLE__PROTOBUF__ANY__INIT;
	OWN(buf) struct buf text = BUF_INIT;

	(void)o;
	if (features(&text, e) < 0)
		return -1;
	any.type_url = (char *)(uintptr_t)FEATURES_URL;
	any.value.data = buf_head(&text);
	any.value.len = buf_len(&text);
	info.features = &any;
	mounts.key = (char *)(uintptr_t) "containerd.io/runtime-allow-mounts";
	mounts.value = (char *)(uintptr_t)MOUNT_CHAIN_ALLOWED;
	info.annotations = list;
	info.n_annotations = ARRAY_LEN(list);
	version.version = (char *)(uintptr_t)KATA_VERSION;
	version.revision = (char *)(uintptr_t)KATA_COMMIT;
	info.name = (char *)(uintptr_t) "io.containerd.kata.v2";
	info.version = &version;
	return shim_print_message(&info.base, e);
}
