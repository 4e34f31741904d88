/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The configuration shows itself, by its schema; here is what the host makes of it. All is
 * collected flat, and put into tables at the end.
 */
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
#include "sandbox/trial_boot.h"
#include "share/share.h"
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
	/* what is known: members named by their places, "Host.CPU.Model" */
	struct jval *found;
};

static int add_guest(struct collector *k, struct err *e)
{
	const struct guest_assets *g = &k->assets;

	return jval_set_str(k->found, "Kernel.Path", g->kernel ? g->kernel : "", e) < 0 ||
			       jval_set_str(k->found, "Image.Path", g->image ? g->image : "",
					    e) < 0 ||
			       jval_set_str(k->found, "Initrd.Path", g->initrd ? g->initrd : "",
					    e) < 0
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

/* Over what is configured come the programs that this stands for. */
static int add_hypervisor(struct collector *k, struct err *e)
{
	const struct config_hypervisor *h = &k->c->hypervisor;
	const char *daemon = h->virtio_fs_daemon;
	OWN(free) char *program = NULL;
	char version[WORD_MAX] = "";
	struct err ignored;

	if (vmm_program("qemu", *h->path ? h->path : NULL, &program, &ignored) == 0)
		version_of(k, program, version);
	if (!*daemon && paths_find(ASSET_VIRTIOFSD, k->a, &daemon, &ignored) < 0)
		daemon = "";
	/* the agent's socket is vsock's, or one without a name that QEMU inherits */
	if (jval_set_str(k->found, "Hypervisor.SocketPath", "", e) < 0 ||
	    jval_set_int(k->found, "Hypervisor.Msize9p", SHARE_MSIZE_9P, e) < 0)
		return -1;
	return jval_set_str(k->found, "Hypervisor.Path", program ? program : h->path, e) < 0 ||
			       jval_set_str(k->found, "Hypervisor.Version", version, e) < 0 ||
			       jval_set_str(k->found, "Hypervisor.VirtioFSDaemon", daemon, e) <
				       0
		       ? -1
		       : 0;
}

/* ---- the runtime ---- */

static int add_version(struct jval *found, struct err *e)
{
	static const char *const names[] = { "Runtime.Version.Version.Major",
					     "Runtime.Version.Version.Minor",
					     "Runtime.Version.Version.Patch" };
	const char *p = KATA_VERSION;
	char *end;

	if (jval_set_str(found, "Runtime.Version.OCI", ENV_OCI_VERSION, e) < 0 ||
	    jval_set_str(found, "Runtime.Version.Version.Semver", KATA_VERSION, e) < 0 ||
	    jval_set_str(found, "Runtime.Version.Version.Commit", KATA_COMMIT, e) < 0)
		return -1;
	for (size_t i = 0; i < ARRAY_LEN(names); i++) {
		unsigned long part = strtoul(p, &end, 10);

		if (jval_set_int(found, names[i], (int64_t)part, e) < 0)
			return -1;
		p = *end ? end + 1 : end;
	}
	return 0;
}

static int add_runtime(struct collector *k, struct err *e)
{
	const char *file = k->c->file ? k->c->file : "", *dir, *path;

	if (paths_program_dir(k->a, &dir, e) < 0)
		return -1;
	path = arena_printf(k->a, "%s/kata-runtime", dir);
	if (!path)
		return err_oom(e, "a path");
	if (jval_set_str(k->found, "Runtime.Config.Path", file, e) < 0 ||
	    jval_set_int(k->found, "Runtime.Config.DropIns", k->c->drop_ins, e) < 0 ||
	    jval_set_str(k->found, "Runtime.Path", path, e) < 0)
		return -1;
	return add_version(k->found, e);
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

static int add_word(struct jval *found, const char *name, const char *path, const char *key,
		    const char *sep, struct err *e)
{
	char word[WORD_MAX];

	find_word(path, key, sep, word);
	return jval_set_str(found, name, word, e);
}

/* /proc/meminfo's kB, as upstream prints them. */
static int add_kib(struct jval *found, const char *name, const char *key, struct err *e)
{
	char word[WORD_MAX];

	find_word("/proc/meminfo", key, ":", word);
	return jval_set(found, name, jval_new_uint(strtoull(word, NULL, 10)), e);
}

static int add_machine(struct jval *found, struct err *e)
{
	long cpus = sysconf(_SC_NPROCESSORS_ONLN);

	if (add_word(found, "Host.Distro.Name", "/etc/os-release", "NAME", "=", e) < 0 ||
	    add_word(found, "Host.Distro.Version", "/etc/os-release", "VERSION_ID", "=", e) <
		    0 ||
	    add_word(found, "Host.CPU.Vendor", "/proc/cpuinfo", "vendor_id", ":", e) < 0 ||
	    add_word(found, "Host.CPU.Model", "/proc/cpuinfo", "model name", ":", e) < 0 ||
	    jval_set_int(found, "Host.CPU.CPUs", cpus, e) < 0)
		return -1;
	return add_kib(found, "Host.Memory.Total", "MemTotal", e) < 0 ||
			       add_kib(found, "Host.Memory.Free", "MemFree", e) < 0 ||
			       add_kib(found, "Host.Memory.Available", "MemAvailable", e) < 0
		       ? -1
		       : 0;
}

/* What KVM on this host could protect guests by; none of ours is. */
static int add_protections(struct jval *found, struct err *e)
{
	static const struct {
		const char *name, *path;
	} rows[] = {
		{ "tdx", "/sys/module/kvm_intel/parameters/tdx" },
		{ "snp", "/sys/module/kvm_amd/parameters/sev_snp" },
		{ "sev", "/sys/module/kvm_amd/parameters/sev" },
	};
	OWN(jval) struct jval *list = jval_new_array();

	for (size_t i = 0; list && i < ARRAY_LEN(rows); i++) {
		OWN(free) char *text = NULL;
		struct err ignored;

		if (file_read(AT_FDCWD, rows[i].path, FILE_MAX, &text, NULL, &ignored) == 0 &&
		    (*text == 'Y' || *text == '1') &&
		    jval_push(list, jval_new_str(rows[i].name), e) < 0)
			return -1;
	}
	return jval_set(found, "Host.AvailableGuestProtections", TAKE(list), e);
}

/* As a start would find it, but that no kernel is booted for it. */
static int find_accel(struct collector *k, struct accel_verdict *out, struct err *e)
{
	struct trial_boot trial = {
		.hypervisor = "qemu",
		.config = k->c,
		.assets = &k->assets,
		.arena = k->a,
	};
	struct accel_config c = { .device = NULL };
	struct accel_kernel kernel;
	struct accel_verdict page;
	struct err ignored;

	if (accel_probe(k->loop, k->reaper, &c, &page, e) < 0)
		return -1;
	*out = page;
	if (page.kvm_works || !k->assets.kernel ||
	    trial_boot_describe(&trial, &kernel, &c.kernel, &ignored) < 0 || !c.kernel)
		return 0;
	return accel_look_at_kernel(&c, &page, out, e);
}

static int add_host(struct collector *k, struct err *e)
{
	bool vsock = access("/dev/vhost-vsock", F_OK) == 0;
	struct accel_verdict verdict;
	struct jval *v = k->found;
	struct utsname u;

	if (find_accel(k, &verdict, e) < 0)
		return -1;
	if (uname(&u) < 0)
		return err_sys(e, "uname");
	if (jval_set_str(v, "Host.Kernel", u.release, e) < 0 ||
	    jval_set_str(v, "Host.Architecture", u.machine, e) < 0 ||
	    jval_set_bool(v, "Host.VMContainerCapable", verdict.kvm_works, e) < 0 ||
	    jval_set_str(v, "Host.Acceleration", verdict.kvm_works ? "kvm" : "tcg", e) < 0 ||
	    jval_set_str(v, "Host.AccelerationReason", verdict.why, e) < 0 ||
	    jval_set_bool(v, "Host.SupportVSocks", vsock, e) < 0)
		return -1;
	return add_protections(v, e) < 0 ? -1 : add_machine(v, e);
}

/* ---- the answer ---- */

/*
 * Upstream's members, in its order: who compares two hosts finds the lines where they are. What
 * is not among them stands behind, in the order of the schema.
 */
static const char *const order[] = {
	"Meta.Version",
	"Kernel.Path",
	"Kernel.Parameters",
	"Image.Path",
	"Initrd.Path",
	"Hypervisor.MachineType",
	"Hypervisor.Version",
	"Hypervisor.Path",
	"Hypervisor.BlockDeviceDriver",
	"Hypervisor.EntropySource",
	"Hypervisor.SharedFS",
	"Hypervisor.VirtioFSDaemon",
	"Hypervisor.SocketPath",
	"Hypervisor.Msize9p",
	"Hypervisor.MemorySlots",
	"Hypervisor.HotPlugVFIO",
	"Hypervisor.ColdPlugVFIO",
	"Hypervisor.PCIeRootPort",
	"Hypervisor.PCIeSwitchPort",
	"Hypervisor.Debug",
	"Hypervisor.SecurityInfo.DisableSeccomp",
	"Hypervisor.SecurityInfo.GuestHookPath",
	"Hypervisor.SecurityInfo.EnableAnnotations",
	"Hypervisor.SecurityInfo.ConfidentialGuest",
	"Runtime.Config.Path",
	"Runtime.Path",
	"Runtime.GuestSeLinuxLabel",
	"Runtime.Experimental",
	"Runtime.Version.OCI",
	"Runtime.Version.Version.Semver",
	"Runtime.Version.Version.Commit",
	"Runtime.Version.Version.Major",
	"Runtime.Version.Version.Minor",
	"Runtime.Version.Version.Patch",
	"Runtime.Debug",
	"Runtime.Trace",
	"Runtime.DisableGuestSeccomp",
	"Runtime.DisableNewNetNs",
	"Runtime.SandboxCgroupOnly",
	"Host.AvailableGuestProtections",
	"Host.Kernel",
	"Host.Architecture",
	"Host.Distro.Name",
	"Host.Distro.Version",
	"Host.CPU.Vendor",
	"Host.CPU.Model",
	"Host.CPU.CPUs",
	"Host.Memory.Total",
	"Host.Memory.Free",
	"Host.Memory.Available",
	"Host.VMContainerCapable",
	"Host.SupportVSocks",
	"Agent.Debug",
	"Agent.Trace",
};

struct layout {
	struct jval *root;
	struct err *e;
};

/* Puts `v` where `name` says, with the tables around it, unless it is there. */
static int place(const char *name, struct jval *v, void *arg)
{
	struct layout *l = arg;
	struct jval *t = l->root;

	for (size_t n = strcspn(name, "."); name[n]; n = strcspn(name, ".")) {
		struct jval *inner;
		char part[WORD_MAX];

		(void)snprintf(part, sizeof(part), "%.*s", (int)n, name);
		inner = jval_get(t, part);
		if (!inner) {
			inner = jval_new_object();
			if (jval_set(t, part, inner, l->e) < 0)
				return -1;
		}
		t = inner;
		name += n + 1;
	}
	return jval_get(t, name) ? 0 : jval_set(t, name, jval_ref(v), l->e);
}

static int lay_out(const struct jval *found, struct jval *root, struct err *e)
{
	struct layout l = { root, e };

	for (size_t i = 0; i < ARRAY_LEN(order); i++) {
		struct jval *v = jval_get(found, order[i]);

		if (v && place(order[i], v, &l) < 0)
			return -1;
	}
	return jval_each(found, place, &l);
}

static int collect(struct collector *k, struct jval *root, struct err *e)
{
	if (jval_set_str(k->found, "Meta.Version", META_VERSION, e) < 0 ||
	    add_guest(k, e) < 0 || add_hypervisor(k, e) < 0 || add_runtime(k, e) < 0 ||
	    add_host(k, e) < 0)
		return -1;
	return lay_out(k->found, root, e);
}

int env_collect(struct loop *l, const struct kata_config *c, struct jval **out, struct err *e)
{
	OWN(arena) struct arena a = { .limit = 1 << 20 };
	OWN(jval) struct jval *root = jval_new_object(), *found = NULL;
	struct child_reaper reaper;
	struct collector k = { .loop = l, .reaper = &reaper, .c = c, .a = &a };
	struct err ignored;
	int rc;

	if (!root)
		return err_oom(e, "an answer");
	if (config_show(c, &found, e) < 0)
		return -1;
	k.found = found;
	/* a host without a guest is one that `env` is asked about */
	if (guest_assets_find(c, &a, &k.assets, &ignored) < 0)
		k.assets = (struct guest_assets){ .kernel = c->hypervisor.kernel,
						  .initrd = c->hypervisor.initrd,
						  .image = c->hypervisor.image };
	if (child_reaper_init(&reaper, l, e) < 0)
		return -1;
	rc = collect(&k, root, e);
	child_reaper_fini(&reaper);
	if (rc == 0)
		*out = TAKE(root);
	return rc;
}
