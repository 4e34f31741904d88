/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Walks a decoded spec and checks the rules of the table. It needs no JSON, so it also serves
 * whoever got the spec as a protobuf message.
 */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "base/str.h"
#include "oci.pb-c.h"
#include "oci/spec.h"
#include "oci/spec_table.h"

const char *oci_at_text(const struct oci_at *at, char out[OCI_AT_LEN])
{
	const struct oci_at *steps[16];
	size_t n = 0, len = 0;

	out[0] = '\0';
	for (; at && n < ARRAY_LEN(steps); at = at->up)
		steps[n++] = at;
	while (n--) {
		char name[64];

		if (!steps[n]->name) {
			len += (size_t)snprintf(out + len, OCI_AT_LEN - len, "[%zu]",
						steps[n]->index);
		} else {
			(void)str_quote(steps[n]->name, strlen(steps[n]->name), name,
					sizeof(name));
			len += (size_t)snprintf(out + len, OCI_AT_LEN - len, "%s%s",
						len ? "." : "", name);
		}
		if (len >= OCI_AT_LEN)
			break;
	}
	return out;
}

int oci_fail(const struct oci_at *at, const char *value, struct err *e, enum err_kind kind,
	     const char *fmt, ...)
{
	char path[OCI_AT_LEN], text[200], quoted[100];
	va_list ap;

	va_start(ap, fmt);
	(void)vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	(void)oci_at_text(at, path);
	if (!path[0])
		memcpy(path, "the document", sizeof("the document"));
	if (!value)
		return err_set(e, kind, 0, "%s: %s", path, text);
	(void)str_quote(value, strlen(value), quoted, sizeof(quoted));
	return err_set(e, kind, 0, "%s '%s': %s", path, quoted, text);
}

const ProtobufCFieldDescriptor *oci_descriptor(const struct oci_type *t,
					       const struct oci_field *f)
{
	return protobuf_c_message_descriptor_get_field(t->desc, f->number);
}

int64_t oci_integer(const ProtobufCFieldDescriptor *d, const void *at)
{
	uint64_t u;

	switch (d->type) {
	case PROTOBUF_C_TYPE_INT32:
		return *(const int32_t *)at;
	case PROTOBUF_C_TYPE_UINT32:
		return *(const uint32_t *)at;
	case PROTOBUF_C_TYPE_INT64:
		return *(const int64_t *)at;
	case PROTOBUF_C_TYPE_UINT64:
		u = *(const uint64_t *)at;
		return u > INT64_MAX ? INT64_MAX : (int64_t)u;
	default:
		return *(const protobuf_c_boolean *)at;
	}
}

/* Is the presence field that goes with `f` set and true? */
static bool flag_is_set(const ProtobufCMessage *m, uint32_t flag)
{
	const ProtobufCFieldDescriptor *d =
		protobuf_c_message_descriptor_get_field(m->descriptor, flag);

	return *oci_case(m, d) == (int)flag && *(protobuf_c_boolean *)oci_member(m, d);
}

bool oci_is_set(const ProtobufCMessage *m, const struct oci_type *t, const struct oci_field *f)
{
	const ProtobufCFieldDescriptor *d = oci_descriptor(t, f);
	const void *at = oci_member(m, d);

	if (f->flag)
		return flag_is_set(m, f->flag);
	if (d->flags & PROTOBUF_C_FIELD_FLAG_ONEOF)
		return *oci_case(m, d) == (int)f->number;
	if (d->label == PROTOBUF_C_LABEL_REPEATED)
		return *oci_count(m, d) != 0;
	if (d->type == PROTOBUF_C_TYPE_MESSAGE)
		return *(ProtobufCMessage *const *)at != NULL;
	if (d->type == PROTOBUF_C_TYPE_STRING)
		return *(const char *const *)at && **(const char *const *)at;
	if (f->rules & F_ABSENT)
		return oci_integer(d, at) != f->absent;
	return (f->rules & F_KEEP) || oci_integer(d, at) != 0;
}

static int check_text(const struct oci_field *f, const char *s, const struct oci_at *at,
		      struct err *e)
{
	if ((f->rules & F_ABSOLUTE) && s[0] != '/')
		return oci_fail(at, s, e, ERR_INVALID, "must be absolute");
	if (f->known && !f->known(s))
		return oci_fail(at, s, e, ERR_INVALID, "unknown value");
	if (!f->choices)
		return 0;
	for (const char *const *c = f->choices; *c; c++)
		if (strcmp(*c, s) == 0)
			return 0;
	return oci_fail(at, s, e, ERR_INVALID, "unknown value");
}

static int check_range(const struct oci_field *f, const ProtobufCFieldDescriptor *d,
		       const void *p, const struct oci_at *at, struct err *e)
{
	int64_t n = oci_integer(d, p);

	if (!(f->rules & F_RANGE) || (n >= f->min && n <= f->max))
		return 0;
	if (n < f->min || f->max == INT64_MAX)
		return oci_fail(at, NULL, e, ERR_INVALID, "%lld is below %lld", (long long)n,
				(long long)f->min);
	return oci_fail(at, NULL, e, ERR_INVALID, "%lld is above %lld", (long long)n,
			(long long)f->max);
}

/* One value of any type. */
static int check_value(const struct oci_field *f, const ProtobufCFieldDescriptor *d,
		       const void *p, const struct oci_at *at, struct err *e)
{
	const ProtobufCMessage *m;
	const char *s;

	if (d->type == PROTOBUF_C_TYPE_STRING) {
		s = *(const char *const *)p;
		return check_text(f, s ? s : "", at, e);
	}
	if (d->type != PROTOBUF_C_TYPE_MESSAGE)
		return check_range(f, d, p, at, e);
	m = *(ProtobufCMessage *const *)p;
	return oci_validate(f->sub, m, at, e);
}

/* A map's entry: {string key = 1, value = 2}; only message values have rules. */
static int check_entry(const struct oci_field *f, const ProtobufCMessage *entry,
		       const struct oci_at *up, struct err *e)
{
	const ProtobufCFieldDescriptor *key =
		protobuf_c_message_descriptor_get_field(entry->descriptor, 1);
	const ProtobufCFieldDescriptor *value =
		protobuf_c_message_descriptor_get_field(entry->descriptor, 2);
	const char *name = *(const char *const *)oci_member(entry, key);
	const struct oci_at at = { .up = up, .name = name ? name : "" };
	const ProtobufCMessage *m;

	if (at.name[0] == '\0')
		return oci_fail(up, NULL, e, ERR_INVALID, "must not have an empty key");
	if (value->type != PROTOBUF_C_TYPE_MESSAGE)
		return 0;
	m = *(ProtobufCMessage *const *)oci_member(entry, value);
	return m ? oci_validate(f->sub, m, &at, e) : 0;
}

/* No two elements with the same first member (a "type"). */
static int check_unique(const struct oci_type *sub, ProtobufCMessage *const *list, size_t n,
			const struct oci_at *up, struct err *e)
{
	const ProtobufCFieldDescriptor *d = oci_descriptor(sub, &sub->fields[0]);

	for (size_t i = 1; i < n; i++)
		for (size_t k = 0; k < i; k++) {
			const char *a = *(const char *const *)oci_member(list[i], d);
			const char *b = *(const char *const *)oci_member(list[k], d);
			const struct oci_at at = { .up = up, .index = i };
			const struct oci_at field = { .up = &at, .name = sub->fields[0].json };

			if (str_eq(a, b))
				return oci_fail(&field, a, e, ERR_INVALID, "is there twice");
		}
	return 0;
}

static size_t element_size(const ProtobufCFieldDescriptor *d)
{
	switch (d->type) {
	case PROTOBUF_C_TYPE_INT32:
	case PROTOBUF_C_TYPE_UINT32:
		return sizeof(uint32_t);
	case PROTOBUF_C_TYPE_BOOL:
		return sizeof(protobuf_c_boolean);
	case PROTOBUF_C_TYPE_STRING:
	case PROTOBUF_C_TYPE_MESSAGE:
		return sizeof(void *);
	default:
		return sizeof(uint64_t);
	}
}

static int check_list(const struct oci_field *f, const ProtobufCFieldDescriptor *d,
		      const ProtobufCMessage *m, const struct oci_at *at, struct err *e)
{
	const char *list = *(const char *const *)oci_member(m, d);
	size_t n = *oci_count(m, d);

	for (size_t i = 0; i < n; i++) {
		const struct oci_at element = { .up = at, .index = i };
		const void *p = list + i * element_size(d);
		int rc;

		if (f->rules & F_MAP)
			rc = check_entry(f, *(ProtobufCMessage *const *)p, at, e);
		else
			rc = check_value(f, d, p, &element, e);
		if (rc < 0)
			return -1;
	}
	if (f->rules & F_UNIQUE)
		return check_unique(f->sub, (ProtobufCMessage *const *)(const void *)list, n,
				    at, e);
	return 0;
}

int oci_validate(const struct oci_type *t, const ProtobufCMessage *m, const struct oci_at *up,
		 struct err *e)
{
	for (size_t i = 0; i < t->count; i++) {
		const struct oci_field *f = &t->fields[i];
		const struct oci_at at = { .up = up, .name = f->json };
		const ProtobufCFieldDescriptor *d;
		int rc;

		if (f->number == 0)
			continue;
		d = oci_descriptor(t, f);
		if (!oci_is_set(m, t, f)) {
			if (f->rules & F_NONEMPTY)
				return oci_fail(&at, NULL, e, ERR_INVALID, "must not be empty");
			continue;
		}
		if (d->label == PROTOBUF_C_LABEL_REPEATED)
			rc = check_list(f, d, m, &at, e);
		else
			rc = check_value(f, d, oci_member(m, d), &at, e);
		if (rc < 0)
			return -1;
	}
	return t->check ? t->check(m, up, e) : 0;
}

int spec_validate(const Grpc__Spec *s, struct err *e)
{
	return oci_validate(&oci_type_spec, &s->base, NULL, e);
}

int process_validate(const Grpc__Process *p, struct err *e)
{
	return oci_validate(&oci_type_process, &p->base, NULL, e);
}

int resources_validate(const Grpc__LinuxResources *r, struct err *e)
{
	return oci_validate(&oci_type_resources, &r->base, NULL, e);
}
