/* SPDX-License-Identifier: Apache-2.0 */
/* One function for each table of the answer. */
#include "runtime/env.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/fd.h"
#include "base/mem.h"
#include "base/own.h"
#include "base/str.h"
#include "base/time.h"
#include "build_config.h"
#include "config/config.h"
#include "config/paths.h"
#include "event/child.h"
#include "event/program.h"
#include "sandbox/guest_assets.h"
#include "version.h"
#include "vmm/accel.h"
#include "vmm/vmm.h"
#include "wire/json.h"

enum {
	FILE_MAX = 1 << 20,
	WORD_MAX = 256,
	VERSION_MAX = 4096,
	VERSION_MS = 10 * 1000
};

#define META_VERSION "1.0.27"

struct collector {
	struct loop *loop;
	struct child_reaper *reaper;
	const struct kata_config *c;
	struct arena *a;
	struct guest_assets assets;
};

/* A new table in `parent`; NULL with *e. */
static struct jval *table(struct jval *parent, const char *name, struct err *e)
{
	struct jval *t = jval_new_object();

	return jval_set(parent, name, t, e) < 0 ? NULL : t;
}

static int add_asset(struct jval *root, const char *name, const char *path, struct err *e)
{
	struct jval *t = table(root, name, e);

	return !t || jval_set_str(t, "Path", path ? path : "", e) < 0 ? -1 : 0;
}

static int add_guest(struct collector *k, struct jval *root, struct err *e)
{
	struct jval *t = table(root, "Kernel", e);

	if (!t || jval_set_str(t, "Path", k->assets.kernel ? k->assets.kernel : "", e) < 0 ||
	    jval_set_str(t, "Parameters", k->c->hypervisor.kernel_params, e) < 0)
		return -1;
	return add_asset(root, "Image", k->assets.image, e) < 0 ||
			       add_asset(root, "Initrd", k->assets.initrd, e) < 0
		       ? -1
		       : 0;
}

/* ---- the hypervisor ---- */

/* The first line of `program --version`; "" if it does not say. */
static void version_of(struct collector *k, const char *program, char out[WORD_MAX])
{
	const char *argv[] = { program, "--version", NULL };
	OWN(buf) struct buf said = { .limit = 2 * VERSION_MAX };
	struct err ignored;
	int status;

	out[0] = '\0';
	if (program_run(k->loop, k->reaper, argv, VERSION_MAX, deadline_in(VERSION_MS), &said,
			&status, &ignored) == 0 &&
	    status == 0 && buf_cstr(&said))
		(void)snprintf(out, WORD_MAX, "%.*s", (int)strcspn(buf_cstr(&said), "\n"),
			       buf_cstr(&said));
}

static int add_list(struct jval *t, const char *name, config_list list, struct err *e)
{
	struct jval *array = jval_new_array();

	for (size_t i = 0; array && list[i]; i++) {
		if (jval_push(array, jval_new_str(list[i]), e) < 0) {
			jval_free(array);
			return -1;
		}
	}
	return jval_set(t, name, array, e);
}

static int add_hypervisor(struct collector *k, struct jval *root, struct err *e)
{
	static const char *const shares[] = { "auto", "virtio-fs", "virtio-9p", "none" };
	const struct config_hypervisor *h = &k->c->hypervisor;
	struct jval *t = table(root, "Hypervisor", e), *s;
	const char *daemon = h->virtio_fs_daemon;
	OWN(free) char *program = NULL;
	char version[WORD_MAX] = "";
	struct err ignored;

	if (!t)
		return -1;
	if (vmm_program("qemu", *h->path ? h->path : NULL, &program, &ignored) == 0)
		version_of(k, program, version);
	if (!*daemon && paths_find(ASSET_VIRTIOFSD, k->a, &daemon, &ignored) < 0)
		daemon = "";
	if (jval_set_str(t, "Path", program ? program : h->path, e) < 0 ||
	    jval_set_str(t, "Version", version, e) < 0 ||
	    jval_set_str(t, "MachineType", h->machine_type, e) < 0 ||
	    jval_set_str(t, "BlockDeviceDriver", "virtio-blk", e) < 0 ||
	    jval_set_str(t, "EntropySource", h->entropy_source, e) < 0 ||
	    jval_set_str(t, "SharedFS", shares[h->shared_fs], e) < 0 ||
	    jval_set_str(t, "VirtioFSDaemon", daemon, e) < 0 ||
	    jval_set_bool(t, "Debug", h->enable_debug, e) < 0)
		return -1;
	s = table(t, "SecurityInfo", e);
	if (!s || jval_set_bool(s, "DisableSeccomp", !*h->seccomp_sandbox, e) < 0)
		return -1;
	return add_list(s, "EnableAnnotations", h->enable_annotations, e);
}

/* ---- the runtime ---- */

static int add_version(struct jval *runtime, struct err *e)
{
	struct jval *outer = table(runtime, "Version", e), *v;
	unsigned long part[3] = { 0 };
	const char *p = KATA_VERSION;
	char *end;

	for (size_t i = 0; i < ARRAY_LEN(part); i++) {
		part[i] = strtoul(p, &end, 10);
		p = *end ? end + 1 : end;
	}
	if (!outer || jval_set_str(outer, "OCI", ENV_OCI_VERSION, e) < 0)
		return -1;
	v = table(outer, "Version", e);
	return !v || jval_set_str(v, "Semver", KATA_VERSION, e) < 0 ||
			       jval_set_str(v, "Commit", KATA_COMMIT, e) < 0 ||
			       jval_set_int(v, "Major", (int64_t)part[0], e) < 0 ||
			       jval_set_int(v, "Minor", (int64_t)part[1], e) < 0 ||
			       jval_set_int(v, "Patch", (int64_t)part[2], e) < 0
		       ? -1
		       : 0;
}

static int add_runtime(struct collector *k, struct jval *root, struct err *e)
{
	const struct config_runtime *r = &k->c->runtime;
	struct jval *t = table(root, "Runtime", e), *config;
	const char *dir;

	if (!t || paths_program_dir(k->a, &dir, e) < 0 ||
	    jval_set_str(t, "Path", arena_printf(k->a, "%s/kata-runtime", dir), e) < 0 ||
	    jval_set_bool(t, "Debug", r->enable_debug, e) < 0 ||
	    jval_set_bool(t, "DisableGuestSeccomp", r->disable_guest_seccomp, e) < 0 ||
	    jval_set_bool(t, "SandboxCgroupOnly", r->sandbox_cgroup_only, e) < 0 ||
	    jval_set_bool(t, "StaticSandboxResourceMgmt", r->static_sandbox_resource_mgmt, e) <
		    0 ||
	    jval_set_str(t, "InterNetworkingModel", r->internetworking_model, e) < 0)
		return -1;
	config = table(t, "Config", e);
	if (!config || jval_set_str(config, "Path", k->c->file ? k->c->file : "", e) < 0 ||
	    jval_set_int(config, "DropIns", k->c->drop_ins, e) < 0)
		return -1;
	return add_version(t, e);
}

/* ---- the host ---- */

/* What stands behind `key` and `sep` on its line, without quotes; "" if there is none. */
static void find_word(const char *path, const char *key, const char *sep, char out[WORD_MAX])
{
	OWN(free) char *text = NULL;
	char *line, *rest;
	struct err ignored;
	size_t n = strlen(key);

	out[0] = '\0';
	if (file_read(AT_FDCWD, path, FILE_MAX, &text, NULL, &ignored) < 0)
		return;
	for (line = strtok_r(text, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest)) {
		const char *value;

		if (strncmp(line, key, n) != 0 || !strchr(" \t=:", line[n]))
			continue;
		value = strstr(line + n, sep);
		value = value ? value + strlen(sep) : "";
		value += strspn(value, " \t\"");
		(void)snprintf(out, WORD_MAX, "%.*s", (int)strcspn(value, "\""), value);
		return;
	}
}

static int add_word(struct jval *t, const char *name, const char *path, const char *key,
		    const char *sep, struct err *e)
{
	char word[WORD_MAX];

	find_word(path, key, sep, word);
	return jval_set_str(t, name, word, e);
}

/* /proc/meminfo's kB, as upstream prints them. */
static int add_kib(struct jval *t, const char *name, const char *key, struct err *e)
{
	char word[WORD_MAX];

	find_word("/proc/meminfo", key, ":", word);
	return jval_set(t, name, jval_new_uint(strtoull(word, NULL, 10)), e);
}

static int add_machine(struct jval *host, struct err *e)
{
	struct jval *distro = table(host, "Distro", e), *cpu = table(host, "CPU", e),
		    *memory = table(host, "Memory", e);

	if (!distro || !cpu || !memory)
		return -1;
	if (add_word(distro, "Name", "/etc/os-release", "NAME", "=", e) < 0 ||
	    add_word(distro, "Version", "/etc/os-release", "VERSION_ID", "=", e) < 0 ||
	    add_word(cpu, "Vendor", "/proc/cpuinfo", "vendor_id", ":", e) < 0 ||
	    add_word(cpu, "Model", "/proc/cpuinfo", "model name", ":", e) < 0 ||
	    jval_set_int(cpu, "CPUs", sysconf(_SC_NPROCESSORS_ONLN), e) < 0)
		return -1;
	return add_kib(memory, "Total", "MemTotal", e) < 0 ||
			       add_kib(memory, "Free", "MemFree", e) < 0 ||
			       add_kib(memory, "Available", "MemAvailable", e) < 0
		       ? -1
		       : 0;
}

static int add_host(struct collector *k, struct jval *root, struct err *e)
{
	struct jval *t = table(root, "Host", e);
	const struct accel_config usual = { .device = NULL };
	struct accel_verdict verdict;
	struct utsname u;

	if (!t || accel_probe(k->loop, k->reaper, &usual, &verdict, e) < 0)
		return -1;
	if (uname(&u) < 0)
		return err_sys(e, "uname");
	if (jval_set_str(t, "Kernel", u.release, e) < 0 ||
	    jval_set_str(t, "Architecture", u.machine, e) < 0 ||
	    jval_set_bool(t, "VMContainerCapable", verdict.kvm_works, e) < 0 ||
	    jval_set_str(t, "Acceleration", verdict.kvm_works ? "kvm" : "tcg", e) < 0 ||
	    jval_set_str(t, "AccelerationReason", verdict.why, e) < 0 ||
	    jval_set_bool(t, "SupportVSocks", access("/dev/vhost-vsock", F_OK) == 0, e) < 0)
		return -1;
	return add_machine(t, e);
}

static int add_agent(struct collector *k, struct jval *root, struct err *e)
{
	const struct config_agent *a = &k->c->agent;
	struct jval *t = table(root, "Agent", e);

	if (!t || jval_set_bool(t, "Debug", a->enable_debug, e) < 0)
		return -1;
	return jval_set_bool(t, "DebugConsole", a->debug_console_enabled, e);
}

static int add_all(struct collector *k, struct jval *root, struct err *e)
{
	struct jval *meta = table(root, "Meta", e);

	if (!meta || jval_set_str(meta, "Version", META_VERSION, e) < 0)
		return -1;
	return add_guest(k, root, e) < 0 || add_hypervisor(k, root, e) < 0 ||
			       add_runtime(k, root, e) < 0 || add_host(k, root, e) < 0 ||
			       add_agent(k, root, e) < 0
		       ? -1
		       : 0;
}

int env_collect(struct loop *l, const struct kata_config *c, struct jval **out, struct err *e)
{
	OWN(arena) struct arena a = { .limit = 1 << 20 };
	OWN(jval) struct jval *root = jval_new_object();
	struct child_reaper reaper;
	struct collector k = { .loop = l, .reaper = &reaper, .c = c, .a = &a };
	struct err ignored;
	int rc;

	if (!root)
		return err_oom(e, "an answer");
	/* a host without a guest is one that `env` is asked about */
	if (guest_assets_find(c, &a, &k.assets, &ignored) < 0)
		k.assets = (struct guest_assets){ .kernel = c->hypervisor.kernel,
						  .initrd = c->hypervisor.initrd,
						  .image = c->hypervisor.image };
	if (child_reaper_init(&reaper, l, e) < 0)
		return -1;
	rc = add_all(&k, root, e);
	child_reaper_fini(&reaper);
	if (rc == 0)
		*out = TAKE(root);
	return rc;
}
