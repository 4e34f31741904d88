/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A layer of a hostile image, unpacked by the helper's own code without its confinement:
 * whatever the archive says, everything stays below the layer's directory.
 */
#include "fuzz.h"

#include <dirent.h>
#include <fcntl.h>
#include <ftw.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/err.h"
#include "base/fd.h"
#include "base/own.h"
#include "base/path.h"
#include "image/unpack/helper.h"

enum {
	INPUT_MAX = 256 * 1024,
	BYTES_MAX = 1 << 20,
	ENTRIES_MAX = 100
};

static char outside[] = "/tmp/kata-fuzz-untar.XXXXXX";

static void remove_outside(void)
{
	struct err e;

	(void)path_remove_tree(AT_FDCWD, outside, &e);
}

/* The helper's descriptors: 0 is the archive, 3 its reports, 4 the layer. */
static void make_outside(void)
{
	static int made;
	int null;

	if (made++)
		return;
	FUZZ_CHECK(mkdtemp(outside) && atexit(remove_outside) == 0);
	null = open("/dev/null", O_RDWR | O_CLOEXEC);
	FUZZ_CHECK(null >= 0 &&
		   (null == UNPACK_REPORT_FD || dup2(null, UNPACK_REPORT_FD) >= 0));
}

static void give_input(const uint8_t *data, size_t size)
{
	OWN(fd) int fd = memfd_create("tar", MFD_CLOEXEC);
	struct err e;

	FUZZ_CHECK(fd >= 0 && fd_write_all(fd, data, size, &e) == 0);
	FUZZ_CHECK(lseek(fd, 0, SEEK_SET) == 0 && dup2(fd, STDIN_FILENO) == STDIN_FILENO);
}

/* Nothing but the layer is there. */
static void check_outside(void)
{
	DIR *dir = opendir(outside);
	struct dirent *ent;
	int seen = 0;

	FUZZ_CHECK(dir);
	while ((ent = readdir(dir))) {
		if (ent->d_name[0] != '.')
			FUZZ_CHECK(strcmp(ent->d_name, "layer") == 0 && ++seen == 1);
	}
	FUZZ_CHECK(seen == 1);
	(void)closedir(dir);
}

static int opened; /* directories that let_in() has opened */

static int let_in(const char *path, const struct stat *st, int kind, struct FTW *at)
{
	(void)st;
	(void)at;
	if ((kind == FTW_D || kind == FTW_DNR) && chmod(path, 0700) == 0 && kind == FTW_DNR)
		opened++;
	return 0;
}

/* An ordinary user may not remove what lies in directories that an archive has closed. */
static void remove_layer(const char *path)
{
	struct err e;

	do {
		opened = 0;
		if (geteuid() != 0)
			FUZZ_CHECK(nftw(path, let_in, 16, FTW_PHYS) == 0);
	} while (opened);
	FUZZ_CHECK(path_remove_tree(AT_FDCWD, path, &e) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const struct unpack_limits limits = { .bytes = BYTES_MAX, .entries = ENTRIES_MAX };
	struct report_done done = { 0 };
	OWN(fd) int root = -1;
	struct err e = ERR_INIT;
	char path[64];

	if (size > INPUT_MAX)
		return 0;
	make_outside();
	(void)snprintf(path, sizeof(path), "%s/layer", outside);
	FUZZ_CHECK(mkdir(path, 0755) == 0);
	root = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	FUZZ_CHECK(root >= 0);
	give_input(data, size);
	if (untar_run(root, &limits, &done, &e) < 0)
		FUZZ_CHECK(e.kind != ERR_NONE && e.msg[0]);
	else
		FUZZ_CHECK(done.bytes <= BYTES_MAX && done.entries <= ENTRIES_MAX);
	check_outside();
	remove_layer(path);
	return 0;
}
