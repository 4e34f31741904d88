/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The host's end of the guest's debug console: a socket in the sandbox's run directory (mode
 * 0600), each connection to which is a terminal with a shell in the guest, outside of any
 * container. With vsock each has a shell of its own; a serial port is one terminal, which one
 * connection at a time may have and the next one finds as it was left.
 */
#pragma once

struct err;
struct sandbox;
struct debug_console;

enum {
	DEBUG_CONSOLE_PORT = 1026 /* of vsock, in the guest: upstream's */
};
/* How a connection begins that gets no session: the reason and its end follow. */
#define DEBUG_CONSOLE_REFUSAL "kata: debug console: "
/* The virtio-serial port. */
#define DEBUG_CONSOLE_NAME "kata.console"

/*
 * Listens at `path`, for a guest whose vsock address is `cid`, or, where that is 0, by the
 * serial port. The machine runs.
 */
int debug_console_open(struct sandbox *s, const char *path, unsigned cid,
		       struct debug_console **out, struct err *e);
/* The guest has closed the serial port: its shell has ended. */
void debug_console_port_closed(struct debug_console *c);
/* Ends every session, and waits for that. NULL is accepted. */
void debug_console_free(struct debug_console *c);
