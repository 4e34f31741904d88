/* SPDX-License-Identifier: Apache-2.0 */
/*
 * No container gets another filter than its profile asks for because memory was short. Each of
 * libseccomp's allocations fails once, in a child: libseccomp 2.5.4 may crash or spin then,
 * which costs this sandbox; what must not be is success with another program.
 */
#include "../unit/unit.h"

#include <signal.h>
#include <string.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/own.h"
#include "fail_nth.h"
#include "image/digest.h"
#include "oci/guest_spec.h"
#include "oci/notes.h"
#include "oci/spec.h"

enum {
	MAX_ALLOCS = 5000,
	/* how a child ends */
	SAME = 0,
	FAILED,
	OTHER,
	NONE_LEFT, /* nothing failed: it needs fewer allocations than that */
};

static const char spec_json[] =
	"{\"ociVersion\":\"1.0.2\",\"root\":{\"path\":\"r\"},"
	"\"process\":{\"args\":[\"sh\"],\"cwd\":\"/\"},"
	"\"linux\":{\"seccomp\":{\"defaultAction\":\"SCMP_ACT_ERRNO\",\"architectures\":"
	"[\"SCMP_ARCH_X86_64\",\"SCMP_ARCH_X86\"],\"syscalls\":["
	"{\"names\":[\"read\",\"write\",\"openat\",\"close\",\"mmap\",\"brk\",\"execve\",\"exit\","
	"\"futex\",\"fork\"],\"action\":\"SCMP_ACT_ALLOW\"},"
	"{\"names\":[\"mkdirat\"],\"action\":\"SCMP_ACT_KILL\",\"args\":[{\"index\":0,"
	"\"value\":1,\"op\":\"SCMP_CMP_EQ\"}]},"
	"{\"names\":[\"clone\"],\"action\":\"SCMP_ACT_ALLOW\",\"args\":[{\"index\":0,\"value\":"
	"2114060288,\"op\":\"SCMP_CMP_MASKED_EQ\"}]}]}}}";

static int compile(struct digest *out, struct err *e)
{
	const struct guest_spec_options o = { .compile_seccomp = true };
	OWN(arena) struct arena a = { .limit = SPEC_ARENA_BYTES };
	OWN(oci_notes) struct oci_notes notes = { 0 };
	struct guest_spec g;
	Grpc__Spec *s;

	if (spec_parse(spec_json, sizeof(spec_json) - 1, &a, &s, e) < 0 ||
	    guest_spec_make(s, &o, &a, &notes, &g, e) < 0)
		return -1;
	digest_of(g.spec->linux->seccomp->program.data, g.spec->linux->seccomp->program.len,
		  out);
	return 0;
}

static int in_child(long n, const struct digest *usual)
{
	struct fault_plan plan = { .fail_alloc = n };
	struct digest d;
	struct err e = ERR_INIT;
	int rc;

	fault_start(&plan);
	rc = compile(&d, &e);
	(void)fault_stop();
	if (fault_hits() == 0)
		return rc == 0 && digest_eq(&d, usual) ? NONE_LEFT : OTHER;
	if (rc < 0)
		return FAILED;
	return digest_eq(&d, usual) ? SAME : OTHER;
}

static void test_filter(void **state)
{
	const struct itimerval limit = { .it_value = { .tv_usec = 100 * 1000 } };
	int ends[NONE_LEFT + 1] = { 0 }, status;
	struct digest usual;
	struct err e;

	assert_ok(compile(&usual, &e), &e);
	for (long n = 1; n <= MAX_ALLOCS && !ends[NONE_LEFT]; n++) {
		pid_t pid = fork();

		assert_true(pid >= 0);
		if (pid == 0) {
			(void)close(STDERR_FILENO); /* the C library's words on each crash */
			(void)signal(SIGSEGV, SIG_DFL); /* not cmocka's business */
			(void)signal(SIGABRT, SIG_DFL);
			(void)setitimer(ITIMER_VIRTUAL, &limit, NULL); /* ends by SIGVTALRM */
			_exit(in_child(n, &usual));
		}
		assert_int_equal(waitpid(pid, &status, 0), pid);
		if (WIFSIGNALED(status))
			continue;
		if (WEXITSTATUS(status) == OTHER || WEXITSTATUS(status) > NONE_LEFT)
			fail_msg("allocation %ld: another filter, and success", n);
		ends[WEXITSTATUS(status)]++;
	}
	assert_int_equal(ends[NONE_LEFT], 1);
	assert_true(ends[FAILED] > 50);
}

int main(void)
{
	static const struct CMUnitTest tests[] = { cmocka_unit_test(test_filter) };

	return cmocka_run_group_tests_name("seccomp filter", tests, NULL, NULL);
}
