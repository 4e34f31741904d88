/* SPDX-License-Identifier: Apache-2.0 */
/* Unix stream sockets. */
#include "wire/unix_socket.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "base/err.h"
#include "base/own.h"
#include "base/str.h"

int unix_connect(const char *address, int *out, struct err *e)
{
	const char *path =
		str_starts(address, "unix://") ? address + strlen("unix://") : address;
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	OWN(fd) int fd = -1;

	if (strlen(path) >= sizeof(addr.sun_path))
		return err_set(e, ERR_INVALID, 0, "socket '%.120s': the path is too long",
			       path);
	memcpy(addr.sun_path, path, strlen(path));
	/* SOCK_NONBLOCK: a listener whose queue is full gives EAGAIN instead of a hang */
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return err_sys(e, "socket");
	if (connect(fd, (struct sockaddr *)&addr, sizeof(addr)) < 0)
		return err_set(
			e, errno == ENOENT || errno == ECONNREFUSED ? ERR_NOT_FOUND : ERR_SYS,
			errno, "connect to '%s'", path);
	*out = fd_take(&fd);
	return 0;
}
