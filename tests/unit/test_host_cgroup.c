/* SPDX-License-Identifier: Apache-2.0 */
/* Where the hierarchies of cgroups are, in every layout. */
#include "unit.h"

#include <stdlib.h>
#include <string.h>

#include "base/own.h"
#include "sandbox/host_cgroup.h"
#include "sandbox/systemd_scope.h"

static size_t roots(const char *mountinfo, const char *own, struct host_cgroup_root *out)
{
	OWN(free) char *text = strdup(mountinfo);

	assert_non_null(text);
	return host_cgroup_roots(text, own, out);
}

static void test_version_2(void **state)
{
	struct host_cgroup_root r[HOST_CGROUP_ROOTS];

	(void)state;
	assert_int_equal(
		roots("24 1 0:22 / /proc rw - proc proc rw\n"
		      "29 23 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw\n",
		      "0::/system.slice/containerd.service\n", r),
		1);
	assert_true(r[0].unified);
	assert_string_equal(r[0].mount, "/sys/fs/cgroup");
	assert_string_equal(r[0].home, "/sys/fs/cgroup/system.slice/containerd.service");
}

static void test_version_1(void **state)
{
	static const char mounts[] =
		"30 29 0:27 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n"
		"31 29 0:28 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,xattr,name=systemd\n"
		"32 29 0:29 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n"
		"33 29 0:30 / /sys/fs/cgroup/memory rw shared:9 master:2 - cgroup cgroup rw,memory\n"
		"34 29 0:30 / /mnt/other rw - cgroup cgroup rw,memory\n";
	struct host_cgroup_root r[HOST_CGROUP_ROOTS];

	(void)state;
	assert_int_equal(
		roots(mounts, "5:memory:/a/b\n4:cpu,cpuacct:/\n1:name=systemd:/x\n0::/\n", r),
		2);
	assert_false(r[0].unified);
	assert_string_equal(r[0].mount, "/sys/fs/cgroup/cpu,cpuacct");
	assert_string_equal(r[0].home, "/sys/fs/cgroup/cpu,cpuacct/");
	assert_string_equal(r[1].home, "/sys/fs/cgroup/memory/a/b");
}

/* In a container the mount shows a part of the hierarchy. */
static void test_mounted_part(void **state)
{
	struct host_cgroup_root r[HOST_CGROUP_ROOTS];

	(void)state;
	assert_int_equal(
		roots("9 8 0:5 /docker/x /sys/fs/cgroup/memory ro - cgroup c rw,memory\n",
		      "5:memory:/docker/x/in\n", r),
		1);
	assert_string_equal(r[0].home, "/sys/fs/cgroup/memory/in");
	assert_int_equal(
		roots("9 8 0:5 /docker/x /sys/fs/cgroup/memory ro - cgroup c rw,memory\n",
		      "5:memory:/docker/xy\n", r),
		1);
	assert_string_equal(r[0].home, "/sys/fs/cgroup/memory");
}

static void test_broken(void **state)
{
	static const char *const texts[] = { "",
					     "x",
					     "1 2 3",
					     "a b c d e f - cgroup",
					     " - - - -\n\n",
					     "1 2 3 / /m rw - cgroup c rw,name=x\n" };
	struct host_cgroup_root r[HOST_CGROUP_ROOTS];

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(texts); i++)
		assert_int_equal(roots(texts[i], "nonsense\n::\n", r), 0);
}

static void test_refused_paths(void **state)
{
	static const char *const paths[] = { "/a/../b", "..", "/", "//", "/a//b", "/a/./b" };
	struct host_cgroup *c;
	struct err e;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(paths); i++) {
		assert_int_equal(host_cgroup_enter(NULL, NULL, paths[i], "/nowhere/record",
						   NULL, &c, &e),
				 -1);
		assert_int_equal(e.kind, ERR_INVALID);
		assert_null(c);
	}
}

/* A scope where systemd does not run is refused by name, not left out. */
static void test_without_systemd(void **state)
{
	struct host_cgroup *c;
	struct err e;

	(void)state;
	if (systemd_runs())
		skip_because("systemd runs here");
	assert_int_equal(host_cgroup_enter(NULL, NULL, "a.slice:cri-containerd:x",
					   "/nowhere/record", NULL, &c, &e),
			 -1);
	assert_int_equal(e.kind, ERR_UNSUPPORTED);
	assert_non_null(strstr(e.msg, "'cri-containerd-x.scope' in 'a.slice'"));
	assert_null(c);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_version_2),     cmocka_unit_test(test_version_1),
		cmocka_unit_test(test_mounted_part),  cmocka_unit_test(test_broken),
		cmocka_unit_test(test_refused_paths), cmocka_unit_test(test_without_systemd),
	};

	return cmocka_run_group_tests_name("host_cgroup", tests, NULL, NULL);
}
