/* SPDX-License-Identifier: Apache-2.0 */
/* From links on the host to devices of the machine and the agent's calls. */
#include "sandbox/links.h"

#include <sys/epoll.h>

#include "base/err.h"
#include "base/str.h"
#include "base/time.h"
#include "config/config.h"
#include "net/tap_net.h"
#include "sandbox/guest_net.h"
#include "sandbox/internal.h"
#include "vmm/vmm.h"

enum {
	PLUG_MS = 10 * 1000,
	SETTLE_MS = 50, /* a link is followed by its addresses and routes */
	RETRY_MS = 1000,
	RETRY_MAX_MS = 5 * 60 * 1000
};

static int open_namespace(struct sandbox *s, const char *netns, const char *record,
			  struct err *e)
{
	struct tap_net_config c = {
		.netns = netns,
		.record = record,
		.model = str_eq(s->c.config->runtime.internetworking_model, "macvtap")
				 ? TAP_MACVTAP
				 : TAP_TCFILTER,
		.vhost = s->vhost_net,
		.log = &s->log,
	};

	return tap_net_new(&c, &s->taps, e);
}

/* ---- at the boot ---- */

int links_join(struct sandbox *s, const char *netns, struct vmm_device *devices, size_t *count,
	       struct err *e)
{
	const char *record = *s->c.link_record ? s->c.link_record : NULL;
	struct tap_net_changes c;

	if (open_namespace(s, netns, record, e) < 0)
		return -1;
	if (tap_net_look(s->taps, &c, e) < 0)
		return err_wrap(e, "network namespace '%.200s'", netns);
	if (c.refused.kind != ERR_NONE) {
		*e = c.refused;
		return err_wrap(e, "network namespace '%.200s'", netns);
	}
	for (size_t i = 0; i < c.joined_count; i++) {
		tap_net_device(s->taps, c.joined[i], &devices[i]);
		log_info(&s->log, "network: link '%s' of '%s' joined by %s",
			 tap_net_name(s->taps, c.joined[i]), netns, tap_net_model(s->taps));
	}
	if (tap_net_scan(s->taps)->other_tables)
		log_warn(&s->log,
			 "network: '%s' has rules and further tables of routes: the guest "
			 "gets the main table",
			 netns);
	if (tap_net_scan(s->taps)->dead_routes)
		log_warn(&s->log,
			 "network: '%s' has routes that lead nowhere (blackhole, unreachable, "
			 "prohibit): the guest does not get them",
			 netns);
	if (c.joined_count == 0)
		log_info(&s->log, "network: '%s' has no link with an address", netns);
	*count = c.joined_count;
	return 0;
}

int links_apply(struct sandbox *s, struct err *e)
{
	return s->taps ? guest_net_apply_links(s, tap_net_scan(s->taps), e) : 0;
}

/* ---- later ---- */

static int plug(struct sandbox *s, size_t place, struct err *e)
{
	struct vmm_device d;
	int rc;

	tap_net_device(s->taps, place, &d);
	fiber_shield(s->loop, true); /* half a device would be in the way of the next */
	rc = vmm_require(s->vmm, VMM_CAP_HOTPLUG_NET, e);
	if (rc == 0)
		rc = vmm_device_add(s->vmm, &d, deadline_in(PLUG_MS), NULL, e);
	fiber_shield(s->loop, false);
	if (rc < 0)
		return err_wrap(e, "network '%s'", tap_net_name(s->taps, place));
	log_info(&s->log, "network: link '%s' plugged in", tap_net_name(s->taps, place));
	return 0;
}

/*
 * A device of the boot cannot be unplugged: its place is used up, and nobody is behind it. A
 * guest that is slow to let one go is asked again by the next look.
 */
static void unplug(struct sandbox *s, size_t place)
{
	struct vmm_device d;
	struct err e;
	int rc;

	tap_net_device(s->taps, place, &d);
	fiber_shield(s->loop, true); /* as in plug() */
	rc = vmm_device_remove(s->vmm, d.id, deadline_in(PLUG_MS), &e);
	fiber_shield(s->loop, false);
	if (rc == 0) {
		log_info(&s->log, "network: link '%s' unplugged", tap_net_name(s->taps, place));
		tap_net_part(s->taps, place);
		return;
	}
	log_info(&s->log, "network: link '%s' is gone, its interface stays: %s",
		 tap_net_name(s->taps, place), e.msg);
	if (e.kind != ERR_NOT_FOUND) {
		tap_net_part_later(s->taps, place);
		s->links_leaving = true;
	}
}

/* Those that cannot be are refused, and *why is the first one's reason unless it is one
 * already. */
static void plug_all(struct sandbox *s, const struct tap_net_changes *c, struct err *why)
{
	struct err e;

	for (size_t i = 0; i < c->joined_count; i++) {
		if (plug(s, c->joined[i], &e) == 0)
			continue;
		tap_net_refuse(s->taps, c->joined[i]);
		if (why->kind == ERR_NONE)
			*why = e;
		else
			log_error(&s->log, "network: %s", e.msg);
	}
}

/* What one link cannot have is not taken from the others. */
static int look_once(struct sandbox *s, struct err *e)
{
	struct tap_net_changes c;

	(void)tap_net_drain(s->taps);
	if (tap_net_look(s->taps, &c, e) < 0)
		return -1;
	s->links_leaving = false;
	for (size_t i = 0; i < c.gone_count; i++)
		unplug(s, c.gone[i]);
	plug_all(s, &c, &c.refused);
	tap_net_release_fds(s->taps);
	s->links_stale |= c.joined_count || c.other;
	if (s->links_stale && links_apply(s, e) < 0) { /* it is tried again by the next look */
		if (c.refused.kind != ERR_NONE)
			log_error(&s->log, "network: %s", c.refused.msg);
		return -1;
	}
	s->links_stale = s->links_partly;
	if (c.refused.kind == ERR_NONE)
		return 0;
	*e = c.refused;
	return -1;
}

static int refresh(struct sandbox *s, bool all, struct err *e)
{
	int rc;

	while (s->links_busy) {
		if (cond_wait(&s->changed, DEADLINE_NONE, e) < 0)
			return -1;
	}
	if (!s->taps || sandbox_need_ready(s, e) < 0)
		return s->taps ? -1 : 0;
	s->links_busy = true;
	if (all)
		tap_net_retry(s->taps);
	rc = look_once(s, e);
	s->links_busy = false;
	cond_wake_all(&s->changed);
	return rc;
}

int links_refresh(struct sandbox *s, struct err *e)
{
	return refresh(s, true, e);
}

/* Waits for a change, no longer than `pause_ms` if that is not 0. */
static int settle(struct sandbox *s, int64_t pause_ms, struct err *e)
{
	int64_t deadline = pause_ms ? deadline_in(pause_ms) : DEADLINE_NONE;

	if (fiber_wait_fd(s->loop, tap_net_event_fd(s->taps), EPOLLIN, deadline, e) < 0)
		return e->kind == ERR_TIMEOUT ? 0 : -1;
	return fiber_sleep(s->loop, SETTLE_MS, e);
}

/* What a busy guest or machine could not do may be done without another change: the next pause.
 */
static int64_t pause_after(const struct sandbox *s, int64_t before_ms)
{
	if (!s->links_stale && !s->links_leaving)
		return 0;
	return before_ms == 0                 ? RETRY_MS
	       : before_ms < RETRY_MAX_MS / 2 ? 2 * before_ms
					      : RETRY_MAX_MS;
}

static void follow(void *arg)
{
	struct sandbox *s = arg;
	int64_t pause_ms = 0;
	struct err e;
	int rc;

	while (settle(s, pause_ms, &e) == 0) {
		if (!tap_net_drain(s->taps) && !pause_ms)
			continue;
		rc = refresh(s, false, &e);
		if (rc == 0 && !s->links_leaving) {
			if (pause_ms)
				log_info(&s->log, "network: what was late is done");
			pause_ms = 0;
			continue;
		}
		if (rc < 0 && e.kind != ERR_CANCELLED)
			log_error(&s->log, "network: %s", e.msg);
		pause_ms = pause_after(s, pause_ms);
	}
	s->links_fiber = NULL;
	cond_wake_all(&s->changed);
}

int links_follow(struct sandbox *s, struct err *e)
{
	if (!s->taps || s->links_fiber)
		return 0;
	return fiber_spawn(s->loop, "links", follow, s, &s->links_fiber, e);
}

int links_adopt(struct sandbox *s, const char *netns, struct err *e)
{
	/* it goes with the stand-in, and what is left there as well */
	if (!s->taps && open_namespace(s, netns, NULL, e) < 0)
		return -1;
	/* followed already, or not yet because the container before could not be made */
	return s->links_fiber || links_refresh(s, e) == 0 ? links_follow(s, e) : -1;
}

void links_end(struct sandbox *s)
{
	struct err ignored;

	if (s->links_fiber)
		fiber_cancel(s->links_fiber);
	while ((s->links_fiber || s->links_busy) &&
	       cond_wait(&s->changed, DEADLINE_NONE, &ignored) == 0)
		;
	tap_net_free(TAKE(s->taps));
}
