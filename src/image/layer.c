/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The pump between the input, the helpers and the digests:
 *
 *   input -> [blob digest] -> inflate -> [diff digest] -> untar     compressed
 *   input -> [blob digest, diff digest] -> untar                    plain
 *   pack  -> [diff digest] -> untar                                 a directory
 */
#include "image/layer.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/fd.h"
#include "base/mem.h"
#include "base/own.h"
#include "base/path.h"
#include "base/sys.h"
#include "base/time.h"
#include "event/spawn.h"
#include "image/reports.h"
#include "image/unpack/report.h"

enum {
	CHUNK = 256 << 10,
	MAX_ENTRIES = 2000000, /* of one tar stream */
	NOBODY = 65534,
	REAP_MS = 10000,
	/* headers and padding that are in the stream but never on disk */
	STREAM_SLACK = 64 << 20
};

/* A helper and what it has reported so far. */
struct helper {
	const char *task;
	pid_t pid;     /* 0: not started */
	int report_fd; /* -1: it has closed it */
	struct reports said;
};

/* Bytes on their way from one descriptor to another. */
struct lane {
	uint8_t *buf; /* CHUNK bytes */
	size_t off, len;
	bool eof;
	int from, to;         /* -1: none or closed */
	struct hash *hash[2]; /* every byte goes through these; either may be NULL */
	uint64_t total;
	uint64_t max;
};

struct pump {
	const struct layer_job *job;
	struct lane first;  /* input to inflate; unused when plain */
	struct lane second; /* tar stream to untar */
	struct helper inflate, pack, untar;
	struct hash *blob, *diff;
	struct layer_result *result;
	int owned[6]; /* every descriptor made here, -1 where closed */
};

static int own_here(struct pump *p, int fd)
{
	for (size_t i = 0; i < ARRAY_LEN(p->owned); i++) {
		if (p->owned[i] < 0) {
			p->owned[i] = fd;
			return fd;
		}
	}
	bug_abort("descriptor table of the pump", __FILE__, __LINE__);
}

static void close_here(struct pump *p, int *fd)
{
	for (size_t i = 0; i < ARRAY_LEN(p->owned); i++) {
		if (*fd >= 0 && p->owned[i] == *fd)
			fd_close(&p->owned[i]);
	}
	*fd = -1;
}

/* Starts one helper; its standard streams are given, -1 is /dev/null. */
static int start_helper(struct pump *p, struct helper *h, const char *task, int in, int out,
			int dir, uint64_t max_bytes, struct err *e)
{
	char bytes[24], entries[24], dev[24], ino[24];
	char *argv[] = { (char *)(uintptr_t)p->job->unpacker,
			 (char *)(uintptr_t)task,
			 bytes,
			 entries,
			 dev,
			 ino,
			 NULL };
	OWN(fd) int report_end = -1;
	OWN(fd) int tree = -1;
	struct spawn_fd fds[2] = { { .to = UNPACK_REPORT_FD }, { .to = UNPACK_DIR_FD } };
	struct spawn s = SPAWN_INIT;
	int report[2];

	if (fd_pipe(report, e) < 0)
		return -1;
	h->report_fd = own_here(p, report[0]);
	report_end = report[1];
	if (fd_set_nonblock(h->report_fd, true, e) < 0)
		return -1;
	(void)snprintf(bytes, sizeof(bytes), "%llu", (unsigned long long)max_bytes);
	(void)snprintf(entries, sizeof(entries), "%d", MAX_ENTRIES);
	(void)snprintf(dev, sizeof(dev), "%llu", (unsigned long long)p->job->skip_dev);
	(void)snprintf(ino, sizeof(ino), "%llu", (unsigned long long)p->job->skip_ino);
	/* cloned here: in the helper's mount namespace this directory's mount is a foreign one
	 */
	if (dir >= 0) {
		tree = sys_open_tree(dir, "", OPEN_TREE_CLONE | O_CLOEXEC | AT_EMPTY_PATH);
		if (tree < 0)
			return err_sys(e, "%s: clone the mount of the unpacker's directory",
				       p->job->what);
	}
	h->task = task;
	fds[0].from = report_end;
	fds[1].from = tree;
	s.argv = argv;
	s.fds = fds;
	s.fd_count = dir >= 0 ? 2 : 1;
	s.stdin_fd = in;
	s.stdout_fd = out;
	s.unshare_flags = CLONE_NEWNS | CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWUTS;
	s.new_session = true;
	if (dir < 0) { /* it needs no file at all: no privilege either */
		s.limit_caps = true;
		s.drop_ids = true;
		s.uid = s.gid = NOBODY;
		s.no_new_privs = true;
	}
	return spawn_run(&s, &h->pid, e);
}

/* A stream to a helper: a socket, since writing to a dead one must not raise SIGPIPE. */
static int make_feed(struct pump *p, int *ours, int *theirs, struct err *e)
{
	int pair[2], size = 2 * CHUNK;

	if (fd_socketpair(pair, e) < 0)
		return -1;
	*ours = own_here(p, pair[0]);
	*theirs = pair[1];
	(void)setsockopt(pair[0], SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
	return fd_set_nonblock(*ours, true, e);
}

/* A stream from a helper. */
static int make_drain(struct pump *p, int *ours, int *theirs, struct err *e)
{
	int ends[2];

	if (fd_pipe(ends, e) < 0)
		return -1;
	*ours = own_here(p, ends[0]);
	*theirs = ends[1];
	(void)fcntl(ends[0], F_SETPIPE_SZ, 2 * CHUNK);
	return fd_set_nonblock(*ours, true, e);
}

static bool is_compressed(const uint8_t *p, size_t len)
{
	static const struct {
		uint8_t magic[6];
		uint8_t mask[6]; /* of the bits that count */
	} kinds[] = {
		/* gzip, bzip2, xz, zstd, a skippable frame of zstd (RFC 8878, 3.1.2) */
		{ { 0x1f, 0x8b, 8 }, { 255, 255, 255 } },
		{ { 'B', 'Z', 'h', 0, 0x31, 0x41 }, { 255, 255, 255, 0, 255, 255 } },
		{ { 0xfd, '7', 'z', 'X', 'Z', 0 }, { 255, 255, 255, 255, 255, 255 } },
		{ { 0x28, 0xb5, 0x2f, 0xfd }, { 255, 255, 255, 255 } },
		{ { 0x50, 0x2a, 0x4d, 0x18 }, { 0xf0, 255, 255, 255 } },
	};

	for (size_t i = 0; i < ARRAY_LEN(kinds); i++) {
		bool same = len >= sizeof(kinds[i].magic);

		for (size_t b = 0; same && b < sizeof(kinds[i].magic); b++)
			same = (p[b] & kinds[i].mask[b]) == kinds[i].magic[b];
		if (same)
			return true;
	}
	return false;
}

static int stopped(const struct layer_job *job, struct err *e)
{
	return err_set(e, ERR_CANCELLED, 0, "%s: stopped by a signal", job->what);
}

/* The first bytes decide about compression; they stay in the lane they were read into. */
static int peek(struct lane *l, const struct layer_job *job, struct err *e)
{
	int64_t deadline = deadline_in(job->stall_ms);

	while (l->len < 6) {
		struct pollfd fds[2] = { { .fd = job->input, .events = POLLIN },
					 { .fd = job->stop_fd, .events = POLLIN } };
		int ready = poll(fds, ARRAY_LEN(fds), deadline_left(deadline));
		ssize_t n;

		if (fds[1].revents)
			return stopped(job, e);
		if (ready == 0)
			return err_set(e, ERR_TIMEOUT, 0, "%s: no data for %lld seconds",
				       job->what, (long long)(job->stall_ms / 1000));
		n = ready < 0 ? -1 : read(job->input, l->buf + l->len, CHUNK - l->len);
		if (n < 0 && (errno == EINTR || errno == EAGAIN))
			continue;
		if (n < 0)
			return err_sys(e, "%s: read", job->what);
		if (n == 0) {
			l->eof = true;
			return 0;
		}
		l->len += (size_t)n;
	}
	return 0;
}

static int hash_bytes(struct lane *l, const uint8_t *p, size_t n, const char *what,
		      struct err *e)
{
	l->total += n;
	if (l->total > l->max)
		return err_set(e, ERR_SYS, ENOSPC,
			       "%s: more than the %llu bytes there is room for", what,
			       (unsigned long long)l->max);
	for (size_t i = 0; i < ARRAY_LEN(l->hash); i++) {
		if (l->hash[i])
			hash_update(l->hash[i], p, n);
	}
	return 0;
}

static int lane_fill(struct pump *p, struct lane *l, struct err *e)
{
	ssize_t n = read(l->from, l->buf, CHUNK);

	if (n < 0)
		return errno == EINTR || errno == EAGAIN ? 0
							 : err_sys(e, "%s: read", p->job->what);
	if (n == 0) {
		l->eof = true;
		return 0;
	}
	l->off = 0;
	l->len = (size_t)n;
	return hash_bytes(l, l->buf, l->len, p->job->what, e);
}

static int lane_empty(struct pump *p, struct lane *l, struct err *e)
{
	ssize_t n = send(l->to, l->buf + l->off, l->len, MSG_NOSIGNAL | MSG_DONTWAIT);

	if (n < 0 && (errno == EINTR || errno == EAGAIN))
		return 0;
	if (n < 0 && (errno == EPIPE || errno == ECONNRESET)) {
		close_here(p, &l->to); /* it is dead or dying; its report says why */
		return 0;
	}
	if (n < 0)
		return err_sys(e, "%s: feed the unpacker", p->job->what);
	l->off += (size_t)n;
	l->len -= (size_t)n;
	return 0;
}

static int mark_opaque(const struct pump *p, const char *path, struct err *e)
{
	OWN(fd) int fd = -1;
	struct err ignored;

	/* it may have been replaced by a later entry */
	if (path_open_beneath(p->job->target, *path ? path : ".",
			      O_RDONLY | O_DIRECTORY | O_NOFOLLOW, 0, &fd, &ignored) < 0)
		return 0;
	if (fsetxattr(fd, "trusted.overlay.opaque", "y", 1, 0) < 0)
		return err_sys(e, "%s: mark the directory '%.200s' opaque", p->job->what, path);
	return 0;
}

static int take_reports(struct pump *p, struct helper *h, struct err *e)
{
	uint8_t block[REPORT_MAX_LEN];
	ssize_t n = read(h->report_fd, block, sizeof(block));

	if (n < 0)
		return errno == EINTR || errno == EAGAIN
			       ? 0
			       : err_sys(e, "read the unpacker's report");
	if (n == 0) {
		close_here(p, &h->report_fd);
		return 0;
	}
	return reports_take(&h->said, block, (size_t)n, e);
}

struct watch {
	struct pollfd fds[8];
	size_t n;
};

static int *watch_add(struct watch *w, int fd, short events)
{
	w->fds[w->n] = (struct pollfd){ .fd = fd, .events = events };
	return &w->fds[w->n++].fd;
}

static bool is_ready(const struct watch *w, int fd, short event)
{
	for (size_t i = 0; i < w->n; i++) {
		if (fd >= 0 && w->fds[i].fd == fd && (w->fds[i].events & event))
			return w->fds[i].revents != 0;
	}
	return false;
}

static void watch_lane(struct watch *w, const struct lane *l)
{
	if (l->from >= 0 && l->len == 0 && !l->eof)
		(void)watch_add(w, l->from, POLLIN);
	if (l->to >= 0 && l->len > 0)
		(void)watch_add(w, l->to, POLLOUT);
}

static int turn_lane(struct pump *p, struct lane *l, const struct watch *w, struct err *e)
{
	if (is_ready(w, l->from, POLLIN) && lane_fill(p, l, e) < 0)
		return -1;
	if (l->to >= 0 && is_ready(w, l->to, POLLOUT) && lane_empty(p, l, e) < 0)
		return -1;
	if (l->to < 0) /* nobody reads any more: let the writer run dry instead of hang */
		l->len = 0;
	if (l->eof && l->len == 0)
		close_here(p, &l->to);
	return 0;
}

static int turn_helper(struct pump *p, struct helper *h, const struct watch *w, struct err *e)
{
	return is_ready(w, h->report_fd, POLLIN) ? take_reports(p, h, e) : 0;
}

enum {
	HELPERS = 3
};

/* In the order in which the failure of one causes that of the next. */
static void helpers_of(struct pump *p, struct helper *out[HELPERS])
{
	out[0] = &p->pack;
	out[1] = &p->inflate;
	out[2] = &p->untar;
}

static int turn(struct pump *p, struct err *e)
{
	struct watch w = { .n = 0 };
	struct helper *all[HELPERS];
	int ready;

	watch_lane(&w, &p->first);
	watch_lane(&w, &p->second);
	(void)watch_add(&w, p->job->stop_fd, POLLIN);
	helpers_of(p, all);
	for (size_t i = 0; i < ARRAY_LEN(all); i++) {
		if (all[i]->report_fd >= 0)
			(void)watch_add(&w, all[i]->report_fd, POLLIN);
	}
	ready = poll(w.fds, w.n, deadline_left(deadline_in(p->job->stall_ms)));
	if (ready < 0)
		return errno == EINTR ? 0 : err_sys(e, "%s: poll", p->job->what);
	if (ready == 0)
		return err_set(e, ERR_TIMEOUT, 0, "%s: no progress for %lld seconds",
			       p->job->what, (long long)(p->job->stall_ms / 1000));
	if (is_ready(&w, p->job->stop_fd, POLLIN))
		return stopped(p->job, e);
	if (turn_lane(p, &p->first, &w, e) < 0 || turn_lane(p, &p->second, &w, e) < 0)
		return -1;
	for (size_t i = 0; i < ARRAY_LEN(all); i++) {
		if (turn_helper(p, all[i], &w, e) < 0)
			return -1;
		if (all[i]->said.failed)
			return 0;
	}
	if (p->job->progress)
		p->job->progress(p->job->progress_arg,
				 p->first.total ? p->first.total : p->second.total);
	return 0;
}

static bool is_over(struct pump *p)
{
	struct helper *all[HELPERS];

	helpers_of(p, all);
	for (size_t i = 0; i < ARRAY_LEN(all); i++) {
		if (all[i]->said.failed)
			return true;
	}
	/* untar is the last to end; if it went without a word there is nothing to wait for */
	return p->untar.report_fd < 0 &&
	       (!p->untar.said.ended || (p->inflate.report_fd < 0 && p->pack.report_fd < 0));
}

/* Waits for the end of one helper, which has closed its report or been killed. */
static int reap(struct helper *h, int *status, struct err *e)
{
	int64_t deadline = deadline_in(REAP_MS);
	OWN(fd) int pidfd = sys_pidfd_open(h->pid);
	struct pollfd pfd = { .fd = pidfd, .events = POLLIN };

	while (pidfd >= 0) {
		int ready = poll(&pfd, 1, deadline_left(deadline));

		if (ready > 0 || (ready < 0 && errno != EINTR))
			break;
		if (ready == 0) /* it reported its end and does not go */
			(void)kill(h->pid, SIGKILL);
	}
	if (waitpid(h->pid, status, 0) != h->pid)
		return err_sys(e, "wait for the unpacker");
	h->pid = 0;
	return 0;
}

/* What a helper's end says; its own words come first. */
static int judge(struct pump *p, struct helper *h, struct err *e)
{
	int status;

	if (h->pid == 0)
		return 0;
	if (reap(h, &status, e) < 0)
		return -1;
	if (h->said.failed) {
		*e = h->said.failure;
		return err_wrap(e, "%s", p->job->what);
	}
	if (WIFSIGNALED(status))
		return err_set(
			e, ERR_INVALID, 0,
			"%s: the unpacker (%s) was killed by signal %d: the archive is refused",
			p->job->what, h->task, WTERMSIG(status));
	if (!h->said.ended || WEXITSTATUS(status) != 0)
		return err_set(e, ERR_PEER, 0, "%s: the unpacker (%s) ended without a report",
			       p->job->what, h->task);
	return 0;
}

static void stop_all(struct pump *p)
{
	struct helper *all[HELPERS];

	helpers_of(p, all);
	for (size_t i = 0; i < ARRAY_LEN(all); i++) {
		int status;
		struct err ignored;

		if (all[i]->pid > 0) {
			(void)kill(all[i]->pid, SIGKILL);
			(void)reap(all[i], &status, &ignored);
		}
		reports_fini(&all[i]->said);
	}
	for (size_t i = 0; i < ARRAY_LEN(p->owned); i++)
		fd_close(&p->owned[i]);
	free(p->first.buf);
	free(p->second.buf);
	hash_free(p->blob);
	hash_free(p->diff);
}

/* The first failure, in the order of causes: one that reported it, or died without a word. */
static int find_failure(struct pump *p, struct err *e)
{
	struct helper *all[HELPERS];

	helpers_of(p, all);
	for (size_t i = 0; i < ARRAY_LEN(all); i++) {
		bool silent = all[i]->pid > 0 && all[i]->report_fd < 0 && !all[i]->said.ended;

		if ((all[i]->said.failed || silent) && judge(p, all[i], e) < 0)
			return -1;
	}
	for (size_t i = 0; i < ARRAY_LEN(all); i++) {
		if (judge(p, all[i], e) < 0)
			return -1;
	}
	return 0;
}

static int finish(struct pump *p, struct err *e)
{
	struct layer_result *r = p->result;

	if (find_failure(p, e) < 0)
		return -1;
	if (p->job->need_end_mark && !p->untar.said.done.ended)
		return err_set(e, ERR_INVALID, 0, "%s: truncated: tar's end mark is missing",
			       p->job->what);
	hash_final(p->blob, &r->blob);
	hash_final(p->diff, &r->diff);
	for (size_t i = 0; i < r->opaque.n; i++) {
		if (mark_opaque(p, r->opaque.v[i], e) < 0)
			return -1;
	}
	r->bytes = p->untar.said.done.bytes;
	r->left_out = (struct left_out){
		.sockets = p->pack.said.done.sockets,
		.skipped = p->pack.said.done.skipped,
	};
	return 0;
}

/* Between the input and the tar stream: nothing, a decompressor, or the packer of a tree. */
static int start_source(struct pump *p, struct err *e)
{
	OWN(fd) int in = -1;
	OWN(fd) int out = -1;
	struct lane *l = &p->first;

	if (p->job->is_tree) {
		if (make_drain(p, &p->second.from, &out, e) < 0)
			return -1;
		return start_helper(p, &p->pack, "pack", -1, out, p->job->input,
				    p->job->max_bytes, e);
	}
	if (peek(l, p->job, e) < 0)
		return -1;
	if (l->len == 0)
		return err_set(e, ERR_INVALID, 0, "%s: it is empty", p->job->what);
	l->hash[0] = p->blob;
	if (!is_compressed(l->buf, l->len)) { /* one lane does: the second takes over */
		uint8_t *spare = p->second.buf;

		p->second.buf = l->buf;
		l->buf = spare;
		p->second.len = l->len;
		p->second.eof = l->eof;
		l->len = 0;
		p->second.from = p->job->input;
		p->second.hash[1] = p->blob;
		return hash_bytes(&p->second, p->second.buf, p->second.len, p->job->what, e);
	}
	l->from = p->job->input;
	if (hash_bytes(l, l->buf, l->len, p->job->what, e) < 0 ||
	    make_feed(p, &l->to, &in, e) < 0 || make_drain(p, &p->second.from, &out, e) < 0)
		return -1;
	return start_helper(p, &p->inflate, "inflate", in, out, -1, p->second.max, e);
}

static int start(struct pump *p, struct err *e)
{
	OWN(fd) int in = -1;

	p->first.buf = mem_zalloc(CHUNK);
	p->second.buf = mem_zalloc(CHUNK);
	if (!p->first.buf || !p->second.buf)
		return err_oom(e, "the unpacker's buffers");
	if (hash_new(&p->blob, e) < 0 || hash_new(&p->diff, e) < 0)
		return -1;
	p->second.hash[0] = p->diff;
	p->first.max = UINT64_MAX;
	p->second.max = p->job->max_bytes + STREAM_SLACK;
	if (start_source(p, e) < 0 || make_feed(p, &p->second.to, &in, e) < 0)
		return -1;
	return start_helper(p, &p->untar, "untar", in, -1, p->job->target, p->job->max_bytes,
			    e);
}

static void pump_init(struct pump *p, const struct layer_job *job, struct layer_result *r)
{
	struct helper *all[HELPERS];

	*p = (struct pump){ .job = job, .result = r };
	for (size_t i = 0; i < ARRAY_LEN(p->owned); i++)
		p->owned[i] = -1;
	p->first.from = p->first.to = p->second.from = p->second.to = -1;
	helpers_of(p, all);
	for (size_t i = 0; i < ARRAY_LEN(all); i++) {
		all[i]->report_fd = -1;
		reports_init(&all[i]->said, &r->opaque, &r->implied);
	}
}

int layer_unpack(const struct layer_job *job, struct layer_result *out, struct err *e)
{
	OWN(layer_result) struct layer_result r = { .bytes = 0 };
	struct pump p;
	int rc;

	pump_init(&p, job, &r);
	rc = start(&p, e);
	while (rc == 0 && !is_over(&p))
		rc = turn(&p, e);
	if (rc == 0)
		rc = finish(&p, e);
	stop_all(&p);
	if (rc == 0) {
		*out = r;
		r = (struct layer_result){ .bytes = 0 };
	}
	return rc;
}

void layer_result_fini(struct layer_result *r)
{
	strv_fini(&r->opaque);
	strv_fini(&r->implied);
}
