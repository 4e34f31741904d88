/* SPDX-License-Identifier: Apache-2.0 */
/* The field table: every row fits its message; good and bad documents; there and back. */
#include "unit.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/fd.h"
#include "base/mem.h"
#include "base/str.h"
#include "oci/notes.h"
#include "oci/spec.h"
#include "oci/spec_table.h"
#include "wire/message.h"

#define CORPUS TEST_CORPUS "/oci"

/* Rows of the table against protobuf-c's descriptors, and the other way round. */
static void check_table(const struct oci_type *t)
{
	for (size_t i = 0; i < t->count; i++) {
		const struct oci_field *f = &t->fields[i];
		const ProtobufCFieldDescriptor *d;
		const ProtobufCMessageDescriptor *sub;

		if (f->number == 0) {
			assert_non_null(f->note);
			continue;
		}
		d = oci_descriptor(t, f);
		if (!d) {
			fail_msg("%s.%s: no field %u", t->desc->name, f->json, f->number);
			return;
		}
		sub = d->descriptor;
		if (f->rules & F_MAP)
			sub = protobuf_c_message_descriptor_get_field(sub, 2)->descriptor;
		if (sub != (f->sub ? f->sub->desc : NULL))
			fail_msg("%s.%s: wrong sub-table", t->desc->name, f->json);
		if (f->flag)
			assert_non_null(
				protobuf_c_message_descriptor_get_field(t->desc, f->flag));
		if (f->sub)
			check_table(f->sub);
	}
	for (unsigned n = 0; n < t->desc->n_fields; n++) {
		uint32_t id = t->desc->fields[n].id;
		bool found = t == &oci_type_seccomp && (id == 1001 || id == 1002);

		for (size_t i = 0; i < t->count; i++)
			found |= t->fields[i].number == id || t->fields[i].flag == id;
		if (!found)
			fail_msg("%s.%s has no row", t->desc->name, t->desc->fields[n].name);
	}
}

static void test_table(void **state)
{
	check_table(&oci_type_spec);
}

static int corpus_file(const struct dirent *d)
{
	return str_ends(d->d_name, ".json");
}

/* JSON -> message -> JSON -> message: both messages encode to the same bytes. */
static void test_captures(void **state)
{
	struct dirent **list = NULL;
	int n = scandir(CORPUS, &list, corpus_file, alphasort);
	struct err e;

	assert_true(n >= 12);
	for (int i = 0; i < n; i++) {
		OWN(arena) struct arena a = { .limit = SPEC_ARENA_BYTES };
		OWN(buf) struct buf text = BUF_INIT, first = BUF_INIT, second = BUF_INIT;
		OWN(free) char *path = str_printf(CORPUS "/%s", list[i]->d_name);
		OWN(free) char *json = NULL;
		OWN(oci_notes) struct oci_notes notes = { 0 };
		Grpc__Spec *s = NULL, *again = NULL;
		size_t len;

		assert_ok(file_read(AT_FDCWD, path, SPEC_MAX_BYTES, &json, &len, &e), &e);
		if (spec_parse_noting(json, len, &a, &notes, &s, &e) < 0)
			fail_msg("%s: %s", path, e.msg);
		assert_int_equal(notes.count, 0);
		assert_ok(spec_print(s, &text, &e), &e);
		assert_ok(spec_parse(buf_cstr(&text), buf_len(&text), &a, &again, &e), &e);
		assert_ok(message_encode(&s->base, &first, &e), &e);
		assert_ok(message_encode(&again->base, &second, &e), &e);
		assert_int_equal(buf_len(&first), buf_len(&second));
		assert_memory_equal(buf_head(&first), buf_head(&second), buf_len(&first));
		free(list[i]);
	}
	free(list);
}

static void test_values(void **state)
{
	static const char text[] =
		"{\"ociVersion\":\"1.2.0\",\"root\":{\"path\":\"r\",\"readonly\":true},"
		"\"domainname\":\"d\","
		"\"process\":{\"cwd\":\"/"
		"\",\"args\":[\"a\"],\"oomScoreAdj\":0,\"capabilities\":null,"
		"\"user\":{\"uid\":7,\"umask\":0},\"unheardOf\":1,"
		"\"rlimits\":[{\"type\":\"RLIMIT_AS\",\"hard\":18446744073709551615,\"soft\":1}"
		"]},"
		"\"annotations\":{\"a.b\":\"c\"},"
		"\"linux\":{\"resources\":{\"devices\":[{\"allow\":false},{\"allow\":true,"
		"\"major\":0,"
		"\"minor\":5,\"type\":\"c\"}],\"memory\":{\"swappiness\":0,\"useHierarchy\":"
		"true},"
		"\"cpu\":{\"idle\":0},\"unified\":{\"memory.high\":\"1\"}},"
		"\"namespaces\":[{\"type\":\"time\"}],"
		"\"timeOffsets\":{\"monotonic\":{\"secs\":-3,\"nanosecs\":5}},"
		"\"devices\":[{\"path\":\"/dev/x\",\"type\":\"c\",\"major\":1,\"minor\":3}]}}";
	OWN(arena) struct arena a = { .limit = SPEC_ARENA_BYTES };
	OWN(buf) struct buf out = BUF_INIT;
	OWN(oci_notes) struct oci_notes notes = { 0 };
	Grpc__Spec *s = NULL;
	struct err e;

	assert_ok(spec_parse_noting(text, strlen(text), &a, &notes, &s, &e), &e);
	assert_int_equal(notes.kept, 2);
	assert_string_equal(notes.texts[0], "process.unheardOf");
	assert_string_equal(notes.texts[1], "linux.resources.memory.useHierarchy "
					    "(cgroup v2 is always hierarchical)");
	assert_int_equal(s->process->has_oomscore_adj_case, 1000);
	assert_int_equal(s->process->user->has_umask_case, 1000);
	assert_true(s->process->rlimits[0]->hard == UINT64_MAX);
	assert_int_equal(s->linux->resources->devices[0]->major, -1);
	assert_int_equal(s->linux->resources->devices[1]->major, 0);
	assert_int_equal(s->linux->resources->cpu->has_idle_case, 1001);
	assert_int_equal(s->linux->resources->memory->has_swappiness_case, 1000);
	assert_int_equal(s->linux->timeoffsets[0]->value->secs, -3);
	assert_int_equal(s->linux->devices[0]->filemode, 0666);
	assert_string_equal(s->annotations[0]->value, "c");
	assert_ok(spec_print(s, &out, &e), &e);
	assert_non_null(strstr(buf_cstr(&out), "\"oomScoreAdj\": 0"));
	assert_non_null(strstr(buf_cstr(&out), "\"umask\": 0"));
	assert_null(strstr(buf_cstr(&out), "\"major\": -1"));
	assert_null(strstr(buf_cstr(&out), "fileMode"));
	assert_null(strstr(buf_cstr(&out), "hostname"));
}

static const struct bad {
	const char *process, *top, *want;
	enum err_kind kind;
} bad_rows[] = {
	{ ",\"terminal\":1", "", "process.terminal: must be a boolean, is an integer",
	  ERR_INVALID },
	{ ",\"env\":\"A=1\"", "", "process.env: must be an array, is a string", ERR_INVALID },
	{ ",\"env\":[\"A\\u0000\"]", "", "process.env[0]: must not contain a NUL",
	  ERR_INVALID },
	{ ",\"oomScoreAdj\":1001", "", "process.oomScoreAdj: 1001 is above 1000", ERR_INVALID },
	{ ",\"user\":{\"uid\":-1}", "", "process.user.uid: the number is out of range",
	  ERR_INVALID },
	{ ",\"user\":{\"umask\":4096}", "", "process.user.umask: 4096 is above 4095",
	  ERR_INVALID },
	{ ",\"capabilities\":{\"bounding\":[\"CAP_CHOWN\",\"NET_RAW\"]}", "",
	  "process.capabilities.bounding[1] 'NET_RAW': unknown value", ERR_INVALID },
	{ ",\"rlimits\":[{\"type\":\"RLIMIT_X\",\"hard\":1,\"soft\":1}]", "",
	  "process.rlimits[0].type 'RLIMIT_X': unknown value", ERR_INVALID },
	{ ",\"rlimits\":[{\"type\":\"RLIMIT_AS\",\"hard\":1}]", "",
	  "process.rlimits[0].soft: is missing", ERR_INVALID },
	{ ",\"rlimits\":[{\"type\":\"RLIMIT_AS\",\"hard\":1,\"soft\":2}]", "",
	  "process.rlimits[0] 'RLIMIT_AS': the soft limit is above", ERR_INVALID },
	{ ",\"rlimits\":[{\"type\":\"RLIMIT_AS\",\"hard\":1,\"soft\":1},"
	  "{\"type\":\"RLIMIT_AS\",\"hard\":1,\"soft\":1}]",
	  "", "process.rlimits[1].type 'RLIMIT_AS': is there twice", ERR_INVALID },
	{ ",\"commandLine\":\"x\"", "", "process.commandLine: it is for Windows",
	  ERR_UNSUPPORTED },
	{ ",\"scheduler\":{\"policy\":\"FIFO\"}", "", "process.scheduler.policy 'FIFO'",
	  ERR_INVALID },
	{ "", ",\"windows\":{}", "windows: only Linux containers", ERR_UNSUPPORTED },
	{ "", ",\"vm\":{}", "vm: the virtual machine is set up by", ERR_UNSUPPORTED },
	{ "", ",\"mounts\":[{\"destination\":\"foo\"}]",
	  "mounts[0].destination 'foo': must be absolute", ERR_INVALID },
	{ "", ",\"mounts\":[{}]", "mounts[0].destination: is missing", ERR_INVALID },
	{ "", ",\"mounts\":{}", "mounts: must be an array, is an object", ERR_INVALID },
	{ "", ",\"hooks\":{\"poststop\":[{\"path\":\"x\"}]}",
	  "hooks.poststop[0].path 'x': must be absolute", ERR_INVALID },
	{ "", ",\"hooks\":{\"poststop\":[{\"path\":\"/x\",\"timeout\":-1}]}",
	  "hooks.poststop[0].timeout: -1 is below 0", ERR_INVALID },
	{ "", ",\"annotations\":{\"a\":1}", "annotations.a: must be a string", ERR_INVALID },
	{ "", ",\"annotations\":{\"\":\"x\"}", "annotations: must not have an empty key",
	  ERR_INVALID },
	{ "", ",\"linux\":{\"resources\":{\"memory\":{\"limit\":\"1\"}}}",
	  "linux.resources.memory.limit: must be an integer, is a string", ERR_INVALID },
	{ "", ",\"linux\":{\"resources\":{\"memory\":{\"limit\":1.5}}}",
	  "linux.resources.memory.limit: must be an integer, is a number", ERR_INVALID },
	{ "", ",\"linux\":{\"resources\":{\"memory\":{\"limit\":-2}}}",
	  "linux.resources.memory.limit: -2 is below -1", ERR_INVALID },
	{ "", ",\"linux\":{\"resources\":{\"rdma\":{}}}",
	  "linux.resources.rdma: guests have no", ERR_UNSUPPORTED },
	{ "", ",\"linux\":{\"namespaces\":[{\"type\":\"pid\"},{\"type\":\"pid\"}]}",
	  "linux.namespaces[1].type 'pid': is there twice", ERR_INVALID },
	{ "", ",\"linux\":{\"namespaces\":[{\"type\":\"net\"}]}",
	  "linux.namespaces[0].type 'net': unknown value", ERR_INVALID },
	{ "", ",\"linux\":{\"devices\":[{\"path\":\"/dev/x\",\"type\":\"d\"}]}",
	  "linux.devices[0].type 'd': unknown value", ERR_INVALID },
	{ "", ",\"linux\":{\"devices\":[{\"path\":\"/dev/x\",\"type\":\"c\",\"major\":-1}]}",
	  "linux.devices[0] '/dev/x': -1:0 is no device number", ERR_INVALID },
	{ "", ",\"linux\":{\"uidMappings\":[{\"hostID\":0,\"containerID\":0,\"size\":1}]}",
	  "linux.uidMappings: need a user namespace", ERR_INVALID },
	{ "", ",\"linux\":{\"uidMappings\":[{\"hostID\":0,\"containerID\":0,\"size\":0}]}",
	  "linux.uidMappings[0].size: 0 is below 1", ERR_INVALID },
	{ "", ",\"linux\":{\"timeOffsets\":{\"realtime\":{}}}",
	  "linux.timeOffsets 'realtime': no such clock", ERR_INVALID },
	{ "", ",\"linux\":{\"netDevices\":{\"eth0\":{}}}",
	  "linux.netDevices: devices of the host", ERR_UNSUPPORTED },
	{ "", ",\"linux\":{\"seccomp\":{\"defaultAction\":\"ALLOW\"}}",
	  "linux.seccomp.defaultAction 'ALLOW': unknown value", ERR_INVALID },
	{ "",
	  ",\"linux\":{\"seccomp\":{\"defaultAction\":\"SCMP_ACT_ALLOW\",\"listenerPath\":\"/"
	  "x\"}}",
	  "linux.seccomp.listenerPath: a listener of the host", ERR_UNSUPPORTED },
	{ "", ",\"linux\":{\"rootfsPropagation\":\"x\"}", "linux.rootfsPropagation 'x'",
	  ERR_INVALID },
	{ "", ",\"linux\":[]", "linux: must be an object, is an array", ERR_INVALID },
};

static void expect_bad(const char *text, const char *want, enum err_kind kind)
{
	OWN(arena) struct arena a = { .limit = SPEC_ARENA_BYTES };
	Grpc__Spec *s = NULL;
	struct err e;

	if (spec_parse(text, strlen(text), &a, &s, &e) == 0)
		fail_msg("accepted: %s", text);
	assert_null(s);
	if (e.kind != kind || !strstr(e.msg, want))
		fail_msg("%s: %s '%s' lacks '%s'", text, err_kind_name(e.kind), e.msg, want);
}

static void test_bad(void **state)
{
	for (size_t i = 0; i < ARRAY_LEN(bad_rows); i++) {
		OWN(free)
		char *text =
			str_printf("{\"ociVersion\":\"1.0.2\",\"root\":{\"path\":\"rootfs\"},"
				   "\"process\":{\"args\":[\"sh\"],\"cwd\":\"/\"%s}%s}",
				   bad_rows[i].process, bad_rows[i].top);

		expect_bad(text, bad_rows[i].want, bad_rows[i].kind);
	}
	expect_bad("[]", "the document: must be an object, is an array", ERR_INVALID);
	expect_bad("{}", "ociVersion: is missing", ERR_INVALID);
	expect_bad("{\"ociVersion\":\"1.0\",\"process\":{\"args\":[],\"cwd\":\"/\"},"
		   "\"root\":{\"path\":\"r\"}}",
		   "process.args: must not be empty", ERR_INVALID);
	expect_bad("{\"ociVersion\":\"1.0\",\"process\":{\"args\":[\"x\"],\"cwd\":\"tmp\"},"
		   "\"root\":{\"path\":\"r\"}}",
		   "process.cwd 'tmp': must be absolute", ERR_INVALID);
	expect_bad("{\"ociVersion\":\"2.0.0\",\"process\":{\"args\":[\"x\"],\"cwd\":\"/\"},"
		   "\"root\":{\"path\":\"r\"}}",
		   "ociVersion '2.0.0': only versions 1.x", ERR_UNSUPPORTED);
}

static void test_memory_limit(void **state)
{
	static const char text[] = "{\"args\":[\"aaaaaaaaaaaaaaaaaaaaaaaa\"],\"cwd\":\"/\"}";
	OWN(arena) struct arena a = { .limit = 64 };
	Grpc__Process *p = NULL;
	struct err e;

	assert_err(process_parse(text, strlen(text), &a, NULL, &p, &e), &e, ERR_NO_MEMORY);
}

/* With any less memory than it takes: an error by that name, and no output. */
static void test_every_memory_limit(void **state)
{
	OWN(free) char *json = NULL;
	bool parsed = false;
	struct err e;
	size_t len;

	assert_ok(file_read(AT_FDCWD, CORPUS "/every-field.json", SPEC_MAX_BYTES, &json, &len,
			    &e),
		  &e);
	for (size_t limit = 16; !parsed; limit += 16) {
		OWN(arena) struct arena a = { .limit = limit };
		Grpc__Spec *s = NULL;

		parsed = spec_parse(json, len, &a, &s, &e) == 0;
		if (!parsed)
			assert_int_equal(e.kind, ERR_NO_MEMORY);
		assert_int_equal(parsed, s != NULL);
		assert_true(limit < 1 << 20);
	}
}

static void test_resources(void **state)
{
	static const char text[] = "{\"memory\":{\"limit\":1048576,\"checkBeforeUpdate\":true},"
				   "\"pids\":{\"limit\":-1}}";
	OWN(arena) struct arena a = { .limit = SPEC_ARENA_BYTES };
	OWN(buf) struct buf out = BUF_INIT;
	Grpc__LinuxResources *r = NULL;
	struct err e;

	assert_ok(resources_parse(text, strlen(text), &a, NULL, &r, &e), &e);
	assert_int_equal(r->memory->limit, 1048576);
	assert_true(r->memory->checkbeforeupdate);
	assert_int_equal(r->pids->limit, -1);
	assert_ok(resources_print(r, &out, &e), &e);
	assert_non_null(strstr(buf_cstr(&out), "\"checkBeforeUpdate\": true"));
}

static void test_load(void **state)
{
	OWN(arena) struct arena a = { .limit = SPEC_ARENA_BYTES };
	Grpc__Spec *s = NULL;
	struct err e;

	assert_err(spec_load("/nonexistent", &a, NULL, &s, &e), &e, ERR_NOT_FOUND);
	assert_non_null(strstr(e.msg, "/nonexistent/config.json"));
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_table),
		cmocka_unit_test(test_captures),
		cmocka_unit_test(test_values),
		cmocka_unit_test(test_bad),
		cmocka_unit_test(test_every_memory_limit),
		cmocka_unit_test(test_memory_limit),
		cmocka_unit_test(test_resources),
		cmocka_unit_test(test_load),
	};

	return cmocka_run_group_tests_name("spec", tests, NULL, NULL);
}
