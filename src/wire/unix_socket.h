/* SPDX-License-Identifier: Apache-2.0 */
/* Unix stream sockets by path. */
#pragma once

struct err;

/*
 * Connects; never waits (a listener whose queue is full is an error, EAGAIN). "unix://" in
 * front of the path is accepted.
 */
int unix_connect(const char *address, int *out, struct err *e);
/* Binds a new socket at `path`, for our own user alone, and listens. */
int unix_listen(const char *path, int backlog, int *out, struct err *e);
