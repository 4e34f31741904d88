/* SPDX-License-Identifier: Apache-2.0 */
/* Unix stream sockets by path, for clients; "unix://" in front of the path is accepted. */
#pragma once

struct err;

/* Connects; never waits (a listener whose queue is full is an error, EAGAIN). */
int unix_connect(const char *address, int *out, struct err *e);
