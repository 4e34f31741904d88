/* SPDX-License-Identifier: Apache-2.0 */
/* setns(2) and back. */
#include "net/netns.h"

#include <fcntl.h>
#include <sched.h>
#include <sys/stat.h>

#include "base/err.h"
#include "base/own.h"

int netns_enter(int ns, int *back, struct err *e)
{
	OWN(fd) int here = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);

	if (here < 0)
		return err_sys(e, "our own network namespace");
	if (setns(ns, CLONE_NEWNET) < 0)
		return err_sys(e, "enter the network namespace");
	*back = fd_take(&here);
	return 0;
}

/* A process that cannot come back would serve everything else from the wrong place. */
void netns_leave(int *back)
{
	BUG_ON(setns(*back, CLONE_NEWNET) < 0);
	fd_close(back);
}

bool netns_is_ours(int ns)
{
	struct stat its, ours;

	/* what cannot be told apart is not to be touched */
	return fstat(ns, &its) < 0 || stat("/proc/self/ns/net", &ours) < 0 ||
	       (its.st_dev == ours.st_dev && its.st_ino == ours.st_ino);
}
