/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The host's vhost-vsock: a guest CID of it, and connections. The kernel is the only register
 * of CIDs: a claim either succeeds or finds the number taken, so random ones are tried.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/vhost.h>
#include <linux/vm_sockets.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/err.h"
#include "base/rand.h"
#include "event/fiber.h"
#include "vmm/vmm.h"

enum {
	CLAIM_TRIES = 50
};

int vmm_vsock_claim(const char *device, int *fd_out, uint32_t *cid_out, struct err *e)
{
	OWN(fd) int fd = -1;

	if (!device)
		device = "/dev/vhost-vsock";
	fd = open(device, O_RDWR | O_CLOEXEC);
	if (fd < 0 && (errno == ENOENT || errno == ENODEV || errno == ENXIO))
		return err_set(e, ERR_NOT_FOUND, errno, "'%s': the host has no vhost-vsock",
			       device);
	if (fd < 0)
		return err_sys(e, "open '%s'", device);
	for (int i = 0; i < CLAIM_TRIES; i++) {
		uint64_t cid = 0; /* the ioctl takes 64 bits, of which 32 may be used */

		if (rand_bytes(&cid, sizeof(uint32_t), e) < 0)
			return -1;
		if (cid < 3 || cid == UINT32_MAX) /* hypervisor, local, host, any */
			continue;
		if (ioctl(fd, VHOST_VSOCK_SET_GUEST_CID, &cid) == 0) {
			*fd_out = fd_take(&fd);
			*cid_out = (uint32_t)cid;
			return 0;
		}
		if (errno != EADDRINUSE)
			return err_sys(e, "'%s': claim guest CID %u", device, (unsigned)cid);
	}
	return err_set(e, ERR_SYS, EADDRINUSE, "'%s': no free guest CID in %d tries", device,
		       CLAIM_TRIES);
}

int vmm_vsock_connect(struct loop *l, uint32_t cid, uint32_t port, int64_t deadline, int *out,
		      struct err *e)
{
	struct sockaddr_vm addr = { .svm_family = AF_VSOCK, .svm_cid = cid, .svm_port = port };
	OWN(fd) int fd = socket(AF_VSOCK, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	socklen_t len = sizeof(int);
	int failed = 0;

	if (fd < 0)
		return err_sys(e, "vsock socket");
	if (connect(fd, (struct sockaddr *)&addr, sizeof(addr)) == 0) {
		*out = fd_take(&fd);
		return 0;
	}
	if (errno != EINPROGRESS)
		return err_sys(e, "connect to port %u of the guest", port);
	if (fiber_wait_fd(l, fd, EPOLLOUT, deadline, e) < 0)
		return err_wrap(e, "connect to port %u of the guest", port);
	if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &failed, &len) < 0)
		return err_sys(e, "connect to port %u of the guest", port);
	if (failed) {
		errno = failed;
		return err_sys(e, "connect to port %u of the guest", port);
	}
	*out = fd_take(&fd);
	return 0;
}
