/* SPDX-License-Identifier: Apache-2.0 */
/* Listening and ports. */
#include "agent/transport.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <linux/vm_sockets.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/err.h"
#include "base/fd.h"
#include "base/log.h"
#include "base/own.h"
#include "base/str.h"
#include "base/time.h"
#include "event/fiber.h"
#include "wire/ttrpc.h"

#define PORTS_DIR "/sys/class/virtio-ports"

enum {
	BACKLOG = 64,
	PORT_POLL_MS = 5,
	PORT_POLL_MAX_MS = 200,
	PORT_WAIT_MS = 30 * 1000,
	HOST_WAIT_MS = 120 * 1000
};

int transport_listen_vsock(uint32_t cid, uint32_t port, int *out, struct err *e)
{
	OWN(fd) int fd = socket(AF_VSOCK, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	struct sockaddr_vm a = { .svm_family = AF_VSOCK, .svm_cid = cid, .svm_port = port };

	if (fd < 0)
		return err_sys(e, "vsock socket");
	if (bind(fd, (struct sockaddr *)&a, sizeof(a)) < 0 || listen(fd, BACKLOG) < 0)
		return err_sys(e, "listen on vsock port %u", port);
	*out = fd_take(&fd);
	return 0;
}

/*
 * Where the kernel has vsock's loopback, a container may connect to any port of its own
 * machine, and what listens here is root's. (tests/vm/test_kvm.py tries it.)
 */
bool transport_is_host(int fd)
{
	struct sockaddr_vm a = { 0 };
	socklen_t len = sizeof(a);

	return getpeername(fd, (struct sockaddr *)&a, &len) == 0 && a.svm_family == AF_VSOCK &&
	       a.svm_cid == VMADDR_CID_HOST;
}

static int serve_vsock(struct transport_config *c, const char *rest, struct err *e)
{
	const char *colon = strrchr(rest, ':');
	char cid_text[24];
	uint64_t port;
	int64_t cid;
	int fd;

	if (!colon || (size_t)(colon - rest) >= sizeof(cid_text))
		return err_set(e, ERR_INVALID, 0, "address 'vsock://%.64s'", rest);
	memcpy(cid_text, rest, (size_t)(colon - rest));
	cid_text[colon - rest] = '\0';
	if (str_to_i64(cid_text, -1, UINT32_MAX, "vsock CID", &cid, e) < 0 ||
	    str_to_u64(colon + 1, 1, UINT32_MAX - 1, "vsock port", &port, e) < 0)
		return -1;
	if (transport_listen_vsock((uint32_t)cid, (uint32_t)port, &fd, e) < 0)
		return -1;
	if (ttrpc_server_new(c->loop, fd, c->services, c->service_count, &c->server, e) < 0)
		return -1;
	ttrpc_server_admit(c->server, transport_is_host);
	return 0;
}

static int serve_unix(struct transport_config *c, const char *path, struct err *e)
{
	OWN(fd) int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	struct sockaddr_un a = { .sun_family = AF_UNIX };

	if (fd < 0)
		return err_sys(e, "unix socket");
	if (strlen(path) >= sizeof(a.sun_path))
		return err_set(e, ERR_INVALID, ENAMETOOLONG, "address 'unix://%.64s'", path);
	memcpy(a.sun_path, path, strlen(path) + 1);
	(void)unlink(path);
	if (bind(fd, (struct sockaddr *)&a, sizeof(a)) < 0 || listen(fd, BACKLOG) < 0)
		return err_sys(e, "listen on '%s'", path);
	return ttrpc_server_new(c->loop, fd_take(&fd), c->services, c->service_count,
				&c->server, e);
}

/* ---- virtio-serial ---- */

static bool port_has_name(const char *port, const char *name)
{
	char path[128], text[64];
	struct err ignored;

	(void)snprintf(path, sizeof(path), PORTS_DIR "/%.64s/name", port);
	return file_read_line(AT_FDCWD, path, text, sizeof(text), &ignored) == 0 &&
	       str_eq(text, name);
}

int transport_open_port(const char *name, int *out, struct err *e)
{
	DIR *dir = opendir(PORTS_DIR);
	char path[96] = "";
	struct dirent *ent;
	int fd;

	while (dir && !path[0] && (ent = readdir(dir))) {
		if (ent->d_name[0] != '.' && port_has_name(ent->d_name, name))
			(void)snprintf(path, sizeof(path), "/dev/%.64s", ent->d_name);
	}
	if (dir)
		(void)closedir(dir);
	if (!path[0])
		return err_set(e, ERR_NOT_FOUND, 0, "no virtio-serial port '%.64s'", name);
	fd = open(path, O_RDWR | O_NONBLOCK | O_CLOEXEC | O_NOCTTY);
	if (fd < 0)
		return err_sys(e, "open '%s'", path);
	*out = fd;
	return 0;
}

/* The driver may be loading still. */
static int wait_port(struct loop *l, const char *name, int *out, struct err *e)
{
	int64_t deadline = deadline_in(PORT_WAIT_MS);

	while (transport_open_port(name, out, e) < 0) {
		if ((e->kind != ERR_NOT_FOUND && e->sys != ENOENT) ||
		    deadline_left(deadline) == 0)
			return -1;
		if (fiber_sleep(l, PORT_POLL_MS, e) < 0)
			return -1;
	}
	return 0;
}

/* A port whose host side is not open yet reads as ended: wait for it. */
int transport_wait_host(struct loop *l, int fd, int64_t deadline, struct err *e)
{
	int64_t step = PORT_POLL_MS;

	for (;;) {
		struct pollfd p = { .fd = fd, .events = POLLIN };

		if (poll(&p, 1, 0) >= 0 && !(p.revents & POLLHUP))
			return 0;
		if (deadline_left(deadline) == 0)
			return err_set(e, ERR_TIMEOUT, 0,
				       "nobody opens the host's side of the port");
		if (fiber_sleep(l, step, e) < 0)
			return -1;
		step = step * 2 < PORT_POLL_MAX_MS ? step * 2 : PORT_POLL_MAX_MS;
	}
}

static void port_closed(struct ttrpc_conn *conn, const struct err *why, void *arg)
{
	struct transport_config *c = arg;

	(void)conn;
	c->lost(why, c->arg);
}

static int serve_port(struct transport_config *c, const char *name, struct err *e)
{
	struct ttrpc_options o = {
		.services = c->services,
		.service_count = c->service_count,
		.closed = port_closed,
		.arg = c,
	};
	OWN(fd) int fd = -1;

	if (wait_port(c->loop, name, &fd, e) < 0 ||
	    transport_wait_host(c->loop, fd, deadline_in(HOST_WAIT_MS), e) < 0)
		return -1;
	return ttrpc_conn_new(c->loop, fd_take(&fd), &o, &c->conn, e);
}

static const struct scheme {
	const char *prefix;
	int (*serve)(struct transport_config *c, const char *rest, struct err *e);
} schemes[] = {
	{ "vsock://", serve_vsock },
	{ "virtio-serial://", serve_port },
	{ "unix://", serve_unix },
};

int transport_serve(struct transport_config *c, struct err *e)
{
	for (size_t i = 0; i < ARRAY_LEN(schemes); i++) {
		if (str_starts(c->address, schemes[i].prefix))
			return schemes[i].serve(c, c->address + strlen(schemes[i].prefix), e);
	}
	return err_set(e, ERR_INVALID, 0, "agent.server_addr '%.64s'", c->address);
}
