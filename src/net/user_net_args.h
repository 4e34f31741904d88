/* SPDX-License-Identifier: Apache-2.0 */
/* passt's command line and the addresses of the network "user": pure, for tests. */
#pragma once

#define USER_NET_IPV4     "10.0.2.15"
#define USER_NET_GATEWAY4 "10.0.2.2"
#define USER_NET_DNS4     "10.0.2.3"
#define USER_NET_IPV6     "fd6b:6174:612d:63::15"
#define USER_NET_GATEWAY6 "fd6b:6174:612d:63::2"

enum {
	USER_NET_PREFIX4 = 24,
	USER_NET_PREFIX6 = 64
};

struct err;
struct strv;
struct user_net_config;
struct user_net_guest;

/*
 * The whole argv. ERR_INVALID names a port that passt cannot be told (a guest port of 0, an
 * address that is none); ERR_NOT_FOUND if passt is not installed.
 */
int user_net_args(const struct user_net_config *c, const struct user_net_guest *g,
		  struct strv *argv, struct err *e);
