/* SPDX-License-Identifier: Apache-2.0 */
/* What comes in at a link, redirected before anything else sees it (tc-mirred(8)). */
#pragma once

struct err;

/*
 * The ingress qdisc of a link (an index) in the namespace of the socket `nl`. EEXIST where
 * somebody else's is.
 */
int ingress_add(int nl, int link, struct err *e);
/* ... and its filters. ENODEV, ENOENT or EINVAL: there is none. */
int ingress_remove(int nl, int link, struct err *e);
/* Whatever comes in at `from` goes out at `to`, for a link with an ingress qdisc. */
int ingress_redirect(int nl, int from, int to, struct err *e);
