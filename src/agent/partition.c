/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Parts of a disk. The engine says where they lie, there is no table on the disk, and the
 * kernel is told by BLKPG (include/uapi/linux/blkpg.h).
 */
#include <ctype.h>
#include <fcntl.h>
#include <linux/blkpg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "agent/device.h"
#include "base/err.h"
#include "base/fd.h"
#include "base/own.h"
#include "base/str.h"

enum {
	SECTOR = 512,
	NUMBERS = 255 /* Linux: DISK_MAX_PARTS - 1 */
};

#define MAX_SECTORS (INT64_MAX / SECTOR)

struct part {
	uint64_t first, sectors;
};

static int parse(const char *where, struct part *out, struct err *e)
{
	const char *colon = strchr(where, ':');
	char first[24];

	if (!colon || (size_t)(colon - where) >= sizeof(first))
		return err_set(e, ERR_INVALID, 0, "part '%.64s' is not FIRST:SECTORS", where);
	(void)snprintf(first, sizeof(first), "%.*s", (int)(colon - where), where);
	if (str_to_u64(first, 0, MAX_SECTORS, "part's first sector", &out->first, e) < 0)
		return -1;
	return str_to_u64(colon + 1, 1, MAX_SECTORS - out->first, "part's sectors",
			  &out->sectors, e);
}

static int read_number(const char *disk, unsigned n, const char *what, uint64_t *out,
		       struct err *e)
{
	OWN(free) char *text = NULL;
	char path[160];

	(void)snprintf(path, sizeof(path), "/sys/block/%.40s/%.40s%s%u/%s", disk, disk,
		       isdigit((unsigned char)disk[strlen(disk) - 1]) ? "p" : "", n, what);
	if (file_read(AT_FDCWD, path, sizeof(path), &text, NULL, e) < 0)
		return -1;
	*out = strtoull(text, NULL, 10);
	return 0;
}

/* 1: it is *out, 0: *out is free for it. */
static int find(const char *disk, const struct part *p, unsigned *out, struct err *e)
{
	unsigned free_one = 0;

	for (unsigned n = 1; n <= NUMBERS; n++) {
		uint64_t first, sectors;
		struct err ignored;

		if (read_number(disk, n, "start", &first, &ignored) < 0 ||
		    read_number(disk, n, "size", &sectors, &ignored) < 0) {
			free_one = free_one ? free_one : n;
			continue;
		}
		*out = n;
		if (first == p->first && sectors == p->sectors)
			return 1;
	}
	*out = free_one;
	return free_one ? 0
			: err_set(e, ERR_UNSUPPORTED, 0, "disk '%s' has %d parts already", disk,
				  NUMBERS);
}

static int add(const char *node, unsigned number, const struct part *p, struct err *e)
{
	OWN(fd) int fd = open(node, O_RDONLY | O_CLOEXEC);
	struct blkpg_partition partition = {
		.start = (long long)(p->first * SECTOR),
		.length = (long long)(p->sectors * SECTOR),
		.pno = (int)number,
	};
	struct blkpg_ioctl_arg arg = {
		.op = BLKPG_ADD_PARTITION,
		.datalen = sizeof(partition),
		.data = &partition,
	};

	if (fd < 0)
		return err_sys(e, "open '%s'", node);
	if (ioctl(fd, BLKPG, &arg) < 0)
		return err_sys(e, "part of '%s': %llu sectors from %llu", node,
			       (unsigned long long)p->sectors, (unsigned long long)p->first);
	return 0;
}

int device_part(const char *node, const char *where, char *out, size_t size, struct err *e)
{
	const char *disk = strrchr(node, '/');
	struct part p;
	unsigned n;
	int rc;

	if (!disk || !disk[1] || strlen(disk) > 40)
		return err_set(e, ERR_INVALID, 0, "'%.64s' is no disk", node);
	disk++;
	if (parse(where, &p, e) < 0)
		return -1;
	rc = find(disk, &p, &n, e);
	if (rc < 0 || (rc == 0 && add(node, n, &p, e) < 0))
		return -1;
	(void)snprintf(out, size, "%s%s%u", node,
		       isdigit((unsigned char)disk[strlen(disk) - 1]) ? "p" : "", n);
	return 0;
}
