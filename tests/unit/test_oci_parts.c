/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The small tables of oci (mount options, capabilities, limits, kinds), the JSON forms of
 * exec's process and update's resources, and profiles that are none.
 */
#include "unit.h"
#include "notes.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/fd.h"
#include "base/mem.h"
#include "base/own.h"
#include "base/path.h"
#include "base/str.h"
#include "base/sys.h"
#include "oci/annotations.h"
#include "oci/caps.h"
#include "oci/cgroups_path.h"
#include "oci/guest_spec.h"
#include "oci/mount_options.h"
#include "oci/rlimits.h"
#include "oci/seccomp.h"
#include "oci/spec.h"

/* ---- mount options ---- */

static const struct {
	const char *words; /* with commas */
	unsigned long flags, propagation;
	uint64_t set, clear, rec_set, rec_clear;
	const char *data, *super_only, *idmap;
} mounts[] = {
	{ "defaults", 0, 0, 0, 0, 0, 0, NULL, NULL, NULL },
	{ "ro", MS_RDONLY, 0, MOUNT_ATTR_RDONLY, 0, 0, 0, NULL, NULL, NULL },
	/* the later word wins */
	{ "ro,rw", 0, 0, 0, MOUNT_ATTR_RDONLY, 0, 0, NULL, NULL, NULL },
	{ "rw,ro", MS_RDONLY, 0, MOUNT_ATTR_RDONLY, 0, 0, 0, NULL, NULL, NULL },
	{ "rbind,rslave", MS_BIND | MS_REC, MS_SLAVE | MS_REC, 0, 0, 0, 0, NULL, NULL, NULL },
	{ "private,shared", 0, MS_SHARED, 0, 0, 0, 0, NULL, NULL, NULL },
	{ "rro,rnosuid,rrw", 0, 0, 0, 0, MOUNT_ATTR_NOSUID, MOUNT_ATTR_RDONLY, NULL, NULL,
	  NULL },
	/* an access time mode replaces the earlier one, whatever bits both have */
	{ "noatime,strictatime", MS_STRICTATIME, 0, MOUNT_ATTR_STRICTATIME, MOUNT_ATTR__ATIME,
	  0, 0, NULL, NULL, NULL },
	{ "strictatime,relatime", MS_RELATIME, 0, 0, MOUNT_ATTR__ATIME, 0, 0, NULL, NULL,
	  NULL },
	{ "size=64m,nodev,mode=0700", MS_NODEV, 0, MOUNT_ATTR_NODEV, 0, 0, 0,
	  "size=64m,mode=0700", NULL, NULL },
	{ "sync,idmap", MS_SYNCHRONOUS, 0, 0, 0, 0, 0, NULL, "sync", "idmap" },
	{ "RO,rprivate ", 0, 0, 0, 0, 0, 0, "RO,rprivate ", NULL, NULL },
};

static size_t split(char *text, char *words[8])
{
	size_t n = 0;

	for (char *at = text; at; n++) {
		char *comma = strchr(at, ',');

		words[n] = at;
		if (comma)
			*comma = '\0';
		at = comma ? comma + 1 : NULL;
	}
	return n;
}

static void test_mount_options(void **state)
{
	for (size_t i = 0; i < ARRAY_LEN(mounts); i++) {
		OWN(mount_options) struct mount_options o = { 0 };
		char text[64], *words[8];
		struct err e;
		size_t n;

		(void)snprintf(text, sizeof(text), "%s", mounts[i].words);
		n = split(text, words);
		assert_ok(mount_options_parse(words, n, &o, &e), &e);
		if (o.flags != mounts[i].flags || o.propagation != mounts[i].propagation ||
		    o.attr_set != mounts[i].set || o.attr_clear != mounts[i].clear ||
		    o.rec_set != mounts[i].rec_set || o.rec_clear != mounts[i].rec_clear ||
		    !str_eq(o.data, mounts[i].data) ||
		    !str_eq(o.super_only, mounts[i].super_only) ||
		    !str_eq(o.idmap, mounts[i].idmap) || o.copy_up)
			fail_msg(
				"%s: flags %lx propagation %lx attr %llx/%llx rec %llx/%llx %s",
				mounts[i].words, o.flags, o.propagation,
				(unsigned long long)o.attr_set,
				(unsigned long long)o.attr_clear, (unsigned long long)o.rec_set,
				(unsigned long long)o.rec_clear, o.data ? o.data : "");
	}
}

static void test_mount_words(void **state)
{
	static const char *const known[] = { "ro", "rro", "ridmap", "rshared", "tmpcopyup" };
	char *empty[] = { (char *)(uintptr_t) "ro", (char *)(uintptr_t) "" },
	     *none[] = { NULL };
	struct mount_options o;
	struct err e;

	for (size_t i = 0; i < ARRAY_LEN(known); i++)
		assert_true(mount_options_knows(known[i]));
	assert_false(mount_options_knows(""));
	assert_false(mount_options_knows("uid=0"));
	assert_int_equal(mount_propagation_of("runbindable"), MS_UNBINDABLE | MS_REC);
	assert_int_equal(mount_propagation_of("ro"), 0);
	assert_err(mount_options_parse(empty, 2, &o, &e), &e, ERR_INVALID);
	assert_err(mount_options_parse(none, 1, &o, &e), &e, ERR_INVALID);
	assert_ok(mount_options_parse(NULL, 0, &o, &e), &e);
	assert_null(o.data);
}

/* ---- names ---- */

static void test_names(void **state)
{
	char *good[] = { (char *)(uintptr_t) "CAP_KILL", (char *)(uintptr_t) "chown" };
	char *bad[] = { (char *)(uintptr_t) "CAP_KILL", (char *)(uintptr_t) "CAP_FLY" };
	uint64_t mask = 7;
	struct err e;

	for (int i = 0; cap_name(i); i++)
		assert_int_equal(cap_number(cap_name(i)), i);
	assert_null(cap_name(-1));
	assert_null(cap_name(64));
	assert_int_equal(cap_number("cap_net_raw"), cap_number("NET_RAW"));
	assert_int_equal(cap_number("CAP_"), -1);
	assert_int_equal(cap_number(""), -1);
	assert_err(cap_mask(bad, 2, &mask, &e), &e, ERR_INVALID);
	assert_string_equal(e.msg, "unknown capability 'CAP_FLY'");
	assert_int_equal(mask, 7);
	assert_ok(cap_mask(good, 2, &mask, &e), &e);
	assert_int_equal(mask, 1 << 5 | 1);
	assert_int_equal(rlimit_number("RLIMIT_NOFILE"), RLIMIT_NOFILE);
	assert_int_equal(rlimit_number("RLIMIT_LOCKS"), 10);
	assert_int_equal(rlimit_number("NOFILE"), -1);
	assert_string_equal(oci_kind_name(OCI_SINGLE_CONTAINER), "single_container");
	assert_string_equal(oci_kind_name(OCI_POD_SANDBOX), "pod_sandbox");
	assert_string_equal(oci_kind_name(OCI_POD_CONTAINER), "pod_container");
}

/* ---- annotations ---- */

static void test_identity(void **state)
{
	static const struct {
		const char *annotations;
		enum oci_kind kind;
		const char *manager, *sandbox, *text;
	} rows[] = {
		{ "\"a\":\"b\"", OCI_SINGLE_CONTAINER, NULL, NULL, NULL },
		{ "\"io.kubernetes.cri.container-type\":\"sandbox\"", OCI_POD_SANDBOX,
		  "containerd", NULL, NULL },
		{ "\"io.kubernetes.cri-o.ContainerType\":\"container\","
		  "\"io.kubernetes.cri-o.SandboxID\":\"s1\"",
		  OCI_POD_CONTAINER, "cri-o", "s1", NULL },
		{ "\"io.kubernetes.docker.type\":\"podsandbox\"", OCI_POD_SANDBOX, "dockershim",
		  NULL, NULL },
		{ "\"io.kubernetes.docker.type\":\"container\"", 0, NULL, NULL,
		  "annotations.io.kubernetes.sandbox.id: is missing" },
		{ "\"io.kubernetes.cri.container-type\":\"pod\\n\"", 0, NULL, NULL,
		  "annotations.io.kubernetes.cri.container-type 'pod\\x0a': must be \"sandbox\" "
		  "or \"container\"" },
		{ "\"io.kubernetes.cri.container-type\":\"container\","
		  "\"io.kubernetes.cri.sandbox-id\":\"../x\"",
		  0, NULL, NULL, "io.kubernetes.cri.sandbox-id '../x': must be 1 to 128" },
	};

	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		OWN(arena) struct arena a = { .limit = SPEC_ARENA_BYTES };
		struct oci_identity id = { .kind = OCI_KIND_COUNT_ };
		char json[600];
		struct err e;
		Grpc__Spec *s;

		(void)snprintf(json, sizeof(json),
			       "{\"ociVersion\":\"1.0.2\",\"root\":{\"path\":\"r\"},"
			       "\"process\":{\"args\":[\"sh\"],\"cwd\":\"/\"},"
			       "\"annotations\":{%s}}",
			       rows[i].annotations);
		assert_ok(spec_parse(json, strlen(json), &a, &s, &e), &e);
		if (rows[i].text) {
			assert_err(spec_identity(s, &id, &e), &e, ERR_INVALID);
			assert_non_null(strstr(e.msg, rows[i].text));
			assert_int_equal(id.kind, OCI_KIND_COUNT_);
			continue;
		}
		assert_ok(spec_identity(s, &id, &e), &e);
		assert_int_equal(id.kind, rows[i].kind);
		assert_true(str_eq(id.manager, rows[i].manager));
		assert_true(str_eq(id.sandbox_id, rows[i].sandbox));
		assert_null(spec_annotation(s, NULL));
		assert_null(spec_annotation(s, "none"));
	}
}

static void test_network_namespace(void **state)
{
	static const struct {
		const char *namespaces, *path;
	} rows[] = {
		{ "", "" },
		{ "{\"type\":\"network\"}", "" },
		{ "{\"type\":\"network\",\"path\":\"/run/netns/a\"}", "/run/netns/a" },
		{ "{\"type\":\"ipc\",\"path\":\"/proc/7/ns/ipc\"},{\"type\":\"network\","
		  "\"path\":\"/proc/7/ns/net\"}",
		  "/proc/7/ns/net" },
		{ "{\"type\":\"network\",\"path\":\"/proc/0/ns/net\"}", "" },
	};

	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		OWN(arena) struct arena a = { .limit = SPEC_ARENA_BYTES };
		char json[400];
		Grpc__Spec *s;
		struct err e;

		(void)snprintf(json, sizeof(json),
			       "{\"ociVersion\":\"1.0.2\",\"root\":{\"path\":\"r\"},"
			       "\"process\":{\"args\":[\"sh\"],\"cwd\":\"/\"},"
			       "\"linux\":{\"namespaces\":[%s]}}",
			       rows[i].namespaces);
		assert_ok(spec_parse(json, strlen(json), &a, &s, &e), &e);
		assert_string_equal(spec_network_namespace(s), rows[i].path);
	}
}

/* ---- processes and resources ---- */

static void test_process(void **state)
{
	static const char odd[] = "{\"cwd\":\"/\",\"args\":[\"sh\"],\"someday\":1}";
	OWN(oci_notes) struct oci_notes notes = { 0 };
	static const char json[] =
		"{\"args\":[\"sh\"],\"cwd\":\"/\",\"user\":{\"uid\":0,\"gid\":0}}";
	OWN(arena) struct arena a = { .limit = SPEC_ARENA_BYTES };
	OWN(buf) struct buf text = BUF_INIT;
	Grpc__Process *p, *again;
	struct err e;

	assert_ok(process_parse(json, strlen(json), &a, NULL, &p, &e), &e);
	assert_ok(process_print(p, &text, &e), &e);
	assert_ok(process_parse(buf_cstr(&text), buf_len(&text), &a, NULL, &again, &e), &e);
	assert_string_equal(again->args[0], "sh");
	assert_ok(process_validate(p, &e), &e);
	p->cwd = (char *)(uintptr_t) "relative";
	assert_err(process_validate(p, &e), &e, ERR_INVALID);
	assert_string_equal(e.msg, "cwd 'relative': must be absolute");
	assert_err(process_parse("[]", 2, &a, NULL, &p, &e), &e, ERR_INVALID);
	assert_ok(process_parse(odd, strlen(odd), &a, &notes, &p, &e), &e);
	assert_int_equal(notes.count, 1);
	assert_true(has_note(&notes, "someday"));
	assert_err(process_parse("{}", 2, &a, NULL, &p, &e), &e, ERR_INVALID);
}

static void test_resources(void **state)
{
	static const char json[] = "{\"memory\":{\"limit\":1048576},\"cpu\":{\"shares\":512}}";
	OWN(arena) struct arena a = { .limit = SPEC_ARENA_BYTES };
	OWN(buf) struct buf text = BUF_INIT;
	Grpc__LinuxResources *r;
	struct err e;

	assert_ok(resources_parse(json, strlen(json), &a, NULL, &r, &e), &e);
	assert_ok(resources_validate(r, &e), &e);
	assert_ok(resources_print(r, &text, &e), &e);
	assert_non_null(strstr(buf_cstr(&text), "\"limit\": 1048576"));
	assert_err(resources_parse("{\"memory\":7}", 12, &a, NULL, &r, &e), &e, ERR_INVALID);
	assert_non_null(strstr(e.msg, "memory: "));
}

/* A bundle's file: missing, over-long, broken; each error names it. */
static void test_load(void **state)
{
	char dir[] = "/tmp/kata-spec.XXXXXX", path[64];
	OWN(arena) struct arena a = { .limit = SPEC_ARENA_BYTES };
	Grpc__Spec *s = NULL;
	struct err e;

	assert_non_null(mkdtemp(dir));
	(void)snprintf(path, sizeof(path), "%s/config.json", dir);
	assert_err(spec_load(dir, &a, NULL, &s, &e), &e, ERR_NOT_FOUND);
	assert_non_null(strstr(e.msg, path));
	assert_ok(file_replace(AT_FDCWD, path, "{\n\"ociVersion\"", 14, 0600, false, &e), &e);
	assert_err(spec_load(dir, &a, NULL, &s, &e), &e, ERR_INVALID);
	assert_non_null(strstr(e.msg, path));
	assert_non_null(strstr(e.msg, "line 2"));
	assert_int_equal(truncate(path, SPEC_MAX_BYTES + 1), 0);
	assert_err(spec_load(dir, &a, NULL, &s, &e), &e, ERR_INVALID);
	assert_non_null(strstr(e.msg, path));
	assert_null(s);
	assert_ok(path_remove_tree(AT_FDCWD, dir, &e), &e);
}

/* ---- seccomp ---- */

#define CALL(rest)                                                                             \
	"{\"defaultAction\":\"SCMP_ACT_ALLOW\",\"syscalls\":[{\"names\":[\"read\"]," rest "}]}"

static void test_seccomp(void **state)
{
	static const struct {
		const char *profile;
		enum err_kind kind; /* ERR_NONE: compiles */
		const char *text;   /* of the error or of the notes */
	} rows[] = {
		{ "{\"defaultAction\":\"SCMP_ACT_KILL_PROCESS\",\"architectures\":"
		  "[\"SCMP_ARCH_AARCH64\",\"SCMP_ARCH_X86_64\",\"SCMP_ARCH_RISCV64\"]}",
		  ERR_NONE, "" },
		/* twice the same argument: either comparison matches */
		{ CALL("\"action\":\"SCMP_ACT_KILL\",\"args\":[{\"index\":0,\"value\":1,\"op\":"
		       "\"SCMP_CMP_EQ\"},{\"index\":0,\"value\":2,\"op\":\"SCMP_CMP_EQ\"}]"),
		  ERR_NONE, "" },
		/* says what the default says, and nothing is left to compile */
		{ CALL("\"action\":\"SCMP_ACT_ALLOW\""), ERR_NONE, "" },
		{ CALL("\"action\":\"SCMP_ACT_ERRNO\",\"errnoRet\":4096"), ERR_INVALID,
		  "linux.seccomp.syscalls[0].action: errno 4096 is above 4095" },
		{ CALL("\"action\":\"SCMP_ACT_KILL\",\"args\":[{\"index\":6,\"value\":1,\"op\":"
		       "\"SCMP_CMP_EQ\"}]"),
		  ERR_INVALID, "linux.seccomp.syscalls[0].args[0].index" },
	};

	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		OWN(arena) struct arena a = { .limit = SPEC_ARENA_BYTES };
		struct guest_spec_options o = { .compile_seccomp = true };
		OWN(oci_notes) struct oci_notes notes = { 0 };
		struct guest_spec g = { .spec = NULL };
		char json[1000];
		struct err e = ERR_INIT;
		Grpc__Spec *s;

		(void)snprintf(json, sizeof(json),
			       "{\"ociVersion\":\"1.0.2\",\"root\":{\"path\":\"r\"},"
			       "\"process\":{\"args\":[\"sh\"],\"cwd\":\"/\"},"
			       "\"linux\":{\"seccomp\":%s}}",
			       rows[i].profile);
		if (spec_parse(json, strlen(json), &a, &s, &e) == 0)
			(void)guest_spec_make(s, &o, &a, &notes, &g, &e);
		if (e.kind != rows[i].kind || !(e.kind ? strstr(e.msg, rows[i].text) != NULL
						       : has_note(&notes, rows[i].text)))
			fail_msg("%s: %s: %s", rows[i].profile, err_kind_name(e.kind), e.msg);
		if (!e.kind && g.spec)
			assert_true(g.spec->linux->seccomp->program.len >= 8);
	}
}

/* The child leaves by the bare call: a sanitizer's _exit() looks for leaks first. */
static _Noreturn void leave(int status)
{
	(void)syscall(SYS_exit_group, status);
	__builtin_trap();
}

/* What a child gets that has the program: errno of a call, 0 if it succeeds. */
static int errno_under(const ProtobufCBinaryData *program, long number)
{
	struct sock_fprog prog = { .len = (unsigned short)(program->len / 8),
				   .filter = (struct sock_filter *)(void *)program->data };
	int status;
	pid_t pid = fork();

	assert_true(pid >= 0);
	if (pid == 0) {
		if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 ||
		    prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &prog) < 0)
			leave(255);
		leave(syscall(number) < 0 ? errno : 0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	return WIFEXITED(status) ? WEXITSTATUS(status) : 254;
}

/* Above the last call that the profile names there is what its author did not know. */
static void test_seccomp_newer(void **state)
{
	static const struct {
		const char *action;
		int newer;
	} rows[] = { { "SCMP_ACT_ERRNO", ENOSYS },
		     { "SCMP_ACT_KILL_PROCESS", ENOSYS },
		     { "SCMP_ACT_LOG", ENOSYS } /* the kernel's own */ };
	static char *names[] = { (char *)(uintptr_t) "exit_group", (char *)(uintptr_t) "exit",
				 (char *)(uintptr_t) "faccessat2" };
	static char *archs[] = { (char *)(uintptr_t) "SCMP_ARCH_X86_64",
				 (char *)(uintptr_t) "SCMP_ARCH_X86",
				 (char *)(uintptr_t) "SCMP_ARCH_X32" };
	Grpc__LinuxSyscall call = GRPC__LINUX_SYSCALL__INIT, *calls[] = { &call };

	call.names = names;
	call.n_names = ARRAY_LEN(names);
	call.action = (char *)(uintptr_t) "SCMP_ACT_ALLOW";
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		OWN(arena) struct arena a = { .limit = 1 << 20 };
		Grpc__LinuxSeccomp s = GRPC__LINUX_SECCOMP__INIT;
		struct err e;

		s.defaultaction = (char *)(uintptr_t)rows[i].action;
		s.architectures = archs;
		s.n_architectures = ARRAY_LEN(archs);
		s.syscalls = calls;
		s.n_syscalls = 1;
		assert_ok(seccomp_compile(&s, &a, NULL, &e), &e);
		assert_int_equal(errno_under(&s.program, 1000), rows[i].newer);
		assert_int_equal(errno_under(&s.program, SYS_getpid), i == 0   ? EPERM
								      : i == 1 ? 254
									       : 0);
	}
}

/* Values that only a message can have: JSON's check refuses them before. */
static void test_seccomp_messages(void **state)
{
	static const char *const words[][2] = { { "SCMP_ACT_NONE", "unknown value" },
						{ "", "unknown value" } };
	static char flag_name[] = "SECCOMP_FILTER_FLAG_NONE";
	char *flags[] = { flag_name };

	for (size_t i = 0; i < ARRAY_LEN(words); i++) {
		OWN(arena) struct arena a = { .limit = 1 << 20 };
		Grpc__LinuxSeccomp s = GRPC__LINUX_SECCOMP__INIT;
		struct err e;

		s.defaultaction = (char *)(uintptr_t)words[i][0];
		assert_err(seccomp_compile(&s, &a, NULL, &e), &e, ERR_INVALID);
		assert_non_null(strstr(e.msg, words[i][1]));
		s.defaultaction = (char *)(uintptr_t) "SCMP_ACT_ALLOW";
		s.flags = flags;
		s.n_flags = 1;
		assert_err(seccomp_compile(&s, &a, NULL, &e), &e, ERR_INVALID);
		assert_string_equal(e.msg, "linux.seccomp.flags[0] 'SECCOMP_FILTER_FLAG_NONE': "
					   "unknown value");
		assert_null(s.program.data);
	}
}

/* ---- cgroups in systemd's form ---- */

static void test_cgroups_path(void **state)
{
	static const struct {
		const char *slice, *path;
	} slices[] = {
		{ "-.slice", "" },
		{ "system.slice", "system.slice" },
		{ "a-b-c.slice", "a.slice/a-b.slice/a-b-c.slice" },
	};
	static const char *const bad[] = { "a",        ".slice",    "-a.slice",  "a--b.slice",
					   "a-.slice", "a.service", "a/b.slice", "" };
	struct systemd_cgroup c;
	char out[64], longest[400];
	struct err e;

	(void)state;
	assert_true(cgroups_path_is_systemd("a.slice:b:c"));
	assert_false(cgroups_path_is_systemd("a.slice:b"));
	assert_false(cgroups_path_is_systemd("a:b:c:d"));
	assert_false(cgroups_path_is_systemd("/a:b:c"));
	assert_ok(cgroups_path_systemd("a.slice:pre:name", &c, &e), &e);
	assert_string_equal(c.slice, "a.slice");
	assert_string_equal(c.unit, "pre-name.scope");
	assert_ok(cgroups_path_systemd("::name", &c, &e), &e);
	assert_string_equal(c.slice, "");
	assert_string_equal(c.unit, "name.scope");
	memset(longest, 'x', sizeof(longest));
	memcpy(longest, "a::", 3);
	longest[sizeof(longest) - 1] = '\0';
	assert_int_equal(cgroups_path_systemd(longest, &c, &e), -1);
	for (size_t i = 0; i < ARRAY_LEN(slices); i++) {
		assert_ok(systemd_slice_path(slices[i].slice, out, sizeof(out), &e), &e);
		assert_string_equal(out, slices[i].path);
	}
	for (size_t i = 0; i < ARRAY_LEN(bad); i++)
		assert_int_equal(systemd_slice_path(bad[i], out, sizeof(out), &e), -1);
	assert_int_equal(systemd_slice_path("a-b-c.slice", out, 12, &e), -1);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_mount_options),
		cmocka_unit_test(test_mount_words),
		cmocka_unit_test(test_names),
		cmocka_unit_test(test_identity),
		cmocka_unit_test(test_network_namespace),
		cmocka_unit_test(test_cgroups_path),
		cmocka_unit_test(test_process),
		cmocka_unit_test(test_resources),
		cmocka_unit_test(test_load),
		cmocka_unit_test(test_seccomp),
		cmocka_unit_test(test_seccomp_messages),
		cmocka_unit_test(test_seccomp_newer),
	};

	return cmocka_run_group_tests_name("oci parts", tests, NULL, NULL);
}
