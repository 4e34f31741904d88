/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Kernel parameters of a network namespace that its maker has set (the CNI plug-in "tuning",
 * Docker's disable_ipv6), and that the guest must have as well: those that differ from what a
 * namespace has that nobody has touched. Two lists that do not grow: of each link, and of all.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

struct err;

enum {
	PARAMETERS_LINK = 12,
	PARAMETERS_ALL = 11,
	PARAMETER_TEXT = 32
};

/* Those of all links in the order of parameters_link_key() and parameters_key(). */
struct parameters {
	int32_t link[PARAMETERS_LINK]; /* of a link that nobody has touched */
	char all[PARAMETERS_ALL][PARAMETER_TEXT];
};

/*
 * Of the namespace that the caller stands in. One that the kernel does not have, or whose value
 * is no number or too long, is 0 or "".
 */
void parameters_read(struct parameters *out);
/*
 * Of a link there, by its name. As they take effect: several apply where they are set for all
 * links, too. One that cannot be read is as in `fresh`.
 */
void parameters_of_link(const char *name, const struct parameters *fresh,
			int32_t out[PARAMETERS_LINK]);
/*
 * What a namespace has that nobody has touched. The caller stands in a new one afterwards, and
 * goes home as from any other (netns_leave()).
 */
int parameters_of_fresh(struct parameters *out, struct err *e);

/* "ipv6/disable_ipv6": below /proc/sys/net with "conf" and the link's name in between. */
const char *parameters_link_key(size_t i);
/* "net/core/somaxconn": below /proc/sys. */
const char *parameters_key(size_t i);
