/* SPDX-License-Identifier: Apache-2.0 */
/* Which files the configuration and the guest come from, and how drop-ins mend the main one. */
#include "unit.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/fd.h"
#include "base/mem.h"
#include "base/path.h"
#include "base/str.h"
#include "config/config.h"
#include "config/paths.h"

static void put(const char *dir, const char *name, const char *text)
{
	OWN(free) char *path = str_printf("%s/%s", dir, name);
	struct err e;

	assert_ok(file_replace(AT_FDCWD, path, text, strlen(text), 0644, false, &e), &e);
}

static void test_load(void **state)
{
	char dir[] = "/tmp/kata-test-config-XXXXXX";
	OWN(config) struct kata_config *c = NULL, *from_env = NULL, *bad = NULL;
	OWN(free) char *file = NULL, *sub = NULL;
	struct err e;

	assert_non_null(mkdtemp(dir));
	file = str_printf("%s/k.toml", dir);
	sub = str_printf("%s/config.d", dir);
	assert_int_equal(mkdir(sub, 0755), 0);
	put(dir, "k.toml",
	    "[hypervisor.qemu]\ndefault_memory = 100\ndefault_maxmemory = 300\n");
	put(sub, "20-b.toml", "[hypervisor.qemu]\ndefault_memory = 200\n");
	put(sub, "10-a.toml",
	    "[hypervisor.qemu]\ndefault_memory = 150\nkernel_params = 'quiet'\n");
	put(sub, "note.txt", "this is no TOML");
	assert_ok(config_load(file, &c, &e), &e);
	assert_int_equal(c->hypervisor.default_memory, 200);
	assert_int_equal(c->hypervisor.default_maxmemory, 300);
	assert_string_equal(c->hypervisor.kernel_params, "quiet");
	assert_string_equal(c->file, file);
	assert_int_equal(c->drop_ins, 2);

	assert_int_equal(setenv("KATA_CONF_FILE", file, 1), 0);
	assert_ok(config_load(NULL, &from_env, &e), &e);
	assert_string_equal(from_env->file, file);
	assert_err(config_load("/nonexistent.toml", &bad, &e), &e, ERR_NOT_FOUND);
	assert_non_null(strstr(e.msg, "load TOML config failed: "));
	assert_non_null(strstr(e.msg, "/nonexistent.toml"));
	assert_null(bad);
	assert_int_equal(unsetenv("KATA_CONF_FILE"), 0);

	put(sub, "30-c.toml", "[runtime]\nlog_level = 7\n");
	assert_err(config_load(file, &bad, &e), &e, ERR_INVALID);
	assert_non_null(
		strstr(e.msg, "config.d/30-c.toml:2: [runtime] log_level: must be a string"));
	assert_ok(path_remove_tree(AT_FDCWD, dir, &e), &e);
}

/* Installers put a link at the first place, to where the file and its drop-ins are. */
static void test_load_of_a_link(void **state)
{
	char dir[] = "/tmp/kata-test-config-XXXXXX";
	OWN(config) struct kata_config *c = NULL, *both = NULL, *same = NULL;
	OWN(free) char *link = NULL, *here = NULL, *there = NULL, *drop = NULL;
	struct err e;

	assert_non_null(mkdtemp(dir));
	link = str_printf("%s/etc/k.toml", dir);
	here = str_printf("%s/etc", dir);
	there = str_printf("%s/opt", dir);
	assert_int_equal(mkdir(here, 0755) | mkdir(there, 0755), 0);
	assert_int_equal(symlink("../opt/real.toml", link), 0);
	put(there, "real.toml", "[hypervisor.qemu]\ndefault_memory = 100\n");
	drop = str_printf("%s/config.d", there);
	assert_int_equal(mkdir(drop, 0755), 0);
	put(drop, "50.toml", "[hypervisor.qemu]\ndefault_memory = 200\nmemory_slots = 2\n");
	assert_ok(config_load(link, &c, &e), &e);
	assert_int_equal(c->hypervisor.default_memory, 200);
	assert_int_equal(c->drop_ins, 1);

	/* those beside the link come last, whatever their names */
	own_free(&drop);
	drop = str_printf("%s/config.d", here);
	assert_int_equal(mkdir(drop, 0755), 0);
	put(drop, "10.toml", "[hypervisor.qemu]\ndefault_memory = 300\n");
	assert_ok(config_load(link, &both, &e), &e);
	assert_int_equal(both->hypervisor.default_memory, 300);
	assert_int_equal(both->hypervisor.memory_slots, 2);
	assert_int_equal(both->drop_ins, 2);

	/* one directory is read once */
	assert_ok(path_remove_tree(AT_FDCWD, drop, &e), &e);
	assert_int_equal(symlink("../opt/config.d", drop), 0);
	assert_ok(config_load(link, &same, &e), &e);
	assert_int_equal(same->drop_ins, 1);
	assert_ok(path_remove_tree(AT_FDCWD, dir, &e), &e);
}

/* What `main` and then `drop` say, in files. */
static int load_two(const char *main, const char *drop, struct kata_config **out, struct err *e)
{
	char dir[] = "/tmp/kata-test-config-XXXXXX";
	OWN(free) char *file = NULL, *sub = NULL;
	struct err later;
	int rc;

	assert_non_null(mkdtemp(dir));
	file = str_printf("%s/k.toml", dir);
	sub = str_printf("%s/config.d", dir);
	assert_int_equal(mkdir(sub, 0755), 0);
	put(dir, "k.toml", main);
	put(sub, "drop.toml", drop);
	rc = config_load(file, out, e);
	assert_ok(path_remove_tree(AT_FDCWD, dir, &later), &later);
	return rc;
}

/* Only what all files say together is judged. */
static void test_mended_by_a_drop_in(void **state)
{
	static const struct {
		const char *main, *drop;
		unsigned warnings;
	} rows[] = {
		{ "[hypervisor.qemu]\nenable_iommu = true\n",
		  "[hypervisor.qemu]\nenable_iommu = false\n", 0 },
		{ "[hypervisor.qemu]\ndefault_memory = 1\n",
		  "[hypervisor.qemu]\ndefault_memory = 100\n", 0 },
		{ "[hypervisor]\nqemu = 1\n", "[hypervisor.qemu]\ndefault_memory = 100\n", 0 },
		{ "[hypervisor.qemu]\nqueue_size = 256\n",
		  "[hypervisor.qemu]\nqueue_size = 512\n", 1 },
		{ "[hypervisor.qemu]\nqueue_size = 256\n",
		  "[hypervisor.qemu]\nqueue_size = 128\n", 0 },
		{ "[hypervisor.qemu]\nqueue_size = 256\n", "", 1 },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		OWN(config) struct kata_config *c = NULL;
		struct err e;

		assert_ok(load_two(rows[i].main, rows[i].drop, &c, &e), &e);
		assert_int_equal(c->warnings.count, rows[i].warnings);
	}
}

static void test_not_mended(void **state)
{
	static const struct {
		const char *main, *drop, *want;
	} rows[] = {
		{ "[hypervisor.qemu]\nenable_iommu = true\n",
		  "[hypervisor.qemu]\ndefault_memory = 100\n",
		  "/k.toml:2: [hypervisor.qemu] enable_iommu: " },
		{ "[hypervisor.qemu]\nenable_iommu = false\n",
		  "\n[hypervisor.qemu]\nenable_iommu = true\n",
		  "/config.d/drop.toml:3: [hypervisor.qemu] enable_iommu: " },
		{ "[hypervisor.qemu]\n", "hypervisor.qemu = 3\n", "/config.d/drop.toml:1: " },
		{ "[hypervisor.qemu]\n[hypervisor.qemu]\n", "", "/k.toml:2: " },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct kata_config *c = NULL;
		struct err e;

		assert_int_equal(load_two(rows[i].main, rows[i].drop, &c, &e), -1);
		if (!strstr(e.msg, rows[i].want))
			fail_msg("'%s' lacks '%s'", e.msg, rows[i].want);
	}
}

/* A key with two names has the later file's value, wherever it stands. */
static void test_two_names(void **state)
{
	static const char agent[] =
		"[agent.kata]\ncreate_container_timeout = 10\nenable_debug = true\n"
		"[runtime]\nenable_debug = true\n";
	static const char runtime[] = "[agent.kata]\nenable_debug = true\n"
				      "[runtime]\ncreate_container_timeout = 20\n";
	OWN(config) struct kata_config *c = NULL, *other = NULL;
	struct err e;

	assert_ok(load_two(agent, runtime, &c, &e), &e);
	assert_int_equal(c->agent.create_container_timeout_s, 20);
	assert_ok(load_two(runtime, agent, &other, &e), &e);
	assert_int_equal(other->agent.create_container_timeout_s, 10);
}

static void test_paths(void **state)
{
	char dir[] = "/tmp/kata-test-paths-XXXXXX";
	OWN(arena) struct arena a = { .limit = 1 << 20 };
	OWN(free) char *bin = NULL, *guest = NULL, *want = NULL;
	const char *found = NULL;
	struct err e;

	assert_non_null(mkdtemp(dir));
	bin = str_printf("%s/bin", dir);
	guest = str_printf("%s/guest", dir);
	want = str_printf("%s/guest/vmlinux", dir);
	assert_int_equal(mkdir(bin, 0755), 0);
	assert_err(paths_find_from(ASSET_BUSYBOX, bin, &a, &found, &e), &e, ERR_NOT_FOUND);
	assert_non_null(
		strstr(e.msg, "no busybox image (`make guest` prepares it); looked for"));
	assert_non_null(strstr(e.msg, "/guest/busybox.tar"));
	assert_int_equal(mkdir(guest, 0755), 0);
	put(guest, "vmlinux", "x");
	assert_ok(paths_find_from(ASSET_KERNEL, bin, &a, &found, &e), &e);
	assert_string_equal(found, want);
	assert_ok(paths_program_dir(&a, &found, &e), &e);
	assert_true(found[0] == '/' && str_ends(found, "/unit"));
	assert_ok(path_remove_tree(AT_FDCWD, dir, &e), &e);
}

static void test_search(void **state)
{
	OWN(buf) struct buf out = BUF_INIT;
	struct err e;

	assert_ok(config_write_search(NULL, &out, &e), &e);
	assert_true(str_starts(buf_cstr(&out), "/etc/kata-containers/configuration.toml\n"
					       "/etc/kata-containers/runtime-rs/"
					       "configuration.toml\n/"));
	assert_true(str_ends(buf_cstr(&out), "\n/opt/kata/share/defaults/kata-containers/"
					     "configuration.toml\n"));
	/* where they will be installed, once */
	buf_clear(&out);
	assert_ok(config_write_search("/opt/kata", &out, &e), &e);
	assert_string_equal(buf_cstr(&out),
			    "/etc/kata-containers/configuration.toml\n"
			    "/etc/kata-containers/runtime-rs/configuration.toml\n"
			    "/opt/kata/share/defaults/kata-containers/configuration.toml\n"
			    "/usr/share/defaults/kata-containers/configuration.toml\n");
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_load),
		cmocka_unit_test(test_load_of_a_link),
		cmocka_unit_test(test_mended_by_a_drop_in),
		cmocka_unit_test(test_not_mended),
		cmocka_unit_test(test_two_names),
		cmocka_unit_test(test_paths),
		cmocka_unit_test(test_search),
	};

	return cmocka_run_group_tests_name("config_load", tests, NULL, NULL);
}
