/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Each link of the caller's network namespace is joined to an interface of the machine: by the
 * model "tcfilter" to a tap, frame by frame, with redirections of the traffic control in both
 * directions (ingress qdisc, u32 match-all, mirred; tc-mirred(8)), or by "macvtap" to one upon
 * the link (net/macvtap.h). The guest's interface has the link's hardware address, MTU,
 * addresses, routes and neighbours, so that nobody outside sees a difference.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/own.h"
#include "net/scan.h"

struct log_ctx;
struct tap_net;
struct vmm_device;

enum tap_model {
	TAP_TCFILTER,
	TAP_MACVTAP
};

struct tap_net_config {
	const char *netns;  /* a path */
	const char *record; /* a file, see net/link_record.h; NULL: none */
	enum tap_model model;
	bool vhost; /* the host's kernel serves the taps where it can (vhost-net) */
	const struct log_ctx *log;
};

/*
 * Opens the namespace; nothing is joined yet. As long as *out is there the namespace is,
 * whatever becomes of the path. One log line says if vhost-net cannot serve.
 */
int tap_net_new(const struct tap_net_config *c, struct tap_net **out, struct err *e);
/* Takes redirections and taps away. NULL is accepted. */
void tap_net_free(struct tap_net *n);
OWN_DEFINE(tap_net, struct tap_net *, tap_net_free)

/* What differs from the last look. A place is a number below SCAN_LINKS_MAX. */
struct tap_net_changes {
	size_t joined[SCAN_LINKS_MAX], joined_count; /* places with a new tap */
	size_t gone[SCAN_LINKS_MAX], gone_count;     /* places whose link is no more */
	bool other; /* an address, a route, a neighbour or a link's property */
	/* why the first of what is new is left out, a link or a row of one; or its kind is none
	 */
	struct err refused;
};

/*
 * Looks into the namespace and joins the links that are new. Waits for nothing: the process is
 * in the other namespace for the time of the call. On failure nothing has changed. Places that
 * are gone are named once; tap_net_part() frees them. A link that cannot be joined is refused,
 * see tap_net_refuse(); the others are joined all the same. So it is with what scan_links()
 * leaves out, which tap_net_retry() makes new again.
 */
int tap_net_look(struct tap_net *n, struct tap_net_changes *out, struct err *e);
/* Takes redirection and tap of a place away, and makes it free. */
void tap_net_part(struct tap_net *n, size_t place);
/* The machine still has it: the next look names it once more. */
void tap_net_part_later(struct tap_net *n, size_t place);
/*
 * Parts from a link that cannot be had: no look sees it again, for each would make and remove a
 * tap, whose announcements are the reason for the next. It is tried anew when it is made anew,
 * when a place gets free, and after tap_net_retry().
 */
void tap_net_refuse(struct tap_net *n, size_t place);
void tap_net_retry(struct tap_net *n);
/*
 * Readable once anything there has been announced since the last tap_net_drain(); a look's own
 * taps are announced as well.
 */
int tap_net_event_fd(const struct tap_net *n);
/*
 * Takes the announcements. Whether a look may find something: of neighbours, which come and go
 * with the traffic, only the permanent ones are ever looked at.
 */
bool tap_net_drain(struct tap_net *n);

/* The namespace's descriptor; it belongs to *n. */
int tap_net_namespace(const struct tap_net *n);
/* How links are joined, for messages. */
const char *tap_net_model(const struct tap_net *n);
/*
 * The next kernel parameter of the namespace, not of a link, that is not as the kernel makes
 * it, as it was at tap_net_new(); false: no more. Begins with *at = 0, which it moves on.
 */
bool tap_net_parameter(const struct tap_net *n, size_t *at, const char **key,
		       const char **value);
/* What was found by the last look; valid until the next. */
const struct scan *tap_net_scan(const struct tap_net *n);
/* The place of a link, by its index; false if it has none. */
bool tap_net_place(const struct tap_net *n, int link, size_t *out);
/*
 * Whether its hardware address is another than it was when joined, or has been: the guest's
 * interface is not found by it.
 */
bool tap_net_has_moved(const struct tap_net *n, size_t place);
/* A note of the owner's: the guest has once taken all that belongs to the link. */
void tap_net_set_told(struct tap_net *n, size_t place);
bool tap_net_is_told(const struct tap_net *n, size_t place);
/* The name of the link at a place, for messages. */
const char *tap_net_name(const struct tap_net *n, size_t place);
/* The machine's device for a place; its descriptors belong to *n. */
void tap_net_device(struct tap_net *n, size_t place, struct vmm_device *out);
/* Once the machine has descriptors of its own: a tap goes with the last one. */
void tap_net_release_fds(struct tap_net *n);
