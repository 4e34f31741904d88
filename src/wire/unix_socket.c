/* SPDX-License-Identifier: Apache-2.0 */
/* Unix stream sockets. */
#include "wire/unix_socket.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include "base/err.h"
#include "base/own.h"
#include "base/str.h"

static int set_path(struct sockaddr_un *addr, const char *path, struct err *e)
{
	*addr = (struct sockaddr_un){ .sun_family = AF_UNIX };
	if (strlen(path) >= sizeof(addr->sun_path))
		return err_set(e, ERR_INVALID, 0, "socket '%.120s': the path is too long",
			       path);
	memcpy(addr->sun_path, path, strlen(path));
	return 0;
}

int unix_connect(const char *address, int *out, struct err *e)
{
	const char *path =
		str_starts(address, "unix://") ? address + strlen("unix://") : address;
	struct sockaddr_un addr;
	OWN(fd) int fd = -1;

	if (set_path(&addr, path, e) < 0)
		return -1;
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

int unix_listen(const char *path, int backlog, int *out, struct err *e)
{
	OWN(fd) int fd = -1;
	struct sockaddr_un addr;

	if (set_path(&addr, path, e) < 0)
		return -1;
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return err_sys(e, "socket");
	if (bind(fd, (struct sockaddr *)&addr, sizeof(addr)) < 0)
		return err_sys(e, "bind '%s'", path);
	if (chmod(path, 0600) < 0)
		return err_sys(e, "chmod '%s'", path);
	if (listen(fd, backlog) < 0)
		return err_sys(e, "listen on '%s'", path);
	*out = fd_take(&fd);
	return 0;
}
