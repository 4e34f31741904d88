/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Choosing the acceleration. The test runs in a child because it may hang in the kernel; it
 * is limited by processor time, so that a busy host does not look like a broken one, and by
 * a generous time on the clock. What ended by the clock alone is not remembered.
 */
#include "vmm/accel.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/fd.h"
#include "base/log.h"
#include "base/own.h"
#include "base/path.h"
#include "base/str.h"
#include "base/time.h"
#include "event/child.h"
#include "event/fiber.h"

enum {
	DEFAULT_TIMEOUT_MS = 500,
	WALL_FACTOR = 10,
	CACHE_MAX = 16 * 1024,
	PATH_LEN = 256,
	RECORDS = 16, /* of a kernel; pods may choose what they depend on */
	WHILE_S = 600,
	LOCK_STEP_MS = 100
};

/* Raise it when the test changes: older verdicts are then not believed. */
#define CACHE_HEAD "kata-accel 1"

static const char *const names[] = {
	[ACCEL_AUTO] = "auto",
	[ACCEL_KVM] = "kvm",
	[ACCEL_TCG] = "tcg",
};
static_assert(ARRAY_LEN(names) == ACCEL_COUNT_, "every acceleration needs a name");

const char *accel_name(enum accel a)
{
	return a < ACCEL_COUNT_ ? names[a] : "unknown";
}

bool accel_parse(const char *s, enum accel *out)
{
	for (int i = 0; i < ACCEL_COUNT_; i++) {
		if (str_eq(names[i], s)) {
			*out = (enum accel)i;
			return true;
		}
	}
	return false;
}

static const char *device_of(const struct accel_config *c)
{
	return c->device ? c->device : "/dev/kvm";
}

/* What must be the same for a verdict to hold: node, and the time the module made it. */
static int identify(const struct accel_config *c, char *out, size_t size)
{
	struct stat st;

	if (stat(device_of(c), &st) < 0)
		return -1;
	(void)snprintf(out, size, "%x:%x:%llu:%lld", major(st.st_rdev), minor(st.st_rdev),
		       (unsigned long long)st.st_ino, (long long)st.st_ctim.tv_sec);
	return 0;
}

/* Of the host's verdict (`key` is "") or of a kernel's. */
static int cache_path(const struct accel_config *c, const char *key, char *out, size_t size,
		      struct err *e)
{
	char boot_id[64];

	if (c->boot_id)
		(void)snprintf(boot_id, sizeof(boot_id), "%s", c->boot_id);
	else if (file_read_line(AT_FDCWD, "/proc/sys/kernel/random/boot_id", boot_id,
				sizeof(boot_id), e) < 0)
		return -1;
	if (!path_is_component(boot_id))
		return err_set(e, ERR_INVALID, 0, "boot id '%s'", boot_id);
	if ((size_t)snprintf(out, size, "%s/accel.%s%s%s",
			     c->cache_dir ? c->cache_dir : "/run/kata", boot_id,
			     *key ? "." : "", key) >= size)
		return err_set(e, ERR_INVALID, 0, "the cache's path is too long");
	return 0;
}

/* The line behind `key` of a text, in place; NULL if it is not the next one. */
static char *take_line(char **text, const char *key)
{
	size_t len = strlen(key);
	char *value, *end;

	if (strncmp(*text, key, len) != 0)
		return NULL;
	value = *text + len;
	end = strchr(value, '\n');
	if (!end)
		return NULL;
	*end = '\0';
	*text = end + 1;
	return value;
}

static bool parse_cache(char *text, const char *identity, struct accel_verdict *out)
{
	struct accel_verdict v = { .from_cache = true };
	const char *head = take_line(&text, ""), *device, *kvm, *why;

	if (!head || !str_eq(head, CACHE_HEAD))
		return false;
	device = take_line(&text, "device=");
	kvm = device ? take_line(&text, "kvm=") : NULL;
	why = kvm ? take_line(&text, "why=") : NULL;
	if (!why || *text || !str_eq(device, identity))
		return false;
	if (!str_eq(kvm, "yes") && !str_eq(kvm, "no"))
		return false;
	v.kvm_works = str_eq(kvm, "yes");
	(void)str_quote(why, strlen(why), v.why, sizeof(v.why));
	*out = v;
	return true;
}

static bool read_cache(const char *path, const char *identity, struct accel_verdict *out)
{
	OWN(free) char *text = NULL;
	struct err ignored;
	size_t len;

	if (file_read(AT_FDCWD, path, CACHE_MAX, &text, &len, &ignored) < 0 ||
	    strlen(text) != len)
		return false;
	return parse_cache(text, identity, out);
}

static void write_cache(const char *path, const char *identity, const struct accel_verdict *v)
{
	OWN(buf) struct buf text = { .limit = CACHE_MAX };
	char dir[PATH_LEN];
	struct err e;

	(void)snprintf(dir, sizeof(dir), "%.*s", (int)(strrchr(path, '/') - path), path);
	if (buf_printf(&text, &e, "%s\ndevice=%s\nkvm=%s\nwhy=%s\n", CACHE_HEAD, identity,
		       v->kvm_works ? "yes" : "no", v->why) < 0 ||
	    path_mkdirs(dir, 0755, &e) < 0 ||
	    file_replace(AT_FDCWD, path, buf_head(&text), buf_len(&text), 0644, false, &e) < 0)
		log_debug(NULL, "acceleration verdict not kept: %s", e.msg);
}

/* In the child: `limit_ms` of processor time, then SIGPROF ends it. */
static _Noreturn void probe_child(const struct accel_config *c, int64_t limit_ms, int fd,
				  pid_t parent)
{
	struct itimerval limit = {
		.it_value = { .tv_sec = limit_ms / 1000, .tv_usec = limit_ms % 1000 * 1000 },
	};
	struct accel_verdict v = { 0 };

	signal_reset_all();
	if (prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0) < 0 || getppid() != parent ||
	    setitimer(ITIMER_PROF, &limit, NULL) < 0)
		_exit(1);
	(c->probe ? c->probe : accel_run_kvm)(device_of(c), &v);
	(void)!write(fd, &v, sizeof(v));
	_exit(0);
}

/* Reads the child's verdict. */
static void conclude(const struct child *ch, int fd, int64_t limit_ms,
		     struct accel_verdict *out)
{
	struct accel_verdict v;
	struct err ignored;

	memset(out, 0, sizeof(*out));
	if (!WIFSIGNALED(ch->status) && fd_read_exact(fd, &v, sizeof(v), &ignored) == 0) {
		v.why[sizeof(v.why) - 1] = '\0';
		*out = v;
		out->from_cache = false;
	} else if (WIFSIGNALED(ch->status) && WTERMSIG(ch->status) == SIGPROF) {
		(void)snprintf(out->why, sizeof(out->why),
			       "guest code was not done in %lld ms of processor time",
			       (long long)limit_ms);
	} else if (WIFSIGNALED(ch->status) && WTERMSIG(ch->status) == SIGKILL) {
		out->unsure = true;
		(void)snprintf(out->why, sizeof(out->why), "guest code was not done in %lld ms",
			       (long long)limit_ms * WALL_FACTOR);
	} else {
		out->unsure = true;
		(void)snprintf(out->why, sizeof(out->why), "the test ended with status %d",
			       child_exit_code(ch->status));
	}
}

static int run_probe(struct loop *l, struct child_reaper *r, const struct accel_config *c,
		     struct accel_verdict *out, struct err *e)
{
	int64_t limit_ms = c->timeout_ms > 0 ? c->timeout_ms : DEFAULT_TIMEOUT_MS;
	OWN(fd) int rd = -1;
	OWN(fd) int wr = -1;
	pid_t pid, parent = getpid();
	struct err wait_err = ERR_INIT;
	struct child ch;
	int p[2];

	if (fd_pipe(p, e) < 0)
		return -1;
	rd = p[0];
	wr = p[1];
	pid = fork();
	if (pid < 0)
		return err_sys(e, "fork for the acceleration test");
	if (pid == 0)
		probe_child(c, limit_ms, wr, parent);
	child_watch(r, &ch, pid, NULL);
	fd_close(&wr);
	if (child_wait(&ch, deadline_in(limit_ms * WALL_FACTOR), &wait_err) < 0) {
		fiber_shield(l, true);
		(void)child_end(&ch, limit_ms * WALL_FACTOR, e);
		fiber_shield(l, false);
		child_unwatch(&ch);
	}
	if (wait_err.kind == ERR_CANCELLED) {
		*e = wait_err;
		return -1;
	}
	if (!ch.exited) /* not even SIGKILL ends it */
		ch.status = SIGKILL;
	conclude(&ch, rd, limit_ms, out);
	return 0;
}

int accel_probe(struct loop *l, struct child_reaper *r, const struct accel_config *c,
		struct accel_verdict *out, struct err *e)
{
	char path[PATH_LEN], identity[80];
	struct accel_verdict v = { 0 };
	bool cached;
	struct err why;

	if (access(device_of(c), R_OK | W_OK) < 0 ||
	    identify(c, identity, sizeof(identity)) < 0) {
		(void)snprintf(v.why, sizeof(v.why), "%s: %s", device_of(c), strerror(errno));
		*out = v;
		return 0;
	}
	cached = cache_path(c, "", path, sizeof(path), &why) == 0;
	if (cached && read_cache(path, identity, out))
		return 0;
	if (run_probe(l, r, c, &v, e) < 0 || (v.unsure && run_probe(l, r, c, &v, e) < 0))
		return -1;
	if (cached && !v.unsure)
		write_cache(path, identity, &v);
	*out = v;
	return 0;
}

/* ---- kernels ---- */

/* About both: what a page of guest code came to, and the kernel after it. */
static void join(const struct accel_config *c, const struct accel_verdict *page,
		 const char *what, struct accel_verdict *v)
{
	char why[sizeof(v->why)];

	(void)snprintf(why, sizeof(why), "%s", v->why);
	(void)snprintf(v->why, sizeof(v->why), "%.120s; kernel '%.80s' %s%s%.150s", page->why,
		       c->kernel->path, what, *why ? ": " : "", why);
}

static bool record_path(const struct accel_config *c, const char *which, char out[PATH_LEN])
{
	struct err ignored;
	char key[80];

	return (size_t)snprintf(key, sizeof(key), "%s.%s", c->kernel->key, which) <
		       sizeof(key) &&
	       cache_path(c, key, out, PATH_LEN, &ignored) == 0;
}

static int64_t seconds_since_boot(void)
{
	struct timespec now = { 0 };

	(void)clock_gettime(CLOCK_BOOTTIME, &now);
	return (int64_t)now.tv_sec;
}

/* A verdict for a while begins with "@<seconds since the boot> " in its file. */
static bool still_holds(struct accel_verdict *v)
{
	char *end;
	int64_t until;

	if (*v->why != '@')
		return true;
	until = strtoll(v->why + 1, &end, 10);
	if (*end != ' ')
		return false;
	memmove(v->why, end + 1, strlen(end + 1) + 1);
	return until > seconds_since_boot();
}

static bool look_up(const struct accel_config *c, const char *identity,
		    struct accel_verdict *out)
{
	char path[PATH_LEN], which[8];
	struct accel_verdict v;

	for (int i = 0; i < RECORDS; i++) {
		(void)snprintf(which, sizeof(which), "%d", i);
		if (!record_path(c, which, path) || !read_cache(path, identity, &v) ||
		    !still_holds(&v))
			continue;
		*out = v;
		return true;
	}
	return false;
}

/* What is written over: the record of the same, a free one, the oldest. */
static bool choose_record(const struct accel_config *c, const char *identity,
			  char best[PATH_LEN])
{
	char path[PATH_LEN], which[8];
	struct timespec oldest = { 0 };
	struct accel_verdict own;
	bool is_free = false;

	best[0] = '\0';
	for (int i = 0; i < RECORDS; i++) {
		struct stat st;

		(void)snprintf(which, sizeof(which), "%d", i);
		if (!record_path(c, which, path))
			return false;
		if (read_cache(path, identity, &own)) {
			(void)snprintf(best, PATH_LEN, "%s", path);
			return true;
		}
		if (is_free)
			continue;
		is_free = stat(path, &st) < 0;
		if (is_free || !*best || st.st_mtim.tv_sec < oldest.tv_sec ||
		    (st.st_mtim.tv_sec == oldest.tv_sec &&
		     st.st_mtim.tv_nsec < oldest.tv_nsec)) {
			(void)snprintf(best, PATH_LEN, "%s", path);
			oldest = st.st_mtim;
		}
	}
	return true;
}

/* With the kernel's lock. */
static void keep(const struct accel_config *c, const char *identity, enum accel_certainty sure,
		 const struct accel_verdict *v)
{
	struct accel_verdict timed = *v;
	char path[PATH_LEN];

	if (!choose_record(c, identity, path))
		return;
	if (sure == ACCEL_FOR_A_WHILE)
		(void)snprintf(timed.why, sizeof(timed.why), "@%lld %.300s",
			       (long long)seconds_since_boot() + WHILE_S, v->why);
	write_cache(path, identity, &timed);
}

/*
 * The kernel's lock in *out: -1 where there can be none, and each tries for himself. 1: others
 * have it until `deadline`.
 */
static int lock_kernel(struct loop *l, const struct accel_config *c, int64_t deadline, int *out,
		       struct err *e)
{
	char path[PATH_LEN];
	OWN(fd) int fd = -1;

	*out = -1;
	if (!record_path(c, "lock", path))
		return 0;
	fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd < 0)
		return 0;
	while (flock(fd, LOCK_EX | LOCK_NB) < 0) {
		if (errno != EWOULDBLOCK)
			return 0;
		if (deadline_left(deadline) == 0)
			return 1;
		if (fiber_sleep(l, LOCK_STEP_MS, e) < 0)
			return -1;
	}
	*out = fd_take(&fd);
	return 0;
}

/* A kernel of which nothing is known leaves nothing. Who waits for the lock tries by himself.
 */
static void drop_lock(const struct accel_config *c)
{
	char path[PATH_LEN];

	if (record_path(c, "lock", path))
		(void)unlink(path);
}

static int try_kernel(struct loop *l, const struct accel_config *c, const char *identity,
		      struct accel_verdict *out, struct err *e)
{
	const struct accel_kernel *k = c->kernel;
	enum accel_certainty sure = ACCEL_UNSURE;
	OWN(fd) int lock = -1;

	int rc = lock_kernel(l, c, deadline_in(ACCEL_BOOT_MS), &lock, e);

	if (rc < 0)
		return -1;
	if (look_up(c, identity, out)) /* by whoever had the lock */
		return 0;
	if (rc > 0) {
		(void)snprintf(out->why, sizeof(out->why), "other starts are still trying it");
		return 0;
	}
	rc = k->boot(k->arg, out, &sure, e);
	if (rc == 0 && sure != ACCEL_UNSURE)
		keep(c, identity, sure, out);
	else if (lock >= 0)
		drop_lock(c);
	return rc;
}

/* What a verdict is about, as one line; "" where there is nothing to try. */
static int identify_kernel(const struct accel_config *c, struct buf *out, struct err *e)
{
	char device[80];

	if (access(device_of(c), R_OK | W_OK) < 0 || identify(c, device, sizeof(device)) < 0)
		return buf_puts(out, "", e);
	return buf_printf(out, e, "%s %s", device, c->kernel->depends);
}

/* Without a loop it only looks. */
static int judge_kernel(struct loop *l, const struct accel_config *c,
			const struct accel_verdict *page, struct accel_verdict *out,
			struct err *e)
{
	OWN(buf) struct buf identity = BUF_INIT;
	struct accel_verdict v = { 0 };
	bool known;

	*out = *page;
	if (identify_kernel(c, &identity, e) < 0)
		return -1;
	if (!buf_len(&identity))
		return 0;
	if (!buf_cstr(&identity))
		return err_oom(e, "a verdict");
	known = look_up(c, buf_cstr(&identity), &v);
	if (!known && l) {
		if (try_kernel(l, c, buf_cstr(&identity), &v, e) < 0)
			return -1;
		known = true;
	}
	join(c, page,
	     !known        ? "has not been tried yet"
	     : v.kvm_works ? "boots all the same"
			   : "does not boot either",
	     &v);
	*out = v;
	return 0;
}

int accel_probe_kernel(struct loop *l, const struct accel_config *c,
		       const struct accel_verdict *page, struct accel_verdict *out,
		       struct err *e)
{
	return judge_kernel(l, c, page, out, e);
}

int accel_look_at_kernel(const struct accel_config *c, const struct accel_verdict *page,
			 struct accel_verdict *out, struct err *e)
{
	return judge_kernel(NULL, c, page, out, e);
}

void accel_forget_kernel(const struct accel_config *c)
{
	char path[PATH_LEN], which[8];

	for (int i = 0; i < RECORDS; i++) {
		(void)snprintf(which, sizeof(which), "%d", i);
		if (record_path(c, which, path))
			(void)unlink(path);
	}
}

/* ---- the choice ---- */

int accel_choose(struct loop *l, struct child_reaper *r, const struct accel_config *c,
		 enum accel wanted, const struct log_ctx *log, struct accel_choice *out,
		 struct err *e)
{
	static const struct accel_config defaults;
	struct accel_verdict page, v;

	c = c ? c : &defaults;
	if (wanted == ACCEL_TCG) {
		log_info(log, "acceleration: software emulation (tcg), as configured");
		*out = (struct accel_choice){ .accel = ACCEL_TCG };
		return 0;
	}
	if (accel_probe(l, r, c, &page, e) < 0)
		return err_wrap(e, "acceleration");
	v = page;
	if (!page.kvm_works && c->kernel && accel_probe_kernel(l, c, &page, &v, e) < 0)
		return err_wrap(e, "acceleration");
	if (!v.kvm_works && wanted == ACCEL_KVM)
		return err_set(e, ERR_UNSUPPORTED, 0, "KVM is demanded but unusable here: %s",
			       v.why);
	out->accel = v.kvm_works ? ACCEL_KVM : ACCEL_TCG;
	out->by_trial = v.kvm_works && !page.kvm_works;
	log_info(log, "acceleration: %s (%s%s)",
		 v.kvm_works ? "kvm" : "software emulation (tcg), KVM is unusable", v.why,
		 v.from_cache ? ", found before" : "");
	return 0;
}
