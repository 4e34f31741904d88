/* SPDX-License-Identifier: Apache-2.0 */
/* Module tables and finit_module(2). */
#include "agent/modules.h"

#include <errno.h>
#include <fcntl.h>
#include <fnmatch.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/fd.h"
#include "base/log.h"
#include "base/own.h"
#include "base/path.h"
#include "base/str.h"
#include "base/sys.h"

enum {
	TABLE_MAX = 4 << 20,
	LINE = 4096
};

/* 1 if the table is not there. */
static int read_table(const char *name, char **out, struct err *e)
{
	char path[64];

	(void)snprintf(path, sizeof(path), MODULES_DIR "/%s", name);
	if (file_read(AT_FDCWD, path, TABLE_MAX, out, NULL, e) == 0)
		return 0;
	if (e->kind != ERR_NOT_FOUND)
		return -1;
	err_clear(e);
	return 1;
}

/* Copies the line at *p and moves on; false at the end. Lines that do not fit are cut. */
static bool take_line(const char **p, char *line, size_t size)
{
	size_t n = strcspn(*p, "\n");

	if (!**p)
		return false;
	(void)snprintf(line, size, "%.*s", (int)(n < size ? n : size - 1), *p);
	*p += n + ((*p)[n] == '\n');
	return true;
}

static int load_file(const char *file, const char *params, struct err *e)
{
	char path[256];
	OWN(fd) int fd = -1;

	if (!path_is_component(file))
		return err_set(e, ERR_INVALID, 0, "module file '%.64s'", file);
	(void)snprintf(path, sizeof(path), MODULES_DIR "/%.200s", file);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return err_sys(e, "open '%s'", path);
	if (sys_finit_module(fd, params, 0) < 0 && errno != EEXIST)
		return err_sys(e, "load module '%s'", file);
	return 0;
}

/* "NODE cMAJOR:MINOR" */
static void make_node(const char *node, const char *numbers)
{
	char path[128], *slash;
	const char *colon = strchr(numbers, ':');
	struct err ignored;

	if (!colon || strstr(node, ".."))
		return;
	(void)snprintf(path, sizeof(path), "/dev/%.100s", node);
	slash = strrchr(path, '/');
	*slash = '\0';
	(void)path_mkdirs(path, 0755, &ignored);
	*slash = '/';
	(void)mknod(path, (numbers[0] == 'b' ? S_IFBLK : S_IFCHR) | 0600,
		    makedev(strtoul(numbers + 1, NULL, 10), strtoul(colon + 1, NULL, 10)));
}

static int make_nodes(struct err *e)
{
	OWN(free) char *table = NULL;
	char line[LINE], name[128], node[128], numbers[32];
	const char *p;
	int rc = read_table("devname", &table, e);

	if (rc)
		return rc < 0 ? -1 : 0;
	for (p = table; take_line(&p, line, sizeof(line));) {
		if (sscanf(line, "%127s %127s %31s", name, node, numbers) == 3)
			make_node(node, numbers);
	}
	return 0;
}

int modules_boot(struct err *e)
{
	OWN(free) char *table = NULL;
	char line[LINE];
	struct err why;
	const char *p;
	int rc = read_table("load", &table, e);

	if (rc)
		return rc < 0 ? -1 : 0;
	for (p = table; take_line(&p, line, sizeof(line));) {
		/* a driver that finds no device of its own may refuse: the others still count
		 */
		if (str_starts(line, "boot ") && load_file(line + 5, "", &why) < 0)
			log_debug(NULL, "%s", why.msg);
	}
	return make_nodes(e);
}

/* The files of "demand NAME FILE...": all but the last are what it needs. */
static int load_demand(char *files, const char *params, struct err *e)
{
	char *save = NULL, *file = strtok_r(files, " ", &save);

	while (file) {
		char *next = strtok_r(NULL, " ", &save);

		if (load_file(file, next ? "" : params, e) < 0)
			return -1;
		file = next;
	}
	return 0;
}

static int load_named(const char *table, const char *name, const char *params, struct err *e)
{
	char line[LINE], file[160];
	size_t n = strlen(name);
	const char *p = table;

	(void)snprintf(file, sizeof(file), "boot %.128s.ko", name);
	while (take_line(&p, line, sizeof(line))) {
		if (str_starts(line, "demand ") && strncmp(line + 7, name, n) == 0 &&
		    line[7 + n] == ' ')
			return load_demand(line + 8 + n, params, e);
		if (str_eq(line, file))
			return 0; /* loaded at start */
	}
	return err_set(e, ERR_NOT_FOUND, 0, "no module '%.64s'", name);
}

bool module_normalise(const char *request, char *out, size_t size)
{
	bool bracket = false;
	size_t n = strlen(request);

	if (n >= size)
		return false;
	for (size_t i = 0; i <= n; i++) {
		if (request[i] == '[')
			bracket = true;
		else if (request[i] == ']')
			bracket = false;
		out[i] = request[i] == '-' && !bracket ? '_' : request[i];
	}
	return true;
}

const char *alias_next(const char *table, size_t *at, const char *request, char *name,
		       size_t size)
{
	const char *p = table + *at;
	char line[LINE];

	while (take_line(&p, line, sizeof(line))) {
		char *space = strrchr(line, ' ');

		*at = (size_t)(p - table);
		if (!space)
			continue;
		*space = '\0';
		if (fnmatch(line, request, 0) != 0)
			continue;
		(void)snprintf(name, size, "%s", space + 1);
		return name;
	}
	return NULL;
}

static int load_request(const char *request, const char *params, struct err *e)
{
	OWN(free) char *load = NULL;
	OWN(free) char *alias = NULL;
	char wanted[256], name[128];
	bool loaded = false;
	size_t at = 0;

	if (!module_normalise(request, wanted, sizeof(wanted)))
		return err_set(e, ERR_INVALID, 0, "module name '%.64s'", request);
	if (read_table("load", &load, e) != 0 || read_table("alias", &alias, e) != 0)
		return err_set(e, ERR_NOT_FOUND, 0, "the guest has no modules");
	err_set(e, ERR_NOT_FOUND, 0, "no module '%.64s'", request);
	while (alias_next(alias, &at, wanted, name, sizeof(name)))
		loaded = load_named(load, name, params, e) == 0 || loaded;
	if (!loaded)
		return -1;
	err_clear(e);
	return 0;
}

int module_load(const char *name, char *const *params, size_t param_count, struct err *e)
{
	OWN(buf) struct buf text = { .limit = 4096 };
	char path[128];

	for (size_t i = 0; i < param_count; i++) {
		if (buf_printf(&text, e, "%s%s", i ? " " : "", params[i]) < 0)
			return -1;
	}
	if (!buf_cstr(&text))
		return err_oom(e, "module parameters");
	/* built in, or loaded already: parameters can then not be given */
	(void)snprintf(path, sizeof(path), "/sys/module/%.100s", name);
	if (path_is_component(name) && access(path, F_OK) == 0)
		return param_count ? err_set(e, ERR_STATE, 0,
					     "is loaded already, without parameters")
				   : 0;
	return load_request(name, buf_cstr(&text), e);
}

int modprobe_main(int argc, char **argv)
{
	struct err e = ERR_INIT;
	int rc = 1;

	for (int i = 1; i < argc; i++) {
		if (argv[i][0] == '-')
			continue;
		rc = load_request(argv[i], "", &e) < 0 ? 1 : 0;
		break;
	}
	return rc;
}
