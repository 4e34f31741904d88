/* SPDX-License-Identifier: Apache-2.0 */
/* The QEMU driver: start, control and end of one machine, over QMP on an inherited socket. */
#include "vmm/qemu/qemu.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/err.h"
#include "base/fd.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/time.h"
#include "wire/json.h"
#include "wire/qmp.h"
#include "wire/unix_socket.h"

enum {
	STATUS_MAX = 1 << 16 /* of a thread, proc(5) */
};

/* Both ends of what QEMU inherits while it is being started. */
struct startup {
	int qmp[2], console[2], messages[2]; /* ours, its */
	int *device_fds;                     /* its, per device; -1: none of ours */
	const char **p9_paths;
	size_t count;
};

static struct qemu *qemu_of(struct vmm *v)
{
	return container_of(v, struct qemu, vmm);
}

static int qemu_caps(const char *machine, enum accel a, uint64_t *out, struct err *e)
{
	const struct qemu_machine *m = qemu_machine_find(machine);

	(void)a;
	if (!m)
		return err_set(e, ERR_UNSUPPORTED, 0,
			       "qemu: machine type '%s' is not supported (known: q35, microvm)",
			       machine);
	*out = m->caps;
	return 0;
}

static void startup_fini(struct startup *s)
{
	for (int i = 0; i < 2; i++) {
		fd_close(&s->qmp[i]);
		fd_close(&s->console[i]);
		fd_close(&s->messages[i]);
	}
	for (size_t i = 0; i < s->count; i++)
		fd_close(&s->device_fds[i]);
	free(s->device_fds);
	free(s->p9_paths);
}

static void own_startup(struct startup *s)
{
	startup_fini(s);
}

static int open_serial(struct qemu *q, const struct vmm_device *d, int *fd, struct err *e)
{
	struct qemu_serial *s = &q->serials[q->serial_count];
	int pair[2];

	if (fd_socketpair(pair, e) < 0)
		return -1;
	*fd = pair[1];
	s->fd = pair[0];
	(void)snprintf(s->id, sizeof(s->id), "%s", d->id);
	(void)snprintf(s->name, sizeof(s->name), "%s", d->serial.name);
	q->serial_count++;
	return fd_set_nonblock(s->fd, true, e);
}

static int open_device(struct qemu *q, const struct vmm_device *d, int *fd, struct err *e)
{
	switch (d->kind) {
	case VMM_DEV_SERIAL:
		return open_serial(q, d, fd, e);
	case VMM_DEV_FS:
		if (d->fs.socket_fd < 0)
			return unix_connect(d->fs.socket_path, fd, e);
		*fd = fcntl(d->fs.socket_fd, F_DUPFD_CLOEXEC, 0);
		return *fd < 0 ? err_sys(e, "duplicate a socket") : 0;
	case VMM_DEV_BLK:
		*fd = open(d->blk.path, (d->blk.read_only ? O_RDONLY : O_RDWR) | O_CLOEXEC);
		return *fd < 0 ? err_sys(e, "block device '%s': open '%s'", d->id, d->blk.path)
			       : 0;
	default:
		return 0;
	}
}

static int open_devices(struct qemu *q, const struct qemu_process *p, struct startup *s,
			struct err *e)
{
	const struct vmm_config *c = &q->vmm.config;

	q->serials = mem_calloc(c->device_count, sizeof(*q->serials));
	q->boot = mem_calloc(c->device_count, sizeof(*q->boot));
	s->device_fds = mem_calloc(c->device_count, sizeof(int));
	s->p9_paths = mem_calloc(c->device_count, sizeof(char *));
	if (!q->serials || !q->boot || !s->device_fds || !s->p9_paths)
		return err_oom(e, "the devices");
	for (; s->count < c->device_count; s->count++)
		s->device_fds[s->count] = -1;
	for (size_t i = 0; i < c->device_count; i++) {
		const struct vmm_device *d = &c->devices[i];

		(void)snprintf(q->boot[i].id, sizeof(q->boot[i].id), "%s", d->id);
		q->boot_count++;
		if (open_device(q, d, &s->device_fds[i], e) < 0)
			return -1;
		if (d->kind == VMM_DEV_9P)
			s->p9_paths[i] = d->p9.path;
	}
	for (size_t i = 0; i < p->mount_count; i++) {
		const char *target = p->mounts[i].target;

		for (size_t j = 0; j < c->device_count && str_starts(target, "/export/"); j++) {
			if (str_eq(target + strlen("/export/"), c->devices[j].id))
				s->p9_paths[j] = target;
		}
	}
	return 0;
}

static int open_channels(struct startup *s, struct err *e)
{
	int p[2];

	if (fd_socketpair(s->qmp, e) < 0 || fd_socketpair(s->console, e) < 0 ||
	    fd_pipe(p, e) < 0)
		return -1;
	s->messages[0] = p[0];
	s->messages[1] = p[1];
	return 0;
}

static void on_shutdown(struct qemu *q, const struct jval *data)
{
	const char *reason = jval_str(jval_get(data, "reason"));

	(void)snprintf(q->shutdown_reason, sizeof(q->shutdown_reason), "%s",
		       reason ? reason : "");
}

static void on_panicked(struct qemu *q, const struct jval *data)
{
	(void)data;
	q->panicked = true;
}

/*
 * Nobody has asked: what runs the guest's code cannot go on (KVM_EXIT_INTERNAL_ERROR, a failing
 * KVM_RUN). The process would stay for good, with a guest in it that does nothing any more.
 */
static void on_stopped(struct qemu *q, const struct jval *data)
{
	struct err ignored;

	(void)data;
	if (q->may_stop || q->panicked || q->shutdown_reason[0] || q->vmm.stopping)
		return;
	q->stopped = true;
	(void)child_kill(&q->vmm.child, SIGKILL, &ignored);
}

static void on_resumed(struct qemu *q, const struct jval *data)
{
	(void)data;
	q->may_stop = false;
}

static void on_deleted(struct qemu *q, const struct jval *data)
{
	const char *id = jval_str(jval_get(data, "device"));

	if (id)
		qemu_device_deleted(q, id);
}

static void on_serial(struct qemu *q, const struct jval *data)
{
	const struct vmm_config *c = &q->vmm.config;
	const char *id = jval_str(jval_get(data, "id"));
	bool open = true;

	if (!id || !c->serial_closed || !jval_bool(jval_get(data, "open"), &open) || open)
		return;
	for (size_t i = 0; i < q->serial_count; i++) {
		if (str_eq(q->serials[i].id, id))
			c->serial_closed(q->serials[i].name, c->serial_arg);
	}
}

static const struct {
	const char *name;
	void (*handle)(struct qemu *q, const struct jval *data);
} qemu_events[] = {
	{ "SHUTDOWN", on_shutdown },      { "GUEST_PANICKED", on_panicked },
	{ "STOP", on_stopped },           { "RESUME", on_resumed },
	{ "DEVICE_DELETED", on_deleted }, { "VSERPORT_CHANGE", on_serial },
};

static void on_event(const char *name, const struct jval *data, void *arg)
{
	for (size_t i = 0; i < ARRAY_LEN(qemu_events); i++) {
		if (str_eq(qemu_events[i].name, name))
			qemu_events[i].handle(arg, data);
	}
}

/*
 * A monitor whose control channel is gone or talks rubbish cannot be controlled any more:
 * it is ended, and its end is what callers see.
 */
static void on_lost(const struct err *why, void *arg)
{
	struct qemu *q = arg;
	struct err ignored;

	log_debug(q->vmm.config.log, "%s", why->msg);
	cond_wake_all(&q->unplugged);
	if (q->vmm.started)
		(void)child_kill(&q->vmm.child, SIGKILL, &ignored);
}

static int build(struct qemu *q, const struct startup *s, const struct qemu_files *files,
		 const struct qemu_process *p, const char *program, struct qemu_launch *out,
		 struct err *e)
{
	const struct vmm_config *c = &q->vmm.config;
	struct qemu_inputs in = {
		.config = c,
		.machine = q->machine,
		.program = program,
		.kernel_fd = files->kernel,
		.initrd_fd = files->initrd,
		.qmp_fd = s->qmp[1],
		.console_fd = s->console[1],
		.device_fds = s->device_fds,
		.p9_paths = s->p9_paths,
		.tsc_khz = c->accel == ACCEL_TCG ? accel_tsc_khz() : 0,
	};

	if (c->firmware && c->firmware[0])
		in.firmware = p->confined ? "/firmware" : c->firmware;
	return qemu_cmdline(&in, out, e);
}

static void log_launch(const struct qemu *q, const struct qemu_launch *l)
{
	OWN(buf) struct buf line = BUF_INIT;
	struct err ignored;

	if (!log_enabled(LOG_DEBUG))
		return;
	for (size_t i = 0; i < l->argv.n; i++)
		(void)buf_printf(&line, &ignored, "%s%s", i ? " " : "", l->argv.v[i]);
	log_debug(q->vmm.config.log, "%s", buf_cstr(&line) ? buf_cstr(&line) : "");
}

/* Takes our ends over from `s`. */
static int connect_channels(struct qemu *q, struct startup *s, struct err *e)
{
	struct qmp_callbacks cb = { .event = on_event, .lost = on_lost, .arg = q };
	struct loop *l = q->vmm.loop;

	if (console_init(&q->vmm.messages, l, fd_take(&s->messages[0]), NULL, NULL, e) < 0 ||
	    console_init(&q->vmm.console, l, fd_take(&s->console[0]),
			 q->vmm.config.console_text, q->vmm.config.console_arg, e) < 0)
		return -1;
	return qmp_new(l, fd_take(&s->qmp[0]), &cb, &q->qmp, e);
}

static void remember(struct qemu *q)
{
	const struct vmm_config *c = &q->vmm.config;

	q->port_count = qemu_port_count(c, q->machine);
	q->max_vcpus = c->max_vcpus > c->vcpus ? c->max_vcpus : c->vcpus;
	q->vcpus = c->accel == ACCEL_TCG ? q->max_vcpus : c->vcpus;
	q->memory_mib = c->memory_mib;
	q->max_memory_mib =
		c->max_memory_mib > c->memory_mib ? c->max_memory_mib : c->memory_mib;
	q->next_fdset = 1000; /* above those of the command line */
}

static int qemu_start(struct vmm *v, int64_t deadline, struct err *e)
{
	struct qemu *q = qemu_of(v);
	OWN(free) char *program = NULL;
	OWN(qemu_files) struct qemu_files files = { .kernel = -1, .initrd = -1 };
	OWN(qemu_process) struct qemu_process process = { 0 };
	OWN(qemu_launch) struct qemu_launch launch = { 0 };
	OWN(startup) struct startup s = { { -1, -1 }, { -1, -1 }, { -1, -1 } };
	pid_t pid;

	q->machine = qemu_machine_find(v->machine);
	cond_init(&q->unplugged, v->loop);
	remember(q);
	if (qemu_find_program(v->config.program, &program, e) < 0 ||
	    qemu_files_open(&v->config, &files, e) < 0 ||
	    qemu_process_plan(&v->config, program, &process, e) < 0 ||
	    open_devices(q, &process, &s, e) < 0 || open_channels(&s, e) < 0 ||
	    build(q, &s, &files, &process, program, &launch, e) < 0)
		return -1;
	log_launch(q, &launch);
	if (qemu_process_start(&v->config, &process, &launch, s.messages[1], &pid, e) < 0)
		return -1;
	vmm_watch(v, pid);
	if (connect_channels(q, &s, e) < 0)
		return -1;
	/* its ends are its alone now, so that their closing is seen */
	startup_fini(&s);
	s = (struct startup){ { -1, -1 }, { -1, -1 }, { -1, -1 } };
	return qmp_handshake(q->qmp, deadline, e);
}

static int qemu_quit(struct vmm *v, int64_t deadline, struct err *e)
{
	return qmp_execute(qemu_of(v)->qmp, "quit", NULL, deadline, NULL, e);
}

static enum vmm_exit_reason reason_of(struct qemu *q)
{
	static const struct {
		const char *word;
		enum vmm_exit_reason reason;
	} rows[] = {
		{ "guest-shutdown", VMM_EXIT_SHUTDOWN },
		{ "guest-reset", VMM_EXIT_RESET },
		{ "guest-panic", VMM_EXIT_PANIC },
		{ "host-qmp-quit", VMM_EXIT_STOPPED },
	};

	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		if (str_eq(rows[i].word, q->shutdown_reason))
			return rows[i].reason;
	}
	return VMM_EXIT_NONE;
}

/* The rest of the line that begins with these words in what was said last. */
static bool find_line(const struct console *c, const char *words, char *out, size_t size)
{
	char *tail = mem_zalloc(CONSOLE_KEEP + 1);
	const char *at = NULL;

	if (tail) {
		(void)console_tail(c, tail, CONSOLE_KEEP + 1);
		at = strstr(tail, words);
	}
	if (at)
		(void)snprintf(out, size, "%.*s", (int)strcspn(at, "\n"), at);
	free(tail);
	return at != NULL;
}

/* The line of a dying kernel that says why, if its console has one. */
static bool find_panic(const struct vmm *v, char *out, size_t size)
{
	return find_line(&v->console, "Kernel panic - not syncing", out, size) ||
	       find_line(&v->console, "Kernel panic", out, size);
}

/* The last line that was said. */
static void last_line(const struct console *c, char *out, size_t size)
{
	char words[300], *line, *rest;

	out[0] = '\0';
	if (console_tail(c, words, sizeof(words)) == 0)
		return;
	for (line = strtok_r(words, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest))
		(void)snprintf(out, size, "%s", line);
}

/*
 * KVM's own error is the kernel's, and would come again. Others (a KVM_RUN that fails for want
 * of memory) are the monitor's.
 */
static void explain_stop(const struct vmm *v, struct vmm_exit *x)
{
	char words[200] = "";

	x->reason = VMM_EXIT_HALTED;
	if (!find_line(&v->messages, "KVM internal error", words, sizeof(words))) {
		x->reason = VMM_EXIT_FAILED;
		if (!find_line(&v->messages, "error: kvm run failed", words, sizeof(words)))
			last_line(&v->messages, words, sizeof(words));
	}
	(void)snprintf(x->text, sizeof(x->text), "qemu cannot run the guest any further%s%s",
		       *words ? ": " : "", words);
}

/* A kernel that panics says so before. */
static void explain_reset(const struct vmm *v, struct vmm_exit *x)
{
	char words[200];

	last_line(&v->console, words, sizeof(words));
	(void)snprintf(x->text, sizeof(x->text),
		       "its processor met what it cannot handle (a "
		       "triple fault), or it rebooted; %s%s",
		       *words ? "its console ends: " : "its console says nothing", words);
}

static void explain_end(struct vmm *v, struct vmm_exit *x)
{
	char words[300];

	for (size_t n = console_tail(&v->messages, words, sizeof(words)); n > 0; n--) {
		if (words[n - 1] != '\n')
			break;
		words[n - 1] = '\0';
	}
	if (WIFSIGNALED(v->child.status)) {
		x->reason = VMM_EXIT_KILLED;
		x->code = WTERMSIG(v->child.status);
		(void)snprintf(x->text, sizeof(x->text), "qemu was killed by signal %d%s%s",
			       x->code, words[0] ? ": " : "", words);
		return;
	}
	x->reason = VMM_EXIT_FAILED;
	x->code = WEXITSTATUS(v->child.status);
	(void)snprintf(x->text, sizeof(x->text), "qemu ended with status %d%s%s", x->code,
		       words[0] ? ": " : "", words);
}

static void qemu_explain(struct vmm *v, struct vmm_exit *x)
{
	struct qemu *q = qemu_of(v);

	if (q->qmp)
		qmp_poll(q->qmp);
	/* they look whether it runs: woken before anybody who may free it */
	cond_wake_all(&q->unplugged);
	x->reason = reason_of(q);
	if (q->panicked || find_panic(v, x->text, sizeof(x->text))) {
		x->reason = VMM_EXIT_PANIC;
		if (!x->text[0])
			(void)snprintf(x->text, sizeof(x->text), "the guest's kernel panicked");
	} else if (q->stopped) {
		explain_stop(v, x);
	} else if (v->stopping) {
		x->reason = VMM_EXIT_STOPPED;
	} else if (x->reason == VMM_EXIT_RESET) {
		explain_reset(v, x);
	} else if (x->reason == VMM_EXIT_NONE || x->reason == VMM_EXIT_STOPPED) {
		explain_end(v, x);
	}
	if (!x->text[0])
		(void)snprintf(x->text, sizeof(x->text), "%s", vmm_exit_reason_name(x->reason));
}

static void qemu_fini(struct vmm *v)
{
	struct qemu *q = qemu_of(v);

	qmp_free(TAKE(q->qmp));
	for (size_t i = 0; i < q->serial_count; i++)
		fd_close(&q->serials[i].fd);
	q->serial_count = 0;
	free(TAKE(q->serials));
	free(TAKE(q->boot));
	q->boot_count = 0;
}

static int qemu_serial_take(struct vmm *v, const char *name, int *fd_out, struct err *e)
{
	struct qemu *q = qemu_of(v);

	for (size_t i = 0; i < q->serial_count; i++) {
		if (str_eq(q->serials[i].name, name) && q->serials[i].fd >= 0) {
			*fd_out = fd_take(&q->serials[i].fd);
			return 0;
		}
	}
	return err_set(e, ERR_NOT_FOUND, 0, "machine '%s' has no free serial port '%s'",
		       v->name, name);
}

static int qemu_pause(struct vmm *v, int64_t deadline, struct err *e)
{
	struct qemu *q = qemu_of(v);

	q->may_stop = true;
	if (qmp_execute(q->qmp, "stop", NULL, deadline, NULL, e) == 0)
		return 0;
	if (e->kind != ERR_TIMEOUT && e->kind != ERR_CANCELLED) /* then it may still come */
		q->may_stop = false;
	return -1;
}

static int qemu_resume(struct vmm *v, int64_t deadline, struct err *e)
{
	return qmp_execute(qemu_of(v)->qmp, "cont", NULL, deadline, NULL, e);
}

/* The last number of a line "NSpid:\t1234\t5" is the innermost namespace's (proc(5)). */
static int64_t inner_number(int tasks, const char *tid)
{
	char path[64], *status, *at;
	int64_t number = -1;
	struct err ignored;

	(void)snprintf(path, sizeof(path), "%.32s/status", tid);
	if (file_read(tasks, path, STATUS_MAX, &status, NULL, &ignored) < 0)
		return -1;
	at = strstr(status, "\nNSpid:");
	at = at ? at + strlen("\nNSpid:") : status + strlen(status);
	while (*at == '\t') {
		char *end;

		number = strtoll(at, &end, 10);
		at = end;
	}
	free(status);
	return number;
}

/* QEMU knows its threads by the numbers of its own PID namespace, we by those of ours. */
struct thread {
	int64_t inner;
	pid_t outer;
};

static int list_threads(pid_t pid, struct thread **out, size_t *count, struct err *e)
{
	OWN(free) struct thread *list = NULL;
	struct dirent *ent;
	char path[64];
	size_t n = 0;
	DIR *dir;

	(void)snprintf(path, sizeof(path), "/proc/%d/task", (int)pid);
	dir = opendir(path);
	if (!dir)
		return err_sys(e, "open '%s'", path);
	while ((ent = readdir(dir))) {
		struct thread *grown;

		if (ent->d_name[0] == '.')
			continue;
		grown = mem_resize(list, n + 1, sizeof(*list));
		if (!grown) {
			(void)closedir(dir);
			return err_oom(e, "a list of threads");
		}
		list = grown;
		list[n].inner = inner_number(dirfd(dir), ent->d_name);
		list[n++].outer = (pid_t)strtol(ent->d_name, NULL, 10);
	}
	(void)closedir(dir);
	*out = TAKE(list);
	*count = n;
	return 0;
}

static int find_thread(const struct thread *list, size_t count, int64_t inner, pid_t *out,
		       struct err *e)
{
	for (size_t i = 0; i < count; i++) {
		if (list[i].inner != inner)
			continue;
		*out = list[i].outer;
		return 0;
	}
	return err_set(e, ERR_PEER, 0, "thread %lld is none of the monitor's",
		       (long long)inner);
}

static int qemu_vcpu_threads(struct vmm *v, int64_t deadline, pid_t *tids, size_t max,
			     size_t *count, struct err *e)
{
	OWN(jval) struct jval *list = NULL;
	OWN(free) struct thread *threads = NULL;
	size_t n, known;

	if (qmp_execute(qemu_of(v)->qmp, "query-cpus-fast", NULL, deadline, &list, e) < 0 ||
	    list_threads(v->child.pid, &threads, &known, e) < 0)
		return -1;
	n = jval_count(list);
	for (size_t i = 0; i < n && i < max; i++) {
		int64_t tid;

		if (jval_need_int(jval_at(list, i), "thread-id", "a processor", &tid, e) < 0 ||
		    find_thread(threads, known, tid, &tids[i], e) < 0)
			return -1;
	}
	*count = n;
	return 0;
}

static const struct vmm_ops qemu_ops = {
	.start = qemu_start,
	.quit = qemu_quit,
	.explain = qemu_explain,
	.fini = qemu_fini,
	.serial_take = qemu_serial_take,
	.device_add = qemu_device_add,
	.device_remove = qemu_device_remove,
	.device_addr = qemu_device_addr,
	.pause = qemu_pause,
	.resume = qemu_resume,
	.resize_vcpus = qemu_resize_vcpus,
	.resize_memory = qemu_resize_memory,
	.vcpu_threads = qemu_vcpu_threads,
};

const struct vmm_driver qemu_driver = {
	.name = "qemu",
	.default_machine = "q35",
	.size = sizeof(struct qemu),
	.caps = qemu_caps,
	.program = qemu_find_program,
	.ops = &qemu_ops,
};
