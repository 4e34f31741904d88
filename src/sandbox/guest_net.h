/* SPDX-License-Identifier: Apache-2.0 */
/* Interfaces, addresses and routes given to the agent. */
#pragma once

struct err;
struct sandbox;
struct scan;
struct user_net_guest;

/*
 * Configures what was found in the caller's network namespace. What a link that the guest has
 * already cannot be changed to is one log line, and not an error.
 */
int guest_net_apply_links(struct sandbox *s, const struct scan *found, struct err *e);
/* Configures the interface of the network "user". */
int guest_net_apply(struct sandbox *s, const struct user_net_guest *g, struct err *e);
