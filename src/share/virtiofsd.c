/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The file server virtiofsd, in either of its two forms: Rust's (packaged on its own) and
 * the older one that came with QEMU. They share the protocol and little of the command line.
 * It is given a socket that is listening and to which we are connected already, so nobody
 * else can get in; it confines itself (own mount, pid and network namespace, seccomp).
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/fd.h"
#include "base/log.h"
#include "base/str.h"
#include "base/sys.h"
#include "base/time.h"
#include "event/program.h"
#include "event/spawn.h"
#include "share/parts.h"
#include "wire/unix_socket.h"

enum {
	HELP_MS = 20 * 1000, /* of a busy host */
	HELP_MAX = 64 * 1024,
	SOCKET_FD = 3,
	FILES_RAISED = 1000 * 1000, /* what virtiofsd raises its limit to */
	FILES_MANY = 500 * 1000
};

/*
 * Mounts below the shared directory are not announced: a file system of its own that a guest
 * makes of each goes with the last container that has it, and Linux 6.12 then dies of files it
 * is still releasing (docs/decisions/0024). Rust's virtiofsd announces unless told otherwise.
 */
#define NO_SUBMOUNTS "--no-announce-submounts"
/* What asks for it: of either form, and of Rust's alone. */
#define WORD_SUBMOUNTS   "announce_submounts"
#define OPTION_SUBMOUNTS "--announce-submounts"
#define OPTION_ACL       "--posix-acl"
/*
 * A directory that is read with READDIRPLUS opens all its files, 25 with a request, which is
 * faster than virtiofsd, in another thread, closes those that the guest forgets: how many are
 * open besides what the guest remembers has no bound. One by one they are opened more slowly
 * than they are closed.
 */
#define WORD_READDIRPLUS   "no_readdirplus"
#define OPTION_READDIRPLUS "--no-readdirplus"
#define OPTION_LIMIT       "--rlimit-nofile="

static const char *const places[] = {
	"/usr/libexec/virtiofsd",
	"/usr/lib/qemu/virtiofsd",
	"/usr/lib/virtiofsd",
	"/opt/kata/libexec/virtiofsd",
};

int virtiofsd_find(const char *configured, const char **out, struct err *e)
{
	if (configured && configured[0]) {
		if (access(configured, X_OK) < 0)
			return err_set(e, ERR_NOT_FOUND, errno, "virtiofsd '%s'", configured);
		*out = configured;
		return 0;
	}
	for (size_t i = 0; i < ARRAY_LEN(places); i++) {
		if (access(places[i], X_OK) == 0) {
			*out = places[i];
			return 0;
		}
	}
	return err_set(e, ERR_NOT_FOUND, 0,
		       "no virtiofsd on this host (looked for %s, %s and others)", places[0],
		       places[1]);
}

/* Reads what `program --help` says, to know which form it is. */
static int read_help(struct loop *l, struct child_reaper *r, const char *program,
		     struct buf *out, struct err *e)
{
	const char *const argv[] = { program, "--help", NULL };
	int status;

	if (program_run(l, r, argv, HELP_MAX, deadline_in(HELP_MS), out, &status, e) < 0 ||
	    !buf_cstr(out))
		return err_wrap(e, "'%s --help'", program);
	return 0;
}

static bool may_raise_limits(void)
{
	uint64_t eff, permitted, inherited;

	return sys_capget(&eff, &permitted, &inherited) == 0 && (eff >> CAP_SYS_RESOURCE & 1);
}

int virtiofsd_max_files(uint64_t *out, struct err *e)
{
	struct rlimit lim;

	if (getrlimit(RLIMIT_NOFILE, &lim) < 0)
		return err_sys(e, "getrlimit");
	*out = may_raise_limits() ? FILES_RAISED : lim.rlim_max;
	return 0;
}

static int add_cache_old(const char *cache, struct strv *argv, struct err *e)
{
	static const struct {
		const char *word, *theirs;
	} rows[] = {
		{ "never", "none" },
		{ "auto", "auto" },
		{ "always", "always" },
	};

	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		if (str_eq(rows[i].word, cache))
			return strv_add(argv, "-o", e) < 0 || strv_addf(argv, e, "cache=%s",
									rows[i].theirs) < 0
				       ? -1
				       : 0;
	}
	return err_set(e, ERR_UNSUPPORTED, 0, "this virtiofsd has no cache mode '%s'", cache);
}

/* Whether a list of an -o holds one of the words. */
static bool names_one(const char *list, const char *const *words)
{
	for (;;) {
		size_t n = strcspn(list, ",");

		for (size_t i = 0; words[i]; i++) {
			if (n == strlen(words[i]) && strncmp(list, words[i], n) == 0)
				return true;
		}
		if (!list[n])
			return false;
		list += n + 1;
	}
}

/* Whether the user's own part has one of the words as an option of an -o, or such an option. */
static bool has_one(const struct share_config *c, const char *const *words,
		    const char *const *options)
{
	const char *const *args = c->extra_args;

	for (size_t i = 0; args && args[i]; i++) {
		const char *list =
			str_starts(args[i], "-o") && args[i][2] ? args[i] + 2 : args[i];

		if (names_one(list, words))
			return true;
		for (size_t k = 0; options[k]; k++)
			if (str_starts(args[i], options[k]))
				return true;
	}
	return false;
}

/*
 * Access control lists are asked for where the file server has them, unless the user's part has
 * a word about them, or one that they exclude: without xattrs, or with users translated, both
 * forms refuse them.
 */
static bool wants_acl(const struct share_config *c, const char *help)
{
	static const char *const words[] = { "no_xattr", "posix_acl", "no_posix_acl", NULL };
	static const char *const options[] = { "--translate-", OPTION_ACL, NULL };

	return !has_one(c, words, options) &&
	       (strstr(help, "posix_acl") || strstr(help, OPTION_ACL));
}

/* The limit that the user's part asks for, or what it is without; 0 there leaves ours alone. */
static uint64_t asked_files(const struct share_config *c, uint64_t max_files)
{
	const char *const *args = c->extra_args;
	struct err ignored;
	uint64_t n;

	for (size_t i = 0; args && args[i]; i++) {
		if (str_starts(args[i], OPTION_LIMIT) &&
		    str_to_u64(args[i] + strlen(OPTION_LIMIT), 1, UINT64_MAX, "files", &n,
			       &ignored) == 0)
			max_files = n;
	}
	return max_files;
}

/* Where few files may be open, unless the user has decided. */
static int add_readdirplus(const struct share_config *c, const char *help, uint64_t max_files,
			   struct strv *argv, struct err *e)
{
	static const char *const words[] = { "readdirplus", WORD_READDIRPLUS, NULL };
	static const char *const options[] = { OPTION_READDIRPLUS, NULL };

	if (asked_files(c, max_files) >= FILES_MANY || has_one(c, words, options))
		return 0;
	if (strstr(help, OPTION_READDIRPLUS))
		return strv_add(argv, OPTION_READDIRPLUS, e);
	if (!strstr(help, WORD_READDIRPLUS))
		return 0;
	return strv_add(argv, "-o", e) < 0 ? -1 : strv_add(argv, WORD_READDIRPLUS, e);
}

static int add_old(const char *dir, const char *cache, const char *help, bool acl,
		   struct strv *argv, struct err *e)
{
	(void)help;
	if (strv_addf(argv, e, "--fd=%d", SOCKET_FD) < 0 || strv_add(argv, "-f", e) < 0 ||
	    strv_add(argv, "-o", e) < 0 || strv_addf(argv, e, "source=%s", dir) < 0 ||
	    add_cache_old(cache, argv, e) < 0)
		return -1;
	return strv_add(argv, "-o", e) < 0 || strv_addf(argv, e, "xattr%s,sandbox=namespace",
							acl ? ",posix_acl" : "") < 0
		       ? -1
		       : 0;
}

static int add_new(const char *dir, const char *cache, const char *help, bool acl,
		   struct strv *argv, struct err *e)
{
	if (strv_addf(argv, e, "--fd=%d", SOCKET_FD) < 0 ||
	    strv_addf(argv, e, "--shared-dir=%s", dir) < 0 ||
	    strv_addf(argv, e, "--cache=%s", cache) < 0 ||
	    strv_add(argv, "--sandbox=namespace", e) < 0 || strv_add(argv, "--xattr", e) < 0 ||
	    (acl && strv_add(argv, OPTION_ACL, e) < 0))
		return -1;
	return strstr(help, NO_SUBMOUNTS) ? strv_add(argv, NO_SUBMOUNTS, e) : 0;
}

/* The words of an -o without the one that is left out; nothing if there is no other. */
static int add_words(const char *list, struct strv *argv, bool *dropped, struct err *e)
{
	OWN(buf) struct buf rest = BUF_INIT;

	for (;;) {
		size_t n = strcspn(list, ",");

		if (n == strlen(WORD_SUBMOUNTS) && strncmp(list, WORD_SUBMOUNTS, n) == 0)
			*dropped = true;
		else if (buf_printf(&rest, e, "%s%.*s", buf_len(&rest) ? "," : "", (int)n,
				    list) < 0)
			return -1;
		if (!list[n])
			break;
		list += n + 1;
	}
	if (buf_len(&rest) == 0)
		return 0;
	if (!buf_cstr(&rest))
		return err_oom(e, "virtiofsd's arguments");
	return strv_add(argv, "-o", e) < 0 ? -1 : strv_add(argv, buf_cstr(&rest), e);
}

/* The user's own, with one exception that upstream's template has. */
static int add_extra(const struct share_config *c, struct strv *argv, struct err *e)
{
	const char *const *args = c->extra_args;
	bool dropped = false;

	for (size_t i = 0; args && args[i]; i++) {
		bool split = str_eq(args[i], "-o") && args[i + 1];
		int rc = 0;

		if (str_eq(args[i], OPTION_SUBMOUNTS))
			dropped = true;
		else if (split)
			rc = add_words(args[++i], argv, &dropped, e);
		else if (str_starts(args[i], "-o") && args[i][2])
			rc = add_words(args[i] + 2, argv, &dropped, e);
		else
			rc = strv_add(argv, args[i], e);
		if (rc < 0)
			return -1;
	}
	if (dropped)
		log_warn(c->log,
			 "virtio_fs_extra_args: " WORD_SUBMOUNTS
			 " is left out: the guest's kernel dies of mounts that are announced");
	return 0;
}

int virtiofsd_argv(const struct share_config *c, const char *program, const char *help,
		   const char *dir, uint64_t max_files, struct strv *argv, struct err *e)
{
	const char *cache = c->cache && c->cache[0] ? c->cache : "auto";
	bool new_form = strstr(help, "--shared-dir") != NULL;

	if (strchr(dir, ','))
		return err_set(e, ERR_INVALID, 0, "shared directory '%s': a comma", dir);
	if (strv_add(argv, program, e) < 0 ||
	    (new_form ? add_new : add_old)(dir, cache, help, wants_acl(c, help), argv, e) < 0)
		return -1;
	if (!may_raise_limits() && strv_add(argv, "--rlimit-nofile=0", e) < 0)
		return -1;
	if (add_readdirplus(c, help, max_files, argv, e) < 0)
		return -1;
	return add_extra(c, argv, e);
}

/* A listening socket and its only client; the name is gone before anybody else sees it. */
static int make_socket(const char *dir, int *listen_out, int *client_out, struct err *e)
{
	struct sockaddr_un a = { .sun_family = AF_UNIX };
	OWN(fd) int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	OWN(fd) int client = -1;
	/* by descriptor: a sandbox's directory is longer than a socket's name may be */
	OWN(fd) int at = open(dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
	int r;

	if (at < 0)
		return err_sys(e, "open '%s'", dir);
	(void)snprintf(a.sun_path, sizeof(a.sun_path), "/proc/self/fd/%d/vfs.sock", at);
	if (fd < 0 || bind(fd, (const struct sockaddr *)&a, sizeof(a)) < 0 || listen(fd, 1) < 0)
		return err_sys(e, "listen on '%s'", a.sun_path);
	r = unix_connect(a.sun_path, &client, e);
	(void)unlink(a.sun_path);
	if (r < 0)
		return -1;
	*listen_out = fd_take(&fd);
	*client_out = fd_take(&client);
	return 0;
}

/* Killed by somebody, it had nothing to say about that; what it said before explains nothing.
 */
static void last_words(struct virtiofsd *v, struct err *e)
{
	char words[300];

	if (WIFSIGNALED(v->child.status)) {
		(void)err_set(e, ERR_PEER, 0,
			      "'%.80s', which serves its files, was killed (%s)", v->program,
			      strsignal(WTERMSIG(v->child.status)));
		return;
	}
	console_drain(&v->messages);
	(void)console_tail(&v->messages, words, sizeof(words));
	for (char *p = words; *p; p++)
		*p = *p == '\n' ? (p[1] ? ';' : '\0') : *p;
	(void)err_set(e, ERR_PEER, 0, "'%.80s', which serves its files, ended (status %d)%s%s",
		      v->program, child_exit_code(v->child.status), *words ? ": " : "", words);
}

static void on_exit_(struct child *c)
{
	struct virtiofsd *v = container_of(c, struct virtiofsd, child);
	struct err e;

	if (!v->lost)
		return;
	last_words(v, &e);
	v->lost(&e, v->arg);
}

/* Both forms say so when they wait for, or have, their client. */
static int wait_ready(struct virtiofsd *v, int64_t deadline, struct err *e)
{
	char words[CONSOLE_KEEP + 1];

	for (;;) {
		console_drain(&v->messages);
		(void)console_tail(&v->messages, words, sizeof(words));
		if (strstr(words, "vhost-user"))
			return 0;
		if (v->child.exited) {
			last_words(v, e);
			return -1;
		}
		if (time_mono_ms() >= deadline)
			return err_set(e, ERR_TIMEOUT, 0, "'%.80s' does not get ready",
				       v->program);
		if (fiber_sleep(v->loop, 5, e) < 0)
			return -1;
	}
}

int virtiofsd_start(struct virtiofsd *v, struct loop *l, struct child_reaper *r,
		    const struct share_config *c, const char *program, const char *dir,
		    const char *socket_dir, int64_t deadline, struct err *e)
{
	OWN(buf) struct buf help = { .limit = HELP_MAX + 8192 };
	OWN(strv) struct strv argv = { 0 };
	OWN(fd) int listening = -1;
	OWN(fd) int rd = -1;
	OWN(fd) int wr = -1;
	struct spawn s = SPAWN_INIT;
	struct spawn_fd give;
	uint64_t max_files;
	pid_t pid;
	int p[2];

	if (virtiofsd_max_files(&max_files, e) < 0 || read_help(l, r, program, &help, e) < 0 ||
	    virtiofsd_argv(c, program, buf_cstr(&help), dir, max_files, &argv, e) < 0 ||
	    make_socket(socket_dir, &listening, &v->socket_fd, e) < 0 || fd_pipe(p, e) < 0)
		return -1;
	rd = p[0];
	wr = p[1];
	give = (struct spawn_fd){ .from = listening, .to = SOCKET_FD };
	s.argv = argv.v;
	s.fds = &give;
	s.fd_count = 1;
	s.stderr_fd = s.stdout_fd = wr;
	s.no_new_privs = true;
	s.new_session = true;
	s.no_core = true;
	s.cgroup_procs = c->cgroup_procs;
	s.max_files = 1 << 20;
	if (spawn_run(&s, &pid, e) < 0)
		return -1;
	v->loop = l;
	(void)snprintf(v->program, sizeof(v->program), "%s", program);
	child_watch(r, &v->child, pid, on_exit_);
	fd_close(&wr);
	if (console_init(&v->messages, l, fd_take(&rd), NULL, NULL, e) < 0)
		return -1;
	if (wait_ready(v, deadline, e) < 0)
		return -1;
	v->lost = c->lost;
	v->arg = c->arg;
	return 0;
}

int virtiofsd_files(const struct virtiofsd *v, uint64_t *out, struct err *e)
{
	struct rlimit lim;

	if (prlimit(v->child.pid, RLIMIT_NOFILE, NULL, &lim) < 0)
		return err_sys(e, "%s: its limits", v->program);
	*out = lim.rlim_cur;
	return 0;
}

void virtiofsd_stop(struct virtiofsd *v)
{
	struct err ignored;

	v->lost = NULL;
	if (v->child.reaper && !v->child.exited) {
		/* its second process would be told by SIGTERM, which a stopped one does not
		 * hear
		 */
		(void)child_kill_group(&v->child, SIGKILL, &ignored);
		child_unwatch(&v->child);
	}
	console_close(&v->messages);
	fd_close(&v->socket_fd);
}
