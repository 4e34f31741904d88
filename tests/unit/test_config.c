/* SPDX-License-Identifier: Apache-2.0 */
/* configuration.toml: defaults, overlays, what is refused and how it is said. */
#include "unit.h"
#include "notes.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/mem.h"
#include "base/str.h"
#include "config/config.h"
#include "config/schema.h"

static void test_defaults(void **state)
{
	OWN(config) struct kata_config *c = NULL;
	struct err e;

	assert_ok(config_new(&c, &e), &e);
	assert_string_equal(c->hypervisor.machine_type, "q35");
	assert_int_equal(c->hypervisor.accel, CONFIG_ACCEL_AUTO);
	assert_int_equal(c->hypervisor.shared_fs, CONFIG_SHARED_FS_AUTO);
	assert_int_equal(c->hypervisor.virtio_fs_cache, CONFIG_FS_CACHE_AUTO);
	assert_int_equal(c->hypervisor.default_memory, 2048);
	assert_true(c->hypervisor.default_vcpus == 1.0);
	assert_non_null(c->hypervisor.virtio_fs_extra_args);
	assert_null(c->hypervisor.virtio_fs_extra_args[0]);
	assert_int_equal(c->agent.create_container_timeout_s, 60);
	assert_string_equal(c->runtime.log_level, "info");
	assert_true(c->runtime.disable_guest_seccomp);
	assert_null(c->file);
	assert_int_equal(c->warnings.count, 0);
}

static void test_overlay(void **state)
{
	static const char text[] =
		"[hypervisor.qemu]\ndefault_memory = 256\ndefault_vcpus = 1.5\naccel = 'tcg'\n"
		"transport = \"virtio-serial\"\nshared_fs = \"virtio-9p\"\n"
		"virtio_fs_extra_args = [ \"-o\", \"announce_submounts\" ]\n"
		"enable_annotations = [\"kernel_params\"]\nenable_hugepages = false\n"
		"overhead_vcpus = 0.2\noverhead_memory = 32\n"
		"[agent]\nkata.enable_debug = true\n"
		"[runtime]\ncreate_container_timeout = 30\n";
	OWN(config) struct kata_config *c = NULL;
	struct err e;

	assert_ok(config_new(&c, &e), &e);
	assert_ok(config_parse(c, text, strlen(text), "f", &e), &e);
	assert_int_equal(c->hypervisor.default_memory, 256);
	assert_true(c->hypervisor.default_vcpus == 1.5);
	assert_int_equal(c->hypervisor.accel, CONFIG_ACCEL_TCG);
	assert_int_equal(c->hypervisor.transport, CONFIG_TRANSPORT_VIRTIO_SERIAL);
	assert_int_equal(c->hypervisor.shared_fs, CONFIG_SHARED_FS_9P);
	assert_string_equal(c->hypervisor.virtio_fs_extra_args[1], "announce_submounts");
	assert_null(c->hypervisor.virtio_fs_extra_args[2]);
	assert_true(c->hypervisor.overhead_vcpus == 0.2);
	assert_int_equal(c->hypervisor.overhead_memory, 32);
	assert_true(c->agent.enable_debug);
	assert_int_equal(c->agent.create_container_timeout_s, 30);
	assert_string_equal(c->hypervisor.machine_type, "q35");
	assert_string_equal(c->hypervisor.enable_annotations[0], "kernel_params");
	assert_int_equal(c->warnings.count, 0);
}

struct refusal {
	const char *text, *want;
	enum err_kind kind;
};

static void check_refused(const struct refusal *rows, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		OWN(config) struct kata_config *c = NULL;
		struct err e;

		assert_ok(config_new(&c, &e), &e);
		if (config_parse(c, rows[i].text, strlen(rows[i].text), "f", &e) == 0)
			fail_msg("accepted: %s", rows[i].text);
		if (e.kind != rows[i].kind || !strstr(e.msg, rows[i].want))
			fail_msg("%s: %s '%s' lacks '%s'", rows[i].text, err_kind_name(e.kind),
				 e.msg, rows[i].want);
	}
}

static void test_bad_names(void **state)
{
	static const struct refusal rows[] = {
		{ "[hypervisor.qemu]\ndefalt_memory = 1",
		  "f:2: [hypervisor.qemu] defalt_memory: unknown key; did you mean "
		  "'default_memory'?",
		  ERR_INVALID },
		{ "[hypervisor.qemu]\nxyzzy = 1", "f:2: [hypervisor.qemu] xyzzy: unknown key",
		  ERR_INVALID },
		{ "[runtme]\nx = 1", "f:1: runtme: unknown section; did you mean [runtime]?",
		  ERR_INVALID },
		{ "[hypervisor.xen]\n", "f:1: [hypervisor] xen: unknown section", ERR_INVALID },
		{ "\n[hypervisor.clh]\npath = ''\n",
		  "f:2: [hypervisor] clh: Cloud Hypervisor is not among the monitors",
		  ERR_UNSUPPORTED },
		{ "[runtime.x]\n", "[runtime] x: unknown section", ERR_INVALID },
		{ "runtime = 5", "f:1: runtime: must be the section [runtime], is an integer",
		  ERR_INVALID },
		{ "[hypervisor]\nqemu = []",
		  "f:2: [hypervisor] qemu: must be the section [hypervisor.qemu], is an array",
		  ERR_INVALID },
		{ "agent = 'kata'", "f:1: agent: must be the section [agent.kata], is a string",
		  ERR_INVALID },
		{ "[[runtime]]\n", "runtime: must be the section [runtime], is an array",
		  ERR_INVALID },
		{ "[runtime.log_level]\n", "[runtime] log_level: must be a string, is a table",
		  ERR_INVALID },
		{ "[hypervisor.qemu]\ndebug_console_enabled = true",
		  "f:2: [hypervisor.qemu] debug_console_enabled: unknown key; it belongs into "
		  "[agent.kata]",
		  ERR_INVALID },
		{ "[agent]\nenable_debug = true",
		  "f:2: [agent] enable_debug: unknown key; it belongs into [agent.kata]",
		  ERR_INVALID },
		{ "enable_debug = true",
		  "f:1: enable_debug: unknown key; it belongs into [hypervisor.qemu], "
		  "[agent.kata] or [runtime]",
		  ERR_INVALID },
		{ "[runtime]\nenable_template = true",
		  "unknown key; it belongs into [hypervisor.qemu.factory] or [factory]",
		  ERR_INVALID },
	};

	(void)state;
	check_refused(rows, ARRAY_LEN(rows));
}

static void test_bad_values(void **state)
{
	static const struct refusal rows[] = {
		{ "[agent.kata]\nenable_debg = true", "did you mean 'enable_debug'?",
		  ERR_INVALID },
		{ "[hypervisor.qemu]\ndefault_memory = \"1\"",
		  "must be an integer, is a string", ERR_INVALID },
		{ "[hypervisor.qemu]\ndefault_memory = 1.5", "must be an integer, is a float",
		  ERR_INVALID },
		{ "[hypervisor.qemu]\ndefault_memory = 63", "63 is not between 64 and 16777216",
		  ERR_INVALID },
		{ "[hypervisor.qemu]\ndefault_vcpus = nan", "nan is not between -1 and 256",
		  ERR_INVALID },
		{ "[hypervisor.qemu]\ndefault_vcpus = -5", "-5 is not between -1 and 256",
		  ERR_INVALID },
		{ "[hypervisor.qemu]\naccel = 'hvf'", "accel: 'hvf' is none of auto, kvm, tcg",
		  ERR_INVALID },
		{ "[hypervisor.qemu]\nmachine_type = 'pc'", "'pc' is none of q35, microvm",
		  ERR_INVALID },
		{ "[hypervisor.qemu]\nenable_debug = 1", "must be true or false, is an integer",
		  ERR_INVALID },
		{ "[hypervisor.qemu]\nkernel = true", "must be a string, is a boolean",
		  ERR_INVALID },
		{ "[hypervisor.qemu]\nvirtio_fs_extra_args = 'x'",
		  "must be an array of strings, is a string", ERR_INVALID },
		{ "[hypervisor.qemu]\nvirtio_fs_extra_args = ['x',\n1]",
		  "must be an array of strings, holds an integer", ERR_INVALID },
		{ "[hypervisor.qemu]\nkernel_verity_params = 'x'",
		  "[hypervisor.qemu] kernel_verity_params: 'x' is not supported: images are "
		  "not verified by dm-verity",
		  ERR_UNSUPPORTED },
		{ "[hypervisor.qemu]\nconfidential_guest = true",
		  "confidential guests are not supported", ERR_UNSUPPORTED },
		{ "[hypervisor.qemu.factory]\nenable_template = true",
		  "templates are not supported", ERR_UNSUPPORTED },
		{ "[hypervisor.qemu.rootless_user]\nuid = 1",
		  "rootless_user: '{...}' is not supported", ERR_UNSUPPORTED },
		{ "[hypervisor.qemu]\nrootless_user = ''", "must be a table, is a string",
		  ERR_INVALID },
		{ "[hypervisor.qemu]\n\nqueue_size = \"abc\"",
		  "f:3: [hypervisor.qemu] queue_size: must be an integer, is a string",
		  ERR_INVALID },
		{ "[hypervisor.qemu]\nenable_iothreads = 'no'",
		  "enable_iothreads: must be true or false, is a string", ERR_INVALID },
		{ "[hypervisor.qemu]\ndisable_nesting_checks = 'true'",
		  "disable_nesting_checks: must be true or false, is a string", ERR_INVALID },
		{ "[hypervisor.qemu]\nenable_iommu = 'false'",
		  "enable_iommu: must be true or false, is a string", ERR_INVALID },
		{ "[hypervisor.qemu]\nvalid_ctlpaths = ''",
		  "must be an array of strings, is a string", ERR_INVALID },
		{ "[hypervisor.qemu]\nvalid_ctlpaths = ['', 1]",
		  "must be an array of strings, holds an integer", ERR_INVALID },
		{ "[runtime]\nshared_mounts = ['']",
		  "[runtime] shared_mounts: must be an array of tables, holds a string",
		  ERR_INVALID },
		{ "[runtime]\njaeger_endpoint = false", "must be a string, is a boolean",
		  ERR_INVALID },
		{ "[agent.kata.mem_agent]\ncompact_order = 9.0",
		  "must be an integer, is a float", ERR_INVALID },
		{ "[hypervisor.qemu]\npath = ", "f:2: the text ends where a value",
		  ERR_INVALID },
	};

	(void)state;
	check_refused(rows, ARRAY_LEN(rows));
}

/* No key in both tables, none twice, every section known. */
static void test_tables(void **state)
{
	for (size_t i = 0; i < config_key_count; i++) {
		for (size_t k = 0; k < i; k++)
			assert_false(str_eq(config_keys[i].key, config_keys[k].key) &&
				     str_eq(config_keys[i].section, config_keys[k].section));
		for (size_t k = 0; k < config_reserved_count; k++)
			if (str_eq(config_keys[i].key, config_reserved[k].key) &&
			    str_eq(config_keys[i].section, config_reserved[k].section))
				fail_msg("%s is in both tables", config_keys[i].key);
	}
	/* what changes nothing is of the key's own type, or could not be written */
	for (size_t i = 0; i < config_reserved_count; i++) {
		OWN(config) struct kata_config *c = NULL;
		const struct config_reserved *k = &config_reserved[i];
		const char *quote = k->type == CONFIG_STRING ? "\"" : "";
		OWN(free)
		char *text = str_printf("%s.%s = %s%.*s%s\n", k->section, k->key, quote,
					(int)strcspn(k->neutral, "|"), k->neutral, quote);
		struct err e;

		assert_ok(config_new(&c, &e), &e);
		assert_ok(config_parse(c, text, strlen(text), "f", &e), &e);
		assert_int_equal(c->warnings.count, 0);
	}
	for (size_t i = 0; i < config_reserved_count; i++) {
		bool known = false;

		for (size_t k = 0; k < i; k++)
			if (str_eq(config_reserved[i].key, config_reserved[k].key) &&
			    str_eq(config_reserved[i].section, config_reserved[k].section))
				fail_msg("%s is there twice", config_reserved[i].key);
		for (size_t k = 0; k < config_section_count; k++)
			known |= str_eq(config_sections[k].name, config_reserved[i].section);
		assert_true(known);
	}
}

/* The default file, and the same with its comment signs taken away. */
static void test_default_file(void **state)
{
	OWN(buf) struct buf text = BUF_INIT, manual = BUF_INIT;
	OWN(config) struct kata_config *c = NULL;
	struct err e;
	char *s;

	assert_ok(config_new(&c, &e), &e);
	assert_ok(config_write_default(&text, &e), &e);
	assert_ok(config_parse(c, buf_cstr(&text), buf_len(&text), "default", &e), &e);
	s = (char *)(uintptr_t)buf_cstr(&text);
	for (char *p = s; (p = strstr(p, "\n#")); p++)
		if (p[2] != ' ')
			p[1] = ' ';
	assert_non_null(strstr(s, "\n default_memory = 2048\n"));
	assert_ok(config_parse(c, s, strlen(s), "default", &e), &e);
	assert_ok(config_write_manual(&manual, &e), &e);
	assert_non_null(strstr(buf_cstr(&manual), ".TP\n\\fBdefault_memory\\fR = 2048\n"));
}

#define HYPERVISOR "io.katacontainers.config.hypervisor."

static struct kata_config *with_annotations_for(const char *patterns)
{
	OWN(free)
	char *text = str_printf("[hypervisor.qemu]\nenable_annotations = [%s]\n"
				"valid_hypervisor_paths = [\"/opt/*/qemu\"]\n",
				patterns);
	struct kata_config *c;
	struct err e;

	assert_non_null(text);
	assert_ok(config_new(&c, &e), &e);
	assert_ok(config_parse(c, text, strlen(text), "f", &e), &e);
	return c;
}

static void test_annotations(void **state)
{
	static const char *const good[][2] = {
		{ HYPERVISOR "default_memory", "512" },
		{ HYPERVISOR "default_vcpus", "1.5" },
		{ HYPERVISOR "default_max_vcpus", "7" },
		{ HYPERVISOR "enable_hugepages", "True" },
		{ HYPERVISOR "enable_mem_prealloc", "1" },
		{ HYPERVISOR "enable_iothreads", "F" },
		{ HYPERVISOR "memory_slots", "128" },
		{ HYPERVISOR "kernel_params", "a=\"b c\" # d" },
		{ HYPERVISOR "virtio_fs_extra_args", "[\"-o\", \"x\"]" },
		{ HYPERVISOR "path", "/opt/x/qemu" },
		{ HYPERVISOR "enable_iommu", "false" },
		{ "io.katacontainers.config.runtime.disable_guest_seccomp", "false" },
		{ "io.katacontainers.config.runtime.create_container_timeout", "33" },
		{ "io.katacontainers.pkg.oci.container_type", "pod_sandbox" },
		{ "org.example.other", "x" },
	};
	OWN(config) struct kata_config *c = with_annotations_for("'.*'");
	struct err e;

	for (size_t i = 0; i < ARRAY_LEN(good); i++)
		assert_ok(config_annotate(c, good[i][0], good[i][1], &e), &e);
	assert_int_equal(c->hypervisor.default_memory, 512);
	assert_true(c->hypervisor.default_vcpus == 1.5);
	assert_int_equal(c->hypervisor.default_maxvcpus, 7);
	assert_true(c->hypervisor.enable_hugepages);
	assert_true(c->hypervisor.enable_mem_prealloc);
	assert_int_equal(c->hypervisor.memory_slots, 128);
	assert_string_equal(c->hypervisor.kernel_params, "a=\"b c\" # d");
	assert_string_equal(c->hypervisor.virtio_fs_extra_args[1], "x");
	assert_string_equal(c->hypervisor.path, "/opt/x/qemu");
	assert_false(c->runtime.disable_guest_seccomp);
	assert_int_equal(c->agent.create_container_timeout_s, 33);
}

static void test_bad_annotations(void **state)
{
	static const struct {
		const char *name, *value, *says;
		enum err_kind kind;
	} bad[] = {
		{ HYPERVISOR "default_memory", "much", "", ERR_INVALID },
		{ HYPERVISOR "default_memory", "1", "not between", ERR_INVALID },
		{ HYPERVISOR "default_memory", "128\npath = '/x'", "control", ERR_INVALID },
		{ HYPERVISOR "default_memory", "'128'", "must be an integer", ERR_INVALID },
		{ HYPERVISOR "default_memory", "512Mx", "Mi, Gi", ERR_INVALID },
		{ HYPERVISOR "default_memory", "512 Mi", "Mi, Gi", ERR_INVALID },
		{ HYPERVISOR "default_memory", "512Mi\nx", "control", ERR_INVALID },
		{ HYPERVISOR "default_memory", "0x200", "Mi, Gi", ERR_INVALID },
		{ HYPERVISOR "default_memory", "1023Ki", "not between 64", ERR_INVALID },
		{ HYPERVISOR "default_memory", "17Ti", "not between 64", ERR_INVALID },
		{ HYPERVISOR "default_memory", "99999999999999999999Ti", "Mi, Gi",
		  ERR_INVALID },
		{ HYPERVISOR "memory_slots", "4Mi", "", ERR_INVALID },
		{ HYPERVISOR "default_memroy", "128", "did you mean 'default_memory'",
		  ERR_INVALID },
		{ HYPERVISOR "default_maxvcpus", "2",
		  "default_maxvcpus': unknown key; did you mean 'default_max_vcpus'?",
		  ERR_INVALID },
		{ HYPERVISOR "blk_logical_sector_sise", "0", "'blk_logical_sector_size'?",
		  ERR_INVALID },
		{ "io.katacontainers.config.runtime.default_vcpus", "2",
		  "unknown key; did you mean '" HYPERVISOR "default_vcpus'?", ERR_INVALID },
		{ "io.katacontainers.config.agent.create_container_timeout", "2",
		  "did you mean 'io.katacontainers.config.runtime.create_container_timeout'?",
		  ERR_INVALID },
		/* the nearest name is not a pod's to set */
		{ "io.katacontainers.config.runtime.sandbox_cgroup_onli", "true",
		  "sandbox_cgroup_onli': unknown key", ERR_INVALID },
		{ HYPERVISOR "enable_iothreads", "no", "", ERR_INVALID },
		{ HYPERVISOR "enable_iothreads", "2", "must be true or false", ERR_INVALID },
		{ HYPERVISOR "network_queues", "'2'", "must be an integer", ERR_INVALID },
		{ HYPERVISOR "machine_type", "pc", "none of q35", ERR_INVALID },
		{ HYPERVISOR "hugepage_type", "thp", "not supported", ERR_UNSUPPORTED },
		{ HYPERVISOR "memory_slots", "0", "not between", ERR_INVALID },
		{ HYPERVISOR "path", "/opt/a/b/qemu", "valid_hypervisor_paths", ERR_DENIED },
		{ HYPERVISOR "path", "/opt/../qemu", "valid_hypervisor_paths", ERR_DENIED },
		{ HYPERVISOR "virtio_fs_daemon", "/x", "valid_virtio_fs_daemon_paths",
		  ERR_DENIED },
		{ "io.katacontainers.config.agent.policy", "x", "not supported",
		  ERR_UNSUPPORTED },
		{ "io.katacontainers.config.network.x", "x", "hypervisor., agent. or runtime.",
		  ERR_INVALID },
	};
	OWN(config) struct kata_config *c = with_annotations_for("'.*'");
	struct err e;

	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		assert_int_equal(config_annotate(c, bad[i].name, bad[i].value, &e), -1);
		assert_int_equal(e.kind, bad[i].kind);
		assert_non_null(strstr(e.msg, bad[i].name));
		assert_non_null(strstr(e.msg, bad[i].says));
	}
}

static void test_memory_with_unit(void **state)
{
	static const struct {
		const char *text;
		uint32_t mib;
	} rows[] = {
		{ "512", 512 },    { "512Mi", 512 },    { "512MiB", 512 }, { "512M", 512 },
		{ "2G", 2048 },    { "2Gi", 2048 },     { "1.5g", 1536 },  { "1Ti", 1 << 20 },
		{ "65537Ki", 65 }, { "16Ti", 1 << 24 },
	};
	OWN(config) struct kata_config *c = with_annotations_for("'.*'");
	struct err e;

	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		assert_ok(config_annotate(c, HYPERVISOR "default_memory", rows[i].text, &e),
			  &e);
		assert_int_equal(c->hypervisor.default_memory, rows[i].mib);
	}
}

/* A pod adds to what the node gives every guest, and changes what it names itself. */
static void test_kernel_params(void **state)
{
	static const struct {
		const char *node, *pod, *want;
	} rows[] = {
		{ "quiet a=1", "b=2", "quiet a=1 b=2" },
		{ "quiet a=1  c=3", "a=2", "quiet c=3 a=2" },
		{ "a=1 a=2 aa=3 b", "a", "aa=3 b a" },
		{ "console=ttyS0 console=hvc0 x", "console=ttyS1 console=hvc1",
		  "x console=ttyS1 console=hvc1" },
		{ "quiet  a=1", "", "quiet  a=1" },
		{ "quiet", "  ", "quiet" },
		{ "", " a  b ", "a b" },
		{ "a= b=1=2 c", "b=3", "a= c b=3" },
		{ "x=\"1 a=2\" y", "a=3", "x=\"1 a=2\" y a=3" },
		{ "x=\"1 a=2\"\ty", "x=\"4 b=5\" z", "y x=\"4 b=5\" z" },
		{ "a=1", "a=1", "a=1" },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		OWN(config) struct kata_config *c = with_annotations_for("'.*'");
		struct err e;

		c->hypervisor.kernel_params = rows[i].node;
		assert_ok(config_annotate(c, HYPERVISOR "kernel_params", rows[i].pod, &e), &e);
		assert_string_equal(c->hypervisor.kernel_params, rows[i].want);
	}
}

/* Every name that Kata documents. */
static const char *const documented[] = {
	"hypervisor.path",
	"hypervisor.jailer_path",
	"hypervisor.kernel",
	"hypervisor.image",
	"hypervisor.initrd",
	"hypervisor.firmware",
	"hypervisor.kernel_params",
	"hypervisor.kernel_verity_params",
	"hypervisor.machine_type",
	"hypervisor.machine_accelerators",
	"hypervisor.cpu_features",
	"hypervisor.default_vcpus",
	"hypervisor.default_max_vcpus",
	"hypervisor.default_memory",
	"hypervisor.memory_slots",
	"hypervisor.memory_offset",
	"hypervisor.enable_virtio_mem",
	"hypervisor.enable_mem_prealloc",
	"hypervisor.enable_hugepages",
	"hypervisor.enable_guest_swap",
	"hypervisor.enable_iommu",
	"hypervisor.enable_iommu_platform",
	"hypervisor.pcie_root_port",
	"hypervisor.pcie_switch_port",
	"hypervisor.entropy_source",
	"hypervisor.disable_image_nvdimm",
	"hypervisor.disable_vhost_net",
	"hypervisor.rx_rate_limiter_max_rate",
	"hypervisor.tx_rate_limiter_max_rate",
	"hypervisor.enable_vhost_user_store",
	"hypervisor.vhost_user_store_path",
	"hypervisor.guest_hook_path",
	"hypervisor.shared_fs",
	"hypervisor.virtio_fs_daemon",
	"hypervisor.virtio_fs_cache",
	"hypervisor.virtio_fs_cache_size",
	"hypervisor.virtio_fs_extra_args",
	"hypervisor.block_device_driver",
	"hypervisor.disable_block_device_use",
	"hypervisor.block_device_cache_set",
	"hypervisor.block_device_cache_direct",
	"hypervisor.block_device_cache_noflush",
	"hypervisor.blk_logical_sector_size",
	"hypervisor.blk_physical_sector_size",
	"hypervisor.enable_iothreads",
	"hypervisor.indep_iothreads",
	"hypervisor.cc_init_data",
	"hypervisor.rootless",
	"hypervisor.default_gpus",
	"hypervisor.default_gpu_model",
	"hypervisor.hugepage_type",
	"hypervisor.network_queues",
	"hypervisor.block_device_num_queues",
	"hypervisor.block_device_queue_size",
	"hypervisor.prefetch_files.list",
	"hypervisor.firmware_volume",
	"hypervisor.firmware_volume_hash",
	"hypervisor.reclaim_guest_freed_memory",
	"hypervisor.numa_mapping",
	"hypervisor.cold_plug_vfio",
	"hypervisor.hot_plug_vfio",
	"hypervisor.use_legacy_serial",
	"hypervisor.vhost_user_reconnect_timeout_sec",
	"hypervisor.msize_9p",
	"hypervisor.block_device_aio",
	"hypervisor.kernel_hash",
	"hypervisor.image_hash",
	"hypervisor.initrd_hash",
	"hypervisor.firmware_hash",
	"hypervisor.jailer_hash",
	"hypervisor.hypervisor_hash",
	"hypervisor.path_hash",
	"agent.kernel_modules",
	"agent.enable_tracing",
	"agent.container_pipe_size",
	"agent.cdh_api_timeout",
	"agent.cdh_api_timeout_ms",
	"agent.policy",
	"runtime.name",
	"runtime.hypervisor_name",
	"runtime.agent_name",
	"runtime.shared_mounts",
	"runtime.sandbox_bind_mounts",
	"runtime.enable_vcpus_pinning",
	"runtime.disable_guest_seccomp",
	"runtime.enable_pprof",
	"runtime.experimental",
	"runtime.internetworking_model",
	"runtime.sandbox_cgroup_only",
	"runtime.disable_new_netns",
	"runtime.vfio_mode",
	"runtime.create_container_timeout",
	"runtime.guest_selinux_label",
	"runtime.experimental_force_guest_pull",
};

/* None of them is unknown, whatever becomes of it. */
static void test_known_annotations(void **state)
{
	OWN(config) struct kata_config *c = with_annotations_for("'.*'");

	for (size_t i = 0; i < ARRAY_LEN(documented); i++) {
		OWN(free) char *name = str_printf("io.katacontainers.config.%s", documented[i]);
		struct err e = ERR_INIT;

		assert_non_null(name);
		if (config_annotate(c, name, "x", &e) < 0 && strstr(e.msg, "unknown"))
			fail_msg("%s", e.msg);
	}
}

/* Those that mean nothing here: a warning; those that promise something: refused. */
static void test_annotations_without_effect(void **state)
{
	static const struct {
		const char *name, *said; /* said: NULL for nothing */
	} rows[] = {
		{ "io.katacontainers.container.resource.swap_in_bytes", "no swap" },
		{ "io.katacontainers.container.resource.swappiness", "no swap" },
		{ "io.katacontainers.asset_hash_type", "hashes" },
		{ "sgx.intel.com/epc", "SGX" },
		{ "io.katacontainers.cfg.hypervisor.default_memory", "nobody knows it" },
		{ "io.katacontainers.pkg.oci.container_type", NULL },
		{ "io.kubernetes.cri.sandbox-name", NULL },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		OWN(config) struct kata_config *c = with_annotations_for("'.*'");
		struct err e;

		assert_ok(config_annotate(c, rows[i].name, "1", &e), &e);
		assert_int_equal(c->warnings.count, rows[i].said ? 1 : 0);
		if (rows[i].said) {
			assert_true(has_note(&c->warnings, rows[i].name));
			assert_true(has_note(&c->warnings, rows[i].said));
		}
	}
}

/* However many keys of the files have no effect, each is named, and so is what the pod asks
 * for. */
static void test_many_without_effect(void **state)
{
	OWN(config) struct kata_config *c = with_annotations_for("'.*'");
	OWN(buf) struct buf text = BUF_INIT;
	unsigned keys = 0;
	struct err e;

	(void)state;
	for (size_t i = 0; i < config_reserved_count; i++) {
		const struct config_reserved *k = &config_reserved[i];

		if (k->policy != CONFIG_WARN || !isdigit((unsigned char)*k->neutral))
			continue;
		assert_ok(buf_printf(&text, &e, "%s.%s = 77\n", k->section, k->key), &e);
		keys++;
	}
	assert_true(keys > 30);
	assert_ok(config_parse(c, buf_cstr(&text), buf_len(&text), "f", &e), &e);
	assert_ok(config_annotate(c, HYPERVISOR "block_device_aio", "posix", &e), &e);
	assert_ok(config_annotate(c, HYPERVISOR "msize_9p", "1", &e), &e);
	assert_int_equal(c->warnings.kept, keys + 1);
	assert_true(has_note(&c->warnings, "[hypervisor.qemu] queue_size has no effect: "));
	assert_true(has_note(&c->warnings, "block_device_aio has no effect: "));
}

static void test_annotations_of_others(void **state)
{
	static const char *const promises[] = {
		"cc_init_data", "kernel_hash",     "image_hash",
		"initrd_hash",  "firmware_hash",   "firmware_volume_hash",
		"jailer_hash",  "hypervisor_hash", "path_hash",
	};
	OWN(config) struct kata_config *c = with_annotations_for("'.*'");
	struct err e;

	assert_ok(config_annotate(c, HYPERVISOR "blk_logical_sector_size", "0", &e), &e);
	assert_ok(config_annotate(c, HYPERVISOR "kernel_hash", "", &e), &e);
	assert_int_equal(c->warnings.count, 0);
	assert_ok(config_annotate(c, HYPERVISOR "blk_logical_sector_size", "4096", &e), &e);
	assert_ok(config_annotate(c, HYPERVISOR "block_device_num_queues", "4", &e), &e);
	assert_ok(config_annotate(c, HYPERVISOR "prefetch_files.list", "/l", &e), &e);
	assert_int_equal(c->warnings.count, 3);
	assert_true(has_note(&c->warnings, "blk_logical_sector_size has no effect: "));
	assert_true(has_note(&c->warnings, "prefetch_files.list has no effect: "));
	for (size_t i = 0; i < ARRAY_LEN(promises); i++) {
		OWN(free) char *name = str_printf(HYPERVISOR "%s", promises[i]);

		assert_err(config_annotate(c, name, "0123", &e), &e, ERR_UNSUPPORTED);
		assert_non_null(strstr(e.msg, promises[i]));
	}
	/* they are no keys of files */
	assert_err(config_parse(c, "[hypervisor.qemu]\nkernel_hash = ''\n", 34, "f", &e), &e,
		   ERR_INVALID);
}

/* The node's own switch: what it is already may be asked for. */
static void test_annotations_of_the_node(void **state)
{
	static const char cgroup[] = "io.katacontainers.config.runtime.sandbox_cgroup_only";
	OWN(config) struct kata_config *c = with_annotations_for("'.*'");
	struct err e;

	assert_ok(config_annotate(c, cgroup, "true", &e), &e);
	assert_err(config_annotate(c, cgroup, "false", &e), &e, ERR_DENIED);
	assert_non_null(strstr(e.msg, "sandbox_cgroup_only': only configuration.toml sets it"));
	assert_true(c->runtime.sandbox_cgroup_only);
	assert_err(config_annotate(c, HYPERVISOR "default_maxmemory", "1", &e), &e, ERR_DENIED);
	assert_ok(config_annotate(c, "io.katacontainers.enable_vcpus_pinning", "true", &e), &e);
	assert_true(c->runtime.enable_vcpus_pinning);
	assert_err(config_annotate(c, "io.katacontainers.enable_vcpus_pinning", "2", &e), &e,
		   ERR_INVALID);
}

/* A pattern is for a whole name: "path" is not jailer_path, "default" is nothing. */
static void test_enabled_annotations(void **state)
{
	OWN(config) struct kata_config *c = with_annotations_for("'kernel', 'default_(v.*)'");
	OWN(config) struct kata_config *broken = with_annotations_for("'('");
	struct err e;

	assert_ok(config_annotate(c, HYPERVISOR "kernel", "/k", &e), &e);
	assert_ok(config_annotate(c, HYPERVISOR "default_vcpus", "2", &e), &e);
	assert_int_equal(config_annotate(c, HYPERVISOR "kernel_params", "x", &e), -1);
	assert_int_equal(e.kind, ERR_DENIED);
	assert_non_null(strstr(e.msg, "enable_annotations"));
	assert_int_equal(config_annotate(c, HYPERVISOR "default_memory", "128", &e), -1);
	assert_int_equal(config_annotate(broken, HYPERVISOR "kernel", "/k", &e), -1);
	assert_non_null(strstr(e.msg, "regular expression"));
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_annotations),
		cmocka_unit_test(test_bad_annotations),
		cmocka_unit_test(test_enabled_annotations),
		cmocka_unit_test(test_memory_with_unit),
		cmocka_unit_test(test_kernel_params),
		cmocka_unit_test(test_known_annotations),
		cmocka_unit_test(test_annotations_of_others),
		cmocka_unit_test(test_many_without_effect),
		cmocka_unit_test(test_annotations_without_effect),
		cmocka_unit_test(test_annotations_of_the_node),
		cmocka_unit_test(test_defaults),
		cmocka_unit_test(test_overlay),
		cmocka_unit_test(test_bad_names),
		cmocka_unit_test(test_bad_values),
		cmocka_unit_test(test_tables),
		cmocka_unit_test(test_default_file),
	};

	return cmocka_run_group_tests_name("config", tests, NULL, NULL);
}
