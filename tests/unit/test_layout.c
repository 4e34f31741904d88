/* SPDX-License-Identifier: Apache-2.0 */
/* Paths of Kata's usual layout that an installation does not have. */
#include "unit.h"
#include "notes.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/mem.h"
#include "base/path.h"
#include "base/str.h"
#include "config/config.h"
#include "sandbox/guest_assets.h"
#include "sandbox/layout.h"

/* An installation: programs in its bin/, the guest beside them as in a build directory. */
struct tree {
	char dir[64];
	char bin[96];
	struct arena a;
};

static void put(struct tree *t, const char *name, const char *text)
{
	OWN(free) char *path = str_printf("%s/%s", t->dir, name);
	struct err e;

	assert_ok(file_replace(AT_FDCWD, path, text, strlen(text), 0644, false, &e), &e);
}

static const char *in(struct tree *t, const char *name)
{
	const char *path = arena_printf(&t->a, "%s/%s", t->dir, name);

	assert_non_null(path);
	return path;
}

static void make(struct tree *t, const char *modules)
{
	static const char *const dirs[] = { "bin", "guest", "share", "share/kata-containers",
					    "libexec" };

	*t = (struct tree){ .dir = "/tmp/kata-test-layout-XXXXXX" };
	arena_init(&t->a, 1 << 20);
	assert_non_null(mkdtemp(t->dir));
	(void)snprintf(t->bin, sizeof(t->bin), "%s/bin", t->dir);
	for (size_t i = 0; i < ARRAY_LEN(dirs); i++)
		assert_int_equal(mkdir(in(t, dirs[i]), 0755), 0);
	put(t, "guest/vmlinux", "");
	put(t, "guest/initrd", "");
	put(t, "guest/kernel.info", modules);
}

static void end(struct tree *t)
{
	struct err e;

	assert_ok(path_remove_tree(AT_FDCWD, t->dir, &e), &e);
	arena_fini(&t->a);
}

#define KERNEL "share/kata-containers/vmlinux.container"
#define IMAGE  "share/kata-containers/kata-containers.img"
#define INITRD "share/kata-containers/kata-containers-initrd.img"

static void test_missing(void **state)
{
	static const char *const named[] = { KERNEL, "guest/vmlinux", IMAGE, "guest/initrd" };
	OWN(config) struct kata_config *c = NULL;
	OWN(oci_notes) struct oci_notes notes = { .count = 0 };
	struct tree t;
	struct err e;

	make(&t, "modules=no\n");
	assert_ok(config_new(&c, &e), &e);
	c->hypervisor.kernel = in(&t, KERNEL);
	c->hypervisor.image = in(&t, IMAGE);
	assert_ok(layout_settle_from(t.bin, c, &notes, &e), &e);
	assert_string_equal(c->hypervisor.kernel, in(&t, "guest/vmlinux"));
	assert_string_equal(c->hypervisor.image, "");
	assert_string_equal(c->hypervisor.initrd, in(&t, "guest/initrd"));
	assert_int_equal(notes.count, 2);
	for (size_t i = 0; i < ARRAY_LEN(named); i++)
		assert_true(has_note(&notes, in(&t, named[i])));
	end(&t);
}

/* Empty paths, paths that are there, and names of the user's own. */
static void test_others_stay(void **state)
{
	OWN(config) struct kata_config *c = NULL;
	OWN(oci_notes) struct oci_notes notes = { .count = 0 };
	struct config_hypervisor *h;
	struct tree t;
	struct err e;

	make(&t, "modules=no\n");
	put(&t, IMAGE, "");
	assert_ok(config_new(&c, &e), &e);
	h = &c->hypervisor;
	assert_ok(layout_settle_from(t.bin, c, &notes, &e), &e);
	assert_string_equal(h->kernel, "");
	h->path = in(&t, "bin/qemu");
	h->kernel = in(&t, "share/kata-containers/my-kernel");
	h->image = in(&t, IMAGE);
	h->virtio_fs_daemon = in(&t, "bin/virtiofsd");
	assert_ok(layout_settle_from(t.bin, c, &notes, &e), &e);
	assert_string_equal(h->path, in(&t, "bin/qemu"));
	assert_string_equal(h->kernel, in(&t, "share/kata-containers/my-kernel"));
	assert_string_equal(h->image, in(&t, IMAGE));
	assert_string_equal(h->initrd, "");
	assert_string_equal(h->virtio_fs_daemon, in(&t, "bin/virtiofsd"));
	/* both: an error for whoever looks at them, not a choice */
	h->image = in(&t, "share/kata-containers/../" IMAGE);
	h->initrd = in(&t, "guest/initrd");
	assert_ok(layout_settle_from(t.bin, c, &notes, &e), &e);
	assert_true(*h->image && *h->initrd);
	assert_int_equal(notes.count, 0);
	end(&t);
}

static void test_nothing_in_its_place(void **state)
{
	OWN(config) struct kata_config *c = NULL;
	OWN(oci_notes) struct oci_notes notes = { .count = 0 };
	struct tree t;
	struct err e;

	if (access("/opt/kata", F_OK) == 0 || access("/usr/share/kata-containers", F_OK) == 0)
		skip_because("this host has another installation");
	make(&t, "modules=no\n");
	assert_int_equal(unlink(in(&t, "guest/initrd")), 0);
	assert_ok(config_new(&c, &e), &e);
	c->hypervisor.initrd = in(&t, INITRD);
	assert_ok(layout_settle_from(t.bin, c, &notes, &e), &e);
	assert_string_equal(c->hypervisor.initrd, in(&t, INITRD));
	assert_int_equal(notes.count, 0);
	end(&t);
}

/* The usual image is there, and the kernel's drivers are in the initrd. */
static void test_image_and_modules(void **state)
{
	OWN(config) struct kata_config *c = NULL;
	OWN(oci_notes) struct oci_notes notes = { .count = 0 };
	struct guest_assets g = { .has_modules = false };
	struct tree t;
	struct err e;

	make(&t, "modules=yes\n");
	put(&t, IMAGE, "");
	assert_ok(config_new(&c, &e), &e);
	c->hypervisor.image = in(&t, IMAGE);
	assert_ok(layout_settle_from(t.bin, c, &notes, &e), &e);
	assert_string_equal(c->hypervisor.image, "");
	assert_string_equal(c->hypervisor.initrd, in(&t, "guest/initrd"));
	assert_true(has_note(&notes, "make guest-kernel"));
	assert_true(has_note(&notes, in(&t, IMAGE)));
	/* a kernel of the user's own is not that one */
	assert_ok(guest_assets_of_kernel("/own/vmlinux", t.bin, &t.a, &g, &e), &e);
	assert_false(g.has_modules);
	assert_ok(guest_assets_of_kernel(in(&t, "guest/vmlinux"), t.bin, &t.a, &g, &e), &e);
	assert_true(g.has_modules);
	end(&t);
}

/* Whatever the host has of them. */
static void test_programs(void **state)
{
	OWN(config) struct kata_config *c = NULL;
	OWN(oci_notes) struct oci_notes notes = { .count = 0 };
	struct config_hypervisor *h;
	struct tree t;
	struct err e;

	make(&t, "modules=no\n");
	assert_ok(config_new(&c, &e), &e);
	h = &c->hypervisor;
	h->path = in(&t, "bin/qemu-system-x86_64");
	h->virtio_fs_daemon = in(&t, "libexec/virtiofsd");
	assert_ok(layout_settle_from(t.bin, c, &notes, &e), &e);
	end(&t);
	if (notes.count != 2)
		skip_because("no QEMU or no virtiofsd on this host");
	assert_int_equal(access(h->path, X_OK), 0);
	assert_int_equal(access(h->virtio_fs_daemon, X_OK), 0);
	assert_true(has_note(&notes, "bin/qemu-system-x86_64' is not there"));
	assert_true(has_note(&notes, h->virtio_fs_daemon));
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_missing),
		cmocka_unit_test(test_others_stay),
		cmocka_unit_test(test_nothing_in_its_place),
		cmocka_unit_test(test_image_and_modules),
		cmocka_unit_test(test_programs),
	};

	return cmocka_run_group_tests_name("layout", tests, NULL, NULL);
}
