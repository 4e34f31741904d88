/* SPDX-License-Identifier: Apache-2.0 */
/* Which bind mounts are of devices, and what the agent is told of them. */
#include "unit.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include "base/own.h"
#include "base/str.h"
#include "sandbox/device_mounts.h"
#include "sandbox/disks.h"
#include "sandbox/internal.h"

struct scene {
	struct container c;
	Grpc__Spec spec;
	Grpc__Mount m, *mounts[1];
	char type[8], destination[8];
};

static void set_up(struct scene *s, const char *source)
{
	*s = (struct scene){ .spec = GRPC__SPEC__INIT,
			     .m = GRPC__MOUNT__INIT,
			     .type = "bind",
			     .destination = "/x" };
	arena_init(&s->c.arena, 1 << 16);
	s->m.type = s->type;
	s->m.source = (char *)(uintptr_t)source;
	s->m.destination = s->destination;
	s->mounts[0] = &s->m;
	s->spec.mounts = s->mounts;
	s->spec.n_mounts = 1;
	s->c.spec = &s->spec;
}

static void test_character_device(void **state)
{
	struct scene s;
	struct stat st;
	char want[64];
	struct err e;

	(void)state;
	set_up(&s, "/dev/zero");
	assert_int_equal(stat("/dev/zero", &st), 0);
	(void)snprintf(want, sizeof(want), "mode=%04o,uid=%u,gid=%u", st.st_mode & 07777,
		       st.st_uid, st.st_gid);
	assert_false(device_mounts_want_disks(&s.spec));
	assert_int_equal(device_mount_use(&s.c, &s.m, true, &e), 1);
	assert_string_equal(s.m.source, "c 1:5");
	assert_int_equal(s.c.device_count, 1);
	assert_string_equal(s.c.devices[0]->type, "char");
	assert_string_equal(s.c.devices[0]->container_path, "c 1:5");
	assert_string_equal(s.c.devices[0]->vm_path, "zero");
	assert_int_equal(s.c.devices[0]->n_options, 1);
	assert_string_equal(s.c.devices[0]->options[0], want);
	arena_fini(&s.c.arena);
}

static void test_too_many(void **state)
{
	struct scene s;
	struct err e;

	(void)state;
	set_up(&s, "/dev/null");
	s.c.device_count = CONTAINER_DEVICES_MAX;
	assert_err(device_mount_use(&s.c, &s.m, false, &e), &e, ERR_UNSUPPORTED);
	arena_fini(&s.c.arena);
}

static void test_no_device(void **state)
{
	static const char *const sources[] = { "/", "/proc/self/exe", "/no/such/file" };

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(sources); i++) {
		struct scene s;
		struct err e;

		set_up(&s, sources[i]);
		assert_int_equal(device_mount_use(&s.c, &s.m, false, &e), 0);
		assert_ptr_equal(s.m.source, sources[i]);
		assert_int_equal(s.c.device_count, 0);
		assert_false(device_mounts_want_disks(&s.spec));
		arena_fini(&s.c.arena);
	}
}

/* One that cannot be plugged in is named, and nobody is told of it. */
static void test_block_device(void **state)
{
	static const char *const nodes[] = { "/dev/loop0", "/dev/vda", "/dev/sda",
					     "/dev/nvme0n1" };
	struct scene s;
	struct stat st;
	struct err e;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(nodes); i++) {
		if (stat(nodes[i], &st) < 0 || !S_ISBLK(st.st_mode))
			continue;
		set_up(&s, nodes[i]);
		assert_true(device_mounts_want_disks(&s.spec));
		s.c.disk_count = DISKS_MAX;
		assert_err(device_mount_use(&s.c, &s.m, false, &e), &e, ERR_UNSUPPORTED);
		assert_non_null(strstr(e.msg, nodes[i]));
		assert_non_null(strstr(e.msg, "disks of a container"));
		assert_int_equal(s.c.device_count, 0);
		arena_fini(&s.c.arena);
		return;
	}
	skip_because("there is no block device");
}

static void test_who_may_write(void **state)
{
	char b[] = "b", c[] = "c", r[] = "r", rw[] = "rwm";
	Grpc__LinuxDeviceCgroup rules[] = { GRPC__LINUX_DEVICE_CGROUP__INIT,
					    GRPC__LINUX_DEVICE_CGROUP__INIT };
	Grpc__LinuxDeviceCgroup *list[] = { &rules[0], &rules[1] };
	Grpc__LinuxResources res = GRPC__LINUX_RESOURCES__INIT;
	Grpc__Linux l = GRPC__LINUX__INIT;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rules); i++) {
		rules[i].allow = true;
		rules[i].major = 7;
		rules[i].type = i ? b : c;
		rules[i].access = i ? r : rw;
	}
	res.devices = list;
	res.n_devices = ARRAY_LEN(list);
	assert_true(disk_may_write(NULL, 7, 0));
	assert_true(disk_may_write(&l, 7, 0));
	l.resources = &res;
	assert_false(disk_may_write(&l, 7, 0));
	assert_true(disk_may_write(&l, 7, 1));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_character_device), cmocka_unit_test(test_too_many),
		cmocka_unit_test(test_no_device),        cmocka_unit_test(test_block_device),
		cmocka_unit_test(test_who_may_write),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
