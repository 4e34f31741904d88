/* SPDX-License-Identifier: Apache-2.0 */
/* A kernel and an initrd that are none, or only half of one. */
#include "fuzz.h"

#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/err.h"
#include "base/fd.h"
#include "base/own.h"
#include "vmm/qemu/qemu.h"

static char path[] = "/tmp/kata-fuzz-boot.XXXXXX";

static void remove_file(void)
{
	(void)unlink(path);
}

/* Whatever is accepted was read as a whole: a kernel, an initrd, two of them joined. */
static void check(struct vmm_config *c, uint64_t size)
{
	OWN(qemu_files) struct qemu_files f = { .kernel = -1, .initrd = -1 };
	struct err e = ERR_INIT;

	if (qemu_files_open(c, &f, &e) < 0) {
		FUZZ_CHECK(e.kind == ERR_INVALID && strstr(e.msg, path));
		FUZZ_CHECK(f.kernel == -1 && f.initrd == -1);
		return;
	}
	FUZZ_CHECK(f.kernel >= 0 && f.bytes >= size);
	FUZZ_CHECK((f.initrd >= 0) == (c->initrds != NULL));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static int fd = -1;
	const char *const one[] = { path, NULL }, *const two[] = { path, path, NULL };
	struct vmm_config c = { .kernel = path, .memory_mib = 64 };
	struct err e;

	if (fd < 0) {
		fd = mkostemp(path, O_CLOEXEC);
		FUZZ_CHECK(fd >= 0 && atexit(remove_file) == 0);
	}
	FUZZ_CHECK(ftruncate(fd, 0) == 0 && lseek(fd, 0, SEEK_SET) == 0);
	FUZZ_CHECK(fd_write_all(fd, data, size, &e) == 0);
	check(&c, size);
	c.initrds = one;
	check(&c, 2 * size);
	c.initrds = two;
	check(&c, 3 * size);
	return 0;
}
