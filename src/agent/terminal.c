/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The terminal of a container's process: a pair from the container's own devpts, its slave as
 * controlling terminal and standard streams, its master for the agent.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <termios.h>
#include <unistd.h>

#include "agent/stage_steps.h"
#include "base/own.h"
#include "base/path.h"

#ifndef TIOCGPTPEER
#define TIOCGPTPEER _IO('T', 0x41) /* Linux 4.13 */
#endif

static int open_master(int *out, struct err *e)
{
	OWN(fd) int master = open("/dev/pts/ptmx", O_RDWR | O_NOCTTY | O_CLOEXEC | O_NOFOLLOW);
	struct stat st;
	int unlock = 0;

	/* the pair must be devpts' own, whatever the image has at that path */
	if (master < 0 || fstat(master, &st) < 0)
		return err_sys(e, "process.terminal: open /dev/pts/ptmx (is devpts mounted?)");
	if (!S_ISCHR(st.st_mode) || st.st_rdev != makedev(5, 2))
		return err_set(e, ERR_INVALID, 0,
			       "process.terminal: /dev/pts/ptmx is no terminal master");
	if (ioctl(master, TIOCSPTLCK, &unlock) < 0)
		return err_sys(e, "process.terminal: unlock");
	*out = fd_take(&master);
	return 0;
}

static int set_size(int master, const Grpc__Box *size, struct err *e)
{
	struct winsize ws = { 0 };

	if (!size || (!size->height && !size->width))
		return 0;
	if (size->height > USHRT_MAX || size->width > USHRT_MAX)
		return err_set(e, ERR_INVALID, 0, "process.consoleSize: at most %d", USHRT_MAX);
	ws.ws_row = (unsigned short)size->height;
	ws.ws_col = (unsigned short)size->width;
	if (ioctl(master, TIOCSWINSZ, &ws) < 0)
		return err_sys(e, "process.consoleSize");
	return 0;
}

/* A container's first terminal is its console too. */
static int bind_console(struct stage *s, int slave, struct err *e)
{
	char from[PATH_FD_LEN], to[PATH_FD_LEN];
	OWN(fd) int target = -1;

	if (path_mkfile_beneath(s->root_fd, "/dev/console", 0666, &target, e) < 0)
		return err_wrap(e, "/dev/console");
	if (mount(path_of_fd(slave, from), path_of_fd(target, to), NULL, MS_BIND, NULL) < 0)
		return err_sys(e, "bind the terminal to /dev/console");
	return 0;
}

int terminal_open(struct stage *s, struct err *e)
{
	OWN(fd) int master = -1;
	OWN(fd) int slave = -1;

	if (open_master(&master, e) < 0 || set_size(master, s->process->consolesize, e) < 0)
		return -1;
	slave = ioctl(master, TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC);
	if (slave < 0)
		return err_sys(e, "process.terminal: open the slave");
	if (s->order.kind == STAGE_CREATE && bind_console(s, slave, e) < 0)
		return -1;
	/* tty(4): the group keeps devpts' gid= choice, the user is the process' */
	if (fchown(slave, s->id.uid, (gid_t)-1) < 0)
		return err_sys(e, "process.terminal: chown");
	for (int fd = 0; fd < 3; fd++) {
		if (dup2(slave, fd) < 0)
			return err_sys(e, "process.terminal: standard streams");
	}
	if (ioctl(STDIN_FILENO, TIOCSCTTY, 0) < 0)
		return err_sys(e, "process.terminal: make it the controlling terminal");
	s->console_master = fd_take(&master);
	return 0;
}
