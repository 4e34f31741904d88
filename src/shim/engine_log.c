/* SPDX-License-Identifier: Apache-2.0 */
/* Opening the log. Standard error is no place for it: containerd takes it for the answer. */
#include "shim/engine_log.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>

#include "base/log.h"

enum {
	NAME_LEN = 129 /* an id of containerd, shim_check_ids() */
};

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

void engine_log_name(const char *sandbox, const char *container)
{
	static char names[2][NAME_LEN];

	(void)snprintf(names[0], NAME_LEN, "%s", sandbox);
	(void)snprintf(names[1], NAME_LEN, "%s", container);
	log_set_names(names[0], names[1]);
}
