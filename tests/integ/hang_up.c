/* SPDX-License-Identifier: Apache-2.0 */
/* A program that hangs up its terminal, as getty does, and opens it again later. */
#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

int main(void)
{
	int fd;

	(void)signal(SIGHUP, SIG_IGN);
	if (write(STDOUT_FILENO, "before\n", 7) != 7 || sleep(1) || vhangup() < 0 || sleep(2))
		return 1;
	fd = open("/dev/console", O_RDWR | O_NOCTTY | O_CLOEXEC);
	return fd >= 0 && write(fd, "after\n", 6) == 6 ? 5 : 2;
}
