/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Processes of containers. An entry lives in its container's list until its status was taken
 * and its streams read to the end (an exec) or its container is removed.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "agent/sandbox.h"
#include "base/err.h"
#include "base/fd.h"
#include "base/mem.h"
#include "base/str.h"
#include "base/time.h"

enum {
	LOOKS = 3 /* at a process that may be between two states */
};

/* An ended exec that somebody waited for is the first to go when the table is full. */
static void evict_one(struct container *c)
{
	list_for_each(n, tmp, &c->processes) {
		struct process *p = list_entry(n, struct process, node);

		if (p != c->init && p->child.exited && p->waited) {
			process_forget(p);
			return;
		}
	}
}

int process_new(struct container *c, const char *exec_id, struct process **out, struct err *e)
{
	struct process *p;

	if (c->process_count >= PROCESSES_MAX)
		evict_one(c);
	if (c->process_count >= PROCESSES_MAX)
		return err_set(e, ERR_NO_MEMORY, 0,
			       "container '%s' has %d processes, which is the most", c->id,
			       PROCESSES_MAX);
	p = mem_new(struct process);
	if (!p)
		return err_oom(e, "a process");
	p->exec_id = strdup(exec_id);
	if (!p->exec_id) {
		free(p);
		return err_oom(e, "a process");
	}
	p->container = c;
	container_ref(c);
	p->refs = 1;
	p->pidfd = p->stage_fd = p->console_fd = -1;
	cond_init(&p->exited, c->sandbox->loop);
	list_append(&c->processes, &p->node);
	c->process_count++;
	*out = p;
	return 0;
}

void process_ref(struct process *p)
{
	p->refs++;
}

void process_unref(struct process *p)
{
	if (!p || --p->refs)
		return;
	stream_fini(&p->in);
	stream_fini(&p->out);
	stream_fini(&p->err_out);
	fd_close(&p->console_fd);
	fd_close(&p->stage_fd);
	fd_close(&p->pidfd);
	free(p->exec_id);
	container_unref(p->container);
	free(p);
}

void process_forget(struct process *p)
{
	if (list_empty(&p->node))
		return;
	list_remove(&p->node);
	p->container->process_count--;
	stream_close(&p->in);
	stream_close(&p->out);
	stream_close(&p->err_out);
	cond_wake_all(&p->exited);
	process_unref(p);
}

static bool output_done(const struct stream *s)
{
	return !s->loop || s->ended || s->source.fd < 0;
}

void process_maybe_forget(struct process *p)
{
	if (p != p->container->init && p->child.exited && p->waited && output_done(&p->out) &&
	    output_done(&p->err_out))
		process_forget(p);
}

int process_find(struct container *c, const char *exec_id, struct process **out, struct err *e)
{
	if ((!*exec_id || str_eq(exec_id, c->id)) && c->init) {
		*out = c->init;
		return 0;
	}
	list_for_each(n, tmp, &c->processes) {
		struct process *p = list_entry(n, struct process, node);

		if (*exec_id && str_eq(p->exec_id, exec_id)) {
			*out = p;
			return 0;
		}
	}
	return err_set(e, ERR_NOT_FOUND, 0, "container '%s' has no process '%.80s'", c->id,
		       exec_id);
}

int process_wait(struct process *p, int64_t deadline, struct err *e)
{
	if (!p->child.pid)
		return err_set(e, ERR_STATE, 0, "the process was never started");
	while (!p->child.exited) {
		if (cond_wait(&p->exited, deadline, e) < 0)
			return -1;
	}
	return 0;
}

/* rt_sigtimedwait(2), in which what is waited for is unblocked for the while. */
static bool takes_signals(pid_t pid)
{
	char path[64], text[128];
	struct err ignored;

	(void)snprintf(path, sizeof(path), "/proc/%d/syscall", (int)pid);
	return file_read_line(AT_FDCWD, path, text, sizeof(text), &ignored) == 0 &&
	       *text >= '0' && *text <= '9' && strtol(text, NULL, 10) == SYS_rt_sigtimedwait;
}

/* The innermost namespace's number is the last of the line. */
static bool is_first_of_namespace(const char *status)
{
	const char *p = strstr(status, "\nNSpid:");

	p = p ? p + strlen("\nNSpid:") : "";
	while (*p == '\t' || *p == ' ') {
		char *end;
		long number = strtol(p, &end, 10);

		if (*end == '\n')
			return number == 1;
		p = end;
	}
	return true;
}

/* SigCgt, SigIgn, SigBlk; and that it is no PID 1, for which the kernel drops nothing. */
static bool looks_deaf_to(pid_t pid, uint32_t sig)
{
	static const char *const masks[] = { "\nSigCgt:", "\nSigIgn:", "\nSigBlk:" };
	OWN(free) char *text = NULL;
	char path[64];
	struct err ignored;
	uint64_t mask = 0;

	(void)snprintf(path, sizeof(path), "/proc/%d/status", (int)pid);
	if (file_read(-1, path, 64 * 1024, &text, NULL, &ignored) < 0)
		return false;
	for (size_t i = 0; i < ARRAY_LEN(masks); i++) {
		const char *p = strstr(text, masks[i]);

		if (p)
			mask |= strtoull(p + strlen(masks[i]), NULL, 16);
	}
	return !(mask >> (sig - 1) & 1) && is_first_of_namespace(text);
}

/*
 * Whether the kernel would drop the signal (proc(5)): for PID 1 of its namespace, where it
 * neither handles, ignores nor blocks it. Who blocks it takes it by sigwait(3), as tini does,
 * and comes and goes there while we look.
 */
static bool is_deaf_to(pid_t pid, uint32_t sig)
{
	for (int i = 0; i < LOOKS; i++) {
		if (!looks_deaf_to(pid, sig) || takes_signals(pid))
			return false;
	}
	return true;
}

int process_signal(struct process *p, uint32_t signal, struct err *e)
{
	struct container *c = p->container;

	if (signal >= NSIG)
		return err_set(e, ERR_INVALID, 0, "signal %u does not exist", signal);
	if (!p->child.pid || p->child.exited || signal == 0)
		return 0; /* as upstream: a process that is gone is no error */
	if (p == c->init && signal == SIGKILL)
		return cgroup_kill(&c->cgroup, e);
	if (p == c->init && signal == SIGTERM && is_deaf_to(p->child.pid, signal))
		signal = SIGKILL;
	if (child_kill(&p->child, (int)signal, e) < 0 && e->sys != ESRCH)
		return -1;
	return 0;
}

int process_signal_all(struct process *p, uint32_t signal, struct err *e)
{
	const struct container *c = p->container;

	if (p != c->init || signal == 0 || signal >= NSIG)
		return err_set(e, ERR_INVALID, 0, "signal %u for all processes of '%s'", signal,
			       c->id);
	return c->has_cgroup ? cgroup_signal(&c->cgroup, (int)signal, e) : 0;
}

int process_resize(struct process *p, uint32_t rows, uint32_t columns, struct err *e)
{
	struct winsize ws = { 0 };

	if (!p->terminal)
		return err_set(e, ERR_STATE, 0, "the process has no terminal");
	if (rows > 0xffff || columns > 0xffff)
		return err_set(e, ERR_INVALID, 0, "a terminal of %u by %u", rows, columns);
	if (p->console_fd < 0)
		return err_set(e, ERR_STATE, 0, "the process has ended");
	ws.ws_row = (unsigned short)rows;
	ws.ws_col = (unsigned short)columns;
	if (ioctl(p->console_fd, TIOCSWINSZ, &ws) < 0)
		return err_sys(e, "resize the terminal");
	return 0;
}
