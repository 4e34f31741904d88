/* SPDX-License-Identifier: Apache-2.0 */
/* Opening the log. Standard error is no place for it: containerd takes it for the answer. */
#include "shim/engine_log.h"

#include <fcntl.h>
#include <sys/stat.h>

#include "base/log.h"

void engine_log_open(bool debug, const char *sandbox)
{
	struct log_config c = { .level = debug ? LOG_DEBUG : LOG_INFO,
				.source = "shim",
				.sandbox = sandbox };
	struct stat st;

	/* for both directions, so that containerd's restart is no SIGPIPE here */
	if (stat("log", &st) == 0 && S_ISFIFO(st.st_mode))
		c.fd = open("log", O_RDWR | O_NONBLOCK | O_CLOEXEC);
	else
		c.fd = open("shim.log", O_WRONLY | O_CREAT | O_APPEND | O_NOFOLLOW | O_CLOEXEC,
			    0600);
	log_setup(&c);
}
