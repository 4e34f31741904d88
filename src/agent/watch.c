/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/watch.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/mirror.h"
#include "agent/sandbox.h"
#include "base/err.h"
#include "base/fd.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/own.h"
#include "base/path.h"
#include "base/str.h"
#include "event/fiber.h"

enum {
	POLL_MS = 2000,
	TRIES = 5, /* of a first copy under which the source changes */
	TRY_MS = 50
};

/* kubelet's objects have at most 1 MiB, and a projected volume has several of them. */
static const struct mirror_limits limits = { .entries = 256, .bytes = 4 << 20, .depth = 8 };
/* While a new version lies beside the old one. */
#define TMPFS_OPTIONS "size=16m,mode=0755"

/* kubelet's atomic writer makes a new directory and lets this link point to it. */
#define DATA_LINK "..data"

struct watch {
	struct sandbox *sandbox;
	struct fiber *fiber;
	int from, to;
	char *source;        /* for logs */
	char data[NAME_MAX]; /* what DATA_LINK pointed to; "" without one */
	bool failing, stopped;
};

static void watch_free(struct watch *w)
{
	if (!w)
		return;
	fd_close(&w->from);
	fd_close(&w->to);
	free(w->source);
	free(w);
}

static void read_data_link(const struct watch *w, char out[NAME_MAX])
{
	ssize_t n = readlinkat(w->from, DATA_LINK, out, NAME_MAX - 1);

	out[n < 0 ? 0 : n] = '\0';
}

/* Unless the link says that nothing has changed. */
static int bring_up_to_date(struct watch *w, struct err *e)
{
	char now[NAME_MAX];

	read_data_link(w, now);
	if (*now && str_eq(now, w->data))
		return 0;
	if (mirror_tree(w->from, w->to, &limits, e) < 0)
		return -1;
	memcpy(w->data, now, sizeof(now));
	return 0;
}

static void watch_run(void *arg)
{
	struct watch *w = arg;
	struct err e;

	while (!w->stopped && fiber_sleep(w->sandbox->loop, POLL_MS, &e) == 0 && !w->stopped) {
		if (bring_up_to_date(w, &e) == 0) {
			w->failing = false;
			continue;
		}
		/* it may have changed meanwhile; what stays wrong is said once */
		if (w->failing)
			log_debug(&w->sandbox->log, "volume '%s': %s", w->source, e.msg);
		else
			log_warn(&w->sandbox->log,
				 "volume '%s': its changes cannot be followed now: %s",
				 w->source, e.msg);
		w->failing = true;
	}
	/* a wait that failed by itself: the storage still knows it */
	if (w->stopped)
		watch_free(w);
	else
		w->fiber = NULL;
}

static int first_copy(struct watch *w, struct err *e)
{
	for (int i = 1; bring_up_to_date(w, e) < 0; i++) {
		if (i == TRIES || fiber_sleep(w->sandbox->loop, TRY_MS, e) < 0)
			return -1;
	}
	return 0;
}

static int fill(struct watch *w, const char *mount_point, struct err *e)
{
	if (path_mkdirs(mount_point, 0755, e) < 0)
		return -1;
	if (mount("tmpfs", mount_point, "tmpfs", MS_NOSUID | MS_NODEV, TMPFS_OPTIONS) < 0)
		return err_sys(e, "mount a tmpfs on '%.100s'", mount_point);
	w->to = open(mount_point, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (w->to < 0)
		(void)err_sys(e, "open '%.100s'", mount_point);
	else if (first_copy(w, e) == 0 &&
		 fiber_spawn(w->sandbox->loop, "volume", watch_run, w, &w->fiber, e) == 0)
		return 0;
	fd_close(&w->to);
	(void)umount2(mount_point, MNT_DETACH | UMOUNT_NOFOLLOW);
	return -1;
}

int watch_start(struct sandbox *s, const char *source, const char *mount_point,
		struct watch **out, struct err *e)
{
	struct watch *w = mem_new(struct watch);
	struct err why;

	*out = NULL;
	if (!w)
		return err_oom(e, "a volume");
	w->sandbox = s;
	w->to = -1;
	w->source = strdup(source);
	w->from = open(source, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (!w->source || (w->from < 0 && errno != ENOTDIR)) {
		(void)err_sys(e, "open '%.100s'", source);
		watch_free(w);
		return -1;
	}
	if (w->from < 0 || mirror_check(w->from, &limits, &why) < 0) {
		if (w->from >= 0)
			log_info(&s->log, "volume '%s': its changes raise no events: %s",
				 source, why.msg);
		watch_free(w);
		return 0;
	}
	if (fill(w, mount_point, e) < 0) {
		watch_free(w);
		return -1;
	}
	*out = w;
	return 0;
}

void watch_stop(struct watch *w)
{
	if (!w)
		return;
	if (!w->fiber) {
		watch_free(w);
		return;
	}
	/* the fiber frees it when it next runs; the tmpfs must be free at once */
	w->stopped = true;
	fd_close(&w->to);
	fiber_cancel(w->fiber);
}
