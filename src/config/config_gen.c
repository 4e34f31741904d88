/* SPDX-License-Identifier: Apache-2.0 */
/* A tool of the build: prints the default configuration file or the manual page's section. */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/fd.h"
#include "build_config.h"
#include "config/config.h"

/* configuration.toml(5) */
static int write_page(struct buf *out, struct err *e)
{
	if (buf_puts(
		    out,
		    ".TH CONFIGURATION.TOML 5 \"\" \"kata\"\n.SH NAME\nconfiguration.toml \\- "
		    "configuration of Kata Containers\n.SH DESCRIPTION\nThe first of these files is "
		    "read; config.d/*.toml beside it are laid over it. A file may hold a part "
		    "only; an unknown key is an error. A path of Kata's usual layout below /opt/kata or "
		    "/usr where nothing is gives way to what this installation has, with a "
		    "warning.\n.PP\n.nf\n",
		    e) < 0 ||
	    config_write_search(KATA_PREFIX, out, e) < 0 ||
	    buf_puts(out, ".fi\n.SH KEYS\n", e) < 0)
		return -1;
	return config_write_manual(out, e);
}

int main(int argc, char **argv)
{
	OWN(buf) struct buf out = BUF_INIT;
	struct err e;
	int rc;

	if (argc == 2 && strcmp(argv[1], "default") == 0)
		rc = config_write_default(&out, &e);
	else if (argc == 2 && strcmp(argv[1], "manual") == 0)
		rc = config_write_manual(&out, &e);
	else if (argc == 2 && strcmp(argv[1], "man") == 0)
		rc = write_page(&out, &e);
	else
		rc = err_set(&e, ERR_INVALID, 0, "usage: config-gen default|manual|man");
	if (rc == 0)
		rc = fd_write_all(STDOUT_FILENO, buf_head(&out), buf_len(&out), &e);
	if (rc < 0)
		(void)fprintf(stderr, "config-gen: %s\n", e.msg);
	return rc < 0;
}
