/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The program a container's process becomes. It is looked up as execvp(3) would with the
 * container's PATH and checked as the container's user when the container is created, so that
 * a mistyped name is known then; what only exec can tell (a bad format) is known at start.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/stage_steps.h"
#include "base/mem.h"
#include "base/own.h"
#include "base/str.h"

#define DEFAULT_PATH "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

static const char *path_of(const Grpc__Process *p)
{
	const char *path = DEFAULT_PATH;

	for (size_t i = 0; i < p->n_env; i++) {
		if (str_starts(p->env[i], "PATH="))
			path = p->env[i] + 5;
	}
	return path;
}

/* 0, or the errno for which it cannot be executed. */
static int check_program(const char *path)
{
	struct stat st;

	if (stat(path, &st) < 0)
		return errno;
	if (S_ISDIR(st.st_mode))
		return EISDIR;
	if (faccessat(AT_FDCWD, path, X_OK, AT_EACCESS) < 0)
		return errno;
	return 0;
}

/*
 * The words are runc's: Docker and others find the shell's statuses 126 and 127 by them.
 */
static int program_error(const char *name, int sys, struct err *e)
{
	bool is_path = strchr(name, '/');

	switch (sys) {
	case ENOTDIR:
		return err_set(e, ERR_NOT_FOUND, 0,
			       "exec: \"%.200s\": stat %.200s: not a directory", name, name);
	case ENOENT:
		return is_path ? err_set(e, ERR_NOT_FOUND, 0,
					 "exec: \"%.200s\": stat %.200s: no such file or directory",
					 name, name)
			       : err_set(e, ERR_NOT_FOUND, 0,
					 "exec: \"%.200s\": executable file not found in $PATH",
					 name);
	case EISDIR:
		return err_set(e, ERR_DENIED, 0, "exec: \"%.200s\": is a directory", name);
	case EACCES:
	case EPERM:
		return err_set(e, ERR_DENIED, 0, "exec: \"%.200s\": permission denied", name);
	case ENOEXEC:
		return err_set(e, ERR_DENIED, 0, "exec: \"%.200s\": exec format error", name);
	default:
		return err_set(e, ERR_SYS, sys, "exec: \"%.200s\"", name);
	}
}

static int search_path(struct stage *s, const char *name, struct err *e)
{
	const char *p = path_of(s->process);
	int worst = ENOENT;

	for (;;) {
		size_t n = strcspn(p, ":");
		char *path = n ? arena_printf(s->arena, "%.*s/%s", (int)n, p, name)
			       : arena_printf(s->arena, "./%s", name);
		int sys;

		if (!path)
			return err_oom(e, "the program's path");
		sys = check_program(path);
		if (sys == 0) {
			s->program = path;
			return 0;
		}
		if (sys == EACCES)
			worst = EACCES;
		if (!p[n])
			break;
		p += n + 1;
	}
	return program_error(name, worst, e);
}

int program_find(struct stage *s, struct err *e)
{
	const char *name;
	int sys;

	if (s->process->n_args == 0)
		return err_set(e, ERR_INVALID, 0,
			       "process.args: there is no program to execute");
	name = s->process->args[0];
	if (strlen(name) >= PATH_MAX)
		return err_set(e, ERR_INVALID, ENAMETOOLONG, "process.args[0]");
	if (!*name)
		return program_error(name, ENOENT, e);
	if (!strchr(name, '/'))
		return search_path(s, name, e);
	sys = check_program(name);
	if (sys)
		return program_error(name, sys, e);
	s->program = s->process->args[0];
	return 0;
}

int program_exec(struct stage *s, struct err *e)
{
	char **argv = arena_calloc(s->arena, s->process->n_args + 1, sizeof(char *));
	char **envp = arena_calloc(s->arena, s->process->n_env + 2, sizeof(char *));
	bool has_home = false;
	size_t at = s->process->n_env;

	if (!argv || !envp)
		return err_oom(e, "arguments");
	memcpy(argv, s->process->args, s->process->n_args * sizeof(char *));
	if (s->process->n_env)
		memcpy(envp, s->process->env, s->process->n_env * sizeof(char *));
	for (size_t i = 0; i < s->process->n_env; i++) {
		if (str_eq(envp[i], "HOME="))
			at = i; /* as if it were not there */
		has_home = has_home || (str_starts(envp[i], "HOME=") && envp[i][5]);
	}
	if (!has_home) {
		envp[at] = arena_printf(s->arena, "HOME=%s", s->id.home[0] ? s->id.home : "/");
		if (!envp[at])
			return err_oom(e, "the environment");
	}
	(void)execve(s->program, argv, envp);
	if (errno == ENOENT || errno == ENOTDIR) /* it was there when it was looked for */
		return err_set(
			e, ERR_NOT_FOUND, 0,
			"exec %.200s: no such file or directory: the interpreter or loader "
			"that it names",
			argv[0]);
	return program_error(argv[0], errno, e);
}
