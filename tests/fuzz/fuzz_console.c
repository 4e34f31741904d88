/* SPDX-License-Identifier: Apache-2.0 */
/* A machine's console: what is kept of it is its end, and harmless to print. */
#include "fuzz.h"

#include <string.h>
#include <unistd.h>

#include "base/err.h"
#include "base/fd.h"
#include "base/own.h"
#include "event/loop.h"
#include "vmm/console.h"

enum {
	INPUT_MAX = 48 * 1024 /* a pipe takes so much at once */
};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct console c;
	static char tail[CONSOLE_KEEP + 1];
	OWN(loop) struct loop *l = NULL;
	size_t kept = 0, len;
	struct err e;
	int p[2];

	if (size > INPUT_MAX)
		return 0;
	FUZZ_CHECK(loop_new(&l, &e) == 0 && fd_pipe(p, &e) == 0);
	FUZZ_CHECK(console_init(&c, l, p[0], NULL, NULL, &e) == 0);
	FUZZ_CHECK(fd_write_all(p[1], data, size, &e) == 0);
	(void)close(p[1]);
	console_drain(&c);
	console_close(&c);
	for (size_t i = 0; i < size; i++)
		kept += data[i] != '\r';
	FUZZ_CHECK(c.seen == kept);
	len = console_tail(&c, tail, sizeof(tail));
	FUZZ_CHECK(len == (kept < CONSOLE_KEEP ? kept : CONSOLE_KEEP) && strlen(tail) == len);
	for (size_t i = 0; i < len; i++)
		FUZZ_CHECK((tail[i] >= ' ' && tail[i] < 127) || tail[i] == '\n' ||
			   tail[i] == '\t');
	FUZZ_CHECK(console_tail(&c, tail, 2) <= 1);
	return 0;
}
