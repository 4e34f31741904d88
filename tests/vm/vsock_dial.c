/* SPDX-License-Identifier: Apache-2.0 */
/*
 * vsock_dial CID PORT: what happens to a connection: "refused", "closed" by the other side, or
 * "open" after two seconds of silence. CID 0 stands for this machine's own. Static: for guests.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/vm_sockets.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
	SILENCE_MS = 2000
};

static unsigned own_cid(void)
{
	int fd = open("/dev/vsock", O_RDONLY | O_CLOEXEC);
	unsigned cid = VMADDR_CID_LOCAL;

	if (fd >= 0) {
		(void)ioctl(fd, IOCTL_VM_SOCKETS_GET_LOCAL_CID, &cid);
		(void)close(fd);
	}
	return cid;
}

int main(int argc, char **argv)
{
	struct sockaddr_vm a = { .svm_family = AF_VSOCK };
	struct pollfd p = { .events = POLLIN };
	char byte;

	if (argc != 3)
		return 2;
	a.svm_cid = (unsigned)strtoul(argv[1], NULL, 10);
	a.svm_port = (unsigned)strtoul(argv[2], NULL, 10);
	if (a.svm_cid == 0)
		a.svm_cid = own_cid();
	p.fd = socket(AF_VSOCK, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (p.fd < 0 || connect(p.fd, (struct sockaddr *)&a, sizeof(a)) < 0)
		(void)printf("refused: %s\n", strerror(errno));
	else if (poll(&p, 1, SILENCE_MS) == 0)
		(void)puts("open");
	else
		(void)puts(read(p.fd, &byte, 1) > 0 ? "answered" : "closed");
	return 0;
}
