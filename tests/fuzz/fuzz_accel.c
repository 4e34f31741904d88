/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The kept verdict on KVM: a file that is not sound is not believed, and the verdict of the
 * test takes its place. "@" in the input stands for the identity of the device.
 */
#include "fuzz.h"

#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/fd.h"
#include "base/own.h"
#include "base/path.h"
#include "event/child.h"
#include "event/fiber.h"
#include "event/loop.h"
#include "vmm/accel.h"

static char dir[] = "/tmp/kata-fuzz-accel.XXXXXX";
static struct loop *loop;
static struct child_reaper reaper;

static void clean_up(void)
{
	struct err e;

	(void)path_remove_tree(AT_FDCWD, dir, &e);
	child_reaper_fini(&reaper);
	loop_free(loop);
}

static void says_yes(const char *device, struct accel_verdict *out)
{
	(void)device;
	out->kvm_works = true;
	(void)snprintf(out->why, sizeof(out->why), "tested");
}

static void put_cache(const uint8_t *data, size_t size)
{
	OWN(buf) struct buf text = BUF_INIT;
	char path[64];
	struct stat st;
	struct err e;

	FUZZ_CHECK(stat("/dev/null", &st) == 0);
	for (size_t i = 0; i < size; i++) {
		if (data[i] == '@')
			FUZZ_CHECK(buf_printf(&text, &e, "%x:%x:%llu:%lld", major(st.st_rdev),
					      minor(st.st_rdev), (unsigned long long)st.st_ino,
					      (long long)st.st_ctim.tv_sec) == 0);
		else
			FUZZ_CHECK(buf_append(&text, &data[i], 1, &e) == 0);
	}
	(void)snprintf(path, sizeof(path), "%s/accel.boot", dir);
	FUZZ_CHECK(file_replace(AT_FDCWD, path, buf_head(&text), buf_len(&text), 0600, false,
				&e) == 0);
}

static void probe(void *arg)
{
	const struct accel_config c = { .device = "/dev/null",
					.cache_dir = dir,
					.boot_id = "boot",
					.probe = says_yes,
					.timeout_ms = 2000 };
	struct accel_verdict *v = arg;
	struct err e;

	FUZZ_CHECK(accel_probe(loop, &reaper, &c, v, &e) == 0);
}

int LLVMFuzzerInitialize(int *argc, char ***argv);

/* libFuzzer's threads must not take the signal that the reaper waits for. */
int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	sigset_t set;

	(void)argc;
	(void)argv;
	(void)sigemptyset(&set);
	(void)sigaddset(&set, SIGCHLD);
	return sigprocmask(SIG_BLOCK, &set, NULL);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct accel_verdict v = { 0 }, again = { 0 };
	struct err e;

	if (!loop) {
		FUZZ_CHECK(mkdtemp(dir) && loop_new(&loop, &e) == 0);
		FUZZ_CHECK(child_reaper_init(&reaper, loop, &e) == 0 && atexit(clean_up) == 0);
	}
	put_cache(data, size);
	FUZZ_CHECK(fiber_main(loop, probe, &v, &e) == 0);
	for (const char *p = v.why; *p; p++)
		FUZZ_CHECK(*p >= ' ' && *p < 127);
	if (v.from_cache)
		return 0;
	FUZZ_CHECK(v.kvm_works && strcmp(v.why, "tested") == 0);
	FUZZ_CHECK(fiber_main(loop, probe, &again, &e) == 0);
	FUZZ_CHECK(again.from_cache && again.kvm_works && strcmp(again.why, "tested") == 0);
	return 0;
}
