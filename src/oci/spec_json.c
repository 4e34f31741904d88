/* SPDX-License-Identifier: Apache-2.0 */
/* Specs from JSON and back: two walks over the field table. */
#include <fcntl.h>
#include <inttypes.h>
#include <string.h>

#include "base/buf.h"
#include "base/fd.h"
#include "base/mem.h"
#include "base/str.h"
#include "oci/notes.h"
#include "oci/spec.h"
#include "oci/spec_table.h"
#include "wire/json.h"
#include "wire/message.h"

struct decoder {
	struct arena *arena;
	struct oci_notes *notes;
	struct err *e;
};

static int decode_message(struct decoder *d, const struct oci_type *t, const struct jval *v,
			  const struct oci_at *at, ProtobufCMessage **out);

static int wrong_type(struct decoder *d, const struct oci_at *at, const char *want,
		      const struct jval *v)
{
	return oci_fail(at, NULL, d->e, ERR_INVALID, "must be %s, is %s", want,
			jval_type_name(jval_type(v)));
}

static int decode_text(struct decoder *d, const struct jval *v, const struct oci_at *at,
		       char **out)
{
	const char *s = jval_str(v);
	char *copy;

	if (!s)
		return wrong_type(d, at, "a string", v);
	if (strlen(s) != jval_str_len(v))
		return oci_fail(at, NULL, d->e, ERR_INVALID,
				"must not contain a NUL character");
	copy = arena_strdup(d->arena, s);
	if (!copy)
		return err_oom(d->e, "a spec");
	*out = copy;
	return 0;
}

static int decode_integer(struct decoder *d, ProtobufCType type, const struct jval *v,
			  const struct oci_at *at, void *out)
{
	int64_t n = 0;
	uint64_t u = 0;
	bool fits;

	if (jval_type(v) != JVAL_INT)
		return wrong_type(d, at, "an integer", v);
	switch (type) {
	case PROTOBUF_C_TYPE_UINT64:
		fits = jval_uint(v, &u);
		if (fits)
			*(uint64_t *)out = u;
		break;
	case PROTOBUF_C_TYPE_UINT32:
		fits = jval_uint(v, &u) && u <= UINT32_MAX;
		if (fits)
			*(uint32_t *)out = (uint32_t)u;
		break;
	case PROTOBUF_C_TYPE_INT32:
		fits = jval_int(v, &n) && n >= INT32_MIN && n <= INT32_MAX;
		if (fits)
			*(int32_t *)out = (int32_t)n;
		break;
	default:
		fits = jval_int(v, &n);
		if (fits)
			*(int64_t *)out = n;
		break;
	}
	if (!fits)
		return oci_fail(at, NULL, d->e, ERR_INVALID, "the number is out of range");
	return 0;
}

static int decode_value(struct decoder *d, ProtobufCType type, const struct oci_type *sub,
			const struct jval *v, const struct oci_at *at, void *out)
{
	bool b;

	switch (type) {
	case PROTOBUF_C_TYPE_STRING:
		return decode_text(d, v, at, out);
	case PROTOBUF_C_TYPE_MESSAGE:
		return decode_message(d, sub, v, at, out);
	case PROTOBUF_C_TYPE_BOOL:
		if (!jval_bool(v, &b))
			return wrong_type(d, at, "a boolean", v);
		*(protobuf_c_boolean *)out = b;
		return 0;
	default:
		return decode_integer(d, type, v, at, out);
	}
}

static size_t value_size(ProtobufCType type)
{
	switch (type) {
	case PROTOBUF_C_TYPE_STRING:
	case PROTOBUF_C_TYPE_MESSAGE:
		return sizeof(void *);
	case PROTOBUF_C_TYPE_BOOL:
		return sizeof(protobuf_c_boolean);
	case PROTOBUF_C_TYPE_INT32:
	case PROTOBUF_C_TYPE_UINT32:
		return sizeof(uint32_t);
	default:
		return sizeof(uint64_t);
	}
}

static int decode_list(struct decoder *d, const struct oci_field *f,
		       const ProtobufCFieldDescriptor *pd, const struct jval *v,
		       const struct oci_at *at, ProtobufCMessage *m)
{
	size_t n = jval_count(v), size = value_size(pd->type);
	char *list;

	if (jval_type(v) != JVAL_ARRAY)
		return wrong_type(d, at, "an array", v);
	if (n == 0)
		return 0;
	list = arena_calloc(d->arena, n, size);
	if (!list)
		return err_oom(d->e, "a spec");
	for (size_t i = 0; i < n; i++) {
		const struct oci_at element = { .up = at, .index = i };

		if (decode_value(d, pd->type, f->sub, jval_at(v, i), &element,
				 list + i * size) < 0)
			return -1;
	}
	*(void **)oci_member(m, pd) = list;
	*oci_count(m, pd) = n;
	return 0;
}

struct map_walk {
	struct decoder *d;
	const struct oci_field *f;
	const ProtobufCMessageDescriptor *entry;
	const struct oci_at *at;
	ProtobufCMessage **list;
	size_t n;
};

static int decode_entry(const char *key, struct jval *v, void *arg)
{
	struct map_walk *w = arg;
	const struct oci_at at = { .up = w->at, .name = key };
	const ProtobufCFieldDescriptor *kd =
		protobuf_c_message_descriptor_get_field(w->entry, 1);
	const ProtobufCFieldDescriptor *vd =
		protobuf_c_message_descriptor_get_field(w->entry, 2);
	ProtobufCMessage *m = message_new(w->entry, w->d->arena);
	char *name = arena_strdup(w->d->arena, key);

	if (!m || !name)
		return err_oom(w->d->e, "a spec");
	*(char **)oci_member(m, kd) = name;
	if (decode_value(w->d, vd->type, w->f->sub, v, &at, oci_member(m, vd)) < 0)
		return -1;
	w->list[w->n++] = m;
	return 0;
}

static int decode_map(struct decoder *d, const struct oci_field *f,
		      const ProtobufCFieldDescriptor *pd, const struct jval *v,
		      const struct oci_at *at, ProtobufCMessage *m)
{
	struct map_walk w = { .d = d, .f = f, .entry = pd->descriptor, .at = at };
	size_t n = jval_count(v);

	if (jval_type(v) != JVAL_OBJECT)
		return wrong_type(d, at, "an object", v);
	if (n == 0)
		return 0;
	w.list = arena_calloc(d->arena, n, sizeof(void *));
	if (!w.list)
		return err_oom(d->e, "a spec");
	if (jval_each(v, decode_entry, &w) < 0)
		return -1;
	*(void **)oci_member(m, pd) = w.list;
	*oci_count(m, pd) = w.n;
	return 0;
}

static void set_flag(ProtobufCMessage *m, uint32_t number)
{
	const ProtobufCFieldDescriptor *pd =
		protobuf_c_message_descriptor_get_field(m->descriptor, number);

	*oci_case(m, pd) = (int)number;
	*(protobuf_c_boolean *)oci_member(m, pd) = 1;
}

static int decode_field(struct decoder *d, const struct oci_type *t, const struct oci_field *f,
			const struct jval *v, const struct oci_at *at, ProtobufCMessage *m)
{
	const ProtobufCFieldDescriptor *pd;

	if (f->rules & F_REFUSED)
		return oci_fail(at, NULL, d->e, ERR_UNSUPPORTED, "%s", f->note);
	if (f->rules & F_IGNORED) {
		char path[OCI_AT_LEN];

		oci_note(d->notes, "%s (%s)", oci_at_text(at, path), f->note);
		return 0;
	}
	pd = oci_descriptor(t, f);
	if (f->rules & F_MAP)
		return decode_map(d, f, pd, v, at, m);
	if (pd->label == PROTOBUF_C_LABEL_REPEATED)
		return decode_list(d, f, pd, v, at, m);
	if (decode_value(d, pd->type, f->sub, v, at, oci_member(m, pd)) < 0)
		return -1;
	if (pd->flags & PROTOBUF_C_FIELD_FLAG_ONEOF)
		*oci_case(m, pd) = (int)f->number;
	if (f->flag)
		set_flag(m, f->flag);
	return 0;
}

struct member_walk {
	struct decoder *d;
	const struct oci_type *t;
	const struct oci_at *at;
	ProtobufCMessage *m;
};

static int decode_member(const char *key, struct jval *v, void *arg)
{
	struct member_walk *w = arg;
	const struct oci_at at = { .up = w->at, .name = key };
	char path[OCI_AT_LEN];

	if (jval_type(v) == JVAL_NULL)
		return 0;
	for (size_t i = 0; i < w->t->count; i++)
		if (strcmp(w->t->fields[i].json, key) == 0)
			return decode_field(w->d, w->t, &w->t->fields[i], v, &at, w->m);
	oci_note(w->d->notes, "%s", oci_at_text(&at, path));
	return 0;
}

/* Gives the fields whose absence is not zero that value. */
static void preset_absent(const struct oci_type *t, ProtobufCMessage *m)
{
	for (size_t i = 0; i < t->count; i++) {
		const struct oci_field *f = &t->fields[i];
		const ProtobufCFieldDescriptor *pd;

		if (!(f->rules & F_ABSENT))
			continue;
		pd = oci_descriptor(t, f);
		if (pd->type == PROTOBUF_C_TYPE_UINT32)
			*(uint32_t *)oci_member(m, pd) = (uint32_t)f->absent;
		else
			*(int64_t *)oci_member(m, pd) = f->absent;
	}
}

static int decode_message(struct decoder *d, const struct oci_type *t, const struct jval *v,
			  const struct oci_at *at, ProtobufCMessage **out)
{
	struct member_walk w = { .d = d, .t = t, .at = at };

	if (jval_type(v) != JVAL_OBJECT)
		return wrong_type(d, at, "an object", v);
	w.m = message_new(t->desc, d->arena);
	if (!w.m)
		return err_oom(d->e, "a spec");
	preset_absent(t, w.m);
	if (jval_each(v, decode_member, &w) < 0)
		return -1;
	for (size_t i = 0; i < t->count; i++) {
		const struct oci_at missing = { .up = at, .name = t->fields[i].json };

		if ((t->fields[i].rules & F_REQUIRED) && !jval_get(v, t->fields[i].json))
			return oci_fail(&missing, NULL, d->e, ERR_INVALID, "is missing");
	}
	*out = w.m;
	return 0;
}

static int parse(const struct oci_type *t, const char *json, size_t len, struct arena *a,
		 struct oci_notes *notes, ProtobufCMessage **out, struct err *e)
{
	struct decoder d = { .arena = a, .notes = notes, .e = e };
	OWN(jval) struct jval *v = NULL;
	ProtobufCMessage *m = NULL;

	if (jval_parse(json, len, &v, e) < 0)
		return -1;
	if (decode_message(&d, t, v, NULL, &m) < 0 || oci_validate(t, m, NULL, e) < 0)
		return -1;
	*out = m;
	return 0;
}

int spec_parse_noting(const char *json, size_t len, struct arena *a, struct oci_notes *notes,
		      Grpc__Spec **out, struct err *e)
{
	ProtobufCMessage *m;

	if (parse(&oci_type_spec, json, len, a, notes, &m, e) < 0)
		return -1;
	*out = (Grpc__Spec *)(void *)m;
	return 0;
}

int spec_parse(const char *json, size_t len, struct arena *a, Grpc__Spec **out, struct err *e)
{
	return spec_parse_noting(json, len, a, NULL, out, e);
}

int process_parse(const char *json, size_t len, struct arena *a, struct oci_notes *notes,
		  Grpc__Process **out, struct err *e)
{
	ProtobufCMessage *m;

	if (parse(&oci_type_process, json, len, a, notes, &m, e) < 0)
		return -1;
	*out = (Grpc__Process *)(void *)m;
	return 0;
}

int resources_parse(const char *json, size_t len, struct arena *a, struct oci_notes *notes,
		    Grpc__LinuxResources **out, struct err *e)
{
	ProtobufCMessage *m;

	if (parse(&oci_type_resources, json, len, a, notes, &m, e) < 0)
		return -1;
	*out = (Grpc__LinuxResources *)(void *)m;
	return 0;
}

int spec_load(const char *bundle, struct arena *a, struct oci_notes *notes, Grpc__Spec **out,
	      struct err *e)
{
	OWN(free) char *path = str_printf("%s/config.json", bundle);
	OWN(free) char *text = NULL;
	size_t len;

	if (!path)
		return err_oom(e, "a path");
	if (file_read(AT_FDCWD, path, SPEC_MAX_BYTES, &text, &len, e) < 0)
		return -1;
	if (spec_parse_noting(text, len, a, notes, out, e) < 0)
		return err_wrap(e, "%s", path);
	return 0;
}

static struct jval *encode_message(const struct oci_type *t, const ProtobufCMessage *m,
				   struct err *e);

/* NULL when out of memory. */
static struct jval *encode_value(ProtobufCType type, const struct oci_type *sub, const void *p,
				 struct err *e)
{
	const char *s;

	switch (type) {
	case PROTOBUF_C_TYPE_STRING:
		s = *(const char *const *)p;
		return jval_new_str(s ? s : "");
	case PROTOBUF_C_TYPE_MESSAGE:
		return encode_message(sub, *(ProtobufCMessage *const *)p, e);
	case PROTOBUF_C_TYPE_BOOL:
		return jval_new_bool(*(const protobuf_c_boolean *)p);
	case PROTOBUF_C_TYPE_UINT64:
		return jval_new_uint(*(const uint64_t *)p);
	case PROTOBUF_C_TYPE_UINT32:
		return jval_new_uint(*(const uint32_t *)p);
	case PROTOBUF_C_TYPE_INT32:
		return jval_new_int(*(const int32_t *)p);
	default:
		return jval_new_int(*(const int64_t *)p);
	}
}

static struct jval *encode_map(const struct oci_field *f, ProtobufCMessage *const *list,
			       size_t n, struct err *e)
{
	OWN(jval) struct jval *o = jval_new_object();

	for (size_t i = 0; i < n; i++) {
		const ProtobufCFieldDescriptor *kd =
			protobuf_c_message_descriptor_get_field(list[i]->descriptor, 1);
		const ProtobufCFieldDescriptor *vd =
			protobuf_c_message_descriptor_get_field(list[i]->descriptor, 2);
		const char *key = *(const char *const *)oci_member(list[i], kd);
		struct jval *v = encode_value(vd->type, f->sub, oci_member(list[i], vd), e);

		if (jval_set(o, key ? key : "", v, e) < 0)
			return NULL;
	}
	return TAKE(o);
}

static struct jval *encode_list(const struct oci_field *f, const ProtobufCFieldDescriptor *pd,
				const char *list, size_t n, struct err *e)
{
	OWN(jval) struct jval *array = jval_new_array();

	for (size_t i = 0; i < n; i++) {
		const void *p = list + i * value_size(pd->type);

		if (jval_push(array, encode_value(pd->type, f->sub, p, e), e) < 0)
			return NULL;
	}
	return TAKE(array);
}

static struct jval *encode_message(const struct oci_type *t, const ProtobufCMessage *m,
				   struct err *e)
{
	OWN(jval) struct jval *o = jval_new_object();

	/* a map's value may be absent in a message that did not come from JSON */
	for (size_t i = 0; m && i < t->count; i++) {
		const struct oci_field *f = &t->fields[i];
		const ProtobufCFieldDescriptor *pd;
		struct jval *v;

		if (f->number == 0 || !oci_is_set(m, t, f))
			continue;
		pd = oci_descriptor(t, f);
		if (f->rules & F_MAP)
			v = encode_map(f, *(ProtobufCMessage *const **)oci_member(m, pd),
				       *oci_count(m, pd), e);
		else if (pd->label == PROTOBUF_C_LABEL_REPEATED)
			v = encode_list(f, pd, *(const char *const *)oci_member(m, pd),
					*oci_count(m, pd), e);
		else
			v = encode_value(pd->type, f->sub, oci_member(m, pd), e);
		if (jval_set(o, f->json, v, e) < 0)
			return NULL;
	}
	return TAKE(o);
}

static int print(const struct oci_type *t, const ProtobufCMessage *m, struct buf *out,
		 struct err *e)
{
	OWN(jval) struct jval *v = encode_message(t, m, e);

	if (!v)
		return err_oom(e, "JSON text");
	return jval_print(v, true, out, e);
}

int spec_print(const Grpc__Spec *s, struct buf *out, struct err *e)
{
	return print(&oci_type_spec, &s->base, out, e);
}

int process_print(const Grpc__Process *p, struct buf *out, struct err *e)
{
	return print(&oci_type_process, &p->base, out, e);
}

int resources_print(const Grpc__LinuxResources *r, struct buf *out, struct err *e)
{
	return print(&oci_type_resources, &r->base, out, e);
}
