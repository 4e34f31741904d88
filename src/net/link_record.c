/* SPDX-License-Identifier: Apache-2.0 */
/* A small text file, and what follows from it. */
#include "net/link_record.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/fd.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/own.h"
#include "base/str.h"
#include "net/ingress.h"
#include "net/macvtap.h"
#include "net/netns.h"
#include "wire/netlink.h"

enum {
	RECORD_MAX = 8192,
	ID_SIZE = 64
};

/* Which namespace it is: a path may come to name another one. */
static int identify(int ns, char out[ID_SIZE], struct err *e)
{
	struct stat st;

	if (fstat(ns, &st) < 0)
		return err_sys(e, "stat a network namespace");
	(void)snprintf(out, ID_SIZE, "%llu:%llu", (unsigned long long)st.st_dev,
		       (unsigned long long)st.st_ino);
	return 0;
}

int link_record_write(const char *path, int ns, const char *netns, const int *links,
		      size_t count, const char *const *macvtaps, struct err *e)
{
	OWN(buf) struct buf text = BUF_INIT;
	char id[ID_SIZE];

	if (identify(ns, id, e) < 0 || buf_printf(&text, e, "%s %s\n", id, netns) < 0)
		return -1;
	for (size_t i = 0; i < count; i++) {
		if (buf_printf(&text, e, "%d\n", links[i]) < 0)
			return -1;
	}
	for (size_t i = 0; macvtaps[i]; i++) {
		if (buf_printf(&text, e, "%s\n", macvtaps[i]) < 0)
			return -1;
	}
	return file_replace(AT_FDCWD, path, buf_head(&text), buf_len(&text), 0600, false, e);
}

/* One line: a number, or a name. */
static int free_link(int nl, const char *line, struct err *e)
{
	int64_t index;

	if (!isdigit((unsigned char)line[0]))
		return macvtap_remove(nl, line, e);
	if (str_to_i64(line, 1, INT32_MAX, "link", &index, e) < 0)
		return -1;
	return ingress_remove(nl, (int)index, e);
}

static void free_links(int nl, char *lines)
{
	char *rest, *line;
	struct err e;

	for (line = strtok_r(lines, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest)) {
		if (free_link(nl, line, &e) == 0 || e.sys == ENODEV || e.sys == ENOENT ||
		    e.sys == EINVAL)
			continue;
		log_warn(NULL, "link %s of a dead sandbox: %s", line, e.msg);
	}
}

/* The namespace of the record's first line, -1 if it is gone. */
static int open_recorded(char *first)
{
	char *path = strchr(first, ' ');
	char id[ID_SIZE];
	OWN(fd) int ns = -1;
	struct err e;

	if (!path)
		return -1;
	*path++ = '\0';
	ns = open(path, O_RDONLY | O_CLOEXEC);
	if (ns < 0 || identify(ns, id, &e) < 0 || !str_eq(id, first))
		return -1;
	return fd_take(&ns);
}

void link_record_undo(int dirfd, const char *name)
{
	OWN(free) char *text = NULL;
	OWN(fd) int ns = -1;
	OWN(fd) int nl = -1;
	struct err e;
	char *lines;
	int back, rc;

	if (file_read(dirfd, name, RECORD_MAX, &text, NULL, &e) < 0)
		return;
	lines = strchr(text, '\n');
	if (!lines)
		return;
	*lines++ = '\0';
	ns = open_recorded(text);
	if (ns < 0)
		return;
	rc = netns_enter(ns, &back, &e);
	if (rc == 0) {
		rc = nl_open(&nl, &e);
		netns_leave(&back);
	}
	if (rc < 0) {
		log_warn(NULL, "network namespace of a dead sandbox: %s", e.msg);
		return;
	}
	free_links(nl, lines);
}
