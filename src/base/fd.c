/* SPDX-License-Identifier: Apache-2.0 */
/* Descriptors and small files. */
#include "base/fd.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/own.h"
#include "base/rand.h"
#include "base/str.h"

/* Writes it all. With wait, a descriptor that would block is waited for; without, that is an
 * error. */
static int write_whole(int fd, const void *p, size_t len, bool wait, struct err *e)
{
	const char *s = p;

	while (len) {
		struct pollfd ready = { .fd = fd, .events = POLLOUT };
		ssize_t n = write(fd, s, len);

		if (n >= 0) {
			s += n;
			len -= (size_t)n;
		} else if (errno == EAGAIN && wait) {
			if (poll(&ready, 1, -1) < 0 && errno != EINTR)
				return err_sys(e, "wait to write");
		} else if (errno != EINTR) {
			return err_sys(e, "write");
		}
	}
	return 0;
}

int fd_write_all(int fd, const void *p, size_t len, struct err *e)
{
	return write_whole(fd, p, len, false, e);
}

int fd_write_waiting(int fd, const void *p, size_t len, struct err *e)
{
	return write_whole(fd, p, len, true, e);
}

int fd_read_exact(int fd, void *p, size_t len, struct err *e)
{
	char *s = p;

	while (len) {
		ssize_t n = read(fd, s, len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return err_sys(e, "read");
		if (n == 0)
			return err_set(e, ERR_PEER, 0, "unexpected end, %zu bytes missing",
				       len);
		s += n;
		len -= (size_t)n;
	}
	return 0;
}

int fd_read_to_end(int fd, struct buf *b, struct err *e)
{
	BUG_ON(b->limit == 0);
	for (;;) {
		size_t room = b->limit - buf_len(b);
		ssize_t n;
		char probe;

		if (room == 0) {
			n = read(fd, &probe, 1);
			if (n < 0 && errno == EINTR)
				continue;
			if (n == 0)
				return 0;
			return n < 0 ? err_sys(e, "read")
				     : err_set(e, ERR_INVALID, 0, "larger than %zu bytes",
					       b->limit);
		}
		room = room < 65536 ? room : 65536;
		if (buf_reserve(b, room, e) < 0)
			return -1;
		n = read(fd, buf_tail(b), room);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return err_sys(e, "read");
		if (n == 0)
			return 0;
		buf_produced(b, (size_t)n);
	}
}

int fd_set_nonblock(int fd, bool on, struct err *e)
{
	int flags = fcntl(fd, F_GETFL);

	if (flags < 0 || fcntl(fd, F_SETFL, on ? flags | O_NONBLOCK : flags & ~O_NONBLOCK) < 0)
		return err_sys(e, "set O_NONBLOCK");
	return 0;
}

int fd_set_cloexec(int fd, bool on, struct err *e)
{
	int flags = fcntl(fd, F_GETFD);

	if (flags < 0 || fcntl(fd, F_SETFD, on ? flags | FD_CLOEXEC : flags & ~FD_CLOEXEC) < 0)
		return err_sys(e, "set FD_CLOEXEC");
	return 0;
}

int fd_pipe(int out[2], struct err *e)
{
	int p[2];

	if (pipe2(p, O_CLOEXEC) < 0)
		return err_sys(e, "pipe");
	out[0] = p[0];
	out[1] = p[1];
	return 0;
}

int fd_socketpair(int out[2], struct err *e)
{
	int p[2];

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, p) < 0)
		return err_sys(e, "socketpair");
	out[0] = p[0];
	out[1] = p[1];
	return 0;
}

int file_read(int dirfd, const char *path, size_t max, char **out, size_t *len_out,
	      struct err *e)
{
	OWN(fd) int fd = openat(dirfd, path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	OWN(buf) struct buf b = { .limit = max };
	struct stat st;
	size_t len;
	char *s;

	if (fd < 0)
		return err_set(e, errno == ENOENT ? ERR_NOT_FOUND : ERR_SYS, errno, "open '%s'",
			       path);
	if (fstat(fd, &st) < 0)
		return err_sys(e, "stat '%s'", path);
	if (!S_ISREG(st.st_mode))
		return err_set(e, ERR_INVALID, 0, "'%s' is not a regular file", path);
	if (fd_read_to_end(fd, &b, e) < 0)
		return err_wrap(e, "'%s'", path);
	len = buf_len(&b);
	s = buf_take_str(&b);
	if (!s)
		return err_oom(e, path);
	*out = s;
	if (len_out)
		*len_out = len;
	return 0;
}

int file_read_line(int dirfd, const char *path, char *out, size_t size, struct err *e)
{
	OWN(fd) int fd = openat(dirfd, path, O_RDONLY | O_CLOEXEC);
	size_t len = 0;

	if (fd < 0)
		return err_set(e, errno == ENOENT ? ERR_NOT_FOUND : ERR_SYS, errno, "open '%s'",
			       path);
	while (len < size - 1) {
		ssize_t n = read(fd, out + len, size - 1 - len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return err_sys(e, "read '%s'", path);
		if (n == 0)
			break;
		len += (size_t)n;
	}
	while (len > 0 && out[len - 1] == '\n')
		len--;
	out[len] = '\0';
	return 0;
}

int file_write_value(int dirfd, const char *path, const char *value, struct err *e)
{
	OWN(fd) int fd = openat(dirfd, path, O_WRONLY | O_CLOEXEC);
	size_t len = strlen(value);
	ssize_t n;

	if (fd < 0)
		return err_set(e, errno == ENOENT ? ERR_NOT_FOUND : ERR_SYS, errno, "open '%s'",
			       path);
	do
		n = write(fd, value, len);
	while (n < 0 && errno == EINTR);
	if (n < 0)
		return err_sys(e, "write '%s' to '%s'", value, path);
	if ((size_t)n != len)
		return err_set(e, ERR_SYS, EIO, "write '%s' to '%s': short write", value, path);
	return 0;
}

int file_replace(int dirfd, const char *path, const void *p, size_t len, mode_t mode,
		 bool durable, struct err *e)
{
	char hex[RAND_HEX_LEN(6)];
	OWN(free) char *tmp = NULL;
	OWN(fd) int fd = -1;

	if (rand_hex(hex, 6, e) < 0)
		return -1;
	tmp = str_printf("%s.%s.tmp", path, hex);
	if (!tmp)
		return err_oom(e, path);
	fd = openat(dirfd, tmp, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, mode);
	if (fd < 0)
		return err_sys(e, "create '%s'", tmp);
	if (fd_write_all(fd, p, len, e) < 0)
		goto fail;
	if (durable && fsync(fd) < 0) {
		err_sys(e, "fsync");
		goto fail;
	}
	if (renameat(dirfd, tmp, dirfd, path) < 0) {
		err_sys(e, "rename into place");
		goto fail;
	}
	return 0;
fail:
	(void)unlinkat(dirfd, tmp, 0);
	return err_wrap(e, "write '%s'", path);
}

void fd_fill_std(void)
{
	for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++) {
		if (fcntl(fd, F_GETFD) < 0 && errno == EBADF)
			(void)!open("/dev/null", fd == STDIN_FILENO ? O_WRONLY : O_RDONLY);
	}
}

#define RESERVE_SUFFIX ".reserve"

static int blanks(int fd, size_t n, struct err *e)
{
	static const char block[64] =
		"                                                               ";

	while (n) {
		size_t part = n < sizeof(block) - 1 ? n : sizeof(block) - 1;

		if (fd_write_all(fd, block, part, e) < 0)
			return -1;
		n -= part;
	}
	return 0;
}

int file_reserve(int dirfd, const char *path, struct err *e)
{
	OWN(free) char *name = str_printf("%s" RESERVE_SUFFIX, path);
	OWN(fd) int fd = -1;

	if (!name)
		return err_oom(e, path);
	fd = openat(dirfd, name, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (fd < 0)
		return err_sys(e, "create '%s'", name);
	if (blanks(fd, FILE_RESERVE_BYTES, e) == 0)
		return 0;
	(void)unlinkat(dirfd, name, 0);
	return err_wrap(e, "write '%s'", name);
}

/* Its blocks are there already: writing to them takes none. */
static int use_reserve(int dirfd, const char *path, const char *name, const void *p, size_t len,
		       struct err *e)
{
	OWN(fd) int fd = openat(dirfd, name, O_WRONLY | O_NOFOLLOW | O_CLOEXEC);

	if (fd < 0)
		return err_sys(e, "open '%s'", name);
	if (fd_write_all(fd, p, len, e) < 0 || blanks(fd, FILE_RESERVE_BYTES - len, e) < 0)
		return err_wrap(e, "write '%s'", name);
	if (fsync(fd) < 0 || renameat(dirfd, name, dirfd, path) < 0)
		return err_sys(e, "rename '%s' into place", name);
	return 0;
}

int file_replace_reserved(int dirfd, const char *path, const void *p, size_t len, struct err *e)
{
	OWN(free) char *name = str_printf("%s" RESERVE_SUFFIX, path);
	int rc = file_replace(dirfd, path, p, len, 0600, true, e);

	if (!name)
		return err_oom(e, path);
	if (rc < 0 && (e->sys == ENOSPC || e->sys == EDQUOT) && len <= FILE_RESERVE_BYTES)
		rc = use_reserve(dirfd, path, name, p, len, e);
	(void)unlinkat(dirfd, name, 0);
	return rc;
}
