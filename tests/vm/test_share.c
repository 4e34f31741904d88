/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Root file systems and volumes as a guest sees them, by virtio-fs and by 9p. Needs root.
 * A container's overlay, a volume with a later mount of the host in it, a file, removal.
 */
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/path.h"
#include "base/str.h"
#include "share/share.h"
#include "vm_help.h"

static char work[80];
static int host_namespace = -1; /* from which the "engine" has separated itself */

static const char *at(const char *name)
{
	static char path[4][128];
	static unsigned turn;

	turn = (turn + 1) % 4;
	(void)snprintf(path[turn], sizeof(path[turn]), "%s/%s", work, name);
	return path[turn];
}

static void write_file(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, text, strlen(text)), (ssize_t)strlen(text));
	(void)close(fd);
}

static void make_tree(void)
{
	static const char *const dirs[] = { "",    "lower",   "upper",     "work",
					    "vol", "vol/sub", "vol/plain", "base" };

	for (size_t i = 0; i < ARRAY_LEN(dirs); i++)
		assert_true(mkdir(at(dirs[i]), 0755) == 0 || i == 0);
	write_file(at("lower/from-image"), "image");
	write_file(at("vol/file"), "volume");
	write_file(at("single"), "one file");
}

static void mount_in_guest(struct vm *vm, const struct share_storage *st)
{
	char command[512] = "";
	size_t len;

	len = (size_t)snprintf(command, sizeof(command), "mkdir -p %s; mount -t %s%s",
			       st->mount_point, st->fstype, st->option_count ? " -o " : "");
	for (size_t i = 0; i < st->option_count; i++)
		len += (size_t)snprintf(command + len, sizeof(command) - len, "%s%s",
					i ? "," : "", st->options[i]);
	(void)snprintf(command + len, sizeof(command) - len, " %s %s", st->source,
		       st->mount_point);
	vm_expect(vm, command, NULL);
}

static void expect_in(struct vm *vm, const char *fmt, const char *path, const char *want)
{
	char command[800];
	size_t len = strcspn(fmt, "@");

	(void)snprintf(command, sizeof(command), "%.*s%s%s", (int)len, fmt, path,
		       fmt[len] ? fmt + len + 1 : "");
	vm_expect(vm, command, want);
}

/* What somebody does on the host after the volume was shared. */
static void mount_on_host(const char *where, const char *file, const char *text)
{
	int status;
	pid_t pid = fork();

	if (pid == 0) {
		if (setns(host_namespace, CLONE_NEWNS) < 0 ||
		    mount("late", where, "tmpfs", 0, NULL) < 0)
			_exit(1);
		write_file(file, text);
		_exit(0);
	}
	/* a child of ours alone: the reaper runs only in the loop */
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
}

static void check_rootfs(struct vm *vm, struct share *s)
{
	char options[512];
	const char *const words[] = { options, NULL };
	struct share_mount m = { .type = "overlay", .source = "overlay", .options = words };
	struct share_entry root, again;
	struct err e;

	(void)snprintf(options, sizeof(options), "lowerdir=%s,upperdir=%s,workdir=%s",
		       at("lower"), at("upper"), at("work"));
	assert_ok(share_add_rootfs(s, "c1", NULL, false, &m, 1, &root, &e), &e);
	assert_err(share_add_rootfs(s, "c1", NULL, false, &m, 1, &again, &e), &e, ERR_EXISTS);
	expect_in(vm, "cat @/from-image", root.guest_path, "image");
	expect_in(vm, "echo written > @/by-guest", root.guest_path, NULL);
	expect_in(vm, "rm @/from-image", root.guest_path, NULL);
	assert_int_equal(access(at("upper/by-guest"), F_OK), 0);
	expect_in(vm, "test ! -e @/from-image", root.guest_path, NULL);
}

/* By which ways to one directory the guest has one. `vol/sub` is mounted upon. */
static void check_ways(struct share *s)
{
	struct share_entry one, two;
	struct err e;

	assert_int_equal(symlink("vol", at("way")), 0);
	assert_ok(share_add_volume(s, "c3", at("vol/plain"), SHARE_PRIVATE, &one, &e), &e);
	assert_ok(share_add_volume(s, "c3", at("way/plain"), SHARE_PRIVATE, &two, &e), &e);
	assert_string_equal(one.guest_path, two.guest_path);
	assert_ok(share_add_volume(s, "c3", at("way/plain"), SHARE_PRIVATE | SHARE_READ_ONLY,
				   &two, &e),
		  &e);
	assert_string_equal(one.guest_path, two.guest_path);
	assert_ok(share_add_volume(s, "c3", at("way/plain"), 0, &two, &e), &e);
	assert_string_not_equal(one.guest_path, two.guest_path);
	assert_ok(share_add_volume(s, "c3", at("vol"), SHARE_PRIVATE, &one, &e), &e);
	assert_ok(share_add_volume(s, "c3", at("way"), SHARE_PRIVATE, &two, &e), &e);
	assert_string_not_equal(one.guest_path, two.guest_path);
	assert_ok(share_remove_container(s, "c3", &e), &e);
	assert_int_equal(unlink(at("way")), 0);
}

static void check_volume(struct vm *vm, struct share *s)
{
	struct share_entry vol, ro, file, conf, same;
	struct err e;

	assert_ok(share_add_volume(s, "c1", at("vol"), SHARE_READ_ONLY, &ro, &e), &e);
	assert_ok(share_add_volume(s, "c1", at("vol"), 0, &vol, &e), &e);
	assert_string_not_equal(vol.guest_path, ro.guest_path);
	assert_ok(share_add_volume(s, "c2", at("vol"), 0, &same, &e), &e);
	assert_string_equal(vol.guest_path, same.guest_path);
	/* who comes later and only reads is with those who write */
	assert_ok(share_add_volume(s, "c2", at("vol"), SHARE_READ_ONLY, &same, &e), &e);
	assert_string_equal(vol.guest_path, same.guest_path);
	assert_ok(share_add_volume(s, "c1", at("single"), 0, &file, &e), &e);
	assert_ok(share_add_file(s, "c1", "resolv.conf", "nameserver 1\n", 13, 0644, &conf, &e),
		  &e);
	expect_in(vm, "cat @/file", vol.guest_path, "volume");
	expect_in(vm, "! touch @/x 2>/dev/null", ro.guest_path, NULL);
	expect_in(vm, "touch @/x", vol.guest_path, NULL);
	expect_in(vm, "cat @", file.guest_path, "one file");
	expect_in(vm, "cat @", conf.guest_path, "nameserver 1");
	/* a mount of the host that comes later */
	mount_on_host(at("vol/sub"), at("vol/sub/late"), "late mount");
	expect_in(vm, "cat @/sub/late", vol.guest_path, "late mount");
	check_ways(s);
	assert_err(share_add_volume(s, "c1", "/dev/null", 0, &vol, &e), &e, ERR_UNSUPPORTED);
	assert_err(share_add_volume(s, "c1", "/nonexistent", 0, &vol, &e), &e, ERR_NOT_FOUND);
	assert_ok(share_remove_container(s, "c1", &e), &e);
	assert_int_not_equal(access(file.host_path, F_OK), 0);
	assert_int_equal(access(vol.host_path, F_OK), 0);
	expect_in(vm, "cat @/file", vol.guest_path, "volume");
	assert_ok(share_remove_container(s, "c2", &e), &e);
	assert_int_not_equal(access(vol.host_path, F_OK), 0);
	/* the guest may believe in it for as long as virtio-fs caches names: a second */
	expect_in(vm, "for i in $(seq 50); do test -e @ || exit 0; usleep 100000; done; exit 1",
		  file.guest_path, NULL);
}

/* Made once; what the guest writes by one container's volume the other's has too. */
static void check_made_file(struct vm *vm, struct share *s)
{
	char path[SHARE_PATH_LEN], again[SHARE_PATH_LEN];
	struct share_entry one, two;
	struct err e;

	assert_ok(share_make_file(s, "hosts", "made\n", 5, path, &e), &e);
	assert_ok(share_add_volume(s, "c1", path, 0, &one, &e), &e);
	expect_in(vm, "cat @", one.guest_path, "made");
	expect_in(vm, "echo written >@", one.guest_path, NULL);
	assert_ok(share_remove_container(s, "c1", &e), &e);
	assert_ok(share_make_file(s, "hosts", "made\n", 5, again, &e), &e);
	assert_string_equal(again, path);
	assert_ok(share_add_volume(s, "c2", path, SHARE_READ_ONLY, &two, &e), &e);
	expect_in(vm, "cat @", two.guest_path, "written");
	expect_in(vm, "! echo x 2>/dev/null >@", two.guest_path, NULL);
	assert_ok(share_remove_container(s, "c2", &e), &e);
	assert_err(share_make_file(s, "../x", "", 0, path, &e), &e, ERR_INVALID);
}

static void check_share(struct vm *vm, enum share_fs fs)
{
	OWN(share) struct share *s = NULL;
	char base[64];
	struct share_config c = { .sandbox_id = "sb1",
				  .fs = fs,
				  .guest_fs = SHARE_GUEST_VIRTIO_FS | SHARE_GUEST_9P };
	struct err e;

	(void)snprintf(base, sizeof(base), "%s", at("base"));
	c.base = base;
	assert_ok(vmm_caps_of("qemu", NULL, ACCEL_TCG, &c.vmm_caps, &e), &e);
	assert_ok(share_new(vm->loop, &vm->reaper, &c, vm_deadline(), &s, &e), &e);
	assert_true(share_device(s, &vm->devices[vm->device_count++]));
	vm->config.shared_memory = share_needs_shared_memory(s);
	if (share_needs_root_vmm(s))
		vm->config.uid = vm->config.gid = 0;
	vm_boot(vm);
	mount_in_guest(vm, share_storage(s));
	check_rootfs(vm, s);
	check_volume(vm, s);
	check_made_file(vm, s);
	share_free(TAKE(s));
	assert_int_not_equal(access(at("base/sb1"), F_OK), 0);
}

static void virtio_fs(struct vm *vm)
{
	check_share(vm, SHARE_FS_VIRTIO_FS);
}

static void nine_p(struct vm *vm)
{
	check_share(vm, SHARE_FS_9P);
}

/* The host's mounts are of the parent's namespace: volumes must see what happens there. */
static int enter(void **state)
{
	struct err e;

	(void)state;
	(void)snprintf(work, sizeof(work), "%s/vmshare.XXXXXX",
		       getenv("KATA_TEST_TMP") ? getenv("KATA_TEST_TMP") : "/tmp");
	assert_non_null(mkdtemp(work));
	assert_int_equal(unshare(CLONE_NEWNS), 0);
	assert_int_equal(mount(NULL, "/", NULL, MS_REC | MS_SLAVE, NULL), 0);
	assert_int_equal(mount("vmshare", work, "tmpfs", 0, NULL), 0);
	assert_int_equal(mount(NULL, work, NULL, MS_SHARED, NULL), 0);
	make_tree();
	host_namespace = open("/proc/self/ns/mnt", O_RDONLY | O_CLOEXEC);
	assert_true(host_namespace >= 0);
	assert_ok(share_enter_namespace(&e), &e);
	return 0;
}

static int leave(void **state)
{
	(void)state;
	assert_int_equal(setns(host_namespace, CLONE_NEWNS), 0);
	(void)close(host_namespace);
	(void)umount2(work, MNT_DETACH);
	(void)rmdir(work);
	return 0;
}

static void test_virtio_fs(void **state)
{
	(void)state;
	vm_run(virtio_fs);
}

static void test_9p(void **state)
{
	(void)state;
	vm_run(nine_p);
}

static void refusals(struct vm *vm)
{
	struct share_config c = { .sandbox_id = "sb2", .fs = SHARE_FS_VIRTIO_FS };
	struct share *s;
	struct err e;

	c.guest_fs = SHARE_GUEST_9P;
	assert_ok(vmm_caps_of("qemu", NULL, ACCEL_TCG, &c.vmm_caps, &e), &e);
	assert_err(share_new(vm->loop, &vm->reaper, &c, vm_deadline(), &s, &e), &e,
		   ERR_UNSUPPORTED);
	assert_non_null(strstr(e.msg, "guest's kernel has no virtio-fs"));
	c.guest_fs = SHARE_GUEST_VIRTIO_FS;
	c.virtiofsd = "/nonexistent/virtiofsd";
	assert_err(share_new(vm->loop, &vm->reaper, &c, vm_deadline(), &s, &e), &e,
		   ERR_UNSUPPORTED);
	assert_non_null(strstr(e.msg, "/nonexistent/virtiofsd"));
	/* what the configuration names must be there, however the share is chosen */
	c.fs = SHARE_FS_AUTO;
	assert_err(share_new(vm->loop, &vm->reaper, &c, vm_deadline(), &s, &e), &e,
		   ERR_NOT_FOUND);
	c.guest_fs = 0;
	assert_err(share_new(vm->loop, &vm->reaper, &c, vm_deadline(), &s, &e), &e,
		   ERR_UNSUPPORTED);
	assert_non_null(strstr(e.msg, "no way to share files"));
	c.sandbox_id = "../x";
	assert_err(share_new(vm->loop, &vm->reaper, &c, vm_deadline(), &s, &e), &e,
		   ERR_INVALID);
}

static void test_refusals(void **state)
{
	(void)state;
	vm_run(refusals);
}

/* For run.py: prints what runs, then waits to be killed. */
static void hold(struct vm *vm)
{
	struct share_config c = { .sandbox_id = "held",
				  .fs = SHARE_FS_VIRTIO_FS,
				  .guest_fs = SHARE_GUEST_VIRTIO_FS };
	struct share *s = NULL;
	struct err e;

	c.base = at("base");
	assert_ok(vmm_caps_of("qemu", NULL, ACCEL_TCG, &c.vmm_caps, &e), &e);
	assert_ok(share_new(vm->loop, &vm->reaper, &c, vm_deadline(), &s, &e), &e);
	assert_true(share_device(s, &vm->devices[vm->device_count++]));
	vm->config.shared_memory = true;
	vm_boot(vm);
	mount_in_guest(vm, share_storage(s));
	printf("PIDS %d %d\n", (int)vmm_pid(vm->vmm), (int)share_pid(s));
	(void)fflush(stdout);
	(void)fiber_sleep(vm->loop, 100000, &e);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_refusals),
		cmocka_unit_test_setup_teardown(test_virtio_fs, enter, leave),
		cmocka_unit_test_setup_teardown(test_9p, enter, leave),
	};

	if (argc == 2 && strcmp(argv[1], "hold") == 0) {
		void *state = NULL;

		(void)enter(&state);
		vm_run(hold);
		return 0;
	}
	if (argc == 2)
		cmocka_set_test_filter(argv[1]);
	return cmocka_run_group_tests_name("share", tests, NULL, NULL);
}
