/* SPDX-License-Identifier: Apache-2.0 */
/* The log's way out of the guest. */
#include "agent/guest_log.h"

#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "agent/sandbox.h"
#include "agent/transport.h"
#include "base/err.h"
#include "base/mem.h"
#include "base/str.h"

#define LOG_PORT "kata.log"

struct log_listener {
	struct source source;
	struct sandbox *sandbox;
	int conn;
};

static void use(struct sandbox *s, int fd)
{
	struct log_config c = { .level = s->config.log_level, .fd = fd, .source = "agent" };

	log_setup(&c);
}

/* The last one to connect gets the log. */
static void on_connect(struct source *src, uint32_t events)
{
	struct log_listener *l = container_of(src, struct log_listener, source);
	int fd = accept4(src->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

	(void)events;
	if (fd < 0)
		return;
	if (!transport_is_host(fd)) {
		(void)close(fd);
		return;
	}
	use(l->sandbox, fd);
	fd_close(&l->conn);
	l->conn = fd;
}

static int listen_for_host(struct sandbox *s, struct err *e)
{
	struct log_listener *l = mem_new(struct log_listener);
	int fd;

	if (!l)
		return err_oom(e, "the log's listener");
	if (transport_listen_vsock(~0U, s->config.log_vport, &fd, e) < 0) {
		free(l);
		return -1;
	}
	l->source = (struct source){ .fd = fd, .events = EPOLLIN, .ready = on_connect };
	l->sandbox = s;
	l->conn = -1;
	return loop_add(s->loop, &l->source, e); /* lives as long as the agent */
}

void guest_log_start(struct sandbox *s)
{
	struct err e;
	int fd;

	/* our engine gives the machine this port whatever the transport, others a vsock port */
	if (transport_open_port(LOG_PORT, &fd, &e) == 0) {
		use(s, fd);
		return;
	}
	if (s->config.log_vport && listen_for_host(s, &e) < 0)
		log_warn(&s->log, "agent.log_vport: %s", e.msg);
}
