/* SPDX-License-Identifier: Apache-2.0 */
/*
 * org.freedesktop.systemd1.Manager.StartTransientUnit (org.freedesktop.systemd1(5)), called
 * with busctl, which systemd brings along: no bus library lives in every engine.
 */
#include "sandbox/systemd_scope.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/fd.h"
#include "base/own.h"
#include "base/str.h"
#include "base/time.h"
#include "event/fiber.h"
#include "event/program.h"
#include "oci/cgroups_path.h"

enum {
	CALL_MS = 15000, /* busctl's own limit is shorter, and says more */
	MOVE_MS = 15000,
	FORGET_MS = 5000,
	FORGET_POLL_MS = 100,
	POLL_MS = 10,
	SAID_MAX = 4096,
	OWN_MAX = 1 << 16
};

bool systemd_runs(void)
{
	return access("/run/systemd/system", F_OK) == 0;
}

static const char *find_busctl(void)
{
	static const char *const places[] = { "/usr/bin/busctl", "/bin/busctl" };

	for (size_t i = 0; i < ARRAY_LEN(places); i++) {
		if (access(places[i], X_OK) == 0)
			return places[i];
	}
	return NULL;
}

static int call(struct loop *l, struct child_reaper *r, const char *busctl,
		const struct systemd_cgroup *c, struct err *e)
{
	OWN(buf) struct buf out = BUF_INIT;
	char pid[16], words[400];
	/* clang-format off */
	const char *const argv[] = {
		busctl, "--quiet", "--timeout=10", "--", "call", "org.freedesktop.systemd1",
		"/org/freedesktop/systemd1", "org.freedesktop.systemd1.Manager",
		"StartTransientUnit", "ssa(sv)a(sa(sv))", c->unit, "fail",
		"6",
		"Description", "s", "Kata Containers sandbox",
		"Slice", "s", c->slice,
		"PIDs", "au", "1", pid,
		"Delegate", "b", "true",
		"DefaultDependencies", "b", "false",
		"CollectMode", "s", "inactive-or-failed",
		"0", NULL,
	};
	/* clang-format on */
	size_t n;
	int status;

	(void)snprintf(pid, sizeof(pid), "%d", (int)getpid());
	if (program_run(l, r, argv, SAID_MAX, deadline_in(CALL_MS), &out, &status, e) < 0)
		return -1;
	if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
		return 0;
	for (n = buf_len(&out); n && buf_head(&out)[n - 1] == '\n'; n--)
		;
	return err_set(e, ERR_SYS, 0, "%s",
		       str_quote((const char *)buf_head(&out), n, words, sizeof(words)));
}

/* Whether this process is in the scope already: its job may take a moment. */
static int is_there(const char *unit, bool *yes, struct err *e)
{
	OWN(free) char *own = NULL;
	char *rest;

	*yes = false;
	if (file_read(AT_FDCWD, "/proc/self/cgroup", OWN_MAX, &own, NULL, e) < 0)
		return -1;
	for (char *line = strtok_r(own, "\n", &rest); line;
	     line = strtok_r(NULL, "\n", &rest)) {
		const char *last = strrchr(line, '/');

		*yes |= last && str_eq(last + 1, unit);
	}
	return 0;
}

/*
 * The scope of a container that is started again has the name of the one that has just ended,
 * which systemd forgets a little later than its processes are gone.
 */
static int call_patiently(struct loop *l, struct child_reaper *r, const char *busctl,
			  const struct systemd_cgroup *c, struct err *e)
{
	int64_t deadline = deadline_in(FORGET_MS);

	while (call(l, r, busctl, c, e) < 0) {
		struct err ignored;

		if (!strstr(e->msg, "already") || deadline_left(deadline) == 0 ||
		    fiber_sleep(l, FORGET_POLL_MS, &ignored) < 0)
			return err_wrap(e, "ask systemd for '%s' in '%s'", c->unit, c->slice);
	}
	return 0;
}

int systemd_scope_enter(struct loop *l, struct child_reaper *r, const struct systemd_cgroup *c,
			struct err *e)
{
	const char *busctl = find_busctl();
	int64_t deadline;
	bool there;

	if (!systemd_runs())
		return err_set(e, ERR_UNSUPPORTED, 0,
			       "'%s' in '%s' is for systemd to make, which does not run here: "
			       "the caller's cgroup driver must be cgroupfs",
			       c->unit, c->slice);
	if (!busctl)
		return err_set(e, ERR_UNSUPPORTED, 0,
			       "'%s' in '%s': there is no busctl to ask systemd with (package "
			       "systemd)",
			       c->unit, c->slice);
	if (call_patiently(l, r, busctl, c, e) < 0)
		return -1;
	deadline = deadline_in(MOVE_MS);
	for (;;) {
		if (is_there(c->unit, &there, e) < 0)
			return -1;
		if (there)
			return 0;
		if (deadline_left(deadline) == 0)
			return err_set(
				e, ERR_TIMEOUT, 0,
				"systemd has not made '%s' in '%s' in %d s: see its journal",
				c->unit, c->slice, MOVE_MS / 1000);
		if (fiber_sleep(l, POLL_MS, e) < 0)
			return -1;
	}
}
