/* SPDX-License-Identifier: Apache-2.0 */
/* Loop devices that go with their last mount (LOOP_CONFIGURE, Linux 5.8). */
#include <errno.h>
#include <fcntl.h>
#include <linux/loop.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/stat.h>

#include "base/err.h"
#include "base/own.h"
#include "share/parts.h"

enum {
	TRIES = 50 /* others look for a free one, too */
};

static int try_one(int control, const struct loop_config *c, char node[LOOP_NODE_SIZE],
		   int *out, struct err *e)
{
	OWN(fd) int fd = -1;
	int n = ioctl(control, LOOP_CTL_GET_FREE);

	if (n < 0)
		return err_sys(e, "a free loop device");
	(void)snprintf(node, LOOP_NODE_SIZE, "/dev/loop%d", n);
	fd = open(node,
		  (c->info.lo_flags & LO_FLAGS_READ_ONLY ? O_RDONLY : O_RDWR) | O_CLOEXEC);
	if (fd < 0)
		return err_sys(e, "open '%s'", node);
	if (ioctl(fd, LOOP_CONFIGURE, c) < 0)
		return errno == EBUSY ? 1 : err_sys(e, "set up '%s'", node);
	*out = fd_take(&fd);
	return 0;
}

int loop_device_attach(const char *path, bool read_only, char node[LOOP_NODE_SIZE], int *out,
		       struct err *e)
{
	OWN(fd)
	int file = open(path, (read_only ? O_RDONLY : O_RDWR) | O_CLOEXEC | O_NONBLOCK);
	OWN(fd) int control = open("/dev/loop-control", O_RDWR | O_CLOEXEC);
	struct loop_config c = {
		.fd = (__u32)file,
		.info = { .lo_flags =
				  LO_FLAGS_AUTOCLEAR | (read_only ? LO_FLAGS_READ_ONLY : 0) },
	};
	struct stat st;
	int rc = 1;

	if (file < 0 || fstat(file, &st) < 0)
		return err_sys(e, "open '%s'", path);
	if (!S_ISREG(st.st_mode))
		return err_set(e, ERR_INVALID, 0, "'%s' is no regular file", path);
	if (control < 0)
		return err_sys(e, "a loop device: open '/dev/loop-control'");
	for (int i = 0; i < TRIES && rc == 1; i++)
		rc = try_one(control, &c, node, out, e);
	if (rc == 1)
		return err_set(e, ERR_STATE, 0, "no loop device for '%s' in %d tries", path,
			       TRIES);
	return rc < 0 ? err_wrap(e, "'%s'", path) : 0;
}
