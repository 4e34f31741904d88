/* SPDX-License-Identifier: Apache-2.0 */
/* Who a container is, the spec that the guest gets, and the seccomp program at work. */
#include "unit.h"
#include "notes.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "base/buf.h"
#include "base/fd.h"
#include "base/mem.h"
#include "base/str.h"
#include "oci/annotations.h"
#include "oci/guest_spec.h"
#include "oci/seccomp.h"
#include "oci/spec.h"

#define CORPUS TEST_CORPUS "/oci"

static Grpc__Spec *load(const char *name, struct arena *a)
{
	OWN(free) char *path = str_printf(CORPUS "/%s", name);
	OWN(free) char *json = NULL;
	Grpc__Spec *s = NULL;
	struct err e;
	size_t len;

	assert_ok(file_read(AT_FDCWD, path, SPEC_MAX_BYTES, &json, &len, &e), &e);
	assert_ok(spec_parse(json, len, a, &s, &e), &e);
	return s;
}

static void test_identity(void **state)
{
	OWN(arena) struct arena a = { .limit = SPEC_ARENA_BYTES };
	struct oci_identity id;
	struct err e;
	Grpc__Spec *s;

	assert_ok(spec_identity(load("crictl-0.json", &a), &id, &e), &e);
	assert_int_equal(id.kind, OCI_POD_SANDBOX);
	s = load("crictl-4.json", &a);
	assert_ok(spec_identity(s, &id, &e), &e);
	assert_int_equal(id.kind, OCI_POD_CONTAINER);
	assert_string_equal(id.manager, "containerd");
	assert_int_equal(strlen(id.sandbox_id), 64);
	assert_string_equal(id.container_name, "c");
	assert_string_equal(id.pod_namespace, "default");
	assert_ok(spec_identity(load("docker-20_10-4.json", &a), &id, &e), &e);
	assert_int_equal(id.kind, OCI_SINGLE_CONTAINER);
	assert_null(id.manager);

	for (size_t i = 0; i < s->n_annotations; i++)
		if (str_ends(s->annotations[i]->key, "container-type"))
			s->annotations[i]->value = arena_strdup(&a, "other");
	assert_err(spec_identity(s, &id, &e), &e, ERR_INVALID);
	assert_non_null(strstr(e.msg, "container-type 'other': must be \"sandbox\" or"));
	for (size_t i = 0; i < s->n_annotations; i++) {
		if (str_ends(s->annotations[i]->key, "container-type"))
			s->annotations[i]->value = arena_strdup(&a, "container");
		if (str_ends(s->annotations[i]->key, "sandbox-id"))
			s->annotations[i]->value = arena_strdup(&a, "../x");
	}
	assert_err(spec_identity(s, &id, &e), &e, ERR_INVALID);
}

static bool has_namespace(const Grpc__Spec *s, const char *type)
{
	for (size_t i = 0; i < s->linux->n_namespaces; i++)
		if (str_eq(s->linux->namespaces[i]->type, type))
			return true;
	return false;
}

static int corpus_file(const struct dirent *d)
{
	return str_ends(d->d_name, ".json");
}

/* What must hold for every capture's guest spec. */
static void test_every_capture(void **state)
{
	static const struct guest_spec_options options = { .compile_seccomp = true };
	struct dirent **list = NULL;
	int n = scandir(CORPUS, &list, corpus_file, alphasort);
	struct err e;

	assert_true(n >= 12);
	for (int i = 0; i < n; i++) {
		OWN(arena) struct arena a = { .limit = SPEC_ARENA_BYTES };
		Grpc__Spec *host = load(list[i]->d_name, &a), *s;
		struct guest_spec g = { 0 };

		if (guest_spec_make(host, &options, &a, NULL, &g, &e) < 0)
			fail_msg("%s: %s", list[i]->d_name, e.msg);
		s = g.spec;
		assert_ok(spec_validate(s, &e), &e);
		assert_true(!s->hooks || s->hooks->n_startcontainer);
		assert_false(has_namespace(s, "network"));
		assert_int_equal(has_namespace(s, "pid"), !g.sandbox_pidns);
		for (size_t k = 0; k < s->linux->n_namespaces; k++)
			assert_string_equal(s->linux->namespaces[k]->path, "");
		assert_string_equal(s->process->apparmorprofile, "");
		assert_string_equal(s->process->selinuxlabel, "");
		assert_string_equal(s->linux->cgroupspath, "");
		assert_int_equal(host->linux->seccomp != NULL, s->linux->seccomp != NULL);
		if (s->linux->seccomp)
			assert_true(s->linux->seccomp->program.len >= 8);
		assert_int_equal(host->n_mounts, s->n_mounts);
		free(list[i]);
	}
	free(list);
}

static void test_edits(void **state)
{
	static const char text[] =
		"{\"ociVersion\":\"1.2.0\",\"root\":{\"path\":\"r\"},\"process\":{\"cwd\":\"/"
		"\","
		"\"args\":[\"a\"],\"apparmorProfile\":\"docker-default\",\"selinuxLabel\":\"l:"
		"abel\"},"
		"\"hooks\":{\"prestart\":[{\"path\":\"/a\"}],\"startContainer\":[{\"path\":\"/"
		"b\"}]},"
		"\"linux\":{\"namespaces\":[{\"type\":\"mount\"},{\"type\":\"pid\",\"path\":\"/"
		"proc/5/ns/pid\"},"
		"{\"type\":\"network\"}],\"cgroupsPath\":\"a:b:c\",\"resources\":{\"cpu\":{"
		"\"cpus\":\"0-1\","
		"\"quota\":5},\"blockIO\":{\"weight\":10},\"pids\":{\"limit\":5}},"
		"\"seccomp\":{\"defaultAction\":\"SCMP_ACT_ALLOW\"}}}";
	static const struct guest_spec_options options = { .disable_seccomp = true };
	OWN(arena) struct arena a = { .limit = SPEC_ARENA_BYTES };
	OWN(oci_notes) struct oci_notes notes = { 0 };
	struct guest_spec g = { 0 };
	Grpc__Spec *s = NULL;
	struct err e;

	assert_ok(spec_parse(text, strlen(text), &a, &s, &e), &e);
	assert_ok(guest_spec_make(s, &options, &a, &notes, &g, &e), &e);
	assert_true(g.sandbox_pidns);
	assert_int_equal(g.spec->linux->n_namespaces, 1);
	assert_int_equal(g.spec->hooks->n_prestart, 0);
	assert_int_equal(g.spec->hooks->n_startcontainer, 1);
	assert_null(g.spec->linux->seccomp);
	assert_null(g.spec->linux->resources->blockio);
	assert_int_equal(g.spec->linux->resources->cpu->quota, 5);
	assert_int_equal(g.spec->linux->resources->pids->limit, 5);
	assert_true(has_note(&notes, "AppArmor profile docker-default"));
	assert_true(has_note(&notes, "SELinux label l:abel"));
	assert_true(has_note(&notes, "cpuset"));
	assert_true(has_note(&notes, "the host's System V IPC"));
	assert_true(has_note(&notes, "the host's name"));
	assert_false(has_note(&notes, "the host's processes"));
	/* the caller's spec is as it was */
	assert_int_equal(s->linux->n_namespaces, 3);
	assert_string_equal(s->process->apparmorprofile, "docker-default");
	assert_non_null(s->linux->seccomp);

	assert_ok(guest_spec_check(s, &e), &e);
	s->linux->n_namespaces = 1; /* the network's went */
	assert_err(guest_spec_check(s, &e), &e, ERR_UNSUPPORTED);
	assert_non_null(strstr(e.msg, "network"));

	s->linux->namespaces[0]->type = arena_strdup(&a, "user");
	s->linux->namespaces[0]->path = arena_strdup(&a, "/proc/5/ns/user");
	assert_err(guest_spec_make(s, &options, &a, NULL, &g, &e), &e, ERR_UNSUPPORTED);
}

static int compile(const char *profile, struct arena *a, Grpc__LinuxSeccomp **out,
		   struct oci_notes *notes, struct err *e)
{
	OWN(free)
	char *text = str_printf("{\"ociVersion\":\"1.2.0\",\"root\":{\"path\":\"r\"},"
				"\"process\":{\"cwd\":\"/\",\"args\":[\"a\"]},"
				"\"linux\":{\"seccomp\":%s}}",
				profile);
	Grpc__Spec *s = NULL;

	if (spec_parse(text, strlen(text), a, &s, e) < 0)
		return -1;
	*out = s->linux->seccomp;
	return seccomp_compile(s->linux->seccomp, a, notes, e);
}

/* Installs the program and probes it; returns the number of the probe that failed. */
static int probe_filter(const Grpc__LinuxSeccomp *s)
{
	struct sock_fprog prog = { (unsigned short)(s->program.len / 8),
				   (struct sock_filter *)(void *)s->program.data };

	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
		return 1;
	if (syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, s->filterflags, &prog) < 0)
		return 2;
	if (syscall(SYS_mkdirat, -1, "x", 0) != -1 || errno != EXDEV)
		return 3;
	if (syscall(SYS_getpriority, 0, 0) != -1 || errno != EPERM)
		return 4;
	if (syscall(SYS_personality, 0xffffffff) < 0) /* allowed value */
		return 5;
	if (syscall(SYS_personality, 8) != -1 || errno != EPERM)
		return 6;
	if (syscall(SYS_dup, -1) != -1 || errno != EBADF) /* not filtered */
		return 7;
	return 0;
}

static void test_seccomp(void **state)
{
	static const char profile[] =
		"{\"defaultAction\":\"SCMP_ACT_ALLOW\",\"flags\":[\"SECCOMP_FILTER_FLAG_LOG\"],"
		"\"architectures\":[\"SCMP_ARCH_X86_64\",\"SCMP_ARCH_X86\"],\"syscalls\":["
		"{\"names\":[\"mkdirat\",\"no_such_call\"],\"action\":\"SCMP_ACT_ERRNO\","
		"\"errnoRet\":18},"
		"{\"names\":[\"getpriority\"],\"action\":\"SCMP_ACT_ERRNO\"},"
		"{\"names\":[\"dup\"],\"action\":\"SCMP_ACT_ALLOW\"},"
		"{\"names\":[\"personality\"],\"action\":\"SCMP_ACT_ERRNO\","
		"\"args\":[{\"index\":0,\"op\":\"SCMP_CMP_NE\",\"value\":4294967295}]}]}";
	OWN(arena) struct arena a = { .limit = SPEC_ARENA_BYTES };
	OWN(oci_notes) struct oci_notes notes = { 0 };
	Grpc__LinuxSeccomp *s = NULL;
	struct err e;
	int status;
	pid_t pid;

	if (compile(profile, &a, &s, &notes, &e) < 0 || !s) {
		fail_msg("%s", e.msg);
		return;
	}
	assert_true(has_note(&notes, "no system call no_such_call"));
	assert_int_equal(s->filterflags, SECCOMP_FILTER_FLAG_LOG);
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0)
		_exit(probe_filter(s));
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
}

static void test_seccomp_bad(void **state)
{
	static const struct {
		const char *profile, *want;
	} rows[] = {
		{ "{\"defaultAction\":\"SCMP_ACT_NOTIFY\"}",
		  "defaultAction 'SCMP_ACT_NOTIFY'" },
		{ "{\"defaultAction\":\"SCMP_ACT_ALLOW\",\"syscalls\":[{\"names\":[\"read\"],"
		  "\"action\":\"SCMP_ACT_NOTIFY\"}]}",
		  "linux.seccomp.syscalls[0].action 'SCMP_ACT_NOTIFY'" },
		{ "{\"defaultAction\":\"SCMP_ACT_ALLOW\",\"syscalls\":[{\"names\":[\"read\"],"
		  "\"action\":\"SCMP_ACT_KILL\",\"errnoRet\":1}]}",
		  "linux.seccomp.syscalls[0].action 'SCMP_ACT_KILL': takes no errno" },
		{ "{\"defaultAction\":\"SCMP_ACT_ERRNO\",\"defaultErrnoRet\":5000}",
		  "errno 5000 is above 4095" },
		{ "{\"defaultAction\":\"SCMP_ACT_ALLOW\","
		  "\"flags\":[\"SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV\"]}",
		  "only goes with a listener" },
	};

	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		OWN(arena) struct arena a = { .limit = SPEC_ARENA_BYTES };
		Grpc__LinuxSeccomp *s;
		struct err e;

		assert_int_equal(compile(rows[i].profile, &a, &s, NULL, &e), -1);
		if (!strstr(e.msg, rows[i].want))
			fail_msg("'%s' lacks '%s'", e.msg, rows[i].want);
	}
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_identity),    cmocka_unit_test(test_every_capture),
		cmocka_unit_test(test_edits),       cmocka_unit_test(test_seccomp),
		cmocka_unit_test(test_seccomp_bad),
	};

	return cmocka_run_group_tests_name("guest_spec", tests, NULL, NULL);
}
