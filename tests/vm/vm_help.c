/* SPDX-License-Identifier: Apache-2.0 */
#include "vm_help.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "base/own.h"
#include "base/str.h"
#include "base/time.h"

enum {
	TEST_SECONDS = 300,
	WAIT_MS = 60000,
	GONE_MS = 5000
};

int64_t vm_deadline(void)
{
	return deadline_in(WAIT_MS);
}

static void in_fiber(void *arg)
{
	struct vm *vm = arg;

	vm->body(vm);
	vm_stop(vm);
}

static void show_console(const char *p, size_t n, void *arg)
{
	(void)arg;
	(void)fwrite(p, 1, n, stderr);
}

void vm_run(void (*body)(struct vm *vm))
{
	struct log_config log = { .level = getenv("VM_TRACE") ? LOG_DEBUG : LOG_INFO, .fd = 2 };
	const char *accel = getenv("KATA_TEST_ACCEL");
	struct vm vm = { .port = -1, .body = body };
	struct err e;

	(void)alarm(TEST_SECONDS);
	log_setup(&log);
	vm.config = (struct vmm_config)VMM_CONFIG_INIT;
	vm.config.name = "vmtest";
	vm.config.accel = accel && strcmp(accel, "kvm") == 0 ? ACCEL_KVM : ACCEL_TCG;
	vm.config.machine = getenv("KATA_TEST_MACHINE");
	vm.config.kernel = getenv("KATA_TEST_KERNEL");
	vm.config.memory_mib = 192;
	vm.initrds[0] = getenv("KATA_TEST_INITRD");
	vm.config.initrds = vm.initrds;
	vm.config.debug = getenv("VM_TRACE") != NULL;
	vm.config.console_text = vm.config.debug ? show_console : NULL;
	vm.config.uid = 65534;
	vm.config.gid = 65534;
	assert_ok(loop_new(&vm.loop, &e), &e);
	assert_ok(child_reaper_init(&vm.reaper, vm.loop, &e), &e);
	vm_device(&vm, VMM_DEV_SERIAL, "agent")->serial.name = "agent";
	assert_ok(fiber_main(vm.loop, in_fiber, &vm, &e), &e);
	child_reaper_fini(&vm.reaper);
	loop_free(vm.loop);
	(void)alarm(0);
}

struct vmm_device *vm_device(struct vm *vm, enum vmm_device_kind kind, const char *id)
{
	struct vmm_device *d = &vm->devices[vm->device_count++];

	*d = (struct vmm_device){ .kind = kind, .id = id };
	return d;
}

static void on_exit_told(const struct vmm_exit *x, void *arg)
{
	struct vm *vm = arg;

	vm->exit = *x;
	vm->exits++;
}

/* A port that closes goes with its machine: how that ended is what matters then. */
static void fail_silent(struct vm *vm, const char *end, bool closed, const char *why,
			struct buf *out)
{
	const struct vmm_exit *x;
	struct err ignored;
	char tail[2000];

	if (closed)
		(void)vmm_wait(vm->vmm, deadline_in(GONE_MS), &ignored);
	x = vmm_exit_info(vm->vmm);
	(void)vmm_console_tail(vm->vmm, tail, sizeof(tail));
	fail_msg("no '%s' from the guest: %s (%s%s%s); console: %s; so far: %s", end,
		 closed ? "it has closed the port" : why, vmm_exit_reason_name(x->reason),
		 *x->text ? ": " : "", x->text, tail, buf_cstr(out));
}

static void read_until(struct vm *vm, const char *end, struct buf *out)
{
	struct err e;
	size_t got;
	char c;

	while (!buf_cstr(out) || !strstr(buf_cstr(out), end)) {
		int rc = fiber_read(vm->loop, vm->port, &c, 1, vm_deadline(), &got, &e);

		if (rc < 0 || got == 0)
			fail_silent(vm, end, rc == 0, e.msg, out);
		assert_ok(buf_append(out, &c, 1, &e), &e);
	}
}

void vm_boot(struct vm *vm)
{
	OWN(buf) struct buf hello = BUF_INIT;
	int64_t begin = time_mono_ms();
	struct err e;

	vm->config.devices = vm->devices;
	vm->config.device_count = vm->device_count;
	assert_ok(vmm_new("qemu", vm->loop, &vm->reaper, &vm->config, on_exit_told, vm,
			  &vm->vmm, &e),
		  &e);
	assert_ok(vmm_start(vm->vmm, vm_deadline(), &e), &e);
	printf("# monitor ready after %lld ms\n", (long long)(time_mono_ms() - begin));
	assert_ok(vmm_serial_take(vm->vmm, "agent", &vm->port, &e), &e);
	read_until(vm, "ready\n", &hello);
	printf("# guest ready after %lld ms\n", (long long)(time_mono_ms() - begin));
}

int vm_shell(struct vm *vm, const char *command, struct buf *out)
{
	struct err e;
	char *mark;
	int status;

	assert_ok(fiber_write_all(vm->loop, vm->port, command, strlen(command), vm_deadline(),
				  &e),
		  &e);
	assert_ok(fiber_write_all(vm->loop, vm->port, "\n", 1, vm_deadline(), &e), &e);
	read_until(vm, "\n@@ ", out);
	mark = strstr((char *)(uintptr_t)buf_cstr(out), "\n@@ ");
	while (!strchr(mark + 4, '\n')) {
		size_t at = (size_t)(mark - buf_cstr(out)), got;
		char c;

		assert_ok(fiber_read(vm->loop, vm->port, &c, 1, vm_deadline(), &got, &e), &e);
		assert_ok(buf_append(out, &c, 1, &e), &e);
		mark = (char *)(uintptr_t)buf_cstr(out) + at;
	}
	status = (int)strtol(mark + 4, NULL, 10);
	*mark = '\0';
	return status;
}

void vm_expect(struct vm *vm, const char *command, const char *want)
{
	OWN(buf) struct buf out = BUF_INIT;
	int status = vm_shell(vm, command, &out);

	if (status != 0 || (want && !strstr((char *)buf_head(&out), want)))
		fail_msg("'%s' in the guest: status %d, output: %s", command, status,
			 (char *)buf_head(&out));
}

void vm_stop(struct vm *vm)
{
	struct err e;

	if (vm->vmm)
		assert_ok(vmm_stop(vm->vmm, vm_deadline(), &e), &e);
	vmm_free(TAKE(vm->vmm));
	fd_close(&vm->port);
}
