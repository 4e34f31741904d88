/* SPDX-License-Identifier: Apache-2.0 */
/* Runs every file of the directories (or files) named through the fuzz target, once each. */
#include <dirent.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "base/err.h"
#include "base/fd.h"
#include "base/own.h"
#include "base/str.h"
#include "fuzz.h"

enum {
	INPUT_MAX = 32 << 20
};

static int replay_file(const char *path)
{
	OWN(free) char *data = NULL;
	OWN(free) uint8_t *exact = NULL;
	struct err e;
	size_t len;

	if (file_read(AT_FDCWD, path, INPUT_MAX, &data, &len, &e) < 0) {
		(void)fprintf(stderr, "%s\n", e.msg);
		return -1;
	}
	/* a block of exactly this size, so that a sanitizer sees one byte too many */
	exact = malloc(len ? len : 1);
	if (!exact)
		return -1;
	memcpy(exact, data, len);
	(void)LLVMFuzzerTestOneInput(exact, len);
	return 0;
}

/* The number of files run, -1 on failure. */
static int replay(const char *path)
{
	struct dirent **names = NULL;
	struct stat st;
	int n, done = 0;

	if (stat(path, &st) < 0) {
		perror(path);
		return -1;
	}
	if (!S_ISDIR(st.st_mode))
		return replay_file(path) < 0 ? -1 : 1;
	n = scandir(path, &names, NULL, alphasort);
	for (int i = 0; i < n; i++) {
		OWN(free) char *file = str_printf("%s/%s", path, names[i]->d_name);

		if (names[i]->d_name[0] != '.' && done >= 0)
			done = !file || replay_file(file) < 0 ? -1 : done + 1;
		free(names[i]);
	}
	free(names);
	return done;
}

int main(int argc, char **argv)
{
	int total = 0;

	for (int i = 1; i < argc; i++) {
		int n = replay(argv[i]);

		if (n < 0)
			return 1;
		total += n;
	}
	(void)printf("%d inputs\n", total);
	return total == 0; /* a corpus that is gone is a failure */
}
