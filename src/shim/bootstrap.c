/* SPDX-License-Identifier: Apache-2.0 */
/* Reading a shim's bootstrap parameters, answering them. */
#include "shim/bootstrap.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/fd.h"
#include "base/mem.h"
#include "base/str.h"
#include "base/time.h"
#include "bootstrap.pb-c.h"
#include "options.pb-c.h"
#include "sandbox/mount_chain.h"
#include "shim/any.h"
#include "shim/options.h"
#include "wire/json.h"
#include "wire/message.h"

#define MOUNT_CAPABILITIES_URL "type.googleapis.com/containerd.types.MountCapabilities"

enum {
	PARAMS_MAX = 4 << 20,
	PARAMS_MS = 5000,
	CHUNK = 4096,
	EXTENSION_MAX = 128,
	API_VERSION = 3
};

/* A caller that writes nothing and closes nothing is not waited for. */
static int read_params(struct buf *b, struct err *e)
{
	int64_t deadline = deadline_in(PARAMS_MS);
	ssize_t n = 1;

	while (n) {
		struct pollfd p = { .fd = STDIN_FILENO, .events = POLLIN };
		int ready = poll(&p, 1, deadline_left(deadline));

		if (ready == 0)
			return err_set(e, ERR_TIMEOUT, 0, "standard input does not end");
		if (ready < 0 && errno == EINTR)
			continue;
		if (buf_reserve(b, CHUNK, e) < 0)
			return -1;
		n = ready < 0 ? -1 : read(STDIN_FILENO, buf_tail(b), CHUNK);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return err_sys(e, "standard input");
		buf_produced(b, (size_t)n);
	}
	return 0;
}

/* What is no message of that type, or does not fit, is something else: no error. */
static const void *try_decode(const ProtobufCMessageDescriptor *type, const void *p, size_t len,
			      struct arena *a)
{
	ProtobufCMessage *m;
	struct err other;

	return message_decode(type, len ? p : "", len, a, &m, &other) == 0 ? m : NULL;
}

/* The file that a runtime's options name. */
static int take_options(const Google__Protobuf__Any *any, struct arena *a, struct bootstrap *b,
			struct err *e)
{
	const Runtimeoptions__V1__Options *o;

	if (!any_is_runtime_options(any))
		return 0;
	o = try_decode(&runtimeoptions__v1__options__descriptor, any->value.data,
		       any->value.len, a);
	if (o && o->config_body.len && !*o->config_path)
		return err_set(e, ERR_UNSUPPORTED, 0,
			       "options of the runtime as a table: name a file by ConfigPath");
	if (!o || !*o->config_path)
		return 0;
	free(b->config_path);
	b->config_path = strdup(o->config_path);
	return b->config_path ? 0 : err_oom(e, "a path");
}

int bootstrap_read(const struct shim_options *o, struct bootstrap *out, struct err *e)
{
	OWN(buf) struct buf bytes = { .limit = PARAMS_MAX };
	OWN(arena) struct arena a = { .limit = 4 * PARAMS_MAX };
	const Containerd__Bootstrap__BootstrapParams *p;

	*out = (struct bootstrap){ 0 };
	if (!*o->publish_binary)
		return 0;
	if (read_params(&bytes, e) < 0)
		return err_wrap(e, "bootstrap parameters");
	if (buf_len(&bytes) == 0)
		return 0;
	p = try_decode(&containerd__bootstrap__bootstrap_params__descriptor, buf_head(&bytes),
		       buf_len(&bytes), &a);
	out->v3 = p && *p->containerd_version && str_eq(p->instance_id, o->id) &&
		  str_eq(p->namespace_, o->namespace);
	if (!out->v3)
		return take_options(try_decode(&google__protobuf__any__descriptor,
					       buf_head(&bytes), buf_len(&bytes), &a),
				    &a, out, e);
	for (size_t i = 0; i < p->n_extensions; i++) {
		if (take_options(p->extensions[i]->value, &a, out, e) < 0)
			return -1;
	}
	return 0;
}

/* Typed as protobuf's Any is in JSON of Go's own encoder, which containerd reads. */
static int add_extension(struct jval *answer, const char *type, const struct buf *message,
			 struct err *e)
{
	OWN(jval) struct jval *any = jval_new_object(), *extension = jval_new_object();
	OWN(jval) struct jval *list = jval_new_array();
	char text[EXTENSION_MAX];

	if (!any || !extension || !list)
		return err_oom(e, "an answer");
	str_base64(buf_head(message), buf_len(message), false, text, sizeof(text));
	if (jval_set_str(any, "type_url", type, e) < 0 ||
	    jval_set_str(any, "value", text, e) < 0 ||
	    jval_set(extension, "value", TAKE(any), e) < 0 ||
	    jval_push(list, TAKE(extension), e) < 0)
		return -1;
	return jval_set(answer, "extensions", TAKE(list), e);
}

/* What containerd's mount manager is to leave to us. */
static int add_mounts(struct jval *answer, struct err *e)
{
	static const char *const types[] = { MOUNT_CHAIN_TYPES };
	static const char *const transforms[] = { MOUNT_CHAIN_TRANSFORMS };
	Containerd__Bootstrap__MountCapabilities m =
		CONTAINERD__BOOTSTRAP__MOUNT_CAPABILITIES__INIT;
	OWN(buf) struct buf bytes = BUF_INIT;

	m.types = (char **)(uintptr_t)types;
	m.n_types = ARRAY_LEN(types);
	m.transforms = (char **)(uintptr_t)transforms;
	m.n_transforms = ARRAY_LEN(transforms);
	if (message_encode(&m.base, &bytes, e) < 0)
		return -1;
	return add_extension(answer, MOUNT_CAPABILITIES_URL, &bytes, e);
}

int bootstrap_answer(const char *address, bool v3, struct err *e)
{
	OWN(jval) struct jval *v = NULL;
	OWN(buf) struct buf text = BUF_INIT;

	if (!v3)
		return fd_write_all(STDOUT_FILENO, address, strlen(address), e);
	v = jval_new_object();
	if (jval_set_int(v, "version", API_VERSION, e) < 0 ||
	    jval_set_str(v, "address", address, e) < 0 ||
	    jval_set_str(v, "protocol", "ttrpc", e) < 0 || add_mounts(v, e) < 0 ||
	    jval_print(v, false, &text, e) < 0)
		return -1;
	return fd_write_all(STDOUT_FILENO, buf_head(&text), buf_len(&text), e);
}
