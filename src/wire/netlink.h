/* SPDX-License-Identifier: Apache-2.0 */
/*
 * rtnetlink (rtnetlink(7), linux/rtnetlink.h): building requests in a fixed buffer and reading
 * answers with every length checked. Knows the format, not what anybody wants with it.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <linux/netlink.h>
#include <linux/rtnetlink.h>

struct err;

/* ---- requests ---- */

enum {
	NL_REQUEST_MAX = 4096
};

struct nl_request {
	uint8_t data[NL_REQUEST_MAX] __attribute__((aligned(4)));
	size_t len;
	bool overflow; /* something did not fit: nl_call() refuses */
};

/* Starts a message of `type` with its fixed part (struct ifinfomsg and the like). */
void nl_start(struct nl_request *r, uint16_t type, uint16_t flags, const void *fixed,
	      size_t fixed_len);
void nl_put(struct nl_request *r, uint16_t type, const void *p, size_t len);
void nl_put_u32(struct nl_request *r, uint16_t type, uint32_t v);
void nl_put_str(struct nl_request *r, uint16_t type, const char *s);
/* Opens a nested attribute; its handle goes to nl_nest_end(). */
size_t nl_nest(struct nl_request *r, uint16_t type);
void nl_nest_end(struct nl_request *r, size_t at);

/* ---- answers ---- */

/* The next message in `p` of `left` bytes; moves both on. 1: a message, 0: end, -1: broken. */
int nl_next(const uint8_t **p, size_t *left, const struct nlmsghdr **out);
/*
 * Fills table[0 … max] with the attributes behind the fixed part of `fixed_len` bytes (the
 * last of each type; others are ignored). -1: the message is too short or broken.
 */
struct nl_attr {
	const void *data; /* NULL: not there */
	size_t len;
};
int nl_parse(const struct nlmsghdr *m, size_t fixed_len, struct nl_attr *table, uint16_t max);
/* The same for attributes inside an attribute. */
int nl_parse_nested(const struct nl_attr *a, struct nl_attr *table, uint16_t max);
/* 0 and *out if the attribute holds exactly that; -1 otherwise. */
int nl_get_u32(const struct nl_attr *a, uint32_t *out);
/* A NUL-ended string that fits `size`. */
int nl_get_str(const struct nl_attr *a, char *out, size_t size);

/* ---- talking ---- */

/* A NETLINK_ROUTE socket of the calling process's network namespace. */
int nl_open(int *out, struct err *e);
/*
 * Sends the request and takes the answer, which the kernel gives at once: `each` (may be
 * NULL) is called for every message of a dump or reply; its failure is the call's. The
 * kernel's refusal is ERR_SYS with its errno.
 */
int nl_call(int fd, struct nl_request *r,
	    int (*each)(const struct nlmsghdr *m, void *arg, struct err *e), void *arg,
	    struct err *e);
/*
 * A non-blocking socket that is readable once one of `groups` (RTMGRP_*) has announced
 * something; what it was is found out by asking, since announcements can be lost.
 */
int nl_listen(unsigned groups, int *out, struct err *e);
/*
 * Takes all announcements. Whether one of them counts, as the function says; those that were
 * lost or cannot be read may have.
 */
bool nl_drain(int fd, bool (*counts)(const struct nlmsghdr *m, void *arg), void *arg);
