/* SPDX-License-Identifier: Apache-2.0 */
/* Draining a stream into a ring. One read a turn, so that a flood starves nobody. */
#include "vmm/console.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "base/err.h"
#include "base/fd.h"
#include "base/own.h"

enum {
	CONSOLE_READ = 4096,
	CONSOLE_DRAIN_MAX = 64
};

static void keep(struct console *c, const char *p, size_t len)
{
	for (size_t i = 0; i < len; i++) {
		if (p[i] != '\r') /* a serial line's, before each newline */
			c->ring[c->seen++ % CONSOLE_KEEP] = p[i];
	}
}

static bool read_once(struct console *c)
{
	char chunk[CONSOLE_READ];
	ssize_t n = read(c->source.fd, chunk, sizeof(chunk));

	if (n > 0) {
		keep(c, chunk, (size_t)n);
		if (c->tell)
			c->tell(chunk, (size_t)n, c->arg);
		return true;
	}
	if (n == 0 || (errno != EAGAIN && errno != EINTR))
		console_close(c);
	return false;
}

static void on_ready(struct source *s, uint32_t events)
{
	(void)events;
	(void)read_once(container_of(s, struct console, source));
}

int console_init(struct console *c, struct loop *l, int fd, console_fn tell, void *arg,
		 struct err *e)
{
	OWN(fd) int own = fd;

	if (fd_set_nonblock(fd, true, e) < 0)
		return -1;
	memset(c, 0, sizeof(*c));
	c->source = (struct source){ .fd = fd, .events = EPOLLIN, .ready = on_ready };
	if (loop_add(l, &c->source, e) < 0)
		return -1;
	(void)fd_take(&own);
	c->tell = tell;
	c->arg = arg;
	c->loop = l;
	return 0;
}

void console_close(struct console *c)
{
	if (!c->loop)
		return;
	loop_remove(c->loop, &c->source);
	fd_close(&c->source.fd);
	c->loop = NULL;
}

void console_drain(struct console *c)
{
	for (int i = 0; c->loop && i < CONSOLE_DRAIN_MAX; i++) {
		if (!read_once(c))
			break;
	}
}

size_t console_tail(const struct console *c, char *out, size_t size)
{
	uint64_t have = c->seen < CONSOLE_KEEP ? c->seen : CONSOLE_KEEP;
	size_t len = have < size ? (size_t)have : size - 1;

	for (size_t i = 0; i < len; i++) {
		char ch = c->ring[(c->seen - len + i) % CONSOLE_KEEP];

		out[i] = (ch >= ' ' && ch < 127) || ch == '\n' || ch == '\t' ? ch : '?';
	}
	out[len] = '\0';
	return len;
}
